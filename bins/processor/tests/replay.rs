//! The real program on a real Kafka and a real Redis: whatever happens to it, Redis holds what
//! the log says.

use std::time::Duration;

use prost::Message;
use rpc::market::v1::StockTick;
use testkit::{Exit, Kafka, Program, RandomMarket, Server, eventually, kafka, oracle, redis};

const PATIENCE: Duration = Duration::from_secs(60);
/// 2021-01-08 00:00 UTC.
const BEGIN: i64 = 1_610_064_000_000;

/// A topic, a Redis, and the processors that follow the one into the other.
struct Rig {
    kafka: &'static Kafka,
    topic: String,
    redis: Server,
    market: RandomMarket,
}

impl Rig {
    fn new(hint: &str) -> Self {
        let kafka = kafka();
        let (topic, redis) = (kafka.topic(hint, 6), redis());
        Self { kafka, topic, redis, market: RandomMarket::new(7) }
    }

    fn processor(&self) -> Program {
        self.processor_of("processor-group")
    }

    /// Groups are named after the topic, since the tests share a broker.
    fn processor_of(&self, group: &str) -> Program {
        let group = format!("{group}-{}", self.topic);
        let settings = [
            ("KAFKA_BROKERS", self.kafka.brokers()),
            ("KAFKA_TOPIC", &self.topic),
            ("KAFKA_GROUP", &group),
            ("REDIS_ADDR", self.redis.address()),
        ];
        Program::start("processor", &[], &settings)
    }

    /// Appends records of a random market: several trades a record, late and equal times.
    fn trade(&mut self, records: usize) {
        let records = self.market.records(records);
        let records = records.iter().map(|(symbol, value)| (symbol.as_str(), value.as_slice()));
        self.kafka.produce(&self.topic, records);
    }

    #[track_caller]
    fn rebuild(&self) {
        let settings = [
            ("KAFKA_BROKERS", self.kafka.brokers()),
            ("KAFKA_TOPIC", &self.topic),
            ("REDIS_ADDR", self.redis.address()),
        ];
        let mut rebuild = Program::start("processor", &["rebuild"], &settings);
        assert_eq!(rebuild.wait_exit(PATIENCE), Exit::Code(0), "{}", rebuild.log());
    }

    #[track_caller]
    fn check(&self, when: &str) {
        let expected = oracle::expected(&oracle::trades(&self.kafka.records(&self.topic)));
        let mut stored = Default::default();
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            stored = oracle::stored(self.redis.address());
            if stored == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        for (symbol, expected) in &expected {
            assert_eq!(stored.get(symbol), Some(expected), "{when}: {symbol}");
        }
        panic!("{when}: Redis holds symbols that the log does not");
    }
}

#[test]
fn redis_holds_what_the_log_says() {
    let mut rig = Rig::new("replay");
    rig.trade(2_000);
    let mut processor = rig.processor();
    rig.check("read from the start");
    rig.trade(500);
    rig.check("while it runs");
    assert_eq!(processor.terminate(), Exit::Code(0));
    rig.trade(500);
    let _processor = rig.processor();
    rig.check("after a restart");
}

#[test]
fn replays_and_two_writers_at_once_change_nothing() {
    let mut rig = Rig::new("twice");
    rig.trade(2_000);
    // Two groups: both read every partition, and race each other for every symbol.
    let (_one, _two) = (rig.processor_of("one"), rig.processor_of("two"));
    for _ in 0..5 {
        rig.trade(400);
    }
    rig.check("two writers at once");
    let third = rig.processor_of("three");
    eventually(PATIENCE, "the third has read it all", || {
        third.metric("gostocks_records_consumed_total") >= 4_000.0
    });
    rig.check("a third reads everything again");
}

#[test]
fn a_killed_processor_loses_nothing() {
    let mut rig = Rig::new("killed");
    for round in 0..4 {
        let mut processor = rig.processor();
        processor.wait_ready();
        rig.trade(1_500);
        if round % 2 == 0 {
            eventually(PATIENCE, "it has begun", || {
                processor.metric("gostocks_records_consumed_total") > 0.0
            });
        }
        processor.kill9();
    }
    let _processor = rig.processor();
    rig.check("after four kills");
}

#[test]
fn a_killed_redis_loses_nothing() {
    let mut rig = Rig::new("redis");
    let mut processor = rig.processor();
    for _ in 0..3 {
        rig.trade(1_000);
        rig.redis.kill9();
        rig.trade(1_000);
        rig.redis.restart();
        rig.trade(1_000);
        rig.check("after a kill of Redis");
    }
    // Emptied: everything comes back from the log.
    rig.redis.kill9();
    rig.redis.wipe();
    rig.redis.restart();
    rig.check("after Redis lost everything");
    assert!(processor.is_alive(), "it never ended");
}

#[test]
fn records_that_are_no_ticks_are_put_aside_and_stop_nothing() {
    let mut rig = Rig::new("dead");
    rig.trade(100);
    let seed =
        StockTick { symbol: "AAPL".into(), price: 1.5, timestamp: BEGIN, ..Default::default() };
    let nan = StockTick { price: f64::NAN, ..seed.clone() };
    let control = StockTick { symbol: "A\nB".into(), ..seed.clone() };
    let mut unequal = seed.clone();
    unequal.prices = vec![1.0, 2.0];
    unequal.timestamps = vec![BEGIN];
    let bad: Vec<Vec<u8>> = [nan, control, unequal].iter().map(Message::encode_to_vec).collect();
    let garbage: Vec<u8> = b"not a tick".to_vec();
    let all = bad.iter().chain([&garbage]).map(|value| ("AAPL", value.as_slice()));
    rig.kafka.produce(&rig.topic, all);
    // A valid record under another symbol's key, so on another partition than its symbol's.
    let misplaced = seed.encode_to_vec();
    let elsewhere = ["B", "C", "D", "E", "F"].map(|key| (key, misplaced.as_slice()));
    let before = rig.kafka.records(&rig.topic).len();
    rig.kafka.produce(&rig.topic, elsewhere);
    let home = |key: &str| broker::partition_of(key, 6);
    let astray = ["B", "C", "D", "E", "F"].iter().filter(|key| home(key) != home("AAPL")).count();
    assert!(astray > 0 && before > 0);
    let processor = rig.processor();
    let dead = format!("{}.dead", rig.topic);
    let expected = bad.len() + 1 + astray;
    eventually(PATIENCE, "the dead letters are counted", || {
        processor.metric("gostocks_records_dead_total") as usize == expected
    });
    let letters = rig.kafka.records(&dead);
    assert_eq!(letters.len(), expected);
    for value in bad.iter().chain([&garbage]) {
        assert!(letters.iter().any(|letter| letter.value == *value), "the bytes are kept");
    }
    rig.trade(100);
    eventually(PATIENCE, "the rest goes on", || {
        processor.metric("gostocks_records_consumed_total") as usize == 200 + bad.len() + 1 + 5
    });
}

#[test]
fn another_log_is_noticed_and_rebuilt_by_one_command() {
    let mut rig = Rig::new("another");
    rig.trade(300);
    let mut processor = rig.processor();
    rig.check("the first log");
    processor.terminate();
    // The same Redis, another topic under the same name: as after a broker lost its disk.
    let other = rig.kafka.topic("another-life", 6);
    let rename = |from: &str, to: &str| {
        let client =
            redis::Client::open(format!("redis://{}", rig.redis.address())).expect("address");
        let mut connection = client.get_connection().expect("a Redis");
        let keys = [format!("log:{{{from}}}"), format!("log:{{{to}}}")];
        redis::cmd("RENAME").arg(&keys).query::<()>(&mut connection).expect("the log's key");
    };
    rename(&rig.topic, &other);
    rig.topic = other;
    let mut processor = rig.processor();
    assert_eq!(processor.wait_exit(PATIENCE), Exit::Code(1), "an empty log is shorter");
    assert!(processor.log().contains("processor rebuild"), "{}", processor.log());
    rig.trade(600);
    let before = oracle::stored(rig.redis.address());
    for start in ["the first", "the second"] {
        let mut processor = rig.processor();
        let exit = processor.wait_exit(PATIENCE);
        assert_eq!(exit, Exit::Code(1), "other records at the same places: {start} start");
        assert!(processor.log().contains("another record stands at"), "{}", processor.log());
        assert_eq!(oracle::stored(rig.redis.address()), before, "nothing of it is written");
    }
    rig.rebuild();
    let _processor = rig.processor();
    rig.check("after the rebuild");
}

#[test]
fn a_rebuild_while_processors_run_ends_in_the_same_state() {
    let mut rig = Rig::new("rebuild");
    rig.trade(2_000);
    let mut processor = rig.processor();
    rig.check("before");
    for _ in 0..3 {
        rig.trade(300);
        rig.rebuild();
        rig.trade(300);
    }
    rig.check("after three rebuilds");
    assert!(processor.is_alive(), "it went on under each new log id");
}

#[test]
fn a_record_as_large_as_kafka_takes_can_be_put_aside() {
    let mut rig = Rig::new("large");
    let large = vec![0xff_u8; 990_000];
    rig.kafka.produce(&rig.topic, [("AAPL", large.as_slice())]);
    rig.trade(100);
    let processor = rig.processor();
    rig.check("what follows it");
    let dead = format!("{}.dead", rig.topic);
    eventually(PATIENCE, "the dead letter is counted", || {
        processor.metric("gostocks_records_dead_total") as usize == 1
    });
    let letters = rig.kafka.records(&dead);
    assert_eq!(letters.len(), 1);
}

#[test]
fn a_topic_with_more_partitions_is_another_log() {
    let mut rig = Rig::new("grown");
    rig.trade(300);
    let mut processor = rig.processor();
    rig.check("with six partitions");
    processor.terminate();
    let before = oracle::stored(rig.redis.address());
    rig.kafka.grow_topic(&rig.topic, 8);
    let mut processor = rig.processor();
    assert_eq!(processor.wait_exit(PATIENCE), Exit::Code(1));
    let log = processor.log();
    assert!(log.contains("it had 6 partitions and has 8 now"), "{log}");
    assert_eq!(oracle::stored(rig.redis.address()), before, "nothing was written");
}
