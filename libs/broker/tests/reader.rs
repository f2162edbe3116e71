//! Reading a stretch of a topic again, on a real broker.

use broker::TopicReader;
use testkit::{Kafka, private_kafka};

/// More than librdkafka fetches ahead.
const RECORDS: usize = 300_000;

#[test]
fn a_reader_goes_on_when_the_broker_is_back() {
    let mut server = private_kafka();
    let kafka = Kafka::at(server.address());
    let topic = kafka.topic("reader", 1);
    kafka.produce(&topic, (0..RECORDS).map(|_| ("AAPL", &b"record"[..])));
    let reader = TopicReader::new(server.address(), &topic).expect("a reader");
    let mut read = 0;
    let outcome = reader.read(0, 0, RECORDS as i64, |record| {
        assert_eq!(record.offset(), read);
        read += 1;
        if read == 1 {
            server.kill9();
            server.restart();
        }
        true
    });
    outcome.expect("a broker that goes for a moment is no trouble");
    assert_eq!(read, RECORDS as i64);
}
