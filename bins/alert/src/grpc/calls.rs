use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker::partition_of;
use store::{
    Alert, ArmedAt, Change, ChangeError, CreateError, CreatedAlert, Creator, Filter, Firing, Log,
    LogEnds, Of, Store, StoreError, Target, Wish,
};
use tokio::sync::{Semaphore, watch};
use tonic::Status;

use super::input::{self, Rules};

/// Creates under way. Full means that PostgreSQL or Kafka is far behind: further ones are refused
/// as RESOURCE_EXHAUSTED, for a place in so long a queue is worth less than a quick answer.
const CREATES_AT_ONCE: usize = 2_048;

/// Changes under way. Full means that further ones wait, until their deadlines: each looks up where
/// the log ends.
const CHANGES_AT_ONCE: usize = 64;

/// Lists under way. Full means that further ones wait, until their deadlines: a page is up to
/// 10,000 rows, and the store's connections are needed for creates and firings, too.
const LISTS_AT_ONCE: usize = 3;

/// The most rows that one list holds, and alerts that one call makes.
pub(crate) const LARGEST_PAGE: u32 = 10_000;

/// While PostgreSQL or Kafka is away every call fails: a line now and then says why.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What both services do, in the store's words.
#[derive(Debug)]
pub struct Calls {
    store: Store,
    log: Log,
    creator: Creator,
    ends: LogEnds,
    /// Of alerts that fire again and again.
    min_cooldown: Duration,
    /// Whether PostgreSQL answers.
    database: watch::Receiver<bool>,
    creates: Semaphore,
    changes: Semaphore,
    lists: Semaphore,
    logged: Mutex<Option<Instant>>,
}

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) rows: Vec<T>,
    /// Whether there is more after the last one.
    pub(crate) more: bool,
}

impl Calls {
    pub fn new(
        store: Store,
        log: Log,
        creator: Creator,
        ends: LogEnds,
        min_cooldown: Duration,
        database: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            log,
            creator,
            ends,
            min_cooldown,
            database,
            creates: Semaphore::new(CREATES_AT_ONCE),
            changes: Semaphore::new(CHANGES_AT_ONCE),
            lists: Semaphore::new(LISTS_AT_ONCE),
            logged: Mutex::default(),
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Rules {
            partitions: self.log.partitions,
            min_cooldown: i64::try_from(self.min_cooldown.as_millis()).unwrap_or(i64::MAX),
            now: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// Once it has returned well the alert is durable. A caller that is cut meanwhile finds it
    /// made or not, never in part.
    pub(crate) async fn create(&self, wish: Wish) -> Result<CreatedAlert, Status> {
        self.must_answer()?;
        let _place = self
            .creates
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("too many alerts are being made; try again"))?;
        self.creator.create(wish).await.map_err(|error| self.not_created(error))
    }

    /// As [`create`](Self::create), for many: all or none.
    pub(crate) async fn create_many(&self, wishes: Vec<Wish>) -> Result<Vec<i64>, Status> {
        self.must_answer()?;
        let created = async {
            let alerts = self.ends.arm(wishes.iter()).await?;
            let created = self.store.create_many(&self.log, &alerts).await?;
            created.ok_or(CreateError::Quota)
        };
        let created = created.await.map_err(|error| self.not_created(error))?;
        Ok(created.into_iter().map(|created| created.id).collect())
    }

    fn not_created(&self, error: CreateError) -> Status {
        match error {
            CreateError::Quota => {
                return Status::resource_exhausted(
                    "the user has as many alerts as one may have: delete some",
                );
            }
            CreateError::Store(_) | CreateError::Offsets(_) | CreateError::Stopping => {}
        }
        self.log("cannot make alerts", &error);
        match error {
            CreateError::Store(error) => refusal(&error),
            CreateError::Offsets(_) => Status::unavailable("the log is away"),
            _ => Status::unavailable("the service is stopping"),
        }
    }

    pub(crate) async fn get(&self, target: Target) -> Result<Alert, Status> {
        self.must_answer()?;
        let found = self.store.get(target.id).await;
        let found = found.map_err(|error| {
            self.log("cannot read an alert", &error);
            refusal(&error)
        })?;
        found
            .filter(|alert| target.user_id.is_none_or(|user| user.get() == alert.user_id))
            .ok_or_else(|| not_changed(&ChangeError::NotFound(target.id)))
    }

    /// Once it has returned well the change is durable.
    pub(crate) async fn change(&self, target: Target, change: Change) -> Result<Alert, Status> {
        self.must_answer()?;
        // The semaphore is never closed.
        let _place = self.changes.acquire().await;
        let changed = async {
            let armed_at = match change.arms() {
                true => Some(self.end_for(target.id).await?),
                false => None,
            };
            self.store.change(&self.log, target, &change, armed_at).await
        };
        changed.await.map_err(|error: ChangeError| {
            if let ChangeError::Store(_) | ChangeError::Offsets(_) = error {
                self.log("cannot change an alert", &error);
            }
            not_changed(&error)
        })
    }

    /// Where the log ends for an alert.
    async fn end_for(&self, id: i64) -> Result<ArmedAt, ChangeError> {
        let symbol = self.store.symbol_of(id).await?.ok_or(ChangeError::NotFound(id))?;
        let partition = partition_of(&symbol, self.log.partitions);
        Ok(ArmedAt { partition, offset: self.ends.of(partition).await? })
    }

    /// Alerts with ids after `after`, at most `limit` and [`LARGEST_PAGE`].
    pub(crate) async fn list(
        &self,
        filter: &Filter,
        after: i64,
        limit: u32,
    ) -> Result<Page<Alert>, Status> {
        let limit = limit.min(LARGEST_PAGE);
        self.page(limit, self.store.list(filter, after, limit + 1)).await
    }

    /// Firings with ids below `before`, the newest first, at most `limit` and [`LARGEST_PAGE`].
    pub(crate) async fn firings(
        &self,
        of: Of,
        before: i64,
        limit: u32,
    ) -> Result<Page<Firing>, Status> {
        let limit = limit.min(LARGEST_PAGE);
        self.page(limit, self.store.firings(of, before, limit + 1)).await
    }

    /// One row more than wanted shows whether more follows.
    async fn page<T>(
        &self,
        limit: u32,
        listing: impl Future<Output = Result<Vec<T>, StoreError>>,
    ) -> Result<Page<T>, Status> {
        self.must_answer()?;
        // The semaphore is never closed.
        let _place = self.lists.acquire().await;
        let mut rows = listing.await.map_err(|error| {
            self.log("cannot list", &error);
            refusal(&error)
        })?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(Page { rows, more })
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
pub(crate) fn refusal(error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable { .. } => away(),
        StoreError::AnotherLog(_) => Status::unavailable("the log was begun anew"),
        StoreError::Schema { .. } | StoreError::Refused { .. } => {
            Status::internal("a mistake of the server's; it has been logged")
        }
    }
}

fn not_changed(error: &ChangeError) -> Status {
    match error {
        ChangeError::Store(error) => refusal(error),
        ChangeError::Offsets(_) => Status::unavailable("the log is away"),
        ChangeError::NotFound(_) => Status::not_found(error.to_string()),
        ChangeError::Version { .. } => Status::aborted(error.to_string()),
        ChangeError::Terms(why) => input::invalid(vec![(input::field_of(*why), why.to_string())]),
        ChangeError::Status { .. } | ChangeError::Expired(_) | ChangeError::WornOut(_) => {
            Status::failed_precondition(error.to_string())
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
            assert_eq!(not_changed(&error.clone().into()).code(), code, "{error}");
            assert!(!status.message().contains("db.example"), "{status}");
        }
    }
}
