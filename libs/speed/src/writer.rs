use std::collections::HashMap;

use anyhow::Context;
use market::{Place, Sequence, StateSpec, SymbolState, Trade};
use redis::{Cmd, RedisError, RedisResult};
use tracing::Instrument;

use crate::address::Address;
use crate::entry;
use crate::link::Link;
use crate::log::{self, Log};
use crate::rebuild;
use crate::stored_state::{self, Load};
use crate::streams::{Stream, Streams};
use crate::symbol_text::SymbolText;
use crate::{Unavailable, keys, span};

/// One call keeps Redis from serving anyone else; past this many symbols it would be felt.
const SYMBOLS_A_CALL: usize = 500;
/// Of a call, keys included; about so many.
const ARGS_A_SYMBOL: usize = 16;
const BYTES_A_SYMBOL: usize = 1_536;
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
    text: SymbolText,
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
    /// As of which trade the state was when it was loaded or last written: Redis has as much, or
    /// has lost it.
    pub base: Option<Sequence>,
    pub state: &'a mut SymbolState,
}

/// Which symbols of a call were refused, and where the streams end that somebody else has appended
/// to.
type Answer = (Vec<usize>, Vec<(usize, String)>);

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Written {
    /// Indexes of the writes that were refused, because Redis has these symbols as of a newer
    /// position, or that followed what somebody else had written: their states must be loaded anew.
    pub refused: Vec<usize>,
    /// Entries and trades that were appended to streams.
    pub entries: u64,
    pub trades: u64,
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
        Ok(Self {
            link,
            address,
            log,
            state,
            intervals,
            streams: Streams::new(&topic, stream_trades),
            marks,
            places: HashMap::new(),
            text: SymbolText::default(),
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
    pub async fn load(&mut self, symbols: &[&str], all: bool) -> anyhow::Result<Vec<SymbolState>> {
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
    ) -> anyhow::Result<Option<SymbolState>> {
        let loaded = stored_state::parse(stored, &self.state, load).with_context(|| {
            format!(
                "a key of {symbol} ({} or another) holds what GoStocks did not write; run \
                 `processor rebuild`",
                keys::price(symbol),
            )
        })?;
        Ok(stored_state::of_log(loaded, &self.log.id, &self.state))
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
            call.arg("gostocks_entries_5").arg(1).arg(&key).arg(&from).arg(ENTRIES_A_COUNT);
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

    /// Adds a trade to what the next `write` appends to its partition's stream, in the order of the
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

    /// Writes a batch in one pipeline, what was appended with it, and that its partitions were
    /// followed up to `places`. In this order: symbols, streams, places; so a trade that is in a
    /// stream is in its symbol, and what is before a place is everywhere.
    ///
    /// Errors: [`Unavailable`], also where Redis was rebuilt or has lost something meanwhile.
    pub async fn write(
        &mut self,
        writes: &mut [SymbolWrite<'_>],
        places: &[(i32, Place)],
    ) -> anyhow::Result<Written> {
        let mut written = Written::default();
        let result = match &self.link {
            Link::Single(_) => self.write_single(writes, places, &mut written).await,
            Link::Cluster(_) => self.write_cluster(writes, places, &mut written).await,
        };
        result.map_err(|error| self.unavailable(&error))?;
        self.told(places.iter().copied());
        Ok(written)
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

    async fn write_single(
        &mut self,
        writes: &mut [SymbolWrite<'_>],
        places: &[(i32, Place)],
        written: &mut Written,
    ) -> RedisResult<()> {
        let last = (writes.len().saturating_sub(1)) / SYMBOLS_A_CALL * SYMBOLS_A_CALL;
        let (first, mut writes) = writes.split_at_mut(last);
        let calls = first.chunks_mut(SYMBOLS_A_CALL).map(|some| self.call(some, &[], &[]).0);
        let calls: Vec<Cmd> = calls.collect();
        // Streams and places say that the symbols are there: not before all of them have answered.
        for (number, (refused, _)) in self.answers(calls).await?.into_iter().enumerate() {
            let start = number * SYMBOLS_A_CALL;
            written.refused.extend(refused.into_iter().map(|index| start + index));
        }
        let mut streams = self.streams.pack();
        loop {
            let (call, appended) = self.call(writes, &streams, places);
            writes = &mut [];
            let mut overtaken = Vec::new();
            for (refused, overlaps) in self.answers(vec![call]).await? {
                written.refused.extend(refused.into_iter().map(|index| last + index));
                overtaken.extend(overlaps);
            }
            for (index, partition) in streams.iter().enumerate() {
                match overtaken.iter().find(|(at, _)| *at == index) {
                    Some((_, end)) => self.overtaken(*partition, end)?,
                    None => {
                        self.streams.appended(*partition);
                        written.entries += appended[index].0;
                        written.trades += appended[index].1;
                    }
                }
            }
            if overtaken.is_empty() {
                return Ok(());
            }
            streams = self.streams.pack();
        }
    }

    async fn answers(&self, calls: Vec<Cmd>) -> RedisResult<Vec<Answer>> {
        self.link.all(calls).instrument(span::of("FCALL")).await
    }

    /// A call of the function, and how many entries and trades it appends to each stream.
    fn call(
        &mut self,
        writes: &mut [SymbolWrite<'_>],
        streams: &[i32],
        places: &[(i32, Place)],
    ) -> (Cmd, Vec<(u64, u64)>) {
        let mut call =
            Cmd::with_capacity(writes.len() * ARGS_A_SYMBOL, writes.len() * BYTES_A_SYMBOL);
        let symbols: usize = writes.iter().map(SymbolText::key_count).sum();
        let keys = 1 + symbols + 2 * streams.len();
        call.arg("FCALL").arg("gostocks_write_5").arg(keys).arg(keys::log(&self.log.topic));
        for write in writes.iter() {
            SymbolText::keys(&self.state, write, &mut call);
        }
        for partition in streams {
            call.arg(&self.streams.keys(*partition));
        }
        call.arg(self.log.id.as_str()).arg(writes.len());
        call.arg(streams.len()).arg(places.len());
        for write in writes {
            self.text.arguments(&self.log.id, &self.intervals, write, &mut call);
        }
        let appended =
            streams.iter().map(|partition| self.streams.arguments(*partition, &mut call));
        let appended = appended.collect();
        self.place_arguments(places, &mut call);
        (call, appended)
    }

    fn place_arguments(&self, places: &[(i32, Place)], call: &mut Cmd) {
        for (partition, place) in places {
            let told = self.places.get(partition).copied().map(log::encode_place);
            call.arg(log::place_field(*partition)).arg(log::encode_place(*place));
            call.arg(told.unwrap_or_default());
        }
    }

    fn overtaken(&mut self, partition: i32, end: &str) -> RedisResult<()> {
        self.streams.overtaken(partition, end).ok_or_else(|| {
            let text = "the end of a stream is not what GoStocks writes";
            RedisError::from((redis::ErrorKind::UnexpectedReturnType, text))
        })
    }

    async fn write_cluster(
        &mut self,
        writes: &mut [SymbolWrite<'_>],
        places: &[(i32, Place)],
        written: &mut Written,
    ) -> RedisResult<()> {
        let mut calls = Vec::with_capacity(writes.len());
        for write in writes.iter_mut() {
            let mut call = Cmd::new();
            call.arg("FCALL").arg("gostocks_symbol_5").arg(SymbolText::key_count(write));
            SymbolText::keys(&self.state, write, &mut call);
            self.text.arguments(&self.log.id, &self.intervals, write, &mut call);
            calls.push(call);
        }
        let accepted = self.link.all::<bool>(calls).instrument(span::of("FCALL")).await?;
        let refused = accepted.iter().enumerate().filter(|(_, accepted)| !**accepted);
        written.refused.extend(refused.map(|(index, _)| index));
        let mut streams = self.streams.pack();
        while !streams.is_empty() {
            let mut calls = Vec::new();
            let mut appended = Vec::new();
            for partition in &streams {
                let mut call = Cmd::new();
                call.arg("FCALL").arg("gostocks_stream_5").arg(2);
                call.arg(&self.streams.keys(*partition)).arg(self.log.id.as_str());
                appended.push(self.streams.arguments(*partition, &mut call));
                calls.push(call);
            }
            let ends: Vec<String> = self.link.all(calls).instrument(span::of("FCALL")).await?;
            for ((partition, end), (entries, trades)) in streams.iter().zip(ends).zip(appended) {
                if end.is_empty() {
                    self.streams.appended(*partition);
                    written.entries += entries;
                    written.trades += trades;
                } else {
                    self.overtaken(*partition, &end)?;
                }
            }
            streams = self.streams.pack();
        }
        let log = keys::log(&self.log.topic);
        let log = ("gostocks_places_5", log.as_str());
        let marks = self.marks.iter().map(|mark| ("gostocks_mark_5", mark.as_str()));
        let calls = [log].into_iter().chain(marks).map(|(function, key)| {
            let mut call = Cmd::new();
            call.arg("FCALL").arg(function).arg(1).arg(key);
            call.arg(self.log.id.as_str()).arg(places.len());
            self.place_arguments(places, &mut call);
            call
        });
        self.link.all::<()>(calls.collect()).instrument(span::of("FCALL")).await?;
        Ok(())
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
