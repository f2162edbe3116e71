use market::Sequence;
use store::{Cursor, Status};
use triggers::{AlertId, Condition, Progress, Version};
use uuid::Uuid;

use crate::support::{FIRST, Fixture, above, alert, checkpoint, firing, percent, price};

fn progress(id: i64, offset: i64) -> Progress {
    Progress {
        id: AlertId(id),
        version: FIRST,
        armed_at: Sequence { offset, index: 2 },
        latched: false,
        reference: Some(price(100.0)),
    }
}

#[tokio::test]
async fn an_alert_moves_forward_only_and_nobody_hears_of_it() {
    let fixture = Fixture::new().await;
    let rises = Condition::RisesPercent(percent(10.0));
    let alerts = vec![alert(1, "AAPL", rises, 0); 3];
    let ids: Vec<i64> =
        fixture.create_all(&alerts).await.iter().map(|created| created.id).collect();
    let before = fixture.load(&fixture.log, &[0]).await;
    fixture.fire(&fixture.store, &[firing(ids[2])]).await;
    let mut stale = progress(ids[1], 50);
    stale.version = Version { revision: 0, generation: 2 };
    let moves = [progress(ids[0], 50), stale, progress(ids[2], 50)];
    fixture.store.advance(&moves).await.expect("moved");
    let mut older = progress(ids[0], 49);
    older.reference = Some(price(7.0));
    fixture.store.advance(&[older]).await.expect("passed over");
    let mut later = progress(ids[0], 60);
    later.reference = Some(price(101.0));
    fixture.store.advance(&[progress(ids[0], 55), later]).await.expect("the last holds");

    let loaded = fixture.load(&fixture.log, &[0]).await.alerts;
    let found: Vec<_> =
        loaded.iter().map(|alert| (alert.id, alert.armed_at, alert.reference)).collect();
    let moved = (ids[0], Sequence { offset: 60, index: 2 }, Some(price(101.0)));
    assert_eq!(found, [moved, (ids[1], Sequence::of_record(7), None)]);
    let mut heard = Vec::new();
    let mut reader = fixture.store.reader().await.expect("connected");
    let changes = reader.changes(&fixture.log, &[0], &before.cursor, |state| heard.push(state));
    changes.await.expect("changes");
    let heard: Vec<_> = heard.iter().map(|state| (state.id, state.status)).collect();
    assert_eq!(heard, [(ids[2], Status::Triggered)], "of the firing alone");
}

/// What a checkpoint has seen is said of each alert, all as of one moment.
#[tokio::test]
async fn an_owner_is_told_which_alerts_its_checkpoint_has_judged() {
    let fixture = Fixture::new().await;
    let old = fixture.create(2).await;
    let seen = fixture.load(&fixture.log, &[0]).await.cursor;
    let mut stored = checkpoint(0, 100, "history");
    stored.seen = Some(seen.clone());
    fixture.store.checkpoint(&fixture.log, &[stored.clone()]).await.expect("stored");
    let new = fixture.create(1).await[0].id;
    fixture.execute(&format!(
        "UPDATE alerts SET changed_xid = pg_current_xact_id() WHERE id = {}",
        old[1].id
    ));
    let loaded = fixture.load(&fixture.log, &[0]).await;
    assert_eq!(loaded.checkpoints, [stored]);
    let judged: Vec<_> = loaded.alerts.iter().map(|alert| (alert.id, alert.is_judged)).collect();
    assert_eq!(judged, [(old[0].id, true), (old[1].id, false), (new, false)]);
    assert_eq!(Cursor::parse(seen.as_str()), Some(seen));
}

#[tokio::test]
async fn the_database_remembers_the_latest_snapshots() {
    let fixture = Fixture::new().await;
    let ids: Vec<Uuid> = (0..40).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        fixture.store.remember_snapshot(fixture.log.id, 2, *id).await.expect("remembered");
    }
    fixture.store.remember_snapshot(fixture.log.id, 3, Uuid::now_v7()).await.expect("another's");
    let mut reader = fixture.store.reader().await.expect("connected");
    let loading = reader.load(&fixture.log, &[2]).await.expect("looked up");
    let mut remembered: Vec<Uuid> = loading.snapshots.iter().map(|(_, id)| *id).collect();
    remembered.sort_unstable();
    assert_eq!(remembered, ids[ids.len() - 33..], "32, and the one that came last");
}

#[tokio::test]
async fn an_alert_expires_once_its_owner_says_so() {
    let fixture = Fixture::new().await;
    let mut alerts = vec![alert(1, "AAPL", above(100.0), 0); 4];
    for (alert, expiry) in alerts.iter_mut().zip([Some(3_000), Some(1_000), None, Some(2_000)]) {
        alert.wish.expires_at = expiry;
    }
    alerts[3].wish.partition = 1;
    let ids: Vec<i64> =
        fixture.create_all(&alerts).await.iter().map(|created| created.id).collect();
    let expiring = async |partitions: &[i32], after, limit| {
        let found = fixture.store.expiring(&fixture.log, partitions, after, limit).await;
        found.expect("looked for")
    };
    let found = expiring(&[0], (0, 0), 10).await;
    let seen: Vec<_> = found.iter().map(|alert| (alert.id, alert.expires_at)).collect();
    assert_eq!(seen, [(ids[1], 1_000), (ids[0], 3_000)], "the oldest first");
    assert_eq!((&*found[0].symbol, found[0].partition, found[0].version), ("AAPL", 0, FIRST));
    assert_eq!(expiring(&[0], (1_001, 0), 10).await, found[1..]);
    assert_eq!(expiring(&[0, 1], (0, 0), 1).await, found[..1]);

    // One of them was fired meanwhile, by a trade from before.
    let mut early = firing(ids[1]);
    early.trade_time = 999;
    assert_eq!(fixture.fire(&fixture.store, &[early]).await, [ids[1]]);
    assert_eq!(fixture.store.expire(&found).await.expect("expired"), 1);
    assert_eq!(expiring(&[0], (0, 0), 10).await, []);
    let stored = fixture.store.get(ids[0]).await.expect("read").expect("it is there");
    assert_eq!(stored.status, Status::Expired);
    assert_eq!(stored.version, Version { revision: 1, generation: 2 });
}

#[tokio::test]
async fn alerts_that_expire_at_the_same_moment_are_paged_through() {
    let fixture = Fixture::new().await;
    let mut alerts = vec![alert(1, "AAPL", above(100.0), 0); 5];
    for alert in &mut alerts {
        alert.wish.expires_at = Some(1_000);
    }
    alerts[0].wish.expires_at = Some(2_000);
    let mut ids: Vec<i64> =
        fixture.create_all(&alerts).await.iter().map(|created| created.id).collect();
    ids.rotate_left(1);
    let (mut after, mut seen) = ((0, 0), Vec::new());
    loop {
        let page = fixture.store.expiring(&fixture.log, &[0], after, 2).await.expect("looked for");
        let Some(last) = page.last() else { break };
        after = (last.expires_at, last.id);
        seen.extend(page.iter().map(|alert| alert.id));
        assert!(seen.len() <= ids.len(), "{seen:?}");
    }
    assert_eq!(seen, ids, "each once, the oldest expiry first");
}
