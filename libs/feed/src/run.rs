use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::{Attempt, Backoff};
use crate::connect::connect;
use crate::session::{Ended, Session};
use crate::{Disconnect, FeedMetrics, FeedSettings, Received};

/// A feed that is followed until it is told to stop.
pub struct Feed {
    settings: FeedSettings,
    metrics: FeedMetrics,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Feed {
    /// Fails where a `wss://` feed is wanted and the machine has no certificate to trust.
    pub fn new(settings: FeedSettings, metrics: FeedMetrics) -> anyhow::Result<Self> {
        let tls = if settings.url.is_tls() {
            Some(settings.roots.connector().with_context(|| format!("feed {}", settings.url))?)
        } else {
            None
        };
        Ok(Self { settings, metrics, tls })
    }

    /// Puts every message into `frames`, in order, waiting where it is full. `subscribed` is true
    /// from the last subscription written to the end of its connection.
    ///
    /// Connects again for ever; returns when `stop` is cancelled or nobody takes the frames.
    pub async fn run(
        self,
        frames: mpsc::Sender<Received>,
        subscribed: watch::Sender<bool>,
        stop: CancellationToken,
    ) {
        let session = Session {
            settings: &self.settings,
            metrics: &self.metrics,
            frames: &frames,
            subscribed: &subscribed,
            stop: &stop,
        };
        let mut backoff = Backoff::new(self.settings.backoff.clone());
        loop {
            let Some((attempt, why)) = self.attempt(&session).await else {
                return;
            };
            self.metrics.disconnects[why.reason() as usize].increment(1);
            if stop.is_cancelled() || frames.is_closed() {
                return;
            }
            let wait = backoff.after(attempt, rand::random());
            self.report(attempt, &why, wait);
            tokio::select! {
                () = stop.cancelled() => return,
                () = frames.closed() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One connection, from its first packet to its last. `None` when told to stop before.
    async fn attempt(&self, session: &Session<'_>) -> Option<(Attempt, Disconnect)> {
        let limit = self.settings.connect_timeout;
        let connected = tokio::select! {
            biased;
            () = session.stop.cancelled() => return None,
            connected = timeout(limit, connect(&self.settings.url, self.tls.as_ref())) => connected,
        };
        let socket = match connected.unwrap_or(Err(Disconnect::TimedOut)) {
            Ok(socket) => socket,
            Err(why @ (Disconnect::Refused(_) | Disconnect::BadHandshake(_))) => {
                return Some((Attempt::Refused, why));
            }
            Err(why) => return Some((Attempt::Unreachable, why)),
        };
        self.metrics.connects.increment(1);
        info!(url = %self.settings.url, symbols = self.settings.symbols.len(), "feed connected");
        let Ended { why, lasted, messages } = session.run(socket).await;
        Some((Attempt::Opened { lasted, messages }, why))
    }

    fn report(&self, attempt: Attempt, why: &Disconnect, wait: Duration) {
        let url = &self.settings.url;
        let wait = format_args!("{:.1}s", wait.as_secs_f64());
        // A connection that was up and broke by itself is not refused, however soon.
        if self.settings.backoff.is_refusal(attempt) {
            let advice = why.advice();
            warn!(%url, reason = why.reason().as_str(), %wait, "feed refused: {why}; {advice}");
        } else {
            warn!(%url, reason = why.reason().as_str(), %wait, "feed disconnected: {why}");
        }
    }
}
