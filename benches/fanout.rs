//! What a gateway tells its clients of an entry of the streams, from the entry's bytes to the text
//! that each client is sent, beside tokio's broadcast channel. That one is handed the same text;
//! the gateway reads the entry, folds its trades, makes the events and writes them. Sockets are
//! left out of both, and all is done by one thread.
//!
//! `cargo bench --package benches --bench fanout`

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::Request;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use futures::stream::unfold;
use futures::{Stream, StreamExt};
use gateway::{Alerts, Front, Live, Policy, Prices};
use market::{CANDLES, Price, Sequence, Trade, Volume, parse_candle_specs};
use service::Service;
use speed::{Ends, LogId, Reader, StreamEntry};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::broadcast;
use tokio::task::yield_now;
use tower::ServiceExt;
use wire::batch::{Packer, TickBatch};

const SYMBOL: &str = "BINANCE:BTCUSDT";

/// Entries that are made before the clock runs.
const ENTRIES: u64 = 1_024;

/// What a broadcast channel holds for a receiver that is behind. Here none is.
const HELD: usize = 16;

/// Entries as Redis has them, of one symbol, and not yet decoded.
struct Market {
    log: LogId,
    packer: Packer,
    next: Sequence,
    last: Option<Sequence>,
}

struct Stored {
    after: Option<Sequence>,
    bytes: Vec<u8>,
}

impl Market {
    fn new() -> Self {
        let log = LogId::parse("0123456789abcdef0123456789abcdef").expect("an id");
        Self { log, packer: Packer::new(), next: Sequence::default(), last: None }
    }

    /// A record of so many trades, ten milliseconds apart.
    fn append(&mut self, trades: usize) -> Stored {
        let mut sequence = self.next;
        self.next = Sequence::of_record(sequence.offset + 1);
        for at in 0..trades {
            let number = sequence.offset * trades as i64 + at as i64;
            let trade = Trade {
                price: Price::new(39_000.0 + (number % 1_000) as f64 / 100.0).expect("a price"),
                timestamp: 1_610_064_000_000 + number * 10,
                volume: Volume::new(0.004_376).expect("a volume"),
                received_at: 1,
            };
            self.packer.push(0, SYMBOL, sequence, &trade);
            sequence = sequence.next();
        }
        let mut stored = Stored { after: self.last, bytes: Vec::new() };
        self.last = self.packer.span().map(|(_, last)| last);
        self.packer.encode(&mut stored.bytes);
        stored
    }

    fn entry(&self, stored: &Stored) -> StreamEntry {
        let batch = TickBatch::decode(&stored.bytes).expect("a batch");
        StreamEntry { partition: 0, log: self.log.clone(), after: stored.after, batch }
    }
}

/// A gateway whose streams the bench has: Redis and the alert service are away.
struct Gateway {
    market: Market,
    live: Arc<Live>,
    router: Front,
}

impl Gateway {
    /// To be called within a runtime.
    fn new() -> Self {
        let market = Market::new();
        let service = Service::new("gateway", Duration::from_secs(1));
        let reader = Reader::new("127.0.0.1:1", Duration::from_secs(1)).expect("an address");
        let alerts = Alerts::new("127.0.0.1:1", Duration::from_secs(1)).expect("an address");
        let alerts = Arc::new(alerts);
        let candles = parse_candle_specs(CANDLES).expect("good specs");
        let (live, _) = Live::new(
            reader.clone(),
            reader.clone(),
            "ticks",
            candles,
            Arc::clone(&alerts),
            &[],
            service.stopping(),
        );
        live.begin(&Ends { log: market.log.clone(), newest: vec![None] });
        let live = Arc::new(live);
        let prices = Prices::new(reader, Arc::clone(&live), Duration::from_secs(60));
        let policy = Policy { request_timeout: Duration::from_secs(5), cors_origins: Vec::new() };
        let router =
            gateway::router(Arc::new(prices), alerts, Arc::clone(&live), &service, &policy);
        Self { market, live, router }
    }

    /// What a client is sent.
    async fn follow(&self, kind: &str) -> BodyDataStream {
        let uri = format!("/stream?symbols={SYMBOL}&kinds={kind}");
        let request = Request::get(uri).header("host", "gateway").body(Body::empty());
        let answered = self.router.clone().oneshot(request.expect("a request")).await;
        answered.expect("an answer").into_body().into_data_stream()
    }

    fn tell(&self, stored: &Stored) {
        assert!(self.live.tell(&self.market.entry(stored)), "none is missed");
    }
}

/// Counts what all clients together were told.
#[derive(Clone, Default)]
struct Told(Arc<AtomicUsize>);

impl Told {
    fn spawn(&self, texts: impl Stream<Item = Bytes> + Send + 'static) {
        let Self(told) = self.clone();
        tokio::spawn(async move {
            let mut texts = pin!(texts);
            while let Some(text) = texts.next().await {
                black_box(&text);
                told.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Waits until as many were told, and begins anew.
    async fn reaches(&self, count: usize) {
        while self.0.load(Ordering::Relaxed) < count {
            yield_now().await;
        }
        self.0.store(0, Ordering::Relaxed);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// After how it begins: when to come back, and how everything stands.
fn news(body: BodyDataStream) -> impl Stream<Item = Bytes> {
    body.skip(2).map(|text| text.expect("a stream that lasts"))
}

/// Returns the text of an entry.
fn gateway(
    group: &mut BenchmarkGroup<'_, WallTime>,
    parameter: &str,
    kind: &str,
    trades: usize,
    clients: usize,
) -> Bytes {
    let (runtime, told) = (runtime(), Told::default());
    let mut gateway = runtime.block_on(async { Gateway::new() });
    let text = runtime.block_on(async {
        let mut news = pin!(news(gateway.follow(kind).await));
        let stored = gateway.market.append(trades);
        gateway.tell(&stored);
        news.next().await.expect("news")
    });
    runtime.block_on(async {
        for _ in 0..clients {
            told.spawn(news(gateway.follow(kind).await));
        }
    });
    group.bench_function(BenchmarkId::new("gateway", parameter), |bencher| {
        bencher.iter_custom(|times| {
            let mut elapsed = Duration::ZERO;
            let mut left = times;
            while left > 0 {
                let count = left.min(ENTRIES);
                left -= count;
                let entries: Vec<Stored> =
                    (0..count).map(|_| gateway.market.append(trades)).collect();
                elapsed += runtime.block_on(async {
                    let began = Instant::now();
                    for stored in &entries {
                        gateway.tell(stored);
                        told.reaches(clients).await;
                    }
                    began.elapsed()
                });
            }
            elapsed
        });
    });
    text
}

fn channel(
    group: &mut BenchmarkGroup<'_, WallTime>,
    parameter: &str,
    text: &Bytes,
    clients: usize,
) {
    let (runtime, told) = (runtime(), Told::default());
    let (sender, _) = broadcast::channel(HELD);
    runtime.block_on(async {
        for _ in 0..clients {
            told.spawn(unfold(sender.subscribe(), |mut receiver| async {
                let text = receiver.recv().await.ok()?;
                Some((text, receiver))
            }));
        }
    });
    group.bench_function(BenchmarkId::new("tokio's broadcast", parameter), |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let began = Instant::now();
                for _ in 0..times {
                    assert!(sender.send(text.clone()).is_ok(), "somebody listens");
                    told.reaches(clients).await;
                }
                began.elapsed()
            })
        });
    });
}

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for (what, kind, trades) in [("a price", "price", 1), ("ten ticks", "tick", 10)] {
        for clients in [1, 100, 10_000] {
            group.throughput(Throughput::Elements(clients as u64));
            let parameter = format!("{what} to {clients}");
            let text = gateway(&mut group, &parameter, kind, trades, clients);
            channel(&mut group, &parameter, &text, clients);
        }
    }
}

criterion_group!(benches, fanout);
criterion_main!(benches);
