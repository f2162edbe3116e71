//! A Finnhub-style WebSocket feed that stays subscribed, whatever happens to its connection.
//!
//! ```text
//!             ┌──────────── Feed::run, until stopped ─────────────┐
//!  socket ───▶│ reader task ──▶ reassembled, bounded, stamped ────┼──▶ mpsc<Received> (the encoder)
//!         ◀───│ session: subscribes, answers pings, watches for   │
//!             │ silence ── ends ──▶ Backoff ──▶ connect again     │
//!             └───────────────────────────────────────────────────┘
//! ```
//!
//! The frames are opaque bytes here: what is in them is known to `wire`. The queue is the
//! caller's, and where it is full the reader waits, so TCP holds back the feed and nothing is
//! dropped. The subscriptions are desired state: each connection starts by sending all of them.
//!
//! Absent on purpose: a way to change the subscriptions of a running feed, and compression
//! (Finnhub offers none).

mod backoff;
mod connect;
mod disconnect;
mod message;
mod pulse;
mod run;
mod session;
mod tls;
mod url;

use std::time::Duration;

use bytes::BytesMut;
use metrics::{Counter, Gauge};

pub use backoff::BackoffSettings;
pub use disconnect::{Disconnect, DisconnectReason};
pub use run::Feed;
pub use tls::Roots;
pub use url::{FeedUrl, FeedUrlError};

/// One message of the feed, as it came.
#[derive(Debug)]
pub struct Received {
    /// The whole message, reassembled where it came in fragments. Not checked at all.
    pub payload: BytesMut,
    /// When its last byte had been read from the socket, Unix nanoseconds.
    pub received_at: u64,
}

/// What to follow, and how patiently.
#[derive(Clone, Debug)]
pub struct FeedSettings {
    pub url: FeedUrl,
    /// Subscribed after every connect, in this order and spelling.
    pub symbols: Vec<String>,
    /// A connection without a message for this long is given up. Finnhub pings once a minute,
    /// also while markets are closed.
    pub silence: Duration,
    /// From the first SYN to the answer to the handshake.
    pub connect_timeout: Duration,
    /// The longest message accepted; a longer one ends the connection.
    pub max_message_bytes: usize,
    pub backoff: BackoffSettings,
    /// Whom to trust on `wss://`.
    pub roots: Roots,
}

impl FeedSettings {
    /// The defaults of everything but what to follow.
    pub fn new(url: FeedUrl, symbols: Vec<String>) -> Self {
        Self {
            url,
            symbols,
            silence: Duration::from_secs(90),
            connect_timeout: Duration::from_secs(10),
            max_message_bytes: 1 << 20,
            backoff: BackoffSettings::default(),
            roots: Roots::Native,
        }
    }
}

/// Where the feed counts. `Counter::noop()` and `Gauge::noop()` do for tests.
#[derive(Clone)]
pub struct FeedMetrics {
    /// Messages handed to the queue.
    pub frames: Counter,
    pub bytes: Counter,
    /// Text messages that were not UTF-8: skipped, since RFC 6455 has no text of that kind.
    pub not_utf8: Counter,
    /// Connections opened.
    pub connects: Counter,
    /// Ends of connections and failed attempts, in the order of [`DisconnectReason::ALL`].
    pub disconnects: [Counter; DisconnectReason::ALL.len()],
    /// 1 while subscribed, else 0.
    pub connected: Gauge,
}

impl FeedMetrics {
    /// Counts nothing.
    pub fn noop() -> Self {
        Self {
            frames: Counter::noop(),
            bytes: Counter::noop(),
            not_utf8: Counter::noop(),
            connects: Counter::noop(),
            disconnects: DisconnectReason::ALL.map(|_| Counter::noop()),
            connected: Gauge::noop(),
        }
    }
}

impl std::fmt::Debug for FeedMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedMetrics").finish_non_exhaustive()
    }
}
