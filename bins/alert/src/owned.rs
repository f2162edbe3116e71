use std::collections::HashSet;

use market::Place;
use store::{AlertState, Checkpoint, Condition, Cursor, Status};
use tokio_util::sync::{CancellationToken, DropGuard};
use triggers::{AlertId, Armed, Arming, Firing, Partition};

/// The newest trades that are kept to judge alerts that come late, a partition.
const RECENT_TRADES: usize = 65_536;

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
    pub(crate) seen: Option<Cursor>,
    /// Alerts that came too late for the recent trades, until the log has been read again.
    late: HashSet<(AlertId, i32)>,
    /// Those of them for which that has not begun.
    behind: Vec<(String, Armed)>,
    pub(crate) rewinding: Option<Rewinding>,
}

/// The log is being read again for some late alerts.
pub(crate) struct Rewinding {
    pub(crate) alerts: Vec<(AlertId, i32)>,
    /// What has been disarmed since it began.
    pub(crate) disarmed: Vec<(AlertId, i32)>,
    pub(crate) stop: CancellationToken,
    /// Ends the reading with the ownership.
    pub(crate) _guard: DropGuard,
}

impl Owned {
    /// As of a checkpoint; without one, from where the log begins.
    pub(crate) fn new(number: i32, checkpoint: Option<Checkpoint>, life: u64) -> Self {
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
        let (partition, place, seen) = match restored {
            Some((partition, checkpoint)) => (partition, Some(checkpoint.place), checkpoint.seen),
            None => (Partition::new(RECENT_TRADES), None, None),
        };
        Self {
            partition,
            life,
            place,
            stored: place,
            seen,
            late: HashSet::new(),
            behind: Vec::new(),
            rewinding: None,
        }
    }

    /// Heeds an alert's row as it is now.
    pub(crate) fn heed(&mut self, row: &AlertState, fired: &mut Vec<Firing>) {
        let id = AlertId(row.id);
        if row.status != Status::Active {
            self.disarm(id, row.generation);
            return;
        }
        let condition = match row.condition {
            Condition::Above => triggers::Condition::Above(row.target_price),
            Condition::Below => triggers::Condition::Below(row.target_price),
        };
        let armed = Armed { id, generation: row.generation, condition, armed_at: row.armed_offset };
        match self.partition.arm(&row.symbol, armed, fired) {
            Arming::Armed | Arming::Fired => {}
            Arming::Behind { .. } => {
                if self.late.insert((id, row.generation)) {
                    self.behind.push((row.symbol.clone(), armed));
                }
            }
        }
    }

    fn disarm(&mut self, id: AlertId, generation: i32) {
        self.partition.disarm(id, generation);
        if let Some(rewinding) = &mut self.rewinding {
            rewinding.disarmed.push((id, generation));
        }
        let late = &mut self.late;
        self.behind.retain(|(_, armed)| {
            let stays = armed.id != id || armed.generation > generation;
            if !stays {
                late.remove(&(armed.id, armed.generation));
            }
            stays
        });
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
    pub(crate) fn rewind(&mut self, fired: &mut Vec<Firing>) -> Option<(Partition, Late)> {
        if self.rewinding.is_some() {
            return None;
        }
        let from = self.behind.iter().map(|(_, armed)| armed.armed_at).min()?;
        let mut back = self.partition.rewind(from);
        let mut alerts = Vec::with_capacity(self.behind.len());
        for (symbol, armed) in self.behind.drain(..) {
            alerts.push((armed.id, armed.generation));
            // Each is armed ahead of where the rewound one stands.
            let _ = back.arm(&symbol, armed, fired);
        }
        Some((back, Late(alerts)))
    }

    /// Takes over what a rewound partition has found. False where it has not caught up.
    pub(crate) fn absorb(&mut self, back: &mut Partition, fired: &mut Vec<Firing>) -> bool {
        let Some(rewinding) = &mut self.rewinding else { return true };
        for (id, generation) in rewinding.disarmed.drain(..) {
            back.disarm(id, generation);
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
}

/// The ids and generations of alerts that came late.
pub(crate) struct Late(pub(crate) Vec<(AlertId, i32)>);
