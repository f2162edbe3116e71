use std::time::{Duration, Instant};

use anyhow::Context;
use market::{CANDLES, Place, Price, Sequence, StateSpec, Trade, Volume, parse_candle_specs};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline};
use serde::Serialize;
use speed::{Sent, SymbolWrite, Tracked, Writer, WriterSettings};
use wire::slots::SLOT;

use crate::probe::unix_nanos;

const RECENT: usize = 50;
/// As the writer's topic, so that it is nobody's who runs.
const TOPIC: &str = "floor";

/// How often each is measured, in turn.
const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(500);
const TIME: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(10);

/// Symbols a second; medians of the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    guarded_a_second: f64,
    /// The same fields and trades by plain HSET and SETRANGE.
    plain_a_second: f64,
    /// HSET of three fields, and nothing else.
    hset_a_second: f64,
}

pub(super) async fn run(address: &str, symbols: u16) -> anyhow::Result<Figures> {
    let names: Vec<String> = (0..symbols).map(|number| format!("FLOOR{number}")).collect();
    let mut ours = Guarded::begin(address, &names).await?;
    let url = match address.contains("://") {
        true => address.to_owned(),
        false => format!("redis://{address}"),
    };
    let client = Client::open(url)?;
    // A machine that stands still for a moment is to be measured, not to end it.
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
    let hset = || {
        let mut pipe = redis::pipe();
        for name in &names {
            let now = unix_nanos();
            let key = format!("floor:{{{name}}}");
            pipe.cmd("HSET").arg(key).arg("price").arg(100.5).arg("timestamp").arg(now / 1_000_000);
            pipe.arg("volume").arg(now);
            pipe.ignore();
        }
        pipe
    };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let guarded = ours.rate().await?;
        // What it has left, so that it goes on from what it knows.
        let plain = copy(&mut connection, &names).await?;
        let plain = rate(&mut connection, names.len(), || plain.pipeline()).await?;
        let hset = rate(&mut connection, names.len(), hset).await?;
        rounds.push([guarded, plain, hset]);
    }
    let median = |figure: usize| {
        let mut figures: Vec<f64> = rounds.iter().map(|round| round[figure]).collect();
        figures.sort_by(f64::total_cmp);
        figures[ROUNDS / 2]
    };
    Ok(Figures { guarded_a_second: median(0), plain_a_second: median(1), hset_a_second: median(2) })
}

fn spec() -> anyhow::Result<StateSpec> {
    let candles = parse_candle_specs(CANDLES).map_err(anyhow::Error::msg)?;
    Ok(StateSpec { candles, recent: RECENT })
}

/// As the processor does: a trade of each symbol is folded into its state, and all states are
/// written at once, while the next ones are folded and prepared.
struct Guarded<'n> {
    writer: Writer,
    names: &'n [String],
    states: Vec<Tracked>,
    next: i64,
}

impl<'n> Guarded<'n> {
    async fn begin(address: &str, names: &'n [String]) -> anyhow::Result<Self> {
        let settings = WriterSettings {
            topic: TOPIC.to_owned(),
            partitions: 1,
            state: spec()?,
            stream_trades: 1,
        };
        let mut writer = Writer::connect(address, settings).await?;
        let symbols: Vec<&str> = names.iter().map(String::as_str).collect();
        let states = writer.load(&symbols, false).await?;
        let of = states.iter().filter_map(|tracked| tracked.state.as_of);
        let next = of.map(|of| of.offset + 1).max().unwrap_or(0);
        Ok(Self { writer, names, states, next })
    }

    async fn rate(&mut self) -> anyhow::Result<f64> {
        let (began, mut counted) = (Instant::now(), None);
        let mut written = 0;
        let mut sent: Option<Sent> = None;
        while began.elapsed() < WARM_UP + TIME {
            let trade = trade(self.next)?;
            let mut writes = Vec::with_capacity(self.names.len());
            for (tracked, symbol) in self.states.iter_mut().zip(self.names) {
                tracked.state.apply(&trade, Sequence::of_record(self.next));
                writes.push(SymbolWrite { symbol, partition: 0, tracked });
            }
            self.writer.prepare(&mut writes);
            if let Some(sent) = sent.take() {
                let done = self.writer.settle(sent).await?;
                anyhow::ensure!(done.refused.is_empty(), "somebody else writes the same symbols");
                if began.elapsed() >= WARM_UP {
                    match counted {
                        None => counted = Some(Instant::now()),
                        Some(_) => written += self.names.len(),
                    }
                }
            }
            let place = Place { offset: self.next, fingerprint: 1 };
            let packed = self.writer.pack();
            sent = Some(self.writer.send(&mut writes, packed, &[(0, place)]).await?);
            self.next += 1;
        }
        let counted: Instant = counted.context("nothing was written")?;
        let rate = written as f64 / counted.elapsed().as_secs_f64();
        self.writer.settle(sent.context("nothing was sent")?).await?;
        Ok(rate)
    }
}

fn trade(number: i64) -> anyhow::Result<Trade> {
    let now = unix_nanos();
    let price = Price::new(100.0 + (number % 100) as f64 / 100.0).context("a price")?;
    let volume = Volume::new(number as f64).context("a volume")?;
    Ok(Trade { price, volume, timestamp: (now / 1_000_000).cast_signed(), received_at: now })
}

/// What the writer has left of each symbol.
struct Copied(Vec<Symbol>);

struct Symbol {
    price: (String, Vec<(String, String)>),
    /// Of its ring the first slot.
    recent: (String, Vec<u8>),
}

async fn copy(connection: &mut MultiplexedConnection, names: &[String]) -> anyhow::Result<Copied> {
    let mut copied = Vec::new();
    for name in names {
        let (price, recent) = (format!("price:{{{name}}}"), format!("recent:{{{name}}}"));
        let fields = redis::cmd("HGETALL").arg(&price).query_async(connection).await?;
        let mut slot = redis::cmd("GETRANGE");
        slot.arg(&recent).arg(0).arg(SLOT - 1);
        let bytes = slot.query_async(connection).await?;
        copied.push(Symbol { price: (price, fields), recent: (recent, bytes) });
    }
    Ok(Copied(copied))
}

impl Copied {
    fn pipeline(&self) -> Pipeline {
        let mut pipe = redis::pipe();
        for symbol in &self.0 {
            let (key, fields) = &symbol.price;
            pipe.cmd("HSET").arg(key).arg(fields).ignore();
            let (key, bytes) = &symbol.recent;
            pipe.cmd("SETRANGE").arg(key).arg(0).arg(bytes).ignore();
        }
        pipe
    }
}

/// Symbols a second by pipelines of all of them, each made while the one before is on its way.
async fn rate(
    connection: &mut MultiplexedConnection,
    symbols: usize,
    pipeline: impl Fn() -> Pipeline,
) -> anyhow::Result<f64> {
    let mut written = 0;
    let mut began = Instant::now();
    let warm = began;
    let mut next = pipeline();
    while began == warm || began.elapsed() < TIME {
        let (answer, made) = tokio::join!(next.query_async::<()>(connection), async { pipeline() });
        answer?;
        next = made;
        written += symbols;
        if began == warm && warm.elapsed() >= WARM_UP {
            (began, written) = (Instant::now(), 0);
        }
    }
    Ok(written as f64 / began.elapsed().as_secs_f64())
}
