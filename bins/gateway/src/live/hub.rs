//! The one tail of the streams, and of the firings, that a gateway has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt, iter};
use market::Symbol;
use speed::{ReadError, Reader, Snapshot, TailError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::live::board::Board;
use crate::live::firings::News;
use crate::live::slot::Slot;
use crate::sparingly::Sparingly;

const PAUSE: Duration = Duration::from_millis(500);
/// How often it is asked whether the tail has all that the streams have.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Symbols that are read at once.
const SYMBOLS_AT_ONCE: usize = 64;
/// How long a symbol waits that could not be read.
const READ_AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) reader: Reader,
    pub(crate) topic: String,
    pub(crate) board: Arc<Board>,
    pub(crate) firings: mpsc::Receiver<News>,
    pub(crate) log: Sparingly,
}

/// A symbol whose state was asked for beside the tail.
type Renewed = (Arc<Slot>, Result<Option<Snapshot>, ReadError>);

impl Hub {
    /// Follows the streams until `stopping`, whatever becomes of Redis.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        let following = async {
            loop {
                if let Err(error) = self.follow().await
                    && self.log.is_due()
                {
                    tracing::warn!("cannot follow the streams: {error:#}");
                }
                self.board.set_current(false);
                self.pause().await;
            }
        };
        stopping.run_until_cancelled(following).await;
        self.board.wake_all();
    }

    /// Firings come whatever becomes of Redis.
    async fn pause(&mut self) {
        let mut paused = std::pin::pin!(tokio::time::sleep(PAUSE));
        loop {
            tokio::select! {
                () = &mut paused => return,
                Some(news) = self.firings.recv() => take(&self.board, news),
            }
        }
    }

    /// Until Redis follows another log, or trades have fallen out of the streams unread.
    async fn follow(&mut self) -> anyhow::Result<()> {
        self.board.set_current(false);
        let Some(ends) = self.reader.ends(&self.topic).await? else { return Ok(()) };
        let states = self.states().await?;
        self.board.begin(&ends, states);
        self.board.set_current(true);
        let mut tail = self.reader.tail(&self.topic, &ends.log, &ends.newest);
        let mut renewing: FuturesUnordered<_> = FuturesUnordered::new();
        let mut late: HashMap<Symbol, Arc<Slot>> = HashMap::new();
        // Of those Redis does not answer, or has less than the streams had before it came back.
        let mut again = FuturesUnordered::new();
        loop {
            // Each symbol is read once at a time.
            if renewing.len() < SYMBOLS_AT_ONCE
                && let Some(symbol) = late.keys().next().cloned()
                && let Some(slot) = late.remove(&symbol)
            {
                renewing.push(self.renew(slot));
                continue;
            }
            tokio::select! {
                Some(news) = self.firings.recv() => take(&self.board, news),
                Some((slot, read)) = renewing.next() => {
                    let is_done = match read {
                        Ok(Some(state)) => self.board.renew(&slot, state),
                        Err(ReadError::Unavailable(_)) => false,
                        // What it would be renewed with is not there.
                        Ok(None) | Err(ReadError::Foreign { .. }) => true,
                    };
                    if !is_done {
                        again.push(async move {
                            tokio::time::sleep(READ_AGAIN).await;
                            slot
                        });
                    }
                }
                Some(slot) = again.next() => {
                    late.insert(slot.symbol.clone(), slot);
                }
                entry = tail.next() => match entry {
                    Ok(entry) => match self.board.apply(&entry) {
                        Ok(slots) => {
                            late.extend(slots.into_iter().map(|slot| (slot.symbol.clone(), slot)));
                        }
                        Err(missed) => anyhow::bail!("trades are no longer there: {missed:?}"),
                    },
                    Err(TailError::AnotherLog) => return Ok(()),
                    Err(error @ TailError::Foreign { .. }) => return Err(error.into()),
                    Err(TailError::Unavailable(error)) => {
                        self.board.set_current(false);
                        if self.log.is_due() {
                            tracing::warn!("cannot follow the streams: {error}");
                        }
                    }
                },
            }
        }
    }

    /// How every symbol stands; one that somebody else has written is left out.
    async fn states(&self) -> Result<Vec<Snapshot>, ReadError> {
        let symbols = self.reader.symbols().await?;
        let mut read = iter(symbols)
            .map(async |symbol| self.reader.state(&symbol, self.board.spec()).await)
            .buffer_unordered(SYMBOLS_AT_ONCE);
        let mut states = Vec::new();
        while let Some(state) = read.next().await {
            match state {
                Ok(state) => states.extend(state),
                Err(error @ ReadError::Foreign { .. }) => tracing::warn!("left out: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(states)
    }

    fn renew(&self, slot: Arc<Slot>) -> impl Future<Output = Renewed> + Send + 'static {
        let (reader, board) = (self.reader.clone(), Arc::clone(&self.board));
        async move {
            let read = reader.state(&slot.symbol, board.spec()).await;
            (slot, read)
        }
    }
}

fn take(board: &Board, news: News) {
    match news {
        News::Before(firings, is_all) => board.remember(firings, is_all),
        News::Fired(firing) => board.fire(*firing),
    }
}

/// Keeps it known whether the board has what the streams had a moment ago.
pub(crate) async fn check(
    reader: Reader,
    topic: String,
    board: Arc<Board>,
    stopping: CancellationToken,
) {
    let checking = async {
        loop {
            let ends = reader.ends(&topic).await;
            tokio::time::sleep(CHECK_EVERY).await;
            let is_current = matches!(&ends, Ok(Some(ends)) if board.reaches(ends));
            board.set_current(is_current);
        }
    };
    stopping.run_until_cancelled(checking).await;
}
