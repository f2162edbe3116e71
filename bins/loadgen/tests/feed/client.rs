use std::time::{Duration, Instant};

use bytes::BytesMut;
use feed::{BackoffSettings, DisconnectReason, Feed, FeedMetrics, FeedSettings, FeedUrl, Received};
use metrics::Counter;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Far above what any step takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The project's own feed client.
pub(crate) struct Client {
    frames: mpsc::Receiver<Received>,
    pub(crate) connects: Arc<AtomicU64>,
    disconnects: [Arc<AtomicU64>; DisconnectReason::ALL.len()],
    stop: CancellationToken,
    running: AbortOnDropHandle<()>,
}

impl Client {
    pub(crate) fn follow(url: &str, symbols: &[&str]) -> Self {
        let symbols = symbols.iter().map(|symbol| (*symbol).to_owned()).collect();
        let backoff = BackoffSettings {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(10),
            first_refused: Duration::from_millis(10),
            longest_refused: Duration::from_millis(10),
            ..BackoffSettings::default()
        };
        let url = FeedUrl::parse(url).unwrap();
        let settings = FeedSettings { backoff, ..FeedSettings::new(url, symbols) };
        let connects = Arc::new(AtomicU64::new(0));
        let disconnects = DisconnectReason::ALL.map(|_| Arc::new(AtomicU64::new(0)));
        let metrics = FeedMetrics {
            connects: Counter::from_arc(connects.clone()),
            disconnects: disconnects.clone().map(Counter::from_arc),
            ..FeedMetrics::noop()
        };
        let feed = Feed::new(settings, metrics).unwrap();
        let (sender, frames) = mpsc::channel(1_024);
        let stop = CancellationToken::new();
        let subscribed = watch::channel(false).0;
        let running = tokio::spawn(feed.run(sender, subscribed, stop.clone()));
        Self { frames, connects, disconnects, stop, running: AbortOnDropHandle::new(running) }
    }

    pub(crate) async fn raw(&mut self) -> BytesMut {
        timeout(PATIENCE, self.frames.recv()).await.expect("a frame comes").unwrap().payload
    }

    /// `None` where nothing comes for a while.
    pub(crate) async fn raw_within(&mut self, wait: Duration) -> Option<BytesMut> {
        timeout(wait, self.frames.recv()).await.ok().flatten().map(|received| received.payload)
    }

    /// The next frame of trades: its trades.
    pub(crate) async fn trades(&mut self) -> Vec<Value> {
        loop {
            if let Some(trades) = trades(&self.raw().await) {
                return trades;
            }
        }
    }

    pub(crate) fn disconnects(&self, why: DisconnectReason) -> u64 {
        self.disconnects[why as usize].load(Ordering::Relaxed)
    }

    pub(crate) async fn wait_disconnects(&self, why: DisconnectReason, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.disconnects(why) < count {
            assert!(Instant::now() < deadline, "no {count} disconnects {}", why.as_str());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        timeout(PATIENCE, &mut self.running).await.expect("a stopped feed ends").unwrap();
    }
}

/// The trades of a frame that has nothing wrong with any of them.
pub(crate) fn trades(frame: &[u8]) -> Option<Vec<Value>> {
    let frame: Value = serde_json::from_slice(frame).ok()?;
    let valid = |trade: &Value| {
        trade["p"].as_f64().is_some_and(|price| price > 0.0)
            && trade["t"].as_i64().is_some_and(|time| time > 0 && time < now_ms() + 60_000)
            && trade["v"].as_f64().is_some_and(|volume| volume >= 0.0)
            && trade["s"].as_str().is_some_and(|symbol| (1..=64).contains(&symbol.len()))
    };
    (frame["type"] == "trade")
        .then(|| frame["data"].as_array().cloned())?
        .filter(|trades| trades.iter().all(valid))
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}
