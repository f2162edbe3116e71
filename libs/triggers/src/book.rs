use market::{Price, Sequence, Stamp};

use crate::alarms::{Alarms, Sleep};
use crate::ladder::Ladder;
use crate::roster::Roster;
use crate::side::Side;
use crate::slot::Place;
use crate::standing::{Standing, Waits, Zone};
use crate::trail::{Change, Peak, Trail, is_group};

/// The alerts of a symbol, by what they wait for.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// By side: those that wait for a price.
    ladders: [Ladder; 2],
    /// Most symbols have no more.
    rest: Option<Box<Rest>>,
}

#[derive(Debug)]
struct Rest {
    /// Those that look at the next trade, by slot.
    next: Ladder,
    sleepers: Alarms<Sleep>,
    /// By the side on which a price fires them: the first follows the lowest price.
    trails: [Trail; 2],
}

/// Where a trade has to be looked at: at or above, at or below, or at or after that time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Attention {
    pub(crate) above: f64,
    pub(crate) below: f64,
    pub(crate) time: i64,
}

impl Attention {
    pub(crate) const NONE: Self = Self { above: f64::INFINITY, below: 0.0, time: i64::MAX };

    /// Every trade.
    pub(crate) const ALL: Self = Self { above: 0.0, ..Self::NONE };

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            above: self.above.min(other.above),
            below: self.below.max(other.below),
            time: self.time.min(other.time),
        }
    }

    fn at(self, side: Side, bound: f64) -> Self {
        match side {
            Side::Above => self.and(Self { above: bound, ..Self::NONE }),
            Side::Below => self.and(Self { below: bound, ..Self::NONE }),
        }
    }
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            next: Ladder::default(),
            sleepers: Alarms::default(),
            trails: Side::BOTH.map(Trail::new),
        }
    }
}

/// The key of an alert on a side of its symbol.
fn key_of(slot: u32, side: Side, roster: &Roster) -> u64 {
    let Place::Zone(zone) = roster.get(slot).place() else { return 0 };
    let bounds = roster.standing(slot, None).bounds(zone);
    side.key(side.of(bounds).unwrap_or_else(|| side.bound(None)))
}

/// The keys of a ladder without groups.
fn plain(side: Side, roster: &Roster) -> impl Fn(u32) -> u64 {
    move |slot| key_of(slot, side, roster)
}

/// The keys of a ladder on which the groups of a trail stand, too.
fn with_groups(side: Side, trail: &Trail, roster: &Roster) -> impl Fn(u32) -> u64 {
    move |slot| match is_group(slot) {
        true => trail.key(slot, roster),
        false => key_of(slot, side, roster),
    }
}

/// Does to a ladder what a trail asks for.
fn rungs(ladder: &mut Ladder, side: Side) -> impl FnMut(Change, &Trail, &Roster) {
    move |change, trail, roster| match change {
        Change::Put(rung) => ladder.insert(rung, &with_groups(side, trail, roster)),
        Change::Take(rung) => ladder.remove(rung, &with_groups(side, trail, roster)),
    }
}

/// The order of those that look at the next trade.
fn by_slot(slot: u32) -> u64 {
    u64::from(slot)
}

impl Book {
    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn insert(&mut self, slot: u32, side: Side, roster: &Roster) {
        let ladder = &mut self.ladders[side as usize];
        match &self.rest {
            Some(rest) => {
                let trail = &rest.trails[side as usize];
                ladder.insert(slot, &with_groups(side, trail, roster));
            }
            None => ladder.insert(slot, &plain(side, roster)),
        }
    }

    fn remove(&mut self, slot: u32, side: Side, roster: &Roster) {
        let ladder = &mut self.ladders[side as usize];
        match &self.rest {
            Some(rest) => {
                let trail = &rest.trails[side as usize];
                ladder.remove(slot, &with_groups(side, trail, roster));
            }
            None => ladder.remove(slot, &plain(side, roster)),
        }
    }

    /// Puts an alert where it waits, as it stands after a trade at `last`. Its slot holds that
    /// standing. Returns where a trade has to be looked at for it.
    pub(crate) fn put(
        &mut self,
        slot: u32,
        standing: &Standing,
        last: Option<Price>,
        roster: &mut Roster,
    ) -> Attention {
        match standing.waits(last) {
            Waits::Trail(side, best) => {
                roster.get_mut(slot).put(Place::Trail);
                let Self { ladders, rest } = self;
                let trail = &mut rest.get_or_insert_default().trails[side as usize];
                let rungs = rungs(&mut ladders[side as usize], side);
                trail.add(slot, best, standing.peak, roster, rungs);
                self.attention(roster)
            }
            Waits::Next => {
                roster.get_mut(slot).put(Place::Next);
                self.rest().next.insert(slot, &by_slot);
                Attention::ALL
            }
            Waits::Zone(zone) => {
                roster.get_mut(slot).put(Place::Zone(zone));
                let bounds = standing.bounds(zone);
                let mut attention = Attention::NONE;
                for side in Side::BOTH {
                    if let Some(bound) = side.of(bounds) {
                        self.insert(slot, side, roster);
                        attention = attention.at(side, bound);
                    }
                }
                attention
            }
        }
    }

    /// Lets an alert sleep.
    pub(crate) fn put_to_sleep(&mut self, slot: u32, until: i64, roster: &mut Roster) -> Attention {
        roster.get_mut(slot).put(Place::Asleep);
        self.rest().sleepers.set(Sleep { until, slot });
        Attention { time: until, ..Attention::NONE }
    }

    /// Takes an alert out; its slot may be used again unless it is asleep.
    pub(crate) fn take(&mut self, slot: u32, roster: &mut Roster) {
        match roster.get(slot).place() {
            Place::Zone(zone) => self.take_off(slot, zone, roster),
            Place::Next => self.rest().next.remove(slot, &by_slot),
            Place::Trail => {
                let Some(side) = roster.get(slot).condition().trail() else { return };
                let Self { ladders, rest } = self;
                let trail = &mut rest.get_or_insert_default().trails[side as usize];
                trail.remove(slot, roster, rungs(&mut ladders[side as usize], side));
            }
            Place::Asleep | Place::Waiting | Place::Fired | Place::Dead => {}
        }
    }

    fn take_off(&mut self, slot: u32, zone: Zone, roster: &Roster) {
        let bounds = roster.standing(slot, None).bounds(zone);
        for side in Side::BOTH {
            if side.of(bounds).is_some() {
                self.remove(slot, side, roster);
            }
        }
    }

    /// One that slept was forgotten.
    pub(crate) fn died_asleep(&mut self, roster: &mut Roster) {
        let mut free = Vec::new();
        let is_dead = |slot| roster.get(slot).place() == Place::Dead;
        self.rest().sleepers.died(is_dead, |slot| free.push(slot));
        free.into_iter().for_each(|slot| roster.free(slot));
    }

    /// A trade is about to be shown to those that it concerns: its price may be a better one.
    /// Takes out those that look at it whatever its price.
    pub(crate) fn pass(&mut self, price: Price, stamp: Stamp, roster: &mut Roster) -> Vec<u32> {
        let Self { ladders, rest: Some(rest) } = self else { return Vec::new() };
        for side in Side::BOTH {
            let trail = &mut rest.trails[side as usize];
            trail.pass(price, stamp, roster, rungs(&mut ladders[side as usize], side));
        }
        std::mem::take(&mut rest.next).iter().collect()
    }

    /// Takes out an alert whose sleep is over at that time.
    pub(crate) fn wake(&mut self, time: i64, roster: &mut Roster) -> Option<u32> {
        let sleepers = &mut self.rest.as_mut()?.sleepers;
        while let Some(Sleep { slot, .. }) = sleepers.take(|sleep| sleep.until <= time) {
            if roster.get(slot).place() != Place::Dead {
                return Some(slot);
            }
            sleepers.buried();
            roster.free(slot);
        }
        None
    }

    /// Takes out an alert that a price reaches on one side, with the best price that it has seen,
    /// if it follows one.
    pub(crate) fn take_reached(
        &mut self,
        side: Side,
        price: Price,
        roster: &mut Roster,
    ) -> Option<(u32, Option<(Price, Stamp)>)> {
        let key = side.key(price.get());
        let Self { ladders, rest } = self;
        let ladder = &mut ladders[side as usize];
        let Some(rest) = rest else {
            let slot = ladder.pop_reached(key, &plain(side, roster))?;
            self.take_off_other(slot, side, roster);
            return Some((slot, None));
        };
        let trail = &mut rest.trails[side as usize];
        let reached = ladder.pop_reached(key, &with_groups(side, trail, roster));
        if let Some(rung) = reached {
            if is_group(rung) {
                let (slot, best) = trail.pop_of_rung(rung, roster, rungs(ladder, side));
                return Some((slot, Some(best)));
            }
            self.take_off_other(rung, side, roster);
            return Some((rung, None));
        }
        let (slot, best) = trail.pop_nearest(price, roster, rungs(ladder, side))?;
        Some((slot, Some(best)))
    }

    /// Takes an alert off the other side than the one on which it was found.
    fn take_off_other(&mut self, slot: u32, side: Side, roster: &Roster) {
        // Only there are two bounds.
        if roster.get(slot).place() == Place::Zone(Zone::Within) {
            self.remove(slot, side.other(), roster);
        }
    }

    /// Where a trade has to be looked at.
    pub(crate) fn attention(&self, roster: &Roster) -> Attention {
        let mut attention = Attention::NONE;
        for side in Side::BOTH {
            if let Some(slot) = self.ladders[side as usize].nearest() {
                let key = match &self.rest {
                    Some(rest) => with_groups(side, &rest.trails[side as usize], roster)(slot),
                    None => key_of(slot, side, roster),
                };
                attention = attention.at(side, side.bound(Some(key)));
            }
        }
        let Some(rest) = &self.rest else { return attention };
        for side in Side::BOTH {
            let trail = &rest.trails[side as usize];
            if let Some(bound) = trail.nearest_bound(roster) {
                attention = attention.at(side, bound);
            }
            if let Some(best) = trail.nearest_best() {
                attention = attention.at(side.other(), best.get());
            }
        }
        if !rest.next.is_empty() {
            attention = attention.and(Attention::ALL);
        }
        let time = rest.sleepers.next().map_or(i64::MAX, |sleep| sleep.until);
        attention.and(Attention { time, ..Attention::NONE })
    }

    /// Of the alerts that follow the lowest price, and the highest: their best prices.
    pub(crate) fn peaks(&self) -> impl Iterator<Item = (Side, Peak)> {
        let trails = self.rest.iter().flat_map(|rest| &rest.trails);
        Side::BOTH
            .into_iter()
            .zip(trails)
            .flat_map(|(side, trail)| trail.peaks().map(move |peak| (side, peak)))
    }

    /// Puts back peaks of a checkpoint, for alerts to be added to. False where they are not in
    /// order.
    pub(crate) fn restore(&mut self, side: Side, peaks: &[Peak]) -> bool {
        peaks.is_empty() || self.rest().trails[side as usize].restore(peaks)
    }

    /// What an alert that follows a price, armed at that place and asleep till then, has seen as
    /// the best one.
    pub(crate) fn best_since(&self, standing: &Standing, from: Sequence) -> Option<(Price, Stamp)> {
        let side = standing.condition.trail()?;
        self.rest.as_ref()?.trails[side as usize].best_since(from, standing.asleep_until)
    }

    /// Forgets the restored peaks that no alert needs.
    pub(crate) fn prune(&mut self, roster: &Roster) {
        let Self { ladders, rest: Some(rest) } = self else { return };
        for side in Side::BOTH {
            let trail = &mut rest.trails[side as usize];
            trail.prune(roster, rungs(&mut ladders[side as usize], side));
        }
    }

    /// Every alert that sleeps, and until when.
    pub(crate) fn sleepers(&self) -> impl Iterator<Item = &Sleep> {
        self.rest.iter().flat_map(|rest| rest.sleepers.iter())
    }

    /// Every alert that follows a price, and the best that it has seen.
    pub(crate) fn followers(&self, roster: &Roster, mut each: impl FnMut(u32, (Price, Stamp))) {
        for trail in self.rest.iter().flat_map(|rest| &rest.trails) {
            trail.members(roster, &mut each);
        }
    }

    /// For an empty book: ladders from keys and slots in ascending order, by side.
    pub(crate) fn lay(&mut self, side: Side, sorted: &[(u64, u32)]) {
        self.ladders[side as usize] = Ladder::of_sorted(sorted);
    }

    pub(crate) fn bytes(&self) -> usize {
        let ladders: usize = self.ladders.iter().map(Ladder::bytes).sum();
        let rest = self.rest.as_ref().map_or(0, |rest| {
            size_of::<Rest>()
                + rest.next.bytes()
                + rest.sleepers.bytes()
                + rest.trails.iter().map(Trail::bytes).sum::<usize>()
        });
        ladders + rest
    }
}
