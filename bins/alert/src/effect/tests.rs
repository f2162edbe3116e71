use broker::TopicReader;
use follow::Gathered;
use futures::future::maybe_done;
use market::{Price, Sequence, Trade, Volume};
use store::{DatabaseUrl, StoreMetrics};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use triggers::{AlertId, Partition, Version};
use uuid::Uuid;

use super::firing::Stored;
use super::*;
use crate::behind::Rewound;
use crate::owned::Rewinding;

/// On a Kafka and a PostgreSQL that it never asks.
fn effect() -> AlertEffect {
    let url = DatabaseUrl::parse("postgres://nobody@127.0.0.1:1/none").expect("a URL");
    let topic = TopicReader::new("127.0.0.1:1", "none").expect("a reader");
    let loader = Loader {
        store: Store::new(&url, "test", StoreMetrics::noop()),
        log: Log { id: Uuid::now_v7(), topic: "none".into(), partitions: 2 },
        topic: Arc::new(topic),
        snapshots: None,
    };
    let every = Duration::from_secs(60);
    AlertEffect::new(loader, String::new(), every, watch::Sender::new(true), Arc::default())
}

fn loaded(partitions: &[i32]) -> Loaded {
    let owned = partitions.iter().map(|number| (*number, Owned::restored(*number, None)));
    Loaded { owned: owned.collect(), cursor: Cursor::parse("1:1:").expect("a cursor") }
}

#[tokio::test]
async fn a_load_that_was_superseded_leaves_what_is_owned_alone() {
    let mut effect = effect();
    effect.begin(loaded(&[0]), &[0]).expect("begun");
    let life = effect.owned[&0].life;
    effect.begin(loaded(&[0, 1]), &[1]).expect("begun");
    assert_eq!(effect.owned.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(effect.owned[&0].life, life, "the later load's");
}

#[tokio::test]
async fn what_comes_again_in_the_middle_of_a_batch_is_not_shown_the_rest_of_it() {
    let mut effect = effect();
    effect.begin(loaded(&[0, 1]), &[0, 1]).expect("begun");
    let symbol = |name, partition| Known { symbol: Symbol::new(name).expect("one"), partition };
    effect.know(true, &[symbol("A", 0), symbol("B", 1)]);
    let price = Price::new(1.0).expect("a price");
    let trade = Trade { price, volume: Volume::ZERO, timestamp: 1, received_at: 1 };
    let mut batch = Batch::default();
    for symbol in [0, 1] {
        batch.trades.push(Gathered { symbol, sequence: Sequence::of_record(7), trade });
    }
    // What an earlier batch's tasks have found is still to be fired: none is evaluated yet.
    let found = |_| Found { partition: 1, firing: firing() };
    effect.found.extend((0..FIRINGS_A_STEP).map(found));
    effect.is_under_way = true;
    effect.evaluate(&batch);
    effect.forget(Some(&[0]));
    effect.begin(loaded(&[0]), &[0]).expect("begun");
    effect.found.clear();
    effect.evaluate(&batch);
    let newest =
        |effect: &AlertEffect, name| effect.owned[&i32::from(name == "B")].partition.newest(name);
    assert_eq!((newest(&effect, "A"), newest(&effect, "B")), (None, Some(1)));
    effect.advance(&batch);
    // What is read from its place on counts again.
    effect.is_under_way = true;
    effect.evaluate(&batch);
    assert_eq!(newest(&effect, "A"), Some(1));
}

fn firing() -> Firing {
    Firing {
        id: AlertId(1),
        version: Version { revision: 0, generation: 0 },
        price: Price::new(1.0).expect("a price"),
        reference: None,
        timestamp: 1,
        sequence: Sequence::default(),
        received_at: 1,
    }
}

/// With partition 0 evaluated up to 7, of which a firing was found.
fn found() -> AlertEffect {
    let mut effect = effect();
    effect.begin(loaded(&[0, 1]), &[0, 1]).expect("begun");
    effect.checkpoint_due = Instant::now() + Duration::from_secs(3_600);
    effect.is_news = false;
    effect.found.push_back(Found { partition: 0, firing: firing() });
    effect.reached.insert(0, PLACE);
    effect
}

const PLACE: Place = Place { offset: 7, fingerprint: 1 };

/// Makes a transaction one that ends when it is told how.
fn hold(effect: &mut AlertEffect) -> oneshot::Sender<Result<usize, StoreError>> {
    let (end, told) = oneshot::channel();
    effect.begin_to_fire();
    let under_way = effect.firing.as_mut().expect("it has begun");
    under_way.stored = maybe_done(tokio::spawn(async move {
        let admitted = told.await.expect("an end")?;
        Ok(Stored { admitted, took: Duration::ZERO, at: 1 })
    }));
    end
}

#[tokio::test]
async fn what_is_found_has_its_effect_when_it_is_stored_and_not_before() {
    let mut effect = found();
    let end = hold(&mut effect);
    assert!(!effect.is_settled());
    let progress = effect.work().await.expect("nothing is wrong");
    assert_eq!(progress.effected, []);
    // More was found meanwhile: that is another transaction's, as is what was reached with it.
    effect.found.push_back(Found { partition: 1, firing: firing() });
    effect.reached.insert(1, PLACE);
    end.send(Ok(1)).expect("it is waited for");
    effect.wait().await;
    let progress = effect.work().await.expect("nothing is wrong");
    assert_eq!(progress.effected, [(0, PLACE)]);
    assert!(effect.firing.is_some() && !effect.is_settled(), "the next is under way");
}

#[tokio::test]
async fn a_wait_for_a_transaction_may_be_dropped() {
    let mut effect = found();
    let end = hold(&mut effect);
    for _ in 0..3 {
        let waited = tokio::time::timeout(Duration::from_millis(5), effect.wait());
        waited.await.expect_err("it is under way");
    }
    end.send(Ok(1)).expect("it is waited for");
    effect.wait().await;
    effect.work().await.expect("nothing is wrong");
    assert!(effect.is_settled());
}

#[tokio::test]
async fn a_transaction_that_fails_is_told_of_and_what_it_stood_for_is_not() {
    for step in 0..3 {
        let mut effect = found();
        let end = hold(&mut effect);
        end.send(Err(StoreError::Unavailable { address: "nowhere".into(), reason: "away".into() }))
            .expect("it is waited for");
        effect.wait().await;
        let told = match step {
            0 => effect.work().await.map(drop),
            1 => effect.end(&[0]).await.map(drop),
            _ => effect.apply(&Batch::default()).await.map(drop),
        };
        assert!(told.expect_err("it has failed").is::<StoreError>());
        effect.forget(None);
        assert!(effect.is_stored() && effect.take_progress().effected.is_empty());
    }
}

#[tokio::test]
async fn of_what_was_given_back_meanwhile_nothing_is_told() {
    let mut effect = found();
    effect.reached.insert(1, PLACE);
    let end = hold(&mut effect);
    effect.forget(Some(&[0]));
    end.send(Ok(1)).expect("it is waited for");
    effect.wait().await;
    assert_eq!(effect.work().await.expect("nothing is wrong").effected, [(1, PLACE)]);
}

#[tokio::test]
async fn what_is_due_waits_for_all_that_was_found() {
    let mut effect = found();
    let end = hold(&mut effect);
    effect.arrived(Ok(Done::Snapshotted));
    effect.is_snapshotting = true;
    effect.work().await.expect("trades need not wait yet");
    assert!(effect.is_snapshotting && effect.arrived.len() == 1);
    let since = effect.settling_since.as_mut().expect("it waits");
    *since -= SETTLE_WITHIN;
    let working = effect.work();
    let working = tokio::time::timeout(Duration::from_millis(5), working);
    working.await.expect_err("it is under way");
    assert!(effect.is_snapshotting && effect.arrived.len() == 1);
    end.send(Ok(1)).expect("it is waited for");
    effect.work().await.expect("nothing is wrong");
    assert!(!effect.is_snapshotting && effect.arrived.is_empty());
    assert!(effect.settling_since.is_none());
}

#[tokio::test]
async fn a_checkpoint_that_is_due_wakes_nobody_while_a_transaction_is_under_way() {
    let mut effect = found();
    let end = hold(&mut effect);
    effect.checkpoint_due = Instant::now();
    let waited = tokio::time::timeout(Duration::from_millis(5), effect.wait()).await;
    waited.expect_err("there is nothing to do yet");
    end.send(Ok(1)).expect("it is waited for");
    effect.wait().await;
    effect.work().await.expect("nothing is wrong");
    assert!(effect.checkpoint_due > Instant::now(), "it was begun");
}

#[tokio::test]
async fn what_fires_of_one_thing_that_was_due_comes_before_the_next() {
    let mut effect = effect();
    effect.begin(loaded(&[0]), &[0]).expect("begun");
    let stop = CancellationToken::new();
    effect.owned.get_mut(&0).expect("it has begun").rewinding = Some(Rewinding {
        alerts: Vec::new(),
        disarmed: Vec::new(),
        stop: stop.clone(),
        _guard: stop.drop_guard(),
    });
    effect.arrived(Ok(Done::Rewound(Box::new(Rewound {
        partition: 0,
        life: effect.owned[&0].life,
        back: Partition::new(1),
        fired: vec![firing()],
    }))));
    effect.is_snapshotting = true;
    effect.arrived(Ok(Done::Snapshotted));
    effect.checkpoint_due = Instant::now() + Duration::from_secs(60);
    effect.work().await.expect("nothing is wrong yet");
    assert!(effect.firing.is_some() && !effect.is_stored(), "it is on its way");
    assert!(effect.is_snapshotting && effect.arrived.len() == 1, "the next waits for that");
}

#[tokio::test]
async fn what_is_due_does_not_wait_for_what_the_next_batch_will_find() {
    let mut effect = found();
    let end = hold(&mut effect);
    effect.is_snapshotting = true;
    effect.arrived(Ok(Done::Snapshotted));
    end.send(Ok(1)).expect("it is waited for");
    effect.wait().await;
    effect.apply(&Batch::default()).await.expect("nothing is wrong");
    assert!(!effect.is_snapshotting && effect.arrived.is_empty());
}
