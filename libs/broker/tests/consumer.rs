//! A member of a group, on a real broker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use broker::{Consumer, ConsumerSettings, Next, Start};
use testkit::{Kafka, kafka};

const PARTITIONS: i32 = 6;
const RECORDS: usize = 60;
const ROUNDS: usize = 150;
const PATIENCE: Duration = Duration::from_secs(20);

struct Member {
    consumer: Consumer,
    round: usize,
}

impl Member {
    fn join(topic: &str) -> Self {
        let settings = ConsumerSettings {
            brokers: kafka().brokers().to_owned(),
            topic: topic.to_owned(),
            group: topic.to_owned(),
            client_id: "test".to_owned(),
            session_timeout: Duration::from_secs(6),
        };
        let consumer = Consumer::connect(&settings, Box::new(|_, _| {})).expect("a consumer");
        Self { consumer, round: 0 }
    }

    fn wait_assigned(&self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.consumer.next(Duration::from_millis(50)).expect("no trouble") {
                Next::Assigned(partitions) if partitions.len() == PARTITIONS as usize => return,
                Next::Idle => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("nothing was assigned");
    }

    fn start(&self, places: impl Fn(i32) -> Start) {
        let starts: Vec<_> =
            (0..PARTITIONS).map(|partition| (partition, places(partition))).collect();
        self.consumer.start(&starts).expect("started");
    }

    /// Reads until every partition has brought a record: the one that was named, then the next.
    fn read_some_of_each(&self, places: impl Fn(i32) -> i64) {
        let mut next: BTreeMap<i32, i64> =
            (0..PARTITIONS).map(|partition| (partition, places(partition))).collect();
        let mut silent: BTreeSet<i32> = (0..PARTITIONS).collect();
        let begun = Instant::now();
        while !silent.is_empty() {
            let round = self.round;
            if let Next::Record(record) =
                self.consumer.next(Duration::from_millis(50)).expect("no trouble")
            {
                let expected = next.entry(record.partition()).or_default();
                assert_eq!(record.offset(), *expected, "round {round}: {record:?}");
                *expected += 1;
                silent.remove(&record.partition());
            }
            assert!(begun.elapsed() < PATIENCE, "round {round}: {silent:?} bring nothing");
        }
    }
}

#[test]
fn whatever_is_started_is_read_however_often_and_is_not_read_before() {
    let kafka = Kafka::at(kafka().brokers());
    let topic = kafka.topic("started", PARTITIONS);
    let keys: Vec<String> = (0..RECORDS).map(|number| format!("S{number}")).collect();
    kafka.produce(&topic, keys.iter().map(|key| (key.as_str(), &b"record"[..])));
    let mut member = Member::join(&topic);
    member.wait_assigned();
    let before = member.consumer.next(Duration::from_secs(1)).expect("no trouble");
    assert!(matches!(before, Next::Idle), "{before:?}");
    let all: Vec<i32> = (0..PARTITIONS).collect();
    for round in 0..ROUNDS {
        member.round = round;
        let first = |partition| i64::from((round as i32 + partition) % 2);
        member.start(|partition| match first(partition) {
            0 => Start::Beginning,
            offset => Start::At(offset),
        });
        member.read_some_of_each(first);
        let read: Vec<_> = all.iter().map(|partition| (*partition, 2)).collect();
        member.consumer.effected(read).expect("noted");
        // What is held when it is stopped is read again all the same.
        member.consumer.hold(&all).expect("held");
        if round % 3 > 0 {
            member.consumer.resume().expect("resumed");
        }
        member.consumer.stop(&all).expect("stopped");
    }
    member.consumer.release(&all).expect("released");
}
