//! Many clients of `GET /stream` at once: what they are told, how late, and what those that do not
//! read cost the others.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::Args;
use memchr::memmem::Finder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::cli::seconds;
use crate::synthetic;

/// Latencies are counted in buckets of a quarter of a millisecond, up to a minute.
const BUCKETS: usize = 240_000;
const BUCKETS_A_MILLISECOND: u64 = 4;
/// Connections that are opened at once: more would only overrun the backlog.
const OPENING: usize = 128;
const CONNECT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Where the gateway is.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    gateway: SocketAddr,

    #[arg(long, default_value = "10000", value_name = "N")]
    clients: NonZeroUsize,

    /// Of the synthetic market's first so many, each client follows some.
    #[arg(long, default_value = "500", value_name = "N")]
    symbols_count: NonZeroUsize,

    /// Symbols that each client follows.
    #[arg(long, default_value = "1", value_name = "N")]
    follow: NonZeroUsize,

    #[arg(long, default_value = "price")]
    kinds: String,

    /// So many of the clients read nothing once they are open.
    #[arg(long, default_value_t = 0, value_name = "N")]
    stalled: usize,

    #[arg(long, default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    warm_up: Duration,

    #[arg(long, default_value = "20", value_name = "SECONDS", value_parser = seconds)]
    measure: Duration,
}

#[derive(Debug)]
struct Counts {
    is_measured: AtomicBool,
    events: AtomicU64,
    bytes: AtomicU64,
    ended: AtomicU64,
    /// Time from the trade's own to its arrival here.
    latencies: Vec<AtomicU64>,
}

impl Counts {
    fn new() -> Self {
        let mut latencies = Vec::new();
        latencies.resize_with(BUCKETS, AtomicU64::default);
        Self {
            is_measured: AtomicBool::new(false),
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            latencies,
        }
    }

    /// In milliseconds.
    fn quantile(&self, of: f64) -> f64 {
        let counts: Vec<u64> =
            self.latencies.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * of).ceil() as u64;
        let mut sum = 0;
        let bucket = counts.iter().position(|count| {
            sum += count;
            sum >= wanted.max(1)
        });
        bucket.map_or(f64::NAN, |bucket| (bucket + 1) as f64 / BUCKETS_A_MILLISECOND as f64)
    }
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs_f64() * 1e3
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { gateway, clients, symbols_count, follow, kinds, .. } = &arguments;
    let symbols: Vec<String> = synthetic::market(symbols_count.get()).collect();
    if follow.get() > symbols.len() {
        bail!("--follow is more than --symbols-count");
    }
    let counts = Arc::new(Counts::new());
    let (mut opening, mut reading) = (JoinSet::new(), JoinSet::new());
    let mut stalled: Vec<TcpStream> = Vec::new();
    let mut last_told = Instant::now();
    for client in 0..clients.get() {
        // Neighbours follow other symbols; each symbol is followed equally often.
        let first = client * follow.get() % symbols.len();
        let wanted: Vec<&str> =
            symbols.iter().cycle().skip(first).take(follow.get()).map(String::as_str).collect();
        let wanted = wanted.join(",");
        let wanted: String = url::form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
        let request = format!(
            "GET /stream?kinds={kinds}&symbols={wanted} HTTP/1.1\r\nHost: {gateway}\r\n\r\n"
        );
        opening.spawn(connect(*gateway, request));
        if opening.len() >= OPENING || client + 1 == clients.get() {
            let least = if client + 1 == clients.get() { 0 } else { OPENING / 2 };
            while opening.len() > least {
                let Some(opened) = opening.join_next().await else { break };
                let stream = opened.context("a client panicked")??;
                // Who reads does so at once: else what waits for it in the kernel would be old.
                if stalled.len() < arguments.stalled {
                    stalled.push(stream);
                } else {
                    reading.spawn(read(stream, Arc::clone(&counts)));
                }
            }
        }
        if last_told.elapsed() >= Duration::from_secs(1) {
            last_told = Instant::now();
            writeln!(std::io::stderr(), "{} clients", stalled.len() + reading.len())?;
        }
    }
    let readers = reading.len();
    writeln!(std::io::stderr(), "{} clients, all open", stalled.len() + readers)?;
    tokio::time::sleep(arguments.warm_up).await;
    counts.is_measured.store(true, Ordering::Relaxed);
    let began = Instant::now();
    tokio::time::sleep(arguments.measure).await;
    counts.is_measured.store(false, Ordering::Relaxed);
    let elapsed = began.elapsed().as_secs_f64();
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let figures: HashMap<&str, f64> = [
        ("clients", readers as f64),
        ("stalled", stalled.len() as f64),
        ("ended", load(&counts.ended) as f64),
        ("events_a_second", load(&counts.events) as f64 / elapsed),
        ("megabytes_a_second", load(&counts.bytes) as f64 / elapsed / 1e6),
        ("p50_ms", counts.quantile(0.5)),
        ("p99_ms", counts.quantile(0.99)),
        ("p999_ms", counts.quantile(0.999)),
    ]
    .into();
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_unstable_by_key(|(name, _)| *name);
    let mut out = std::io::stdout();
    figures.iter().try_for_each(|(name, figure)| writeln!(out, "{name} {figure:.2}"))?;
    reading.abort_all();
    Ok(())
}

async fn connect(gateway: SocketAddr, request: String) -> anyhow::Result<TcpStream> {
    let opening = async {
        let socket = TcpSocket::new_v4()?;
        // Ten thousand of them: no more than they need.
        socket.set_recv_buffer_size(32 * 1_024)?;
        let mut stream = socket.connect(gateway).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        if &head != b"HTTP/1.1 200" {
            bail!("the gateway answers {}", String::from_utf8_lossy(&head));
        }
        Ok(stream)
    };
    tokio::time::timeout(CONNECT, opening).await.context("the gateway does not answer")?
}

async fn read(mut stream: TcpStream, counts: Arc<Counts>) {
    const TIME: &[u8] = b"\"timestamp\":";
    let finder = Finder::new(TIME);
    let mut buffer = vec![0; 16 * 1_024];
    let mut kept = 0;
    loop {
        let read = stream.read(&mut buffer[kept..]).await.unwrap_or_default();
        if read == 0 {
            counts.ended.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (filled, now) = (kept + read, now());
        let is_measured = counts.is_measured.load(Ordering::Relaxed);
        let mut at = 0;
        while let Some(found) = finder.find(&buffer[at..filled]) {
            let digits = &buffer[at + found + TIME.len()..filled];
            let Some(length) = digits.iter().position(|byte| !byte.is_ascii_digit()) else { break };
            let time = digits[..length]
                .iter()
                .fold(0.0, |time, digit| time * 10.0 + f64::from(digit - b'0'));
            at += found + TIME.len() + length;
            if is_measured {
                counts.events.fetch_add(1, Ordering::Relaxed);
                let late = ((now - time).max(0.0) * BUCKETS_A_MILLISECOND as f64) as usize;
                counts.latencies[late.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
            }
        }
        if is_measured {
            counts.bytes.fetch_add(read as u64, Ordering::Relaxed);
        }
        // What may be the begin of a time that is yet to come.
        let rest = (filled - at).min(TIME.len() + 20);
        buffer.copy_within(filled - rest..filled, 0);
        kept = rest;
    }
}
