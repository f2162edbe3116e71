use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Consumer, Next};
use tokio_util::sync::CancellationToken;
use wire::tick::Decoder;

use crate::gathering::{Event, Gathering};
use crate::now;

/// How long a poll may wait for the first record; then it looks whether it should stop.
const WAIT: Duration = Duration::from_millis(100);
/// A batch that has been full for so long is no longer waited for without polling: the group's
/// decisions are heard by polls alone.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many records that have arrived are taken before the writer is woken.
const BURST: usize = 256;

/// The thread that polls: decodes each record where it was received and adds it to the batch.
pub(crate) struct Poller {
    consumer: Arc<Consumer>,
    gathering: Arc<Gathering>,
    decoder: Decoder,
    /// Something is not fetched, since the batch is full.
    is_holding: bool,
    last_trouble: Option<Instant>,
}

impl Poller {
    pub(crate) fn new(consumer: Arc<Consumer>, gathering: Arc<Gathering>) -> Self {
        Self { consumer, gathering, decoder: Decoder::new(), is_holding: false, last_trouble: None }
    }

    pub(crate) fn run(mut self, stopping: &CancellationToken) -> anyhow::Result<()> {
        while !stopping.is_cancelled() {
            let mut wait = WAIT;
            for _ in 0..BURST {
                if !self.poll(wait) {
                    break;
                }
                wait = Duration::ZERO;
            }
            let patience = if self.is_holding { Duration::ZERO } else { PATIENCE };
            match self.gathering.rest(now(), patience) {
                true => self.hold(),
                false => self.resume(),
            }
        }
        // Let go of the consumer first: whoever hears the news closes it.
        let gathering = self.gathering;
        drop(self.consumer);
        gathering.tell(Event::Finished);
        Ok(())
    }

    /// The batch stays full: from here on polls bring decisions of the group, and no records but one
    /// or so of each partition that has brought none yet.
    fn hold(&mut self) {
        let brought = self.gathering.brought();
        if !brought.is_empty() {
            passed_over(self.consumer.hold(&brought));
            self.is_holding = true;
        }
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.is_holding) {
            passed_over(self.consumer.resume());
        }
    }

    /// Takes one record or event; false where none came in time or no more fits.
    #[inline]
    fn poll(&mut self, wait: Duration) -> bool {
        match self.consumer.next(wait) {
            Ok(Next::Record(record)) => {
                let tick = self.decoder.decode(record.value());
                return self.gathering.push(&record, tick);
            }
            Ok(Next::Idle) => return false,
            Ok(Next::Assigned(partitions)) => self.gathering.tell(Event::Assigned(partitions)),
            Ok(Next::Revoked(partitions)) => self.gathering.tell(Event::Revoked(partitions)),
            Ok(Next::Lost(partitions)) => self.gathering.tell(Event::Lost(partitions)),
            Err(error) => {
                // librdkafka goes on by itself; a broker that is away would fill the log.
                let now = Instant::now();
                if self.last_trouble.is_none_or(|last| now - last > Duration::from_secs(1)) {
                    tracing::warn!(%error, "cannot read from Kafka");
                    self.last_trouble = Some(now);
                }
                return false;
            }
        }
        true
    }
}

/// Of a partition that was taken away this moment nothing is read anyway.
fn passed_over(held: anyhow::Result<()>) {
    if let Err(error) = held {
        tracing::info!("{error:#}");
    }
}
