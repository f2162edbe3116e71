//! A table of abuse, each with its answer, against the real program: afterwards it answers as
//! promptly as before, and has not grown.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::{Program, free_port, http, redis};

const PATIENCE: Duration = Duration::from_secs(20);

/// What `HTTP_IDLE_TIMEOUT` is here.
const IDLE: Duration = Duration::from_secs(1);

/// More than it takes with a thousand connections, and less than it would with what is sent here.
const MOST_MEMORY: u64 = 96 << 20;

/// What a client is told.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// An answer of this status alone, then the end of the connection.
    Once(u16),
    /// These answers, then the end of the connection.
    Twice(u16, u16),
    /// This, or the end at once: who sends on regardless may lose the answer.
    OnceOrNothing(u16),
    /// The end of the connection.
    Nothing,
}
use Told::{Nothing, Once, OnceOrNothing, Twice};

struct Gateway {
    program: Program,
    address: String,
}

impl Gateway {
    fn start(redis: &str, settings: &[(&str, &str)]) -> Self {
        let (port, grpc) = (free_port().to_string(), free_port().to_string());
        // Whatever else runs on this machine.
        let nobody = format!("127.0.0.1:{}", free_port());
        let fixed = [
            ("PORT", port.as_str()),
            ("MARKET_GRPC_PORT", &grpc),
            ("ALERT_SERVICE_ADDR", &nobody),
            ("REDIS_ADDR", redis),
            ("HTTP_IDLE_TIMEOUT", "1s"),
        ];
        let mut program = Program::start("gateway", &[], &[&fixed, settings].concat());
        program.wait_ready();
        Self { program, address: format!("127.0.0.1:{port}") }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Sends what it can of `bytes`, and hears all that comes.
    fn tell(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // It may be cut in the middle.
        let _ = stream.write_all(bytes);
        hear(&mut stream)
    }

    #[track_caller]
    fn check_health(&self, after: &str) {
        let started = Instant::now();
        let health = http::get(&self.address, "/health");
        assert_eq!(health.expect("an answer").0, 200, "after {after}");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(1), "after {after}: {took:?}");
    }

    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux");
        let kilobytes = line.trim().trim_end_matches("kB").trim();
        kilobytes.parse::<u64>().expect("a number") << 10
    }
}

/// All until the end of the connection.
fn hear(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let mut bytes = [0; 16_384];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => heard.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("still open; so far {:?}", String::from_utf8_lossy(&heard))
            }
            // A reset.
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&heard).into_owned()
}

fn statuses(heard: &str) -> Vec<u16> {
    let answers = heard.match_indices("HTTP/1.").map(|(at, _)| &heard[at..]);
    answers.filter_map(|answer| answer.get(9..12)?.parse().ok()).collect()
}

/// What is wrong with what was heard.
fn judge(name: &str, heard: &str, told: Told) -> Option<String> {
    let found = statuses(heard);
    let right = match told {
        Once(status) => found == [status],
        Twice(first, second) => found == [first, second],
        OnceOrNothing(status) => found.is_empty() || found == [status],
        Nothing => found.is_empty(),
    };
    // What the gateway's own code answers has an id, and is a problem.
    let mut problems = heard.split("HTTP/1.").filter(|answer| answer.contains("problem+json"));
    let has_ids =
        problems.all(|answer| answer.contains("x-request-id: ") && answer.contains("/problems/"));
    (!right || !has_ids).then(|| format!("{name}: {told:?}, heard {heard:?}"))
}

/// A GET of `/health` after which the connection ends, with this in its head.
fn get(headers: &str) -> Vec<u8> {
    format!("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /alerts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn json(body: &str) -> Vec<u8> {
    bytes(body.as_bytes())
}

fn bytes(body: &[u8]) -> Vec<u8> {
    post(&format!("content-length: {}\r\n", body.len()), body)
}

/// An alert, with this among its members. The alert service is away: a good one is 503.
fn alert_with(members: &str) -> Vec<u8> {
    let good = r#""user_id":1,"symbol":"AAPL","condition":"ABOVE""#;
    json(&format!("{{{good},{members}}}"))
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let body = [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    post("transfer-encoding: chunked\r\n", &body)
}

#[test]
fn each_abuse_has_its_answer_and_costs_nobody_else() {
    let redis = redis();
    let gateway = Gateway::start(redis.address(), &[]);
    let before = gateway.memory();
    let long = "x".repeat(1 << 20);
    let many: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    let keys: String = (0..4_000).map(|n| format!("\"k{n}\":{n},")).collect();
    let second = "GET /price/SMUGGLED HTTP/1.1\r\nhost: x\r\n\r\n";
    let table: Vec<(&str, Vec<u8>, Told)> = vec![
        // Length.
        ("a body that says it is too long", post("content-length: 99999999\r\n", b""), Once(413)),
        ("a chunked body that is too long", chunked(&vec![b' '; 70_000]), Once(413)),
        ("a body without an end", post("content-length: 5\r\n", b"{"), Once(408)),
        ("a header of a megabyte", get(&format!("x: {long}\r\n")), OnceOrNothing(431)),
        ("a header's name of a megabyte", get(&format!("{long}: x\r\n")), OnceOrNothing(431)),
        ("101 more headers", get(&many), Once(431)),
        ("a path of a megabyte", format!("GET /{long} HTTP/1.1\r\n\r\n").into(), OnceOrNothing(431)),
        (
            "a long query",
            format!("GET /alerts?{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", &long[..9_000])
                .into(),
            Once(414),
        ),
        (
            "a chunk with a megabyte of extension",
            post("transfer-encoding: chunked\r\n", format!("1;{long}\r\nx\r\n0\r\n\r\n").as_bytes()),
            OnceOrNothing(400),
        ),
        // JSON.
        ("bad UTF-8 in a body", bytes(b"{\"user_id\":1,\"symbol\":\"\xff\"}"), Once(400)),
        ("half a surrogate", alert_with(r#""target_price":1,"note":"\ud800""#), Once(400)),
        ("60,000 arrays", json(&"[".repeat(60_000)), Once(400)),
        ("30,000 objects", json(&"{\"a\":".repeat(10_000)), Once(400)),
        (
            "arrays in a member that nobody knows",
            alert_with(&format!(r#""target_price":1,"x":{}"#, "[".repeat(30_000))),
            Once(400),
        ),
        ("a number beyond all", alert_with(r#""target_price":1e999"#), Once(400)),
        (
            "a number of 60,000 digits",
            alert_with(&format!(r#""target_price":{}"#, "9".repeat(60_000))),
            Once(400),
        ),
        (
            "an exponent of 60,000 digits",
            alert_with(&format!(r#""target_price":1e{}"#, "9".repeat(60_000))),
            Once(400),
        ),
        ("a key twice", alert_with(r#""target_price":1,"user_id":2"#), Once(400)),
        ("a price twice", alert_with(r#""target_price":1,"target_price":2"#), Once(400)),
        ("4,000 keys", alert_with(&format!(r#"{keys}"target_price":1"#)), Once(503)),
        ("a good alert, chunked", chunked(&alert_body()), Once(503)),
        ("garbage after JSON", json("{} {}"), Once(400)),
        ("a body of zeros", bytes(&[0; 60_000]), Once(400)),
        // Smuggling.
        (
            "two lengths in one",
            post("content-length: 5\r\ncontent-length: 6\r\n", b"{}   "),
            Once(400),
        ),
        (
            "a length and chunks",
            post("content-length: 5\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n"),
            Once(400),
        ),
        (
            "chunks and a length, and another request in what one may take for the body",
            format!(
                "POST /alerts HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\
                 content-length: 6\r\n\r\n0\r\n\r\n{second}"
            )
            .into(),
            Once(400),
        ),
        (
            "a request behind a chunked one",
            format!(
                "POST /health HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
                 0\r\n\r\n{second}"
            )
            .into(),
            Once(405),
        ),
        ("chunks that are not last", post("transfer-encoding: chunked, x\r\n", b""), Once(400)),
        ("nearly chunks", post("transfer-encoding: xchunked\r\n", b""), Once(400)),
        ("a length with a sign", post("content-length: +2\r\n", b"{}"), Once(400)),
        ("a length in hex", post("content-length: 0x2\r\n", b"{}"), Once(400)),
        ("a length past all numbers", post(&format!("content-length: {}\r\n", "9".repeat(40)), b""), Once(400)),
        ("a space before a colon", post("content-length : 2\r\n", b"{}"), Once(400)),
        ("a folded header", get("x: a\r\n b\r\n"), Once(400)),
        (
            "a chunk longer than all numbers",
            post("transfer-encoding: chunked\r\n", b"fffffffffffffffffff\r\nx"),
            Once(400),
        ),
        ("no chunk at all", post("transfer-encoding: chunked\r\n", b"zz\r\n\r\n"), Once(400)),
        ("chunks in HTTP/1.0", b"POST /alerts HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(), Once(400)),
        // Heads.
        ("no host", b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n".to_vec(), Once(400)),
        ("two hosts", get("host: y\r\n"), Once(400)),
        ("a zero in a header", get("x: a\0b\r\n"), Once(400)),
        ("bytes that are no text in a header", [b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: \xff\xfe\r\n\r\n".as_slice()].concat(), Once(200)),
        ("bytes that are no text in a path", b"GET /price/\xff\xfe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), Once(400)),
        ("bad UTF-8, encoded", b"GET /price/%FF HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), Once(400)),
        ("garbage", vec![0x80; 4_096], Once(400)),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), Once(400)),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Nothing),
        ("a proxy's request", b"CONNECT other:80 HTTP/1.1\r\nhost: other\r\nconnection: close\r\n\r\n".to_vec(), Once(404)),
        (
            "garbage behind a request",
            b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n\x01\x02 garbage\r\n\r\n".to_vec(),
            Twice(200, 400),
        ),
    ];
    let mut wrong = Vec::new();
    for (name, sent, told) in table {
        wrong.extend(judge(name, &gateway.tell(&sent), told));
        gateway.check_health(name);
    }
    // All are answered, in their order.
    let thousand = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    assert_eq!(statuses(&gateway.tell(&thousand)), [200; 1_000]);
    wrong.extend(slowly(&gateway));
    assert!(wrong.is_empty(), "{wrong:#?}");
    let after = gateway.memory();
    assert!(after < MOST_MEMORY, "{before} bytes of memory before, {after} after");
    assert!(!gateway.program.log().contains(r#""level":"ERROR""#));
}

fn alert_body() -> Vec<u8> {
    br#"{"user_id":1,"symbol":"AAPL","condition":"ABOVE","target_price":1}"#.to_vec()
}

/// A byte now and then keeps neither a head nor a body alive.
fn slowly(gateway: &Gateway) -> Vec<String> {
    let mut wrong = Vec::new();
    let body = post("content-length: 1000\r\n", b"");
    for (name, begin, told, at_most) in [
        ("a slow head", &b"GET /health HTTP/1.1\r\nx: "[..], Nothing, IDLE),
        ("a slow body", &body, Once(408), Duration::from_secs(2)),
    ] {
        let mut stream = gateway.connect();
        let started = Instant::now();
        stream.write_all(begin).expect("sent");
        while stream.write_all(b"a").is_ok() && started.elapsed() < PATIENCE {
            sleep(Duration::from_millis(50));
        }
        let took = started.elapsed();
        wrong.extend(judge(name, &hear(&mut stream), told));
        assert!(took < at_most + Duration::from_secs(3), "{name}: {took:?}");
        gateway.check_health(name);
    }
    wrong
}

#[test]
fn thousands_of_connections_wait_their_turn_and_are_cut() {
    let redis = redis();
    let gateway = Gateway::start(redis.address(), &[("HTTP_CONNECTIONS", "2000")]);
    let mut held: Vec<TcpStream> = (0..3_000).map(|_| gateway.connect()).collect();
    for (n, stream) in held.iter_mut().enumerate() {
        if n % 2 == 0 {
            let _ = stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nx: ");
        }
    }
    // Whoever comes now waits for a place, and gets one when those before are cut.
    let started = Instant::now();
    let mut late = gateway.connect();
    late.write_all(&get("")).expect("sent");
    assert_eq!(statuses(&hear(&mut late)), [200]);
    assert!(started.elapsed() < 4 * IDLE + Duration::from_secs(2), "{:?}", started.elapsed());
    assert!(gateway.memory() < MOST_MEMORY, "{} bytes of memory", gateway.memory());
    for stream in &mut held {
        assert_eq!(hear(stream), "");
    }
    gateway.check_health("thousands of connections");
}

#[test]
fn one_client_has_only_so_many_connections() {
    let redis = redis();
    let gateway = Gateway::start(redis.address(), &[("HTTP_CONNECTIONS_PER_CLIENT", "3")]);
    let mut held: Vec<TcpStream> = (0..3).map(|_| gateway.connect()).collect();
    for stream in &mut held {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
        let mut bytes = [0; 1_024];
        assert!(stream.read(&mut bytes).expect("an answer") > 0);
    }
    let heard = gateway.tell(b"");
    assert_eq!(statuses(&heard), [429]);
    let (head, body) = heard.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{heard}");
    let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(problem["type"], "/problems/too-many");
    drop(held);
    let started = Instant::now();
    while statuses(&gateway.tell(&get(""))) != [200] {
        assert!(started.elapsed() < PATIENCE, "its places are not free again");
    }
}

/// A frame from a client, masked with zeros.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let length = u64::try_from(payload.len()).expect("a length").to_be_bytes();
    [&[head, 0x80 | 127], &length[..], &[0; 4], payload].concat()
}

/// The code that a WebSocket is closed with, once these bytes were sent.
#[track_caller]
fn close_code(gateway: &Gateway, bytes: &[u8]) -> u16 {
    let mut stream = gateway.connect();
    let handshake = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).expect("sent");
    // It may be cut in the middle.
    let _ = stream.write_all(bytes);
    let mut heard = Vec::new();
    let mut some = [0; 4_096];
    while let Ok(count @ 1..) = stream.read(&mut some) {
        heard.extend_from_slice(&some[..count]);
    }
    let head = heard.windows(4).position(|part| part == b"\r\n\r\n").expect("a head");
    // Pings may come first.
    let mut frames = &heard[head + 4..];
    while let [head, length, rest @ ..] = frames {
        let (payload, next) = rest.split_at(usize::from(*length).min(rest.len()));
        if head & 0xf == 8 {
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
        frames = next;
    }
    panic!("closed without a word: {:?}", String::from_utf8_lossy(&heard));
}

#[test]
fn a_websocket_that_breaks_a_rule_is_closed_with_the_reason() {
    const TEXT: u8 = 0x81;
    let redis = redis();
    let gateway = Gateway::start(redis.address(), &[]);
    let piece = frame(0x01, b"{\"subscribe\":");
    for (what, bytes, code) in [
        ("not UTF-8", frame(TEXT, &[0xff, 0xfe]), 1007),
        ("binary", frame(0x82, b"{}"), 1008),
        ("in pieces", piece, 1009),
        ("too long", frame(TEXT, &vec![b' '; 200_000]), 1009),
        ("of a reserved kind", frame(0x83, b""), 1002),
    ] {
        assert_eq!(close_code(&gateway, &bytes), code, "{what}");
        gateway.check_health(what);
    }
    let origin = "GET /ws HTTP/1.1\r\nhost: x\r\norigin: https://evil.example\r\n\
                  connection: Upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                  sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(statuses(&gateway.tell(origin.as_bytes())), [403], "another's page");
}

#[test]
fn thousands_of_subscriptions_cost_what_is_allowed_and_are_given_back() {
    const STREAMS: usize = 2_000;
    let redis = redis();
    let gateway = Gateway::start(redis.address(), &[]);
    let before = gateway.memory();
    let open: Vec<TcpStream> = (0..STREAMS)
        .map(|number| {
            let symbols: Vec<String> = (0..500).map(|symbol| format!("S{symbol}")).collect();
            let mut stream = gateway.connect();
            let symbols = symbols.join(",");
            let request =
                format!("GET /stream?symbols=X{number},{symbols} HTTP/1.1\r\nhost: x\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("sent");
            let mut head = [0; 12];
            stream.read_exact(&mut head).expect("an answer");
            assert_eq!(&head, b"HTTP/1.1 200");
            stream
        })
        .collect();
    gateway.check_health("two thousand streams");
    let taken = gateway.memory().saturating_sub(before);
    assert!(taken < STREAMS as u64 * (128 << 10), "{} bytes a stream", taken / STREAMS as u64);
    drop(open);
    testkit::eventually(PATIENCE, "the places are given back", || {
        gateway.program.metric("gostocks_streams") == 0.0
    });
    let many: Vec<String> = (0..1_001).map(|symbol| format!("{symbol}")).collect();
    let request = format!(
        "GET /stream?symbols={} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        many.join(",")
    );
    assert_eq!(statuses(&gateway.tell(request.as_bytes())), [400]);
}
