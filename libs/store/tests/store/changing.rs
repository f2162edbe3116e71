use market::Sequence;
use store::{Alert, ArmedAt, Change, ChangeError, Patch, Status, StoreError, Target};
use triggers::{Condition, Repeat, Version};

use crate::support::{Fixture, above, alert, below, every, firing, once, percent, user};

const ARMED_AT: ArmedAt = ArmedAt { partition: 3, offset: 90 };

fn target(id: i64) -> Target {
    Target { id, user_id: None, row_version: None }
}

async fn change(fixture: &Fixture, id: i64, change: Change) -> Result<Alert, ChangeError> {
    let armed_at = change.arms().then_some(ARMED_AT);
    fixture.store.change(&fixture.log, target(id), &change, armed_at).await
}

async fn made(fixture: &Fixture, id: i64, what: Change) -> Alert {
    let changed =
        change(fixture, id, what.clone()).await.unwrap_or_else(|e| panic!("{what:?}: {e}"));
    let stored = fixture.store.get(id).await.expect("read");
    if what != Change::Delete {
        assert_eq!(stored, Some(changed.clone()), "what is answered is what is stored");
    }
    changed
}

fn version(revision: u32, generation: i32) -> Version {
    Version { revision, generation }
}

#[tokio::test]
async fn an_alert_is_paused_resumed_rearmed_and_deleted() {
    let fixture = Fixture::new().await;
    let id = fixture.create(1).await[0].id;
    let paused = made(&fixture, id, Change::Pause).await;
    assert_eq!((paused.status, paused.version), (Status::Paused, version(1, 2)));
    assert_eq!(made(&fixture, id, Change::Pause).await, paused, "it is so already");
    assert_eq!(fixture.fire(&fixture.store, &[firing(id)]).await, [] as [i64; 0]);

    let resumed = made(&fixture, id, Change::Resume).await;
    assert_eq!((resumed.status, resumed.version), (Status::Active, version(2, 3)));
    assert_eq!(made(&fixture, id, Change::Resume).await, resumed, "it is so already");
    // What was found of it before is another generation's.
    assert_eq!(fixture.fire(&fixture.store, &[firing(id)]).await, [] as [i64; 0]);
    let mut found = firing(id);
    found.version = version(2, 3);
    assert_eq!(fixture.fire(&fixture.store, &[found]).await, [id]);

    for asked in [Change::Pause, Change::Resume] {
        let refused = change(&fixture, id, asked).await.expect_err("it has fired");
        assert!(matches!(refused, ChangeError::Status { is: Status::Triggered, .. }), "{refused}");
    }
    let rearmed = made(&fixture, id, Change::Rearm).await;
    assert_eq!((rearmed.status, rearmed.version), (Status::Active, version(3, 4)));
    assert!(rearmed.triggered_at.is_some());
    let armed = fixture.load(&fixture.log, &[3]).await.alerts;
    assert_eq!((armed[0].id, armed[0].armed_at), (id, Sequence::of_record(90)), "from now on");

    assert_eq!(made(&fixture, id, Change::Delete).await.status, Status::Deleted);
    assert_eq!(fixture.store.get(id).await.expect("read"), None);
    for asked in [Change::Pause, Change::Rearm, Change::Delete] {
        let refused = change(&fixture, id, asked).await.expect_err("it is gone");
        assert!(matches!(refused, ChangeError::NotFound(_)), "{refused}");
    }
    assert_eq!(fixture.execute("SELECT count(*) FROM alerts WHERE status = 5"), "1");
}

#[tokio::test]
async fn a_patch_begins_a_new_generation_unless_it_decides_nothing() {
    let fixture = Fixture::new().await;
    let mut wished = alert(1, "AAPL", above(100.0), 0);
    wished.wish.terms = every(above(100.0), 0);
    let id = fixture.create_all(&[wished]).await[0].id;
    fixture.fire(&fixture.store, &[firing(id)]).await;

    let note = Patch { note: Some(Some("look".into())), ..Patch::default() };
    let noted = made(&fixture, id, Change::Patch(note.clone())).await;
    assert_eq!((noted.note.as_deref(), noted.version), (Some("look"), version(0, 2)));
    assert_eq!(noted.row_version, 3);
    assert_eq!(made(&fixture, id, Change::Patch(note)).await.row_version, 3, "nothing changes");
    let state = &fixture.load(&fixture.log, &[0]).await.alerts[0];
    assert!(state.latched && state.armed_at.offset == 42, "it goes on: {state:?}");

    let hysteresis = Some(percent(1.0));
    let patch = Patch {
        condition: Some(below(50.0)),
        repeat: Some(Some(Repeat { cooldown: 5, hysteresis })),
        expires_at: Some(Some(4_102_444_800_000)),
        note: Some(None),
    };
    let patched = made(&fixture, id, Change::Patch(patch)).await;
    assert_eq!(patched.version, version(1, 3));
    assert_eq!(patched.terms.condition(), below(50.0));
    assert_eq!(patched.terms.repeat(), Some(Repeat { cooldown: 5, hysteresis }));
    assert_eq!((patched.expires_at, patched.note), (Some(4_102_444_800_000), None));
    let state = &fixture.load(&fixture.log, &[3]).await.alerts[0];
    assert_eq!((state.latched, state.asleep_until, state.reference), (false, None, None));
    assert_eq!(state.armed_at, Sequence::of_record(90));

    let patch = Patch { repeat: Some(None), expires_at: Some(None), ..Patch::default() };
    let patched = made(&fixture, id, Change::Patch(patch)).await;
    assert_eq!((patched.terms, patched.expires_at), (once(below(50.0)), None));

    // What was paused stays so.
    made(&fixture, id, Change::Pause).await;
    let patch = Patch { condition: Some(above(60.0)), ..Patch::default() };
    assert_eq!(made(&fixture, id, Change::Patch(patch)).await.status, Status::Paused);

    let falls = Condition::FallsPercent(percent(100.0));
    let patch = Patch { condition: Some(falls), ..Patch::default() };
    let refused = change(&fixture, id, Change::Patch(patch)).await.expect_err("no such terms");
    assert!(matches!(refused, ChangeError::Terms(_)), "{refused}");
}

#[tokio::test]
async fn an_alert_past_its_expiry_is_not_armed_before_that_is_changed() {
    let fixture = Fixture::new().await;
    let mut wished = alert(1, "AAPL", above(100.0), 0);
    wished.wish.expires_at = Some(1_000);
    let id = fixture.create_all(&[wished]).await[0].id;
    let refused = change(&fixture, id, Change::Rearm).await.expect_err("it has expired");
    assert!(matches!(refused, ChangeError::Expired(_)), "{refused}");
    let refused = change(&fixture, id, Change::Pause).await.expect_err("it has expired");
    assert!(matches!(refused, ChangeError::Status { is: Status::Expired, .. }), "{refused}");
    let patch = Patch { expires_at: Some(Some(4_102_444_800_000)), ..Patch::default() };
    let patched = made(&fixture, id, Change::Patch(patch)).await;
    assert_eq!(patched.status, Status::Expired, "until it is armed again");
    assert_eq!(made(&fixture, id, Change::Rearm).await.status, Status::Active);
}

/// Where the log ends is looked up before the row is locked: it may fire in between.
#[tokio::test]
async fn an_alert_that_has_just_fired_is_not_armed_on_that_trade_again() {
    let fixture = Fixture::new().await;
    let id = fixture.create(1).await[0].id;
    let mut found = firing(id);
    found.sequence = Sequence { offset: ARMED_AT.offset + 7, index: 2 };
    assert_eq!(fixture.fire(&fixture.store, &[found]).await, [id]);
    made(&fixture, id, Change::Rearm).await;
    let armed = fixture.load(&fixture.log, &[3]).await.alerts;
    assert_eq!(armed[0].armed_at, found.sequence.next());
}

#[tokio::test]
async fn a_note_is_changed_without_a_look_at_the_log() {
    let fixture = Fixture::new().await;
    let id = fixture.create(1).await[0].id;
    let patch = Change::Patch(Patch { note: Some(Some("mine".into())), ..Patch::default() });
    assert!(!patch.arms());
    let patched = fixture.store.change(&fixture.log, target(id), &patch, None).await;
    let patched = patched.expect("changed");
    assert_eq!((patched.note.as_deref(), patched.version), (Some("mine"), version(0, 1)));
}

#[tokio::test]
async fn a_change_is_its_users_and_of_the_version_that_is_meant() {
    let fixture = Fixture::new().await;
    let id = fixture.create(1).await[0].id;
    let change = async |user_id, row_version| {
        let target = Target { id, user_id, row_version };
        fixture.store.change(&fixture.log, target, &Change::Rearm, Some(ARMED_AT)).await
    };
    let refused = change(Some(user(2)), None).await.expect_err("another user's");
    assert!(matches!(refused, ChangeError::NotFound(_)), "{refused}");
    assert_eq!(change(Some(user(1)), Some(1)).await.expect("changed").row_version, 2);
    let refused = change(None, Some(1)).await.expect_err("changed meanwhile");
    assert!(matches!(refused, ChangeError::Version { found: 2, .. }), "{refused}");
    let mut other = fixture.log.clone();
    other.id = uuid::Uuid::now_v7();
    let refused = fixture.store.change(&other, target(id), &Change::Pause, None).await;
    let refused = refused.expect_err("another log");
    assert!(matches!(refused, ChangeError::Store(StoreError::AnotherLog(_))), "{refused}");
}

#[tokio::test]
async fn an_alert_that_was_changed_too_often_can_still_be_stopped() {
    let fixture = Fixture::new().await;
    let id = fixture.create(1).await[0].id;
    let most = Version::MOST;
    fixture.execute(&format!("UPDATE alerts SET revision = {most}"));
    let refused = change(&fixture, id, Change::Rearm).await.expect_err("worn out");
    assert!(matches!(refused, ChangeError::WornOut(_)), "{refused}");
    assert_eq!(made(&fixture, id, Change::Pause).await.status, Status::Paused);
    assert_eq!(made(&fixture, id, Change::Delete).await.status, Status::Deleted);
}

/// An owner fires while its user changes the alert: one of them comes first, and the other knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_firing_and_a_change_at_once_are_one_after_the_other() {
    let fixture = Fixture::new().await;
    let ids: Vec<i64> = fixture.create(200).await.iter().map(|created| created.id).collect();
    for id in ids {
        let firings = [firing(id)];
        let (fired, changed) = tokio::join!(
            fixture.fire(&fixture.store, &firings),
            fixture.store.change(&fixture.log, target(id), &Change::Pause, None)
        );
        let state = fixture.store.get(id).await.expect("read").expect("there").status;
        match (&fired[..], changed) {
            ([_], Err(ChangeError::Status { is: Status::Triggered, .. })) => {
                assert_eq!(state, Status::Triggered);
            }
            ([], Ok(_)) => assert_eq!(state, Status::Paused),
            (fired, changed) => panic!("{fired:?} and {changed:?}"),
        }
    }
}
