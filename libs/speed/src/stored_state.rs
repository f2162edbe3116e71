//! A symbol's state from what is stored.

use std::cmp::Reverse;
use std::collections::HashMap;

use market::{
    Candle, CandleSpec, Candles, Day, Latest, Stamp, StateSpec, Symbol, SymbolState, Volume,
};
use redis::Cmd;
use wire::slots;

use crate::claims::Claims;
use crate::fields::Fields;
use crate::log::{LogId, Position};
use crate::tracked::Tracked;
use crate::{candle_text, keys};

/// How much of a symbol is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// The newest candles, enough while no trade is very late.
    Hot,
    All,
}

/// What the function answers: the price's fields, the recent trades, and of each interval how many
/// candles there are and those that were asked for.
pub(crate) type Stored = (HashMap<String, String>, Option<Vec<u8>>, Vec<(u64, StoredCandles)>);

pub(crate) type StoredCandles = HashMap<i64, String>;

/// A symbol as of the last trade that was counted.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub symbol: Symbol,
    pub position: Position,
    /// With its newest candles: count further trades with `apply`, while they are within reach.
    pub state: SymbolState,
}

/// What a load came to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // There is one at a time, and it is nearly always the large one.
pub(crate) enum Loaded {
    /// Nothing is stored.
    Nothing,
    State(Position, SymbolState),
    /// More is stored than is retained now: load all, so that the rest is forgotten.
    TooMuch,
}

/// All of it as of one moment.
pub(crate) fn command(symbol: &str, spec: &StateSpec, load: Load) -> Cmd {
    let mut call = Cmd::new();
    call.arg("FCALL_RO").arg("gostocks_load_7").arg(2 + spec.candles.len());
    call.arg(keys::price(symbol)).arg(keys::recent(symbol));
    for candles in &spec.candles {
        call.arg(keys::candles(symbol, candles.interval));
    }
    for candles in &spec.candles {
        let count = if load == Load::Hot { candles.hot() } else { 0 };
        call.arg(candles.interval.milliseconds()).arg(count);
    }
    call
}

/// `None` where a field is not what this program writes.
pub(crate) fn parse(stored: Stored, spec: &StateSpec, load: Load) -> Option<Loaded> {
    let (price, recent, candles) = stored;
    let fields = Fields::new(price);
    if fields.is_empty() {
        return Some(Loaded::Nothing);
    }
    let position = Position::parse(fields.text("position")?)?;
    let mut state = SymbolState::new(spec);
    state.as_of = Some(position.sequence);
    let latest = latest(&fields)?;
    state.latest = Some(latest);
    state.day = Some(day(&fields)?);
    let newest = fields.text("candles")?;
    for ((spec, held), (count, stored)) in spec.candles.iter().zip(&mut state.candles).zip(&candles)
    {
        let newest = candle_text::newest(newest, spec.interval).ok()?;
        if load == Load::Hot && count + u64::from(newest.is_some()) > u64::from(spec.retain) {
            return Some(Loaded::TooMuch);
        }
        *held = restore(*spec, newest, stored, load, latest.stamp.time)?;
    }
    let ring = recent.filter(|_| spec.recent > 0).unwrap_or_default();
    state.restore_recent(spec, &slots::parse(&ring).ok()?);
    Some(Loaded::State(position, state))
}

fn restore(
    spec: CandleSpec,
    newest: Option<(i64, Candle)>,
    stored: &StoredCandles,
    load: Load,
    time: i64,
) -> Option<Candles> {
    let mut candles = match load {
        Load::Hot => Candles::known_from(spec, spec.hot_from(time)),
        Load::All => Candles::new(spec),
    };
    // Newest first, so that a shorter retention than before restores nothing that it would drop.
    let mut parsed = Vec::with_capacity(stored.len() + 1);
    parsed.extend(newest);
    let is_newest = |start: i64| newest.is_some_and(|(newest, _)| newest == start);
    for (start, text) in stored.iter().filter(|(start, _)| !is_newest(**start)) {
        parsed.push((*start, candle_text::parse(text)?));
    }
    parsed.sort_unstable_by_key(|(start, _)| Reverse(*start));
    parsed.into_iter().for_each(|(start, candle)| candles.restore(start, candle));
    Some(candles)
}

fn latest(fields: &Fields) -> Option<Latest> {
    Some(Latest {
        price: fields.price("price")?,
        volume: Volume::new(fields.number("volume")?)?,
        received_at: fields.number("received_at")?,
        stamp: stamp(fields, "price_position")?,
    })
}

pub(crate) fn day(fields: &Fields) -> Option<Day> {
    let (start, candle) = candle_text::parse_started(fields.text("day")?)?;
    Some(Day { start, candle })
}

fn stamp(fields: &Fields, name: &str) -> Option<Stamp> {
    candle_text::parse_stamp(fields.text(name)?)
}

/// The state of a symbol that this log knows: another log's, or none, is a symbol never seen.
pub(crate) fn of_log(
    loaded: Loaded,
    log: &LogId,
    spec: &StateSpec,
    claims: &Claims,
) -> Option<Tracked> {
    match loaded {
        Loaded::State(position, state) if position.log == *log => {
            Some(Tracked::new(state, claims.standing(position.partition)))
        }
        Loaded::Nothing | Loaded::State(..) => Some(Tracked::new(SymbolState::new(spec), None)),
        Loaded::TooMuch => None,
    }
}
