use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use futures::StreamExt;
use prost::Message;
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::{
    CreateAlertRequest, CreateAlertsRequest, DeleteAlertRequest, Firing, PauseAlertRequest,
    RearmAlertRequest, ResumeAlertRequest,
};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::alert_oracle::{AlertRow, Fired};
use crate::{Kafka, Postgresql, Program, alert_oracle, eventually, free_port, scratch};

/// Long enough for a group to give up a dead member and for an abandoned lease to end, beside a
/// busy compiler.
const PATIENCE: Duration = Duration::from_secs(60);

/// For a service that has been stopped in its tracks.
const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// For ten thousand alerts, while a disk takes in those before them.
const BULK_PATIENCE: Duration = Duration::from_secs(120);

/// Calls under way at once.
const CALLERS: usize = 32;

/// Alerts in a call that makes many.
const A_CALL: usize = 10_000;

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
    are_both_asked: bool,
    audited: OnceLock<()>,
    /// Where the instances keep their snapshots: over restarts.
    snapshots: PathBuf,
}

impl Alerts {
    pub fn new(brokers: &str, topic: &str, postgresql: &str) -> Self {
        let (kafka, postgresql) = (Kafka::at(brokers), Postgresql::at(postgresql));
        let url = postgresql.database();
        let (topic, port, spare_port) = (topic.to_owned(), free_port(), free_port());
        let firings = firings_of(&topic, port);
        let snapshots = scratch::folder("snapshots");
        Self {
            kafka,
            topic,
            firings,
            postgresql,
            url,
            port,
            spare_port,
            are_both_asked: false,
            audited: OnceLock::new(),
            snapshots,
        }
    }

    /// Calls go to both services in turn.
    #[must_use]
    pub fn with_both_asked(self) -> Self {
        Self { are_both_asked: true, ..self }
    }

    /// The same database, and another topic.
    pub fn move_to(&mut self, topic: &str) {
        self.topic = topic.to_owned();
        self.firings = firings_of(topic, self.port);
    }

    /// For `ALERT_SERVICE_ADDR`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where the service publishes.
    pub fn firings_topic(&self) -> &str {
        &self.firings
    }

    /// Where the first service keeps its snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.snapshots.join(self.port.to_string())
    }

    pub fn database_url(&self) -> &str {
        &self.url
    }

    /// With all that it holds; whoever uses it loses it.
    pub fn drop_database(&self) {
        self.postgresql.drop_database(&self.url);
    }

    pub fn execute(&self, statement: &str) -> String {
        self.postgresql.execute(&self.url, statement)
    }

    /// As a proxy or a failover does: everybody's connections to the database end.
    pub fn drop_connections(&self) {
        self.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
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
        self.second_service_with(&[])
    }

    /// As [`second_service`](Self::second_service), with further settings.
    pub fn second_service_with(&self, settings: &[(&str, &str)]) -> Program {
        self.start(&[], self.spare_port, settings)
    }

    /// `alert rebuild`
    pub fn rebuild(&self) -> Program {
        self.start(&["rebuild"], self.spare_port, &[])
    }

    /// Groups are named after the topic, since tests share a broker.
    fn start(&self, arguments: &[&str], port: u16, settings: &[(&str, &str)]) -> Program {
        let (group, port) = (format!("alerts-{}", self.topic), port.to_string());
        // Each instance is a machine of its own.
        let snapshots = self.snapshots.join(&port);
        let fixed = [
            ("KAFKA_BROKERS", self.kafka.brokers()),
            ("KAFKA_TOPIC", &self.topic),
            ("KAFKA_FIRINGS_TOPIC", &self.firings),
            ("KAFKA_GROUP", &group),
            ("DATABASE_URL", &self.url),
            ("GRPC_PORT", &port),
            ("ALERT_SNAPSHOTS", snapshots.to_str().expect("a path in UTF-8")),
            // Prices that come and go are what the tests are about.
            ("ALERT_MIN_COOLDOWN", "0s"),
        ];
        Program::start("alert", arguments, &[&fixed, settings].concat())
    }

    /// Asks for alerts, many at once. The ids of those that were made for certain: some may be
    /// refused while something is away.
    pub fn create(&self, wishes: impl IntoIterator<Item = CreateAlertRequest>) -> Vec<i64> {
        self.audit();
        let wishes: Vec<CreateAlertRequest> = wishes.into_iter().collect();
        self.ask(wishes, |mut client, wish| async move {
            Some(client.create_alert(wish).await.ok()?.into_inner().alert?.id)
        })
    }

    /// As [`create`](Self::create), ten thousand a call, and all of them are made. For alerts
    /// before the first trade: they are not kept as they were made before
    /// [`audit`](Self::audit).
    pub fn create_many(&self, wishes: impl IntoIterator<Item = CreateAlertRequest>) -> Vec<i64> {
        let mut wishes = wishes.into_iter();
        let mut made = Vec::new();
        loop {
            let calls: Vec<_> = std::iter::repeat_with(|| wishes.by_ref().take(A_CALL).collect())
                .take_while(|alerts: &Vec<CreateAlertRequest>| !alerts.is_empty())
                .take(3)
                .collect();
            if calls.is_empty() {
                return made;
            }
            let ids = self.ask_for(BULK_PATIENCE, calls, |mut client, alerts| async move {
                let answer = client.create_alerts(CreateAlertsRequest { alerts }).await;
                Some(answer.expect("made").into_inner().alert_ids)
            });
            made.extend(ids.into_iter().flatten());
        }
    }

    /// Does something to alerts, as their users may: what is refused is refused.
    pub fn change(&self, changes: impl IntoIterator<Item = Change>) {
        self.ask(changes, |mut client, change| async move {
            let answer = match change {
                Change::Pause(id) => client
                    .pause_alert(PauseAlertRequest { id, ..Default::default() })
                    .await
                    .map(drop),
                Change::Resume(id) => client
                    .resume_alert(ResumeAlertRequest { id, ..Default::default() })
                    .await
                    .map(drop),
                Change::Rearm(id) => client
                    .rearm_alert(RearmAlertRequest { id, ..Default::default() })
                    .await
                    .map(drop),
                Change::Delete(id) => client
                    .delete_alert(DeleteAlertRequest { id, ..Default::default() })
                    .await
                    .map(drop),
            };
            answer.ok()
        });
    }

    /// Makes calls, many at once. The answers, but for `None`.
    fn ask<Q, A, F: Future<Output = Option<A>>>(
        &self,
        questions: impl IntoIterator<Item = Q>,
        call: impl Fn(AlertServiceClient<Channel>, Q) -> F,
    ) -> Vec<A> {
        self.ask_for(CALL_PATIENCE, questions, call)
    }

    fn ask_for<Q, A, F: Future<Output = Option<A>>>(
        &self,
        patience: Duration,
        questions: impl IntoIterator<Item = Q>,
        call: impl Fn(AlertServiceClient<Channel>, Q) -> F,
    ) -> Vec<A> {
        let ports = [self.port, self.spare_port];
        let asked = if self.are_both_asked { &ports[..] } else { &ports[..1] };
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let client = |port| {
                let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"));
                let endpoint = endpoint.expect("an address").timeout(patience);
                AlertServiceClient::new(endpoint.connect_lazy())
            };
            let clients: Vec<_> = asked.iter().copied().map(client).collect();
            let calls = questions.into_iter().zip(clients.iter().cycle());
            let calls = calls.map(|(question, client)| call(client.clone(), question));
            let answers = futures::stream::iter(calls).buffer_unordered(CALLERS);
            answers.filter_map(std::future::ready).collect().await
        })
    }

    /// From now on alerts are kept as they are made. Before any is, once a service has made the
    /// tables.
    pub fn audit(&self) {
        self.audited.get_or_init(|| alert_oracle::audit(&self.postgresql, &self.url));
    }

    /// Every alert as it was made and changed.
    pub fn rows(&self) -> BTreeMap<i64, Vec<AlertRow>> {
        alert_oracle::alerts(&self.postgresql, &self.url)
    }

    /// What each has fired.
    pub fn fired(&self) -> BTreeMap<i64, Vec<Fired>> {
        alert_oracle::stored(&self.postgresql, &self.url)
    }

    /// Waits until PostgreSQL holds the firings that the log and the alerts say, each once, and
    /// the topic tells of each. Returns how many there are. The log must not grow meanwhile.
    #[track_caller]
    pub fn check(&self, when: &str) -> usize {
        let records = self.kafka.records(&self.topic);
        let expected = alert_oracle::expected(&records, &self.rows());
        let count = || -> usize {
            let count = "SELECT count(*) FROM firings WHERE log_id IN (SELECT log_id FROM logs)";
            self.execute(count).parse().expect("a count")
        };
        let mut wrong = vec![format!("fewer firings than {}", expected.count())];
        let mut stored = BTreeMap::new();
        servers::poll(PATIENCE, || {
            // Cheap to ask again and again, and the rest is not.
            if count() >= expected.count() {
                stored = self.fired();
                wrong = expected.compare(&stored);
            }
            wrong.is_empty().then_some(())
        });
        let first: Vec<&String> = wrong.iter().take(10).collect();
        assert!(
            wrong.is_empty(),
            "{when}: {} wrong, of {}: {first:#?}",
            wrong.len(),
            expected.count()
        );
        self.check_statuses(when);
        let fired: BTreeSet<(i64, i32)> = stored
            .iter()
            .flat_map(|(id, fired)| fired.iter().map(|fired| (*id, fired.0)))
            .collect();
        eventually(PATIENCE, &format!("{when}: every firing is on its topic"), || {
            let told = self.kafka.records(&self.firings).into_iter().map(|record| {
                let firing = Firing::decode(&*record.value).expect("a firing");
                (firing.alert_id, firing.generation)
            });
            told.collect::<BTreeSet<_>>() == fired
        });
        fired.len()
    }

    /// What fires once is TRIGGERED if, and only if, its present revision has fired.
    #[track_caller]
    fn check_statuses(&self, when: &str) {
        let odd = "SELECT count(*) FROM alerts WHERE cooldown_ms IS NULL AND status IN (1, 3)
            AND (status = 3) <> EXISTS (
                SELECT FROM firings WHERE alert_id = alerts.id AND generation = alerts.generation
            )";
        assert_eq!(self.execute(odd), "0", "{when}: what is TRIGGERED is not what fired");
    }

    /// The alerts of these ids have rows: what was answered is durable.
    #[track_caller]
    pub fn check_durable(&self, ids: &[i64], when: &str) {
        let printed = self.execute("SELECT id FROM alerts");
        let stored: HashSet<i64> = printed.lines().map(|id| id.parse().expect("an id")).collect();
        let lost: Vec<_> = ids.iter().filter(|id| !stored.contains(id)).collect();
        assert!(lost.is_empty(), "{when}: alerts {lost:?} were promised and are not there");
    }
}

/// A topic may be followed into several databases.
fn firings_of(topic: &str, port: u16) -> String {
    format!("{topic}-firings-{port}")
}

/// What a user does to an alert.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Pause(i64),
    Resume(i64),
    Rearm(i64),
    Delete(i64),
}
