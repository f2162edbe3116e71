use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::bail;
use store::{CreateError, Creator, EndOffsets, Filter, LogEnds, Wish};
use tokio::sync::Semaphore;

use crate::support::{Fixture, above, alert};

/// A log whose partitions grow by one with each look-up; a look-up waits for a permit.
struct Ends {
    end: Arc<AtomicI64>,
    permits: Arc<Semaphore>,
    /// One for each look-up that has begun.
    begun: Arc<Semaphore>,
}

impl EndOffsets for Ends {
    async fn end_offsets(&self, partitions: &BTreeSet<i32>) -> anyhow::Result<BTreeMap<i32, i64>> {
        self.begun.add_permits(1);
        self.permits.acquire().await?.forget();
        let end = self.end.fetch_add(1, Ordering::SeqCst);
        if partitions.contains(&5) {
            bail!("no leader");
        }
        Ok(partitions.iter().map(|partition| (*partition, end)).collect())
    }
}

struct Desk {
    fixture: Fixture,
    creator: Creator,
    end: Arc<AtomicI64>,
    permits: Arc<Semaphore>,
    begun: Arc<Semaphore>,
    work: tokio::task::JoinHandle<()>,
}

impl Desk {
    async fn new(permits: usize) -> Self {
        let fixture = Fixture::new().await;
        let end = Arc::new(AtomicI64::new(0));
        let permits = Arc::new(Semaphore::new(permits));
        let begun = Arc::new(Semaphore::new(0));
        let ends = Ends {
            end: Arc::clone(&end),
            permits: Arc::clone(&permits),
            begun: Arc::clone(&begun),
        };
        let (creator, work) =
            Creator::new(fixture.store.clone(), fixture.log.clone(), LogEnds::new(ends));
        Self { fixture, creator, end, permits, begun, work: tokio::spawn(work) }
    }
}

fn wish(user_id: i64, partition: i32) -> Wish {
    alert(user_id, "AAPL", above(1.0), partition).wish
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_once_share_look_ups_and_each_gets_its_own_answer() {
    let desk = Desk::new(usize::MAX >> 4).await;
    let calls: Vec<_> = (1..=500)
        .map(|user| {
            let creator = desk.creator.clone();
            tokio::spawn(async move { (user, creator.create(wish(user, (user % 5) as i32)).await) })
        })
        .collect();
    let mut answers = BTreeMap::new();
    for call in calls {
        let (user, created) = call.await.expect("no panic");
        answers.insert(created.expect("created").id, user);
    }
    let listed = desk.fixture.store.list(&Filter::default(), 0, 1_000).await.expect("a list");
    let stored: BTreeMap<i64, i64> = listed.iter().map(|alert| (alert.id, alert.user_id)).collect();
    assert_eq!(answers, stored);
    let look_ups = desk.end.load(Ordering::SeqCst);
    assert!(look_ups < 400, "{look_ups} look-ups for 500 calls");
}

#[tokio::test]
async fn an_alert_is_armed_where_the_log_ended_after_the_call_was_made() {
    let desk = Desk::new(usize::MAX >> 4).await;
    for end in [0, 40, 41, 1_000] {
        desk.end.store(end, Ordering::SeqCst);
        let created = desk.creator.create(wish(1, 2)).await.expect("created");
        let loaded = desk.fixture.load(&desk.fixture.log, &[2]).await;
        let armed = loaded.alerts.iter().find(|alert| alert.id == created.id).expect("it is there");
        assert_eq!((armed.armed_at.offset, armed.armed_at.index), (end, 0));
    }
}

#[tokio::test]
async fn without_the_end_of_the_log_nothing_is_created() {
    let desk = Desk::new(usize::MAX >> 4).await;
    let refused = desk.creator.create(wish(1, 5)).await.expect_err("refused");
    assert_eq!(refused.to_string(), "cannot read where the log ends: no leader");
    let listed = desk.fixture.store.list(&Filter::default(), 0, 10).await.expect("a list");
    assert_eq!(listed, []);
    desk.creator.create(wish(1, 4)).await.expect("created: the next one is another matter");
}

#[tokio::test]
async fn a_caller_that_left_before_its_batch_finds_nothing_created() {
    let desk = Desk::new(0).await;
    // Two batches of one wait for their look-ups; what comes then waits in the queue.
    let mut waiting = Vec::new();
    for user in 1..=2 {
        let creator = desk.creator.clone();
        waiting.push(tokio::spawn(async move { creator.create(wish(user, 0)).await }));
        desk.begun.acquire().await.expect("open").forget();
    }
    let creator = desk.creator.clone();
    let left = tokio::spawn(async move { creator.create(wish(3, 0)).await });
    tokio::task::yield_now().await;
    left.abort();
    assert!(left.await.expect_err("aborted").is_cancelled());
    desk.permits.add_permits(10);
    for call in waiting {
        call.await.expect("no panic").expect("created");
    }
    // The one that left was before this one in the queue.
    desk.creator.create(wish(4, 0)).await.expect("created");
    let listed = desk.fixture.store.list(&Filter::default(), 0, 10).await.expect("a list");
    let mut users: Vec<i64> = listed.iter().map(|alert| alert.user_id).collect();
    users.sort_unstable();
    assert_eq!(users, [1, 2, 4]);
}

#[tokio::test]
async fn the_work_ends_when_the_last_creator_is_gone_and_every_call_is_answered() {
    let desk = Desk::new(0).await;
    let creator = desk.creator.clone();
    let call = tokio::spawn(async move { creator.create(wish(1, 0)).await });
    tokio::task::yield_now().await;
    drop(desk.creator);
    desk.permits.add_permits(1);
    call.await.expect("no panic").expect("created");
    desk.work.await.expect("it ends");
}

#[tokio::test]
async fn a_creator_whose_work_has_ended_says_so() {
    let desk = Desk::new(1).await;
    desk.work.abort();
    let _ = desk.work.await;
    let refused = desk.creator.create(wish(1, 0)).await;
    assert!(matches!(refused, Err(CreateError::Stopping)), "{refused:?}");
}
