//! Live streams of the real programs: who is cut off and goes on is told everything once, in order.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use testkit::oracle::LoggedTrade;
use testkit::{Pipeline, Program, Recording, kafka};

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "processor-group";

#[derive(Clone, Debug)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

/// One connection to `GET /stream`.
struct Stream(BufReader<TcpStream>);

impl Stream {
    /// By HTTP/1.0, so that the body is the events and nothing else.
    fn open(address: &str, query: &str, last_event_id: Option<&str>) -> Option<Self> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let id = last_event_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        write!(stream, "GET /stream?{query} HTTP/1.0\r\nHost: gateway\r\n{id}\r\n").ok()?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        assert!(line.is_empty() || line.contains(" 200 "), "{line}");
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
        }
        Some(Self(reader))
    }

    /// `None` where the stream has ended.
    fn next(&mut self) -> Option<Event> {
        let mut event = Event { name: String::new(), id: None, data: Value::Null };
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 || !line.ends_with('\n') {
                return None;
            }
            match line.trim_end_matches('\n').split_once(": ") {
                None if event.name.is_empty() => {}
                None => return Some(event),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
                Some(_) => {}
            }
        }
    }
}

/// A client that remembers the last id, and what it was told.
#[derive(Default)]
struct Client {
    last_event_id: Option<String>,
    ticks: BTreeMap<String, Vec<LoggedTrade>>,
    told: usize,
    /// How often each kind of event came, and the newest of it that was not a tick.
    events: BTreeMap<String, (usize, Value)>,
}

impl Client {
    fn take(&mut self, event: Event) {
        if let Some(id) = event.id {
            self.last_event_id = Some(id);
        }
        assert!(!matches!(event.name.as_str(), "gap"), "nothing is missing: {}", event.data);
        let (count, newest) = self.events.entry(event.name.clone()).or_default();
        *count += 1;
        *newest = if event.name == "tick" { Value::Null } else { event.data.clone() };
        if event.name == "tick" {
            let number = |name: &str| event.data[name].as_f64().expect("a number");
            let symbol = event.data["symbol"].as_str().expect("a symbol").to_owned();
            let trade = LoggedTrade {
                symbol: symbol.clone(),
                price: number("price"),
                volume: number("volume"),
                timestamp: event.data["timestamp"].as_i64().expect("a time"),
            };
            self.ticks.entry(symbol).or_default().push(trade);
            self.told += 1;
        }
    }
}

fn by_symbol(trades: Vec<LoggedTrade>, wanted: &[&str]) -> BTreeMap<String, Vec<LoggedTrade>> {
    let mut symbols: BTreeMap<String, Vec<LoggedTrade>> = BTreeMap::new();
    for trade in trades.into_iter().filter(|trade| wanted.contains(&trade.symbol.as_str())) {
        symbols.entry(trade.symbol.clone()).or_default().push(trade);
    }
    symbols
}

struct Running {
    way: Pipeline,
    recording: Recording,
    _feed: Program,
    _ingestor: Program,
    _processor: Program,
    gateway: Program,
}

impl Running {
    /// What a client that is told too little should know.
    fn state(&self, client: &Client) -> String {
        let ready = self.way.get("/readyz");
        let symbols = self.way.get("/symbols");
        let (told, events, id) = (client.told, &client.events, &client.last_event_id);
        format!("told {told}, events {events:?}, id {id:?}, readyz {ready:?}, symbols {symbols:?}")
    }

    /// The feed begins once `before` has returned.
    fn start(speed: &str, processor: &[(&str, &str)], before: impl FnOnce(&str)) -> Self {
        let recording = Recording::random();
        let way = Pipeline::new(kafka().brokers(), "streams");
        let mut processor = way.processor_with(GROUP, processor);
        processor.wait_ready();
        let mut gateway = way.gateway(&[]);
        gateway.wait_ready();
        before(&way.gateway_address());
        let feed = way.feed(&recording, &["--speed", speed]);
        let ingestor = way.ingestor(&recording.symbols(), &[]);
        Self { way, recording, _feed: feed, _ingestor: ingestor, _processor: processor, gateway }
    }
}

const SOME: [&str; 4] = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1", "ZÜRICH:NESN"];

fn query(kinds: &str) -> String {
    let symbols: String = SOME.join(",").bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("symbols={symbols}&kinds={kinds}")
}

#[test]
fn whoever_is_cut_off_and_goes_on_is_told_of_every_trade_once_and_in_order() {
    let query = query("tick");
    let mut client = Client::default();
    let mut running = Running::start("10", &[], |address| {
        // It waits before anything has traded, and is told where to go on.
        let mut stream = Stream::open(address, &query, None).expect("a stream");
        let ready = stream.next().expect("an event");
        assert_eq!(ready.name, "ready");
        client.take(ready);
    });
    let address = running.way.gateway_address();
    let trades = running.recording.trades();
    let wanted: usize = trades.iter().filter(|trade| SOME.contains(&trade.symbol.as_str())).count();
    let mut random = SmallRng::seed_from_u64(7);
    let (began, mut cuts) = (Instant::now(), 0);
    let mut is_killed = false;
    while client.told < wanted {
        assert!(began.elapsed() < 2 * PATIENCE, "of {wanted}: {}", running.state(&client));
        if client.told > wanted / 2 && !is_killed {
            is_killed = true;
            running.gateway.kill9();
            running.gateway = running.way.gateway(&[]);
            running.gateway.wait_ready();
        }
        let stream = Stream::open(&address, &query, client.last_event_id.as_deref());
        let Some(mut stream) = stream else { continue };
        let patience = random.random_range(1..150);
        for _ in 0..patience {
            match stream.next() {
                Some(event) => client.take(event),
                None => break,
            }
            if client.told >= wanted {
                break;
            }
        }
        cuts += 1;
    }
    assert!(cuts > 10, "it was cut off {cuts} times");
    let logged = running.way.wait_logged(trades.len());
    assert_eq!(client.ticks, by_symbol(logged, &SOME));
}

#[test]
fn prices_and_candles_end_where_the_log_does() {
    let running = Running::start("60", &[], |_| ());
    let trades = running.recording.trades();
    let logged = running.way.wait_logged(trades.len());
    let expected = testkit::oracle::expected(&logged);
    let address = running.way.gateway_address();
    let mut stream = Stream::open(&address, &query("price,candle"), None).expect("a stream");
    let (mut prices, mut candles) = (BTreeMap::new(), BTreeMap::new());
    // Late trades leave the price, and count for its candles: all of them are waited for.
    let is_there = |prices: &BTreeMap<String, Value>,
                    candles: &BTreeMap<(String, String), Value>| {
        SOME.iter().all(|symbol| {
            let wanted = &expected[*symbol];
            let is_price = prices.get(*symbol).is_some_and(|price| {
                price["price"] == wanted.price && price["timestamp"] == wanted.timestamp
            });
            let is_candle = wanted.candles.iter().all(|(interval, bars)| {
                let told = candles.get(&((*symbol).to_owned(), interval.clone()));
                let (start, bar) = bars.last_key_value().expect("a candle");
                told.is_some_and(|told| {
                    told["start"] == *start
                        && told["trades"] == bar.trades
                        && told["close"] == bar.close
                        && told["volume"] == bar.volume
                })
            });
            is_price && is_candle
        })
    };
    let began = Instant::now();
    while !is_there(&prices, &candles) {
        assert!(began.elapsed() < PATIENCE, "{prices:?} {candles:?}");
        let event = stream.next().expect("the stream goes on");
        let symbol = event.data["symbol"].as_str().unwrap_or_default().to_owned();
        match event.name.as_str() {
            "price" => drop(prices.insert(symbol, event.data)),
            "candle" => {
                let interval = event.data["interval"].as_str().expect("an interval").to_owned();
                let newest = candles.get(&(symbol.clone(), interval.clone()));
                let newest = newest.and_then(|told: &Value| told["start"].as_i64());
                // One before the newest may change still.
                if event.data["start"].as_i64() >= newest {
                    candles.insert((symbol, interval), event.data);
                }
            }
            _ => {}
        }
    }
    // A stream begins with how everything stands.
    let mut again = Stream::open(&address, &query("candle"), None).expect("a stream");
    let mut stands = 0;
    loop {
        let event = again.next().expect("an event");
        if event.name == "ready" {
            break;
        }
        stands += 1;
        let symbol = event.data["symbol"].as_str().expect("a symbol");
        let interval = event.data["interval"].as_str().expect("an interval");
        let bars = &expected[symbol].candles[interval];
        let (start, bar) = bars.last_key_value().expect("a candle");
        assert_eq!(event.data["start"], *start, "{symbol} {interval}");
        assert_eq!(event.data["close"], bar.close, "{symbol} {interval}");
        assert_eq!(event.data["trades"], bar.trades, "{symbol} {interval}");
    }
    assert_eq!(stands, 6 * SOME.len(), "one of each interval");
}

#[test]
fn whoever_was_away_too_long_is_told_so() {
    let query = query("tick");
    let mut id = None;
    let running = Running::start("60", &[("STREAM_TRADES", "100")], |address| {
        let mut stream = Stream::open(address, &query, None).expect("a stream");
        id = stream.next().expect("an event").id;
    });
    running.way.wait_logged(running.recording.trades().len());
    let address = running.way.gateway_address();
    running.way.check_prices("at the end");
    let mut stream = Stream::open(&address, &query, id.as_deref()).expect("a stream");
    let event = stream.next().expect("an event");
    assert_eq!(event.name, "gap", "{event:?}");
    assert!(event.data["reason"].as_str().expect("a reason").contains("no longer kept"));

    for bad in ["nonsense", "abc_-_1", "zz_-_1.2"] {
        let (status, body) =
            testkit::http::get(&address, &format!("/stream?{query}&last_event_id={bad}"))
                .expect("an answer");
        assert_eq!(status, 400, "{bad}: {body}");
    }
    let other = format!("0123456789ab_-{}", "_-".repeat(6));
    let mut stream = Stream::open(&address, &query, Some(&other)).expect("a stream");
    assert_eq!(stream.next().expect("an event").name, "gap", "of another log");
}

/// A WebSocket, by hand: what is sent is masked with zeros.
struct Socket(BufReader<TcpStream>);

impl Socket {
    fn open(address: &str, kinds: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write!(
            stream,
            "GET /ws?kinds={kinds} HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .ok()?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        assert!(line.is_empty() || line.contains(" 101 "), "{line}");
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
        }
        Some(Self(reader))
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u16::try_from(text.len()).expect("a short message").to_be_bytes();
        let head = [0x81, 0x80 | 126, length[0], length[1], 0, 0, 0, 0];
        self.0.get_mut().write_all(&[&head, text.as_bytes()].concat()).expect("sent");
    }

    fn ping(&mut self) {
        self.0.get_mut().write_all(&[0x89, 0x80, 0, 0, 0, 0]).expect("sent");
    }

    /// The next event, or the answer to a ping.
    fn next(&mut self) -> Option<Event> {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).ok()?;
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.0.read_exact(&mut length).ok()?;
                    usize::from(u16::from_be_bytes(length))
                }
                length => usize::from(length),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).ok()?;
            match head[0] & 0xf {
                0x1 => {
                    let mut message: Value = serde_json::from_slice(&payload).expect("JSON");
                    return Some(Event {
                        name: message["event"].as_str().expect("a name").to_owned(),
                        id: message["id"].as_str().map(str::to_owned),
                        data: message["data"].take(),
                    });
                }
                0xa => {
                    let name = "pong".to_owned();
                    return Some(Event { name, id: None, data: Value::Null });
                }
                0x8 => return None,
                _ => {}
            }
        }
    }
}

#[test]
fn a_websocket_that_comes_before_anything_is_kept_waits_for_it() {
    let way = Pipeline::new(kafka().brokers(), "streams");
    let mut gateway = way.gateway(&[]);
    gateway.wait_ready();
    let address = way.gateway_address();
    // One that wants nothing yet.
    let mut idle = Socket::open(&address, "tick").expect("a socket");
    let mut socket = Socket::open(&address, "tick").expect("a socket");
    socket.send(&json!({ "subscribe": SOME }));
    socket.ping();
    assert_eq!(socket.next().expect("an answer").name, "pong", "and nothing before it");

    let _processor = way.processor(GROUP);
    let ready = socket.next().expect("an event");
    assert_eq!(ready.name, "ready");
    idle.ping();
    assert_eq!(idle.next().expect("an answer").name, "pong", "it was told no end");
    idle.send(&json!({ "subscribe": SOME }));
    idle.ping();
    assert_eq!(idle.next().expect("an event").name, "ready", "what came first is heeded first");
    let mut socket = Socket::open(&address, "tick").expect("a socket");
    socket.send(&json!({ "subscribe": SOME, "last_event_id": ready.id }));
    let again = socket.next().expect("an event");
    assert_eq!(again.name, "ready", "the id that was told is one to go on from: {again:?}");
}

#[test]
fn over_a_websocket_the_same_is_told() {
    let mut client = Client::default();
    let running = Running::start("20", &[], |address| {
        let mut socket = Socket::open(address, "tick").expect("a socket");
        for bad in [json!("x"), json!({}), json!({"subscribe": [""]}), json!({"what": 1})] {
            socket.send(&bad);
            assert_eq!(socket.next().expect("an event").name, "error", "{bad}");
        }
        socket.send(&json!({ "subscribe": SOME }));
        let ready = socket.next().expect("an event");
        assert_eq!(ready.name, "ready");
        client.take(ready);
    });
    let address = running.way.gateway_address();
    let trades = running.recording.trades();
    let wanted = trades.iter().filter(|trade| SOME.contains(&trade.symbol.as_str())).count();
    let mut random = SmallRng::seed_from_u64(9);
    let began = Instant::now();
    while client.told < wanted {
        assert!(began.elapsed() < 2 * PATIENCE, "of {wanted}: {}", running.state(&client));
        let mut socket = Socket::open(&address, "tick").expect("a socket");
        socket.send(&json!({ "subscribe": SOME, "last_event_id": client.last_event_id }));
        for _ in 0..random.random_range(1..600) {
            match socket.next() {
                Some(event) => client.take(event),
                None => break,
            }
            if client.told >= wanted {
                break;
            }
        }
    }
    let logged = running.way.wait_logged(trades.len());
    assert_eq!(client.ticks, by_symbol(logged, &SOME));

    let mut socket = Socket::open(&address, "price").expect("a socket");
    socket.send(&json!({ "subscribe": [SOME[0]] }));
    let price = socket.next().expect("an event");
    assert_eq!((price.name.as_str(), &price.data["symbol"]), ("price", &json!(SOME[0])));
    assert_eq!(socket.next().expect("an event").name, "ready");
    socket.send(&json!({ "unsubscribe": [SOME[0]] }));
    assert_eq!(socket.next().expect("an event").name, "ready");
}
