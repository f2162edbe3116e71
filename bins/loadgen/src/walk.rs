use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::render::{push_decimal, push_u64};
use crate::subscriptions::Subscribed;

/// One symbol's random walk, and its half of a trade's JSON.
///
/// Prices are whole ticks, so that they are printed exactly. Reproducible: the same seed and
/// symbol make the same prices, volumes and conditions.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) symbol: Subscribed,
    dice: Xoshiro256PlusPlus,
    price: u64,
    /// Where it started: the walk stays within a factor of four of it.
    start: u64,
    decimals: u32,
    fractional: bool,
    /// `,"s":"AAPL","t":`, escaped once.
    middle: Vec<u8>,
}

const VOLUME_DECIMALS: u32 = 6;

impl Walk {
    pub(crate) fn new(symbol: Subscribed, seed: u64) -> anyhow::Result<Self> {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed ^ fnv1a(symbol.name.as_str()));
        let (start, decimals) = match symbol.name.as_str() {
            "AAPL" => (19_000, 2),
            "BINANCE:BTCUSDT" => (4_000_000, 2),
            // The original's third symbol is EURUSD of IC Markets.
            "IC MARKETS:1" => (108_500, 5),
            _ => (dice.random_range(1_000..50_000), 2),
        };
        let escaped = serde_json::to_string(&symbol.spelled)?;
        Ok(Self {
            // Venues with a prefix deal in fractions; shares are counted in whole ones.
            fractional: symbol.name.as_str().contains(':'),
            middle: format!(r#","s":{escaped},"t":"#).into_bytes(),
            symbol,
            dice,
            price: start,
            start,
            decimals,
        })
    }

    /// Appends the next trade as a JSON object.
    pub(crate) fn push_trade(&mut self, out: &mut Vec<u8>, time: i64) {
        let dice: u64 = self.dice.random();
        self.step(dice);
        let conditions: &[u8] = match (self.fractional, dice >> 60) {
            (true, _) | (false, 0..4) => br#"{"c":null,"p":"#,
            (false, 4..12) => br#"{"c":["1","12"],"p":"#,
            (false, 12..14) => br#"{"c":[],"p":"#,
            (false, _) => br#"{"p":"#,
        };
        out.extend_from_slice(conditions);
        push_decimal(out, self.price, self.decimals);
        out.extend_from_slice(&self.middle);
        push_u64(out, time.unsigned_abs());
        out.extend_from_slice(br#","v":"#);
        // Squared, so that most are small; some are nothing at all, as in the wild.
        let size = (dice >> 20) & 0x3ff;
        if self.fractional {
            push_decimal(out, size * size, VOLUME_DECIMALS);
        } else {
            push_u64(out, size * size / 1_000);
        }
        out.push(b'}');
    }

    /// Up or down by at most some hundredths of a percent, or not at all.
    fn step(&mut self, dice: u64) {
        let widest = (self.price / 4_000).max(1);
        let step = (dice & 0xffff) % (2 * widest + 1);
        let price = (self.price + step).saturating_sub(widest);
        self.price = price.clamp((self.start / 4).max(1), self.start * 4);
    }
}

/// <http://www.isthe.com/chongo/tech/comp/fnv/>: stable between builds, unlike std's hash.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use market::Symbol;

    use super::*;

    fn walk(symbol: &str, seed: u64) -> Walk {
        let name = Symbol::new(symbol).unwrap();
        Walk::new(Subscribed { spelled: symbol.to_owned(), name }, seed).unwrap()
    }

    fn trades(symbol: &str, seed: u64, count: usize) -> Vec<serde_json::Value> {
        let mut walk = walk(symbol, seed);
        (0..count)
            .map(|_| {
                let mut out = Vec::new();
                walk.push_trade(&mut out, 1_700_000_000_000);
                serde_json::from_slice(&out).expect("a trade is JSON")
            })
            .collect()
    }

    #[test]
    fn every_trade_is_a_valid_one() {
        for symbol in ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1", "a\"b\\c", "SIM00004"] {
            for trade in trades(symbol, 7, 20_000) {
                assert_eq!(trade["s"], symbol);
                assert_eq!(trade["t"], 1_700_000_000_000_i64);
                assert!(trade["p"].as_f64().unwrap() > 0.0, "{trade}");
                assert!(trade["v"].as_f64().unwrap() >= 0.0, "{trade}");
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_walk() {
        assert_eq!(trades("AAPL", 1, 100), trades("AAPL", 1, 100));
        assert_ne!(trades("AAPL", 1, 100), trades("AAPL", 2, 100));
        assert_ne!(trades("SIM00004", 1, 100), trades("SIM00005", 1, 100));
    }

    #[test]
    fn the_price_moves_and_stays_near() {
        let prices: Vec<_> =
            trades("AAPL", 1, 100_000).iter().map(|t| t["p"].as_f64().unwrap()).collect();
        let low = prices.iter().copied().fold(f64::INFINITY, f64::min);
        let high = prices.iter().copied().fold(0.0, f64::max);
        assert!(low >= 47.5 && high <= 760.0 && high > low + 1.0, "{low}..{high}");
    }
}
