//! The real program on a real Kafka and a real PostgreSQL: whatever happens to it, what has fired
//! is what the log says, each alert once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt;
use prost::Message;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::{AlertCondition, CreateAlertRequest, Firing};
use testkit::{
    Exit, Kafka, Postgresql, Program, RandomMarket, Server, alert_oracle, eventually, free_port,
    kafka, postgresql, private_postgresql,
};

const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    kafka: &'static Kafka,
    topic: String,
    firings: String,
    url: String,
    port: u16,
    market: RandomMarket,
    random: SmallRng,
}

impl Rig {
    fn new(hint: &str, postgresql: &Postgresql) -> Self {
        let kafka = kafka();
        Self {
            kafka,
            topic: kafka.topic(hint, 6),
            firings: kafka.topic(&format!("{hint}-firings"), 1),
            url: postgresql.database(),
            port: free_port(),
            market: RandomMarket::new(11),
            random: SmallRng::seed_from_u64(12),
        }
    }

    /// Groups are named after the topic, since the tests share a broker.
    fn service(&self) -> Program {
        self.service_at(self.port)
    }

    fn service_at(&self, port: u16) -> Program {
        let settings = [
            ("KAFKA_BROKERS", self.kafka.brokers()),
            ("KAFKA_TOPIC", &self.topic),
            ("KAFKA_FIRINGS_TOPIC", &self.firings),
            ("KAFKA_GROUP", &format!("alerts-{}", self.topic)),
            ("DATABASE_URL", &self.url),
            ("GRPC_PORT", &port.to_string()),
        ];
        Program::start("alert", &[], &settings)
    }

    fn trade(&mut self, records: usize) {
        let records = self.market.records(records);
        let records = records.iter().map(|(symbol, value)| (symbol.as_str(), value.as_slice()));
        self.kafka.produce(&self.topic, records);
    }

    /// Asks for alerts, many at once; some may be refused while something is away. Returns how
    /// many were made for certain.
    fn ask(&mut self, count: usize) -> usize {
        let wishes: Vec<CreateAlertRequest> = (0..count).map(|_| self.wish()).collect();
        let address = format!("http://127.0.0.1:{}", self.port);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let endpoint = tonic::transport::Endpoint::from_shared(address).expect("an address");
            let client = AlertServiceClient::new(endpoint.connect_lazy());
            let calls = wishes.into_iter().map(|wish| {
                let mut client = client.clone();
                async move { client.create_alert(wish).await.is_ok() }
            });
            let made = futures::stream::iter(calls).buffer_unordered(32);
            made.filter(|made| std::future::ready(*made)).count().await
        })
    }

    /// Prices are from 0.01 to 100: some of these fire at once, some never.
    fn wish(&mut self) -> CreateAlertRequest {
        let is_above = self.random.random_bool(0.5);
        let distance = f64::from(self.random.random_range(-20..3_000)) / 100.0;
        let (condition, target_price) = match is_above {
            true => (AlertCondition::Above, 100.1 - distance),
            false => (AlertCondition::Below, 0.21 + distance.max(-0.2)),
        };
        CreateAlertRequest {
            user_id: self.random.random_range(1..100),
            symbol: format!("symbol:{}", self.random.random_range(0..40)),
            condition: condition.into(),
            target_price,
        }
    }

    /// Waits until PostgreSQL holds the firings that the log and the alerts' rows say, and the
    /// topic tells of each. Returns how many there are.
    #[track_caller]
    fn check(&self, postgresql: &Postgresql, when: &str) -> usize {
        let records = self.kafka.records(&self.topic);
        let alerts = alert_oracle::alerts(postgresql, &self.url);
        let expected = alert_oracle::expected(&records, &alerts);
        let expected: Vec<_> = expected.into_iter().collect();
        let begun = Instant::now();
        while alert_oracle::stored(postgresql, &self.url) != expected && begun.elapsed() < PATIENCE
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        let stored = alert_oracle::stored(postgresql, &self.url);
        let missing: Vec<_> = expected.iter().filter(|firing| !stored.contains(firing)).collect();
        let wrong: Vec<_> = stored.iter().filter(|firing| !expected.contains(firing)).collect();
        assert!(missing.is_empty() && wrong.is_empty(), "{when}: {missing:?}, not {wrong:?}");
        assert_eq!(stored.len(), expected.len(), "{when}: one of them is there twice");
        let alerts = alert_oracle::alerts(postgresql, &self.url);
        let triggered: BTreeSet<i64> =
            alerts.iter().filter(|alert| alert.is_triggered).map(|alert| alert.id).collect();
        assert_eq!(triggered, expected.iter().map(|(id, _)| *id).collect(), "{when}");
        eventually(PATIENCE, "every firing is on its topic", || {
            let told: BTreeSet<i64> = self
                .kafka
                .records(&self.firings)
                .iter()
                .map(|record| Firing::decode(&*record.value).expect("a firing").alert_id)
                .collect();
            told == triggered
        });
        expected.len()
    }
}

#[test]
fn what_fires_is_what_the_log_says() {
    let postgresql = postgresql();
    let mut rig = Rig::new("fires", postgresql);
    rig.trade(500);
    let mut service = rig.service();
    service.wait_ready();
    for _ in 0..5 {
        assert_eq!(rig.ask(200), 200);
        rig.trade(300);
    }
    let fired = rig.check(postgresql, "while it runs");
    assert!((100..1_000).contains(&fired), "{fired} of 1,000");
    assert_eq!(service.terminate(), Exit::Code(0));
    rig.trade(300);
    let _service = rig.service();
    rig.check(postgresql, "after a restart");
}

#[test]
fn a_killed_service_loses_nothing_and_fires_nothing_twice() {
    let postgresql = postgresql();
    let mut rig = Rig::new("killed", postgresql);
    for round in 0..5 {
        let mut service = rig.service();
        service.wait_ready();
        rig.ask(150);
        rig.trade(300);
        if round % 2 == 0 {
            eventually(PATIENCE, "it has begun", || {
                service.metric("gostocks_records_consumed_total") > 0.0
            });
        }
        service.kill9();
        rig.trade(100);
    }
    let _service = rig.service();
    assert!(rig.check(postgresql, "after five kills") > 100);
}

#[test]
fn a_killed_postgresql_loses_nothing() {
    let mut server: Server = private_postgresql();
    let postgresql = Postgresql::at(server.address());
    let mut rig = Rig::new("postgresql", &postgresql);
    let mut service = rig.service();
    service.wait_ready();
    for _ in 0..3 {
        assert_eq!(rig.ask(100), 100);
        rig.trade(200);
        server.kill9();
        rig.trade(200);
        server.restart();
        eventually(PATIENCE, "alerts are made again", || rig.ask(1) == 1);
        rig.trade(200);
        rig.check(&postgresql, "after a kill of PostgreSQL");
    }
    assert!(service.is_alive(), "it never ended");
}

#[test]
fn two_services_share_the_partitions_and_fire_nothing_twice() {
    let postgresql = postgresql();
    let mut rig = Rig::new("two", postgresql);
    let mut one = rig.service();
    one.wait_ready();
    let mut two = rig.service_at(free_port());
    for round in 0..4 {
        assert_eq!(rig.ask(150), 150);
        rig.trade(300);
        if round == 2 {
            two.kill9();
        }
    }
    assert!(rig.check(postgresql, "after one of two was killed") > 100);
    assert_eq!(one.terminate(), Exit::Code(0));
}

#[test]
fn an_alert_that_the_owner_hears_of_late_is_judged_by_the_log() {
    let postgresql = postgresql();
    let mut rig = Rig::new("late", postgresql);
    let mut service = rig.service();
    service.wait_ready();
    rig.trade(2_000);
    eventually(PATIENCE, "it has read them", || {
        service.metric("gostocks_records_consumed_total") as usize == 2_000
    });
    assert_eq!(service.terminate(), Exit::Code(0));
    // As a create that took long leaves it: armed before the checkpoint, and committed after.
    let statement = "INSERT INTO alerts \
         (user_id, symbol, condition, target_price, partition, armed_log, armed_offset) \
         SELECT 1, symbol, condition, target, partition, log_id, offset_ FROM logs, (VALUES ";
    let rows: Vec<String> = (0..40)
        .flat_map(|number| {
            let symbol = format!("SYMBOL:{number}");
            let partition = broker::partition_of(&symbol, 6);
            [(1, 99.0, 0), (2, 1.0, 100), (1, 50.0, 200), (2, 0.001, 0)].map(
                |(condition, target, offset)| {
                    format!("('{symbol}', {condition}, {target}, {partition}, {offset})")
                },
            )
        })
        .collect();
    let names = ") AS new (symbol, condition, target, partition, offset_)";
    postgresql.execute(&rig.url, &format!("{statement}{}{names}", rows.join(", ")));
    let service = rig.service();
    assert!(rig.check(postgresql, "armed in the past") > 80);
    assert!(service.metric("gostocks_alerts_rewound_total") >= 100.0);
    rig.trade(300);
    rig.check(postgresql, "and on");
}
