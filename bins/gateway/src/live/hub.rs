//! The one tail of the streams, and of the firings, that a gateway has.

use std::sync::Arc;
use std::time::Duration;

use rpc::alert::v1::Firing;
use speed::{ReadError, Reader, TailError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::live::board::Board;
use crate::live::slot::Slot;
use crate::sparingly::Sparingly;

const PAUSE: Duration = Duration::from_millis(500);
/// How often it is asked whether the tail has all that the streams have.
const CHECK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) reader: Reader,
    pub(crate) topic: String,
    pub(crate) board: Arc<Board>,
    pub(crate) firings: mpsc::Receiver<Firing>,
    pub(crate) log: Sparingly,
}

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
                tokio::time::sleep(PAUSE).await;
            }
        };
        stopping.run_until_cancelled(following).await;
        self.board.wake_all();
    }

    /// Until Redis follows another log, or trades have fallen out of the streams unread.
    async fn follow(&mut self) -> anyhow::Result<()> {
        let Some(ends) = self.reader.ends(&self.topic).await? else { return Ok(()) };
        let states = self.reader.states(self.board.spec()).await?;
        self.board.begin(&ends, states);
        self.board.set_current(true);
        let mut tail = self.reader.tail(&self.topic, &ends.log, &ends.newest);
        loop {
            tokio::select! {
                Some(firing) = self.firings.recv() => self.board.fire(firing),
                entry = tail.next() => match entry {
                    Ok(entry) => match self.board.apply(&entry) {
                        Ok(late) => self.renew(&late).await?,
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

    async fn renew(&self, late: &[Arc<Slot>]) -> Result<(), ReadError> {
        for slot in late {
            if let Some(state) = self.reader.state(&slot.symbol, self.board.spec()).await? {
                self.board.renew(slot, state);
            }
        }
        Ok(())
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
