//! An alert's row, as the store keeps it.

#![allow(dead_code, reason = "not every test needs all of it")]

use market::{Price, Sequence};
use triggers::{AlertId, Armed, Firing, Progress, Terms, Version};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: AlertId,
    pub(crate) version: Version,
    pub(crate) terms: Terms,
    pub(crate) armed_at: Sequence,
    pub(crate) latched: bool,
    pub(crate) asleep_until: i64,
    pub(crate) reference: Option<Price>,
    /// Event time, Unix milliseconds.
    pub(crate) expires_at: i64,
    pub(crate) is_triggered: bool,
    pub(crate) is_expired: bool,
}

impl Row {
    pub(crate) fn new(id: i64, terms: Terms, armed_at: Sequence) -> Self {
        Self {
            id: AlertId(id),
            version: Version { revision: 0, generation: 1 },
            terms,
            armed_at,
            latched: false,
            asleep_until: i64::MIN,
            reference: None,
            expires_at: i64::MAX,
            is_triggered: false,
            is_expired: false,
        }
    }

    /// `None` where it waits for nothing any more.
    pub(crate) fn armed(&self) -> Option<Armed> {
        let Self { id, version, terms, armed_at, latched, asleep_until, reference, .. } = *self;
        (!self.is_triggered && !self.is_expired).then_some(Armed {
            id,
            version,
            terms,
            armed_at,
            judged_to: armed_at,
            latched,
            asleep_until,
            reference,
        })
    }

    /// What storing a firing does to the row, unless it was stored before or is another version's.
    pub(crate) fn admit(&mut self, firing: &Firing) {
        if firing.version != self.version || self.is_triggered || self.is_expired {
            return;
        }
        // The index knows no expiry: it is here that what it finds past one is refused.
        if firing.timestamp >= self.expires_at {
            self.is_expired = true;
            return;
        }
        let Some(repeat) = self.terms.repeat() else {
            self.is_triggered = true;
            return;
        };
        use triggers::Condition::{FallsPercent, RisesPercent, TrailingDrop, TrailingRise};
        self.version.generation += 1;
        self.armed_at = firing.sequence.next();
        self.reference = None;
        self.latched = !matches!(
            self.terms.condition(),
            RisesPercent(_) | FallsPercent(_) | TrailingDrop(_) | TrailingRise(_)
        );
        self.asleep_until = match repeat.cooldown {
            0 => i64::MIN,
            cooldown => firing.timestamp + i64::from(cooldown),
        };
    }

    /// Moves the row on, unless it is there already.
    pub(crate) fn advance(&mut self, progress: &Progress) {
        if progress.version == self.version && progress.armed_at >= self.armed_at {
            self.armed_at = progress.armed_at;
            self.latched = progress.latched;
            self.reference = progress.reference;
        }
    }
}

/// As a mapped file is.
pub(crate) fn aligned(bytes: &[u8]) -> rkyv::util::AlignedVec<16> {
    let mut aligned = rkyv::util::AlignedVec::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    aligned
}
