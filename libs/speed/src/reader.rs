use std::collections::HashMap;
use std::time::Duration;

use market::Symbol;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, FromRedisValue, RedisError};
use tokio::time::timeout;
use tracing::Instrument;

use crate::fields::Fields;
use crate::writer::public;
use crate::{Unavailable, keys, span};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Waiting does not help: a person has to look.
    #[error("{key} holds what GoStocks did not write")]
    Foreign { key: String },
}

/// The latest trade of a symbol.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestPrice {
    pub symbol: Symbol,
    pub price: f64,
    /// Event time, Unix milliseconds.
    pub timestamp: i64,
    pub volume: f64,
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
    timeout: Duration,
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
        Ok(Self { connection, address: public(address), timeout })
    }

    /// `None` where no trade of the symbol was seen.
    pub async fn price(&self, symbol: &Symbol) -> Result<Option<LatestPrice>, ReadError> {
        let key = keys::price(symbol.as_str());
        let span = span::of("HGETALL");
        let fields: HashMap<String, String> = self
            .query(redis::cmd("HGETALL").arg(&key))
            .instrument(span.clone())
            .await
            .inspect_err(|error| span::fail(&span, error))?;
        let fields = Fields::new(fields);
        if fields.is_empty() {
            return Ok(None);
        }
        parse(symbol, &fields).map(Some).ok_or(ReadError::Foreign { key })
    }

    pub async fn ping(&self) -> Result<(), Unavailable> {
        self.query(&redis::cmd("PING")).await
    }

    /// Connecting again and asking have one bound together.
    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unavailable> {
        let mut connection = self.connection.clone();
        let answer = timeout(self.timeout, command.query_async(&mut connection)).await;
        let reason = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        Err(Unavailable { address: self.address.clone(), reason })
    }
}

fn parse(symbol: &Symbol, fields: &Fields) -> Option<LatestPrice> {
    Some(LatestPrice {
        symbol: symbol.clone(),
        price: fields.price("price")?.get(),
        timestamp: fields.number("timestamp")?,
        volume: fields.finite("volume")?,
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
