use std::time::{Duration, Instant};

use testkit::oracle::{self, Held};
use testkit::{Exit, Kafka, Program, RandomMarket, kafka};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A topic, a Redis or a cluster, and the processors that follow the one into the other.
pub(crate) struct Rig {
    pub(crate) kafka: &'static Kafka,
    pub(crate) topic: String,
    pub(crate) redis: String,
    market: RandomMarket,
}

impl Rig {
    /// `redis` is for `REDIS_ADDR`.
    pub(crate) fn new(hint: &str, redis: &str) -> Self {
        let kafka = kafka();
        let topic = kafka.topic(hint, 6);
        Self { kafka, topic, redis: redis.to_owned(), market: RandomMarket::new(7) }
    }

    pub(crate) fn processor(&self) -> Program {
        self.processor_of("processor-group", &[])
    }

    /// Groups are named after the topic, since the tests share a broker.
    pub(crate) fn processor_of(&self, group: &str, settings: &[(&str, &str)]) -> Program {
        let group = format!("{group}-{}", self.topic);
        let fixed = [
            ("KAFKA_BROKERS", self.kafka.brokers()),
            ("KAFKA_TOPIC", &self.topic),
            ("KAFKA_GROUP", &group),
            ("REDIS_ADDR", &self.redis),
        ];
        Program::start("processor", &[], &[&fixed, settings].concat())
    }

    /// Appends records of a random market: several trades a record, late and equal times.
    pub(crate) fn trade(&mut self, records: usize) {
        let records = self.market.records(records);
        let records = records.iter().map(|(symbol, value)| (symbol.as_str(), value.as_slice()));
        self.kafka.produce(&self.topic, records);
    }

    #[track_caller]
    pub(crate) fn rebuild(&self) {
        let settings = [
            ("KAFKA_BROKERS", self.kafka.brokers()),
            ("KAFKA_TOPIC", &self.topic),
            ("REDIS_ADDR", &self.redis),
        ];
        let mut rebuild = Program::start("processor", &["rebuild"], &settings);
        assert_eq!(rebuild.wait_exit(PATIENCE), Exit::Code(0), "{}", rebuild.log());
    }

    pub(crate) fn expected(&self) -> Held {
        oracle::expected_of(&self.kafka.records(&self.topic))
    }

    pub(crate) fn stored(&self) -> Held {
        oracle::stored_in(&self.redis, &self.topic)
    }

    /// Waits until Redis holds exactly what the log says: every candle of every interval, the day,
    /// the recent trades, and the streams as one sequence of trades a partition.
    #[track_caller]
    pub(crate) fn check(&self, when: &str) {
        let expected = self.expected();
        let mut stored = Held::default();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            stored = self.stored();
            if stored == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{when}: {}", stored.difference(&expected).unwrap_or_default());
    }
}
