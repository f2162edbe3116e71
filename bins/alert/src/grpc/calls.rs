use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use store::{CreateError, CreatedAlert, Creator, Filter, ListedAlert, Store, StoreError, Wish};
use tokio::sync::{Semaphore, watch};
use tonic::Status;

/// Creates under way. Full means that PostgreSQL or Kafka is far behind: further ones are refused
/// as RESOURCE_EXHAUSTED, for a place in so long a queue is worth less than a quick answer.
const CREATES_AT_ONCE: usize = 2_048;

/// Lists under way. Full means that further ones wait, until their deadlines: a page is up to
/// 10,000 rows, and the store's connections are needed for creates and firings, too.
const LISTS_AT_ONCE: usize = 3;

/// The most alerts that one list holds.
pub(crate) const LARGEST_PAGE: u32 = 10_000;

/// While PostgreSQL or Kafka is away every call fails: a line now and then says why.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What both services do, in the store's words.
#[derive(Debug)]
pub struct Calls {
    store: Store,
    creator: Creator,
    /// Of the topic.
    partitions: i32,
    /// Whether PostgreSQL answers.
    database: watch::Receiver<bool>,
    creates: Semaphore,
    lists: Semaphore,
    logged: Mutex<Option<Instant>>,
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) alerts: Vec<ListedAlert>,
    /// Whether there is more after the last one.
    pub(crate) more: bool,
}

impl Calls {
    pub fn new(
        store: Store,
        creator: Creator,
        partitions: i32,
        database: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            creator,
            partitions,
            database,
            creates: Semaphore::new(CREATES_AT_ONCE),
            lists: Semaphore::new(LISTS_AT_ONCE),
            logged: Mutex::default(),
        }
    }

    pub(crate) fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Once it has returned well the alert is durable. A caller that is cut meanwhile finds it
    /// made or not, never in part.
    pub(crate) async fn create(&self, wish: Wish) -> Result<CreatedAlert, Status> {
        self.must_answer()?;
        let _place = self
            .creates
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("too many alerts are being made; try again"))?;
        self.creator.create(wish).await.map_err(|error| {
            self.log("cannot make alerts", &error);
            match error {
                CreateError::Store(error) => refusal(&error),
                CreateError::Offsets(_) => Status::unavailable("the log is away"),
                CreateError::Stopping => Status::unavailable("the service is stopping"),
            }
        })
    }

    /// Alerts with ids after `after`, at most `limit` and [`LARGEST_PAGE`].
    pub(crate) async fn list(
        &self,
        filter: Filter,
        after: i64,
        limit: u32,
    ) -> Result<Page, Status> {
        self.must_answer()?;
        let limit = limit.min(LARGEST_PAGE);
        // The semaphore is never closed.
        let _place = self.lists.acquire().await;
        // One more than wanted shows whether more follows.
        let listed = self.store.list(filter, after, limit + 1).await;
        let mut alerts = listed.map_err(|error| {
            self.log("cannot list alerts", &error);
            refusal(&error)
        })?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = alerts.len() > limit;
        alerts.truncate(limit);
        Ok(Page { alerts, more })
    }

    /// While PostgreSQL is known to be away, an answer at once is better than a wait for it.
    fn must_answer(&self) -> Result<(), Status> {
        match *self.database.borrow() {
            true => Ok(()),
            false => Err(away()),
        }
    }

    fn log(&self, what: &str, error: &dyn std::error::Error) {
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|at| now.duration_since(at) >= LOG_EVERY) {
            *logged = Some(now);
            tracing::warn!("{what}: {error}");
        }
    }
}

fn away() -> Status {
    Status::unavailable("PostgreSQL is away")
}

/// What a client is told; the log has the rest.
fn refusal(error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable { .. } => away(),
        StoreError::AnotherLog(_) => Status::unavailable("the log was begun anew"),
        StoreError::Schema { .. } | StoreError::Refused { .. } => {
            Status::internal("a mistake of the server's; it has been logged")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn an_outage_is_unavailable_and_a_mistake_is_internal_and_neither_tells_secrets() {
        let (address, reason) = ("db.example:5432".to_owned(), "why".to_owned());
        for (error, code) in [
            (
                StoreError::Unavailable { address: address.clone(), reason: reason.clone() },
                Code::Unavailable,
            ),
            (
                StoreError::Schema { address: address.clone(), reason: reason.clone() },
                Code::Internal,
            ),
            (StoreError::Refused { address, reason }, Code::Internal),
        ] {
            let status = refusal(&error);
            assert_eq!(status.code(), code, "{error}");
            assert!(!status.message().contains("db.example"), "{status}");
        }
    }
}
