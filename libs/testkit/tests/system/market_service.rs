//! `gostocks.market.v1.MarketService` of the real programs: the log's own answers, and streams that
//! a client may be cut off from.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rpc::market::v1::market_service_client::MarketServiceClient;
use rpc::market::v1::subscribe_response::Event;
use rpc::market::v1::{
    EventKind, GetCandlesRequest, GetPriceRequest, GetPricesRequest, ListSymbolsRequest,
    SubscribeRequest,
};
use testkit::oracle::{Bar, LoggedTrade};
use testkit::{Pipeline, Program, Recording, kafka};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const PATIENCE: Duration = Duration::from_secs(60);
const GROUP: &str = "processor-group";
const SOME: [&str; 4] = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1", "ZÜRICH:NESN"];

struct Running {
    way: Pipeline,
    recording: Recording,
    processor: Program,
    gateway: Program,
    _feed: Option<(Program, Program)>,
}

impl Running {
    /// Nothing trades yet.
    fn start() -> Self {
        let recording = Recording::random();
        let way = Pipeline::new(kafka().brokers(), "market-service");
        let mut processor = way.processor(GROUP);
        processor.wait_ready();
        let mut gateway = way.gateway(&[]);
        gateway.wait_ready();
        Self { way, recording, processor, gateway, _feed: None }
    }

    fn trade(&mut self, speed: &str) {
        let feed = self.way.feed(&self.recording, &["--speed", speed]);
        let ingestor = self.way.ingestor(&self.recording.symbols(), &[]);
        self._feed = Some((feed, ingestor));
    }

    fn client(&self) -> MarketServiceClient<Channel> {
        let endpoint = format!("http://{}", self.way.gateway_grpc_address());
        let endpoint = Endpoint::from_shared(endpoint).expect("an address");
        MarketServiceClient::new(endpoint.connect_timeout(PATIENCE).connect_lazy())
    }
}

fn wish(symbols: &[&str], kinds: &[EventKind], resume_token: &str) -> SubscribeRequest {
    SubscribeRequest {
        symbols: symbols.iter().map(|&symbol| symbol.to_owned()).collect(),
        kinds: kinds.iter().map(|kind| i32::from(*kind)).collect(),
        resume_token: resume_token.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_answer_what_the_log_says() {
    let mut running = Running::start();
    running.trade("100");
    let trades = running.recording.trades();
    let logged = running.way.wait_logged(trades.len());
    running.way.check_redis("at the end");
    let expected = testkit::oracle::expected(&logged);
    let mut client = running.client();

    let symbols = SOME.map(|symbol| symbol.to_ascii_lowercase()).to_vec();
    let symbols = [symbols, vec!["NOBODY".to_owned()]].concat();
    let began = Instant::now();
    let answer = loop {
        let request = GetPricesRequest { symbols: symbols.clone() };
        let answer = client.get_prices(request).await.expect("answered").into_inner();
        // Late trades leave the price, and count for the day.
        let is_there = |price: &rpc::market::v1::Price| {
            let (wanted, day) = (&expected[&price.symbol], price.day.unwrap_or_default());
            price.timestamp == wanted.timestamp && day.volume == wanted.day_bar.volume
        };
        if answer.prices.len() == SOME.len() && answer.prices.iter().all(is_there) {
            break answer;
        }
        // The view follows Redis.
        assert!(began.elapsed() < PATIENCE, "{answer:?}");
    };
    assert_eq!(answer.unknown, ["NOBODY"]);
    for price in answer.prices {
        let wanted = &expected[&price.symbol];
        assert_eq!((price.price, price.volume), (wanted.price, wanted.volume), "{price:?}");
        let day = price.day.expect("a day");
        assert_eq!((day.start, day.open, day.high), {
            let bar = &wanted.day_bar;
            (wanted.day, bar.open, bar.high)
        });
        assert!(price.stale && price.age_ms > 60_000, "a recording is old: {price:?}");
    }

    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListSymbolsRequest { page_size: 3, page_token, ..Default::default() };
        let page = client.list_symbols(request).await.expect("answered").into_inner();
        listed.extend(page.symbols);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, expected.keys().cloned().collect::<Vec<_>>());
    let request = ListSymbolsRequest { search: "btc".to_owned(), ..Default::default() };
    let found = client.list_symbols(request).await.expect("answered").into_inner();
    assert!(found.symbols.iter().all(|symbol| symbol.contains("BTC")), "{found:?}");

    for interval in ["1s", "1m", "1d"] {
        let symbol = SOME[1].to_owned();
        let wanted = &expected[&symbol].candles[interval];
        let request = GetCandlesRequest {
            symbol,
            interval: interval.to_owned(),
            from: Some(0),
            page_size: 10_000,
            ..Default::default()
        };
        let answer = client.get_candles(request).await.expect("answered").into_inner();
        let found: BTreeMap<i64, Bar> = answer
            .candles
            .into_iter()
            .map(|candle| {
                let rpc::market::v1::Candle { start, open, high, low, close, volume, trades } =
                    candle;
                (start, Bar { open, high, low, close, volume, trades })
            })
            .collect();
        assert_eq!(found, *wanted, "{interval}");
    }

    let nobody = GetPriceRequest { symbol: "NOBODY".to_owned() };
    let status = client.get_price(nobody).await.expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    let too_long = GetPriceRequest { symbol: "X".repeat(65) };
    let status = client.get_price(too_long).await.expect_err("no symbol");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let many = GetPricesRequest { symbols: vec!["A".to_owned(); 1_001] };
    let status = client.get_prices(many).await.expect_err("too many");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let odd = GetCandlesRequest {
        symbol: "AAPL".to_owned(),
        interval: "7m".to_owned(),
        ..Default::default()
    };
    let status = client.get_candles(odd).await.expect_err("no such interval");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    for bad in [wish(&[], &[], ""), wish(&["AAPL"], &[], "nonsense")] {
        let status = client.subscribe(bad).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_cut_off_and_goes_on_is_told_of_every_trade_once_and_in_order() {
    let mut running = Running::start();
    let mut client = running.client();
    let kinds = [EventKind::Tick];
    let stream = client.subscribe(wish(&SOME, &kinds, "")).await.expect("a stream");
    let ready = stream.into_inner().message().await.expect("a message").expect("an event");
    assert!(matches!(ready.event, Some(Event::Ready(_))), "{ready:?}");
    let mut token = ready.resume_token;
    running.trade("20");
    let trades = running.recording.trades();
    let is_wanted = |trade: &&LoggedTrade| SOME.contains(&trade.symbol.as_str());
    let wanted = trades.iter().filter(is_wanted).count();
    let mut random = SmallRng::seed_from_u64(8);
    let mut told: BTreeMap<String, Vec<LoggedTrade>> = BTreeMap::new();
    let (began, mut cuts, mut count) = (Instant::now(), 0, 0);
    while count < wanted {
        assert!(began.elapsed() < 2 * PATIENCE, "{count} of {wanted}");
        let Ok(stream) = client.subscribe(wish(&SOME, &kinds, &token)).await else { continue };
        let mut stream = stream.into_inner();
        for _ in 0..random.random_range(1..150) {
            let Ok(Some(message)) = stream.message().await else { break };
            match message.event.expect("an event") {
                Event::Tick(tick) => {
                    let trade = LoggedTrade {
                        symbol: tick.symbol.clone(),
                        price: tick.price,
                        volume: tick.volume,
                        timestamp: tick.timestamp,
                    };
                    told.entry(tick.symbol).or_default().push(trade);
                    count += 1;
                }
                Event::Ready(_) => {}
                other => panic!("not asked for: {other:?}"),
            }
            if !message.resume_token.is_empty() {
                token = message.resume_token;
            }
            if count >= wanted {
                break;
            }
        }
        cuts += 1;
    }
    assert!(cuts > 10, "it was cut off {cuts} times");
    let mut expected: BTreeMap<String, Vec<LoggedTrade>> = BTreeMap::new();
    for trade in running.way.wait_logged(trades.len()).iter().filter(is_wanted) {
        expected.entry(trade.symbol.clone()).or_default().push(trade.clone());
    }
    assert_eq!(told, expected);

    // A gateway that stops tells its clients to come back.
    let kinds = [EventKind::Price, EventKind::Candle];
    let stream = client.subscribe(wish(&SOME, &kinds, "")).await.expect("a stream");
    let mut stream = stream.into_inner();
    let mut began_with = 0;
    loop {
        let message = stream.message().await.expect("a message").expect("an event");
        match message.event.expect("an event") {
            Event::Ready(_) => break,
            _ => began_with += 1,
        }
    }
    assert!(began_with >= 2 * SOME.len(), "prices and candles: {began_with}");
    running.gateway.terminate();
    let end = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(running.processor.is_alive());
}
