use market::Sequence;
use store::{Alert, AlertState, CreatedAlert, Cursor, Filter, NewAlert, Status, StoreError};
use triggers::{Condition, PriceRange, Repeat, Terms};

use crate::support::{
    FIRST, Fixture, PARTITIONS, above, alert, below, every, firing, percent, price, user,
};

#[tokio::test]
async fn alerts_are_listed_as_they_were_created() {
    let fixture = Fixture::new().await;
    let alerts = [
        alert(2, "AAPL", above(150.25), 0),
        alert(1, "IC MARKETS:1", below(5e-324), 1),
        alert(i64::MAX, "ÜBER", above(f64::MAX), 5),
    ];
    let created = fixture.create_all(&alerts).await;
    let everything = fixture.store.list(&Filter::default(), 0, 10).await.expect("a list");
    assert_eq!(everything, as_listed(&alerts, &created));
    assert!(created.is_sorted_by_key(|created| created.id));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let age = now.as_millis() as i64 - created[0].created_at;
    assert!((0..60_000).contains(&age), "{age} ms");
}

fn as_listed(alerts: &[NewAlert], created: &[CreatedAlert]) -> Vec<Alert> {
    let listed = |(alert, created): (&NewAlert, &CreatedAlert)| Alert {
        id: created.id,
        user_id: alert.wish.user_id.get(),
        symbol: alert.wish.symbol.as_str().to_owned(),
        terms: alert.wish.terms,
        status: Status::Active,
        version: FIRST,
        row_version: 1,
        created_at: created.created_at,
        triggered_at: None,
        expires_at: alert.wish.expires_at,
        note: alert.wish.note.clone(),
    };
    alerts.iter().zip(created).map(listed).collect()
}

/// One of each condition, and of each way to repeat.
fn every_kind() -> Vec<NewAlert> {
    let range = |lower, upper| PriceRange::new(price(lower), price(upper)).expect("a range");
    let conditions = [
        above(0.1),
        below(f64::MAX),
        Condition::CrossesAbove(price(5e-324)),
        Condition::CrossesBelow(price(2.0)),
        Condition::Crosses(price(3.0)),
        Condition::EntersRange(range(0.1, 0.2)),
        Condition::LeavesRange(range(1.0, f64::MAX)),
        Condition::RisesPercent(percent(1_000_000.0)),
        Condition::FallsPercent(percent(99.999)),
        Condition::TrailingDrop(percent(0.001)),
        Condition::TrailingRise(percent(33.333)),
    ];
    let mut alerts: Vec<NewAlert> =
        conditions.iter().map(|condition| alert(1, "AAPL", *condition, 0)).collect();
    for (number, condition) in conditions.iter().enumerate() {
        let mut repeating = alert(1, "ÜBER", *condition, 0);
        repeating.wish.terms = every(*condition, u32::MAX - number as u32);
        repeating.wish.expires_at = Some(4_102_444_800_123 + number as i64);
        repeating.wish.note = Some("sell\n\t½".to_owned());
        repeating.armed_offset = i64::MAX;
        alerts.push(repeating);
    }
    let hysteresis = Some(percent(0.5));
    let terms = Terms::new(above(1.0), Some(Repeat { cooldown: 0, hysteresis }));
    let mut latching = alert(1, "AAPL", above(1.0), 0);
    latching.wish.terms = terms.expect("good terms");
    alerts.push(latching);
    alerts
}

#[tokio::test]
async fn every_kind_of_alert_is_stored_one_by_one_and_in_bulk() {
    let fixture = Fixture::new().await;
    let alerts = every_kind();
    let mut created = fixture.create_all(&alerts).await;
    let many = fixture.store.create_many(&fixture.log, &alerts).await.expect("created");
    created.extend(many.expect("no quota is set"));
    let twice = [alerts.clone(), alerts.clone()].concat();
    let expected = as_listed(&twice, &created);
    assert_eq!(fixture.store.list(&Filter::default(), 0, 100).await.expect("a list"), expected);
    for alert in &expected {
        assert_eq!(fixture.store.get(alert.id).await.expect("read").as_ref(), Some(alert));
    }
    // As owners read them: when they load, and when they hear of changes.
    let loaded = fixture.load(&fixture.log, &[0]).await;
    let beginning = Cursor::parse("1:1:").expect("a cursor");
    let mut changes = Vec::new();
    let mut reader = fixture.store.reader().await.expect("connected");
    let each = |state: AlertState| changes.push(state);
    reader.changes(&fixture.log, &[0], &beginning, each).await.expect("changes");
    changes.sort_unstable_by_key(|state| state.id);
    for found in [&loaded.alerts, &changes] {
        assert_eq!(found.len(), twice.len());
        for ((state, alert), listed) in found.iter().zip(&twice).zip(&expected) {
            assert_eq!((state.id, state.version), (listed.id, FIRST));
            assert_eq!((&state.symbol, state.terms), (&listed.symbol, listed.terms));
            assert_eq!(state.armed_at, Sequence::of_record(alert.armed_offset));
            let age = state.changed_at / 1_000 - listed.created_at;
            assert!((-1..=1).contains(&age), "changed {age} ms after it was made");
        }
    }
}

#[tokio::test]
async fn a_list_shows_what_is_asked_for() {
    let fixture = Fixture::new().await;
    let mut alerts: Vec<NewAlert> = (0..12)
        .map(|n| alert(1 + n % 2, if n < 6 { "AAPL" } else { "MSFT" }, above(1.0), 0))
        .collect();
    // The last two expire in a moment.
    let soon = now() + 300;
    alerts.iter_mut().skip(10).for_each(|alert| alert.wish.expires_at = Some(soon));
    let created = fixture.create_all(&alerts).await;
    let ids: Vec<i64> = created.iter().map(|created| created.id).collect();
    let statuses = [2, 3, 4, 5];
    for (id, status) in ids.iter().zip(statuses) {
        fixture.execute(&format!("UPDATE alerts SET status = {status} WHERE id = {id}"));
    }
    let check = async |user_id: Option<i64>,
                       symbol: Option<&str>,
                       statuses: &[Status],
                       expected: &[usize]| {
        let statuses = (!statuses.is_empty()).then(|| statuses.to_vec());
        let symbol = symbol.map(str::to_owned);
        let filter = Filter { user_id: user_id.map(user), symbol, statuses };
        let listed = fixture.store.list(&filter, 0, 100).await.expect("a list");
        let found: Vec<i64> = listed.iter().map(|alert| alert.id).collect();
        let expected: Vec<i64> = expected.iter().map(|index| ids[*index]).collect();
        assert_eq!(found, expected, "{filter:?}");
    };
    use Status::{Active, Expired, Paused, Triggered};
    check(None, Some("AAPL"), &[], &[0, 1, 2, 4, 5]).await;
    check(None, Some("AAPL"), &[Paused, Expired], &[0, 2]).await;
    check(None, None, &[Triggered], &[1]).await;
    check(Some(1), Some("AAPL"), &[], &[0, 2, 4]).await;
    check(Some(2), None, &[Triggered], &[1]).await;
    check(None, Some("GOOG"), &[], &[]).await;
    // Expired by the clock, whether or not a trade has come since.
    while now() <= soon {
        tokio::task::yield_now().await;
    }
    check(None, None, &[Active], &[4, 5, 6, 7, 8, 9]).await;
    check(None, None, &[Expired], &[2, 10, 11]).await;
    check(None, Some("MSFT"), &[Active], &[6, 7, 8, 9]).await;
    check(Some(1), None, &[Active, Expired], &[2, 4, 6, 8, 10]).await;
    let expired = fixture.store.get(ids[10]).await.expect("read").expect("it is there");
    assert_eq!(expired.status, Expired);
    assert_eq!(fixture.store.get(ids[3]).await.expect("read"), None, "deleted");
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a clock").as_millis() as i64
}

#[tokio::test]
async fn many_alerts_are_answered_in_their_order() {
    let fixture = Fixture::new().await;
    let alerts: Vec<_> = (1..=3_000).map(|user| alert(user, "AAPL", above(1.0), 0)).collect();
    let created = fixture.create_all(&alerts).await;
    let listed = fixture.store.list(&Filter::default(), 0, 10_000).await.expect("a list");
    for ((alert, created), listed) in alerts.iter().zip(&created).zip(&listed) {
        assert_eq!((alert.wish.user_id.get(), created.id), (listed.user_id, listed.id));
    }
    assert_eq!((created.len(), listed.len()), (3_000, 3_000));
}

#[tokio::test]
async fn a_list_is_filtered_and_paged() {
    let fixture = Fixture::new().await;
    let alerts: Vec<_> = (0..10).map(|n| alert(1 + n % 2, "AAPL", above(1.0), 0)).collect();
    let ids: Vec<i64> =
        fixture.create_all(&alerts).await.iter().map(|created| created.id).collect();
    fixture.fire(&fixture.store, &[firing(ids[0]), firing(ids[1])]).await;
    testkit::postgresql()
        .execute(&fixture.url, &format!("UPDATE alerts SET status = 5 WHERE id = {}", ids[2]));

    let check = async |user_id: Option<i64>, active_only, after, limit, expected: &[usize]| {
        let statuses = if active_only { Filter::active().statuses } else { None };
        let filter = Filter { user_id: user_id.map(user), symbol: None, statuses };
        let listed = fixture.store.list(&filter, after, limit).await.expect("a list");
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
    let alerts: Vec<_> =
        (0..PARTITIONS).map(|partition| alert(1, "AAPL", below(3.5), partition)).collect();
    let created = fixture.create_all(&alerts).await;
    fixture.fire(&fixture.store, &[firing(created[1].id)]).await;
    let armed = fixture.load(&fixture.log, &[0, 1, 4]).await.alerts;
    assert_eq!(armed.iter().map(|alert| alert.partition).collect::<Vec<_>>(), [0, 4]);
    let first = &armed[0];
    assert_eq!(first.id, created[0].id);
    assert_eq!((first.armed_at.offset, first.armed_at.index), (7, 0));
    assert_eq!((first.terms.condition(), first.terms.repeat()), (below(3.5), None));
    assert_eq!((first.status, first.version), (Status::Active, FIRST));
    assert_eq!((first.latched, first.asleep_until, first.reference), (false, None, None));
    assert!(!first.is_judged);
}

#[tokio::test]
async fn a_log_that_is_not_followed_takes_no_alerts() {
    let fixture = Fixture::new().await;
    let mut other = fixture.log.clone();
    other.id = uuid::Uuid::now_v7();
    let alerts = [alert(1, "AAPL", above(1.0), 0)];
    let refused = fixture.store.create(&other, &alerts).await;
    assert!(matches!(refused, Err(StoreError::AnotherLog(_))), "{refused:?}");
    assert_eq!(fixture.store.list(&Filter::default(), 0, 10).await.expect("a list"), []);
}

#[tokio::test]
async fn a_row_of_a_newer_version_is_not_guessed_at() {
    let fixture = Fixture::new().await;
    let created = fixture.create(1).await;
    testkit::postgresql().execute(
        &fixture.url,
        "ALTER TABLE alerts DROP CONSTRAINT alerts_condition_check;
            UPDATE alerts SET condition = 12",
    );
    let refused = fixture.store.list(&Filter::default(), 0, 10).await.expect_err("refused");
    let id = created[0].id;
    let sentence = format!("alert {id} has condition 12, which this version does not know");
    assert!(refused.to_string().ends_with(&sentence), "{refused}");
}
