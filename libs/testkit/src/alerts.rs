use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use prost::Message;
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::{CreateAlertRequest, Firing};
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;

use crate::alert_oracle::{AlertRow, FiredOn};
use crate::{Kafka, Postgresql, Program, alert_oracle, eventually, free_port};

/// Long enough for a group to give up a dead member and for an abandoned lease to end, beside a
/// busy compiler.
const PATIENCE: Duration = Duration::from_secs(60);

/// For a service that has been stopped in its tracks.
const CALL_PATIENCE: Duration = Duration::from_secs(5);

/// Calls under way at once.
const CALLERS: usize = 32;

/// The alert service on a topic, with a database and a topic of firings of its own.
#[derive(Debug)]
pub struct Alerts {
    kafka: Kafka,
    topic: String,
    firings: String,
    postgresql: Postgresql,
    url: String,
    port: u16,
    spare_port: u16,
}

impl Alerts {
    pub fn new(brokers: &str, topic: &str, postgresql: &str) -> Self {
        let (kafka, postgresql) = (Kafka::at(brokers), Postgresql::at(postgresql));
        let url = postgresql.database();
        let firings = format!("{topic}-firings");
        let (topic, port, spare_port) = (topic.to_owned(), free_port(), free_port());
        Self { kafka, topic, firings, postgresql, url, port, spare_port }
    }

    /// The same database, and another topic.
    pub fn move_to(&mut self, topic: &str) {
        self.topic = topic.to_owned();
        self.firings = format!("{topic}-firings");
    }

    /// For `ALERT_SERVICE_ADDR`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where the service publishes.
    pub fn firings_topic(&self) -> &str {
        &self.firings
    }

    pub fn execute(&self, statement: &str) -> String {
        self.postgresql.execute(&self.url, statement)
    }

    pub fn service(&self) -> Program {
        self.service_with(&[])
    }

    /// As [`service`](Self::service), with further settings.
    pub fn service_with(&self, settings: &[(&str, &str)]) -> Program {
        self.start(&[], self.port, settings)
    }

    /// Another instance, which shares the partitions with the first.
    pub fn second_service(&self) -> Program {
        self.start(&[], self.spare_port, &[])
    }

    /// `alert rebuild`
    pub fn rebuild(&self) -> Program {
        self.start(&["rebuild"], self.spare_port, &[])
    }

    /// Groups are named after the topic, since tests share a broker.
    fn start(&self, arguments: &[&str], port: u16, settings: &[(&str, &str)]) -> Program {
        let (group, port) = (format!("alerts-{}", self.topic), port.to_string());
        let fixed = [
            ("KAFKA_BROKERS", self.kafka.brokers()),
            ("KAFKA_TOPIC", &self.topic),
            ("KAFKA_FIRINGS_TOPIC", &self.firings),
            ("KAFKA_GROUP", &group),
            ("DATABASE_URL", &self.url),
            ("GRPC_PORT", &port),
        ];
        Program::start("alert", arguments, &[&fixed, settings].concat())
    }

    /// Asks for alerts, many at once. The ids of those that were made for certain: some may be
    /// refused while something is away.
    pub fn create(&self, wishes: impl IntoIterator<Item = CreateAlertRequest>) -> Vec<i64> {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address()));
            let endpoint = endpoint.expect("an address").timeout(CALL_PATIENCE);
            let client = AlertServiceClient::new(endpoint.connect_lazy());
            let calls = wishes.into_iter().map(|wish| {
                let mut client = client.clone();
                async move { Some(client.create_alert(wish).await.ok()?.into_inner().alert?.id) }
            });
            let made = futures::stream::iter(calls).buffer_unordered(CALLERS);
            made.filter_map(std::future::ready).collect().await
        })
    }

    /// Every alert that there is.
    pub fn rows(&self) -> Vec<AlertRow> {
        alert_oracle::alerts(&self.postgresql, &self.url)
    }

    /// What each has fired on.
    pub fn fired(&self) -> Vec<(i64, FiredOn)> {
        alert_oracle::stored(&self.postgresql, &self.url)
    }

    /// Waits until PostgreSQL holds the firings that the log and the alerts' rows say, each once,
    /// and the topic tells of each. Returns how many there are. The log must not grow meanwhile.
    #[track_caller]
    pub fn check(&self, when: &str) -> usize {
        let records = self.kafka.records(&self.topic);
        let expected: Vec<_> = alert_oracle::expected(&records, &self.rows()).into_iter().collect();
        let mut stored = Vec::new();
        let same = servers::poll(PATIENCE, || {
            stored = self.fired();
            (stored == expected).then_some(())
        });
        if same.is_none() {
            let missing: Vec<_> = expected.iter().filter(|each| !stored.contains(each)).collect();
            let wrong: Vec<_> = stored.iter().filter(|each| !expected.contains(each)).collect();
            let twice = stored.len() + missing.len() - expected.len() - wrong.len();
            panic!("{when}: missing {missing:?}, wrong {wrong:?}, {twice} twice");
        }
        let rows = self.rows();
        let triggered: BTreeSet<i64> =
            rows.iter().filter(|alert| alert.is_triggered).map(|alert| alert.id).collect();
        let fired: BTreeSet<i64> = expected.iter().map(|(id, _)| *id).collect();
        assert!(triggered == fired, "{when}: what is TRIGGERED is not what fired");
        eventually(PATIENCE, &format!("{when}: every firing is on its topic"), || {
            let told = self
                .kafka
                .records(&self.firings)
                .into_iter()
                .map(|record| Firing::decode(&*record.value).expect("a firing").alert_id);
            told.collect::<BTreeSet<i64>>() == fired
        });
        expected.len()
    }

    /// The alerts of these ids have rows: what was answered is durable.
    #[track_caller]
    pub fn check_durable(&self, ids: &[i64], when: &str) {
        let stored: BTreeSet<i64> = self.rows().iter().map(|alert| alert.id).collect();
        let lost: Vec<_> = ids.iter().filter(|id| !stored.contains(id)).collect();
        assert!(lost.is_empty(), "{when}: alerts {lost:?} were promised and are not there");
    }
}
