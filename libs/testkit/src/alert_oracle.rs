//! Which alerts must have fired, and on which trades: worked out the long way from what the topic
//! holds and from the alerts as people made and changed them.
//!
//! Shares no code with the alert service: records are decoded by prost, and each alert looks at
//! every trade of its symbol. The rules are those of `libs/triggers/CONDITIONS.md`.

use std::collections::BTreeMap;

use prost::Message;
use rpc::market::v1::StockTick;

use crate::{Postgresql, Record};

/// Keeps every alert as it was made, and as it became with each change that began a revision: a
/// row of `alerts` moves on as the log does.
const AUDIT: &str = "
    CREATE TABLE audit AS SELECT * FROM alerts;
    CREATE FUNCTION audit_made() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO audit SELECT * FROM new_rows;
        RETURN NULL;
    END $$;
    CREATE FUNCTION audit_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO audit SELECT new_rows.* FROM new_rows JOIN old_rows USING (id)
            WHERE new_rows.revision <> old_rows.revision;
        RETURN NULL;
    END $$;
    CREATE TRIGGER audit_made AFTER INSERT ON alerts REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION audit_made();
    CREATE TRIGGER audit_changed AFTER UPDATE ON alerts
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION audit_changed();";

/// Begins to keep alerts as they are made, in a database that has the service's tables.
pub fn audit(postgresql: &Postgresql, url: &str) {
    postgresql.execute(url, AUDIT);
}

/// One revision of an alert, as it began.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    pub id: i64,
    pub symbol: String,
    /// As PostgreSQL has it: 1 ABOVE to 11 TRAILING_RISE.
    pub condition: u8,
    /// The target or the lower bound, and the upper bound; for percents, that.
    pub numbers: [f64; 2],
    /// Milliseconds; `None` fires once.
    pub cooldown: Option<i64>,
    /// Percent, 0 where there is none.
    pub hysteresis: f64,
    /// Event time, Unix milliseconds.
    pub expires_at: i64,
    /// The first trade that it sees, as offset and index: a change may find the alert in the middle
    /// of a record, and it goes on there.
    pub armed_at: (i64, usize),
    pub generation: i32,
    pub is_active: bool,
    /// It began because a trade came after the expiry of the one before.
    pub is_expired: bool,
}

/// A trade that an alert fired on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FiredOn {
    pub partition: i32,
    pub offset: i64,
    pub index: usize,
    pub price: f64,
    pub timestamp: i64,
}

/// A firing: of which generation, on which trade, and what a percent was counted from.
pub type Fired = (i32, FiredOn, f64);

const ABOVE: u8 = 1;
const BELOW: u8 = 2;
const CROSSES_ABOVE: u8 = 3;
const CROSSES_BELOW: u8 = 4;
const CROSSES: u8 = 5;
const ENTERS: u8 = 6;
const LEAVES: u8 = 7;
const RISES: u8 = 8;
const FALLS: u8 = 9;
const TRAILING_DROP: u8 = 10;

impl AlertRow {
    /// Everything that it is to fire on, of its symbol's trades from an offset and index on.
    pub fn firings(&self, trades: &[FiredOn], from: (i64, usize)) -> Vec<Fired> {
        let mut fired = Vec::new();
        let (mut before, mut latched, mut reference, mut wakes) = (None, false, None, i64::MIN);
        for trade in trades {
            let last = before.replace(trade.price);
            if (trade.offset, trade.index) < from || trade.timestamp < wakes || !self.is_active {
                continue;
            }
            if trade.timestamp >= self.expires_at {
                break;
            }
            latched = latched && !last.is_some_and(|last| self.is_back(last));
            if latched {
                latched = !self.is_back(trade.price);
                continue;
            }
            let counted_from = reference;
            if !self.is_met(last, trade.price, &mut reference) {
                continue;
            }
            let counted_from = counted_from.filter(|_| self.condition >= RISES);
            let generation = self.generation + i32::try_from(fired.len()).expect("few firings");
            fired.push((generation, *trade, counted_from.unwrap_or_default()));
            let Some(cooldown) = self.cooldown else { break };
            (latched, reference) = (self.condition < RISES, None);
            if cooldown > 0 {
                wakes = trade.timestamp + cooldown;
            }
        }
        fired
    }

    /// Whether prices between these can make it fire: of a million alerts most need no look at
    /// every trade.
    fn is_within(&self, (lowest, highest): (f64, f64)) -> bool {
        let [low, high] = self.numbers;
        match self.condition {
            ABOVE | CROSSES_ABOVE => low <= highest,
            BELOW | CROSSES_BELOW => low >= lowest,
            CROSSES => (lowest..=highest).contains(&low),
            ENTERS | LEAVES => low <= highest && high >= lowest,
            // A little more than it takes.
            FALLS | TRAILING_DROP => highest * (100.0 - low) / 100.0 >= lowest * 0.999,
            _ => lowest * (100.0 + low) / 100.0 <= highest * 1.001,
        }
    }

    fn is_met(&self, last: Option<f64>, price: f64, reference: &mut Option<f64>) -> bool {
        let [low, high] = self.numbers;
        let was = last.unwrap_or(f64::NAN);
        let is_inside = |price: f64| (low..=high).contains(&price);
        let up = was < low && price >= low;
        let down = was > low && price <= low;
        match self.condition {
            ABOVE => price >= low,
            BELOW => price <= low,
            CROSSES_ABOVE => up,
            CROSSES_BELOW => down,
            CROSSES => up || down,
            ENTERS => !was.is_nan() && !is_inside(was) && is_inside(price),
            LEAVES => is_inside(was) && !is_inside(price),
            _ => self.has_moved(price, reference),
        }
    }

    fn has_moved(&self, price: f64, reference: &mut Option<f64>) -> bool {
        let Some(from) = *reference else {
            *reference = Some(price);
            return false;
        };
        // In thousandths of a percent, as people cannot say less.
        let by = (self.numbers[0] * 1_000.0).round();
        let risen = from * (100_000.0 + by) / 100_000.0 * (1.0 - 1e-14);
        let fallen = from * (100_000.0 - by) / 100_000.0 * (1.0 + 1e-14);
        match self.condition {
            RISES => price >= risen,
            FALLS => price <= fallen,
            TRAILING_DROP if price >= from => {
                *reference = Some(price);
                false
            }
            TRAILING_DROP => price <= fallen,
            _ if price <= from => {
                *reference = Some(price);
                false
            }
            _ => price >= risen,
        }
    }

    /// Whether a price has gone back far enough for it to fire again.
    fn is_back(&self, price: f64) -> bool {
        let [low, high] = self.numbers;
        let by = (self.hysteresis * 1_000.0).round();
        let moved = |line: f64, by: f64| match by {
            0.0 => line,
            by => line * (100_000.0 + by) / 100_000.0,
        };
        match self.condition {
            ABOVE | CROSSES_ABOVE => price < moved(low, -by),
            BELOW | CROSSES_BELOW => price > moved(low, by),
            CROSSES => price < moved(low, -by) || price > moved(low, by),
            ENTERS => price < moved(low, -by) || price > moved(high, by),
            _ => price >= moved(low, by) && price <= moved(high, -by),
        }
    }
}

/// What each alert must have fired, and of what it may have fired more: revisions that somebody
/// ended while their trades were under way.
#[derive(Debug, Default)]
pub struct Expected {
    /// By alert, in the order of their generations.
    pub firings: BTreeMap<i64, Vec<Fired>>,
    /// By alert: of each revision that was ended, what it would have fired, and at which generation
    /// the next one began.
    pub ended: BTreeMap<i64, Vec<(Vec<Fired>, i32)>>,
}

/// What must have fired of alerts whose revisions are in order.
pub fn expected(records: &[Record], alerts: &BTreeMap<i64, Vec<AlertRow>>) -> Expected {
    let bounds = |trades: &[FiredOn]| {
        let prices = trades.iter().map(|trade| trade.price);
        (prices.clone().fold(f64::INFINITY, f64::min), prices.fold(0.0, f64::max))
    };
    let symbols: BTreeMap<String, (Vec<FiredOn>, (f64, f64))> = trades(records)
        .into_iter()
        .map(|(symbol, trades)| {
            let bounds = bounds(&trades);
            (symbol, (trades, bounds))
        })
        .collect();
    let mut expected = Expected::default();
    for (id, revisions) in alerts {
        for (number, revision) in revisions.iter().enumerate() {
            let Some((trades, bounds)) = symbols.get(&revision.symbol) else { continue };
            let firings = match revision.is_within(*bounds) {
                true => revision.firings(trades, revision.armed_at),
                false => Vec::new(),
            };
            match revisions.get(number + 1).filter(|next| !next.is_expired) {
                Some(next) => {
                    expected.ended.entry(*id).or_default().push((firings, next.generation));
                }
                None if firings.is_empty() => {}
                None => expected.firings.entry(*id).or_default().extend(firings),
            }
        }
    }
    expected
}

impl Expected {
    /// What of the firings that are stored is wrong; nothing, where all is well.
    pub fn compare(&self, stored: &BTreeMap<i64, Vec<Fired>>) -> Vec<String> {
        let mut wrong = Vec::new();
        let none = Vec::new();
        for (id, expected) in &self.firings {
            let stored = stored.get(id).unwrap_or(&none);
            let begin = expected[0].0;
            let of_last: Vec<&Fired> = stored.iter().filter(|fired| fired.0 >= begin).collect();
            if !of_last.iter().copied().eq(expected) {
                wrong.push(format!("alert {id} fired {of_last:?}, and not {expected:?}"));
            }
        }
        for (id, stored) in stored {
            let ended = self.ended.get(id);
            let last = self.firings.get(id).map_or(&none, |expected| expected);
            for fired in stored {
                let may = ended
                    .into_iter()
                    .flatten()
                    .any(|(firings, until)| fired.0 < *until && firings.contains(fired));
                if !may && !last.contains(fired) {
                    wrong.push(format!(
                        "alert {id} was not to fire {fired:?}, but {last:?} or {ended:?}"
                    ));
                }
            }
        }
        wrong
    }

    /// How many there must be at least.
    pub fn count(&self) -> usize {
        self.firings.values().map(Vec::len).sum()
    }
}

/// By symbol, and in order, the trades that may fire an alert.
pub fn trades(records: &[Record]) -> BTreeMap<String, Vec<FiredOn>> {
    let mut symbols: BTreeMap<String, Vec<FiredOn>> = BTreeMap::new();
    for record in records {
        let Ok(mut tick) = StockTick::decode(&*record.value) else { continue };
        if tick.prices.is_empty() {
            (tick.prices, tick.timestamps) = (vec![tick.price], vec![tick.timestamp]);
        }
        let trades = symbols.entry(tick.symbol).or_default();
        for (index, (price, timestamp)) in tick.prices.iter().zip(&tick.timestamps).enumerate() {
            trades.push(FiredOn {
                partition: record.partition,
                offset: record.offset,
                index,
                price: *price,
                timestamp: *timestamp,
            });
        }
    }
    for trades in symbols.values_mut() {
        // A late trade decides nothing: older than any before it. Equal time is not late.
        let mut newest = i64::MIN;
        trades.retain(|trade| {
            let is_late = trade.timestamp < newest;
            newest = newest.max(trade.timestamp);
            !is_late
        });
    }
    symbols
}

/// By alert, its revisions in order: of the log that PostgreSQL follows, and since the audit began.
pub fn alerts(postgresql: &Postgresql, url: &str) -> BTreeMap<i64, Vec<AlertRow>> {
    let query = "SELECT id, symbol, condition, coalesce(target_price, lower_price, percent),
            coalesce(upper_price, target_price, 0), cooldown_ms, coalesce(hysteresis_percent, 0),
            (extract(epoch FROM expires_at) * 1000)::bigint, armed_offset, armed_index,
            generation, status
        FROM audit WHERE armed_log IN (SELECT log_id FROM logs) ORDER BY id, revision";
    let parse = |columns: [&str; 12]| {
        let [id, symbol, condition, low, high, cooldown, hysteresis, expiry, armed, ..] = columns;
        Some(AlertRow {
            id: id.parse().ok()?,
            symbol: symbol.into(),
            condition: condition.parse().ok()?,
            numbers: [low.parse().ok()?, high.parse().ok()?],
            cooldown: if cooldown.is_empty() { None } else { Some(cooldown.parse().ok()?) },
            hysteresis: hysteresis.parse().ok()?,
            expires_at: if expiry.is_empty() { i64::MAX } else { expiry.parse().ok()? },
            armed_at: (armed.parse().ok()?, columns[9].parse().ok()?),
            generation: columns[10].parse().ok()?,
            is_active: columns[11] == "1",
            is_expired: columns[11] == "4",
        })
    };
    let mut alerts: BTreeMap<i64, Vec<AlertRow>> = BTreeMap::new();
    for row in rows(&postgresql.execute(url, query), parse) {
        alerts.entry(row.id).or_default().push(row);
    }
    alerts
}

/// What PostgreSQL says each alert fired, on the log that it follows. A firing that is there twice
/// is there twice.
pub fn stored(postgresql: &Postgresql, url: &str) -> BTreeMap<i64, Vec<Fired>> {
    let query = "SELECT alert_id, generation, partition, record_offset, record_index, price,
            trade_time, coalesce(reference_price, 0)
        FROM firings WHERE log_id IN (SELECT log_id FROM logs) ORDER BY alert_id, generation";
    let parse = |[id, generation, partition, offset, index, price, time, reference]: [&str; 8]| {
        let on = FiredOn {
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
            index: index.parse().ok()?,
            price: price.parse().ok()?,
            timestamp: time.parse().ok()?,
        };
        let id: i64 = id.parse().ok()?;
        Some((id, (generation.parse().ok()?, on, reference.parse().ok()?)))
    };
    let mut stored: BTreeMap<i64, Vec<Fired>> = BTreeMap::new();
    for (id, fired) in rows(&postgresql.execute(url, query), parse) {
        stored.entry(id).or_default().push(fired);
    }
    stored
}

fn rows<T, const N: usize>(printed: &str, parse: impl Fn([&str; N]) -> Option<T>) -> Vec<T> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('|').collect();
        let columns = columns.try_into().ok().and_then(&parse);
        columns.unwrap_or_else(|| panic!("psql printed {line:?}"))
    };
    printed.lines().filter(|line| !line.is_empty()).map(row).collect()
}
