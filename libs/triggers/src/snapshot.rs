//! A partition on disk: alerts and all, so that a start need not ask for each of them.
//!
//! It is a cache. What it holds is what the rows and the log say as of some place; whoever restores
//! it must know that both are those that it was made of, and tell it every change since.

use hashbrown::HashMap;
use market::{Price, Sequence, Stamp};
use rkyv::rancor;
use rkyv::vec::ArchivedVec;

use crate::Partition;
use crate::alarms::Wait;
use crate::condition::{Percent, Repeat};
use crate::history::HistoryError;
use crate::roster::Roster;
use crate::sealed::{self, SealError};
use crate::side::Side;
use crate::slot::{Place, Slot};
use crate::standing::Standing;
use crate::symbols::SymbolKey;

/// Of the layout of `Image`, and of the meaning of what is in it.
const VERSION: u32 = 1;

/// A partition as it was at some place, apart from it: to be encoded while the partition goes on.
#[derive(Debug)]
pub struct Snapshot {
    history: Vec<u8>,
    symbols: Vec<String>,
    /// Of alerts that repeat: slot, and how.
    repeats: Vec<(u32, Repeat)>,
    slots: Vec<Slot>,
    waits: Vec<Wait>,
    sleepers: Vec<(u32, i64)>,
    followers: Vec<(u32, Price, Stamp)>,
}

/// The bytes are not a snapshot that this program can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("a snapshot of version {found}; this program reads version {VERSION}")]
    Version { found: u32 },
    #[error("a damaged snapshot: {0}")]
    Damaged(&'static str),
    #[error(transparent)]
    History(#[from] HistoryError),
}

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Image {
    /// The caller's own: what it is a snapshot of.
    label: String,
    history: Vec<u8>,
    symbols: Vec<String>,
    /// Slot, cooldown, and hysteresis in thousandths of a percent, 0 where there is none.
    repeats: Vec<(u32, u32, u32)>,
    slots: Vec<[u32; 9]>,
    /// Slot, offset, index, asleep until.
    waits: Vec<(u32, i64, u32, i64)>,
    /// Slot, until.
    sleepers: Vec<(u32, i64)>,
    /// Slot, best price; time, offset and index of its peak.
    followers: Vec<(u32, f64, i64, i64, u32)>,
}

impl Partition {
    /// Copies what a snapshot needs: 36 bytes an alert. To be called between records, and once all
    /// [`Partition::take_progress`] is in the rows.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            history: self.history(),
            symbols: self.symbols.iter().map(str::to_owned).collect(),
            repeats: Vec::new(),
            slots: self.roster.slots().copied().collect(),
            waits: self.waiting.iter().copied().collect(),
            sleepers: Vec::new(),
            followers: Vec::new(),
        };
        for book in &self.books {
            let sleepers = book.sleepers().map(|sleep| (sleep.slot, sleep.until));
            snapshot.sleepers.extend(sleepers);
            book.followers(&self.roster, |slot, (best, peak)| {
                snapshot.followers.push((slot, best, peak));
            });
        }
        let repeats = self.roster.iter().map(|(slot, _)| (slot, self.roster.repeat(slot)));
        snapshot.repeats.extend(repeats.filter_map(|(slot, repeat)| Some((slot, repeat?))));
        snapshot
    }

    /// A partition from what [`Snapshot::encode`] gave, if `is_ours` says so of its label. The
    /// bytes must be aligned to 16, as a mapped file is.
    ///
    /// # Errors
    /// Where they are no such snapshot. `None` where it is another's.
    pub fn from_snapshot(
        bytes: &[u8],
        ring_trades: usize,
        is_ours: impl FnOnce(&str) -> bool,
    ) -> Result<Option<Self>, SnapshotError> {
        use SnapshotError::Damaged;
        let body = sealed::open(VERSION, bytes).map_err(|error| match error {
            SealError::Version { found } => SnapshotError::Version { found },
            SealError::Damaged(why) => Damaged(why),
        })?;
        let image = rkyv::access::<ArchivedImage, rancor::Failure>(body)
            .map_err(|_| Damaged("it is not laid out as one"))?;
        if !is_ours(&image.label) {
            return Ok(None);
        }
        let mut partition = Self::restore(&image.history, ring_trades)?;
        // The alerts bring their own best prices along.
        partition.settle();
        let symbols = partition.learn(&image.symbols)?;
        Restoring::new(image, symbols).restore(&mut partition)?;
        Ok(Some(partition))
    }

    fn learn(
        &mut self,
        names: &ArchivedVec<rkyv::string::ArchivedString>,
    ) -> Result<Vec<SymbolKey>, SnapshotError> {
        let keys: Option<Vec<SymbolKey>> = names.iter().map(|name| self.intern(name)).collect();
        keys.ok_or(SnapshotError::Damaged("it has too many symbols"))
    }
}

impl Snapshot {
    /// How many alerts it holds, roughly.
    pub fn alerts(&self) -> usize {
        self.slots.len()
    }

    /// `label` says what it is a snapshot of.
    pub fn encode(self, label: &str) -> Vec<u8> {
        let repeat = |(slot, repeat): &(u32, Repeat)| {
            (*slot, repeat.cooldown, repeat.hysteresis.map_or(0, Percent::thousandths))
        };
        let wait = |wait: &Wait| (wait.slot, wait.at.offset, wait.at.index, wait.asleep_until);
        let follower = |(slot, best, peak): &(u32, Price, Stamp)| {
            (*slot, best.get(), peak.time, peak.sequence.offset, peak.sequence.index)
        };
        let image = Image {
            label: label.to_owned(),
            repeats: self.repeats.iter().map(repeat).collect(),
            slots: self.slots.iter().map(|slot| slot.to_words()).collect(),
            waits: self.waits.iter().map(wait).collect(),
            followers: self.followers.iter().map(follower).collect(),
            sleepers: self.sleepers,
            history: self.history,
            symbols: self.symbols,
        };
        let Ok(body) = rkyv::to_bytes::<rancor::Panic>(&image);
        sealed::seal(VERSION, &body)
    }
}

/// A snapshot that is being made a partition.
struct Restoring<'a> {
    image: &'a ArchivedImage,
    /// The partition's, by the snapshot's numbers.
    symbols: Vec<SymbolKey>,
    repeats: HashMap<u32, Repeat, foldhash::fast::RandomState>,
}

/// A rung to be laid: symbol and side, key, slot.
type Rung = (u32, u64, u32);

impl<'a> Restoring<'a> {
    fn new(image: &'a ArchivedImage, symbols: Vec<SymbolKey>) -> Self {
        let repeats = image.repeats.iter().map(|repeat| {
            let hysteresis = Percent::from_thousandths(repeat.2.to_native());
            (repeat.0.to_native(), Repeat { cooldown: repeat.1.to_native(), hysteresis })
        });
        Self { image, symbols, repeats: repeats.collect() }
    }

    fn restore(&self, partition: &mut Partition) -> Result<(), SnapshotError> {
        partition.roster = Roster::with_capacity(self.image.slots.len());
        // Those on ladders first: where nothing stands yet, a ladder is laid all at once.
        let mut rungs: Vec<Rung> = Vec::with_capacity(self.image.slots.len());
        for number in 0..self.image.slots.len() as u32 {
            let alert = self.alert(number)?;
            if let Place::Zone(_) | Place::Fired = alert.place {
                let standing = alert.standing(None);
                let slot = alert.insert(partition, &standing)?;
                partition.roster.get_mut(slot).put(alert.place);
                partition.fired += usize::from(alert.place == Place::Fired);
                lay(&mut rungs, slot, &alert, &standing);
            }
        }
        rungs.sort_unstable();
        for ladder in rungs.chunk_by(|a, b| a.0 == b.0) {
            let side = Side::BOTH[(ladder[0].0 & 1) as usize];
            let sorted: Vec<_> = ladder.iter().map(|(_, key, slot)| (*key, *slot)).collect();
            partition.books[(ladder[0].0 >> 1) as usize].lay(side, &sorted);
        }
        self.restore_others(partition)?;
        partition.settle();
        Ok(())
    }

    fn restore_others(&self, partition: &mut Partition) -> Result<(), SnapshotError> {
        for number in 0..self.image.slots.len() as u32 {
            let alert = self.alert(number)?;
            if alert.place == Place::Next {
                alert.put(partition, alert.standing(None))?;
            }
        }
        for wait in self.image.waits.iter() {
            let alert = self.alert(wait.0.to_native())?;
            if alert.place == Place::Waiting {
                let asleep_until = wait.3.to_native();
                let standing = Standing { asleep_until, ..alert.standing(None) };
                let at = Sequence { offset: wait.1.to_native(), index: wait.2.to_native() };
                alert.must_be_new(partition)?;
                partition.wait(alert.content.id(), alert.symbol, &standing, at);
            }
        }
        for sleeper in self.image.sleepers.iter() {
            let alert = self.alert(sleeper.0.to_native())?;
            if alert.place == Place::Asleep {
                let asleep_until = sleeper.1.to_native();
                alert.put(partition, Standing { asleep_until, ..alert.standing(None) })?;
            }
        }
        for follower in self.image.followers.iter() {
            let alert = self.alert(follower.0.to_native())?;
            let best = Price::new(follower.1.to_native());
            let best = best.ok_or(SnapshotError::Damaged("a best price is none"))?;
            let sequence =
                Sequence { offset: follower.3.to_native(), index: follower.4.to_native() };
            let peak = Stamp { time: follower.2.to_native(), sequence };
            alert.put(partition, alert.standing(Some((best, peak))))?;
        }
        Ok(())
    }

    fn alert(&self, number: u32) -> Result<Alert, SnapshotError> {
        use SnapshotError::Damaged;
        let words = self.image.slots.get(number as usize);
        let words = words.ok_or(Damaged("it names a slot that is none"))?;
        let content = Slot::from_words(words.map(|word| word.to_native()));
        let (place, repeat) = (content.place(), self.repeats.get(&number).copied());
        let symbol = self.symbols.get(content.symbol().index()).copied();
        let symbol = symbol.filter(|_| place == Place::Dead || content.is_sound(repeat));
        let symbol = symbol.ok_or(Damaged("it holds an alert that is none"))?;
        Ok(Alert { content, place, symbol, repeat })
    }
}

/// An alert of a snapshot.
struct Alert {
    content: Slot,
    place: Place,
    symbol: SymbolKey,
    repeat: Option<Repeat>,
}

impl Alert {
    fn standing(&self, best: Option<(Price, Stamp)>) -> Standing {
        self.content.standing(self.repeat, best)
    }

    fn must_be_new(&self, partition: &Partition) -> Result<(), SnapshotError> {
        match partition.roster.find(self.content.id()) {
            None => Ok(()),
            Some(_) => Err(SnapshotError::Damaged("it holds an alert twice")),
        }
    }

    fn insert(&self, partition: &mut Partition, standing: &Standing) -> Result<u32, SnapshotError> {
        self.must_be_new(partition)?;
        Ok(partition.roster.insert(self.content.id(), self.symbol, standing))
    }

    fn put(&self, partition: &mut Partition, standing: Standing) -> Result<(), SnapshotError> {
        let slot = self.insert(partition, &standing)?;
        partition.put(slot, self.symbol, standing, partition.next());
        Ok(())
    }
}

/// Notes the rungs of an alert.
fn lay(rungs: &mut Vec<Rung>, slot: u32, alert: &Alert, standing: &Standing) {
    let Place::Zone(zone) = alert.place else { return };
    let bounds = standing.bounds(zone);
    for side in Side::BOTH {
        if let Some(bound) = side.of(bounds) {
            rungs.push((alert.symbol.number() << 1 | side as u32, side.key(bound), slot));
        }
    }
}
