//! Which alerts must have fired, and on which trade: worked out the long way from what the topic
//! holds and from the alerts' rows.
//!
//! Shares no code with the alert service: records are decoded by prost, and each alert looks at
//! every trade.

use std::collections::BTreeMap;

use prost::Message;
use rpc::market::v1::StockTick;

use crate::{Postgresql, Record};

/// An alert as its row has it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    pub id: i64,
    pub symbol: String,
    pub is_above: bool,
    pub target: f64,
    pub armed_offset: i64,
    pub is_triggered: bool,
}

/// The trade that an alert fired on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FiredOn {
    pub partition: i32,
    pub offset: i64,
    pub index: usize,
    pub price: f64,
    pub timestamp: i64,
}

impl AlertRow {
    /// The first of its symbol's trades, at or after an offset, that it is to fire on.
    pub fn reached_by(&self, trades: &[FiredOn], from: i64) -> Option<FiredOn> {
        let reaches = |trade: &&FiredOn| match self.is_above {
            true => trade.price >= self.target,
            false => trade.price <= self.target,
        };
        trades.iter().filter(|trade| trade.offset >= from).find(reaches).copied()
    }
}

/// What each alert must have fired on, by its id, if it must have fired.
pub fn expected(records: &[Record], alerts: &[AlertRow]) -> BTreeMap<i64, FiredOn> {
    let trades = trades(records);
    let fired = alerts.iter().filter_map(|alert| {
        let on = alert.reached_by(trades.get(&alert.symbol)?, alert.armed_offset)?;
        Some((alert.id, on))
    });
    fired.collect()
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

/// The alerts that PostgreSQL holds, of the log that it follows.
pub fn alerts(postgresql: &Postgresql, url: &str) -> Vec<AlertRow> {
    let query = "SELECT id, symbol, condition, target_price, armed_offset, status FROM alerts \
                 WHERE armed_log IN (SELECT log_id FROM logs)";
    let parse = |[id, symbol, condition, target, armed, status]: [&str; 6]| {
        Some(AlertRow {
            id: id.parse().ok()?,
            symbol: symbol.into(),
            is_above: condition == "1",
            target: target.parse().ok()?,
            armed_offset: armed.parse().ok()?,
            is_triggered: status == "3",
        })
    };
    rows(&postgresql.execute(url, query), parse)
}

/// What PostgreSQL says each alert fired on, on the log that it follows. An alert that fired twice is there twice.
pub fn stored(postgresql: &Postgresql, url: &str) -> Vec<(i64, FiredOn)> {
    let query = "SELECT alert_id, partition, record_offset, record_index, price, trade_time \
                 FROM firings WHERE log_id IN (SELECT log_id FROM logs) ORDER BY alert_id";
    let parse = |[id, partition, offset, index, price, time]: [&str; 6]| {
        let on = FiredOn {
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
            index: index.parse().ok()?,
            price: price.parse().ok()?,
            timestamp: time.parse().ok()?,
        };
        Some((id.parse().ok()?, on))
    };
    rows(&postgresql.execute(url, query), parse)
}

fn rows<T>(printed: &str, parse: impl Fn([&str; 6]) -> Option<T>) -> Vec<T> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('|').collect();
        let columns = columns.try_into().ok().and_then(&parse);
        columns.unwrap_or_else(|| panic!("psql printed {line:?}"))
    };
    printed.lines().filter(|line| !line.is_empty()).map(row).collect()
}
