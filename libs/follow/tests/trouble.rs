//! A follower and a peer on a real Kafka, while the follower's store has trouble: it passes over no
//! record, and holds nobody up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use broker::{Consumer, ConsumerSettings, Next, Start};
use follow::{Batch, Effect, FollowSettings, Known, Places, Progress, follow};
use market::{AnotherLog, Place};
use service::Service;
use testkit::{RandomMarket, eventually, kafka};

const PARTITIONS: i32 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the effect stores, and what ails it.
#[derive(Default)]
struct Store {
    places: Mutex<HashMap<i32, Place>>,
    /// Which partitions are the follower's, each with its next offset.
    owned: Mutex<HashMap<i32, i64>>,
    is_away: AtomicBool,
    /// A batch takes as long as this is so.
    is_slow: AtomicBool,
    /// Trades of batches.
    applied: AtomicUsize,
    loads_fail: AtomicBool,
    failed_loads: AtomicUsize,
    resets: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Store {
    fn answer(&self) -> anyhow::Result<()> {
        ensure!(!self.is_away.load(Ordering::SeqCst), "the store is away");
        Ok(())
    }

    fn owned(&self) -> MutexGuard<'_, HashMap<i32, i64>> {
        self.owned.lock().expect("no panic")
    }

    fn places(&self) -> MutexGuard<'_, HashMap<i32, Place>> {
        self.places.lock().expect("no panic")
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().expect("no panic").push(what);
    }
}

/// Keeps how far each partition was followed, and an eye on what it is given.
struct Watchful {
    store: Arc<Store>,
    partitions: Vec<i32>,
}

impl Effect for Watchful {
    const NAME: &'static str = "store";

    type Loaded = HashMap<i32, Place>;

    async fn connect(&mut self) -> anyhow::Result<()> {
        self.store.answer()
    }

    fn load(
        &self,
        _: &[i32],
    ) -> impl Future<Output = anyhow::Result<Self::Loaded>> + Send + 'static {
        let store = Arc::clone(&self.store);
        async move {
            // Long enough for records to come before it has ended, were they read.
            tokio::time::sleep(Duration::from_millis(500)).await;
            store.answer()?;
            if store.loads_fail.load(Ordering::SeqCst) {
                store.failed_loads.fetch_add(1, Ordering::SeqCst);
                return Err(anyhow!("this load fails"));
            }
            Ok(store.places().clone())
        }
    }

    fn places(loaded: &Self::Loaded) -> HashMap<i32, Place> {
        loaded.clone()
    }

    fn begin(&mut self, loaded: Self::Loaded, partitions: &[i32]) -> anyhow::Result<()> {
        let next = |partition| loaded.get(partition).map_or(0, |place: &Place| place.offset + 1);
        let begun = partitions.iter().map(|partition| (*partition, next(partition)));
        self.store.owned().extend(begun);
        Ok(())
    }

    fn know(&mut self, _: bool, known: &[Known]) {
        self.partitions = known.iter().map(|known| known.partition).collect();
    }

    async fn apply(&mut self, batch: &Batch) -> anyhow::Result<Option<Progress>> {
        self.store.answer()?;
        if self.store.is_slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Ok(None);
        }
        self.store.applied.fetch_add(batch.trades.len(), Ordering::SeqCst);
        let mut owned = self.store.owned();
        for gathered in &batch.trades {
            let partition = self.partitions[gathered.symbol as usize];
            let offset = gathered.sequence.offset;
            match owned.get_mut(&partition) {
                None => self.store.wrong(format!("{partition}@{offset} was not begun")),
                Some(next) if offset > *next => {
                    self.store.wrong(format!("{partition} goes on at {offset}, not at {next}"));
                }
                Some(next) => *next = offset + 1,
            }
        }
        let places: Places = batch.places.iter().map(|(number, place)| (*number, *place)).collect();
        self.store.places().extend(places.iter().copied());
        Ok(Some(Progress { effected: places.clone(), stored: places }))
    }

    async fn wait(&mut self) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    async fn work(&mut self) -> anyhow::Result<Progress> {
        self.store.answer()?;
        Ok(Progress::default())
    }

    async fn end(&mut self, _: &[i32]) -> anyhow::Result<Progress> {
        self.store.answer()?;
        Ok(Progress::default())
    }

    fn forget(&mut self, partitions: Option<&[i32]>) {
        let is_kept = |number: &i32| partitions.is_some_and(|these| !these.contains(number));
        self.store.owned().retain(|number, _| is_kept(number));
    }

    fn count_failure(&self, _: &anyhow::Error) {
        self.store.resets.fetch_add(1, Ordering::SeqCst);
    }

    fn another_log(&self, reason: String) -> AnotherLog {
        self.store.wrong(format!("another log: {reason}"));
        AnotherLog { store: "it", topic: String::new(), reason, remedy: "none" }
    }
}

/// A topic, a follower of it, and whoever shares its partitions with it.
struct Rig {
    topic: String,
    market: RandomMarket,
    store: Arc<Store>,
    service: Service,
    follower: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Rig {
    fn new(hint: &str) -> Self {
        Self::with(hint, 10_000)
    }

    fn with(hint: &str, batch_trades: usize) -> Self {
        let topic = kafka().topic(hint, PARTITIONS);
        let (store, service) = (Arc::default(), Service::new("follower", PATIENCE));
        let follower = begin(member(&topic), batch_trades, &store, &service);
        let market = RandomMarket::new(5);
        let rig = Self { topic, market, store, service, follower: Some(follower) };
        rig.wait_owned(PARTITIONS);
        rig
    }

    fn wait_owned(&self, partitions: i32) {
        eventually(PATIENCE, "it has its partitions", || {
            self.store.owned().len() == partitions as usize
        });
    }

    fn trade(&mut self, records: usize) {
        let records = self.market.records(records);
        let records = records.iter().map(|(symbol, value)| (symbol.as_str(), value.as_slice()));
        kafka().produce(&self.topic, records);
    }

    /// Ends it in good order, once it has read everything.
    fn finish(mut self) {
        let end = kafka().ends(&self.topic);
        eventually(PATIENCE, "everything was read", || {
            let read = |partition| self.store.owned().get(&partition).copied();
            let wrong = !self.store.wrong.lock().expect("no panic").is_empty();
            wrong || (0..PARTITIONS).all(|partition| read(partition) == Some(end(partition)))
        });
        self.service.fail("test", &anyhow!("it is over"));
        let follower = self.follower.take().expect("it runs");
        let ended = follower.join().expect("no panic");
        assert_eq!(*self.store.wrong.lock().expect("no panic"), Vec::<String>::new());
        ended.expect("it ends in good order");
    }
}

/// A follower, in a thread of its own.
fn begin(
    consumer: ConsumerSettings,
    batch_trades: usize,
    store: &Arc<Store>,
    service: &Service,
) -> JoinHandle<anyhow::Result<()>> {
    let effect = Watchful { store: Arc::clone(store), partitions: Vec::new() };
    let settings = FollowSettings { consumer, partitions: PARTITIONS, batch_trades };
    let serving = service.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(follow(settings, effect, &serving))
    })
}

fn member(topic: &str) -> ConsumerSettings {
    ConsumerSettings {
        brokers: kafka().brokers().to_owned(),
        topic: topic.to_owned(),
        group: topic.to_owned(),
        client_id: "test".to_owned(),
        session_timeout: Duration::from_secs(6),
    }
}

/// Another member of the group.
struct Peer {
    has: Arc<AtomicUsize>,
    leaves: Arc<AtomicBool>,
    polling: JoinHandle<()>,
}

impl Peer {
    fn join(topic: &str) -> Self {
        let (has, leaves) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let consumer = Consumer::connect(&member(topic), Box::new(|_, _| {})).expect("a consumer");
        let (counted, left) = (Arc::clone(&has), Arc::clone(&leaves));
        let polling = thread::spawn(move || {
            while !left.load(Ordering::SeqCst) {
                match consumer.next(Duration::from_millis(50)) {
                    Ok(Next::Assigned(partitions)) => {
                        counted.fetch_add(partitions.len(), Ordering::SeqCst);
                        let starts: Vec<_> = partitions
                            .into_iter()
                            .map(|number| (number, Start::Beginning))
                            .collect();
                        consumer.start(&starts).expect("started");
                    }
                    Ok(Next::Revoked(partitions) | Next::Lost(partitions)) => {
                        counted.fetch_sub(partitions.len(), Ordering::SeqCst);
                        consumer.release(&partitions).expect("released");
                    }
                    _ => {}
                }
            }
        });
        Self { has, leaves, polling }
    }

    fn leave(self) {
        self.leaves.store(true, Ordering::SeqCst);
        self.polling.join().expect("no panic");
    }

    fn wait_for_its_share(&self) {
        eventually(PATIENCE, "the peer has its share", || self.has.load(Ordering::SeqCst) == 3);
    }
}

#[test]
fn partitions_that_come_while_the_store_is_away_are_read_from_where_they_were_left() {
    let mut rig = Rig::new("come");
    rig.trade(200);
    let peer = Peer::join(&rig.topic);
    peer.wait_for_its_share();
    rig.wait_owned(3);
    rig.store.is_away.store(true, Ordering::SeqCst);
    peer.leave();
    // The length of the outage: the group deals the peer's partitions out meanwhile.
    for _ in 0..40 {
        rig.trade(10);
        thread::sleep(Duration::from_millis(100));
    }
    rig.store.is_away.store(false, Ordering::SeqCst);
    for _ in 0..40 {
        rig.trade(10);
        thread::sleep(Duration::from_millis(50));
    }
    rig.finish();
}

#[test]
fn a_peer_that_joins_does_not_wait_for_the_store() {
    let mut rig = Rig::new("joins");
    rig.trade(200);
    rig.store.is_away.store(true, Ordering::SeqCst);
    eventually(PATIENCE, "it notices", || rig.store.resets.load(Ordering::SeqCst) > 0);
    let peer = Peer::join(&rig.topic);
    peer.wait_for_its_share();
    rig.trade(200);
    rig.store.is_away.store(false, Ordering::SeqCst);
    rig.wait_owned(3);
    peer.leave();
    rig.finish();
}

#[test]
fn a_load_that_fails_concerns_its_own_partitions_alone() {
    let mut rig = Rig::new("load");
    let peer = Peer::join(&rig.topic);
    peer.wait_for_its_share();
    rig.wait_owned(3);
    rig.store.loads_fail.store(true, Ordering::SeqCst);
    peer.leave();
    eventually(PATIENCE, "it is tried again", || {
        rig.trade(10);
        rig.store.failed_loads.load(Ordering::SeqCst) > 1
    });
    assert_eq!(rig.store.owned().len(), 3, "the others go on");
    rig.store.loads_fail.store(false, Ordering::SeqCst);
    rig.wait_owned(PARTITIONS);
    assert_eq!(rig.store.resets.load(Ordering::SeqCst), 0);
    rig.finish();
}

#[test]
fn what_a_peer_leaves_is_begun_while_a_batch_takes_long() {
    // What comes meanwhile fills the next batch many times over.
    let mut rig = Rig::with("slow", 10);
    let peer = Peer::join(&rig.topic);
    peer.wait_for_its_share();
    rig.wait_owned(3);
    rig.store.is_slow.store(true, Ordering::SeqCst);
    rig.trade(200);
    peer.leave();
    eventually(PATIENCE, "it has its partitions", || {
        rig.trade(10);
        rig.store.owned().len() == PARTITIONS as usize
    });
    rig.store.is_slow.store(false, Ordering::SeqCst);
    rig.finish();
}

#[test]
fn nothing_of_another_log_has_an_effect() {
    let mut rig = Rig::new("another");
    rig.trade(1_000);
    let (topic, store) = (rig.topic.clone(), Arc::clone(&rig.store));
    rig.finish();
    assert!(store.applied.swap(0, Ordering::SeqCst) > 0);
    store.places().get_mut(&4).expect("it was followed").fingerprint ^= 1;
    // A group that is new reads everything, in batches that end before the record is met.
    let another = ConsumerSettings { group: format!("{topic}-anew"), ..member(&topic) };
    let service = Service::new("follower", PATIENCE);
    let ended = begin(another, 10, &store, &service).join().expect("no panic");
    let error = ended.expect_err("it stops");
    assert!(error.is::<AnotherLog>(), "{error:#}");
    assert!(error.to_string().contains("another record stands at"), "{error:#}");
    assert_eq!(store.applied.load(Ordering::SeqCst), 0);
}
