//! Word of changed alerts between instances.
//!
//! A write only notes that there is something to say. One task says it, on a connection of its
//! own and at most once every [`PAUSE`]: a NOTIFY within each write would make the commits wait
//! for one another. News may be lost with a connection; whoever waits is woken each
//! [`RECONCILE_EVERY`] anyway, and `changes` skips nothing.

use std::io;
use std::time::Duration;

use futures::FutureExt;
use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::Store;

const CHANNEL: &str = "gostocks_alerts";
const NOTIFY: &str = "NOTIFY gostocks_alerts";
/// Between two notifications, and what a listener that hears many sleeps through.
const PAUSE: Duration = Duration::from_millis(3);
const RECONCILE_EVERY: Duration = Duration::from_secs(1);
const RECONNECT_EVERY: Duration = Duration::from_millis(500);
/// A connection on which nothing has been heard or said for so long is tried.
const QUIET: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Exchange {
    to_say: Notify,
    heard: watch::Sender<()>,
}

impl Exchange {
    /// There is something to say; costs nothing.
    pub(crate) fn announce(&self) {
        self.to_say.notify_one();
    }
}

/// Wakes a reader of [`Store::changes`].
#[derive(Debug)]
pub struct News {
    heard: watch::Receiver<()>,
    due: Instant,
}

impl News {
    /// Returns when alerts may have changed, here or on another instance, and each second at the
    /// latest. May be dropped and called again.
    pub async fn next(&mut self) {
        tokio::select! {
            // Fails once the store is gone: then only the clock is left.
            Ok(()) = self.heard.changed() => {}
            () = sleep_until(self.due) => {}
        }
        self.due = Instant::now() + RECONCILE_EVERY;
    }

    /// Whether [`next`](Self::next) would return at once; then that is done.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.heard.has_changed().unwrap_or(false) || Instant::now() >= self.due;
        if is_due {
            self.heard.mark_unchanged();
            self.due = Instant::now() + RECONCILE_EVERY;
        }
        is_due
    }
}

impl Store {
    /// Hears from every [`carry_news`](Self::carry_news) at work on the database.
    pub fn news(&self) -> News {
        let mut heard = self.news.heard.subscribe();
        heard.mark_changed();
        News { heard, due: Instant::now() }
    }

    /// Tells other instances what changes here, and hears from them, until `stopping`. One such
    /// task a program; it connects again by itself.
    pub async fn carry_news(self, stopping: CancellationToken) {
        let mut is_away = false;
        loop {
            tokio::select! {
                error = self.carry(&mut is_away) => {
                    // Once for each time that it goes away, not for each attempt to come back.
                    if !is_away {
                        let error = self.error(&error);
                        tracing::warn!(%error, "no news of alerts until PostgreSQL is back");
                        is_away = true;
                    }
                }
                () = stopping.cancelled() => return,
            }
            tokio::select! {
                () = sleep(RECONNECT_EVERY) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// Connects, then carries news until the connection breaks.
    async fn carry(&self, is_away: &mut bool) -> sqlx::Error {
        let mut listener = match in_time(self.listen()).await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        *is_away = false;
        // What was said meanwhile was not heard, and what was to be said may have been lost.
        self.news.heard.send_replace(());
        self.news.announce();
        loop {
            let carried = tokio::select! {
                heard = hear(&mut listener) => heard,
                () = self.news.to_say.notified() => say(&mut listener, NOTIFY).await,
                () = sleep(QUIET) => say(&mut listener, "SELECT").await,
            };
            if let Err(error) = carried {
                return error;
            }
            sleep(PAUSE).await;
            // What has come by now is one piece of news, however many said it.
            while let Some(heard) = hear(&mut listener).now_or_never() {
                if let Err(error) = heard {
                    return error;
                }
            }
            self.news.heard.send_replace(());
        }
    }

    async fn listen(&self) -> sqlx::Result<PgListener> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        // A break is to be noticed here, for what was said meanwhile is lost.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }
}

/// Waits for one notification. May be dropped while it waits.
async fn hear(listener: &mut PgListener) -> sqlx::Result<()> {
    match listener.try_recv().await? {
        Some(_) => Ok(()),
        None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

async fn say(listener: &mut PgListener, words: &'static str) -> sqlx::Result<()> {
    in_time(async { listener.execute(words).await.map(|_| ()) }).await
}

async fn in_time<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
