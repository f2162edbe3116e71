use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use metrics::{Counter, Gauge, Histogram};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::statistics::Statistics;
use rdkafka::{ClientContext, Message};

use crate::Arrival;
use crate::statistics::{self, ClientMetrics};

const WARM_UP: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub struct ProducerSettings {
    pub brokers: String,
    pub topic: String,
    pub client_id: String,
    /// How long the client may wait for company before it sends a record.
    pub linger: Duration,
    /// How many records may be unacknowledged. Full means that the broker is behind: `send`
    /// waits, so the socket reader waits, and the feed's own buffer takes the pressure. Past a
    /// backlog librdkafka itself becomes the slow part, so more is not faster.
    pub in_flight_records: usize,
    /// How many requests to a broker may be unanswered, at most five. While one is, records gather:
    /// with one, a busy broker gets fewer and larger requests. A request has records of one
    /// partition, so the partitions of a broker take turns: where its answers take milliseconds
    /// to come, more are better.
    pub in_flight_requests: u8,
    /// The retry budget: a record not acknowledged within it has failed for good.
    pub delivery_timeout: Duration,
}

/// Where the producer counts; the catalogue names them.
#[derive(Clone)]
pub struct ProducerMetrics {
    pub produced: Counter,
    pub delivered: Counter,
    pub failed: Counter,
    pub in_flight: Gauge,
    /// How many may be.
    pub in_flight_bound: Gauge,
    /// How often `send` had to wait.
    pub full: Counter,
    /// Received to acknowledged by the broker, seconds; a sample a trade.
    pub produced_stage: Histogram,
}

impl fmt::Debug for ProducerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProducerMetrics")
    }
}

/// A record was not acknowledged within the retry budget. What it held is not on the log, so the
/// program must end and say so rather than go on with a hole.
#[derive(Clone, Debug, thiserror::Error)]
#[error("Kafka did not take a record of {topic}: {reason}")]
pub struct DeliveryFailed {
    pub topic: String,
    pub reason: String,
}

/// Idempotent, `acks=all`, lz4, partitioned by murmur2 of the key like Kafka's own clients.
///
/// Invariant: a record accepted by `send` is delivered once and in order, or `send`, `flush` and
/// `failure` tell that it was not.
pub struct Producer {
    client: ThreadedProducer<Deliveries>,
    topic: String,
    in_flight_bound: usize,
    deliveries: Arc<Shared>,
    metrics: ProducerMetrics,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    /// Someone waits for `in_flight` to shrink, or for the producer id.
    waiting: bool,
    warm: bool,
    failure: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock means a panic between two assignments: the counts are still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `done`, in steps, so that a lost wake-up costs a moment and not for ever.
    fn wait_until(&self, deadline: Option<Instant>, done: impl Fn(&State) -> bool) -> bool {
        const STEP: Duration = Duration::from_millis(100);
        let mut state = self.lock();
        while !done(&state) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            state.waiting = true;
            let left = deadline.map_or(STEP, |at| at.saturating_duration_since(Instant::now()));
            let waited = self.changed.wait_timeout(state, left.min(STEP));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

struct Deliveries {
    shared: Arc<Shared>,
    metrics: ProducerMetrics,
    client: ClientMetrics,
}

impl ClientContext for Deliveries {
    fn stats(&self, statistics: Statistics) {
        self.client.tell(&statistics);
        let mut state = self.shared.lock();
        state.warm |= statistics::has_producer_id(&statistics);
        self.metrics.in_flight.set(state.in_flight as f64);
        if state.waiting {
            self.shared.changed.notify_all();
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the producer's connection to Kafka has trouble");
    }
}

impl ProducerContext for Deliveries {
    /// A packed [`Arrival`], so that a record costs no allocation.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, arrival: usize) {
        let failure = match result {
            Ok(_) => {
                self.metrics.delivered.increment(1);
                if let Some(Arrival { received_at, trades }) = Arrival::unpack(arrival) {
                    let since = now().saturating_sub(Duration::from_nanos(received_at));
                    self.metrics.produced_stage.record_many(since.as_secs_f64(), trades);
                }
                None
            }
            Err((error, record)) => {
                self.metrics.failed.increment(1);
                Some(format!("{error} (partition {})", record.partition()))
            }
        };
        let mut state = self.shared.lock();
        state.in_flight -= 1;
        if state.failure.is_none() {
            state.failure = failure;
        }
        if state.waiting {
            state.waiting = false;
            self.shared.changed.notify_all();
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Producer {
    /// Connects and waits until records can flow: the topic's metadata is known and the producer
    /// has its id, which takes half a second that the first trades should not wait for.
    ///
    /// Blocks: call it off the async threads. Errors when the topic is missing or Kafka does not
    /// answer within 15 seconds.
    pub fn connect(settings: ProducerSettings, metrics: ProducerMetrics) -> anyhow::Result<Self> {
        let deliveries = Arc::new(Shared::default());
        let context = Deliveries {
            shared: Arc::clone(&deliveries),
            metrics: metrics.clone(),
            client: ClientMetrics::of("producer"),
        };
        let client: ThreadedProducer<Deliveries> = ClientConfig::new()
            .set("bootstrap.servers", &settings.brokers)
            .set("client.id", &settings.client_id)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("linger.ms", format!("{:.3}", settings.linger.as_secs_f64() * 1e3))
            .set("max.in.flight", settings.in_flight_requests.to_string())
            .set("delivery.timeout.ms", settings.delivery_timeout.as_millis().to_string())
            // Ours is the tighter bound: librdkafka's own queue never refuses.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "1048576")
            .set("statistics.interval.ms", statistics::INTERVAL_MS)
            .set("reconnect.backoff.max.ms", "1000")
            .create_with_context(context)
            .context("cannot make a Kafka producer")?;
        let metadata = client
            .client()
            .fetch_metadata(Some(&settings.topic), WARM_UP)
            .with_context(|| format!("Kafka at {} does not answer", settings.brokers))?;
        if metadata.topics().iter().all(|topic| topic.partitions().is_empty()) {
            bail!("Kafka at {} has no topic {}", settings.brokers, settings.topic);
        }
        if !deliveries.wait_until(Some(Instant::now() + WARM_UP), |state| state.warm) {
            bail!("Kafka at {} gave no producer id within {WARM_UP:?}", settings.brokers);
        }
        let in_flight_bound = settings.in_flight_records.max(1);
        metrics.in_flight_bound.set(in_flight_bound as f64);
        Ok(Self { client, topic: settings.topic, in_flight_bound, deliveries, metrics })
    }

    /// Hands a record over; waits while too many are unacknowledged. `headers` are the record's;
    /// most have none, and those alone cost no allocation.
    pub fn send(
        &self,
        key: &str,
        value: &[u8],
        headers: &[(&str, &str)],
        arrival: Arrival,
    ) -> Result<(), DeliveryFailed> {
        self.reserve()?;
        let mut record =
            BaseRecord::with_opaque_to(&self.topic, arrival.pack()).key(key).payload(value);
        if !headers.is_empty() {
            let all = OwnedHeaders::new_with_capacity(headers.len());
            let all = headers
                .iter()
                .fold(all, |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
            record = record.headers(all);
        }
        loop {
            match self.client.send(record) {
                Ok(()) => {
                    self.metrics.produced.increment(1);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    // The byte bound: wait for a delivery to make room.
                    record = back;
                    self.metrics.full.increment(1);
                    let before = self.deliveries.lock().in_flight;
                    let soon = Instant::now() + Duration::from_millis(10);
                    self.deliveries.wait_until(Some(soon), |state| state.in_flight < before);
                }
                Err((error, _)) => {
                    let mut state = self.deliveries.lock();
                    state.in_flight -= 1;
                    state.failure.get_or_insert_with(|| error.to_string());
                    return Err(self.failed(error.to_string()));
                }
            }
        }
    }

    fn reserve(&self) -> Result<(), DeliveryFailed> {
        let mut state = self.deliveries.lock();
        if state.failure.is_none() && state.in_flight >= self.in_flight_bound {
            drop(state);
            self.metrics.full.increment(1);
            let bound = self.in_flight_bound;
            let room = |state: &State| state.failure.is_some() || state.in_flight < bound;
            self.deliveries.wait_until(None, room);
            state = self.deliveries.lock();
        }
        if let Some(reason) = &state.failure {
            return Err(self.failed(reason.clone()));
        }
        state.in_flight += 1;
        Ok(())
    }

    /// Whether so many records or more are unacknowledged, after a wait for them to become fewer.
    /// A failure ends the wait.
    pub fn has_in_flight(&self, records: usize, wait: Duration) -> bool {
        let is_fewer = |state: &State| state.failure.is_some() || state.in_flight < records;
        if !wait.is_zero() {
            self.deliveries.wait_until(Some(Instant::now() + wait), is_fewer);
        }
        self.deliveries.lock().in_flight >= records
    }

    /// Waits until everything sent is acknowledged; it is an error where that is not so by then.
    pub fn flush(&self, deadline: Instant) -> anyhow::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.client.flush(left).or_else(|error| match error {
            // Counted below, with what is left.
            KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut) => Ok(()),
            error => Err(error),
        })?;
        // The queue is empty a moment before the last delivery is heard.
        self.deliveries.wait_until(Some(deadline), |state| state.in_flight == 0);
        let state = self.deliveries.lock();
        if let Some(reason) = &state.failure {
            return Err(self.failed(reason.clone()).into());
        }
        if state.in_flight > 0 {
            bail!("{} records were not acknowledged in time", state.in_flight);
        }
        Ok(())
    }

    /// Why a record failed for good, if one did.
    pub fn failure(&self) -> Option<DeliveryFailed> {
        let reason = self.deliveries.lock().failure.clone()?;
        Some(self.failed(reason))
    }

    fn failed(&self, reason: String) -> DeliveryFailed {
        DeliveryFailed { topic: self.topic.clone(), reason }
    }
}
