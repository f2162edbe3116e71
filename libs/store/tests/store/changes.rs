use std::collections::BTreeMap;
use std::time::Duration;

use store::{AlertState, Cursor, Reader, Status, Store};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{Fixture, above, alert, firing, owned};

/// What an owner of partition 0 knows.
struct Owner {
    known: BTreeMap<i64, AlertState>,
    reader: Reader,
    cursor: Cursor,
}

impl Owner {
    async fn load(fixture: &Fixture) -> Self {
        let mut known = BTreeMap::new();
        let mut reader = fixture.store.reader().await.expect("connected");
        let mut loading = reader.load(&fixture.log, &[0]).await.expect("looked up");
        let each = |alert: AlertState<&str>| drop(known.insert(alert.id, owned(alert)));
        loading.armed(&[0], each).await.expect("loaded");
        let cursor = loading.finish().await.expect("finished");
        Self { known, reader, cursor }
    }

    /// Returns how many rows it was given.
    async fn reconcile(&mut self, fixture: &Fixture) -> usize {
        let mut given = 0;
        let known = &mut self.known;
        let changes = self.reader.changes(&fixture.log, &[0], &self.cursor, |alert| {
            given += 1;
            if known.get(&alert.id).is_none_or(|old| old.version <= alert.version) {
                known.insert(alert.id, alert);
            }
        });
        self.cursor = changes.await.expect("changes");
        given
    }

    fn statuses(&self) -> Vec<(i64, Status)> {
        self.known.values().map(|alert| (alert.id, alert.status)).collect()
    }
}

#[tokio::test]
async fn each_change_is_given_and_not_again() {
    let fixture = Fixture::new().await;
    fixture.create(3).await;
    let mut owner = Owner::load(&fixture).await;
    assert_eq!(owner.known.len(), 3);
    assert_eq!(owner.reconcile(&fixture).await, 0, "the load had them");

    let id = fixture.create(1).await[0].id;
    let elsewhere = [alert(1, "MSFT", above(1.0), 1)];
    fixture.create_all(&elsewhere).await;
    assert_eq!(owner.reconcile(&fixture).await, 1, "of its partition");
    assert_eq!(owner.reconcile(&fixture).await, 0);

    fixture.fire(&fixture.store, &[firing(id)]).await;
    assert_eq!(owner.reconcile(&fixture).await, 1);
    assert_eq!(owner.known[&id].status, Status::Triggered);
}

/// The trap of every cursor: a transaction that began before the reader came, and ends after.
#[tokio::test]
async fn a_row_that_was_uncommitted_when_the_cursor_passed_is_given_later() {
    let fixture = Fixture::new().await;
    let mut owner = Owner::load(&fixture).await;
    let insert = |user: i64| {
        format!(
            "INSERT INTO alerts
            (user_id, symbol, condition, target_price, partition, armed_log, armed_offset)
            VALUES ({user}, 'AAPL', 1, 1.0, 0, '{}', 0) RETURNING id",
            fixture.log.id
        )
    };
    let pool = sqlx::PgPool::connect(&fixture.url).await.expect("a pool");
    let mut slow = pool.begin().await.expect("a transaction");
    let early: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(insert(1)))
        .fetch_one(&mut *slow)
        .await
        .expect("inserted");
    let mut expected = Vec::new();
    for _ in 0..3 {
        // Later transactions commit, and the cursor passes over the early one.
        expected.push((fixture.create(1).await[0].id, Status::Active));
        assert_eq!(owner.reconcile(&fixture).await, 1, "and each only once");
        assert_eq!(owner.statuses(), expected);
    }
    slow.commit().await.expect("committed");
    assert_eq!(owner.reconcile(&fixture).await, 1);
    expected.insert(0, (early, Status::Active));
    assert_eq!(owner.statuses(), expected);

    // One that is undone is never given.
    let mut undone = pool.begin().await.expect("a transaction");
    sqlx::query(sqlx::AssertSqlSafe(insert(1))).execute(&mut *undone).await.expect("inserted");
    owner.reconcile(&fixture).await;
    undone.rollback().await.expect("undone");
    assert_eq!(owner.reconcile(&fixture).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_are_all_followed() {
    let fixture = Fixture::new().await;
    let mut owner = Owner::load(&fixture).await;
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, log) = (fixture.another(), fixture.log.clone());
            tokio::spawn(async move {
                for _ in 0..50 {
                    let alerts = vec![alert(1, "AAPL", above(1.0), 0); 5];
                    let created = store.create(&log, &alerts).await.expect("created");
                    let first = created[0].expect("no quota is set");
                    store.fire(&log, &[firing(first.id)]).await.expect("fired");
                }
            })
        })
        .collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        owner.reconcile(&fixture).await;
    }
    owner.reconcile(&fixture).await;
    let mut fresh = Owner::load(&fixture).await;
    fresh.reconcile(&fixture).await;
    owner.known.retain(|_, alert| alert.status == Status::Active);
    assert_eq!(owner.known.len(), 4 * 50 * 4);
    assert_eq!(owner.known, fresh.known);
}

/// Rows of a restored dump may carry ids of transactions that are yet to come.
#[tokio::test]
async fn rows_restored_from_another_server_are_no_changes() {
    let fixture = Fixture::new().await;
    fixture.create(2).await;
    testkit::postgresql().execute(&fixture.url, "UPDATE alerts SET changed_xid = '987654321'");
    let mut owner = Owner::load(&fixture).await;
    assert_eq!(owner.known.len(), 2);
    assert_eq!(owner.reconcile(&fixture).await, 0);
    fixture.fire(&fixture.store, &[firing(*owner.known.keys().next().expect("one"))]).await;
    assert_eq!(owner.reconcile(&fixture).await, 1);
}

fn carry(store: &Store) -> CancellationToken {
    let stopping = CancellationToken::new();
    tokio::spawn(store.clone().carry_news(stopping.clone()));
    stopping
}

/// Waits for a wake-up that no clock gave: within 100 ms of a change that `store` makes.
async fn hears_from(fixture: &Fixture, reader: &Store, writer: &Store) -> bool {
    let mut news = reader.news();
    for _ in 0..100 {
        // The clock wakes it at once, then each second: what comes sooner after a change is news.
        news.next().await;
        let alerts = [alert(1, "AAPL", above(1.0), 0)];
        writer.create(&fixture.log, &alerts).await.expect("created");
        let heard = timeout(Duration::from_millis(500), news.next()).await.is_ok();
        if heard {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_hears_of_another_ones_changes_and_of_its_own() {
    let fixture = Fixture::new().await;
    let other = fixture.another();
    let _tasks = (carry(&fixture.store), carry(&other));
    assert!(hears_from(&fixture, &fixture.store, &other).await);
    assert!(hears_from(&fixture, &other, &fixture.store).await);
    assert!(hears_from(&fixture, &other, &other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn news_comes_again_after_its_connections_were_cut() {
    let fixture = Fixture::new().await;
    let other = fixture.another();
    let _tasks = (carry(&fixture.store), carry(&other));
    assert!(hears_from(&fixture, &fixture.store, &other).await);
    let cut = "SELECT count(pg_terminate_backend(pid)) > 1 FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(testkit::postgresql().execute(&fixture.url, cut), "t");
    assert!(hears_from(&fixture, &fixture.store, &other).await);
    assert!(hears_from(&fixture, &other, &fixture.store).await);
}

#[tokio::test]
async fn without_news_a_reader_is_woken_each_second() {
    let fixture = Fixture::new().await;
    let mut news = fixture.store.news();
    news.next().await;
    let started = Instant::now();
    // A caller that drops the wait again and again must not put it off.
    let mut woken = 0;
    while woken < 2 {
        woken += usize::from(timeout(Duration::from_millis(30), news.next()).await.is_ok());
    }
    let waited = started.elapsed();
    assert!((1_900..4_000).contains(&waited.as_millis()), "{waited:?}");
}
