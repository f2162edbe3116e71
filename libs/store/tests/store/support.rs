use market::{Place, Price, Sequence, Symbol};
use store::{
    Checkpoint, Condition, CreatedAlert, DatabaseUrl, Log, NewAlert, NewFiring, Store,
    StoreMetrics, UserId,
};
use testkit::{Postgresql, postgresql};

pub(crate) const PARTITIONS: i32 = 6;

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
        let alerts = vec![alert(1, "AAPL", Condition::Above, 100.0, 0); count];
        self.store.create(&self.log, &alerts).await.expect("created")
    }

    pub(crate) async fn fire(&self, store: &Store, firings: &[NewFiring]) -> Vec<i64> {
        let mut admitted = store.fire(&self.log, firings).await.expect("fired");
        admitted.sort_unstable();
        admitted
    }
}

pub(crate) fn open(url: &str) -> Store {
    Store::new(&DatabaseUrl::parse(url).expect("a URL"), "test", StoreMetrics::noop())
}

pub(crate) fn price(price: f64) -> Price {
    Price::new(price).expect("a price")
}

pub(crate) fn user(id: i64) -> UserId {
    UserId::new(id).expect("a user id")
}

pub(crate) fn alert(
    user_id: i64,
    symbol: &str,
    condition: Condition,
    target_price: f64,
    partition: i32,
) -> NewAlert {
    NewAlert {
        user_id: user(user_id),
        symbol: Symbol::new(symbol).expect("a symbol"),
        condition,
        target_price: price(target_price),
        partition,
        armed_offset: 7,
    }
}

/// The first generation of an alert fires at 101.5, on the trade 42/3 of partition 0.
pub(crate) fn firing(alert_id: i64) -> NewFiring {
    NewFiring {
        received_at: 1_700_000_000_000_000_000,
        alert_id,
        generation: 1,
        price: price(101.5),
        trade_time: 1_700_000_000_123,
        partition: 0,
        sequence: Sequence { offset: 42, index: 3 },
    }
}

pub(crate) fn checkpoint(partition: i32, offset: i64, history: &str) -> Checkpoint {
    let place = Place { offset, fingerprint: u64::MAX - offset.unsigned_abs() };
    Checkpoint { partition, place, history: history.into(), seen: None }
}
