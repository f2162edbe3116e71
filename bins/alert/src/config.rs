use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use broker::TopicSpec;
use service::{Configuration, Settings, parse};
use store::{DatabaseUrl, Quota};

#[derive(Clone, Debug)]
pub struct Config {
    /// `GRPC_HOST` and `GRPC_PORT`.
    pub address: SocketAddr,
    pub database: DatabaseUrl,
    pub brokers: String,
    pub topic: String,
    /// Of topics that have to be made.
    pub partitions: i32,
    pub retention: Duration,
    /// Bytes a partition.
    pub retention_bytes: Option<u64>,
    pub group: String,
    pub session_timeout: Duration,
    /// Where firings are published.
    pub firings_topic: String,
    /// How many trades may gather while PostgreSQL is busy. Full means that it is behind: the
    /// polling thread waits, and the log keeps the rest.
    pub batch_trades: usize,
    /// Where snapshots of partitions are kept.
    pub snapshots: PathBuf,
    /// How often each partition's is made anew.
    pub snapshot_every: Duration,
    /// How many alerts a user may have.
    pub quota: Option<Quota>,
    /// Of alerts that fire again and again.
    pub min_cooldown: Duration,
}

impl Config {
    pub(crate) fn topic_spec(&self) -> TopicSpec {
        self.spec(&self.topic)
    }

    pub(crate) fn firings_spec(&self) -> TopicSpec {
        self.spec(&self.firings_topic)
    }

    fn spec(&self, name: &str) -> TopicSpec {
        TopicSpec {
            name: name.to_owned(),
            partitions: self.partitions,
            retention: Some(self.retention),
            retention_bytes: self.retention_bytes,
        }
    }
}

impl Configuration for Config {
    const METRICS_ADDR: &'static str = "127.0.0.1:9103";
    /// The index: evaluation is slower by a third to two thirds without.
    const HUGE_PAGES: bool = true;

    fn read(settings: &mut Settings) -> Option<Self> {
        let host = settings.read("GRPC_HOST", Some("127.0.0.1"), parse::host);
        let port = settings.read("GRPC_PORT", Some("50051"), parse::port);
        let database = settings.read(
            "DATABASE_URL",
            Some("postgres://user:password@localhost:5432/gostocks?sslmode=disable"),
            DatabaseUrl::parse,
        );
        let brokers = settings.read("KAFKA_BROKERS", Some("localhost:9092"), parse::brokers);
        let topic = settings.read("KAFKA_TOPIC", Some("market_ticks"), parse::topic);
        let partitions = settings.read("KAFKA_PARTITIONS", Some("6"), parse::number(1..=10_000));
        let days = Duration::from_secs(1)..=Duration::from_secs(10 * 365 * 86_400);
        let retention = settings.read("KAFKA_RETENTION", Some("168h"), parse::duration_in(days));
        let retention_bytes =
            settings.optional("KAFKA_RETENTION_BYTES", parse::number(1_048_576..=u64::MAX / 2));
        let group = settings.read("KAFKA_GROUP", Some("alert-service-group"), parse::text);
        let session = Duration::from_secs(6)..=Duration::from_secs(300);
        let session_timeout =
            settings.read("KAFKA_SESSION_TIMEOUT", Some("6s"), parse::duration_in(session));
        let firings_topic =
            settings.read("KAFKA_FIRINGS_TOPIC", Some("alert_firings"), parse::topic);
        let batch_trades =
            settings.read("BATCH_TRADES", Some("100000"), parse::number(1..=10_000_000));
        let snapshots = settings.read("ALERT_SNAPSHOTS", Some("snapshots"), parse::text);
        let period = Duration::from_secs(1)..=Duration::from_secs(86_400);
        let snapshot_every =
            settings.read("ALERT_SNAPSHOT_EVERY", Some("60s"), parse::duration_in(period));
        let quota = settings.optional("ALERT_QUOTA", parse::number(1..=u32::MAX));
        let cooldowns = Duration::ZERO..=Duration::from_secs(86_400);
        let min_cooldown =
            settings.read("ALERT_MIN_COOLDOWN", Some("1s"), parse::duration_in(cooldowns));
        Some(Self {
            address: SocketAddr::new(host?, port?),
            database: database?,
            brokers: brokers?,
            topic: topic?,
            partitions: partitions?,
            retention: retention?,
            retention_bytes: retention_bytes?,
            group: group?,
            session_timeout: session_timeout?,
            firings_topic: firings_topic?,
            batch_trades: batch_trades?,
            snapshots: snapshots?.into(),
            snapshot_every: snapshot_every?,
            quota: quota?.map(Quota::new),
            min_cooldown: min_cooldown?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_originals() {
        let config: Config = service::settings_of(&[]).expect("all good");
        assert_eq!(config.address.to_string(), "127.0.0.1:50051");
        assert_eq!(config.topic, "market_ticks");
        assert_eq!(config.group, "alert-service-group");
        assert_eq!(config.firings_topic, "alert_firings");
    }

    #[test]
    fn each_wrong_setting_is_named_and_no_password_is_shown() {
        for (name, value) in [
            ("GRPC_PORT", "0"),
            ("GRPC_HOST", "all"),
            ("DATABASE_URL", "mysql://user:secret@localhost/x"),
            ("DATABASE_URL", "user=user password=secret"),
            ("KAFKA_BROKERS", "no port"),
            ("KAFKA_TOPIC", "a/b"),
            ("KAFKA_FIRINGS_TOPIC", "a/b"),
            ("KAFKA_PARTITIONS", "0"),
            ("KAFKA_RETENTION", "7 days"),
            ("KAFKA_GROUP", ""),
            ("KAFKA_SESSION_TIMEOUT", "1s"),
            ("BATCH_TRADES", "many"),
            ("ALERT_SNAPSHOTS", ""),
            ("ALERT_SNAPSHOT_EVERY", "0s"),
            ("ALERT_QUOTA", "0"),
            ("ALERT_MIN_COOLDOWN", "-1s"),
        ] {
            let errors = service::settings_of::<Config>(&[(name, value)]).expect_err(name);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].starts_with(name), "{errors:?}");
            assert!(!errors[0].contains("secret"), "{errors:?}");
        }
    }
}
