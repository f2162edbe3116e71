use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;

use anyhow::anyhow;
use broker::ConsumerSettings;
use market::{AnotherLog, Place};
use service::Service;
use testkit::{RandomMarket, eventually, kafka};

use super::*;
use crate::follower::Follower;
use crate::lag::Lag;
use crate::{Batch, Effect, FollowSettings, Known, Places, Progress};

const PARTITIONS: i32 = 3;
const DEADLINE: Duration = Duration::from_secs(60);

/// Keeps how far each partition was followed, and why it had to forget.
#[derive(Clone, Default)]
struct Keeper {
    places: Arc<Mutex<HashMap<i32, Place>>>,
    troubles: Arc<Mutex<Vec<String>>>,
}

impl Keeper {
    fn has_all_but(&self, missing: Option<i32>, topic: &str) -> bool {
        let (end, places) = (kafka().ends(topic), self.places.lock().expect("no panic"));
        (0..PARTITIONS).filter(|partition| Some(*partition) != missing).all(|partition| {
            places.get(&partition).is_some_and(|place| place.offset + 1 == end(partition))
        })
    }
}

impl Effect for Keeper {
    const NAME: &'static str = "keeper";

    type Loaded = HashMap<i32, Place>;

    async fn connect(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn load(
        &self,
        _: &[i32],
    ) -> impl Future<Output = anyhow::Result<Self::Loaded>> + Send + 'static {
        let places = self.places.lock().expect("no panic").clone();
        async { Ok(places) }
    }

    fn places(loaded: &Self::Loaded) -> HashMap<i32, Place> {
        loaded.clone()
    }

    fn begin(&mut self, _: Self::Loaded, _: &[i32]) -> anyhow::Result<()> {
        Ok(())
    }

    fn know(&mut self, _: bool, _: &[Known]) {}

    async fn apply(&mut self, batch: &Batch) -> anyhow::Result<Option<Progress>> {
        let places: Places = batch.places.iter().map(|(number, place)| (*number, *place)).collect();
        self.places.lock().expect("no panic").extend(places.iter().copied());
        Ok(Some(Progress { effected: places.clone(), stored: places }))
    }

    async fn wait(&mut self) {
        std::future::pending().await
    }

    async fn work(&mut self) -> anyhow::Result<Progress> {
        Ok(Progress::default())
    }

    async fn end(&mut self, _: &[i32]) -> anyhow::Result<Progress> {
        Ok(Progress::default())
    }

    fn forget(&mut self, _: Option<&[i32]>) {}

    fn count_failure(&self, trouble: &anyhow::Error) {
        self.troubles.lock().expect("no panic").push(format!("{trouble:#}"));
    }

    fn another_log(&self, reason: String) -> AnotherLog {
        AnotherLog { store: "it", topic: String::new(), reason, remedy: "none" }
    }
}

#[test]
fn a_partition_that_librdkafka_reads_no_more_is_read_again() {
    let topic = kafka().topic("silent", PARTITIONS);
    let settings = FollowSettings {
        consumer: ConsumerSettings {
            brokers: kafka().brokers().to_owned(),
            topic: topic.clone(),
            group: topic.clone(),
            client_id: "test".to_owned(),
            session_timeout: Duration::from_secs(6),
        },
        partitions: PARTITIONS,
        batch_trades: 10_000,
    };
    let (keeper, service) = (Keeper::default(), Service::new("follower", DEADLINE));
    let consumer = Consumer::connect(&settings.consumer, Box::new(|_, _| {})).expect("a consumer");
    let consumer = Arc::new(consumer);
    let (effect, reads, serving) = (keeper.clone(), Arc::clone(&consumer), service.clone());
    let reading = thread::spawn(move || {
        let gathering = Arc::new(Gathering::new(settings.batch_trades, PARTITIONS));
        let (lag, ready) = (Arc::new(Lag::new(PARTITIONS)), serving.ready("keeper"));
        let follower = Follower::new(effect, &settings, Arc::clone(&gathering), lag, ready);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(crate::read(follower, reads, gathering, &serving))
    });
    let mut market = RandomMarket::new(5);
    let mut trade = || {
        let records = market.records(200);
        let records = records.iter().map(|(symbol, value)| (symbol.as_str(), value.as_slice()));
        kafka().produce(&topic, records);
    };
    trade();
    eventually(DEADLINE, "all are read", || keeper.has_all_but(None, &topic));
    // Of a machine that is slow to begin.
    keeper.troubles.lock().expect("no panic").clear();
    // Nobody here knows of this.
    consumer.hold(&[1]).expect("held");
    trade();
    eventually(DEADLINE, "the others are read", || keeper.has_all_but(Some(1), &topic));
    assert!(!keeper.has_all_but(None, &topic), "it is held");
    eventually(DEADLINE, "all are read", || keeper.has_all_but(None, &topic));
    drop(consumer);
    service.fail("test", &anyhow!("it is over"));
    reading.join().expect("no panic").expect("it ends in good order");
    let troubles = keeper.troubles.lock().expect("no panic");
    assert_eq!(*troubles, ["partitions [1] bring nothing, though their log has more"]);
}

#[test]
fn a_log_has_more_where_the_next_offset_or_the_oldest_is_before_its_end() {
    #[track_caller]
    fn check(rule: &str, next: i64, bounds: (i64, i64), expected: bool) {
        assert_eq!(has_more(next, bounds), expected, "{rule}");
    }
    check("empty", 0, (0, 0), false);
    check("read to its end", 7, (0, 7), false);
    check("one more", 6, (0, 7), true);
    check("nothing has come of it yet", 0, (3, 7), true);
    check("everything has expired", 0, (7, 7), false);
    check("what would have come has expired", 5, (7, 7), false);
}
