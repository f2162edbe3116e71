use std::time::{Duration, Instant};

use crate::bench::Planned;
use crate::outbox::Outbox;
use crate::probe::Taped;
use crate::replay::Replay;
use crate::subscriptions::Subscriptions;
use crate::synthetic::Synthetic;

/// How much is put into the outbox before it is written.
pub(crate) const BATCH_BYTES: usize = 256 << 10;

/// The two clocks of one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    /// Unix milliseconds.
    pub(crate) unix_ms: i64,
}

impl Now {
    pub(crate) fn since(self, origin: Instant) -> Duration {
        self.instant.saturating_duration_since(origin)
    }
}

/// Where the trades of one connection come from.
#[derive(Debug)]
pub(crate) enum Source {
    Synthetic(Box<Synthetic>),
    Replay(Replay),
    /// Numbered trades, to be measured.
    Taped(Taped),
    /// Trades that are a function of their number.
    Planned(Planned),
}

impl Source {
    /// The client wants something else from now on.
    pub(crate) fn subscribe(
        &mut self,
        subscriptions: &Subscriptions,
        now: Now,
    ) -> anyhow::Result<()> {
        match self {
            Self::Synthetic(market) => market.subscribe(subscriptions, now),
            Self::Replay(replay) => {
                replay.subscribe(subscriptions, now);
                Ok(())
            }
            Self::Taped(taped) => {
                taped.subscribe(subscriptions);
                Ok(())
            }
            Self::Planned(planned) => {
                planned.subscribe(subscriptions);
                Ok(())
            }
        }
    }

    /// Puts what is due into the outbox, a batch at most; when to ask again, `None` where
    /// nothing will be due before the next change of the subscriptions.
    pub(crate) fn fill(&mut self, now: Now, outbox: &mut Outbox) -> Option<Instant> {
        match self {
            Self::Synthetic(market) => market.fill(now, outbox),
            Self::Replay(replay) => replay.fill(now, outbox),
            Self::Taped(taped) => taped.fill(now, outbox),
            Self::Planned(planned) => planned.fill(now, outbox),
        }
    }

    /// So many bytes of the outbox are the kernel's, the last of them since `at` (Unix nanoseconds).
    pub(crate) fn left(&mut self, bytes: usize, at: u64) {
        match self {
            Self::Taped(taped) => taped.left(bytes, at),
            Self::Planned(planned) => planned.left(bytes, at),
            Self::Synthetic(_) | Self::Replay(_) => {}
        }
    }

    /// How far a replay has come, in frames.
    pub(crate) fn position(&self) -> Option<usize> {
        match self {
            Self::Synthetic(_) | Self::Taped(_) | Self::Planned(_) => None,
            Self::Replay(replay) => Some(replay.position()),
        }
    }
}
