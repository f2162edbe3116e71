use store::{Rearm, Status, StoreError};
use triggers::Version;

use crate::support::{Fixture, Loaded, PARTITIONS, above, alert, checkpoint, firing, open};

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_at_once_agree_on_the_tables_and_the_log() {
    let url = testkit::postgresql().database();
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let store = open(&url);
            tokio::spawn(async move {
                store.migrate().await.expect("migrated");
                store.follow("market_ticks", PARTITIONS).await.expect("a log")
            })
        })
        .collect();
    let mut logs = Vec::new();
    for start in starts {
        logs.push(start.await.expect("no panic"));
    }
    assert!(logs.windows(2).all(|pair| pair[0] == pair[1]), "{logs:?}");
    open(&url).migrate().await.expect("once more");
}

#[tokio::test]
async fn a_database_that_a_newer_version_migrated_is_refused() {
    let fixture = Fixture::new().await;
    testkit::postgresql().execute(
        &fixture.url,
        "INSERT INTO _sqlx_migrations VALUES (99, 'future', now(), true, '', 0)",
    );
    let refused = fixture.store.migrate().await.expect_err("refused");
    assert!(matches!(refused, StoreError::Schema { .. }), "{refused}");
    assert!(refused.to_string().contains("migration 99 is unknown here"), "{refused}");
}

#[tokio::test]
async fn another_number_of_partitions_is_another_log() {
    let fixture = Fixture::new().await;
    let refused = fixture.store.follow("market_ticks", 7).await.expect_err("refused");
    assert!(matches!(refused, StoreError::AnotherLog(_)));
    let sentence = "it had 6 partitions and has 7 now";
    assert!(refused.to_string().contains(sentence), "{refused}");
    assert!(refused.to_string().contains("`alert rebuild`"), "{refused}");
}

#[tokio::test]
async fn checkpoints_move_forward_only() {
    let fixture = Fixture::new().await;
    let Fixture { store, log, .. } = &fixture;
    let all: Vec<i32> = (0..PARTITIONS).collect();
    assert_eq!(fixture.load(log, &all).await.checkpoints, []);
    let first = [checkpoint(3, 10, "c"), checkpoint(0, 5, "a")];
    store.checkpoint(log, &first).await.expect("stored");
    let second = [checkpoint(0, 4, "older"), checkpoint(3, 11, "d"), checkpoint(5, 0, "")];
    store.checkpoint(log, &second).await.expect("stored");
    store.checkpoint(log, &[checkpoint(3, 11, "the same")]).await.expect("stored");
    store.checkpoint(log, &[]).await.expect("nothing");
    let expected = [checkpoint(0, 5, "a"), checkpoint(3, 11, "d"), checkpoint(5, 0, "")];
    assert_eq!(fixture.load(log, &all).await.checkpoints, expected);
    assert_eq!(fixture.load(log, &[1, 3]).await.checkpoints, expected[1..2]);
}

#[tokio::test]
async fn a_rebuild_arms_what_is_active_on_a_new_log_and_locks_the_old_one_out() {
    let fixture = Fixture::new().await;
    let Fixture { store, log, .. } = &fixture;
    let alerts = [
        alert(1, "AAPL", above(1.0), 0),
        alert(1, "MSFT", above(1.0), 1),
        alert(1, "AAPL", above(1.0), 0),
    ];
    let created = fixture.create_all(&alerts).await;
    fixture.fire(store, &[firing(created[2].id)]).await;
    store.checkpoint(log, &[checkpoint(0, 5, "a")]).await.expect("stored");

    let rearm = Rearm {
        partition: |symbol: &str| if symbol == "AAPL" { 8 } else { 9 },
        offset: |partition| i64::from(partition) * 100,
    };
    let new = store.rebuild("market_ticks", 12, rearm).await.expect("rebuilt");
    assert!(new.id > log.id);
    assert_eq!(store.follow("market_ticks", 12).await.expect("a log"), new);

    let all: Vec<i32> = (0..12).collect();
    let Loaded { alerts: armed, checkpoints, .. } = fixture.load(&new, &all).await;
    let found: Vec<_> = armed
        .iter()
        .map(|alert| (alert.id, alert.partition, alert.armed_at.offset, alert.version))
        .collect();
    let second = Version { revision: 1, generation: 2 };
    assert_eq!(found, [(created[0].id, 8, 800, second), (created[1].id, 9, 900, second)]);
    assert!(armed.iter().all(|alert| alert.status == Status::Active));
    assert_eq!(checkpoints, []);

    // Whoever still runs under the old id.
    assert_eq!(fixture.fire(store, &[firing(created[0].id)]).await, [] as [i64; 0]);
    let refused = store.checkpoint(log, &[checkpoint(0, 6, "b")]).await;
    assert!(matches!(refused, Err(StoreError::AnotherLog(_))), "{refused:?}");
    let refused = store.create(log, &alerts).await;
    assert!(matches!(refused, Err(StoreError::AnotherLog(_))), "{refused:?}");
    assert_eq!(fixture.load(log, &all).await.alerts, []);
}

/// A create that began before a rebuild is armed anew by it, or refused; nothing is in between.
#[tokio::test(flavor = "multi_thread")]
async fn creates_during_rebuilds_are_never_left_on_an_old_log() {
    let fixture = Fixture::new().await;
    let (store, log) = (fixture.another(), fixture.log.clone());
    let creating = tokio::spawn(async move {
        let alerts = [alert(1, "AAPL", above(1.0), 0)];
        let mut log = log;
        let mut refused = 0;
        for _ in 0..300 {
            match store.create(&log, &alerts).await {
                Ok(_) => {}
                Err(StoreError::AnotherLog(_)) => {
                    refused += 1;
                    log = store.follow("market_ticks", PARTITIONS).await.expect("a log");
                }
                Err(error) => panic!("{error}"),
            }
        }
        refused
    });
    let mut rebuilds = 0;
    while !creating.is_finished() {
        let rearm = Rearm { partition: |_: &str| 0, offset: |_| 0 };
        fixture.store.rebuild("market_ticks", PARTITIONS, rearm).await.expect("rebuilt");
        rebuilds += 1;
    }
    let refused = creating.await.expect("no panic");
    assert!(rebuilds > 3 && refused > 0, "{rebuilds} rebuilds, {refused} refused");
    let lost = "SELECT count(*) FROM alerts WHERE armed_log NOT IN (SELECT log_id FROM logs)";
    assert_eq!(testkit::postgresql().execute(&fixture.url, lost), "0");
}
