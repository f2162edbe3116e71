//! Live streams: one tail of Redis' streams a gateway, fanned out in memory.
//!
//! ```text
//!  Redis streams ─▶ Tail ─┐
//!  WatchFirings ──────────┴─▶ Hub ─▶ Board: slots by symbol ─wake─▶ Subscription ─▶ SSE, WebSocket, gRPC
//! ```
//! Nothing is queued for a client. It is at a place in the order of events, and when it reads it is
//! given what is after that: of prices and candles the newest, of ticks and firings each, from the
//! few thousand that are kept of a symbol for everybody. So a client that does not read slows
//! nobody and grows nothing; one that is behind what is kept is told to come back.

mod board;
mod catch_up;
mod cursor;
mod event;
mod firings;
mod following;
mod hub;
mod routes;
mod said;
mod slot;
mod sse;
mod subscription;
mod websocket;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use market::{CandleSpec, Interval, Symbol};
use metrics::{Counter, Gauge, Histogram};
use service::catalogue;
use speed::{Ends, Reader, StreamEntry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Alerts;
use crate::prices::Seen;
use crate::sparingly::Sparingly;
use board::{Board, TooMany};
use catch_up::Source;
use event::Event;
use websocket::Origins;

pub(crate) use board::TOO_MANY_SYMBOLS;
pub(crate) use cursor::Cursor;
pub(crate) use event::{Kind, Kinds, Payload};
pub(crate) use following::{Following, Part, Wish};
pub(crate) use routes::{__path_stream, LAST_EVENT_ID, stream};
pub(crate) use said::Said;
pub(crate) use subscription::End;
pub(crate) use websocket::{__path_websocket, websocket};

/// Firings that wait to be told. Full means that no more are asked for.
const FIRINGS_WAITING: usize = 1_024;

/// Symbols that are followed, added up over all streams, each of which counts for some more. Full
/// means that further streams are refused.
const FOLLOWED: usize = 20_000_000;
const A_STREAM: usize = 32;

/// How long a client that comes from a gateway that is ahead waits for this one.
const AHEAD: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Everything that streams are made of.
#[derive(Debug)]
pub struct Live {
    reader: Reader,
    topic: String,
    board: Arc<Board>,
    stopping: CancellationToken,
    told: Told,
    streams: Gauge,
    followed: Arc<Semaphore>,
    catching_up: Arc<Semaphore>,
    origins: Origins,
    /// WebSockets, whose connections are no longer the listener's.
    sockets: TaskTracker,
}

impl Live {
    /// Also what keeps it going, which ends with `stopping`: to be run by itself, with `follower` for
    /// its connection, since ten thousand clients keep a runtime busy.
    pub fn new(
        reader: Reader,
        follower: Reader,
        topic: &str,
        candles: Vec<CandleSpec>,
        alerts: Arc<Alerts>,
        origins: &[String],
        stopping: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        // Tells one life of one gateway from another.
        let teller = RandomState::new().build_hasher().finish() as u32;
        let board = Arc::new(Board::new(candles, teller));
        let (sender, firings) = mpsc::channel(FIRINGS_WAITING);
        let hub = hub::Hub {
            reader: follower.clone(),
            topic: topic.to_owned(),
            board: Arc::clone(&board),
            firings,
            log: Sparingly::default(),
        };
        let check = hub::check(follower, topic.to_owned(), Arc::clone(&board), stopping.clone());
        let watching = firings::watch(alerts, sender, stopping.clone());
        let hub = hub.run(stopping.clone());
        let going = async {
            tokio::join!(hub, check, watching);
        };
        let this = Self {
            reader,
            topic: topic.to_owned(),
            board,
            stopping,
            told: Told::new(),
            streams: catalogue::STREAMS.gauge(),
            followed: Arc::new(Semaphore::new(FOLLOWED)),
            catching_up: Arc::new(Semaphore::new(catch_up::AT_ONCE)),
            origins: Origins::new(origins),
            sockets: TaskTracker::new(),
        };
        (this, going)
    }

    /// Takes the place of a stream that follows so many symbols.
    fn follow(&self, symbols: usize) -> Result<OwnedSemaphorePermit, TooMany> {
        let wanted = u32::try_from(symbols + A_STREAM).map_err(|_| TooMany)?;
        Arc::clone(&self.followed).try_acquire_many_owned(wanted).map_err(|_| TooMany)
    }

    fn source(&self) -> Source {
        let (reader, topic) = (self.reader.clone(), self.topic.clone());
        let (board, places) = (Arc::clone(&self.board), Arc::clone(&self.catching_up));
        Source { reader, topic, board, places }
    }

    /// Waits a little where a client comes from a gateway that is ahead of this one.
    async fn reached(&self, from: &Cursor) -> bool {
        let reaching = async {
            while self.board.is_behind(from) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(AHEAD, reaching).await.is_ok()
    }

    /// Waits until every WebSocket has ended, once the service stops.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.sockets.close();
        if tokio::time::timeout(patience, self.sockets.wait()).await.is_err() {
            tracing::warn!(cut = self.sockets.len(), "WebSockets were still busy");
        }
    }

    /// Begins at these ends, of no symbol anything known: for a caller that has the entries of the
    /// streams from elsewhere, in place of what `new` gave to be spawned.
    pub fn begin(&self, ends: &Ends) {
        self.board.begin(ends, Vec::new());
        self.board.set_current(true);
    }

    /// Tells everybody of an entry. Returns whether it could: not where entries before it are
    /// missing, or where a trade in it is too late for what is kept in memory.
    pub fn tell(&self, entry: &StreamEntry) -> bool {
        self.board.apply(entry).is_ok_and(|late| late.is_empty())
    }

    /// How a symbol stands; `None` where the view is behind.
    pub(crate) fn latest(&self, symbol: &Symbol) -> Option<Option<Seen>> {
        if !self.board.is_current() {
            return None;
        }
        let Some(slot) = self.board.find(symbol.as_str()) else { return Some(None) };
        let held = slot.lock();
        let Some((_, state)) = &held.known else { return Some(None) };
        let Some(latest) = state.latest else { return Some(None) };
        Some(Some(Seen::new(symbol.clone(), &latest, state.day)))
    }

    /// The symbols that have traded, in their order; `None` where the view is behind.
    pub(crate) fn symbols(&self) -> Option<Arc<[Symbol]>> {
        self.board.is_current().then(|| self.board.symbols())
    }

    pub(crate) fn intervals(&self) -> impl Iterator<Item = Interval> {
        self.board.spec().candles.iter().map(|spec| spec.interval)
    }
}

/// Unix nanoseconds.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Counts a stream for as long as it lasts.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Counts what is told.
#[derive(Clone)]
pub(crate) struct Told {
    events: Counter,
    seconds: Histogram,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl Told {
    fn new() -> Self {
        let seconds = catalogue::TICK_STAGE.with("stage", "delivered").histogram();
        Self { events: catalogue::STREAM_EVENTS.counter(), seconds }
    }

    pub(crate) fn count(&self, events: &[Arc<Event>]) {
        self.events.increment(events.len() as u64);
        let now = now();
        for received in events.iter().filter_map(|event| event.received_at()) {
            self.seconds.record(now.saturating_sub(received) as f64 / 1e9);
        }
    }
}
