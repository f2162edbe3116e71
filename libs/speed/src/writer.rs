//! The processor's end of Redis.

mod cluster;
mod envelope;
mod exchange;
mod transaction;
mod write;

use std::collections::HashMap;

use anyhow::Context;
use market::{Place, Sequence, StateSpec, Trade};
use redis::{RedisError, RedisResult};
use tracing::Instrument;

use crate::address::Address;
use crate::claims::Claims;
use crate::entry;
use crate::link::Link;
use crate::log::{self, Log};
use crate::rebuild;
use crate::stored_state::{self, Load};
use crate::streams::{Stream, Streams};
use crate::symbol_text::SymbolPen;
use crate::tracked::Tracked;
use crate::{Unavailable, keys, span};

pub use write::{Packed, Sent, SymbolWrite, Written};

/// Symbols that are loaded at once: with their newest candles, and with all.
const SYMBOLS_A_LOAD: usize = 200;
const WHOLE_SYMBOLS_A_LOAD: usize = 8;
/// Entries of a stream that are counted at once, when a partition is taken over.
const ENTRIES_A_COUNT: usize = 500;

/// What a writer keeps in Redis of which topic.
#[derive(Clone, Debug)]
pub struct WriterSettings {
    pub topic: String,
    pub partitions: i32,
    /// Candles and recent trades of a symbol.
    pub state: StateSpec,
    /// How many trades a partition's stream keeps: so many at least while there are, and some 1 %
    /// or one entry more.
    pub stream_trades: u64,
}

/// The processor's end: one connection, used for one batch after the other.
///
/// After an error the connection is of no more use: connect again, drop every state that was
/// loaded, and read the log again from the places that Redis has.
pub struct Writer {
    link: Link,
    address: Address,
    log: Log,
    state: StateSpec,
    /// The names of its intervals.
    intervals: Vec<String>,
    streams: Streams,
    /// Of a cluster, a key on each master that says how far that master has everything. A replica
    /// that takes over may lack the last writes to the master before it, and lacks their mark then.
    marks: Vec<String>,
    /// How far each partition was followed, as Redis was told or has told: it has as much, or has
    /// lost it.
    places: HashMap<i32, Place>,
    claims: Claims,
    /// The name of its presence, and whether the connection watches that and has found it.
    presence: String,
    is_watched: bool,
    /// False once a transaction was refused where the call was not.
    may_transact: bool,
    pen: SymbolPen,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Writer {
    /// Connects, loads the functions, and reads which log Redis follows; an empty Redis begins to
    /// follow the topic under a new log id.
    ///
    /// Errors: [`Unavailable`], or [`market::AnotherLog`] where the number of partitions has changed.
    pub async fn connect(address: &str, settings: WriterSettings) -> anyhow::Result<Self> {
        let address = Address::new(address);
        let WriterSettings { topic, partitions, state, stream_trades } = settings;
        let opened = async {
            let link = Link::connect(&address).await?;
            link.load_functions().await?;
            let marks = marks(&link, &address, &topic).await?;
            RedisResult::Ok((link, marks))
        };
        let (link, marks) = opened.await.map_err(|error| address.unavailable(&error))?;
        let log = rebuild::follow(&link, &address, &topic, partitions).await?;
        let intervals = state.candles.iter().map(|spec| spec.interval.to_string()).collect();
        let claims = Claims::new();
        Ok(Self {
            link,
            address,
            presence: keys::presence(&topic, &claims.writer()),
            is_watched: false,
            may_transact: true,
            log,
            state,
            intervals,
            streams: Streams::new(&topic, stream_trades),
            marks,
            places: HashMap::new(),
            claims,
            pen: SymbolPen::default(),
        })
    }

    /// Whether Redis is there, still follows this log, and has what was written.
    ///
    /// Errors: [`Unavailable`], also where Redis has forgotten the log or was rebuilt.
    pub async fn check(&mut self) -> anyhow::Result<()> {
        let log = keys::log(&self.log.topic);
        for key in [&log].into_iter().chain(&self.marks) {
            let fields = self.link.query(redis::cmd("HGETALL").arg(key)).await;
            let fields: HashMap<String, String> =
                fields.map_err(|error| self.unavailable(&error))?;
            let reason = match fields.get("id") {
                Some(id) if id != self.log.id.as_str() => {
                    "it follows the topic under another log id now"
                }
                // A mark is made with the first place that is told.
                None if *key == log || !self.places.is_empty() => "it has lost what it held",
                _ => {
                    let here = log::parse_places(key, &fields)?;
                    let is_there = |(partition, told): (&i32, &Place)| {
                        here.get(partition).is_some_and(|place| place.offset >= told.offset)
                    };
                    if self.places.iter().all(is_there) {
                        continue;
                    }
                    "it has lost what it held"
                }
            };
            return Err(self.address.away(reason).into());
        }
        Ok(())
    }

    /// How far Redis has followed each partition, on a cluster the master that is furthest behind;
    /// a partition never followed is absent. Apart from the writer, which may go on meanwhile.
    pub fn places(
        &self,
    ) -> impl Future<Output = anyhow::Result<HashMap<i32, Place>>> + Send + 'static {
        let (link, address) = (self.link.clone(), self.address.clone());
        let keys: Vec<String> =
            [keys::log(&self.log.topic)].into_iter().chain(self.marks.iter().cloned()).collect();
        let id = self.log.id.clone();
        async move {
            let mut places: Option<HashMap<i32, Place>> = None;
            for key in keys {
                let fields: RedisResult<HashMap<String, String>> =
                    link.query(redis::cmd("HGETALL").arg(&key)).await;
                let fields = fields.map_err(|error| address.unavailable(&error))?;
                let of_log = fields.get("id").is_some_and(|of| of == id.as_str());
                let here = if of_log { log::parse_places(&key, &fields)? } else { HashMap::new() };
                places = Some(match places {
                    None => here,
                    // A master that has none has lost what it held, or never held any of it.
                    Some(mut places) => {
                        places.retain(|partition, _| here.contains_key(partition));
                        for (partition, place) in &mut places {
                            let other = here[partition];
                            *place = if other.offset < place.offset { other } else { *place };
                        }
                        places
                    }
                });
            }
            Ok(places.unwrap_or_default())
        }
    }

    /// The stored state of each symbol, in their order: with its newest candles, or with all.
    pub async fn load(&mut self, symbols: &[&str], all: bool) -> anyhow::Result<Vec<Tracked>> {
        let (load, at_once) = match all {
            false => (Load::Hot, SYMBOLS_A_LOAD),
            true => (Load::All, WHOLE_SYMBOLS_A_LOAD),
        };
        let mut states = Vec::with_capacity(symbols.len());
        for symbols in symbols.chunks(at_once) {
            let stored = self.load_some(symbols, load).await?;
            for (symbol, stored) in symbols.iter().zip(stored) {
                states.push(match self.state_of(symbol, stored, load)? {
                    Some(state) => state,
                    // Fewer candles are retained than before: once, so that the rest is forgotten.
                    None => {
                        let stored = self.load_some(&[symbol], Load::All).await?;
                        let stored = stored.into_iter().next().context("an answer")?;
                        self.state_of(symbol, stored, Load::All)?.context("all was loaded")?
                    }
                });
            }
        }
        Ok(states)
    }

    async fn load_some(
        &self,
        symbols: &[&str],
        load: Load,
    ) -> anyhow::Result<Vec<stored_state::Stored>> {
        let call = |symbol: &&str| stored_state::command(symbol, &self.state, load);
        let stored = self.link.all(symbols.iter().map(call).collect());
        let stored = stored.instrument(span::of("FCALL_RO")).await;
        Ok(stored.map_err(|error| self.unavailable(&error))?)
    }

    fn state_of(
        &self,
        symbol: &str,
        stored: stored_state::Stored,
        load: Load,
    ) -> anyhow::Result<Option<Tracked>> {
        let loaded = stored_state::parse(stored, &self.state, load).with_context(|| {
            format!(
                "a key of {symbol} ({} or another) holds what GoStocks did not write; run \
                 `processor rebuild`",
                keys::price(symbol),
            )
        })?;
        Ok(stored_state::of_log(loaded, &self.log.id, &self.state, &self.claims))
    }

    /// Reads how far the streams of these partitions go, where that is not known yet: before their
    /// trades are appended.
    pub async fn begin_streams(
        &mut self,
        partitions: impl IntoIterator<Item = i32>,
    ) -> anyhow::Result<()> {
        for partition in partitions {
            if !self.streams.is_known(partition) {
                let known = self.known_stream(partition).await;
                let known = known.map_err(|error| self.unavailable(&error))?;
                self.streams.know(partition, known);
            }
        }
        Ok(())
    }

    async fn known_stream(&self, partition: i32) -> RedisResult<Stream> {
        let [key, end] = self.streams.keys(partition);
        let mut command = redis::cmd("HMGET");
        command.arg(end).arg("log").arg("last");
        let (of, last): (Option<String>, Option<String>) = self.link.query(&command).await?;
        let last = last.filter(|_| of.as_deref() == Some(self.log.id.as_str()));
        let Some(end) = last.as_deref().and_then(entry::parse_id) else {
            return Ok(Streams::ending_at(None));
        };
        let mut stream = Streams::ending_at(Some(end));
        let mut from = "-".to_owned();
        loop {
            let mut call = redis::cmd("FCALL_RO");
            call.arg("gostocks_entries_7").arg(1).arg(&key).arg(&from).arg(ENTRIES_A_COUNT);
            let found: Vec<(String, u64)> = self.link.query(&call).await?;
            let sequences = found.iter().filter_map(|(id, it)| Some((entry::parse_id(id)?, *it)));
            // What is past the end was appended meanwhile: it counts when it is read.
            for (last, trades) in sequences.filter(|(last, _)| *last <= end) {
                self.streams.count(&mut stream, last, trades);
            }
            match found.last() {
                Some((last, _)) if found.len() == ENTRIES_A_COUNT => from = format!("({last}"),
                _ => return Ok(stream),
            }
        }
    }

    /// Whether it is known how far the streams of these partitions go.
    pub fn knows_streams(&self, partitions: impl IntoIterator<Item = i32>) -> bool {
        partitions.into_iter().all(|partition| self.streams.is_known(partition))
    }

    /// Adds a trade to what the next `pack` takes for its partition's stream, in the order of the
    /// log; one that is there already is left out. `number` is the caller's for the symbol.
    #[inline]
    pub fn append(
        &mut self,
        partition: i32,
        number: u32,
        symbol: &str,
        sequence: Sequence,
        trade: &Trade,
    ) {
        self.streams.push(partition, number, symbol, sequence, trade);
    }

    /// Forgets how far the streams of these partitions go, or of all: somebody else may go on with
    /// them.
    pub fn forget_streams(&mut self, partitions: Option<&[i32]>) {
        self.streams.forget(partitions);
    }

    /// Redis has followed partitions up to there, as `places` of this writer has found: what has
    /// less from now on has lost something.
    pub fn told(&mut self, places: impl IntoIterator<Item = (i32, Place)>) {
        for (partition, place) in places {
            let told = self.places.entry(partition).or_insert(place);
            if told.offset < place.offset {
                *told = place;
            }
        }
    }

    /// Forgets everything that Redis holds of the topic, and follows it from its start under a
    /// new log id. Returns how many symbols were forgotten. A processor that runs meanwhile is
    /// refused, connects again and goes on under the new id.
    pub async fn rebuild(address: &str, topic: &str, partitions: i32) -> anyhow::Result<usize> {
        let address = Address::new(address);
        let rebuilt = async {
            let link = Link::connect(&address).await?;
            rebuild::rebuild(&link, &address, topic, partitions).await
        };
        Ok(rebuilt.await.map_err(|error| address.unavailable(&error))?)
    }

    fn unavailable(&self, error: &RedisError) -> Unavailable {
        self.address.unavailable(error)
    }
}

/// Of a cluster, a key on each master.
async fn marks(link: &Link, address: &Address, topic: &str) -> RedisResult<Vec<String>> {
    let Some(topology) = link.topology(address).await? else { return Ok(Vec::new()) };
    let owned = |owner| {
        let mut keys = (0..1_000_000).map(|number| keys::mark(topic, number));
        keys.find(|key| topology.owner(key) == Some(owner))
    };
    Ok((0..topology.masters.len()).filter_map(owned).collect())
}
