use std::collections::BTreeSet;
use std::time::Duration;

use store::{Filter, NewFiring, Status};
use triggers::{Condition, Version};

use crate::support::{Fixture, above, alert, every, firing, percent, price};

const LEASE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_firing_is_stored_and_boxed_with_all_that_it_says() {
    let fixture = Fixture::new().await;
    let alerts = [alert(3, "AAPL", above(100.5), 0)];
    let id = fixture.create_all(&alerts).await[0].id;
    assert_eq!(fixture.fire(&fixture.store, &[firing(id)]).await, [id]);

    let listed = fixture.store.list(&Filter::default(), 0, 10).await.expect("a list");
    assert_eq!(listed[0].status, Status::Triggered);
    assert!(listed[0].triggered_at >= Some(listed[0].created_at));

    let leased = fixture.store.lease(10, LEASE).await.expect("leased");
    let [found] = &leased[..] else { panic!("{leased:?}") };
    assert_eq!((found.alert_id, found.generation, found.user_id), (id, 1, 3));
    assert_eq!((&*found.symbol, found.condition), ("AAPL", above(100.5)));
    assert_eq!((found.price, found.reference), (price(101.5), None));
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
    firings[6].version.generation = 2;
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

/// A generation of alert 1 fires, so much later.
fn again(id: i64, generation: i32, seconds: i64) -> NewFiring {
    let first = firing(id);
    let sequence = market::Sequence { offset: first.sequence.offset + seconds, index: 0 };
    NewFiring {
        version: Version { revision: 0, generation },
        trade_time: first.trade_time + seconds * 1_000,
        sequence,
        ..first
    }
}

#[tokio::test]
async fn an_alert_that_repeats_goes_on_with_its_next_generation() {
    let fixture = Fixture::new().await;
    let mut alerts = [
        alert(1, "AAPL", above(100.0), 0),
        alert(1, "AAPL", above(100.0), 0),
        alert(1, "AAPL", Condition::TrailingDrop(percent(5.0)), 0),
    ];
    alerts[0].wish.terms = every(above(100.0), 0);
    alerts[1].wish.terms = every(above(100.0), 5_000);
    alerts[2].wish.terms = every(Condition::TrailingDrop(percent(5.0)), 0);
    let ids: Vec<i64> =
        fixture.create_all(&alerts).await.iter().map(|created| created.id).collect();
    let mut firings: Vec<NewFiring> =
        ids.iter().flat_map(|id| [again(*id, 1, 0), again(*id, 2, 10)]).collect();
    firings[5].reference = Some(price(107.0));
    let admitted = fixture.fire(&fixture.store, &firings).await;
    assert_eq!(admitted, [ids[0], ids[0], ids[1], ids[1], ids[2], ids[2]]);

    let armed = fixture.load(&fixture.log, &[0]).await.alerts;
    let last = firing(0).trade_time + 10_000;
    for (alert, (latched, asleep_until)) in
        armed.iter().zip([(true, None), (true, Some(last + 5_000)), (false, None)])
    {
        assert_eq!(alert.status, Status::Active);
        assert_eq!(alert.version, Version { revision: 0, generation: 3 });
        assert_eq!((alert.armed_at.offset, alert.armed_at.index), (52, 1), "past the last one");
        assert_eq!((alert.latched, alert.asleep_until), (latched, asleep_until));
        assert_eq!(alert.reference, None);
    }
    let leased = fixture.store.lease(10, LEASE).await.expect("leased");
    let of_last: Vec<_> = leased
        .iter()
        .filter(|firing| firing.alert_id == ids[2])
        .map(|firing| (firing.generation, firing.reference))
        .collect();
    assert_eq!(of_last, [(1, None), (2, Some(price(107.0)))]);
}

/// The second owner has found more, or less, of the same chain.
#[tokio::test]
async fn of_a_chain_that_two_owners_found_each_link_is_admitted_once() {
    let fixture = Fixture::new().await;
    let mut wished = alert(1, "AAPL", above(100.0), 0);
    wished.wish.terms = every(above(100.0), 0);
    let id = fixture.create_all(&[wished]).await[0].id;
    let chain: Vec<NewFiring> = (1..=6).map(|n| again(id, n, i64::from(n))).collect();
    for (links, admitted) in [
        (&chain[..2], 2),
        (&chain[..4], 2),
        (&chain[1..3], 0),
        // One that does not go on from where the row is.
        (&chain[5..], 0),
        (&chain[2..], 2),
    ] {
        assert_eq!(fixture.fire(&fixture.store, links).await.len(), admitted, "{links:?}");
    }
    let fired = "SELECT string_agg(generation::text, ' ' ORDER BY id) FROM firings";
    assert_eq!(fixture.execute(fired), "1 2 3 4 5 6");
}

/// Between a firing and the next one of the chain somebody has changed the alert.
#[tokio::test]
async fn a_chain_ends_where_its_alert_was_changed() {
    let fixture = Fixture::new().await;
    let mut wished = alert(1, "AAPL", above(100.0), 0);
    wished.wish.terms = every(above(100.0), 0);
    let id = fixture.create_all(&[wished]).await[0].id;
    fixture.execute("UPDATE alerts SET revision = 1, generation = 2");
    let chain = [again(id, 1, 1), again(id, 2, 2), again(id, 3, 3)];
    assert_eq!(fixture.fire(&fixture.store, &chain).await, [] as [i64; 0]);
    let mut changed = again(id, 2, 4);
    changed.version.revision = 1;
    assert_eq!(fixture.fire(&fixture.store, &[changed]).await, [id]);
}

#[tokio::test]
async fn what_comes_at_or_after_its_expiry_does_not_fire_an_alert() {
    let fixture = Fixture::new().await;
    let expiry = firing(0).trade_time + 3_000;
    let mut wished = alert(1, "AAPL", above(100.0), 0);
    wished.wish.expires_at = Some(expiry);
    let mut repeating = wished.clone();
    repeating.wish.terms = every(above(100.0), 0);
    let created = fixture.create_all(&[wished.clone(), wished, repeating]).await;
    let ids: Vec<i64> = created.iter().map(|created| created.id).collect();
    let mut last_moment = again(ids[0], 1, 3);
    last_moment.trade_time -= 1;
    let firings = [
        last_moment,
        again(ids[1], 1, 3),
        again(ids[2], 1, 1),
        again(ids[2], 2, 2),
        again(ids[2], 3, 3),
        again(ids[2], 4, 4),
    ];
    assert_eq!(fixture.fire(&fixture.store, &firings).await, [ids[0], ids[2], ids[2]]);
    let listed = fixture.store.list(&Filter::default(), 0, 10).await.expect("a list");
    let found: Vec<_> = listed.iter().map(|alert| (alert.status, alert.version)).collect();
    let version = |revision, generation| Version { revision, generation };
    assert_eq!(
        found,
        [
            (Status::Triggered, version(0, 1)),
            (Status::Expired, version(1, 2)),
            (Status::Expired, version(1, 4)),
        ]
    );
    assert_eq!(listed[1].triggered_at, None);
    assert!(listed[2].triggered_at.is_some());
}
