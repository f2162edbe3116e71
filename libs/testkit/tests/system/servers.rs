//! The kit keeps its own promises.

use std::time::Duration;

use testkit::{Kafka, eventually};

#[test]
fn topics_of_the_shared_kafka_are_private() {
    let kafka = testkit::kafka();
    let (first, second) = (kafka.topic("ticks", 2), kafka.topic("ticks", 2));
    assert_ne!(first, second);
    assert_eq!(kafka.records(&first), []);
}

#[test]
fn a_private_kafka_keeps_its_topics_over_a_kill_and_loses_them_when_wiped() {
    let mut server = testkit::private_kafka();
    let kafka = Kafka::at(server.address());
    kafka.create_topic("ticks", 1);
    server.kill9();
    server.restart();
    assert_eq!(kafka.records("ticks"), []);
    server.stop();
    server.wipe();
    server.restart();
    // It would be refused if the topic were still there.
    kafka.create_topic("ticks", 1);
}

#[test]
fn a_private_redis_dies_when_dropped() {
    let redis = testkit::redis();
    let address = redis.address().to_owned();
    assert!(servers::redis::is_ready(&address));
    drop(redis);
    eventually(Duration::from_secs(5), "its port is free", || !servers::redis::is_ready(&address));
}
