//! What the log says of a row, read from its beginning, one alert at a time. Written apart from the
//! index: it shares its types and nothing else.

use market::{Sequence, Trade};
use triggers::{Condition, Firing, Percent, Version};

use crate::Record;
use crate::row::Row;

/// Everything that a row fires on, as it was when it was last created or changed.
pub(crate) fn firings(log: &[Record], symbol: usize, row: &Row) -> Vec<Firing> {
    let mut alert = Alert { row: *row, reference: None, latched: false, deaf_until: i64::MIN };
    let (mut before, mut newest, mut fired) = (None, i64::MIN, Vec::new());
    for (offset, record) in (0..).zip(log).filter(|(_, record)| record.symbol == symbol) {
        for (index, trade) in (0..).zip(&record.trades) {
            if trade.timestamp < newest {
                continue;
            }
            newest = trade.timestamp;
            let sequence = Sequence { offset, index };
            if sequence >= row.armed_at && trade.timestamp >= alert.deaf_until {
                let reference = alert.reference.and_then(market::Price::new);
                if alert.is_fired_by(before, trade) {
                    let Version { revision, generation } = row.version;
                    let generation = generation + fired.len() as i32;
                    let Trade { price, timestamp, received_at, .. } = *trade;
                    fired.push(Firing {
                        id: row.id,
                        version: Version { revision, generation },
                        price,
                        reference: reference.filter(|_| alert.is_relative()),
                        timestamp,
                        sequence,
                        received_at,
                    });
                    if !alert.begins_anew(trade) {
                        return fired;
                    }
                }
            }
            before = Some(trade.price.get());
        }
    }
    fired
}

struct Alert {
    row: Row,
    reference: Option<f64>,
    latched: bool,
    deaf_until: i64,
}

fn share(of: f64, percent: Percent, sign: f64) -> f64 {
    let line = of * (100_000.0 + sign * f64::from(percent.thousandths())) / 100_000.0;
    line * (1.0 - sign * 1e-14)
}

impl Alert {
    fn is_relative(&self) -> bool {
        use Condition::{FallsPercent, RisesPercent, TrailingDrop, TrailingRise};
        let condition = self.row.terms.condition();
        matches!(condition, RisesPercent(_) | FallsPercent(_) | TrailingDrop(_) | TrailingRise(_))
    }

    fn begins_anew(&mut self, trade: &Trade) -> bool {
        let Some(repeat) = self.row.terms.repeat() else { return false };
        self.reference = None;
        self.latched = !self.is_relative();
        if repeat.cooldown > 0 {
            self.deaf_until = trade.timestamp + i64::from(repeat.cooldown);
        }
        true
    }

    fn is_fired_by(&mut self, before: Option<f64>, trade: &Trade) -> bool {
        let price = trade.price.get();
        if self.is_relative() {
            return self.has_moved(price);
        }
        if self.latched && before.is_some_and(|before| self.is_back(before)) {
            self.latched = false;
        }
        if self.latched {
            self.latched = !self.is_back(price);
            return false;
        }
        let from = before.unwrap_or(f64::NAN);
        let (low, high) = self.lines();
        let inside = |price: f64| low <= price && price <= high;
        match self.row.terms.condition() {
            Condition::Above(_) => price >= high,
            Condition::Below(_) => price <= low,
            Condition::CrossesAbove(_) => from < high && price >= high,
            Condition::CrossesBelow(_) => from > low && price <= low,
            Condition::Crosses(_) => (from < high && price >= high) || (from > low && price <= low),
            Condition::EntersRange(_) => (from < low || from > high) && inside(price),
            _ => inside(from) && !inside(price),
        }
    }

    fn lines(&self) -> (f64, f64) {
        match self.row.terms.condition() {
            Condition::Above(line)
            | Condition::Below(line)
            | Condition::CrossesAbove(line)
            | Condition::CrossesBelow(line)
            | Condition::Crosses(line) => (line.get(), line.get()),
            Condition::EntersRange(range) | Condition::LeavesRange(range) => {
                (range.lower().get(), range.upper().get())
            }
            _ => unreachable!("it has no line"),
        }
    }

    fn is_back(&self, price: f64) -> bool {
        let hysteresis = self.row.terms.repeat().and_then(|repeat| repeat.hysteresis);
        let by = hysteresis.map_or(0.0, |by| f64::from(by.thousandths()));
        let down = |line: f64| if by > 0.0 { line * (100_000.0 - by) / 100_000.0 } else { line };
        let up = |line: f64| if by > 0.0 { line * (100_000.0 + by) / 100_000.0 } else { line };
        let (low, high) = self.lines();
        match self.row.terms.condition() {
            Condition::Above(_) | Condition::CrossesAbove(_) => price < down(high),
            Condition::Below(_) | Condition::CrossesBelow(_) => price > up(low),
            Condition::LeavesRange(_) => price >= up(low) && price <= down(high),
            _ => price < down(low) || price > up(high),
        }
    }

    fn has_moved(&mut self, price: f64) -> bool {
        let Some(reference) = self.reference else {
            self.reference = Some(price);
            return false;
        };
        match self.row.terms.condition() {
            Condition::RisesPercent(by) => price >= share(reference, by, 1.0),
            Condition::FallsPercent(by) => price <= share(reference, by, -1.0),
            Condition::TrailingDrop(by) => {
                let best = reference.max(price);
                self.reference = Some(best);
                price <= share(best, by, -1.0)
            }
            Condition::TrailingRise(by) => {
                let best = reference.min(price);
                self.reference = Some(best);
                price >= share(best, by, 1.0)
            }
            _ => unreachable!("it is not relative"),
        }
    }
}
