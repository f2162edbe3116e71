use std::sync::Arc;
use std::time::{Duration, Instant};

use market::{Candle, Interval, Symbol};
use metrics::Histogram;
use service::{ReadyFlag, catalogue};
use speed::{CandleRange, DayStats, LatestPrice, ReadError, Reader};
use tokio_util::sync::CancellationToken;
use wire::batch::TickBatch;

use crate::Live;
use crate::sparingly::Sparingly;

/// How often Redis is asked whether it is there, and so how long a change goes unnoticed.
const PING_EVERY: Duration = Duration::from_secs(1);

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

    pub(crate) fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// `None` where no trade of the symbol was seen.
    pub(crate) async fn latest(&self, symbol: &Symbol) -> Result<Option<Seen>, ReadError> {
        if let Some(seen) = self.live.latest(symbol) {
            return Ok(seen);
        }
        let price = self.read(self.reader.price(symbol)).await?;
        Ok(price.map(Seen::from))
    }

    /// The symbols that have traded, in their order.
    pub(crate) async fn symbols(&self) -> Result<Vec<Symbol>, ReadError> {
        match self.live.symbols() {
            Some(symbols) => Ok(symbols),
            None => self.read(self.reader.symbols()).await,
        }
    }

    /// The last trades of a symbol in the order of the log; `None` where there are none.
    pub(crate) async fn recent(&self, symbol: &Symbol) -> Result<Option<TickBatch>, ReadError> {
        self.read(self.reader.recent(symbol)).await
    }

    pub(crate) fn intervals(&self) -> impl Iterator<Item = Interval> {
        self.live.intervals()
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

    /// Keeps `ready` true to whether Redis answers, until `stopping`. `/readyz` is for everybody,
    /// so the cause stands in the log alone.
    pub(crate) async fn watch(self: Arc<Self>, ready: ReadyFlag, stopping: CancellationToken) {
        let watching = async {
            loop {
                match self.reader.ping().await {
                    Ok(()) => ready.set(),
                    Err(error) => {
                        self.log(&error);
                        ready.clear("does not answer");
                    }
                }
                tokio::time::sleep(PING_EVERY).await;
            }
        };
        stopping.run_until_cancelled(watching).await;
    }
}

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

impl From<LatestPrice> for Seen {
    fn from(latest: LatestPrice) -> Self {
        let LatestPrice { symbol, price, timestamp, volume, day, .. } = latest;
        Self { symbol, price, timestamp, volume, day }
    }
}
