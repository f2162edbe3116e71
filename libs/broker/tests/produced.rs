//! What the producer counts, on a real broker.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker::{Arrival, Producer, ProducerMetrics, ProducerSettings};
use metrics::{Counter, Gauge, Histogram, HistogramFn};
use testkit::kafka;

/// Keeps every sample: seconds, and how many trades it stands for.
#[derive(Default)]
struct Kept(Mutex<Vec<(f64, usize)>>);

impl HistogramFn for Kept {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.0.lock().expect("no panic").push((value, count));
    }
}

fn metrics(stage: &Arc<Kept>) -> ProducerMetrics {
    ProducerMetrics {
        produced: Counter::noop(),
        delivered: Counter::noop(),
        failed: Counter::noop(),
        in_flight: Gauge::noop(),
        in_flight_bound: Gauge::noop(),
        full: Counter::noop(),
        produced_stage: Histogram::from_arc(Arc::clone(stage)),
    }
}

#[test]
fn the_produced_stage_counts_trades_and_not_records() {
    let topic = kafka().topic("produced", 6);
    let settings = ProducerSettings {
        brokers: kafka().brokers().to_owned(),
        topic,
        client_id: "test".to_owned(),
        linger: Duration::from_millis(1),
        in_flight_records: 100,
        in_flight_requests: 1,
        delivery_timeout: Duration::from_secs(60),
    };
    let stage = Arc::new(Kept::default());
    let producer = Producer::connect(settings, metrics(&stage)).expect("a producer");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock") - LATENCY;
    let received_at = since.as_nanos() as u64;
    for trades in [1, 4, 65_536] {
        producer
            .send("AAPL", b"record", &[], Arrival { received_at, trades })
            .expect("it is taken");
    }
    // Of the original's: it does not say when it was received.
    producer
        .send("AAPL", b"record", &[], Arrival { received_at: 0, trades: 1 })
        .expect("it is taken");
    producer.flush(Instant::now() + Duration::from_secs(30)).expect("all are there");

    let samples = stage.0.lock().expect("no panic").clone();
    let trades: Vec<usize> = samples.iter().map(|(_, trades)| *trades).collect();
    assert_eq!(trades, [1, 4, 65_536]);
    let plausible = LATENCY.as_secs_f64()..LATENCY.as_secs_f64() + 30.0;
    assert!(samples.iter().all(|(seconds, _)| plausible.contains(seconds)), "{samples:?}");
}

/// How long before the sending the trades were received.
const LATENCY: Duration = Duration::from_secs(5);
