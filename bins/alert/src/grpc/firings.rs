//! Firings as they are stored, to whoever watches.
//!
//! ```text
//!  PostgreSQL ── since a cursor ──▶ Tail (one an instance) ── broadcast ──▶ Watch (one a stream)
//!             ── from a firing on, page by page ──────────────────────────▶    then the tail
//! ```
//! A firing is stored by whichever instance has its partition, so the tail asks PostgreSQL: it
//! hears of news as owners do. A watch first reads what lies between its firing and the tail's
//! cursor, and then what the tail gives from there on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use rpc::alert::v1::WatchFiringsResponse;
use store::{Cursor, Firing, News, Place, Reader, Store, StoreError, UserId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::calls::refusal;
use crate::messages;

/// Streams at once. Full means that further ones are refused.
const WATCHES: usize = 1_024;
/// Rounds of the tail, of [`store::AT_ONCE`] firings at most, that a watch may be behind. Past it
/// the stream ends: its client is too slow, and can go on from the last firing that it has.
const ROUNDS_BEHIND: usize = 64;
/// Streams that wait to be let in. Full means that they wait.
const JOINS_WAITING: usize = 64;
/// Firings that are read at once for one that goes on from a firing.
const PAGE: u32 = 1_000;
const RETRY_AFTER: Duration = Duration::from_millis(500);

type Round = Arc<[Firing]>;

/// What a stream begins with: everything that the cursor has seen is to be read, the rest comes.
type Join = (Cursor, broadcast::Receiver<Round>);

/// Which firings a stream is about.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) user_id: Option<UserId>,
    pub(crate) symbol: Option<String>,
}

impl Wanted {
    fn has(&self, firing: &Firing) -> bool {
        self.user_id.is_none_or(|user| user.get() == firing.user_id)
            && self.symbol.as_ref().is_none_or(|symbol| *symbol == firing.symbol)
    }
}

/// Lets streams in.
#[derive(Clone, Debug)]
pub struct Watching {
    store: Store,
    joins: mpsc::Sender<oneshot::Sender<Join>>,
    places: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Watching {
    /// Also the tail, to be spawned: it ends with `stopping`.
    pub fn new(
        store: Store,
        stopping: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (joins, joining) = mpsc::channel(JOINS_WAITING);
        let tail =
            Tail { store: store.clone(), joining, rounds: broadcast::Sender::new(ROUNDS_BEHIND) };
        let places = Arc::new(Semaphore::new(WATCHES));
        let watching = Self { store, joins, places, stopping: stopping.clone() };
        let tailing = async move {
            stopping.run_until_cancelled(tail.run()).await;
        };
        (watching, tailing)
    }

    /// # Errors
    /// NOT_FOUND where `after` is no firing; RESOURCE_EXHAUSTED; UNAVAILABLE.
    pub(crate) async fn watch(
        &self,
        wanted: Wanted,
        after: Option<i64>,
    ) -> Result<impl Stream<Item = Result<WatchFiringsResponse, Status>> + use<>, Status> {
        let permit = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many streams; try again"))?;
        let place = match after {
            None => None,
            Some(id) => {
                let place = self.store.horizon_of(id).await.map_err(|error| unread(&error))?;
                let none = || Status::not_found(format!("there is no firing {id}"));
                Some(place.ok_or_else(none)?)
            }
        };
        let (join, joined) = oneshot::channel();
        let away = |_| Status::unavailable("firings cannot be followed now");
        self.joins.send(join).await.map_err(|_| Status::unavailable("the service is stopping"))?;
        let (until, rounds) = joined.await.map_err(away)?;
        let watch = Watch {
            store: self.store.clone(),
            wanted,
            missed: place.map(|place| Missed { place, until, after }),
            rounds,
            ready: VecDeque::new(),
            stopping: self.stopping.clone(),
            _permit: permit,
        };
        Ok(futures::stream::unfold(Some(watch), |watch| async {
            let mut watch = watch?;
            match watch.next().await {
                Ok(firing) => {
                    let firing = Some(messages::firing(&firing));
                    Some((Ok(WatchFiringsResponse { firing }), Some(watch)))
                }
                Err(status) => Some((Err(status), None)),
            }
        }))
    }
}

/// One stream.
struct Watch {
    store: Store,
    wanted: Wanted,
    /// What was stored before the stream began, and is still to be read.
    missed: Option<Missed>,
    rounds: broadcast::Receiver<Round>,
    ready: VecDeque<Firing>,
    stopping: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

struct Missed {
    place: Place,
    until: Cursor,
    /// The firing that the client has.
    after: Option<i64>,
}

impl Watch {
    async fn next(&mut self) -> Result<Firing, Status> {
        loop {
            if let Some(firing) = self.ready.pop_front() {
                return Ok(firing);
            }
            if let Some(missed) = &mut self.missed {
                let Wanted { user_id, symbol } = &self.wanted;
                let (place, until) = (&missed.place, &missed.until);
                let page = self.store.firings_from(place, until, *user_id, symbol.as_deref(), PAGE);
                let (firings, next) = page.await.map_err(|error| unread(&error))?;
                self.ready
                    .extend(firings.into_iter().filter(|firing| Some(firing.id) != missed.after));
                match next {
                    Some(place) => missed.place = place,
                    None => self.missed = None,
                }
                continue;
            }
            let round = tokio::select! {
                round = self.rounds.recv() => round,
                () = self.stopping.cancelled() => {
                    return Err(Status::unavailable("the service is stopping; go on elsewhere"));
                }
            };
            match round {
                Ok(round) => {
                    self.ready.extend(round.iter().filter(|it| self.wanted.has(it)).cloned());
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Err(Status::resource_exhausted(
                        "the client is too slow; go on from the last firing received",
                    ));
                }
                Err(broadcast::error::RecvError::Closed) => {
                    return Err(Status::unavailable("go on from the last firing received"));
                }
            }
        }
    }
}

fn unread(error: &StoreError) -> Status {
    tracing::warn!(%error, "cannot read firings");
    refusal(error)
}

/// Follows the firings for as long as somebody watches.
struct Tail {
    store: Store,
    joining: mpsc::Receiver<oneshot::Sender<Join>>,
    rounds: broadcast::Sender<Round>,
}

impl Tail {
    async fn run(mut self) {
        while let Some(first) = self.joining.recv().await {
            let followed = self.follow(first).await;
            // A cursor is good for one connection: with it end the streams, whose clients go on
            // from the last firing that they have.
            self.rounds = broadcast::Sender::new(ROUNDS_BEHIND);
            if let Err(error) = followed {
                tracing::warn!(%error, "streams of firings end");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }

    /// Until nobody watches any more.
    async fn follow(&mut self, first: oneshot::Sender<Join>) -> Result<(), StoreError> {
        let mut reader: Reader = self.store.reader().await?;
        let mut cursor = reader.now().await?;
        let mut news: News = self.store.news();
        self.admit(first, &cursor);
        while self.rounds.receiver_count() > 0 {
            tokio::select! {
                Some(join) = self.joining.recv() => self.admit(join, &cursor),
                () = news.next() => {
                    // Whoever has gone does not miss them.
                    let tell = |firings: Vec<Firing>| drop(self.rounds.send(firings.into()));
                    cursor = reader.firings_since(&cursor, tell).await?;
                }
            }
        }
        Ok(())
    }

    fn admit(&self, join: oneshot::Sender<Join>, cursor: &Cursor) {
        // One whose client has gone meanwhile is let go with it.
        let _ = join.send((cursor.clone(), self.rounds.subscribe()));
    }
}
