use std::fs;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rpc::alert::v1::CreateAlertRequest;
use testkit::{Alerts, Change, Kafka, Program, RandomMarket, Wishes, eventually, kafka};

use crate::PATIENCE;

/// A topic with a random market's trades, and the alert service on it.
pub(crate) struct Rig {
    pub(crate) kafka: &'static Kafka,
    pub(crate) topic: String,
    pub(crate) alerts: Alerts,
    market: RandomMarket,
    wishes: Wishes,
    /// Those that were made.
    ids: Vec<i64>,
    random: SmallRng,
}

impl Rig {
    pub(crate) fn new(hint: &str, postgresql: &str) -> Self {
        let kafka = kafka();
        let topic = kafka.topic(hint, 6);
        let mut random = SmallRng::seed_from_u64(12);
        Self {
            kafka,
            alerts: Alerts::new(kafka.brokers(), &topic, postgresql),
            topic,
            market: RandomMarket::new(11),
            wishes: Wishes::on_random_market(&mut random),
            ids: Vec::new(),
            random,
        }
    }

    pub(crate) fn trade(&mut self, records: usize) {
        let records = self.market.records(records);
        let records = records.iter().map(|(symbol, value)| (symbol.as_str(), value.as_slice()));
        self.kafka.produce(&self.topic, records);
    }

    /// Trades beside what else is done: so many times so many records.
    pub(crate) fn flow(&mut self, times: usize, records: usize) -> JoinHandle<()> {
        let batches: Vec<_> = (0..times).map(|_| self.market.records(records)).collect();
        let (kafka, topic) = (self.kafka, self.topic.clone());
        thread::spawn(move || {
            for batch in batches {
                let records = batch.iter().map(|(symbol, value)| (symbol.as_str(), &**value));
                kafka.produce(&topic, records);
            }
        })
    }

    /// Asks for alerts of every condition: some of them fire at once, some never. How many were
    /// made for certain.
    pub(crate) fn ask(&mut self, count: usize) -> usize {
        let wishes: Vec<CreateAlertRequest> = self.wishes.by_ref().take(count).collect();
        let made = self.alerts.create(wishes);
        self.ids.extend(&made);
        made.len()
    }

    /// Alerts are paused, resumed, armed anew and deleted, whatever state they are in.
    pub(crate) fn change(&mut self, count: usize) {
        let changes = [Change::Pause, Change::Resume, Change::Rearm, Change::Delete];
        let (ids, random) = (&self.ids, &mut self.random);
        self.alerts.change((0..count).map(|_| {
            let id = ids[random.random_range(0..ids.len())];
            changes[random.random_range(0..changes.len())](id)
        }));
    }

    /// Waits until a service has read so many records since it began.
    #[track_caller]
    pub(crate) fn wait_read(&self, service: &Program, records: usize) {
        eventually(PATIENCE, "it has read them", || {
            service.metric("gostocks_records_consumed_total") as usize >= records
        });
    }

    /// The files of the first service's snapshots.
    pub(crate) fn snapshots(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.alerts.snapshots());
        let entries = entries.into_iter().flatten().flatten().map(|entry| entry.path());
        let is_whole = |path: &PathBuf| path.extension().is_some_and(|name| name == "snapshot");
        let mut files: Vec<PathBuf> = entries.filter(is_whole).collect();
        files.sort();
        files
    }
}
