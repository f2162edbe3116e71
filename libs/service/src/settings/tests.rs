use super::*;

/// One setting of each parser, and of each way to be absent.
#[derive(Debug, PartialEq)]
struct Config {
    port: u16,
    host: std::net::IpAddr,
    brokers: String,
    redis: String,
    symbols: Vec<String>,
    linger: Duration,
    pause: Duration,
    count: u32,
    topic: String,
    key: Option<String>,
    note: Option<String>,
    database: String,
}

impl Configuration for Config {
    const METRICS_ADDR: &'static str = "127.0.0.1:9100";

    fn read(settings: &mut Settings) -> Option<Self> {
        let port = settings.read("PORT", Some("8080"), parse::port);
        let host = settings.read("HOST", Some("127.0.0.1"), parse::host);
        let brokers = settings.read("KAFKA_BROKERS", Some("localhost:9092"), parse::brokers);
        let redis = settings.read("REDIS_ADDR", Some("localhost:6379"), parse::redis_addr);
        let symbols = settings.read("SYMBOLS", Some("AAPL,IC MARKETS:1"), parse::symbols);
        let linger = settings.read("LINGER", Some("5ms"), parse::duration);
        let bounds = Duration::from_millis(10)..=Duration::from_secs(60);
        let pause = settings.read("PAUSE", Some("1s"), parse::duration_in(bounds));
        let count = settings.read("COUNT", Some("6"), parse::number(1..=1_000));
        let topic = settings.read("KAFKA_TOPIC", Some("market_ticks"), parse::topic);
        let key = settings.optional_or_empty("FINNHUB_API_KEY", parse::text);
        let note = settings.optional("NOTE", parse::text);
        let database = settings.read("DATABASE_URL", None, parse::text);
        Some(Self {
            port: port?,
            host: host?,
            brokers: brokers?,
            redis: redis?,
            symbols: symbols?,
            linger: linger?,
            pause: pause?,
            count: count?,
            topic: topic?,
            key: key?,
            note: note?,
            database: database?,
        })
    }
}

fn read(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let mut all = vec![("DATABASE_URL", "host=x")];
    all.extend(variables);
    settings_of(&all)
}

#[track_caller]
fn check_wrong(name: &str, value: &str, sentence: &str) {
    assert_eq!(read(&[(name, value)]), Err(vec![format!("{name}{sentence}")]), "{name}={value:?}");
}

#[track_caller]
fn good(name: &str, value: &str) -> Config {
    read(&[(name, value)]).unwrap_or_else(|errors| panic!("{name}={value:?}: {errors:?}"))
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = read(&[]).expect("all good");
    assert_eq!(config.port, 8080);
    assert_eq!(config.symbols, ["AAPL", "IC MARKETS:1"]);
    assert_eq!(config.linger, Duration::from_millis(5));
    assert_eq!((config.key, config.note), (None, None));
}

#[test]
fn each_wrong_setting_gets_its_sentence() {
    let port = |found: &str| format!(": expected a port from 1 to 65535, found {found:?}");
    for bad in ["0", "65536", "-1", "+80", "http", "80a", "8 0", "99999999999999999999"] {
        check_wrong("PORT", bad, &port(bad));
    }
    for (name, bad) in [("PORT", ""), ("PORT", "  "), ("NOTE", ""), ("SYMBOLS", "")] {
        check_wrong(name, bad, " is empty: give it a value, or remove it");
    }
    let host = ": expected an IP address to listen on, such as 127.0.0.1 or 0.0.0.0, found";
    for bad in ["example.com", "1.2.3", "127.0.0.1:80", "*"] {
        check_wrong("HOST", bad, &format!("{host} {bad:?}"));
    }
    let brokers = ": expected host:port[,host:port…], found";
    for (bad, entry) in [
        ("localhost", "localhost"),
        ("a:1,,b:2", ""),
        ("a:1,b", "b"),
        ("a:0", "a:0"),
        ("a:65536", "a:65536"),
        (":9092", ":9092"),
        ("PLAINTEXT://a:1", "PLAINTEXT://a:1"),
        ("a b:1", "a b:1"),
        ("::1:9092", "::1:9092"),
        ("[::1:9092", "[::1:9092"),
    ] {
        check_wrong("KAFKA_BROKERS", bad, &format!("{brokers} {entry:?}"));
    }
    let redis = ": expected host:port, or a redis:// URL; for a cluster host:port,host:port, or a \
                 redis-cluster:// URL";
    for bad in ["localhost", "localhost:x", "localhost:0", "a:1,b", "/var/run/redis.sock"] {
        check_wrong("REDIS_ADDR", bad, &format!("{redis}, found {bad:?}"));
    }
    // A password is not repeated.
    check_wrong("REDIS_ADDR", "me:secret@localhost", redis);
    check_wrong("REDIS_ADDR", "http://a:1", &format!("{redis}; the URL's scheme is another"));
    check_wrong("REDIS_ADDR", "rediss://a:1", &format!("{redis}; TLS to Redis is not supported"));
    for bad in [
        "redis://",
        "redis://:secret@",
        "redis://:secret@host:port",
        "redis://a b",
        "redis://a:1,b:2",
        "redis-cluster://me:secret@a",
    ] {
        check_wrong("REDIS_ADDR", bad, &format!("{redis}; the URL's host or port is wrong"));
    }
    let symbols =
        ": expected symbols separated by commas, each of 1 to 64 bytes, such as AAPL,MSFT";
    check_wrong("SYMBOLS", "AAPL,,MSFT", &format!("{symbols}, found \"\""));
    check_wrong("SYMBOLS", "AAPL,", &format!("{symbols}, found \"\""));
    check_wrong("SYMBOLS", "A\tB", &format!("{symbols}, found \"A\\tB\""));
    let long = "X".repeat(65);
    check_wrong("SYMBOLS", &long, &format!("{symbols}, found {long:?}"));
    let duration = ": expected a duration such as 250ms, 5s or 1m, found";
    for bad in ["5", "s", "-5s", "1.5s", "5 parsecs", "99999999999999999999s", "99999999h"] {
        check_wrong("LINGER", bad, &format!("{duration} {bad:?}"));
        check_wrong("SHUTDOWN_TIMEOUT", bad, &format!("{duration} {bad:?}"));
    }
    check_wrong("PAUSE", "9ms", ": expected from 10ms to 60s, found \"9ms\"");
    check_wrong("PAUSE", "2m", ": expected from 10ms to 60s, found \"2m\"");
    for bad in ["0", "1001", "six", "1.0", "1e3", "٣"] {
        let sentence = format!(": expected a whole number from 1 to 1000, found {bad:?}");
        check_wrong("COUNT", bad, &sentence);
    }
    let topic = ": expected a topic name of 1 to 249 letters, digits, '.', '_' and '-', found";
    for bad in [".", "..", "a b", "a/b", "tücks"] {
        check_wrong("KAFKA_TOPIC", bad, &format!("{topic} {bad:?}"));
    }
    let long = "x".repeat(250);
    check_wrong("KAFKA_TOPIC", &long, &format!("{topic} {:?}…", &long[..80]));
    let address = ": expected an address and port to listen on, such as 127.0.0.1:9101, found";
    for bad in ["9101", ":9101", "example.com:9101", "127.0.0.1", "127.0.0.1:65536"] {
        check_wrong("METRICS_ADDR", bad, &format!("{address} {bad:?}"));
    }
    let log = ": expected error, warn, info, debug, trace or off, and target=level pairs, \
               separated by commas, found";
    for bad in ["verbose", "info,rdkafka", "rdkafka=loud", "info,,debug"] {
        check_wrong("LOG", bad, &format!("{log} {bad:?}"));
    }
    let collector = ": expected http://host:port (OTLP over gRPC), such as http://localhost:4317";
    for bad in ["localhost:4317", "http://localhost", "http://:4317", "http://a:1/v1", "ftp://a:1"]
    {
        check_wrong("OTEL_EXPORTER_OTLP_ENDPOINT", bad, &format!("{collector}, found {bad:?}"));
    }
    check_wrong("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@a:1", collector);
    let no_tls = format!("{collector}; TLS to a collector is not supported");
    check_wrong("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a:1", &no_tls);
    for bad in ["2", "-0.1", "NaN", "inf", "all", "10%"] {
        let sentence = format!(": expected a number from 0 to 1, found {bad:?}");
        check_wrong("OTEL_TRACES_SAMPLER_ARG", bad, &sentence);
        check_wrong("TRACES_BATCH_RATIO", bad, &sentence);
    }
    for bad in ["0", "1025", "two"] {
        let sentence = format!(": expected a whole number from 1 to 1024, found {bad:?}");
        check_wrong("TOKIO_WORKER_THREADS", bad, &sentence);
    }
}

#[test]
fn a_required_setting_that_is_absent_is_named() {
    let found = settings_of::<Config>(&[]);
    assert_eq!(found, Err(vec!["DATABASE_URL is required, and is not set".to_owned()]));
}

#[test]
fn every_mistake_is_told_at_once() {
    let errors = read(&[("PORT", "x"), ("COUNT", "y"), ("LOG", "z")]).expect_err("three mistakes");
    let names: Vec<_> = errors.iter().filter_map(|error| error.split(':').next()).collect();
    assert_eq!(names, ["LOG", "PORT", "COUNT"]);
}

#[test]
fn what_is_accepted() {
    assert_eq!(good("PORT", " 80 ").port, 80);
    assert_eq!(good("HOST", "0.0.0.0").host.to_string(), "0.0.0.0");
    assert_eq!(good("HOST", "::1").host.to_string(), "::1");
    assert_eq!(good("HOST", "localhost").host.to_string(), "127.0.0.1");
    assert_eq!(good("KAFKA_BROKERS", "a:1, b.c:2 ,[::1]:3").brokers, "a:1,b.c:2,[::1]:3");
    for redis in [
        "redis:6379",
        "127.0.0.1:1",
        "redis://host",
        "redis://me:p:a@s@host:1/0",
        "redis://:secret@[::1]:6379/1?protocol=resp3",
    ] {
        assert_eq!(good("REDIS_ADDR", redis).redis, redis);
    }
    assert_eq!(good("SYMBOLS", " aapl ,IC MARKETS:1,aapl").symbols, ["aapl", "IC MARKETS:1"]);
    for (text, milliseconds) in [("0s", 0), ("250ms", 250), ("5s", 5_000), ("2 m", 120_000)] {
        assert_eq!(good("LINGER", text).linger, Duration::from_millis(milliseconds));
    }
    assert_eq!(good("LINGER", "1h").linger, Duration::from_secs(3_600));
    assert_eq!(good("KAFKA_TOPIC", "a.B_9-z").topic, "a.B_9-z");
    assert_eq!(good("FINNHUB_API_KEY", "").key, None);
    assert_eq!(good("FINNHUB_API_KEY", "k").key.as_deref(), Some("k"));
    for log in ["debug", "INFO,rdkafka=warn", "off", "gateway=trace"] {
        good("LOG", log);
    }
    for address in ["0.0.0.0:9101", "[::1]:0", "localhost:9101"] {
        good("METRICS_ADDR", address);
    }
    good("TOKIO_WORKER_THREADS", "2");
    for endpoint in ["http://localhost:4317", "http://[::1]:4317/", "http://otel-collector:1"] {
        good("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    }
    for ratio in ["0", "1", "0.25", "1e-3"] {
        good("OTEL_TRACES_SAMPLER_ARG", ratio);
        good("TRACES_BATCH_RATIO", ratio);
    }
}

#[test]
fn the_process_environment_wins_over_the_file() {
    let file = "PORT=1\nCOUNT=2\nDATABASE_URL=user=user password=password host=127.0.0.1\n";
    let process = [("PORT".into(), "3".into())];
    let (_, config) = Settings::new(process, Some(file)).finish::<Config>().expect("all good");
    assert_eq!((config.port, config.count), (3, 2));
    assert_eq!(config.database, "user=user password=password host=127.0.0.1");
    // An empty variable is a variable: it does not fall through to the file.
    let process = [("PORT".into(), OsString::new())];
    let errors = Settings::new(process, Some(file)).finish::<Config>().expect_err("empty");
    assert_eq!(errors, ["PORT is empty: give it a value, or remove it"]);
}

#[test]
fn what_cannot_be_read_is_said() {
    use std::os::unix::ffi::OsStringExt;
    let process = [
        ("PORT".into(), OsString::from_vec(vec![0xff])),
        ("UNUSED".into(), OsString::from_vec(vec![0xff])),
        ("DATABASE_URL".into(), "x".into()),
    ];
    let errors = Settings::new(process, None).finish::<Config>().expect_err("not UTF-8");
    assert_eq!(errors, ["PORT is not UTF-8 text"]);

    let directory = tempfile::tempdir().expect("a directory");
    assert!(Settings::load(directory.path()).errors.is_empty());
    let path = directory.path().join(".env");
    std::fs::write(&path, [b'A', b'=', 0xff]).expect("written");
    assert_eq!(Settings::load(directory.path()).errors, [".env: expected UTF-8 text"]);
    std::fs::remove_file(&path).expect("removed");
    std::fs::create_dir(&path).expect("made");
    let errors = Settings::load(directory.path()).errors;
    assert!(errors[0].starts_with(".env: cannot be read: "), "{errors:?}");
}
