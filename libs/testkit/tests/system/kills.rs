//! kill -9 of each program and server in the middle of a replay, then a restart: Redis holds what
//! the log says, and the log everything that was acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use testkit::oracle::LoggedTrade;
use testkit::{
    Pipeline, Program, Record, Recording, all_tests, eventually, eventually_some, kafka,
    private_kafka, snapshot_redis,
};

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "processor-group";

/// All four programs, in the middle of a replay.
struct Replay {
    way: Pipeline,
    recording: Recording,
    trades: Vec<LoggedTrade>,
    feed: Program,
    ingestor: Program,
    processor: Program,
    gateway: Program,
}

impl Replay {
    fn start(brokers: &str, recording: Recording, speed: &str) -> Self {
        let way = Pipeline::new(brokers, "kills");
        let trades = recording.trades();
        let mut processor = way.processor(GROUP);
        processor.wait_ready();
        let mut gateway = way.gateway(&[]);
        gateway.wait_ready();
        let feed = way.feed(&recording, &["--speed", speed]);
        let ingestor = way.ingestor(&recording.symbols(), &[]);
        Self { way, recording, trades, feed, ingestor, processor, gateway }
    }

    fn ingestor(&self) -> Program {
        self.way.ingestor(&self.recording.symbols(), &[])
    }

    fn records(&self) -> Vec<Record> {
        self.way.kafka().records(self.way.topic())
    }

    /// Waits until the ingestor has seen so many hundredths of the replay.
    #[track_caller]
    fn until(&self, percent: usize) -> usize {
        let wanted = self.trades.len() * percent / 100;
        eventually_some(PATIENCE, &format!("{percent} % of the replay"), || {
            let seen = self.ingestor.metric("gostocks_feed_trades_total") as usize;
            (seen >= wanted).then_some(seen)
        })
    }

    /// Waits until the replay is well under way.
    #[track_caller]
    fn until_the_middle(&self) {
        let seen = self.until(30);
        assert!(seen < self.trades.len(), "the replay was over before anything could be killed");
    }

    /// Where the ingestor lived: the log holds every trade of the feed once, in order.
    #[track_caller]
    fn check_all(&self, when: &str) {
        let logged = self.way.wait_logged(self.trades.len());
        assert_eq!(by_symbol(&logged), by_symbol(&self.trades), "{when}: the log");
        self.check(when);
    }

    #[track_caller]
    fn check(&self, when: &str) {
        self.way.check_redis(when);
        self.way.check_prices(when);
    }
}

fn by_symbol(trades: &[LoggedTrade]) -> BTreeMap<&str, Vec<&LoggedTrade>> {
    let mut symbols: BTreeMap<&str, Vec<&LoggedTrade>> = BTreeMap::new();
    for trade in trades {
        symbols.entry(&trade.symbol).or_default().push(trade);
    }
    symbols
}

/// A random market, and of the longer tests the real one, with speeds that leave time for a kill.
fn recordings() -> Vec<(Recording, &'static str)> {
    let real = all_tests().then(Recording::real).flatten().map(|real| (real, "5"));
    [(Recording::random(), "40")].into_iter().chain(real).collect()
}

#[test]
fn of_the_processor() {
    for (recording, speed) in recordings() {
        let mut replay = Replay::start(kafka().brokers(), recording, speed);
        replay.until_the_middle();
        replay.processor.kill9();
        // The log grows meanwhile, and the group has yet to notice the death.
        replay.until(50);
        replay.processor = replay.way.processor(GROUP);
        replay.check_all("after a kill of the processor");
    }
}

#[test]
fn of_the_gateway() {
    for (recording, speed) in recordings() {
        let mut replay = Replay::start(kafka().brokers(), recording, speed);
        replay.until_the_middle();
        replay.gateway.kill9();
        assert_eq!(replay.way.get("/health"), None, "it is dead");
        replay.until(50);
        replay.gateway = replay.way.gateway(&[]);
        replay.gateway.wait_ready();
        replay.check_all("after a kill of the gateway");
    }
}

#[test]
fn of_redis() {
    for (recording, speed) in recordings() {
        let mut replay = Replay::start(kafka().brokers(), recording, speed);
        replay.until_the_middle();
        // It comes back as it was before the gateway had read this and what follows.
        snapshot_redis(replay.way.redis().address());
        replay.until(40);
        replay.way.redis().kill9();
        eventually(PATIENCE, "the gateway says that prices are away", || {
            matches!(replay.way.get("/price/AAPL"), Some((503, _)))
        });
        replay.until(50);
        replay.way.redis().restart();
        replay.check_all("after a kill of Redis");
        assert!(replay.processor.is_alive() && replay.gateway.is_alive(), "both came back");
    }
}

#[test]
fn of_the_ingestor() {
    for (recording, speed) in recordings() {
        let mut replay = Replay::start(kafka().brokers(), recording, speed);
        replay.until_the_middle();
        let delivered = replay.ingestor.metric("gostocks_records_delivered_total") as usize;
        replay.ingestor.kill9();
        let before = replay.records();
        assert!(delivered > 0 && before.len() >= delivered, "what was acknowledged is there");
        let prefix = replay.way.logged();

        // A new connection gets the whole replay: what the dead one's socket held is sent again.
        replay.ingestor = replay.ingestor();
        let all = replay.way.wait_logged(prefix.len() + replay.trades.len());
        let (all, prefix) = (by_symbol(&all), by_symbol(&prefix));
        for (symbol, trades) in by_symbol(&replay.trades) {
            let first = prefix.get(symbol).map_or(&[][..], Vec::as_slice);
            assert!(trades.starts_with(first), "{symbol}: no trade was skipped before the kill");
            assert_eq!(all[symbol], [first, &trades].concat(), "{symbol}: nor after it");
        }
        let after = replay.records();
        assert!(before.iter().all(|record| after.contains(record)), "nothing of the log has gone");
        replay.check("after a kill of the ingestor");
    }
}

#[test]
fn of_kafka() {
    for (recording, speed) in recordings() {
        let mut server = private_kafka();
        let mut replay = Replay::start(server.address(), recording, speed);
        replay.until_the_middle();
        server.kill9();
        replay.until(60);
        server.restart();
        replay.check_all("after a kill of Kafka");
        for program in [&mut replay.ingestor, &mut replay.processor, &mut replay.feed] {
            assert!(program.is_alive(), "nobody had to be started again");
        }
        assert_eq!(replay.ingestor.metric("gostocks_delivery_failures_total"), 0.0);
    }
}
