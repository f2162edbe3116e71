use std::time::Duration;

use metrics::{Counter, Gauge};
use rdkafka::statistics::{Broker, Statistics, Window};
use service::catalogue::{self, Metric};

/// How often librdkafka reports on itself.
pub(crate) const INTERVAL_MS: &str = "500";

/// Where a client's own figures go. Quantiles are of librdkafka's moving window, of the broker
/// that is worst: p50, p99.
pub(crate) struct ClientMetrics {
    round_trip: [Gauge; 2],
    queued: [Gauge; 2],
    records: Gauge,
    bytes_sent: Counter,
    bytes_received: Counter,
    request_timeouts: Counter,
    disconnects: Counter,
}

impl ClientMetrics {
    /// `client` tells a program's clients apart.
    pub(crate) fn of(client: &'static str) -> Self {
        let quantiles = |metric: Metric| {
            ["0.5", "0.99"]
                .map(|quantile| metric.with("client", client).with("quantile", quantile).gauge())
        };
        let counter = |metric: Metric| metric.with("client", client).counter();
        Self {
            round_trip: quantiles(catalogue::KAFKA_ROUND_TRIP),
            queued: quantiles(catalogue::KAFKA_QUEUED),
            records: catalogue::KAFKA_RECORDS.with("client", client).gauge(),
            bytes_sent: counter(catalogue::KAFKA_SENT),
            bytes_received: counter(catalogue::KAFKA_RECEIVED),
            request_timeouts: counter(catalogue::KAFKA_TIMEOUTS),
            disconnects: counter(catalogue::KAFKA_DISCONNECTS),
        }
    }

    pub(crate) fn tell(&self, statistics: &Statistics) {
        set(&self.round_trip, statistics, |broker| broker.rtt.as_ref());
        set(&self.queued, statistics, |broker| broker.int_latency.as_ref());
        let fetched = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let fetched: i64 = fetched.map(|partition| partition.fetchq_cnt.max(0)).sum();
        self.records.set(statistics.msg_cnt as f64 + fetched as f64);
        let total = |count: fn(&Broker) -> u64| statistics.brokers.values().map(count).sum::<u64>();
        self.bytes_sent.absolute(total(|broker| broker.txbytes));
        self.bytes_received.absolute(total(|broker| broker.rxbytes));
        self.request_timeouts.absolute(total(|broker| broker.req_timeouts));
        let ended = |broker: &Broker| {
            broker.disconnects.and_then(|count| u64::try_from(count).ok()).unwrap_or_default()
        };
        self.disconnects.absolute(total(ended));
    }
}

fn set([p50, p99]: &[Gauge; 2], statistics: &Statistics, window: fn(&Broker) -> Option<&Window>) {
    let windows = || statistics.brokers.values().filter_map(window).filter(|window| window.cnt > 0);
    let seconds = |micros: Option<i64>| {
        let micros = micros.and_then(|micros| u64::try_from(micros).ok()).unwrap_or_default();
        Duration::from_micros(micros).as_secs_f64()
    };
    p50.set(seconds(windows().map(|window| window.p50).max()));
    p99.set(seconds(windows().map(|window| window.p99).max()));
}

/// Whether the idempotent producer has its id: before, every record only queues up.
pub(crate) fn has_producer_id(statistics: &Statistics) -> bool {
    statistics.eos.as_ref().is_some_and(|eos| eos.idemp_state == "Assigned")
}
