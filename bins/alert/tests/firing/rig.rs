use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rpc::alert::v1::{AlertCondition, CreateAlertRequest};
use testkit::{Alerts, Kafka, RandomMarket, kafka};

/// A topic with a random market's trades, and the alert service on it.
pub(crate) struct Rig {
    pub(crate) kafka: &'static Kafka,
    pub(crate) topic: String,
    pub(crate) alerts: Alerts,
    market: RandomMarket,
    random: SmallRng,
}

impl Rig {
    pub(crate) fn new(hint: &str, postgresql: &str) -> Self {
        let kafka = kafka();
        let topic = kafka.topic(hint, 6);
        Self {
            kafka,
            alerts: Alerts::new(kafka.brokers(), &topic, postgresql),
            topic,
            market: RandomMarket::new(11),
            random: SmallRng::seed_from_u64(12),
        }
    }

    pub(crate) fn trade(&mut self, records: usize) {
        let records = self.market.records(records);
        let records = records.iter().map(|(symbol, value)| (symbol.as_str(), value.as_slice()));
        self.kafka.produce(&self.topic, records);
    }

    /// How many alerts were made for certain.
    pub(crate) fn ask(&mut self, count: usize) -> usize {
        let wishes: Vec<CreateAlertRequest> = (0..count).map(|_| self.wish()).collect();
        self.alerts.create(wishes).len()
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
}
