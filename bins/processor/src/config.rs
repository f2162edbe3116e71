use std::time::Duration;

use broker::TopicSpec;
use market::{CandleSpec, StateSpec};
use service::{Configuration, Settings, parse};

#[derive(Clone, Debug)]
pub struct Config {
    pub brokers: String,
    pub topic: String,
    /// Of a topic that has to be made.
    pub partitions: i32,
    pub retention: Duration,
    /// Bytes a partition.
    pub retention_bytes: Option<u64>,
    pub group: String,
    pub session_timeout: Duration,
    /// May hold a password: not to be logged.
    pub redis_addr: String,
    /// Each interval once.
    pub candles: Vec<CandleSpec>,
    /// How many of the last trades of a symbol are kept.
    pub recent_ticks: usize,
    /// How many of the last trades of a partition are kept in its stream.
    pub stream_trades: u64,
    /// How many trades may gather while Redis is busy. Full means that Redis is behind: the
    /// polling thread waits, and the log keeps the rest.
    pub batch_trades: usize,
}

impl Config {
    pub(crate) fn topic_spec(&self, name: String) -> TopicSpec {
        TopicSpec {
            name,
            partitions: self.partitions,
            retention: Some(self.retention),
            retention_bytes: self.retention_bytes,
        }
    }

    pub(crate) fn state(&self) -> StateSpec {
        StateSpec { candles: self.candles.clone(), recent: self.recent_ticks }
    }

    pub(crate) fn dead_topic(&self) -> String {
        format!("{}.dead", self.topic)
    }
}

impl Configuration for Config {
    const METRICS_ADDR: &'static str = "127.0.0.1:9102";

    fn read(settings: &mut Settings) -> Option<Self> {
        let brokers = settings.read("KAFKA_BROKERS", Some("localhost:9092"), parse::brokers);
        let topic = settings.read("KAFKA_TOPIC", Some("market_ticks"), parse::topic);
        let partitions = settings.read("KAFKA_PARTITIONS", Some("6"), parse::number(1..=10_000));
        let days = Duration::from_secs(1)..=Duration::from_secs(10 * 365 * 86_400);
        let retention = settings.read("KAFKA_RETENTION", Some("168h"), parse::duration_in(days));
        let retention_bytes =
            settings.optional("KAFKA_RETENTION_BYTES", parse::number(1_048_576..=u64::MAX / 2));
        let group = settings.read("KAFKA_GROUP", Some("processor-group"), parse::text);
        let session = Duration::from_secs(6)..=Duration::from_secs(300);
        let session_timeout =
            settings.read("KAFKA_SESSION_TIMEOUT", Some("6s"), parse::duration_in(session));
        let redis_addr = settings.read("REDIS_ADDR", Some("localhost:6379"), parse::redis_addr);
        let candles = settings.read("CANDLES", Some(market::CANDLES), market::parse_candle_specs);
        let recent_ticks =
            settings.read("RECENT_TICKS", Some("50"), parse::number(0..=wire::slots::MAX_SLOTS));
        let stream_trades =
            settings.read("STREAM_TRADES", Some("200000"), parse::number(1..=1_000_000_000));
        let batch_trades =
            settings.read("BATCH_TRADES", Some("100000"), parse::number(1..=10_000_000));
        Some(Self {
            brokers: brokers?,
            topic: topic?,
            partitions: partitions?,
            retention: retention?,
            retention_bytes: retention_bytes?,
            group: group?,
            session_timeout: session_timeout?,
            redis_addr: redis_addr?,
            candles: candles?,
            recent_ticks: recent_ticks?,
            stream_trades: stream_trades?,
            batch_trades: batch_trades?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candles_are_of_six_intervals() {
        let config: Config = service::settings_of(&[]).expect("all good");
        let names = config.candles.iter().map(|spec| format!("{}:{}", spec.interval, spec.retain));
        assert_eq!(names.collect::<Vec<_>>().join(","), market::CANDLES);
    }

    #[test]
    fn defaults_are_the_originals() {
        let config: Config = service::settings_of(&[]).expect("all good");
        assert_eq!(config.topic, "market_ticks");
        assert_eq!(config.group, "processor-group");
        assert_eq!(config.dead_topic(), "market_ticks.dead");
    }

    #[test]
    fn each_wrong_setting_is_named() {
        for (name, value) in [
            ("KAFKA_BROKERS", "no port"),
            ("KAFKA_TOPIC", "a/b"),
            ("KAFKA_PARTITIONS", "0"),
            ("KAFKA_RETENTION", "7 days"),
            ("KAFKA_RETENTION_BYTES", "1"),
            ("KAFKA_GROUP", ""),
            ("KAFKA_SESSION_TIMEOUT", "1s"),
            ("REDIS_ADDR", "redis"),
            ("CANDLES", "1m"),
            ("CANDLES", "1m:0"),
            ("CANDLES", "7m:10"),
            ("CANDLES", "1m:10,60s:20"),
            ("RECENT_TICKS", "-1"),
            ("RECENT_TICKS", "5000"),
            ("STREAM_TRADES", "0"),
            ("BATCH_TRADES", "many"),
        ] {
            let errors = service::settings_of::<Config>(&[(name, value)]).expect_err(name);
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].starts_with(name), "{errors:?}");
        }
    }
}
