//! The real program on a real Kafka and a real Redis: whatever happens to it, Redis holds what
//! the log says.

mod cluster;
mod rig;

use prost::Message;
use rpc::market::v1::StockTick;
use testkit::{Exit, eventually, redis, snapshot_redis};

use crate::rig::{PATIENCE, Rig};

/// A batch is full at once, so that the next one is folded while Redis works on it.
const SMALL: &[(&str, &str)] = &[("BATCH_TRADES", "100")];

/// 2021-01-08 00:00 UTC.
const BEGIN: i64 = 1_610_064_000_000;

#[test]
fn redis_holds_what_the_log_says() {
    let redis = redis();
    let mut rig = Rig::new("replay", redis.address());
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
    let redis = redis();
    let mut rig = Rig::new("twice", redis.address());
    rig.trade(2_000);
    // Two groups: both read every partition, and race each other for every symbol.
    let (_one, _two) = (rig.processor_of("one", SMALL), rig.processor_of("two", &[]));
    for _ in 0..5 {
        rig.trade(400);
    }
    rig.check("two writers at once");
    let third = rig.processor_of("three", SMALL);
    eventually(PATIENCE, "the third has read it all", || {
        third.metric("gostocks_records_consumed_total") >= 4_000.0
    });
    rig.check("a third reads everything again");
}

#[test]
fn a_killed_processor_loses_nothing() {
    let redis = redis();
    let mut rig = Rig::new("killed", redis.address());
    for round in 0..4 {
        let mut processor = rig.processor_of("processor-group", SMALL);
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
    let mut redis = redis();
    let mut rig = Rig::new("redis", redis.address());
    let mut processor = rig.processor_of("processor-group", SMALL);
    for is_older in [true, false, true] {
        // It comes back as it was then, without what has been read since and written for certain; or
        // as it was a round before.
        if is_older {
            snapshot_redis(redis.address());
            rig.trade(1_000);
            rig.check("before a kill of Redis");
        }
        rig.trade(1_000);
        redis.kill9();
        rig.trade(1_000);
        redis.restart();
        rig.trade(1_000);
        rig.check("after a kill of Redis");
    }
    // Emptied: everything comes back from the log.
    redis.kill9();
    redis.wipe();
    redis.restart();
    rig.check("after Redis lost everything");
    assert!(processor.is_alive(), "it never ended");
}

#[test]
fn everything_at_once_leaves_what_the_log_says() {
    let mut redis = redis();
    let mut rig = Rig::new("everything", redis.address());
    rig.trade(2_000);
    // Two groups race each other from the start of the topic; one is killed in the middle, and
    // Redis is too.
    let mut one = rig.processor_of("one", &[]);
    let mut two = rig.processor_of("two", SMALL);
    for round in 0..6 {
        rig.trade(500);
        match round {
            1 => one.kill9(),
            2 => one = rig.processor_of("one", &[]),
            3 => redis.kill9(),
            4 => redis.restart(),
            _ => {
                one.wait_ready();
            }
        }
    }
    rig.check("two at once, one killed, Redis restarted");
    // Read from the start again, twice, while the others go on.
    let again = ["three", "four"].map(|group| rig.processor_of(group, SMALL));
    rig.trade(500);
    let records = rig.kafka.records(&rig.topic).len() as f64;
    for processor in &again {
        eventually(PATIENCE, "it has read everything", || {
            processor.metric("gostocks_records_consumed_total") >= records
        });
    }
    rig.check("replayed twice");
    assert!(one.is_alive() && two.is_alive(), "neither ended by itself");
}

#[test]
fn a_stream_keeps_as_many_trades_as_it_is_told() {
    const KEPT: usize = 1_000;
    let redis = redis();
    let mut rig = Rig::new("retention", redis.address());
    let settings = [("STREAM_TRADES", "1000"), ("RECENT_TICKS", "0"), ("CANDLES", "1m:10")];
    // The longest entry that there can be: all trades of one round.
    let mut longest = 0;
    let mut before = rig.expected().streams;
    // It is remembered from one life to the next what is there.
    for life in 0..3 {
        let mut processor = rig.processor_of("processor-group", &settings);
        for _ in 0..10 {
            rig.trade(300);
            let records = rig.kafka.records(&rig.topic).len();
            eventually(PATIENCE, "all is read", || rig_followed(&rig) == records);
            let now = rig.expected().streams;
            let known = |partition| before.get(partition).map_or(0, Vec::len);
            let new = now.iter().map(|(partition, trades)| trades.len() - known(partition));
            longest = new.max().unwrap_or(0).max(longest);
            before = now;
        }
        let (stored, expected) = (rig.stored(), rig.expected());
        for (partition, expected) in &expected.streams {
            let found = &stored.streams[partition];
            assert!(expected.ends_with(found), "life {life}, {partition}: the newest are kept");
            let bounds = KEPT.min(expected.len())..=KEPT + longest + KEPT / 100;
            assert!(bounds.contains(&found.len()), "life {life}, {partition}: {}", found.len());
        }
        for view in stored.symbols.values() {
            let minutes = view.candles["1m"].keys();
            assert!(view.recent.is_empty() && minutes.len() <= 10 && view.candles["1s"].is_empty());
        }
        assert_eq!(processor.terminate(), Exit::Code(0));
    }
}

/// How many records Redis has followed.
fn rig_followed(rig: &Rig) -> usize {
    let client = ::redis::Client::open(format!("redis://{}", rig.redis)).expect("an address");
    let mut connection = client.get_connection().expect("a Redis");
    let key = format!("log:{{{}}}", rig.topic);
    let fields: std::collections::BTreeMap<String, String> =
        ::redis::cmd("HGETALL").arg(key).query(&mut connection).expect("the log's key");
    let places = fields.iter().filter(|(field, _)| field.starts_with("partition."));
    places
        .map(|(_, place)| place.split(' ').next().and_then(|it| it.parse::<usize>().ok()))
        .map(|offset| offset.expect("an offset") + 1)
        .sum()
}

#[test]
fn records_that_are_no_ticks_are_put_aside_and_stop_nothing() {
    let redis = redis();
    let mut rig = Rig::new("dead", redis.address());
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
    let redis = redis();
    let mut rig = Rig::new("another", redis.address());
    rig.trade(300);
    let mut processor = rig.processor();
    rig.check("the first log");
    processor.terminate();
    // The same Redis, another topic under the same name: as after a broker lost its disk.
    let other = rig.kafka.topic("another-life", 6);
    let rename = |from: &str, to: &str| {
        let client = ::redis::Client::open(format!("redis://{}", rig.redis)).expect("address");
        let mut connection = client.get_connection().expect("a Redis");
        let keys = [format!("log:{{{from}}}"), format!("log:{{{to}}}")];
        ::redis::cmd("RENAME").arg(&keys).query::<()>(&mut connection).expect("the log's key");
    };
    rename(&rig.topic, &other);
    rig.topic = other;
    let mut processor = rig.processor();
    assert_eq!(processor.wait_exit(PATIENCE), Exit::Code(1), "an empty log is shorter");
    assert!(processor.log().contains("processor rebuild"), "{}", processor.log());
    rig.trade(600);
    let before = rig.stored();
    for start in ["the first", "the second"] {
        let mut processor = rig.processor();
        let exit = processor.wait_exit(PATIENCE);
        assert_eq!(exit, Exit::Code(1), "other records at the same places: {start} start");
        assert!(processor.log().contains("another record stands at"), "{}", processor.log());
        assert_eq!(rig.stored(), before, "nothing of it is written");
    }
    rig.rebuild();
    let _processor = rig.processor();
    rig.check("after the rebuild");
}

#[test]
fn a_rebuild_while_processors_run_ends_in_the_same_state() {
    let redis = redis();
    let mut rig = Rig::new("rebuild", redis.address());
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
    let redis = redis();
    let mut rig = Rig::new("large", redis.address());
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
    let redis = redis();
    let mut rig = Rig::new("grown", redis.address());
    rig.trade(300);
    let mut processor = rig.processor();
    rig.check("with six partitions");
    processor.terminate();
    let before = rig.stored();
    rig.kafka.grow_topic(&rig.topic, 8);
    let mut processor = rig.processor();
    assert_eq!(processor.wait_exit(PATIENCE), Exit::Code(1));
    let log = processor.log();
    assert!(log.contains("it had 6 partitions and has 8 now"), "{log}");
    assert_eq!(rig.stored(), before, "nothing was written");
}
