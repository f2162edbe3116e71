use std::collections::BTreeSet;

use store::{Cursor, Firing, NewFiring, Of, Reader, Store};
use triggers::Version;

use crate::support::{Fixture, above, alert, every, firing, user};

async fn fire_some(fixture: &Fixture, store: &Store, count: usize) -> Vec<i64> {
    let ids: Vec<i64> = fixture.create(count).await.iter().map(|created| created.id).collect();
    let firings: Vec<NewFiring> = ids.iter().map(|id| firing(*id)).collect();
    fixture.fire(store, &firings).await
}

fn alerts_of(firings: &[Firing]) -> Vec<i64> {
    firings.iter().map(|firing| firing.alert_id).collect()
}

#[tokio::test]
async fn firings_are_listed_the_newest_first() {
    let fixture = Fixture::new().await;
    let mut alerts = [1, 2, 1].map(|user| alert(user, "AAPL", above(100.0), 0));
    alerts[0].wish.terms = every(above(100.0), 0);
    let ids: Vec<i64> =
        fixture.create_all(&alerts).await.iter().map(|created| created.id).collect();
    let again =
        |generation| NewFiring { version: Version { revision: 0, generation }, ..firing(ids[0]) };
    let all = [again(1), firing(ids[1]), again(2), firing(ids[2]), again(3)];
    for firing in all {
        fixture.fire(&fixture.store, &[firing]).await;
    }
    let list =
        async |of, before, limit| fixture.store.firings(of, before, limit).await.expect("a list");
    let everything = list(Of::Everybody, i64::MAX, 10).await;
    assert_eq!(alerts_of(&everything), [ids[0], ids[2], ids[0], ids[1], ids[0]]);
    assert_eq!(list(Of::Everybody, everything[1].id, 2).await, everything[2..4]);
    let of_user = list(Of::User(user(1)), i64::MAX, 10).await;
    assert_eq!(alerts_of(&of_user), [ids[0], ids[2], ids[0], ids[0]]);
    let of_alert = list(Of::Alert(ids[0]), i64::MAX, 10).await;
    let generations: Vec<i32> = of_alert.iter().map(|firing| firing.generation).collect();
    assert_eq!(generations, [3, 2, 1]);
    assert_eq!(list(Of::Alert(ids[0]), of_alert[1].id, 10).await, of_alert[2..]);
    assert_eq!(of_alert[0].received_at, firing(0).received_at);
    assert_eq!(list(Of::Alert(i64::MAX), i64::MAX, 10).await, []);
}

#[tokio::test]
async fn whoever_follows_firings_is_given_each_once() {
    let fixture = Fixture::new().await;
    fire_some(&fixture, &fixture.store, 3).await;
    let mut reader = fixture.store.reader().await.expect("connected");
    let mut cursor = reader.now().await.expect("now");
    let mut given = BTreeSet::new();
    for round in 0..5 {
        let fired = fire_some(&fixture, &fixture.store, round).await;
        let (firings, next) = since(&mut reader, &cursor).await;
        cursor = next;
        assert_eq!(alerts_of(&firings), fired);
        assert!(firings.iter().all(|firing| given.insert(firing.id)), "each once");
    }
}

/// Firings that commit in another order than they were begun are given all the same, and to
/// whoever goes on from one that it has, too.
#[tokio::test]
async fn a_firing_that_was_uncommitted_is_given_later_and_after_a_resume() {
    let fixture = Fixture::new().await;
    let mut reader = fixture.store.reader().await.expect("connected");
    let cursor = reader.now().await.expect("now");
    let pool = sqlx::PgPool::connect(&fixture.url).await.expect("a pool");
    let mut slow = pool.begin().await.expect("a transaction");
    let insert = format!(
        "INSERT INTO firings (alert_id, generation, user_id, symbol, condition, target_price,
            price, trade_time, log_id, partition, record_offset, record_index)
        VALUES (77, 1, 1, 'AAPL', 1, 1.0, 1.0, 1, '{}', 0, 0, 0)",
        fixture.log.id
    );
    sqlx::query(sqlx::AssertSqlSafe(insert)).execute(&mut *slow).await.expect("inserted");
    let fast = fire_some(&fixture, &fixture.store, 1).await;
    let (firings, cursor) = since(&mut reader, &cursor).await;
    assert_eq!(alerts_of(&firings), fast);
    let seen = firings[0].id;
    let later = fire_some(&fixture, &fixture.store, 2).await;
    slow.commit().await.expect("committed");
    let (firings, cursor) = since(&mut reader, &cursor).await;
    let mut expected = vec![77];
    expected.extend(&later);
    assert_eq!(alerts_of(&firings), expected);

    // One who has seen the fast one and goes on from there is given all that it has not seen.
    let place = fixture.store.horizon_of(seen).await.expect("looked up").expect("it is there");
    let mut given = Vec::new();
    let mut place = Some(place);
    while let Some(from) = place {
        let page = fixture.store.firings_from(&from, &cursor, None, None, 2);
        let page = page.await.expect("a page");
        given.extend(alerts_of(&page.0));
        place = page.1;
    }
    let mut expected: Vec<i64> = [fast, later, vec![77]].concat();
    expected.sort_unstable();
    given.sort_unstable();
    assert_eq!(given, expected, "what it has seen, once more, among them");
    assert_eq!(fixture.store.horizon_of(i64::MAX).await.expect("looked up"), None);
    let nobodys = user(77);
    let begin = fixture.store.horizon_of(seen).await.expect("looked up").expect("it is there");
    let page = fixture.store.firings_from(&begin, &cursor, Some(nobodys), None, 2).await;
    assert_eq!(page.expect("a page"), (Vec::new(), None));
}

/// A dump carries the ids of transactions that the database it is restored to may yet have to
/// come to.
#[tokio::test]
async fn in_a_restored_database_whoever_goes_on_from_a_firing_misses_none() {
    let fixture = Fixture::new().await;
    fire_some(&fixture, &fixture.store, 1).await;
    fixture.execute("UPDATE firings SET xid = '1000000000', horizon = '1000000000'");
    let seen = fixture.execute("SELECT max(id) FROM firings").parse().expect("an id");
    let fired = fire_some(&fixture, &fixture.store, 2).await;
    let mut reader = fixture.store.reader().await.expect("connected");
    let until = reader.now().await.expect("now");
    let place = fixture.store.horizon_of(seen).await.expect("looked up").expect("it is there");
    let page = fixture.store.firings_from(&place, &until, None, None, 10).await;
    assert_eq!(alerts_of(&page.expect("a page").0), fired);
}

async fn since(reader: &mut Reader, cursor: &Cursor) -> (Vec<Firing>, Cursor) {
    let mut firings = Vec::new();
    let next = reader.firings_since(cursor, |some| firings.extend(some)).await;
    (firings, next.expect("firings"))
}
