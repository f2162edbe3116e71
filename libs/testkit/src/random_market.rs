use prost::Message;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rpc::market::v1::StockTick;

/// 2021-01-08 00:00 UTC, less two hours: the trades run over the end of a day.
const BEGIN: i64 = 1_610_064_000_000 - 2 * 3_600_000;

/// By how much trades are late, in milliseconds, if they are: within what a processor keeps in
/// memory, within the retention of some candles, and past it.
const LATE: [i64; 4] = [90_000, 600_000, 5 * 3_600_000, 30 * 3_600_000];

/// Records of a market of forty symbols, the same for the same seed: several trades a record, late
/// ones and ones of equal time among them. Prices are from 0.01 to 100.
#[derive(Debug)]
pub struct RandomMarket {
    random: SmallRng,
    clock: i64,
}

impl RandomMarket {
    pub fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), clock: BEGIN }
    }

    /// Keys and values, as for [`Kafka::produce`](crate::Kafka::produce).
    pub fn records(&mut self, count: usize) -> Vec<(String, Vec<u8>)> {
        (0..count).map(|_| self.record()).collect()
    }

    fn late(&mut self) -> i64 {
        LATE[self.random.random_range(0..LATE.len())]
    }

    fn record(&mut self) -> (String, Vec<u8>) {
        let symbol = format!("SYMBOL:{}", self.random.random_range(0..40));
        let mut tick = StockTick { symbol: symbol.clone(), ..StockTick::default() };
        for _ in 0..self.random.random_range(1..6) {
            self.clock += self.random.random_range(0..900);
            let late = if self.random.random_bool(0.1) { self.late() } else { 0 };
            tick.prices.push(f64::from(self.random.random_range(1..10_000)) / 100.0);
            tick.timestamps.push(self.clock - late);
            tick.volumes.push(f64::from(self.random.random_range(0..1_000)) / 64.0);
            tick.received_ats.push(1);
        }
        let last = tick.prices.len() - 1;
        (tick.price, tick.timestamp) = (tick.prices[last], tick.timestamps[last]);
        (tick.volume, tick.received_at) = (tick.volumes[last], 1);
        if last == 0 {
            // One trade needs no columns.
            tick.prices.clear();
            tick.timestamps.clear();
            tick.volumes.clear();
            tick.received_ats.clear();
        }
        (symbol, tick.encode_to_vec())
    }
}
