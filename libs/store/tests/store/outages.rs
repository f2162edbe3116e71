use std::time::Duration;

use store::{Filter, StoreError};
use testkit::{Postgresql, private_postgresql};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{Fixture, checkpoint, firing, open};

/// PostgreSQL is killed and comes back: each call fails as `Unavailable`, then works again, by
/// itself, and what was answered is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_costs_calls_but_no_answer() {
    let mut server = tokio::task::spawn_blocking(private_postgresql).await.expect("a server");
    let fixture = Fixture::at(&Postgresql::at(server.address())).await;
    let Fixture { store, log, .. } = &fixture;
    let stopping = CancellationToken::new();
    tokio::spawn(store.clone().carry_news(stopping.clone()));
    let before: Vec<i64> = fixture.create(3).await.iter().map(|created| created.id).collect();
    store.checkpoint(log, &[checkpoint(0, 5, "a")]).await.expect("stored");

    server.kill9();
    for _ in 0..3 {
        let refused = store.fire(log, &[firing(before[0])]).await.expect_err("away");
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    }
    let server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let server = server.await.expect("it is back");
    let mut news = store.news();
    assert_eq!(fire_until_it_works(&fixture, before[0]).await, [before[0]]);
    let listed = store.list(&Filter::default(), 0, 10).await.expect("a list");
    assert_eq!(listed.iter().map(|alert| alert.id).collect::<Vec<_>>(), before);
    assert_eq!(fixture.load(log, &[0]).await.checkpoints, [checkpoint(0, 5, "a")]);
    timeout(Duration::from_secs(5), news.next()).await.expect("news goes on");
    stopping.cancel();
    drop(server);
}

async fn fire_until_it_works(fixture: &Fixture, id: i64) -> Vec<i64> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match fixture.store.fire(&fixture.log, &[firing(id)]).await {
            Ok(admitted) => return admitted.into_iter().map(|(id, _)| id).collect(),
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(StoreError::Unavailable { .. }) => sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Connections are cut while alerts fire. Whoever tries again until it works has fired each once.
#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_midway_neither_lose_nor_double_a_firing() {
    let fixture = Fixture::new().await;
    let created = fixture.create(20_000).await;
    let firings: Vec<_> = created.iter().map(|created| firing(created.id)).collect();
    let (store, log) = (fixture.store.clone(), fixture.log.clone());
    let firing = tokio::spawn(async move {
        let mut failures = 0;
        for firings in firings.chunks(200) {
            while let Err(error) = store.fire(&log, firings).await {
                assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
                failures += 1;
            }
        }
        failures
    });
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'test'";
    while !firing.is_finished() {
        let url = fixture.url.clone();
        let cut = move || testkit::postgresql().execute(&url, cut);
        tokio::task::spawn_blocking(cut).await.expect("cut");
    }
    let failures = firing.await.expect("no panic");
    assert!(failures > 0, "nothing was cut");
    let state = "SELECT count(*) || ' ' || count(DISTINCT alert_id) || ' ' ||
        (SELECT count(*) FROM outbox) || ' ' || (SELECT count(*) FROM alerts WHERE status = 3)
        FROM firings";
    assert_eq!(testkit::postgresql().execute(&fixture.url, state), "20000 20000 20000 20000");
}

/// A call that is dropped while PostgreSQL works on it leaves no connection in the middle of an
/// answer for the next call.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_does_not_spoil_the_next_one() {
    let fixture = Fixture::new().await;
    let id = fixture.create(1).await[0].id;
    let pool = sqlx::PgPool::connect(&fixture.url).await.expect("a pool");
    let mut lock = pool.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM alerts FOR UPDATE").execute(&mut *lock).await.expect("locked");
    for _ in 0..20 {
        let firings = [firing(id)];
        let stuck = fixture.store.fire(&fixture.log, &firings);
        timeout(Duration::from_millis(20), stuck).await.expect_err("the row is locked");
    }
    assert_eq!(fixture.store.list(&Filter::default(), 0, 10).await.expect("a list").len(), 1);
    lock.rollback().await.expect("unlocked");
    // The statements that were left behind go on; one of them fires the alert.
    let admitted = fixture.fire(&fixture.store, &[firing(id)]).await;
    assert!(admitted.len() <= 1);
    let count = testkit::postgresql().execute(&fixture.url, "SELECT count(*) FROM firings");
    assert_eq!(count, "1");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_named_without_its_password() {
    let port = testkit::free_port();
    let store = open(&format!("postgres://user:secret@127.0.0.1:{port}/gostocks"));
    for refused in [
        store.migrate().await.expect_err("nobody listens"),
        store.follow("market_ticks", 6).await.map(|_| ()).expect_err("nobody listens"),
    ] {
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
        let text = format!("{refused} {store:?}");
        assert!(text.contains(&format!("127.0.0.1:{port}/gostocks")), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
