//! A partition on disk: alerts and all, so that a start need not ask for each of them.
//!
//! It is a cache. What it holds is what the rows and the log say as of some place; whoever restores
//! it must know that both are those that it was made of, and tell it every change since.

use hashbrown::HashMap;
use market::{Price, Sequence, Stamp};
use rkyv::rancor;
use rkyv::vec::ArchivedVec;

use self::SnapshotError::Damaged;
use crate::Partition;
use crate::alarms::Wait;
use crate::condition::{Percent, Repeat};
use crate::history::HistoryError;
use crate::roster::Roster;
use crate::sealed::{self, SealError};
use crate::side::Side;
use crate::slot::{Place, Slot};
use crate::standing::{Standing, Waits};
use crate::symbols::SymbolKey;

/// Of the layout of `Image`, and of the meaning of what is in it.
const VERSION: u32 = 1;

/// A partition as it was at some place, apart from it: to be encoded while the partition goes on.
#[derive(Debug)]
pub struct Snapshot {
    history: Vec<u8>,
    symbols: Vec<String>,
    /// As in `Image`, of alerts that repeat.
    repeats: Vec<(u32, u32, u32)>,
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
            slots: self.roster.copy(),
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
        let repeats = self.roster.iter().filter_map(|(slot, _)| {
            let Repeat { cooldown, hysteresis } = self.roster.repeat(slot)?;
            Some((slot, cooldown, hysteresis.map_or(0, Percent::thousandths)))
        });
        snapshot.repeats.extend(repeats);
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
        Restoring::new(image, symbols)?.restore(&mut partition)?;
        Ok(Some(partition))
    }

    fn learn(
        &mut self,
        names: &ArchivedVec<rkyv::string::ArchivedString>,
    ) -> Result<Vec<SymbolKey>, SnapshotError> {
        let keys: Option<Vec<SymbolKey>> = names.iter().map(|name| self.intern(name)).collect();
        keys.ok_or(Damaged("it has too many symbols"))
    }
}

impl Snapshot {
    /// How many alerts it holds, roughly.
    pub fn alerts(&self) -> usize {
        self.slots.len()
    }

    /// `label` says what it is a snapshot of.
    pub fn encode(self, label: &str) -> Vec<u8> {
        let wait = |wait: Wait| (wait.slot, wait.at.offset, wait.at.index, wait.asleep_until);
        let follower = |(slot, best, peak): (u32, Price, Stamp)| {
            (slot, best.get(), peak.time, peak.sequence.offset, peak.sequence.index)
        };
        let image = Image {
            label: label.to_owned(),
            repeats: self.repeats,
            // Words are as large as a slot, and take its place.
            slots: self.slots.into_iter().map(Slot::to_words).collect(),
            waits: self.waits.into_iter().map(wait).collect(),
            followers: self.followers.into_iter().map(follower).collect(),
            sleepers: self.sleepers,
            history: self.history,
            symbols: self.symbols,
        };
        let about = size_of_val(&*image.slots)
            + size_of_val(&*image.repeats)
            + size_of_val(&*image.waits)
            + size_of_val(&*image.sleepers)
            + size_of_val(&*image.followers)
            + image.history.len()
            + image.symbols.iter().map(|symbol| 16 + symbol.len()).sum::<usize>()
            + 1_024;
        sealed::seal(VERSION, about, &image)
    }
}

/// A snapshot that is being made a partition.
struct Restoring<'a> {
    image: &'a ArchivedImage,
    /// The partition's, by the snapshot's numbers.
    symbols: Vec<SymbolKey>,
    repeats: HashMap<u32, Repeat, foldhash::fast::RandomState>,
}

/// What is to stand on a ladder: symbol and side, key, slot.
type Laid = (u32, u64, u32);

impl<'a> Restoring<'a> {
    fn new(image: &'a ArchivedImage, symbols: Vec<SymbolKey>) -> Result<Self, SnapshotError> {
        let repeats = image.repeats.iter().map(|repeat| {
            let hysteresis = match repeat.2.to_native() {
                0 => None,
                some => Some(Percent::from_thousandths(some)?),
            };
            Some((repeat.0.to_native(), Repeat { cooldown: repeat.1.to_native(), hysteresis }))
        });
        let repeats: Option<_> = repeats.collect();
        let repeats = repeats.ok_or(Damaged("a hysteresis is none"))?;
        Ok(Self { image, symbols, repeats })
    }

    fn restore(&self, partition: &mut Partition) -> Result<(), SnapshotError> {
        partition.roster = Roster::with_capacity(self.image.slots.len());
        // Those on ladders first: where nothing stands yet, a ladder is laid all at once.
        let mut laid: Vec<Laid> = Vec::with_capacity(self.image.slots.len());
        let mut alive = 0;
        for number in 0..self.image.slots.len() as u32 {
            let Some(alert) = self.alert(number)? else { continue };
            alive += 1;
            if let Place::Zone(_) | Place::Fired = alert.place {
                let standing = alert.standing(None);
                let slot = alert.insert(partition, &standing)?;
                partition.roster.get_mut(slot).put(alert.place);
                partition.fired += usize::from(alert.place == Place::Fired);
                alert.lay(&mut laid, slot, standing, partition)?;
            }
        }
        laid.sort_unstable();
        for ladder in laid.chunk_by(|a, b| a.0 == b.0) {
            let side = Side::BOTH[(ladder[0].0 & 1) as usize];
            let sorted: Vec<_> = ladder.iter().map(|(_, key, slot)| (*key, *slot)).collect();
            partition.books[(ladder[0].0 >> 1) as usize].lay(side, &sorted);
        }
        self.restore_others(partition)?;
        if partition.roster.len() != alive {
            return Err(Damaged("of an alert it does not say what it waits for"));
        }
        partition.settle();
        Ok(())
    }

    fn restore_others(&self, partition: &mut Partition) -> Result<(), SnapshotError> {
        for number in 0..self.image.slots.len() as u32 {
            if let Some(alert) = self.alert(number)?.filter(|alert| alert.place == Place::Next) {
                alert.put(partition, alert.standing(None))?;
            }
        }
        for wait in self.image.waits.iter() {
            let Some(alert) = self.placed(wait.0.to_native(), Place::Waiting)? else { continue };
            let asleep_until = wait.3.to_native();
            let standing = Standing { asleep_until, ..alert.standing(None) };
            let at = Sequence { offset: wait.1.to_native(), index: wait.2.to_native() };
            alert.must_be_new(partition)?;
            partition.wait(alert.content.id(), alert.symbol, &standing, at);
        }
        for sleeper in self.image.sleepers.iter() {
            let Some(alert) = self.placed(sleeper.0.to_native(), Place::Asleep)? else { continue };
            let asleep_until = sleeper.1.to_native();
            alert.put(partition, Standing { asleep_until, ..alert.standing(None) })?;
        }
        for follower in self.image.followers.iter() {
            let Some(alert) = self.placed(follower.0.to_native(), Place::Trail)? else { continue };
            let best = Price::new(follower.1.to_native()).ok_or(Damaged("a best price is none"))?;
            let sequence =
                Sequence { offset: follower.3.to_native(), index: follower.4.to_native() };
            let peak = Stamp { time: follower.2.to_native(), sequence };
            alert.put(partition, alert.standing(Some((best, peak))))?;
        }
        Ok(())
    }

    /// `None` of a slot that holds nothing any more.
    fn alert(&self, number: u32) -> Result<Option<Alert>, SnapshotError> {
        let words = self.image.slots.get(number as usize);
        let words = words.ok_or(Damaged("it names a slot that is none"))?;
        let content = Slot::from_words(words.map(|word| word.to_native()));
        let (place, repeat) = (content.place(), self.repeats.get(&number).copied());
        if place == Place::Dead {
            return Ok(None);
        }
        let symbol = self.symbols.get(content.symbol().index()).copied();
        let symbol = symbol.filter(|_| content.is_sound(repeat));
        let symbol = symbol.ok_or(Damaged("it holds an alert that is none"))?;
        Ok(Some(Alert { content, place, symbol, repeat }))
    }

    /// An alert that is said to be in a place. `None` where it was forgotten there.
    fn placed(&self, number: u32, place: Place) -> Result<Option<Alert>, SnapshotError> {
        match self.alert(number)? {
            Some(alert) if alert.place != place => Err(Damaged("an alert is in two places")),
            alert => Ok(alert),
        }
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
            Some(_) => Err(Damaged("it holds an alert twice")),
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

    /// Notes where it is to stand on ladders, if the last price says that it waits there.
    fn lay(
        &self,
        laid: &mut Vec<Laid>,
        slot: u32,
        mut standing: Standing,
        partition: &Partition,
    ) -> Result<(), SnapshotError> {
        let Place::Zone(zone) = self.place else { return Ok(()) };
        let last = Price::new(partition.watches[self.symbol.index()].history.last);
        if standing.settle(last) || standing.waits(last) != Waits::Zone(zone) {
            return Err(Damaged("an alert waits for what its last price denies"));
        }
        let bounds = standing.bounds(zone);
        for side in Side::BOTH {
            if let Some(bound) = side.of(bounds) {
                laid.push((self.symbol.number() << 1 | side as u32, side.key(bound), slot));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use market::{Trade, Volume};

    use super::*;
    use crate::{AlertId, Armed, Arming, Condition, Terms, Version};

    const LEVEL: usize = 0;
    const RANGE: usize = 1;
    const PERCENT: usize = 2;
    const TRAIL: usize = 3;
    const ASLEEP: usize = 4;
    const WAITING: usize = 5;
    /// Forgotten while it waited.
    const DEAD: usize = 6;
    const NEXT: usize = 7;

    fn price(value: f64) -> Price {
        Price::new(value).expect("a price")
    }

    fn tick(partition: &mut Partition, time: i64, value: f64) {
        let symbol = partition.intern("AAPL").expect("a symbol");
        let trade =
            Trade { price: price(value), volume: Volume::ZERO, timestamp: time, received_at: 0 };
        let sequence = partition.next();
        partition.evaluate(symbol, &trade, sequence, &mut Vec::new());
        partition.advance(sequence.offset + 1);
    }

    /// One of each place, by slot; the last trade was at 100.
    fn every_kind() -> Partition {
        let mut partition = Partition::new(8);
        tick(&mut partition, 1_000, 100.0);
        let range = crate::PriceRange::new(price(90.0), price(110.0)).expect("a range");
        let percent = Percent::new(10.0).expect("a percent");
        let repeat = Repeat { cooldown: 60_000, hysteresis: Percent::new(1.0) };
        let arm = |partition: &mut Partition, slot: usize, condition, repeat, at| {
            let armed = Armed {
                id: AlertId(slot as i64),
                version: Version { revision: 0, generation: 1 },
                terms: Terms::new(condition, repeat).expect("good terms"),
                armed_at: Sequence::of_record(at),
                judged_to: Sequence::of_record(at),
                latched: false,
                asleep_until: i64::MIN,
                reference: None,
            };
            assert_eq!(partition.arm("AAPL", armed, &mut Vec::new()), Arming::Armed);
        };
        let level = Condition::Above(price(500.0));
        arm(&mut partition, LEVEL, level, None, 1);
        arm(&mut partition, RANGE, Condition::LeavesRange(range), None, 1);
        arm(&mut partition, PERCENT, Condition::RisesPercent(percent), None, 1);
        arm(&mut partition, TRAIL, Condition::TrailingDrop(percent), None, 1);
        arm(&mut partition, ASLEEP, Condition::Above(price(100.0)), Some(repeat), 1);
        arm(&mut partition, WAITING, level, None, 50);
        arm(&mut partition, DEAD, level, None, 60);
        partition.disarm(AlertId(DEAD as i64), Version { revision: 0, generation: 1 });
        tick(&mut partition, 2_000, 100.0);
        arm(&mut partition, NEXT, Condition::FallsPercent(percent), None, 2);
        partition
    }

    fn restored(snapshot: Snapshot) -> Result<Partition, SnapshotError> {
        let bytes = snapshot.encode("");
        let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(bytes.len());
        aligned.extend_from_slice(&bytes);
        Partition::from_snapshot(&aligned, 8, |_| true).map(|it| it.expect("ours"))
    }

    /// Changes words of a slot: the low half of `a`, of `b`, and so on.
    fn edit(slot: &mut Slot, change: impl FnOnce(&mut [u32; 9])) {
        let mut words = slot.to_words();
        change(&mut words);
        *slot = Slot::from_words(words);
    }

    #[test]
    fn what_a_checksum_does_not_see_is_refused() {
        let partition = every_kind();
        let places: Vec<Place> = partition.snapshot().slots.iter().map(Slot::place).collect();
        use crate::standing::Zone::{Under, Within};
        let expected = [
            Place::Zone(Under),
            Place::Zone(Within),
            Place::Zone(Under),
            Place::Trail,
            Place::Asleep,
            Place::Waiting,
            Place::Dead,
            Place::Next,
        ];
        assert_eq!(places, expected);
        let whole = restored(partition.snapshot()).expect("nothing is wrong with it");
        assert_eq!(whole.armed(), partition.armed());

        type Change<'a> = (&'a str, &'a dyn Fn(&mut Snapshot));
        let changes: [Change<'_>; 12] = [
            ("a dead slot on a trail", &|it| {
                it.followers[0].0 = DEAD as u32;
            }),
            ("a dead slot without a condition on a trail", &|it| {
                edit(&mut it.slots[DEAD], |words| words[7] |= 0xf);
                it.followers.push((DEAD as u32, price(1.0), Stamp::default()));
                it.followers.remove(0);
            }),
            ("a level on a trail", &|it| it.followers[0].0 = LEVEL as u32),
            ("no best price", &|it| it.followers.clear()),
            ("no end of a sleep", &|it| it.sleepers.clear()),
            ("nothing to wait for", &|it| it.waits.retain(|wait| wait.slot == DEAD as u32)),
            ("one that sleeps waits", &|it| it.waits[0].slot = ASLEEP as u32),
            ("one that waits sleeps", &|it| it.sleepers[0].0 = WAITING as u32),
            ("a percent without a reference", &|it| {
                edit(&mut it.slots[PERCENT], |words| (words[4], words[5]) = (0, 0));
            }),
            ("a range that the last price is not in", &|it| {
                it.slots[RANGE].put(Place::Zone(Under));
            }),
            ("a latch that the last price has lifted", &|it| {
                edit(&mut it.slots[LEVEL], |words| words[7] |= 1 << 8);
                it.slots[LEVEL].put(Place::Zone(crate::standing::Zone::Over));
            }),
            ("a hysteresis that is no percent", &|it| it.repeats[0].2 = u32::MAX),
        ];
        for (name, change) in changes {
            let mut snapshot = partition.snapshot();
            change(&mut snapshot);
            match restored(snapshot) {
                Err(Damaged(_)) => {}
                other => panic!("{name}: {:?}", other.map(|it| it.armed())),
            }
        }
    }

    /// A generation is a row's, and may be any.
    #[test]
    fn after_the_last_generation_comes_no_first() {
        let mut snapshot = every_kind().snapshot();
        edit(&mut snapshot.slots[ASLEEP], |words| words[6] = i32::MAX.cast_unsigned());
        let mut partition = restored(snapshot).expect("a snapshot");
        for (time, value) in [(100_000, 90.0), (200_000, 100.0)] {
            tick(&mut partition, time, value);
        }
        let slot = partition.roster.find(AlertId(ASLEEP as i64)).expect("it is armed");
        assert_eq!(partition.roster.get(slot).version().generation, i32::MAX);
    }
}
