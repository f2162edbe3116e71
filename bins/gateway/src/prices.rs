use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::stream::{StreamExt, TryStreamExt, iter};
use market::{Candle, Day, Interval, Latest, Sequence, Symbol, Trade};
use metrics::Histogram;
use service::{ReadyFlag, catalogue};
use speed::{CandleRange, DayStats, LatestPrice, ReadError, Reader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Live;
use crate::sparingly::Sparingly;

/// How often Redis is asked whether it is there, and so how long a change goes unnoticed.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Symbols that are asked for at once, while the view is behind.
const SYMBOLS_AT_ONCE: usize = 64;

/// What is known of symbols: from the view that the tail keeps, or, while that is behind, from Redis.
#[derive(Debug)]
pub struct Prices {
    reader: Reader,
    live: Arc<Live>,
    /// Past this age a price is called stale.
    stale_after: Duration,
    read_seconds: Histogram,
    log: Sparingly,
}

impl Prices {
    pub fn new(reader: Reader, live: Arc<Live>, stale_after: Duration) -> Self {
        let read_seconds = catalogue::REDIS_READ.histogram();
        Self { reader, live, stale_after, read_seconds, log: Sparingly::default() }
    }

    /// How long ago a trade was, in milliseconds, and whether that is too long.
    pub(crate) fn age(&self, seen: &Seen) -> (i64, bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let age = now.saturating_sub(seen.timestamp).max(0);
        (age, u128::from(age.unsigned_abs()) > self.stale_after.as_millis())
    }

    /// From the view; `None` where it does not say.
    pub(crate) fn known(&self, symbol: &Symbol) -> Option<Seen> {
        self.live.latest(symbol).flatten()
    }

    /// `None` where no trade of the symbol was seen.
    pub(crate) async fn latest(&self, symbol: &Symbol) -> Result<Option<Seen>, ReadError> {
        if let Some(seen) = self.live.latest(symbol) {
            return Ok(seen);
        }
        let price = self.read(self.reader.price(symbol)).await?;
        Ok(price.map(Seen::from))
    }

    /// Of several, in their order.
    pub(crate) async fn latest_of(
        &self,
        symbols: Vec<Symbol>,
    ) -> Result<Vec<(Symbol, Option<Seen>)>, ReadError> {
        let latest = async |symbol: Symbol| {
            let seen = self.latest(&symbol).await?;
            Ok((symbol, seen))
        };
        iter(symbols).map(latest).buffered(SYMBOLS_AT_ONCE).try_collect().await
    }

    /// The symbols that have traded, in their order.
    pub(crate) async fn symbols(&self) -> Result<Arc<[Symbol]>, ReadError> {
        match self.live.symbols() {
            Some(symbols) => Ok(symbols),
            None => Ok(self.read(self.reader.symbols()).await?.into()),
        }
    }

    /// Those whose names hold `search`, in any case, and come after `after`; `limit` at most.
    pub(crate) async fn symbol_page(
        &self,
        search: &str,
        after: &str,
        limit: usize,
    ) -> Result<SymbolPage, ReadError> {
        let search = search.to_ascii_uppercase();
        let all = self.symbols().await?;
        let names = all.iter().map(Symbol::as_str);
        let found = names.filter(|name| *name > after && name.contains(&*search));
        let mut symbols: Vec<String> = found.take(limit + 1).map(str::to_owned).collect();
        let more = symbols.len() > limit;
        symbols.truncate(limit);
        let next = symbols.last().filter(|_| more).cloned().unwrap_or_default();
        Ok(SymbolPage { symbols, next })
    }

    /// The last trades of a symbol in the order of the log; `None` where there are none.
    pub(crate) async fn recent(
        &self,
        symbol: &Symbol,
    ) -> Result<Option<Vec<(Sequence, Trade)>>, ReadError> {
        self.read(self.reader.recent(symbol)).await
    }

    /// One of those that are kept: a minute where there is no name.
    pub(crate) fn interval(&self, name: &str) -> Result<Interval, UnknownInterval> {
        let name = if name.is_empty() { "1m" } else { name };
        let interval = name.parse().ok();
        interval.filter(|wanted| self.live.intervals().any(|known| known == *wanted)).ok_or_else(
            || {
                let known: Vec<String> =
                    self.live.intervals().map(|known| known.to_string()).collect();
                UnknownInterval(format!("must be one of {}", known.join(", ")))
            },
        )
    }

    pub(crate) async fn candles(
        &self,
        symbol: &Symbol,
        interval: Interval,
        range: CandleRange,
    ) -> Result<Vec<(i64, Candle)>, ReadError> {
        self.read(self.reader.candles(symbol, interval, range)).await
    }

    async fn read<T>(
        &self,
        reading: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        let started = Instant::now();
        let answer = reading.await;
        match &answer {
            Ok(_) => self.read_seconds.record(started.elapsed().as_secs_f64()),
            Err(error) => self.log(error),
        }
        answer
    }

    fn log(&self, error: &impl std::fmt::Display) {
        if self.log.is_due() {
            tracing::warn!("cannot read prices: {error}");
        }
    }

    /// Keeps `ready` and `answers` true to whether Redis answers, until `stopping`. `/readyz` is
    /// for everybody, so the cause stands in the log alone.
    pub(crate) async fn watch(
        self: Arc<Self>,
        ready: ReadyFlag,
        answers: watch::Sender<bool>,
        stopping: CancellationToken,
    ) {
        let watching = async {
            loop {
                let pinged = self.reader.ping().await;
                match &pinged {
                    Ok(()) => ready.set(),
                    Err(error) => {
                        self.log(error);
                        ready.clear("does not answer");
                    }
                }
                answers.send_replace(pinged.is_ok());
                tokio::time::sleep(PING_EVERY).await;
            }
        };
        stopping.run_until_cancelled(watching).await;
    }
}

#[derive(Debug)]
pub(crate) struct SymbolPage {
    pub(crate) symbols: Vec<String>,
    /// Where the next page begins; empty where nothing follows.
    pub(crate) next: String,
}

/// What is known instead.
#[derive(Debug)]
pub(crate) struct UnknownInterval(pub(crate) String);

/// The latest trade of a symbol and its day.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) symbol: Symbol,
    pub(crate) price: f64,
    /// Event time, Unix milliseconds.
    pub(crate) timestamp: i64,
    pub(crate) volume: f64,
    pub(crate) day: Option<DayStats>,
}

impl Seen {
    pub(crate) fn new(symbol: Symbol, latest: &Latest, day: Option<Day>) -> Self {
        let day = day.map(|Day { start, candle }| DayStats {
            start_ms: start,
            open: candle.open.get(),
            high: candle.high.get(),
            low: candle.low.get(),
            volume: candle.volume,
        });
        let (price, volume) = (latest.price.get(), latest.volume.get());
        Self { symbol, price, timestamp: latest.stamp.time, volume, day }
    }
}

impl From<LatestPrice> for Seen {
    fn from(latest: LatestPrice) -> Self {
        let LatestPrice { symbol, price, timestamp, volume, day, .. } = latest;
        Self { symbol, price, timestamp, volume, day }
    }
}
