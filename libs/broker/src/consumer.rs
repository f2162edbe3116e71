use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientContext;
use rdkafka::bindings::rd_kafka_resp_err_t as ResponseError;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::statistics::ClientMetrics;

const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    pub brokers: String,
    pub topic: String,
    pub group: String,
    pub client_id: String,
    /// How long the group waits for a dead member before its partitions go to another.
    pub session_timeout: Duration,
}

/// Hears, about once a second, at which offset a partition ends.
pub type HearsEnds = Box<dyn Fn(i32, i64) + Send + Sync>;

/// A member of a consumer group on one topic, driven by one polling thread.
///
/// Invariants: no partition is read before `start` named where from, none is given back before
/// `release`, and no offset is committed that `effected` was not told: what a record does must
/// have happened before its offset moves.
///
/// librdkafka stops all partitions until an assignment is answered, so it is answered at once, with
/// none of the new partitions: what takes long, such as loading what belongs to them, holds nobody
/// else up. It is told of them when they are started.
///
/// What it is told of one partition, by pausing and resuming as by starting and stopping, is queued
/// with a number, and what comes after a higher number is passed over (`rd_kafka_toppar_op_serve`).
/// Numbers are drawn before the queue is entered, by whichever thread calls and by its own. So two
/// at once may lose one, and a partition is never read, or never goes on. Hence: one call at a time;
/// and nothing is paused or resumed that has brought no record, since its own thread may be about to
/// start that.
///
/// Not closed: before it tells of a rebalance its own thread pauses all. A start that arrives between
/// its decision and that pause ends the rebalance for it, and what was read before stays paused until
/// the next one, or until whoever reads notices and stops it and starts it again.
pub struct Consumer {
    client: BaseConsumer<Rebalances>,
    topic: String,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// What a poll brought.
#[derive(Debug)]
pub enum Next<'a> {
    Record(Record<'a>),
    /// These partitions are ours, and are not read yet: look up where they go on, then `start`
    /// them. The others go on meanwhile.
    Assigned(Vec<i32>),
    /// The group wants these back: finish what was read, tell `effected`, then `release` them.
    Revoked(Vec<i32>),
    /// Another member may have these already: drop what was read without an effect, `release`.
    Lost(Vec<i32>),
    /// Nothing within the timeout.
    Idle,
}

/// Where a partition is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that is kept.
    Beginning,
    At(i64),
}

impl From<Start> for Offset {
    fn from(start: Start) -> Self {
        match start {
            Start::Beginning => Offset::Beginning,
            Start::At(offset) => Offset::Offset(offset),
        }
    }
}

/// A record, borrowed from the receive buffer.
pub struct Record<'a>(BorrowedMessage<'a>);

impl<'a> Record<'a> {
    pub(crate) fn new(message: BorrowedMessage<'a>) -> Self {
        Self(message)
    }

    #[inline]
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    #[inline]
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        self.0.key().unwrap_or_default()
    }

    #[inline]
    pub fn value(&self) -> &[u8] {
        self.0.payload().unwrap_or_default()
    }

    /// The text of its first header of that name. Looks through the headers, so it is for records
    /// that are known to be few, or for a program that has the time.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.0.headers()?.iter();
        let value = headers.find(|header| header.key == name)?.value?;
        std::str::from_utf8(value).ok()
    }

    /// Tells this record from another at the same place of another log: XXH3 of its key and value.
    #[inline]
    pub fn fingerprint(&self) -> u64 {
        xxh3_64_with_seed(self.value(), xxh3_64(self.key()))
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({}@{})", self.partition(), self.offset())
    }
}

/// Collects what the group decides, for the polling thread to act on between two records.
///
/// librdkafka waits for the answering call, which may come later than the callback.
struct Rebalances {
    topic: String,
    hears_ends: HearsEnds,
    metrics: ClientMetrics,
    reading: Mutex<Reading>,
    events: Mutex<VecDeque<Rebalance>>,
    pending: AtomicBool,
    /// Set once the consumer closes: nobody polls for events any more, so answer at once.
    closing: AtomicBool,
}

/// What librdkafka was told to read. Its lock is held while it is told.
#[derive(Default)]
struct Reading {
    started: BTreeSet<i32>,
    /// Of these.
    held: BTreeSet<i32>,
}

enum Rebalance {
    Assigned(Vec<i32>),
    Revoked { partitions: Vec<i32>, lost: bool },
}

impl ClientContext for Rebalances {
    fn stats(&self, statistics: Statistics) {
        self.metrics.tell(&statistics);
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        for (partition, statistics) in &topic.partitions {
            // Negative where it is not known.
            if *partition >= 0 && statistics.hi_offset >= 0 {
                (self.hears_ends)(*partition, statistics.hi_offset);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the consumer's connection to Kafka has trouble");
    }
}

impl ConsumerContext for Rebalances {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: ResponseError,
        list: &mut TopicPartitionList,
    ) {
        let partitions: Vec<i32> =
            list.elements().iter().map(|element| element.partition()).collect();
        if self.closing.load(Ordering::Acquire) {
            let answer = match kind {
                ResponseError::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.take(consumer),
                _ => self.stop(consumer, &partitions),
            };
            if let Err(error) = answer {
                tracing::warn!("cannot give partitions back: {error:#}");
            }
            return;
        }
        let event = match kind {
            ResponseError::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Rebalance::Assigned(partitions),
            _ => Rebalance::Revoked { partitions, lost: consumer.assignment_lost() },
        };
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
        self.pending.store(true, Ordering::Release);
    }
}

impl Rebalances {
    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts what the group has decided, without reading any of it.
    fn take(&self, client: &BaseConsumer<Self>) -> anyhow::Result<()> {
        let _alone = self.reading();
        let none = TopicPartitionList::new();
        client.incremental_assign(&none).context("cannot accept partitions")
    }

    /// Also the answer to a decision of the group that takes partitions away, whether or not they
    /// were started.
    fn stop(&self, client: &BaseConsumer<Self>, partitions: &[i32]) -> anyhow::Result<()> {
        let mut reading = self.reading();
        // A pause would outlive it.
        let held = common(&reading.held, partitions);
        if let Err(error) = self.go_on(client, &held) {
            tracing::warn!("{error:#}");
        }
        let started = common(&reading.started, partitions);
        let list = started.iter().map(|partition| (*partition, Offset::Invalid));
        client.incremental_unassign(&self.list(list)?).context("cannot stop partitions")?;
        reading.held.retain(|partition| !partitions.contains(partition));
        reading.started.retain(|partition| !partitions.contains(partition));
        Ok(())
    }

    fn go_on(&self, client: &BaseConsumer<Self>, partitions: &[i32]) -> anyhow::Result<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        let list = self.list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
        // Before a rebalance librdkafka pauses all, at any moment: one call might be passed over for
        // that. After one that was not, another changes nothing.
        for _ in 0..2 {
            client.resume(&list).context("cannot go on with partitions")?;
        }
        Ok(())
    }

    fn list(
        &self,
        places: impl IntoIterator<Item = (i32, Offset)>,
    ) -> anyhow::Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in places {
            list.add_partition_offset(&self.topic, partition, offset)?;
        }
        Ok(list)
    }
}

/// Those of `partitions` that are there.
fn common(there: &BTreeSet<i32>, partitions: &[i32]) -> Vec<i32> {
    partitions.iter().copied().filter(|partition| there.contains(partition)).collect()
}

/// Of six seconds, one each half second.
const HEARTBEATS_A_SESSION: u128 = 12;

impl Consumer {
    /// Joins the group; returns before it has.
    pub fn connect(settings: &ConsumerSettings, hears_ends: HearsEnds) -> anyhow::Result<Self> {
        let session = settings.session_timeout.as_millis();
        let client: BaseConsumer<Rebalances> = ClientConfig::new()
            .set("bootstrap.servers", &settings.brokers)
            .set("client.id", &settings.client_id)
            .set("group.id", &settings.group)
            // Cooperative: a rebalance leaves the partitions alone that stay where they are.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session.to_string())
            // Who goes on with the partitions of a dead member hears of its death by a heartbeat.
            .set("heartbeat.interval.ms", (session / HEARTBEATS_A_SESSION).to_string())
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "16384")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("statistics.interval.ms", "1000")
            .create_with_context(Rebalances {
                topic: settings.topic.clone(),
                hears_ends,
                metrics: ClientMetrics::of("consumer"),
                reading: Mutex::default(),
                events: Mutex::default(),
                pending: AtomicBool::new(false),
                closing: AtomicBool::new(false),
            })
            .context("cannot make a Kafka consumer")?;
        client.subscribe(&[&settings.topic]).context("cannot subscribe")?;
        Ok(Self { client, topic: settings.topic.clone() })
    }

    /// The next record or decision of the group. With `Duration::ZERO` only what has arrived.
    #[inline]
    pub fn next(&self, timeout: Duration) -> Result<Next<'_>, KafkaError> {
        if let Some(event) = self.decision() {
            return Ok(event);
        }
        match self.client.poll(timeout) {
            Some(Ok(message)) => Ok(Next::Record(Record(message))),
            Some(Err(error)) => Err(error),
            None => Ok(self.decision().unwrap_or(Next::Idle)),
        }
    }

    #[inline]
    fn decision(&self) -> Option<Next<'_>> {
        let rebalances = self.client.context();
        if !rebalances.pending.load(Ordering::Acquire) {
            return None;
        }
        let mut events = rebalances.events.lock().unwrap_or_else(PoisonError::into_inner);
        let event = events.pop_front();
        rebalances.pending.store(!events.is_empty(), Ordering::Release);
        drop(events);
        Some(match event? {
            Rebalance::Assigned(partitions) => {
                if let Err(error) = rebalances.take(&self.client) {
                    tracing::warn!("cannot take partitions: {error:#}");
                }
                Next::Assigned(partitions)
            }
            Rebalance::Revoked { partitions, lost: false } => Next::Revoked(partitions),
            Rebalance::Revoked { partitions, lost: true } => Next::Lost(partitions),
        })
    }

    /// Begins to read partitions that are ours. There is no other way to have them read. They were
    /// not started before, or were stopped since.
    pub fn start(&self, places: &[(i32, Start)]) -> anyhow::Result<()> {
        let rebalances = self.client.context();
        let mut reading = rebalances.reading();
        let starts = places.iter().map(|(partition, start)| (*partition, (*start).into()));
        let list = rebalances.list(starts)?;
        self.client.incremental_assign(&list).context("cannot start partitions")?;
        reading.started.extend(places.iter().map(|(partition, _)| *partition));
        Ok(())
    }

    /// Reads no more of partitions, which may be started again, from anywhere. What `effected` was
    /// told of them is being committed, once, and until that has an answer nothing is started.
    ///
    /// Where the group is about to take partitions away it may be the answer to that.
    pub fn stop(&self, partitions: &[i32]) -> anyhow::Result<()> {
        let rebalances = self.client.context();
        if common(&rebalances.reading().started, partitions).is_empty() {
            return Ok(());
        }
        rebalances.stop(&self.client, partitions)
    }

    /// Gives partitions back. What `effected` was told is committed first.
    pub fn release(&self, partitions: &[i32]) -> anyhow::Result<()> {
        let stopped = self.client.context().stop(&self.client, partitions);
        stopped.context("cannot give partitions back")
    }

    /// Fetches nothing of these until `resume`, while polls go on and keep the group membership.
    /// Each has brought a record since it was started; one that brings another all the same was not
    /// held.
    pub fn hold(&self, partitions: &[i32]) -> anyhow::Result<()> {
        let rebalances = self.client.context();
        let mut reading = rebalances.reading();
        let ours = |partition: &i32| reading.started.contains(partition);
        let held: Vec<i32> = partitions.iter().copied().filter(ours).collect();
        let list = rebalances.list(held.iter().map(|partition| (*partition, Offset::Invalid)))?;
        reading.held.extend(held);
        self.client.pause(&list).context("cannot hold partitions")
    }

    /// Goes on with the partitions that are held, after the last record that was polled.
    pub fn resume(&self) -> anyhow::Result<()> {
        let rebalances = self.client.context();
        let mut reading = rebalances.reading();
        let held: Vec<i32> = std::mem::take(&mut reading.held).into_iter().collect();
        rebalances.go_on(&self.client, &held)
    }

    /// Every record before `next` has had its effect: the offset may be committed.
    pub fn effected(&self, offsets: impl IntoIterator<Item = (i32, i64)>) -> anyhow::Result<()> {
        let list = self
            .client
            .context()
            .list(offsets.into_iter().map(|(p, next)| (p, Offset::Offset(next))))?;
        self.client.store_offsets(&list).context("cannot note offsets")
    }

    /// Commits what `effected` was told, and waits for it. A group that is about to share its
    /// partitions anew takes nothing: whoever gets them reads again from where they were committed.
    pub fn commit(&self) -> anyhow::Result<()> {
        match self.client.commit_consumer_state(CommitMode::Sync) {
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
            Err(KafkaError::ConsumerCommit(
                refusal @ (RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::UnknownMemberId),
            )) => {
                tracing::info!(%refusal, "the group takes no offsets now");
                Ok(())
            }
            other => other.context("cannot commit"),
        }
    }

    /// The group's committed offsets; `None` for a partition without.
    pub fn committed(&self, partitions: &[i32]) -> anyhow::Result<Vec<(i32, Option<i64>)>> {
        let list = self
            .client
            .context()
            .list(partitions.iter().map(|partition| (*partition, Offset::Invalid)))?;
        let list = self
            .client
            .committed_offsets(list, METADATA_TIMEOUT)
            .context("cannot read the group's offsets")?;
        let offset = |offset| match offset {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        Ok(list.elements().iter().map(|e| (e.partition(), offset(e.offset()))).collect())
    }

    /// The oldest offset kept and the one that the next record will get.
    pub fn bounds(&self, partition: i32) -> anyhow::Result<(i64, i64)> {
        self.client
            .fetch_watermarks(&self.topic, partition, METADATA_TIMEOUT)
            .with_context(|| format!("cannot read the bounds of partition {partition}"))
    }

    pub fn partitions(&self) -> anyhow::Result<i32> {
        let metadata = self.client.fetch_metadata(Some(&self.topic), METADATA_TIMEOUT)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let count = topic.map_or(0, |topic| topic.partitions().len());
        i32::try_from(count).context("more partitions than Kafka allows")
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let rebalances = self.client.context();
        rebalances.closing.store(true, Ordering::Release);
        // A decision that was heard and not heeded would be waited for without end. What is left is
        // stopped when it is asked for.
        if let Err(error) = rebalances.stop(&self.client, &[]) {
            tracing::info!("{error:#}");
        }
    }
}
