use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use market::{Place, SymbolState};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisError, RedisResult};
use tracing::Instrument;

use crate::log::{self, Log, LogId};
use crate::{Unavailable, candle_text, keys, span, state_fields};

const FUNCTIONS: &str = include_str!("gostocks.lua");
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// One call keeps Redis from serving anyone else; past this many symbols it would be felt.
const SYMBOLS_A_CALL: usize = 500;
/// Candles may be many a symbol: a load asks for this many symbols at once.
const SYMBOLS_A_LOAD: usize = 200;

/// Stands before the log id while a rebuild deletes what was held.
const REBUILDING: &str = "rebuilding:";

/// The processor's end: one connection, used for one batch after the other.
///
/// After an error the connection is of no more use: connect again, drop every state that was
/// loaded, and read the log again from the places that Redis has.
pub struct Writer {
    connection: MultiplexedConnection,
    address: String,
    log: Log,
    retain_minutes: u32,
    text: String,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("log", &self.log).finish_non_exhaustive()
    }
}

/// One symbol's state as of its last trade, to be written.
#[derive(Debug)]
pub struct SymbolWrite<'a> {
    pub symbol: &'a str,
    pub partition: i32,
    pub state: &'a mut SymbolState,
}

impl Writer {
    /// Connects, loads the functions, and reads which log Redis follows; an empty Redis begins to
    /// follow the topic under a new log id.
    ///
    /// Errors: [`Unavailable`], or [`market::AnotherLog`] where the number of partitions has changed.
    pub async fn connect(
        address: &str,
        topic: &str,
        partitions: i32,
        retain_minutes: u32,
    ) -> anyhow::Result<Self> {
        let mut connection = open(address).await?;
        let unavailable = |error: RedisError| unavailable(address, &error);
        redis::cmd("FUNCTION")
            .arg("LOAD")
            .arg("REPLACE")
            .arg(FUNCTIONS)
            .query_async::<()>(&mut connection)
            .await
            .map_err(unavailable)
            .context("cannot load the functions")?;
        let log = follow(&mut connection, topic, partitions, address).await?;
        Ok(Self { connection, address: address.into(), log, retain_minutes, text: String::new() })
    }

    /// Whether Redis is there and still follows this log.
    ///
    /// Errors: [`Unavailable`], also where Redis has forgotten the log or was rebuilt.
    pub async fn check(&mut self) -> anyhow::Result<()> {
        let id: Option<String> = redis::cmd("HGET")
            .arg(keys::log(&self.log.topic))
            .arg("id")
            .query_async(&mut self.connection)
            .await
            .map_err(|error| unavailable(&self.address, &error))?;
        let reason = match id {
            Some(id) if id == self.log.id.as_str() => return Ok(()),
            Some(_) => "it follows the topic under another log id now",
            None => "it has lost what it held",
        };
        Err(Unavailable { address: public(&self.address), reason: reason.into() }.into())
    }

    /// How far Redis has followed each partition; a partition never followed is absent. Apart from
    /// the writer, which may go on meanwhile.
    pub fn places(
        &self,
    ) -> impl Future<Output = anyhow::Result<HashMap<i32, Place>>> + Send + 'static {
        let (mut connection, address) = (self.connection.clone(), self.address.clone());
        let key = keys::log(&self.log.topic);
        async move {
            let fields: HashMap<String, String> = redis::cmd("HGETALL")
                .arg(&key)
                .query_async(&mut connection)
                .await
                .map_err(|error| unavailable(&address, &error))?;
            let mut places = HashMap::new();
            for (field, text) in &fields {
                let Some(partition) = field.strip_prefix("partition.") else { continue };
                let place = partition.parse().ok().zip(log::parse_place(text));
                let (partition, place) = place
                    .with_context(|| format!("{key} holds {field} = {text:?}, not a place"))?;
                places.insert(partition, place);
            }
            Ok(places)
        }
    }

    /// The stored state of each symbol, in their order.
    pub async fn load(&mut self, symbols: &[&str]) -> anyhow::Result<Vec<SymbolState>> {
        let mut states = Vec::with_capacity(symbols.len());
        for symbols in symbols.chunks(SYMBOLS_A_LOAD) {
            let mut pipeline = Pipeline::with_capacity(symbols.len());
            for symbol in symbols {
                let mut call = Cmd::new();
                call.arg("FCALL_RO").arg("gostocks_load_1").arg(2);
                call.arg(keys::price(symbol)).arg(keys::candles(symbol));
                pipeline.add_command(call);
            }
            let stored: Vec<(HashMap<String, String>, HashMap<String, String>)> = pipeline
                .query_async(&mut self.connection)
                .instrument(span::of("FCALL_RO"))
                .await
                .map_err(|error| unavailable(&self.address, &error))?;
            for (symbol, (price, candles)) in symbols.iter().zip(stored) {
                let state = state_fields::parse(&self.log.id, price, &candles, self.retain_minutes);
                states.push(state.with_context(|| {
                    format!(
                        "{} or {} holds what GoStocks did not write; run `processor rebuild`",
                        keys::price(symbol),
                        keys::candles(symbol)
                    )
                })?);
            }
        }
        Ok(states)
    }

    /// Writes a batch in one pipeline, and that its partitions were followed up to `places`.
    ///
    /// Returns the indexes of the writes that were refused, because Redis has these symbols as of
    /// a newer position: their states must be loaded anew.
    /// Errors: [`Unavailable`], also where Redis was rebuilt or emptied meanwhile.
    pub async fn write(
        &mut self,
        writes: &mut [SymbolWrite<'_>],
        places: &[(i32, Place)],
    ) -> anyhow::Result<Vec<usize>> {
        let calls = writes.len().div_ceil(SYMBOLS_A_CALL).max(1);
        let mut pipeline = Pipeline::with_capacity(calls);
        // The places go last: they say that everything before them is there.
        for call in 0..calls {
            let from = call * SYMBOLS_A_CALL;
            let to = writes.len().min(from + SYMBOLS_A_CALL);
            let places = if call + 1 == calls { places } else { &[] };
            pipeline.add_command(self.call(&mut writes[from..to], places));
        }
        let answers: RedisResult<Vec<Vec<usize>>> =
            pipeline.query_async(&mut self.connection).instrument(span::of("FCALL")).await;
        let answers = answers.map_err(|error| unavailable(&self.address, &error))?;
        let refused = answers.into_iter().enumerate().flat_map(|(call, refused)| {
            refused.into_iter().map(move |index| call * SYMBOLS_A_CALL + index)
        });
        Ok(refused.filter(|index| *index < writes.len()).collect())
    }

    fn call(&mut self, writes: &mut [SymbolWrite<'_>], places: &[(i32, Place)]) -> Cmd {
        let mut call = Cmd::new();
        call.arg("FCALL").arg("gostocks_write_1").arg(1 + 2 * writes.len());
        call.arg(keys::log(&self.log.topic));
        for write in writes.iter() {
            call.arg(keys::price(write.symbol)).arg(keys::candles(write.symbol));
        }
        call.arg(self.log.id.as_str()).arg(places.len());
        for (partition, place) in places {
            call.arg(log::place_field(*partition)).arg(log::encode_place(*place));
        }
        for write in writes {
            self.arguments(&mut call, write);
        }
        call
    }

    /// The arguments of one symbol, in the order that the function expects.
    fn arguments(&mut self, call: &mut Cmd, write: &mut SymbolWrite<'_>) {
        let state = &mut *write.state;
        let (Some(as_of), Some(latest), Some(day)) = (state.as_of, state.latest, state.day) else {
            unreachable!("a state is written only after a trade");
        };
        let mut candles = Vec::new();
        state.minutes.take_changes(|start, candle| candles.push((start, *candle)));
        let mut expired = Vec::new();
        state.take_expired(|start| expired.push(start));
        call.arg(self.log.id.position(write.partition, as_of));
        call.arg(2 * candles.len()).arg(expired.len());
        call.arg(latest.price.get()).arg(latest.stamp.time).arg(latest.volume.get());
        call.arg(latest.received_at).arg(candle_text::encode_stamp(latest.stamp));
        let market::Day { start, candle } = day;
        call.arg(start).arg(candle.open.get()).arg(candle.high.get()).arg(candle.low.get());
        call.arg(candle.close.get()).arg(candle.volume).arg(candle.trades);
        call.arg(candle_text::encode_stamp(candle.opened));
        call.arg(candle_text::encode_stamp(candle.closed));
        call.arg(write.symbol);
        for (start, candle) in candles {
            candle_text::encode(&candle, &mut self.text);
            call.arg(start).arg(&*self.text);
        }
        for start in expired {
            call.arg(start);
        }
    }

    /// Forgets everything that Redis holds of the topic, and follows it from its start under a
    /// new log id. Returns how many symbols were forgotten. A processor that runs meanwhile is
    /// refused, connects again and goes on under the new id.
    pub async fn rebuild(address: &str, topic: &str, partitions: i32) -> anyhow::Result<usize> {
        let mut connection = open(address).await?;
        let failed = |error: RedisError| unavailable(address, &error);
        let key = keys::log(topic);
        let previous: Option<String> = redis::cmd("HGET")
            .arg(&key)
            .arg("id")
            .query_async(&mut connection)
            .await
            .map_err(failed)?;
        let previous = previous.as_deref().map(|id| id.trim_start_matches(REBUILDING));
        let id = LogId::mint(previous.and_then(LogId::parse).as_ref());
        // Nobody may write while keys are deleted: an id that no writer can have. It keeps the
        // number, so that a rebuild that was cut short is made good by the next.
        let closed = format!("{REBUILDING}{id}");
        let partitions = partitions.to_string();
        redis::pipe()
            .atomic()
            .del(&key)
            .hset_multiple(&key, &[("id", closed.as_str()), ("partitions", &partitions)])
            .query_async::<()>(&mut connection)
            .await
            .map_err(failed)?;
        let forgotten = forget(&mut connection).await.map_err(failed)?;
        redis::cmd("HSET")
            .arg(&key)
            .arg("id")
            .arg(id.as_str())
            .query_async::<()>(&mut connection)
            .await
            .map_err(failed)?;
        Ok(forgotten)
    }
}

/// Deletes every symbol's keys; returns how many symbols there were.
async fn forget(connection: &mut MultiplexedConnection) -> RedisResult<usize> {
    let mut forgotten = 0;
    for pattern in ["price:{*}", "candles:{*}:1m"] {
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1_000);
            let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(connection).await?;
            if !keys.is_empty() {
                redis::cmd("UNLINK").arg(&keys).query_async::<()>(connection).await?;
            }
            forgotten += if pattern.starts_with("price") { keys.len() } else { 0 };
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(forgotten)
}

async fn open(address: &str) -> anyhow::Result<MultiplexedConnection> {
    let url =
        if address.contains("://") { address.to_owned() } else { format!("redis://{address}") };
    let client = redis::Client::open(url).map_err(|error| unavailable(address, &error))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| unavailable(address, &error))
}

/// Which log Redis follows; none yet: this one, under a new id.
async fn follow(
    connection: &mut MultiplexedConnection,
    topic: &str,
    partitions: i32,
    address: &str,
) -> anyhow::Result<Log> {
    let failed = |error: RedisError| unavailable(address, &error);
    let key = keys::log(topic);
    let fresh = LogId::mint(None);
    // Two processors that start at once agree on whose id came first.
    let (id, stored): (String, i32) = redis::pipe()
        .atomic()
        .hset_nx(&key, "id", fresh.as_str())
        .ignore()
        .hset_nx(&key, "partitions", partitions)
        .ignore()
        .hget(&key, "id")
        .hget(&key, "partitions")
        .query_async(connection)
        .await
        .map_err(failed)?;
    if id.starts_with(REBUILDING) {
        let reason = "it is being rebuilt; where that was cut short, run `processor rebuild` again";
        return Err(Unavailable { address: public(address), reason: reason.into() }.into());
    }
    let id = LogId::parse(&id).ok_or_else(|| anyhow!("{key} holds id = {id:?}, not a log id"))?;
    if id == fresh {
        tracing::info!(topic, log = %id, "Redis begins to follow the topic");
    }
    if stored != partitions {
        let reason = format!("it had {stored} partitions and has {partitions} now");
        return Err(log::another(topic, reason).into());
    }
    Ok(Log { id, topic: topic.into() })
}

fn unavailable(address: &str, error: &RedisError) -> anyhow::Error {
    let reason = match error.kind() {
        ErrorKind::AuthenticationFailed => "authentication failed".to_owned(),
        _ => error.to_string(),
    };
    Unavailable { address: public(address), reason }.into()
}

/// The address without its password.
pub(crate) fn public(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((credentials, host)) => {
            let scheme = credentials.split_once("://").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() { host.into() } else { format!("{scheme}://{host}") }
        }
        None => address.to_owned(),
    }
}
