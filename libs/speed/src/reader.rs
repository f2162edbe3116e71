use std::collections::HashMap;
use std::time::Duration;

use market::Symbol;
use redis::RedisError;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use crate::fields::Fields;
use crate::writer::public;
use crate::{Unavailable, keys};

/// The latest trade of a symbol.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestPrice {
    pub symbol: Symbol,
    pub price: f64,
    /// Event time, Unix milliseconds.
    pub timestamp: i64,
    pub volume: f64,
    /// When the ingestor read it, Unix nanoseconds; 0 where unknown.
    pub received_at: u64,
    pub day: Option<DayStats>,
}

/// The UTC day of the latest trade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DayStats {
    pub start_ms: i64,
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub volume: f64,
}

/// The gateway's end: one connection that many requests share, and that comes back by itself.
#[derive(Clone)]
pub struct Reader {
    connection: ConnectionManager,
    address: String,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Reader {
    /// Does not wait for Redis: a read while it is away is [`Unavailable`] within `timeout`.
    pub fn new(address: &str, timeout: Duration) -> Result<Self, Unavailable> {
        let url =
            if address.contains("://") { address.to_owned() } else { format!("redis://{address}") };
        let failed = |error: &RedisError| Unavailable {
            address: public(address),
            reason: error.to_string(),
        };
        let client = redis::Client::open(url).map_err(|error| failed(&error))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_millis(500));
        let connection = ConnectionManager::new_lazy_with_config(client, config)
            .map_err(|error| failed(&error))?;
        Ok(Self { connection, address: public(address) })
    }

    /// `None` where no trade of the symbol was seen.
    pub async fn price(&self, symbol: &Symbol) -> Result<Option<LatestPrice>, Unavailable> {
        let mut connection = self.connection.clone();
        let fields: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(keys::price(symbol.as_str()))
            .query_async(&mut connection)
            .await
            .map_err(|error| self.unavailable(&error))?;
        let fields = Fields::new(fields);
        if fields.is_empty() {
            return Ok(None);
        }
        let price = parse(symbol, &fields).ok_or_else(|| Unavailable {
            address: self.address.clone(),
            reason: format!("{} holds what GoStocks did not write", keys::price(symbol.as_str())),
        })?;
        Ok(Some(price))
    }

    pub async fn ping(&self) -> Result<(), Unavailable> {
        let mut connection = self.connection.clone();
        let answer: Result<(), RedisError> = redis::cmd("PING").query_async(&mut connection).await;
        answer.map_err(|error| self.unavailable(&error))
    }

    fn unavailable(&self, error: &RedisError) -> Unavailable {
        Unavailable { address: self.address.clone(), reason: error.to_string() }
    }
}

fn parse(symbol: &Symbol, fields: &Fields) -> Option<LatestPrice> {
    Some(LatestPrice {
        symbol: symbol.clone(),
        price: fields.price("price")?.get(),
        timestamp: fields.number("timestamp")?,
        volume: fields.finite("volume")?,
        received_at: fields.number("received_at")?,
        day: day(fields),
    })
}

fn day(fields: &Fields) -> Option<DayStats> {
    Some(DayStats {
        start_ms: fields.number("day")?,
        open: fields.finite("day_open")?,
        high: fields.finite("day_high")?,
        low: fields.finite("day_low")?,
        volume: fields.finite("day_volume")?,
    })
}
