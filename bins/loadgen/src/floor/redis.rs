use std::time::{Duration, Instant};

use anyhow::Context;
use market::{CANDLES, Place, Price, Sequence, StateSpec, Trade, Volume, parse_candle_specs};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline};
use serde::Serialize;
use speed::{Sent, SymbolWrite, Writer, WriterSettings};
use wire::slots::SLOT;

use crate::probe::unix_nanos;

const SYMBOLS: usize = 500;
const RECENT: usize = 50;
/// As the writer's topic, so that it is nobody's who runs.
const TOPIC: &str = "floor";

const WARM_UP: Duration = Duration::from_secs(1);
const TIME: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// Symbols a second.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    guarded_a_second: f64,
    /// The same fields and trades by plain HSET and SETRANGE.
    plain_a_second: f64,
    /// HSET of three fields, and nothing else.
    hset_a_second: f64,
}

pub(super) async fn run(address: &str) -> anyhow::Result<Figures> {
    let names: Vec<String> = (0..SYMBOLS).map(|number| format!("FLOOR{number}")).collect();
    let guarded_a_second = guarded(address, &names).await?;
    let url = match address.contains("://") {
        true => address.to_owned(),
        false => format!("redis://{address}"),
    };
    let client = Client::open(url)?;
    // A machine that stands still for a moment is to be measured, not to end it.
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
    let plain = copy(&mut connection, &names).await?;
    let plain_a_second = rate(&mut connection, || plain.pipeline()).await?;
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
    let hset_a_second = rate(&mut connection, hset).await?;
    Ok(Figures { guarded_a_second, plain_a_second, hset_a_second })
}

fn spec() -> anyhow::Result<StateSpec> {
    let candles = parse_candle_specs(CANDLES).map_err(anyhow::Error::msg)?;
    Ok(StateSpec { candles, recent: RECENT })
}

/// As the processor does: a trade of each symbol is folded into its state, and all states are
/// written at once, while the next ones are folded.
async fn guarded(address: &str, names: &[String]) -> anyhow::Result<f64> {
    let settings =
        WriterSettings { topic: TOPIC.to_owned(), partitions: 1, state: spec()?, stream_trades: 1 };
    let mut writer = Writer::connect(address, settings).await?;
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut states = writer.load(&texts, false).await?;
    let of = states.iter().filter_map(|tracked| tracked.state.as_of);
    let mut offset = of.map(|of| of.offset).max();
    let (began, mut counted) = (Instant::now(), None);
    let mut written = 0_u64;
    let mut sent: Option<Sent> = None;
    while began.elapsed() < WARM_UP + TIME {
        let next = offset.map_or(0, |offset| offset + 1);
        offset = Some(next);
        let trade = trade(next)?;
        let mut writes: Vec<SymbolWrite<'_>> = states
            .iter_mut()
            .zip(&texts)
            .map(|(tracked, symbol)| {
                tracked.state.apply(&trade, Sequence::of_record(next));
                SymbolWrite { symbol, partition: 0, tracked }
            })
            .collect();
        writer.prepare(&mut writes);
        if let Some(sent) = sent.take() {
            writer.settle(sent).await?;
            if began.elapsed() >= WARM_UP {
                counted.get_or_insert_with(Instant::now);
                written += names.len() as u64;
            }
        }
        let (packed, place) = (writer.pack(), Place { offset: next, fingerprint: 1 });
        sent = Some(writer.send(&mut writes, packed, &[(0, place)]).await?);
    }
    let counted: Instant = counted.context("nothing was written")?;
    let rate = (written - names.len() as u64) as f64 / counted.elapsed().as_secs_f64();
    writer.settle(sent.context("nothing was sent")?).await?;
    Ok(rate)
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
        written += SYMBOLS;
        if began == warm && warm.elapsed() >= WARM_UP {
            (began, written) = (Instant::now(), 0);
        }
    }
    Ok(written as f64 / began.elapsed().as_secs_f64())
}
