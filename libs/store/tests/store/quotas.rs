use store::{Change, Quota, Target};
use testkit::postgresql;

use crate::support::{Fixture, above, alert, firing, open};

async fn with_quota(most: u32) -> Fixture {
    let mut fixture = Fixture::new().await;
    fixture.store.limit(Some(Quota::new(most))).await.expect("limited");
    fixture
}

#[tokio::test]
async fn a_user_has_no_more_alerts_than_the_quota_until_some_are_deleted() {
    let fixture = with_quota(3).await;
    let alerts: Vec<_> =
        [1, 2, 1, 1, 1, 2].iter().map(|user| alert(*user, "AAPL", above(1.0), 0)).collect();
    let created = fixture.store.create(&fixture.log, &alerts).await.expect("created");
    let admitted: Vec<bool> = created.iter().map(Option::is_some).collect();
    assert_eq!(admitted, [true, true, true, true, false, true], "the first three of user 1");
    let first = created[0].expect("admitted").id;
    // One that has fired is still there.
    fixture.fire(&fixture.store, &[firing(first)]).await;
    let one = [alert(1, "AAPL", above(1.0), 0)];
    let refused = fixture.store.create(&fixture.log, &one).await.expect("answered");
    assert_eq!(refused, [None]);
    let target = Target { id: first, user_id: None, row_version: None };
    fixture.store.change(&fixture.log, target, &Change::Delete, None).await.expect("deleted");
    let created = fixture.store.create(&fixture.log, &one).await.expect("created");
    assert!(created[0].is_some());
    assert_eq!(fixture.execute("SELECT count(*) FROM alerts WHERE status <> 5"), "5");
}

#[tokio::test]
async fn of_many_all_are_within_the_quota_or_none_is_made() {
    let fixture = with_quota(10).await;
    let many = |user, count| vec![alert(user, "AAPL", above(1.0), 0); count];
    let create = async |alerts: &[_]| {
        let created = fixture.store.create_many(&fixture.log, alerts).await.expect("answered");
        created.map(|created| created.len())
    };
    assert_eq!(create(&many(1, 6)).await, Some(6));
    assert_eq!(create(&[many(2, 10), many(1, 5)].concat()).await, None);
    assert_eq!(create(&[many(2, 10), many(1, 4)].concat()).await, Some(14));
    assert_eq!(create(&many(2, 1)).await, None);
    assert_eq!(fixture.execute("SELECT count(*) FROM alerts"), "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_at_once_do_not_pass_the_quota_together() {
    let fixture = with_quota(50).await;
    let url = fixture.url.clone();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (url, log) = (url.clone(), fixture.log.clone());
            tokio::spawn(async move {
                let mut store = open(&url);
                store.limit(Some(Quota::new(50))).await.expect("limited");
                let mut made = 0;
                for _ in 0..20 {
                    let one = [alert(1, "AAPL", above(1.0), 0)];
                    let created = store.create(&log, &one).await.expect("answered");
                    made += created.iter().flatten().count();
                }
                made
            })
        })
        .collect();
    let mut made = 0;
    for caller in callers {
        made += caller.await.expect("no panic");
    }
    assert_eq!(made, 50);
    assert_eq!(postgresql().execute(&url, "SELECT count(*) FROM alerts"), "50");
}

#[tokio::test]
async fn what_there_was_before_a_quota_is_counted() {
    let mut fixture = Fixture::new().await;
    fixture.create(4).await;
    fixture.execute("UPDATE alerts SET status = 5 WHERE id = (SELECT min(id) FROM alerts)");
    fixture.store.limit(Some(Quota::new(4))).await.expect("limited");
    let two = vec![alert(1, "AAPL", above(1.0), 0); 2];
    let created = fixture.store.create(&fixture.log, &two).await.expect("answered");
    assert_eq!(created.iter().flatten().count(), 1);
}

#[tokio::test]
async fn what_was_deleted_while_there_was_no_quota_is_not_held_against_anybody() {
    let mut fixture = Fixture::new().await;
    let two = vec![alert(1, "AAPL", above(1.0), 0); 2];
    let room = async |fixture: &mut Fixture| {
        fixture.store.limit(Some(Quota::new(2))).await.expect("limited");
        let created = fixture.store.create(&fixture.log, &two).await.expect("answered");
        created.iter().flatten().count()
    };
    assert_eq!(room(&mut fixture).await, 2);
    assert_eq!(room(&mut fixture).await, 0, "counted once, and kept");
    fixture.store.limit(None).await.expect("unlimited");
    fixture.execute("UPDATE alerts SET status = 5");
    assert_eq!(room(&mut fixture).await, 2);
}
