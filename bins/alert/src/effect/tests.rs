use broker::TopicReader;
use follow::Gathered;
use market::{Price, Sequence, Trade, Volume};
use store::{DatabaseUrl, StoreMetrics};
use triggers::{AlertId, Version};
use uuid::Uuid;

use super::*;

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
    let firing = Firing {
        id: AlertId(1),
        version: Version { revision: 0, generation: 0 },
        price,
        reference: None,
        timestamp: 1,
        sequence: Sequence::default(),
        received_at: 1,
    };
    let found = |_| Found { partition: 1, firing };
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
