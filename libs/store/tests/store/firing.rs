use std::collections::BTreeSet;
use std::time::Duration;

use store::{Condition, Filter, Status};

use crate::support::{Fixture, alert, firing, price};

const LEASE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_firing_is_stored_and_boxed_with_all_that_it_says() {
    let fixture = Fixture::new().await;
    let alerts = [alert(3, "AAPL", Condition::Above, 100.5, 0)];
    let created = fixture.store.create(&fixture.log, &alerts).await.expect("created");
    let id = created[0].id;
    assert_eq!(fixture.fire(&fixture.store, &[firing(id)]).await, [id]);

    let listed = fixture.store.list(Filter::default(), 0, 10).await.expect("a list");
    assert_eq!(listed[0].status, Status::Triggered);
    assert!(listed[0].triggered_at >= Some(listed[0].created_at));

    let leased = fixture.store.lease(10, LEASE).await.expect("leased");
    let [found] = &leased[..] else { panic!("{leased:?}") };
    assert_eq!((found.alert_id, found.generation, found.user_id), (id, 1, 3));
    assert_eq!((&*found.symbol, found.condition), ("AAPL", Condition::Above));
    assert_eq!((found.target_price, found.price), (price(100.5), price(101.5)));
    assert_eq!((found.log_id, found.partition), (fixture.log.id, 0));
    assert_eq!((found.sequence.offset, found.sequence.index), (42, 3));
    assert_eq!(found.trade_time, 1_700_000_000_123);
    assert_eq!(Some(found.fired_at), listed[0].triggered_at);
}

#[tokio::test]
async fn only_what_is_active_in_that_generation_fires() {
    let fixture = Fixture::new().await;
    let ids: Vec<i64> = fixture.create(7).await.iter().map(|created| created.id).collect();
    let postgresql = testkit::postgresql();
    for (index, status) in [(1, 2), (2, 3), (3, 4), (4, 5)] {
        let id = ids[index];
        postgresql
            .execute(&fixture.url, &format!("UPDATE alerts SET status = {status} WHERE id = {id}"));
    }
    let change = format!("UPDATE alerts SET generation = 2 WHERE id IN ({}, {})", ids[5], ids[6]);
    postgresql.execute(&fixture.url, &change);
    let mut firings: Vec<_> = ids.iter().map(|id| firing(*id)).collect();
    firings[6].generation = 2;
    firings.push(firing(i64::MAX));
    assert_eq!(fixture.fire(&fixture.store, &firings).await, [ids[0], ids[6]]);
    assert_eq!(fixture.fire(&fixture.store, &firings).await, [] as [i64; 0], "not twice");
    assert_eq!(fixture.store.lease(10, LEASE).await.expect("leased").len(), 2);
}

/// Two owners of one partition decide the same; each alert is admitted to one of them.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_owners_who_fire_the_same_one_is_admitted() {
    let fixture = Fixture::new().await;
    let other = fixture.another();
    for round in 0..10 {
        let ids: BTreeSet<i64> =
            fixture.create(2_000).await.iter().map(|created| created.id).collect();
        let forward: Vec<_> = ids.iter().map(|id| firing(*id)).collect();
        let backward: Vec<_> = ids.iter().rev().map(|id| firing(*id)).collect();
        let (here, there) =
            tokio::join!(fixture.fire(&fixture.store, &forward), fixture.fire(&other, &backward));
        assert_eq!(here.len() + there.len(), ids.len(), "round {round}");
        assert_eq!(here.into_iter().chain(there).collect::<BTreeSet<_>>(), ids);
    }
    let counted = "SELECT count(*) || ' ' || count(DISTINCT alert_id) FROM firings";
    assert_eq!(testkit::postgresql().execute(&fixture.url, counted), "20000 20000");
}

#[tokio::test]
async fn the_ids_of_firings_follow_the_log() {
    let fixture = Fixture::new().await;
    let ids: Vec<i64> = fixture.create(20).await.iter().map(|created| created.id).collect();
    let firings: Vec<_> = (0..)
        .zip(&ids)
        .map(|(n, id)| {
            let mut firing = firing(*id);
            firing.sequence.offset = (n * 7) % 20;
            firing
        })
        .collect();
    fixture.fire(&fixture.store, &firings).await;
    let leased = fixture.store.lease(20, LEASE).await.expect("leased");
    let offsets: Vec<i64> = leased.iter().map(|firing| firing.sequence.offset).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lease_is_one_publishers_until_it_ends() {
    let fixture = Fixture::new().await;
    let ids: Vec<i64> = fixture.create(5).await.iter().map(|created| created.id).collect();
    let firings: Vec<_> = ids.iter().map(|id| firing(*id)).collect();
    fixture.fire(&fixture.store, &firings).await;
    let other = fixture.another();

    let first = fixture.store.lease(3, LEASE).await.expect("leased");
    let second = other.lease(10, Duration::ZERO).await.expect("leased");
    assert_eq!((first.len(), second.len()), (3, 2));
    assert!(first[2].id < second[0].id, "oldest first");
    // The second lease has ended at once, and nothing of it was published.
    assert_eq!(other.lease(10, LEASE).await.expect("leased"), second);
    assert_eq!(other.lease(10, LEASE).await.expect("leased"), []);
    let done: Vec<i64> = first.iter().chain(&second).map(|firing| firing.id).collect();
    fixture.store.published(&done).await.expect("published");
    let left = testkit::postgresql().execute(&fixture.url, "SELECT count(*) FROM outbox");
    assert_eq!(left, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_at_once_share_the_outbox() {
    let fixture = Fixture::new().await;
    let ids: Vec<i64> = fixture.create(400).await.iter().map(|created| created.id).collect();
    let firings: Vec<_> = ids.iter().map(|id| firing(*id)).collect();
    fixture.fire(&fixture.store, &firings).await;
    let publishers: Vec<_> = (0..4)
        .map(|_| {
            let store = fixture.another();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let leased = store.lease(10, LEASE).await.expect("leased");
                    if leased.is_empty() {
                        return mine;
                    }
                    mine.extend(leased.iter().map(|firing| firing.alert_id));
                }
            })
        })
        .collect();
    let mut published = Vec::new();
    for publisher in publishers {
        published.extend(publisher.await.expect("no panic"));
    }
    published.sort_unstable();
    assert_eq!(published, ids, "each to one publisher");
}
