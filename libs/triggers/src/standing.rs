//! What fires, and nothing of how it is found: one alert before and after a trade.
//!
//! `CONDITIONS.md` is the same in words and examples. The index calls [`Standing::see`] only where
//! a price comes to one of the bounds that the alert waits for: for every other trade it would do
//! nothing, which is what [`Standing::waits`] promises.

use market::{Price, Sequence, Stamp};

use crate::condition::{fallen, higher, lower_by, risen};
use crate::side::Side;
use crate::{AlertId, Condition, Progress, Repeat, Version};

/// An alert as it stands between two trades.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) version: Version,
    pub(crate) condition: Condition,
    pub(crate) repeat: Option<Repeat>,
    /// It has fired, and cannot again before a price has gone back.
    pub(crate) latched: bool,
    /// Trades of an earlier time are not seen.
    pub(crate) asleep_until: i64,
    /// What a percent is counted from; for trailing ones the best price so far.
    pub(crate) reference: Option<Price>,
    /// The last trade that had the best price.
    pub(crate) peak: Stamp,
}

/// What a trade did to an alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Nothing,
    /// It stands otherwise: what its row says of it can be moved past this trade.
    Moved,
    /// It has fired. One that repeats stands as its next generation.
    Fired {
        reference: Option<Price>,
    },
}

/// What an alert waits for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Waits {
    /// The next trade, whatever its price.
    Next,
    /// A price at one of the [`Standing::bounds`] of this zone.
    Zone(Zone),
    /// A price on that side of the best one, or a better one.
    Trail(Side, Price),
}

/// Where the last price was, as far as the condition asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Below what the condition watches.
    Under,
    Over,
    /// On the line, or in the range.
    Within,
}

/// At or above the first, or at or below the second: where an alert has to be looked at.
pub(crate) type Bounds = (Option<f64>, Option<f64>);

impl Condition {
    /// For one that follows the best price: on which side of it another one fires.
    pub(crate) fn trail(self) -> Option<Side> {
        match self {
            Self::TrailingDrop(_) => Some(Side::Below),
            Self::TrailingRise(_) => Some(Side::Above),
            _ => None,
        }
    }

    pub(crate) fn trails(self) -> bool {
        self.trail().is_some()
    }

    /// Whether each generation counts from a price of its own.
    pub(crate) fn is_relative(self) -> bool {
        matches!(self, Self::RisesPercent(_) | Self::FallsPercent(_)) || self.trails()
    }

    /// Whether the first trade of a symbol decides nothing.
    fn needs_a_price_before(self) -> bool {
        !self.is_relative() && !matches!(self, Self::Above(_) | Self::Below(_))
    }
}

impl Standing {
    /// Looks at a trade; `before` is the price of the symbol's trade before it, seen or not. Every
    /// trade of the symbol but late ones, in the order of the log.
    pub(crate) fn see(&mut self, before: Option<Price>, price: Price, stamp: Stamp) -> Outcome {
        if stamp.time < self.asleep_until {
            return Outcome::Nothing;
        }
        let rearmed = self.settle(before);
        if self.latched {
            // A trade that lets it fire again does not fire it.
            let rearmed = self.settle(Some(price));
            return self.told(rearmed);
        }
        match self.reference {
            _ if !self.condition.is_relative() => match self.crosses(before, price) {
                true => self.fire(None, stamp),
                false => self.told(rearmed),
            },
            None => {
                (self.reference, self.peak) = (Some(price), stamp);
                self.told(true)
            }
            Some(best) if self.is_better(price, best) => {
                (self.reference, self.peak) = (Some(price), stamp);
                Outcome::Nothing
            }
            Some(reference) if self.has_moved(price, reference) => {
                self.fire(Some(reference), stamp)
            }
            Some(_) => Outcome::Nothing,
        }
    }

    /// Lets it fire again where the last price has gone back far enough. Of the trades that it saw
    /// each has been asked: what this finds is the price before the first of them.
    pub(crate) fn settle(&mut self, last: Option<Price>) -> bool {
        let rearms = self.latched && last.is_some_and(|last| self.rearms(last));
        self.latched &= !rearms;
        rearms
    }

    /// Whether its row should hear of a change. Most can be told from the last price, and the best
    /// price from the checkpoint.
    pub(crate) fn is_told(&self) -> bool {
        let is_relative = self.condition.is_relative() && !self.condition.trails();
        is_relative || self.repeat.is_some_and(|repeat| repeat.hysteresis.is_some())
    }

    fn told(&self, is_changed: bool) -> Outcome {
        if is_changed && self.is_told() { Outcome::Moved } else { Outcome::Nothing }
    }

    /// What its row is to be told: it stands so from `at` on.
    pub(crate) fn progress(&self, id: AlertId, at: Sequence) -> Progress {
        let Self { version, latched, reference, .. } = *self;
        Progress { id, version, armed_at: at, latched, reference }
    }

    /// Whether the way from one price to the next satisfies a condition on prices.
    fn crosses(&self, before: Option<Price>, price: Price) -> bool {
        use Condition::{
            Above, Below, Crosses, CrossesAbove, CrossesBelow, EntersRange, LeavesRange,
        };
        let was = |is: &dyn Fn(Price) -> bool| before.is_some_and(is);
        match self.condition {
            Above(line) => price >= line,
            Below(line) => price <= line,
            CrossesAbove(line) => was(&|before| before < line) && price >= line,
            CrossesBelow(line) => was(&|before| before > line) && price <= line,
            Crosses(line) => {
                was(&|before| before < line) && price >= line
                    || was(&|before| before > line) && price <= line
            }
            EntersRange(range) => {
                let inside = |price| price >= range.lower() && price <= range.upper();
                was(&|before| !inside(before)) && inside(price)
            }
            LeavesRange(range) => {
                let inside = |price| price >= range.lower() && price <= range.upper();
                was(&inside) && !inside(price)
            }
            _ => false,
        }
    }

    fn is_better(&self, price: Price, best: Price) -> bool {
        match self.condition {
            Condition::TrailingDrop(_) => price >= best,
            Condition::TrailingRise(_) => price <= best,
            _ => false,
        }
    }

    fn has_moved(&self, price: Price, reference: Price) -> bool {
        match self.condition {
            Condition::RisesPercent(by) | Condition::TrailingRise(by) => {
                price.get() >= risen(reference.get(), by)
            }
            Condition::FallsPercent(by) | Condition::TrailingDrop(by) => {
                price.get() <= fallen(reference.get(), by)
            }
            _ => false,
        }
    }

    /// Whether a price has gone back far enough for a latched alert to fire again.
    fn rearms(&self, price: Price) -> bool {
        use Condition::{
            Above, Below, Crosses, CrossesAbove, CrossesBelow, EntersRange, LeavesRange,
        };
        let (price, by) = (price.get(), self.repeat.and_then(|repeat| repeat.hysteresis));
        match self.condition {
            Above(line) | CrossesAbove(line) => price < lower_by(line.get(), by),
            Below(line) | CrossesBelow(line) => price > higher(line.get(), by),
            Crosses(line) => price < lower_by(line.get(), by) || price > higher(line.get(), by),
            EntersRange(range) => {
                price < lower_by(range.lower().get(), by) || price > higher(range.upper().get(), by)
            }
            LeavesRange(range) => {
                price >= higher(range.lower().get(), by)
                    && price <= lower_by(range.upper().get(), by)
            }
            _ => true,
        }
    }

    fn fire(&mut self, reference: Option<Price>, stamp: Stamp) -> Outcome {
        if let Some(repeat) = self.repeat {
            // A row or a snapshot may hold any number.
            self.version.generation = self.version.generation.saturating_add(1);
            self.latched = !self.condition.is_relative();
            self.reference = None;
            self.asleep_until = match repeat.cooldown {
                0 => i64::MIN,
                cooldown => stamp.time.saturating_add(i64::from(cooldown)),
            };
        }
        Outcome::Fired { reference }
    }

    /// What it waits for after a trade at `last`, once it is settled with it. `None`: the symbol
    /// has not traded.
    pub(crate) fn waits(&self, last: Option<Price>) -> Waits {
        match (self.reference, self.condition.trail()) {
            (None, _) if self.condition.is_relative() => Waits::Next,
            (Some(best), Some(side)) => Waits::Trail(side, best),
            _ if last.is_none() && !self.latched && self.condition.needs_a_price_before() => {
                Waits::Next
            }
            _ => Waits::Zone(self.zone(last)),
        }
    }

    fn zone(&self, last: Option<Price>) -> Zone {
        use Condition::{
            Above, Below, Crosses, CrossesAbove, CrossesBelow, EntersRange, FallsPercent,
            LeavesRange, RisesPercent, TrailingDrop, TrailingRise,
        };
        let between = |lower: f64, upper: f64| match last {
            Some(last) if last.get() < lower => Zone::Under,
            Some(last) if last.get() > upper => Zone::Over,
            _ => Zone::Within,
        };
        match self.condition {
            Above(_) => {
                if self.latched {
                    Zone::Over
                } else {
                    Zone::Under
                }
            }
            Below(_) => {
                if self.latched {
                    Zone::Under
                } else {
                    Zone::Over
                }
            }
            CrossesAbove(_) if self.latched => Zone::Over,
            CrossesBelow(_) if self.latched => Zone::Under,
            Crosses(_) | EntersRange(_) if self.latched => Zone::Within,
            CrossesAbove(line) => match between(line.get(), line.get()) {
                Zone::Under => Zone::Under,
                _ => Zone::Over,
            },
            CrossesBelow(line) => match between(line.get(), line.get()) {
                Zone::Over => Zone::Over,
                _ => Zone::Under,
            },
            Crosses(line) => between(line.get(), line.get()),
            EntersRange(range) => between(range.lower().get(), range.upper().get()),
            LeavesRange(range) if self.latched => {
                let line = higher(range.lower().get(), self.hysteresis());
                if between(line, f64::INFINITY) == Zone::Under { Zone::Under } else { Zone::Over }
            }
            LeavesRange(range) => between(range.lower().get(), range.upper().get()),
            RisesPercent(_) | TrailingRise(_) => Zone::Under,
            FallsPercent(_) | TrailingDrop(_) => Zone::Over,
        }
    }

    /// What widens its lines while it is latched.
    fn hysteresis(&self) -> Option<crate::Percent> {
        self.repeat.filter(|_| self.latched)?.hysteresis
    }

    /// The bounds of a zone. No trade that comes to neither does anything to the alert.
    pub(crate) fn bounds(&self, zone: Zone) -> Bounds {
        use Condition::{
            Above, Below, Crosses, CrossesAbove, CrossesBelow, EntersRange, FallsPercent,
            LeavesRange, RisesPercent, TrailingDrop, TrailingRise,
        };
        let by = self.hysteresis();
        let over = |line: Price| Some(higher(line.get(), by).next_up());
        let under = |line: Price| Some(lower_by(line.get(), by).next_down());
        let at = |line: Price| Some(line.get());
        match (self.condition, zone) {
            (Above(line) | CrossesAbove(line) | Crosses(line), Zone::Under) => (at(line), None),
            (Below(line) | CrossesBelow(line) | Crosses(line), Zone::Over) => (None, at(line)),
            (Above(line) | CrossesAbove(line), _) => (None, under(line)),
            (Below(line) | CrossesBelow(line), _) => (over(line), None),
            (Crosses(line), Zone::Within) => (over(line), under(line)),
            (EntersRange(range), Zone::Under) => (at(range.lower()), None),
            (EntersRange(range), Zone::Over) => (None, at(range.upper())),
            (EntersRange(range), Zone::Within) => (over(range.upper()), under(range.lower())),
            (LeavesRange(range), Zone::Under) => (Some(higher(range.lower().get(), by)), None),
            (LeavesRange(range), Zone::Over) => (None, Some(lower_by(range.upper().get(), by))),
            (LeavesRange(range), Zone::Within) => (over(range.upper()), under(range.lower())),
            (RisesPercent(by) | TrailingRise(by), _) => {
                (self.reference.map(|reference| risen(reference.get(), by)), None)
            }
            (FallsPercent(by) | TrailingDrop(by), _) => {
                (None, self.reference.map(|reference| fallen(reference.get(), by)))
            }
        }
    }
}
