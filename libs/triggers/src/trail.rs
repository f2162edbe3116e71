//! Alerts that follow the best price since they were armed.
//!
//! ```text
//!  best price    105        103          101   <- the nearest: the price may pass it any moment
//!  of a group   ┌───┐      ┌───┐        ┌───┐
//!               │ 2%│      │ 1%│        │ 3%│     by percent, the smallest first: a heap
//!               │ 5%│      └───┘        │ 7%│
//!               └───┘                   └───┘
//! ```
//! Alerts with the same best price stay together from then on. A price that passes a group's takes
//! the group along: one number changes, however many alerts it holds, and groups that it catches
//! up with are joined, in constant time each. So a market that runs away costs no more than one
//! that stands still, and an alert is moved only when it fires.
//!
//! Of each group but the nearest a rung stands on the symbol's ladder, at the price that fires its
//! first; the nearest is compared by itself, since its price moves all the time. The heaps themselves
//! are in `heap`.

use market::{Price, Sequence, Stamp};

use crate::Percent;
use crate::alarms::growth;
use crate::condition::{fallen, risen};
use crate::heap;
use crate::roster::Roster;
use crate::side::Side;
use crate::slot::{Links, NONE};

/// What marks the number of a group where the numbers of slots stand.
const GROUP: u32 = 1 << 31;

/// Every alert of a symbol that follows its highest, or its lowest, price.
#[derive(Debug)]
pub(crate) struct Trail {
    /// On which side a price fires: below for those that follow the highest.
    side: Side,
    groups: Vec<Group>,
    /// Groups that are no more.
    free: Vec<u32>,
    /// The groups by their best prices, the nearest last.
    order: Vec<u32>,
}

/// 32 bytes: where a price falls and falls, each alert may be one by itself.
#[derive(Clone, Copy, Debug)]
struct Group {
    best: Price,
    /// Of the last trade that had it: time, offset, index.
    time: i64,
    offset: i64,
    index: u32,
    /// The alert with the smallest percent; `NONE` of a group whose alerts are yet to come.
    root: u32,
}

impl Group {
    fn new(best: Price, Stamp { time, sequence }: Stamp, root: u32) -> Self {
        let Sequence { offset, index } = sequence;
        Self { best, time, offset, index, root }
    }

    fn peak(&self) -> Stamp {
        let Self { time, offset, index, .. } = *self;
        Stamp { time, sequence: Sequence { offset, index } }
    }
}

/// A best price without alerts, as checkpoints keep them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Peak {
    pub(crate) best: Price,
    pub(crate) stamp: Stamp,
}

/// What a change of a group does to the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(u32),
    Take(u32),
}

/// Makes room for one more.
fn grow<T>(of: &mut Vec<T>) {
    if of.len() == of.capacity() {
        of.reserve_exact(growth(of.len()));
    }
}

pub(crate) fn is_group(slot: u32) -> bool {
    slot & GROUP != 0 && slot != NONE
}

impl Trail {
    pub(crate) fn new(side: Side) -> Self {
        Self { side, groups: Vec::new(), free: Vec::new(), order: Vec::new() }
    }

    /// Whether a price is at least as good as another.
    fn reaches(&self, price: Price, best: Price) -> bool {
        match self.side {
            Side::Below => price >= best,
            Side::Above => price <= best,
        }
    }

    /// The price that fires an alert.
    fn bound(&self, best: Price, percent: Percent) -> f64 {
        match self.side {
            Side::Below => fallen(best.get(), percent),
            Side::Above => risen(best.get(), percent),
        }
    }

    /// The best price of the nearest group: one as good is to be told with [`Trail::pass`].
    pub(crate) fn nearest_best(&self) -> Option<Price> {
        self.order.last().map(|group| self.groups[*group as usize].best)
    }

    /// The price that fires an alert of the nearest group.
    pub(crate) fn nearest_bound(&self, roster: &Roster) -> Option<f64> {
        self.order.last().and_then(|group| self.bound_of(*group, roster))
    }

    fn bound_of(&self, group: u32, roster: &Roster) -> Option<f64> {
        let Group { best, root, .. } = self.groups[group as usize];
        (root != NONE).then(|| self.bound(best, roster.get(root).percent()))
    }

    /// The key of a group's rung.
    pub(crate) fn key(&self, rung: u32, roster: &Roster) -> u64 {
        let bound = self.bound_of(rung & !GROUP, roster);
        self.side.key(bound.unwrap_or_else(|| self.side.bound(None)))
    }

    /// A trade has come. Groups whose price it passes are one with its price; `rungs` hears of
    /// those that were not the nearest, while their keys are still what they were.
    pub(crate) fn pass(
        &mut self,
        price: Price,
        peak: Stamp,
        roster: &mut Roster,
        mut rungs: impl FnMut(Change, &Self, &Roster),
    ) {
        let Some(nearest) = self.order.last().copied() else { return };
        if !self.reaches(price, self.groups[nearest as usize].best) {
            return;
        }
        while let Some(next) = self.order.len().checked_sub(2).map(|next| self.order[next])
            && self.reaches(price, self.groups[next as usize].best)
        {
            rungs(Change::Take(next | GROUP), self, roster);
            self.order.remove(self.order.len() - 2);
            let (root, other) =
                (self.groups[nearest as usize].root, self.groups[next as usize].root);
            self.groups[nearest as usize].root = heap::meld(roster, root, other);
            self.free.push(next);
        }
        let group = &mut self.groups[nearest as usize];
        *group = Group::new(price, peak, group.root);
        self.own(nearest, roster);
    }

    /// Tells the root of a group whose it is.
    fn own(&self, group: u32, roster: &mut Roster) {
        let root = self.groups[group as usize].root;
        if root != NONE {
            let slot = roster.get_mut(root);
            slot.link(Links { back: group | GROUP, sibling: NONE, ..slot.links() });
        }
    }

    /// Adds an alert that has seen this best price. `rungs` is told what to do to the ladder: takes
    /// while the keys are still what they were, puts once they are what they will be.
    pub(crate) fn add(
        &mut self,
        slot: u32,
        best: Price,
        peak: Stamp,
        roster: &mut Roster,
        mut rungs: impl FnMut(Change, &Self, &Roster),
    ) {
        roster.get_mut(slot).link(Links::ALONE);
        let place = self.order.partition_point(|group| {
            let other = self.groups[*group as usize].best;
            !self.reaches(best, other)
        });
        let known = self.order.get(place).copied();
        if let Some(group) = known.filter(|group| self.groups[*group as usize].best == best) {
            let is_nearest = place + 1 == self.order.len();
            if !is_nearest {
                rungs(Change::Take(group | GROUP), self, roster);
            }
            let root = self.groups[group as usize].root;
            self.groups[group as usize].root = heap::meld(roster, root, slot);
            self.own(group, roster);
            if !is_nearest {
                rungs(Change::Put(group | GROUP), self, roster);
            }
            return;
        }
        let before = self.order.last().copied().filter(|_| place == self.order.len());
        let group = self.make(Group::new(best, peak, slot));
        grow(&mut self.order);
        self.order.insert(place, group);
        self.own(group, roster);
        // The nearest has no rung, nor has one without alerts; the nearest may be another one now.
        let put = before.unwrap_or(group);
        if self.order.last() != Some(&put) && self.groups[put as usize].root != NONE {
            rungs(Change::Put(put | GROUP), self, roster);
        }
    }

    fn make(&mut self, group: Group) -> u32 {
        if let Some(number) = self.free.pop() {
            self.groups[number as usize] = group;
            return number;
        }
        grow(&mut self.groups);
        self.groups.push(group);
        self.groups.len() as u32 - 1
    }

    /// Takes an alert out.
    pub(crate) fn remove(
        &mut self,
        slot: u32,
        roster: &mut Roster,
        mut rungs: impl FnMut(Change, &Self, &Roster),
    ) {
        let back = roster.get(slot).links().back;
        if is_group(back) {
            self.take_root(back & !GROUP, roster, &mut rungs);
            return;
        }
        heap::remove(roster, slot);
    }

    /// Takes the root of a group out, and the group with the last of it.
    fn take_root(
        &mut self,
        group: u32,
        roster: &mut Roster,
        rungs: &mut impl FnMut(Change, &Self, &Roster),
    ) -> u32 {
        let is_nearest = self.order.last() == Some(&group);
        if !is_nearest {
            rungs(Change::Take(group | GROUP), self, roster);
        }
        let root = self.groups[group as usize].root;
        self.groups[group as usize].root = heap::children(roster, root);
        roster.get_mut(root).link(Links::ALONE);
        self.own(group, roster);
        if self.groups[group as usize].root == NONE {
            self.drop_group(group, rungs, roster);
        } else if !is_nearest {
            rungs(Change::Put(group | GROUP), self, roster);
        }
        root
    }

    /// Forgets a group that holds nothing and has no rung.
    fn drop_group(
        &mut self,
        group: u32,
        rungs: &mut impl FnMut(Change, &Self, &Roster),
        roster: &Roster,
    ) {
        let best = self.groups[group as usize].best;
        let place = self
            .order
            .partition_point(|other| !self.reaches(best, self.groups[*other as usize].best));
        if place + 1 == self.order.len()
            && let Some(next) = place.checked_sub(1)
        {
            // It will be the nearest.
            rungs(Change::Take(self.order[next] | GROUP), self, roster);
        }
        self.order.remove(place);
        self.free.push(group);
    }

    /// Takes out an alert of the nearest group that a price fires.
    pub(crate) fn pop_nearest(
        &mut self,
        price: Price,
        roster: &mut Roster,
        mut rungs: impl FnMut(Change, &Self, &Roster),
    ) -> Option<(u32, (Price, Stamp))> {
        let group = *self.order.last()?;
        let bound = self.bound_of(group, roster)?;
        (self.side.key(bound) >= self.side.key(price.get()))
            .then(|| self.pop_root(group, roster, &mut rungs))
    }

    /// Takes out the first alert of a group whose rung was taken off the ladder just now; its rung
    /// is put back if more follow.
    pub(crate) fn pop_of_rung(
        &mut self,
        rung: u32,
        roster: &mut Roster,
        mut rungs: impl FnMut(Change, &Self, &Roster),
    ) -> (u32, (Price, Stamp)) {
        let mut is_first = true;
        self.pop_root(rung & !GROUP, roster, &mut |change, trail: &Self, roster: &Roster| {
            // The first is to take the rung that is gone already.
            if !std::mem::take(&mut is_first) {
                rungs(change, trail, roster);
            }
        })
    }

    fn pop_root(
        &mut self,
        group: u32,
        roster: &mut Roster,
        rungs: &mut impl FnMut(Change, &Self, &Roster),
    ) -> (u32, (Price, Stamp)) {
        let best = (self.groups[group as usize].best, self.groups[group as usize].peak());
        (self.take_root(group, roster, rungs), best)
    }

    /// Every alert on it, with the best price that it has seen.
    pub(crate) fn members(&self, roster: &Roster, mut each: impl FnMut(u32, (Price, Stamp))) {
        let mut left = Vec::new();
        for group in &self.order {
            let group = self.groups[*group as usize];
            left.push(group.root);
            while let Some(slot) = left.pop() {
                if slot != NONE {
                    each(slot, (group.best, group.peak()));
                    let Links { child, sibling, .. } = roster.get(slot).links();
                    left.extend([child, sibling]);
                }
            }
        }
    }

    /// The best prices, the farthest first: what a checkpoint keeps, since with an alert's row it
    /// says what the alert's own is.
    pub(crate) fn peaks(&self) -> impl Iterator<Item = Peak> {
        let groups = self.order.iter().map(|group| self.groups[*group as usize]);
        groups
            .filter(|group| group.root != NONE)
            .map(|group| Peak { best: group.best, stamp: group.peak() })
    }

    /// The best price of an alert that has seen every trade from one on, and from one time on:
    /// what was the best at the first peak after that. `None` where it has seen none.
    pub(crate) fn best_since(&self, from: Sequence, time: i64) -> Option<(Price, Stamp)> {
        let place = self.order.partition_point(|group| {
            let peak = self.groups[*group as usize].peak();
            peak.sequence < from || peak.time < time
        });
        let group = self.groups[*self.order.get(place)? as usize];
        Some((group.best, group.peak()))
    }

    /// Puts back the peaks of a checkpoint, the farthest first, for alerts to be added to.
    /// False where they are not in order.
    pub(crate) fn restore(&mut self, peaks: &[Peak]) -> bool {
        for Peak { best, stamp } in peaks {
            if let Some(nearest) = self.order.last().map(|group| &self.groups[*group as usize])
                && (self.reaches(*best, nearest.best) || *stamp <= nearest.peak())
            {
                return false;
            }
            let group = self.make(Group::new(*best, *stamp, NONE));
            self.order.push(group);
        }
        true
    }

    /// Forgets the restored peaks that no alert needs.
    pub(crate) fn prune(&mut self, roster: &Roster, mut rungs: impl FnMut(Change, &Self, &Roster)) {
        let nearest = self.order.last().copied();
        let has_alerts = |group: &u32| self.groups[*group as usize].root != NONE;
        let new = self.order.iter().rfind(|group| has_alerts(group)).copied();
        if let Some(new) = new.filter(|_| new != nearest) {
            rungs(Change::Take(new | GROUP), self, roster);
        }
        let (kept, dropped) = self.order.iter().partition(|group| has_alerts(group));
        self.order = kept;
        let dropped: Vec<u32> = dropped;
        self.free.extend(dropped);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group>()
            + (self.free.capacity() + self.order.capacity()) * size_of::<u32>()
    }
}
