use std::time::Duration;

use serde_json::Value;

use crate::oracle::{self, LoggedTrade};
use crate::{
    Kafka, Program, Recording, Server, eventually, eventually_some, free_port, http, redis,
};

/// Long enough for a group to give up a dead member, beside a busy compiler.
const PATIENCE: Duration = Duration::from_secs(60);

/// The programs between a feed and a price, on a topic and a Redis of their own.
///
/// Their ports are the same over restarts, so that each finds the next one's new life.
#[derive(Debug)]
pub struct Pipeline {
    kafka: Kafka,
    topic: String,
    redis: Server,
    feed: u16,
    gateway: u16,
    gateway_grpc: u16,
}

impl Pipeline {
    /// The topic does not exist yet: the programs make it.
    pub fn new(brokers: &str, hint: &str) -> Self {
        let kafka = Kafka::at(brokers);
        let topic = kafka.topic_name(hint);
        let (feed, gateway, gateway_grpc) = (free_port(), free_port(), free_port());
        Self { kafka, topic, redis: redis(), feed, gateway, gateway_grpc }
    }

    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    pub fn redis(&mut self) -> &mut Server {
        &mut self.redis
    }

    /// The name of a consumer group, for the tests share a broker.
    pub fn group(&self, name: &str) -> String {
        format!("{name}-{}", self.topic)
    }

    /// Where [`ingestor`](Self::ingestor) looks for its feed.
    pub fn feed_port(&self) -> u16 {
        self.feed
    }

    /// `loadgen feed` of that recording.
    pub fn feed(&self, recording: &Recording, arguments: &[&str]) -> Program {
        let file = recording.path().to_str().expect("a path in UTF-8");
        self.any_feed(&[&["--file", file], arguments].concat())
    }

    /// `loadgen feed`: by itself, of a synthetic market.
    pub fn any_feed(&self, arguments: &[&str]) -> Program {
        let listen = format!("127.0.0.1:{}", self.feed);
        let fixed = ["feed", "--listen", listen.as_str()];
        let mut feed = Program::start("loadgen", &[&fixed, arguments].concat(), &[]);
        feed.wait_for_log("feed listening");
        feed
    }

    /// The settings of [`ingestor`](Self::ingestor) but for those of the test. It comes back to a
    /// feed that has turned it away at once.
    pub fn ingestor(&self, symbols: &str, settings: &[(&str, &str)]) -> Program {
        let url = format!("ws://127.0.0.1:{}/?token=SECRET", self.feed);
        let fixed = [
            ("FEED_URL", url.as_str()),
            ("FEED_BACKOFF", "50ms"),
            ("FEED_REFUSED_BACKOFF", "50ms"),
            ("SYMBOLS", symbols),
            ("KAFKA_BROKERS", self.kafka.brokers()),
            ("KAFKA_TOPIC", &self.topic),
        ];
        Program::start("ingestor", &[], &[&fixed, settings].concat())
    }

    pub fn processor(&self, group: &str) -> Program {
        self.processor_with(group, &[])
    }

    /// As [`processor`](Self::processor), with further settings.
    pub fn processor_with(&self, group: &str, settings: &[(&str, &str)]) -> Program {
        let group = self.group(group);
        let fixed = [
            ("KAFKA_BROKERS", self.kafka.brokers()),
            ("KAFKA_TOPIC", &self.topic),
            ("KAFKA_GROUP", &group),
            ("REDIS_ADDR", self.redis.address()),
            // The oracle wants all of them.
            ("STREAM_TRADES", "100000000"),
        ];
        Program::start("processor", &[], &[&fixed, settings].concat())
    }

    pub fn gateway(&self, settings: &[(&str, &str)]) -> Program {
        let (port, grpc) = (self.gateway.to_string(), self.gateway_grpc.to_string());
        let fixed = [
            ("PORT", port.as_str()),
            ("MARKET_GRPC_PORT", &grpc),
            ("REDIS_ADDR", self.redis.address()),
            ("KAFKA_TOPIC", &self.topic),
        ];
        Program::start("gateway", &[], &[&fixed, settings].concat())
    }

    /// `host:port` of [`gateway`](Self::gateway).
    pub fn gateway_address(&self) -> String {
        format!("127.0.0.1:{}", self.gateway)
    }

    /// `host:port` of the calls of [`gateway`](Self::gateway).
    pub fn gateway_grpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.gateway_grpc)
    }

    /// The gateway's status and JSON. `None` where it does not answer.
    pub fn get(&self, path: &str) -> Option<(u16, Value)> {
        let (status, body) = http::get(&self.gateway_address(), path).ok()?;
        Some((status, serde_json::from_str(&body).expect("JSON")))
    }

    /// The trades that have reached the log; each symbol's in order.
    pub fn logged(&self) -> Vec<LoggedTrade> {
        oracle::trades(&self.kafka.records(&self.topic))
    }

    /// Waits until so many trades have reached the log.
    #[track_caller]
    pub fn wait_logged(&self, count: usize) -> Vec<LoggedTrade> {
        eventually_some(PATIENCE, &format!("{count} trades are on the log"), || {
            Some(self.logged()).filter(|trades| trades.len() >= count)
        })
    }

    /// Waits until the processor has read the whole topic again, whatever it thought of it.
    #[track_caller]
    pub fn wait_read(&self, processor: &Program) {
        let records = self.kafka.records(&self.topic).len();
        eventually(PATIENCE, "the whole topic is read", || {
            processor.metric("gostocks_records_consumed_total") as usize >= records
        });
    }

    /// Waits until Redis holds exactly what the log says. The log must not grow meanwhile.
    #[track_caller]
    pub fn check_redis(&self, when: &str) {
        let expected = oracle::expected_of(&self.kafka.records(&self.topic));
        let mut stored = Default::default();
        let same = servers::poll(PATIENCE, || {
            stored = oracle::stored_in(self.redis.address(), &self.topic);
            (stored == expected).then_some(())
        });
        if same.is_none() {
            panic!("{when}: {}", stored.difference(&expected).unwrap_or_default());
        }
    }

    /// Waits until the gateway answers with what the log says is each symbol's latest price.
    #[track_caller]
    pub fn check_prices(&self, when: &str) {
        for (symbol, expected) in oracle::expected(&self.logged()) {
            let path = format!("/price/{}", percent_encoded(&symbol));
            eventually(PATIENCE, &format!("{when}: the price of {symbol}"), || {
                self.get(&path).is_some_and(|(status, body)| {
                    status == 200
                        && body["symbol"] == symbol.as_str()
                        && body["price"] == expected.price
                        && body["timestamp"] == expected.timestamp
                })
            });
        }
    }
}

/// Every byte, so that nothing in a symbol means something in a path.
fn percent_encoded(symbol: &str) -> String {
    symbol.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
