use std::collections::HashSet;

use market::{Place, Sequence};
use store::{AlertState, Checkpoint, Cursor, Expiring, Status};
use tokio_util::sync::{CancellationToken, DropGuard};
use triggers::{AlertId, Armed, Arming, Firing, Partition, Version};

/// The newest trades that are kept to judge alerts that come late, a partition.
pub(crate) const RECENT_TRADES: usize = 65_536;

/// A partition of the log that is ours to evaluate.
pub(crate) struct Owned {
    pub(crate) partition: Partition,
    /// Tells this ownership from an earlier one of the same partition.
    pub(crate) life: u64,
    /// The last record evaluated.
    pub(crate) place: Option<Place>,
    /// The one of the last checkpoint.
    stored: Option<Place>,
    /// Every alert seen from here is in the index, or has fired.
    seen: Option<Cursor>,
    /// Where the checkpoint ended that this was restored from, if it was.
    restored_to: Option<Sequence>,
    /// Alerts that came too late for the recent trades, until the log has been read again.
    late: HashSet<(AlertId, Version)>,
    /// Those of them for which that has not begun.
    behind: Vec<(String, Armed)>,
    pub(crate) rewinding: Option<Rewinding>,
    /// An alert that cannot be told apart was passed over: said once.
    is_full: bool,
}

/// The log is being read again for some late alerts.
pub(crate) struct Rewinding {
    pub(crate) alerts: Vec<(AlertId, Version)>,
    /// What has been disarmed since it began.
    pub(crate) disarmed: Vec<(AlertId, Version)>,
    pub(crate) stop: CancellationToken,
    /// Ends the reading with the ownership.
    pub(crate) _guard: DropGuard,
}

impl Owned {
    /// As of a checkpoint; without one, from where the log begins.
    pub(crate) fn restored(number: i32, checkpoint: Option<&Checkpoint>) -> Self {
        let restored = checkpoint.and_then(|checkpoint| {
            match Partition::restore(&checkpoint.history, RECENT_TRADES) {
                Ok(partition) => Some((partition, checkpoint)),
                Err(error) => {
                    tracing::warn!(
                        partition = number,
                        "the log is read from its beginning, for its checkpoint is of no use: \
                         {error}"
                    );
                    None
                }
            }
        });
        match restored {
            Some((partition, checkpoint)) => {
                let end = Sequence::of_record(checkpoint.place.offset + 1);
                let (place, seen) = (Some(checkpoint.place), checkpoint.seen.clone());
                Self { restored_to: Some(end), ..Self::new(partition, place, seen) }
            }
            None => Self::new(Partition::new(RECENT_TRADES), None, None),
        }
    }

    /// With its alerts, as of a snapshot.
    pub(crate) fn kept(partition: Partition, place: Place, cursor: Cursor) -> Self {
        Self::new(partition, Some(place), Some(cursor))
    }

    fn new(partition: Partition, place: Option<Place>, seen: Option<Cursor>) -> Self {
        Self {
            partition,
            life: 0,
            place,
            stored: place,
            seen,
            restored_to: None,
            late: HashSet::new(),
            behind: Vec::new(),
            rewinding: None,
            is_full: false,
        }
    }

    /// Heeds an alert's row as it is now.
    pub(crate) fn heed<S: AsRef<str>>(&mut self, row: &AlertState<S>, fired: &mut Vec<Firing>) {
        let (id, version) = (AlertId(row.id), row.version);
        if row.status != Status::Active {
            self.disarm(id, version);
            return;
        }
        let judged_to = self.restored_to.filter(|_| row.is_judged).unwrap_or(row.armed_at);
        let armed = Armed {
            id,
            version,
            terms: row.terms,
            armed_at: row.armed_at,
            judged_to: judged_to.max(row.armed_at),
            latched: row.latched,
            asleep_until: row.asleep_until.unwrap_or(i64::MIN),
            reference: row.reference,
        };
        match self.partition.arm(row.symbol.as_ref(), armed, fired) {
            Arming::Armed | Arming::Fired => {}
            Arming::Behind => {
                if self.late.insert((id, version)) {
                    self.behind.push((row.symbol.as_ref().to_owned(), armed));
                }
            }
            Arming::TooManySymbols => {
                if !std::mem::replace(&mut self.is_full, true) {
                    let symbol = row.symbol.as_ref();
                    tracing::error!(symbol, "too many symbols: an alert is not evaluated");
                }
            }
        }
    }

    fn disarm(&mut self, id: AlertId, version: Version) {
        self.partition.disarm(id, version);
        if let Some(rewinding) = &mut self.rewinding {
            rewinding.disarmed.push((id, version));
        }
        let late = &mut self.late;
        self.behind.retain(|(_, armed)| {
            let stays = armed.id != id || armed.version > version;
            if !stays {
                late.remove(&(armed.id, armed.version));
            }
            stays
        });
    }

    /// Whether no trade can fire an alert any more: its symbol has traded at or after its expiry,
    /// and every trade before was shown to it as it is now. One that was not heard of, or for which
    /// the log is yet to be read again, may have fired before.
    pub(crate) fn has_expired(&self, alert: &Expiring) -> bool {
        let newest = self.partition.newest(&alert.symbol);
        newest.is_some_and(|newest| newest >= alert.expires_at)
            && self.partition.knows(AlertId(alert.id), alert.version)
    }

    /// Every alert that was told so far was told as of `cursor`.
    pub(crate) fn told(&mut self, cursor: &Cursor) {
        // Of the late ones a checkpoint knows nothing yet.
        if self.late.is_empty() {
            self.seen = Some(cursor.clone());
        }
    }

    /// The late alerts for which the log is to be read again, and the partition as it was before
    /// them. `None` while another reading is under way, or where there are none.
    pub(crate) fn rewind(&mut self) -> Option<(Partition, Vec<(AlertId, Version)>)> {
        if self.rewinding.is_some() {
            return None;
        }
        let from = self.behind.iter().map(|(_, armed)| armed.judged_to.offset).min()?;
        let mut back = self.partition.rewind(from);
        let (mut alerts, mut fired) = (Vec::with_capacity(self.behind.len()), Vec::new());
        for (symbol, armed) in self.behind.drain(..) {
            alerts.push((armed.id, armed.version));
            // Each is armed ahead of where the rewound one stands: none fires here.
            let _ = back.arm(&symbol, armed, &mut fired);
        }
        Some((back, alerts))
    }

    /// Takes over what a rewound partition has found. False where it has not caught up.
    pub(crate) fn absorb(&mut self, back: &mut Partition, fired: &mut Vec<Firing>) -> bool {
        let Some(rewinding) = &mut self.rewinding else { return true };
        for (id, version) in rewinding.disarmed.drain(..) {
            back.disarm(id, version);
        }
        if !self.partition.absorb(back, fired) {
            return false;
        }
        for alert in &rewinding.alerts {
            self.late.remove(alert);
        }
        self.rewinding = None;
        true
    }

    /// What is to be stored, where something is.
    pub(crate) fn checkpoint(&self, partition: i32) -> Option<Checkpoint> {
        let place = self.place.filter(|_| self.place != self.stored)?;
        let history = self.partition.history();
        Some(Checkpoint { partition, place, history, seen: self.seen.clone() })
    }

    pub(crate) fn stored(&mut self, place: Place) {
        self.stored = Some(place);
    }

    /// Where everything so far is stored: how far that is, and as of which changes of alerts.
    pub(crate) fn settled(&self) -> Option<(Place, Cursor)> {
        let place = self.place.filter(|_| self.place == self.stored)?;
        Some((place, self.seen.clone()?))
    }
}

#[cfg(test)]
mod tests {
    use market::{Price, Trade, Volume};
    use triggers::{Condition, Terms};

    use super::*;

    const FIRST: Version = Version { revision: 0, generation: 0 };

    fn price(price: f64) -> Price {
        Price::new(price).expect("a price")
    }

    /// Of AAPL, armed before the first trade, and above 1,000.
    fn row(id: i64, version: Version) -> AlertState {
        let terms = Terms::new(Condition::Above(price(1_000.0)), None).expect("terms");
        AlertState {
            id,
            symbol: "AAPL".into(),
            terms,
            status: Status::Active,
            version,
            partition: 0,
            armed_at: Sequence::default(),
            latched: false,
            asleep_until: None,
            reference: None,
            changed_at: 0,
            is_judged: false,
        }
    }

    /// Trades of AAPL at 1.0, at the time of their offsets.
    fn trade(partition: &mut Partition, offsets: std::ops::Range<i64>) -> Vec<Firing> {
        let (symbol, mut fired) = (partition.intern("AAPL").expect("room"), Vec::new());
        for offset in offsets {
            let trade = Trade {
                price: price(1.0),
                volume: Volume::ZERO,
                timestamp: offset,
                received_at: 1,
            };
            partition.evaluate(symbol, &trade, Sequence { offset, index: 0 }, &mut fired);
            partition.advance(offset + 1);
        }
        fired
    }

    #[test]
    fn only_an_alert_that_was_shown_every_trade_expires() {
        let mut owned = Owned::restored(0, None);
        let expiring = |id, version, expires_at| Expiring {
            id,
            version,
            symbol: "AAPL".into(),
            partition: 0,
            expires_at,
        };
        owned.heed(&row(1, FIRST), &mut Vec::new());
        assert!(!owned.has_expired(&expiring(1, FIRST, 10)), "nothing has traded");
        // More than is kept.
        let last = RECENT_TRADES as i64 + 1_000;
        trade(&mut owned.partition, 0..last);
        assert!(owned.has_expired(&expiring(1, FIRST, 10)));
        assert!(!owned.has_expired(&expiring(1, FIRST, last)), "a trade may yet come");
        let changed = Version { revision: 1, generation: 1 };
        assert!(!owned.has_expired(&expiring(1, changed, 10)), "the change was not heard of");
        assert!(!owned.has_expired(&expiring(2, FIRST, 10)), "it was not heard of");

        owned.heed(&row(2, FIRST), &mut Vec::new());
        assert!(!owned.has_expired(&expiring(2, FIRST, 10)), "it is late");
        let (mut back, alerts) = owned.rewind().expect("it is late");
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        owned.rewinding = Some(Rewinding { alerts, disarmed: Vec::new(), stop, _guard });
        assert!(!owned.has_expired(&expiring(2, FIRST, 10)), "the log is being read again");
        trade(&mut back, 0..last);
        assert!(owned.absorb(&mut back, &mut Vec::new()));
        assert!(owned.has_expired(&expiring(2, FIRST, 10)));
    }
}
