//! The real program before a real Redis: prices, and what happens while Redis is away.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::{Exit, Program, Server, eventually, free_port, http};

const PATIENCE: Duration = Duration::from_secs(30);

struct Gateway {
    program: Program,
    address: String,
}

impl Gateway {
    fn start(redis: &Server, redis_timeout: &str) -> Self {
        let (port, grpc) = (free_port().to_string(), free_port().to_string());
        let nobody = format!("127.0.0.1:{}", free_port());
        let settings = [
            ("PORT", port.as_str()),
            ("MARKET_GRPC_PORT", &grpc),
            ("ALERT_SERVICE_ADDR", &nobody),
            ("REDIS_ADDR", redis.address()),
            ("REDIS_TIMEOUT", redis_timeout),
            ("REQUEST_TIMEOUT", "60s"),
            ("SHUTDOWN_TIMEOUT", "60s"),
            ("LOG", "info,access=debug"),
        ];
        let mut program = Program::start("gateway", &[], &settings);
        program.wait_ready();
        Self { program, address: format!("127.0.0.1:{port}") }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = http::get(&self.address, path).expect("an answer");
        (status, serde_json::from_str(&body).expect("JSON"))
    }
}

fn connect(redis: &Server) -> redis::Connection {
    let client = redis::Client::open(format!("redis://{}", redis.address())).expect("an address");
    client.get_connection().expect("connected")
}

/// What the processor leaves of one symbol.
fn store(redis: &Server, symbol: &str, price: &str, timestamp: &str) {
    let fields = [
        ("price", price),
        ("timestamp", timestamp),
        ("volume", "0.25"),
        ("received_at", "1700000000123456789"),
        ("day", "1699920000000 149.5 151 149 150.25 12.5 3 1699920000000@1.0 1700000000000@3.0"),
    ];
    redis::cmd("HSET")
        .arg(format!("price:{{{symbol}}}"))
        .arg(&fields)
        .exec(&mut connect(redis))
        .expect("stored");
}

#[test]
fn a_price_is_served_under_every_spelling_of_its_symbol() {
    let redis = testkit::redis();
    for symbol in ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1", "BRK/B", "A%", "é", "{X}"] {
        store(&redis, symbol, "150.25", "1700000000000");
    }
    let mut gateway = Gateway::start(&redis, "500ms");
    let day = json!({
        "start": 1_699_920_000_000_i64, "open": 149.5, "high": 151.0, "low": 149.0, "volume": 12.5
    });
    for (path, symbol) in [
        ("AAPL", "AAPL"),
        ("aapl", "AAPL"),
        ("%41apl?token=secret", "AAPL"),
        ("BINANCE:BTCUSDT", "BINANCE:BTCUSDT"),
        ("binance%3Abtcusdt", "BINANCE:BTCUSDT"),
        ("IC%20MARKETS:1", "IC MARKETS:1"),
        ("BRK%2FB", "BRK/B"),
        ("A%25", "A%"),
        ("%C3%A9", "é"),
        ("%7Bx%7D", "{X}"),
    ] {
        let expected = json!({
            "symbol": symbol, "price": 150.25, "timestamp": 1_700_000_000_000_i64,
            "volume": 0.25, "day": day, "stale": true,
        });
        let (status, mut found) = gateway.get(&format!("/price/{path}"));
        let age = found.as_object_mut().and_then(|found| found.remove("age_ms"));
        assert!(age.is_some_and(|age| age.as_i64() > Some(0)), "{path}");
        assert_eq!((status, found), (200, expected), "{path}");
    }
    let (status, body) = gateway.get("/price/msft");
    assert_eq!((status, &body["detail"]), (404, &json!("no trade of MSFT has been seen")));
    // It is ready without the alert service, and says so.
    let degraded = json!({
        "status": "ready", "service": "gateway", "missing": {},
        "degraded": {"alert": "does not answer"},
    });
    eventually(PATIENCE, "degraded", || gateway.get("/readyz") == (200, degraded.clone()));

    let served =
        r#"gostocks_http_requests_total{method="GET",route="/price/{symbol}",status="200"}"#;
    assert!(gateway.program.metric(served) >= 10.0);
    assert!(gateway.program.metric("gostocks_redis_read_seconds_count") >= 11.0);
    let exit = gateway.program.terminate();
    assert_eq!(exit, Exit::Code(0));
    let log = gateway.program.log();
    assert!(log.contains(r#""path":"/price/%41apl""#) && !log.contains("secret"), "{log}");
    assert!(log.contains(r#""request_id":""#), "{log}");
}

#[test]
fn a_key_that_is_not_ours_is_no_price_and_no_outage() {
    let redis = testkit::redis();
    store(&redis, "AAPL", "NaN", "1700000000000");
    store(&redis, "MSFT", "150", "yesterday");
    let gateway = Gateway::start(&redis, "500ms");
    assert_eq!(gateway.get("/price/AAPL").0, 500);
    assert_eq!(gateway.get("/price/MSFT").0, 500);
    assert_eq!(gateway.get("/readyz").0, 200);
    let log = gateway.program.log();
    assert!(log.contains("price:{AAPL} holds what GoStocks did not write"), "{log}");
}

#[test]
fn while_redis_is_away_the_answer_is_503_in_time_and_then_the_price_again() {
    let mut redis = testkit::redis();
    store(&redis, "AAPL", "150.25", "1700000000000");
    let mut gateway = Gateway::start(&redis, "500ms");
    assert_eq!(gateway.get("/price/AAPL").0, 200);
    redis.stop();
    eventually(PATIENCE, "not ready", || gateway.get("/readyz").0 == 503);
    assert_eq!(gateway.get("/readyz").1["missing"], json!({"redis": "does not answer"}));
    for _ in 0..3 {
        let started = Instant::now();
        let (status, body) = gateway.get("/price/AAPL");
        assert_eq!((status, &body["status"]), (503, &json!(503)), "{body}");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    assert_eq!(gateway.get("/health").0, 200);
    assert_eq!(gateway.get("/livez").0, 200);
    redis.restart();
    store(&redis, "AAPL", "150.25", "1700000000000");
    eventually(PATIENCE, "the price is back", || gateway.get("/price/AAPL").0 == 200);
    eventually(PATIENCE, "ready again", || gateway.get("/readyz").0 == 200);
    assert_eq!(gateway.program.terminate(), Exit::Code(0));
}

/// A Redis that does nothing, until dropped: its process is stopped.
struct Paused {
    pid: Pid,
}

impl Paused {
    fn new(redis: &Server) -> Self {
        let mut info = redis::cmd("INFO");
        let info: String = info.arg("server").query(&mut connect(redis)).expect("told");
        let pid = info.lines().find_map(|line| line.strip_prefix("process_id:"));
        let pid = pid.expect("a pid").trim().parse().expect("a number");
        let paused = Self { pid: Pid::from_raw(pid) };
        kill(paused.pid, Signal::SIGSTOP).expect("it is there");
        paused
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        kill(self.pid, Signal::SIGCONT).expect("it is there");
    }
}

#[test]
fn a_redis_that_hangs_is_503_in_time_and_then_the_price_again() {
    let redis = testkit::redis();
    store(&redis, "AAPL", "150.25", "1700000000000");
    let gateway = Gateway::start(&redis, "500ms");
    let paused = Paused::new(&redis);
    let started = Instant::now();
    assert_eq!(gateway.get("/price/AAPL").0, 503);
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    eventually(PATIENCE, "not ready", || gateway.get("/readyz").0 == 503);
    drop(paused);
    eventually(PATIENCE, "the price is back", || gateway.get("/price/AAPL").0 == 200);
    eventually(PATIENCE, "ready again", || gateway.get("/readyz").0 == 200);
}

#[test]
fn a_request_under_way_is_answered_before_the_program_ends() {
    let redis = testkit::redis();
    store(&redis, "AAPL", "150.25", "1700000000000");
    let mut gateway = Gateway::start(&redis, "30s");
    let paused = Paused::new(&redis);
    let mut client = TcpStream::connect(&gateway.address).expect("connected");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.write_all(b"GET /price/AAPL HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    eventually(PATIENCE, "the request is under way", || {
        gateway.program.metric("gostocks_http_in_flight") >= 1.0
    });
    let pid = Pid::from_raw(gateway.program.pid().try_into().expect("a pid"));
    kill(pid, Signal::SIGTERM).expect("it is there");
    eventually(PATIENCE, "stopping", || gateway.program.log().contains("stopping"));
    drop(paused);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(gateway.program.wait_exit(PATIENCE), Exit::Code(0));
}

#[test]
fn a_gateway_that_starts_without_redis_waits_for_it() {
    let mut redis = testkit::redis();
    redis.stop();
    let (port, grpc) = (free_port().to_string(), free_port().to_string());
    let settings =
        [("PORT", port.as_str()), ("MARKET_GRPC_PORT", &grpc), ("REDIS_ADDR", redis.address())];
    let mut program = Program::start("gateway", &[], &settings);
    let address = format!("127.0.0.1:{port}");
    eventually(
        PATIENCE,
        "listening",
        || matches!(http::get(&address, "/readyz"), Ok((503, body)) if body.contains("redis")),
    );
    redis.restart();
    program.wait_ready();
}

#[test]
fn a_taken_port_and_wrong_settings_end_the_program() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let mut program = Program::start("gateway", &[], &[("PORT", &port)]);
    assert_eq!(program.wait_exit(PATIENCE), Exit::Code(1));
    let sentence = format!("PORT: cannot listen on 127.0.0.1:{port}: ");
    assert!(program.log().contains(&sentence), "{}", program.log());

    let mut program = Program::start("gateway", &[], &[("PORT", "http"), ("REDIS_ADDR", "")]);
    assert_eq!(program.wait_exit(PATIENCE), Exit::Code(64));
    assert_eq!(
        program.log(),
        "gateway: PORT: expected a port from 1 to 65535, found \"http\"\n\
         gateway: REDIS_ADDR is empty: give it a value, or remove it\n"
    );
}
