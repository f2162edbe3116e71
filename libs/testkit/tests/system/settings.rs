//! A table of settings that are wrong, for each program: it ends with exit code 64 and a sentence
//! that names the variable, before any port is bound.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::{Exit, Program};

/// Settings, and how the sentence about them begins.
type Row = (&'static [(&'static str, &'static str)], &'static str);

const PATIENCE: Duration = Duration::from_secs(10);
/// A feed that is set as it should be, for what is wrong elsewhere.
const FEED: (&str, &str) = ("FEED_URL", "ws://127.0.0.1:1/?token=SECRET");

const INGESTOR: &[Row] = &[
    (&[], "FEED_URL or FINNHUB_API_KEY is required"),
    (&[("FEED_URL", ""), ("FINNHUB_API_KEY", "")], "FEED_URL or FINNHUB_API_KEY is required"),
    (&[("FEED_URL", "localhost:7878")], "FEED_URL: expected"),
    (&[("FEED_URL", "https://finnhub.io/?token=SECRET")], "FEED_URL: expected"),
    (&[("FEED_URL", "ws://me:SECRET@127.0.0.1/")], "FEED_URL"),
    (&[("FINNHUB_API_KEY", "SECRET SECRET")], "FINNHUB_API_KEY: expected"),
    (&[FEED, ("SYMBOLS", "")], "SYMBOLS is empty"),
    (&[FEED, ("SYMBOLS", "AAPL,,MSFT")], "SYMBOLS: expected symbols separated by commas"),
    (&[FEED, ("SYMBOLS", "A\tB")], "SYMBOLS: expected symbols separated by commas"),
    (&[FEED, ("FEED_SILENCE", "0s")], "FEED_SILENCE: expected"),
    (&[FEED, ("FEED_BACKOFF", "soon")], "FEED_BACKOFF: expected a duration"),
    (&[FEED, ("FEED_REFUSED_BACKOFF", "-1s")], "FEED_REFUSED_BACKOFF: expected a duration"),
    (&[FEED, ("KAFKA_LINGER", "5")], "KAFKA_LINGER: expected a duration"),
    (&[FEED, ("KAFKA_LINGER", "2s")], "KAFKA_LINGER: expected from"),
    (&[FEED, ("KAFKA_IN_FLIGHT", "0")], "KAFKA_IN_FLIGHT: expected a whole number"),
    (
        &[FEED, ("KAFKA_IN_FLIGHT_REQUESTS", "6")],
        "KAFKA_IN_FLIGHT_REQUESTS: expected a whole number",
    ),
    (&[FEED, ("KAFKA_DELIVERY_TIMEOUT", "1s")], "KAFKA_DELIVERY_TIMEOUT: expected from"),
    (&[FEED, ("TICKS_PER_RECORD", "0")], "TICKS_PER_RECORD: expected a whole number from 1"),
    (&[FEED, ("TICKS_PER_RECORD", "65537")], "TICKS_PER_RECORD: expected a whole number from 1"),
    (&[FEED, ("ROUND_PACE", "21ms")], "ROUND_PACE: expected from"),
    (&[FEED, ("TICKS_PER_RECORD", "+5")], "TICKS_PER_RECORD: expected a whole number from 1"),
];

const PROCESSOR: &[Row] = &[
    (&[("KAFKA_GROUP", "")], "KAFKA_GROUP is empty"),
    (&[("KAFKA_SESSION_TIMEOUT", "1s")], "KAFKA_SESSION_TIMEOUT: expected from"),
    (&[("CANDLES", "1m:0")], "CANDLES: expected interval:number"),
    (&[("RECENT_TICKS", "5000")], "RECENT_TICKS: expected a whole number"),
    (&[("STREAM_TRADES", "0")], "STREAM_TRADES: expected a whole number"),
    (&[("BATCH_TRADES", "many")], "BATCH_TRADES: expected a whole number"),
];

const ALERT: &[Row] = &[
    (&[("GRPC_PORT", "0")], "GRPC_PORT: expected a port from 1 to 65535"),
    (&[("GRPC_PORT", "")], "GRPC_PORT is empty"),
    (&[("GRPC_HOST", "everywhere")], "GRPC_HOST: expected an IP address"),
    (&[("DATABASE_URL", "")], "DATABASE_URL is empty"),
    (&[("DATABASE_URL", "foo")], "DATABASE_URL: expected postgres://"),
    (&[("DATABASE_URL", "mysql://me:SECRET@localhost/x")], "DATABASE_URL: expected postgres://"),
    (&[("DATABASE_URL", "postgres://me:SECRET@localhost:0/x")], "DATABASE_URL"),
    (&[("DATABASE_URL", "user=me password=SECRET colour=red")], "DATABASE_URL"),
    (&[("KAFKA_FIRINGS_TOPIC", "alert firings")], "KAFKA_FIRINGS_TOPIC: expected a topic name"),
    (&[("KAFKA_GROUP", "")], "KAFKA_GROUP is empty"),
    (&[("KAFKA_SESSION_TIMEOUT", "1s")], "KAFKA_SESSION_TIMEOUT: expected from"),
    (&[("BATCH_TRADES", "many")], "BATCH_TRADES: expected a whole number"),
];

const GATEWAY: &[Row] = &[
    (&[("ALERT_SERVICE_ADDR", "")], "ALERT_SERVICE_ADDR is empty"),
    (&[("ALERT_SERVICE_ADDR", "alert")], "ALERT_SERVICE_ADDR: expected host:port"),
    (&[("PORT", "0")], "PORT: expected a port from 1 to 65535, found \"0\""),
    (&[("PORT", "65536")], "PORT: expected a port from 1 to 65535"),
    (&[("PORT", "http")], "PORT: expected a port from 1 to 65535"),
    (&[("PORT", "")], "PORT is empty"),
    (&[("GATEWAY_HOST", "everywhere")], "GATEWAY_HOST: expected an IP address"),
    (&[("REDIS_TIMEOUT", "0s")], "REDIS_TIMEOUT: expected from"),
    (&[("REQUEST_TIMEOUT", "5")], "REQUEST_TIMEOUT: expected a duration"),
];

/// Of whoever writes to or reads from Kafka.
const KAFKA: &[Row] = &[
    (&[("KAFKA_BROKERS", "")], "KAFKA_BROKERS is empty"),
    (&[("KAFKA_BROKERS", "localhost")], "KAFKA_BROKERS: expected host:port"),
    (&[("KAFKA_BROKERS", "localhost:9092,:1")], "KAFKA_BROKERS: expected host:port"),
    (&[("KAFKA_BROKERS", "localhost:99999")], "KAFKA_BROKERS: expected host:port"),
    (&[("KAFKA_TOPIC", "market ticks")], "KAFKA_TOPIC: expected a topic name"),
    (&[("KAFKA_TOPIC", "..")], "KAFKA_TOPIC: expected a topic name"),
    (&[("KAFKA_PARTITIONS", "0")], "KAFKA_PARTITIONS: expected a whole number"),
    (&[("KAFKA_RETENTION", "7 days")], "KAFKA_RETENTION: expected a duration"),
    (&[("KAFKA_RETENTION_BYTES", "1")], "KAFKA_RETENTION_BYTES: expected a whole number"),
];

const REDIS: &[Row] = &[
    (&[("REDIS_ADDR", "")], "REDIS_ADDR is empty"),
    (&[("REDIS_ADDR", "redis")], "REDIS_ADDR: expected host:port"),
    (&[("REDIS_ADDR", "http://localhost:6379")], "REDIS_ADDR: expected host:port"),
    (&[("REDIS_ADDR", "redis://:SECRET@localhost:0")], "REDIS_ADDR: expected host:port"),
];

const ALL: &[Row] = &[
    (&[("METRICS_ADDR", "9101")], "METRICS_ADDR: expected an address and port"),
    (&[("METRICS_ADDR", "")], "METRICS_ADDR is empty"),
    (&[("LOG", "verbose")], "LOG: expected"),
    (&[("SHUTDOWN_TIMEOUT", "ten")], "SHUTDOWN_TIMEOUT: expected a duration"),
    (&[("TOKIO_WORKER_THREADS", "0")], "TOKIO_WORKER_THREADS: expected a whole number"),
    (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], "OTEL_EXPORTER_OTLP_ENDPOINT is empty"),
    (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317")], "OTEL_EXPORTER_OTLP_ENDPOINT: expected"),
    (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:SECRET@a:1")], "OTEL_EXPORTER_OTLP_ENDPOINT"),
    (&[("OTEL_TRACES_SAMPLER_ARG", "")], "OTEL_TRACES_SAMPLER_ARG is empty"),
    (&[("OTEL_TRACES_SAMPLER_ARG", "2")], "OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1"),
    (&[("TRACES_BATCH_RATIO", "1%")], "TRACES_BATCH_RATIO: expected a number from 0 to 1"),
];

/// What a program says of these settings, and of a `.env`, before it ends with exit code 64.
///
/// The ports that it would bind are taken: it would say that, and end with 1, had it tried.
#[track_caller]
fn said(program: &str, settings: &[(&str, &str)], env_file: Option<&[u8]>) -> String {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [metrics, port] = taken.each_ref().map(|held| held.local_addr().expect("its address"));
    let (metrics, port) = (metrics.to_string(), port.port().to_string());
    let mut all = vec![("METRICS_ADDR", metrics.as_str()), ("PORT", &port), ("GRPC_PORT", &port)];
    all.push(("MARKET_GRPC_PORT", &port));
    all.retain(|(name, _)| settings.iter().all(|(given, _)| given != name));
    all.extend(settings);
    let folder = Folder::new(&port);
    if let Some(text) = env_file {
        fs::write(folder.0.join(".env"), text).expect("the folder is ours");
    }
    let mut program = Program::start_in(&folder.0, program, &[], &all);
    let exit = program.wait_exit(PATIENCE);
    let said = program.log();
    assert_eq!(exit, Exit::Code(64), "{settings:?}: {said}");
    assert!(!said.contains("SECRET"), "{settings:?}: {said}");
    said
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("settings-{name}"));
        fs::create_dir_all(&path).expect("the folder is ours");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Each row alone gives one line: `program: sentence`.
fn check(program: &str, base: &[(&str, &str)], tables: &[&[Row]]) {
    for (settings, sentence) in tables.iter().copied().flatten() {
        let said = said(program, &[base, settings].concat(), None);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 1, "{settings:?}: {said}");
        assert!(lines[0].starts_with(&format!("{program}: {sentence}")), "{settings:?}: {said}");
    }
}

#[test]
fn each_wrong_setting_of_the_ingestor_gets_its_sentence() {
    check("ingestor", &[], &[INGESTOR]);
    check("ingestor", &[FEED], &[KAFKA, ALL]);
}

#[test]
fn each_wrong_setting_of_the_processor_gets_its_sentence() {
    check("processor", &[], &[PROCESSOR, KAFKA, REDIS, ALL]);
}

#[test]
fn each_wrong_setting_of_the_alert_service_gets_its_sentence() {
    check("alert", &[], &[ALERT, KAFKA, ALL]);
}

#[test]
fn each_wrong_setting_of_the_gateway_gets_its_sentence() {
    check("gateway", &[], &[GATEWAY, REDIS, ALL]);
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let wrong = [("FEED_URL", "?"), ("SYMBOLS", ","), ("KAFKA_TOPIC", "/"), ("LOG", "loud")];
    let said = said("ingestor", &wrong, None);
    assert_eq!(said.lines().count(), wrong.len(), "{said}");
    for (name, _) in wrong {
        assert!(said.contains(&format!("ingestor: {name}: expected")), "{said}");
    }
}

#[test]
fn the_env_file_counts_where_the_environment_says_nothing() {
    let said_of = |file: &[u8]| said("gateway", &[], Some(file));
    assert!(said_of(b"REDIS_ADDR=nowhere\n").starts_with("gateway: REDIS_ADDR: expected"));
    assert!(said_of(b"\xEF\xBB\xBFexport REDIS_TIMEOUT='1 day'\r\n").contains("REDIS_TIMEOUT"));
    assert!(said_of(b"# fine\n\nthis line is none\n").contains("line 3"));
    assert!(said_of(b"\xFF\xFE").contains(".env: expected UTF-8 text"));
    let both = said("gateway", &[("REDIS_ADDR", "")], Some(b"REDIS_ADDR=localhost:6379\n"));
    assert!(both.starts_with("gateway: REDIS_ADDR is empty"), "the environment wins: {both}");
}

#[test]
fn a_port_that_is_taken_is_no_wrong_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    for program in ["ingestor", "processor", "alert", "gateway"] {
        let mut program = Program::start(program, &[], &[FEED, ("METRICS_ADDR", &address)]);
        assert_eq!(program.wait_exit(PATIENCE), Exit::Code(1), "{}", program.log());
        assert!(program.log().contains("METRICS_ADDR"), "{}", program.log());
    }
}
