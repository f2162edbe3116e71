use store::{Condition, Filter, ListedAlert, Status, StoreError};

use crate::support::{Fixture, PARTITIONS, alert, firing, user};

#[tokio::test]
async fn alerts_are_listed_as_they_were_created() {
    let fixture = Fixture::new().await;
    let alerts = [
        alert(2, "AAPL", Condition::Above, 150.25, 0),
        alert(1, "IC MARKETS:1", Condition::Below, 5e-324, 1),
        alert(i64::MAX, "ÜBER", Condition::Above, f64::MAX, 5),
    ];
    let created = fixture.store.create(&fixture.log, &alerts).await.expect("created");
    let everything = fixture.store.list(Filter::default(), 0, 10).await.expect("a list");
    let expected: Vec<ListedAlert> = alerts
        .iter()
        .zip(&created)
        .map(|(alert, created)| ListedAlert {
            id: created.id,
            user_id: alert.user_id.get(),
            symbol: alert.symbol.as_str().to_owned(),
            condition: alert.condition,
            target_price: alert.target_price,
            status: Status::Active,
            generation: 1,
            created_at: created.created_at,
            triggered_at: None,
        })
        .collect();
    assert_eq!(everything, expected);
    assert!(created.is_sorted_by_key(|created| created.id));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let age = now.as_millis() as i64 - created[0].created_at;
    assert!((0..60_000).contains(&age), "{age} ms");
}

#[tokio::test]
async fn many_alerts_are_answered_in_their_order() {
    let fixture = Fixture::new().await;
    let alerts: Vec<_> =
        (1..=3_000).map(|user| alert(user, "AAPL", Condition::Above, 1.0, 0)).collect();
    let created = fixture.store.create(&fixture.log, &alerts).await.expect("created");
    let listed = fixture.store.list(Filter::default(), 0, 10_000).await.expect("a list");
    for ((alert, created), listed) in alerts.iter().zip(&created).zip(&listed) {
        assert_eq!((alert.user_id.get(), created.id), (listed.user_id, listed.id));
    }
    assert_eq!((created.len(), listed.len()), (3_000, 3_000));
}

#[tokio::test]
async fn a_list_is_filtered_and_paged() {
    let fixture = Fixture::new().await;
    let alerts: Vec<_> =
        (0..10).map(|n| alert(1 + n % 2, "AAPL", Condition::Above, 1.0, 0)).collect();
    let ids: Vec<i64> = fixture
        .store
        .create(&fixture.log, &alerts)
        .await
        .expect("created")
        .iter()
        .map(|created| created.id)
        .collect();
    fixture.fire(&fixture.store, &[firing(ids[0]), firing(ids[1])]).await;
    testkit::postgresql()
        .execute(&fixture.url, &format!("UPDATE alerts SET status = 5 WHERE id = {}", ids[2]));

    let check = async |user_id: Option<i64>, active_only, after, limit, expected: &[usize]| {
        let filter = Filter { user_id: user_id.map(user), active_only };
        let listed = fixture.store.list(filter, after, limit).await.expect("a list");
        let found: Vec<i64> = listed.iter().map(|alert| alert.id).collect();
        let expected: Vec<i64> = expected.iter().map(|index| ids[*index]).collect();
        assert_eq!(found, expected, "{filter:?} after {after}");
    };
    check(None, false, 0, 100, &[0, 1, 3, 4, 5, 6, 7, 8, 9]).await;
    check(None, true, 0, 100, &[3, 4, 5, 6, 7, 8, 9]).await;
    check(Some(1), false, 0, 100, &[0, 4, 6, 8]).await;
    check(Some(1), true, 0, 100, &[4, 6, 8]).await;
    check(Some(3), false, 0, 100, &[]).await;
    check(None, false, 0, 3, &[0, 1, 3]).await;
    check(None, false, ids[3], 3, &[4, 5, 6]).await;
    check(None, true, ids[8], 3, &[9]).await;
    check(Some(2), true, ids[3], 2, &[5, 7]).await;
    check(None, false, ids[9], 3, &[]).await;
}

#[tokio::test]
async fn an_owner_loads_what_is_armed_on_its_partitions() {
    let fixture = Fixture::new().await;
    let alerts: Vec<_> = (0..PARTITIONS)
        .map(|partition| alert(1, "AAPL", Condition::Below, 3.5, partition))
        .collect();
    let created = fixture.store.create(&fixture.log, &alerts).await.expect("created");
    fixture.fire(&fixture.store, &[firing(created[1].id)]).await;
    let mut armed = Vec::new();
    let mut reader = fixture.store.reader().await.expect("connected");
    let loaded = reader.armed(&fixture.log, &[0, 1, 4], |alert| armed.push(alert));
    loaded.await.expect("loaded");
    armed.sort_unstable_by_key(|alert| alert.partition);
    assert_eq!(armed.iter().map(|alert| alert.partition).collect::<Vec<_>>(), [0, 4]);
    let first = &armed[0];
    assert_eq!(first.id, created[0].id);
    assert_eq!((first.armed_log, first.armed_offset), (fixture.log.id, 7));
    assert_eq!((first.condition, first.target_price.get()), (Condition::Below, 3.5));
    assert_eq!((first.status, first.generation, first.version), (Status::Active, 1, 1));
}

#[tokio::test]
async fn a_log_that_is_not_followed_takes_no_alerts() {
    let fixture = Fixture::new().await;
    let mut other = fixture.log.clone();
    other.id = uuid::Uuid::now_v7();
    let alerts = [alert(1, "AAPL", Condition::Above, 1.0, 0)];
    let refused = fixture.store.create(&other, &alerts).await;
    assert!(matches!(refused, Err(StoreError::AnotherLog(_))), "{refused:?}");
    assert_eq!(fixture.store.list(Filter::default(), 0, 10).await.expect("a list"), []);
}

#[tokio::test]
async fn a_row_of_a_newer_version_is_not_guessed_at() {
    let fixture = Fixture::new().await;
    let created = fixture.create(1).await;
    testkit::postgresql().execute(
        &fixture.url,
        "ALTER TABLE alerts DROP CONSTRAINT alerts_condition_check; UPDATE alerts SET condition = 9",
    );
    let refused = fixture.store.list(Filter::default(), 0, 10).await.expect_err("refused");
    let id = created[0].id;
    let sentence = format!("alert {id} has condition 9, which this version does not know");
    assert!(refused.to_string().ends_with(&sentence), "{refused}");
}
