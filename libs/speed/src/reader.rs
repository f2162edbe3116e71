use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use market::{Candle, Interval, Sequence, StateSpec, Symbol, Trade};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, FromRedisValue, Pipeline, RedisResult};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::Instrument;
use wire::slots;

use crate::address::{Address, Node};
use crate::entry::{self, StreamEntry};
use crate::log::LogId;
use crate::price::{self, LatestPrice};
use crate::stored_state::{self, Load, Loaded, Snapshot, StoredCandles};
use crate::tail::Tail;
use crate::topology::Topology;
use crate::{Unavailable, candle_text, keys, span};

/// Symbols that are asked for at once, where all are.
const SYMBOLS_AT_ONCE: usize = 64;
/// Up to this many candles each is asked for by its start; more, and all of them are.
const STARTS_AT_ONCE: i64 = 512;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Waiting does not help: a person has to look.
    #[error("{key} holds what GoStocks did not write")]
    Foreign { key: String },
}

/// Which candles are wanted: those that start from `from` up to but not including `to`, Unix
/// milliseconds. Of more than `limit` the oldest ones where there is a `from`, else the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CandleRange {
    pub from: Option<i64>,
    pub to: Option<i64>,
    pub limit: usize,
}

/// Which log Redis follows, and how far each partition's stream goes; `None` where it has nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    pub log: LogId,
    pub newest: Vec<Option<Sequence>>,
}

/// The gateway's end: one connection (on a cluster one a node) that many requests share, and that
/// comes back by itself.
///
/// Of a symbol everything that one call returns is as of one moment, and is a function of the log
/// up to the position in it. Two calls, and two symbols, are as of two moments. A trade is in its
/// symbol's state before it is in its partition's stream: whoever asks for [`Reader::ends`], then
/// for [`Reader::states`], and then tails from those ends, misses nothing, and skips by position
/// what the states have already (`SymbolState::apply` does).
#[derive(Clone)]
pub struct Reader {
    connection: Connection,
    address: Address,
    timeout: Duration,
}

#[derive(Clone)]
enum Connection {
    Single(ConnectionManager),
    Cluster(Arc<Cluster>),
}

/// Connected when first needed.
struct Cluster {
    client: ClusterClient,
    connection: OnceCell<ClusterConnection>,
}

impl Cluster {
    async fn connection(&self) -> RedisResult<ClusterConnection> {
        self.connection.get_or_try_init(|| self.client.get_async_connection()).await.cloned()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Reader {
    /// Does not wait for Redis: a read while it is away is [`Unavailable`] within `timeout`.
    pub fn new(address: &str, timeout: Duration) -> Result<Self, Unavailable> {
        let address = Address::new(address);
        let connection = if address.is_cluster() {
            address.cluster_client(timeout).map(|client| {
                let connection = OnceCell::new();
                Connection::Cluster(Arc::new(Cluster { client, connection }))
            })
        } else {
            address.client().and_then(|client| {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(timeout))
                    .set_response_timeout(Some(timeout))
                    .set_number_of_retries(1)
                    .set_max_delay(Duration::from_millis(500));
                ConnectionManager::new_lazy_with_config(client, config).map(Connection::Single)
            })
        };
        let connection = connection.map_err(|error| address.unavailable(&error))?;
        Ok(Self { connection, address, timeout })
    }

    /// `None` where no trade of the symbol was seen.
    pub async fn price(&self, symbol: &Symbol) -> Result<Option<LatestPrice>, ReadError> {
        let key = keys::price(symbol.as_str());
        let fields = self.traced("HGETALL", redis::cmd("HGETALL").arg(&key)).await?;
        price::parse(symbol, fields).map_err(|_| ReadError::Foreign { key })
    }

    /// The candles of a symbol by start, oldest first. None where the symbol or the interval is
    /// unknown.
    pub async fn candles(
        &self,
        symbol: &Symbol,
        interval: Interval,
        range: CandleRange,
    ) -> Result<Vec<(i64, Candle)>, ReadError> {
        let key = keys::candles(symbol.as_str(), interval);
        let price_key = keys::price(symbol.as_str());
        let (newest, stored) = self.stored_candles(&price_key, &key, interval, range).await?;
        let newest = match newest {
            Some(text) => candle_text::newest(&text, interval)
                .map_err(|()| ReadError::Foreign { key: price_key })?,
            None => None,
        };
        let within = |start: i64| {
            range.from.is_none_or(|from| from <= start) && range.to.is_none_or(|to| start < to)
        };
        let mut candles = Vec::with_capacity(stored.len() + 1);
        let is_newest = |start: i64| newest.is_some_and(|(newest, _)| newest == start);
        let others = stored.into_iter().filter(|(start, _)| within(*start) && !is_newest(*start));
        for (start, text) in others {
            let candle = candle_text::parse(&text);
            candles.push((start, candle.ok_or_else(|| ReadError::Foreign { key: key.clone() })?));
        }
        candles.extend(newest.filter(|(start, _)| within(*start)));
        candles.sort_unstable_by_key(|(start, _)| *start);
        if range.from.is_some() {
            candles.truncate(range.limit);
        } else {
            candles.drain(..candles.len().saturating_sub(range.limit));
        }
        Ok(candles)
    }

    /// At least the candles of the range, and the symbol's newest ones, as of one moment.
    async fn stored_candles(
        &self,
        price_key: &str,
        key: &str,
        interval: Interval,
        range: CandleRange,
    ) -> Result<(Option<String>, StoredCandles), Unavailable> {
        let step = interval.milliseconds();
        let mut pipeline = redis::pipe();
        pipeline.atomic().hget(price_key, "candles");
        if let (Some(from), Some(to)) = (range.from, range.to) {
            let first = interval.start(from);
            let count = to.saturating_sub(first).saturating_add(step - 1) / step;
            if count <= 0 {
                return Ok((None, StoredCandles::new()));
            }
            if count <= STARTS_AT_ONCE {
                let starts = || (0..count).map(|number| first.saturating_add(number * step));
                pipeline.cmd("HMGET").arg(key);
                starts().for_each(|start| {
                    pipeline.arg(start);
                });
                let (newest, texts): (_, Vec<Option<String>>) =
                    self.traced_together("HMGET", &pipeline).await?;
                let found = starts().zip(texts);
                let found = found.filter_map(|(start, text)| Some((start, text?)));
                return Ok((newest, found.collect()));
            }
        }
        pipeline.hgetall(key);
        self.traced_together("HGETALL", &pipeline).await
    }

    /// The last trades of a symbol in the order of the log; `None` where there are none, or the
    /// processor keeps none.
    pub async fn recent(
        &self,
        symbol: &Symbol,
    ) -> Result<Option<Vec<(Sequence, Trade)>>, ReadError> {
        let key = keys::recent(symbol.as_str());
        let bytes: Option<Vec<u8>> = self.traced("GET", redis::cmd("GET").arg(&key)).await?;
        let trades = bytes.map(|bytes| slots::in_order(&bytes)).transpose();
        trades.map_err(|_| ReadError::Foreign { key })
    }

    /// A symbol with its newest candles of the intervals in `spec`; `None` where it is unknown.
    pub async fn state(
        &self,
        symbol: &Symbol,
        spec: &StateSpec,
    ) -> Result<Option<Snapshot>, ReadError> {
        let mut load = Load::Hot;
        loop {
            let command = stored_state::command(symbol.as_str(), spec, load);
            let stored = self.traced("FCALL_RO", &command).await?;
            let foreign = || ReadError::Foreign { key: keys::price(symbol.as_str()) };
            return match stored_state::parse(stored, spec, load).ok_or_else(foreign)? {
                Loaded::Nothing => Ok(None),
                Loaded::State(position, state) => {
                    Ok(Some(Snapshot { symbol: symbol.clone(), position, state }))
                }
                Loaded::TooMuch => {
                    load = Load::All;
                    continue;
                }
            };
        }
    }

    /// Every symbol that there is, each once and as of its own moment. One that is first traded
    /// meanwhile may be missing: it comes by the tail.
    pub async fn states(&self, spec: &StateSpec) -> Result<Vec<Snapshot>, ReadError> {
        let symbols = self.symbols().await?;
        let mut left = symbols.iter();
        let mut asked = FuturesUnordered::new();
        let mut states = Vec::with_capacity(symbols.len());
        loop {
            let room = SYMBOLS_AT_ONCE - asked.len();
            asked.extend(left.by_ref().take(room).map(|symbol| self.state(symbol, spec)));
            match asked.next().await {
                Some(state) => states.extend(state?),
                None => return Ok(states),
            }
        }
    }

    /// The names of all symbols, sorted.
    pub async fn symbols(&self) -> Result<Vec<Symbol>, ReadError> {
        let mut symbols = Vec::new();
        for node in self.masters().await? {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(keys::SYMBOLS).arg("COUNT").arg(1_000);
                let (next, keys): (u64, Vec<Vec<u8>>) =
                    self.query_node(scan, node.as_ref()).await?;
                symbols.extend(keys.iter().filter_map(|key| keys::symbol(key)));
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        symbols.sort_unstable();
        symbols.dedup();
        Ok(symbols)
    }

    /// Which log Redis follows, and how far the streams go; `None` where it follows none.
    pub async fn ends(&self, topic: &str) -> Result<Option<Ends>, ReadError> {
        let key = keys::log(topic);
        let mut command = redis::cmd("HMGET");
        command.arg(&key).arg("id").arg("partitions");
        let (id, partitions): (Option<String>, Option<i32>) =
            self.traced("HMGET", &command).await?;
        let Some((id, partitions)) = id.zip(partitions) else { return Ok(None) };
        // While it is rebuilt it follows none.
        let Some(log) = LogId::parse(&id) else { return Ok(None) };
        let mut newest = Vec::new();
        for partition in 0..partitions {
            let key = keys::stream_end(topic, partition);
            let mut command = redis::cmd("HMGET");
            command.arg(&key).arg("log").arg("last");
            let (of, last): (Option<String>, Option<String>) =
                self.traced("HMGET", &command).await?;
            let last = last.filter(|_| of.as_deref() == Some(log.as_str()));
            let last = last.map(|last| entry::parse_id(&last).ok_or(ReadError::Foreign { key }));
            newest.push(last.transpose()?);
        }
        Ok(Some(Ends { log, newest }))
    }

    /// Entries of a partition's stream that hold trades after `after`, oldest first, at most
    /// `count`; `None` means from the oldest that is retained. The first may hold earlier trades
    /// too. Where the first entry's `after` is later than what was asked for, what was between is
    /// past the retention.
    pub async fn range(
        &self,
        topic: &str,
        partition: i32,
        after: Option<Sequence>,
        count: usize,
    ) -> Result<Vec<StreamEntry>, ReadError> {
        let key = keys::stream(topic, partition);
        let mut command = redis::cmd("XRANGE");
        let from = after.map_or_else(|| "-".to_owned(), entry::id_after);
        command.arg(&key).arg(from).arg("+").arg("COUNT").arg(count);
        let stored: Vec<entry::Stored> = self.traced("XRANGE", &command).await?;
        let entries = stored.iter().map(|stored| entry::parse(partition, stored));
        let entries: Option<Vec<_>> = entries.collect();
        entries.ok_or(ReadError::Foreign { key })
    }

    /// The oldest place from which nothing of the partition is missing: a cursor before it is past
    /// the retention. `None` where the stream goes back to its beginning.
    pub async fn oldest(&self, topic: &str, partition: i32) -> Result<Option<Sequence>, ReadError> {
        let entries = self.range(topic, partition, None, 1).await?;
        Ok(entries.first().and_then(|entry| entry.after))
    }

    /// Every entry after these cursors, one a partition (`None`: from the oldest retained), as they
    /// come, until Redis follows another log than `log`.
    pub fn tail(&self, topic: &str, log: &LogId, cursors: &[Option<Sequence>]) -> Tail {
        Tail::begin(&self.address, topic, log, cursors)
    }

    pub async fn ping(&self) -> Result<(), Unavailable> {
        self.query(&redis::cmd("PING")).await
    }

    async fn traced<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<T, Unavailable> {
        let span = span::within_a_request(operation);
        let answer = self.query(command).instrument(span.clone()).await;
        answer.inspect_err(|error| span::fail(&span, error))
    }

    /// Commands on keys of one slot.
    async fn traced_together<T: FromRedisValue>(
        &self,
        operation: &'static str,
        commands: &Pipeline,
    ) -> Result<T, Unavailable> {
        let span = span::within_a_request(operation);
        let answer = self.within(async {
            match &self.connection {
                Connection::Single(connection) => {
                    commands.query_async(&mut connection.clone()).await
                }
                Connection::Cluster(cluster) => {
                    commands.query_async(&mut cluster.connection().await?).await
                }
            }
        });
        let answer = answer.instrument(span.clone()).await;
        answer.inspect_err(|error| span::fail(&span, error))
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unavailable> {
        self.within(async {
            match &self.connection {
                Connection::Single(connection) => {
                    command.query_async(&mut connection.clone()).await
                }
                Connection::Cluster(cluster) => {
                    command.query_async(&mut cluster.connection().await?).await
                }
            }
        })
        .await
    }

    /// Of a cluster, who has the keys; `None` is the single Redis.
    async fn masters(&self) -> Result<Vec<Option<Node>>, Unavailable> {
        if !self.address.is_cluster() {
            return Ok(vec![None]);
        }
        let topology = self.query(&Topology::command()).await?;
        let asked = self.address.nodes();
        let topology = Topology::parse(topology, asked.first());
        let topology = topology.map_err(|error| self.address.unavailable(&error))?;
        Ok(topology.masters.into_iter().map(Some).collect())
    }

    async fn query_node<T: FromRedisValue>(
        &self,
        command: Cmd,
        node: Option<&Node>,
    ) -> Result<T, Unavailable> {
        let (Connection::Cluster(cluster), Some(node)) = (&self.connection, node) else {
            return self.query(&command).await;
        };
        let Node { host, port } = node.clone();
        let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress { host, port });
        self.within(async {
            let mut connection = cluster.connection().await?;
            let answer = connection.route_command(command, routing).await?;
            Ok(redis::from_redis_value(answer)?)
        })
        .await
    }

    /// Connecting again and asking have one bound together.
    async fn within<T>(
        &self,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Unavailable> {
        match timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.address.unavailable(&error)),
            Err(_) => Err(self.address.away(format!("no answer within {:?}", self.timeout))),
        }
    }
}
