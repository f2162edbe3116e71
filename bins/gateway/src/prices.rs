use std::sync::Arc;
use std::time::{Duration, Instant};

use market::Symbol;
use metrics::Histogram;
use service::{ReadyFlag, catalogue};
use speed::{LatestPrice, ReadError, Reader};
use tokio_util::sync::CancellationToken;

use crate::sparingly::Sparingly;

/// How often Redis is asked whether it is there, and so how long a change goes unnoticed.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The latest prices, read from Redis at each request.
#[derive(Debug)]
pub struct Prices {
    reader: Reader,
    read_seconds: Histogram,
    log: Sparingly,
}

impl Prices {
    pub fn new(reader: Reader) -> Self {
        let read_seconds = catalogue::REDIS_READ.histogram();
        Self { reader, read_seconds, log: Sparingly::default() }
    }

    pub(crate) async fn latest(&self, symbol: &Symbol) -> Result<Option<LatestPrice>, ReadError> {
        let started = Instant::now();
        let price = self.reader.price(symbol).await;
        match &price {
            Ok(_) => self.read_seconds.record(started.elapsed().as_secs_f64()),
            Err(error) => self.log(error),
        }
        price
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
