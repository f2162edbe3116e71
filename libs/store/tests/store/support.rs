use market::{Place, Price, Sequence, Symbol};
use store::{
    AlertState, Checkpoint, CreatedAlert, Cursor, DatabaseUrl, Log, NewAlert, NewFiring, Store,
    StoreMetrics, UserId, Wish,
};
use testkit::{Postgresql, postgresql};
use triggers::{Condition, Percent, Repeat, Terms, Version};

pub(crate) const PARTITIONS: i32 = 6;

/// Of an alert that was neither changed nor fired.
pub(crate) const FIRST: Version = Version { revision: 0, generation: 1 };

/// A store on a database of its own, which follows a topic.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) url: String,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::at(postgresql()).await
    }

    pub(crate) async fn at(postgresql: &Postgresql) -> Self {
        let url = postgresql.database();
        let store = open(&url);
        store.migrate().await.expect("migrated");
        let log = store.follow("market_ticks", PARTITIONS).await.expect("a log");
        Self { store, log, url }
    }

    /// Another instance on the same database.
    pub(crate) fn another(&self) -> Store {
        open(&self.url)
    }

    /// `count` alerts of user 1 on AAPL, ABOVE 100.
    pub(crate) async fn create(&self, count: usize) -> Vec<CreatedAlert> {
        self.create_all(&vec![alert(1, "AAPL", above(100.0), 0); count]).await
    }

    pub(crate) async fn create_all(&self, alerts: &[NewAlert]) -> Vec<CreatedAlert> {
        let created = self.store.create(&self.log, alerts).await.expect("created");
        created.into_iter().map(|created| created.expect("no quota is set")).collect()
    }

    /// The ids of those that were admitted, each as often as it was.
    pub(crate) async fn fire(&self, store: &Store, firings: &[NewFiring]) -> Vec<i64> {
        let admitted = store.fire(&self.log, firings).await.expect("fired");
        let mut ids: Vec<i64> = admitted.into_iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// What an owner of partitions begins with, its alerts by id.
    pub(crate) async fn load(&self, log: &Log, partitions: &[i32]) -> Loaded {
        let mut reader = self.store.reader().await.expect("connected");
        let mut loading = reader.load(log, partitions).await.expect("looked up");
        let checkpoints = std::mem::take(&mut loading.checkpoints);
        let mut alerts = Vec::new();
        let each = |state: AlertState<&str>| alerts.push(owned(state));
        loading.armed(partitions, each).await.expect("loaded");
        let cursor = loading.finish().await.expect("finished");
        alerts.sort_unstable_by_key(|alert| alert.id);
        Loaded { alerts, checkpoints, cursor }
    }

    pub(crate) fn execute(&self, statement: &str) -> String {
        postgresql().execute(&self.url, statement)
    }
}

pub(crate) struct Loaded {
    pub(crate) alerts: Vec<AlertState>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) cursor: Cursor,
}

pub(crate) fn owned(state: AlertState<&str>) -> AlertState {
    let AlertState { id, symbol, terms, status, version, partition, armed_at, .. } = state;
    let AlertState { latched, asleep_until, reference, changed_at, is_judged, .. } = state;
    AlertState {
        id,
        symbol: symbol.to_owned(),
        terms,
        status,
        version,
        partition,
        armed_at,
        latched,
        asleep_until,
        reference,
        changed_at,
        is_judged,
    }
}

pub(crate) fn open(url: &str) -> Store {
    Store::new(&DatabaseUrl::parse(url).expect("a URL"), "test", StoreMetrics::noop())
}

pub(crate) fn price(price: f64) -> Price {
    Price::new(price).expect("a price")
}

pub(crate) fn percent(percent: f64) -> Percent {
    Percent::new(percent).expect("a percent")
}

pub(crate) fn user(id: i64) -> UserId {
    UserId::new(id).expect("a user id")
}

pub(crate) fn above(target: f64) -> Condition {
    Condition::Above(price(target))
}

pub(crate) fn below(target: f64) -> Condition {
    Condition::Below(price(target))
}

pub(crate) fn once(condition: Condition) -> Terms {
    Terms::new(condition, None).expect("good terms")
}

pub(crate) fn every(condition: Condition, cooldown: u32) -> Terms {
    Terms::new(condition, Some(Repeat { cooldown, hysteresis: None })).expect("good terms")
}

pub(crate) fn alert(user_id: i64, symbol: &str, condition: Condition, partition: i32) -> NewAlert {
    NewAlert {
        wish: Wish {
            user_id: user(user_id),
            symbol: Symbol::new(symbol).expect("a symbol"),
            terms: once(condition),
            expires_at: None,
            note: None,
            partition,
        },
        armed_offset: 7,
    }
}

/// The first generation of an alert fires at 101.5, on the trade 42/3 of partition 0.
pub(crate) fn firing(alert_id: i64) -> NewFiring {
    NewFiring {
        received_at: 1_700_000_000_000_000_000,
        alert_id,
        version: FIRST,
        price: price(101.5),
        reference: None,
        trade_time: 1_700_000_000_123,
        partition: 0,
        sequence: Sequence { offset: 42, index: 3 },
    }
}

pub(crate) fn checkpoint(partition: i32, offset: i64, history: &str) -> Checkpoint {
    let place = Place { offset, fingerprint: u64::MAX - offset.unsigned_abs() };
    Checkpoint { partition, place, history: history.into(), seen: None }
}
