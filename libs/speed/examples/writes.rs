//! What a touched symbol costs Redis and its writer, beside plain pipelined HSET of the latest price.
//!
//! `cargo run --release -p speed --example writes`

use std::time::{Duration, Instant};

use market::{Place, Price, Sequence, StateSpec, Trade, Volume, parse_candle_specs};
use speed::{SymbolWrite, Writer, WriterSettings};

const SYMBOLS: usize = 500;
const CALLS: i64 = 1_000;
/// Of event time between two calls.
const STEP: i64 = 100;
const BEGIN: i64 = 1_610_064_000_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(measure());
}

async fn measure() {
    let redis = testkit::redis();
    let client = redis::Client::open(format!("redis://{}", redis.address())).expect("an address");
    let mut plain = client.get_multiplexed_async_connection().await.expect("a Redis");
    let spec =
        StateSpec { candles: parse_candle_specs(market::CANDLES).expect("candles"), recent: 50 };
    let settings = WriterSettings {
        topic: "market_ticks".into(),
        partitions: 1,
        state: spec,
        stream_trades: 1_000,
    };
    let names: Vec<String> = (0..SYMBOLS).map(|number| format!("SYMBOL:{number}")).collect();
    let symbols: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut writer = Writer::connect(redis.address(), settings).await.expect("connected");
    let mut states = writer.load(&symbols, false).await.expect("nothing yet");
    // Beyond the first ones, so that as many recent trades are kept as later.
    for round in 0..3 {
        let mut used = Used::now(&mut plain).await;
        for call in 0..CALLS {
            let number = round * CALLS + call;
            let mut pipeline = redis::pipe();
            for (at, name) in names.iter().enumerate() {
                let trade = trade(number, at);
                pipeline.hset_multiple(
                    format!("plain:{{{name}}}"),
                    &[
                        ("price", trade.price.get().to_string()),
                        ("timestamp", trade.timestamp.to_string()),
                        ("volume", trade.volume.get().to_string()),
                    ],
                );
            }
            let _: () = pipeline.query_async(&mut plain).await.expect("written");
        }
        used.tell("plain HSET", &mut plain).await;
        used = Used::now(&mut plain).await;
        for call in 0..CALLS {
            let number = round * CALLS + call;
            let sequence = |at: usize| Sequence::of_record(number * SYMBOLS as i64 + at as i64);
            let writes =
                states.iter_mut().zip(&symbols).enumerate().map(|(at, (tracked, symbol))| {
                    tracked.state.apply(&trade(number, at), sequence(at));
                    SymbolWrite { symbol, partition: 0, tracked }
                });
            let mut writes: Vec<SymbolWrite<'_>> = writes.collect();
            let place = Place { offset: sequence(SYMBOLS - 1).offset, fingerprint: 1 };
            writer.write(&mut writes, &[(0, place)]).await.expect("written");
        }
        used.tell("guarded", &mut plain).await;
        states.iter_mut().for_each(|tracked| tracked.state.cool());
    }
}

fn trade(number: i64, at: usize) -> Trade {
    Trade {
        price: Price::new(39_432.48 + (number * 7 + at as i64) as f64 % 100.0 / 8.0)
            .expect("a price"),
        volume: Volume::new(0.000_263 * (1 + number % 9) as f64).expect("a volume"),
        timestamp: BEGIN + number * STEP + at as i64 % 50,
        received_at: 1_700_000_000_123_456_789,
    }
}

/// CPU time of Redis and of this process.
struct Used {
    at: Instant,
    redis: Duration,
    own: Duration,
}

impl Used {
    async fn now(connection: &mut redis::aio::MultiplexedConnection) -> Self {
        let info: String =
            redis::cmd("INFO").arg("cpu").query_async(connection).await.expect("an answer");
        let number = |name: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|it| it.trim().parse().ok()).expect("a number")
        };
        let redis = number("used_cpu_user_main_thread:") + number("used_cpu_sys_main_thread:");
        let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
        let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("ticks")).sum();
        Self {
            at: Instant::now(),
            redis: Duration::from_secs_f64(redis),
            own: Duration::from_millis(ticks * 10),
        }
    }

    #[allow(clippy::print_stdout)] // What it is for.
    async fn tell(&self, what: &str, connection: &mut redis::aio::MultiplexedConnection) {
        let now = Self::now(connection).await;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / (SYMBOLS as f64 * CALLS as f64);
        println!(
            "{what:>10}: a symbol {:.2} µs of Redis, {:.2} µs of the writer, {:.2} µs elapsed",
            each(now.redis - self.redis),
            each(now.own - self.own),
            each(now.at - self.at),
        );
    }
}
