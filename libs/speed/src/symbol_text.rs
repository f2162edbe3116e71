//! A symbol's state as it goes to Redis.
//!
//! ```text
//!  state ──SymbolPen──▶ SymbolText ──▶ commands of a transaction
//!                                 └──▶ keys and arguments of a call
//! ```
//! What takes the time is done once, and before it is known which of the two it will be.

use market::{Candles, Gone, StateSpec};
use redis::Cmd;
use wire::slots::{self, SLOT};

use crate::candle_text::Pen;
use crate::log::LogId;
use crate::writer::SymbolWrite;
use crate::{candle_text, keys};

/// Of the HSET of a price: its words, keys included, and about so many bytes.
const PRICE_WORDS: usize = 18;
const PRICE_BYTES: usize = 1_152;

/// The fields of a price but the position, which goes last: in the order in which the function
/// expects their values.
const FIELDS: [&str; 7] =
    ["price", "timestamp", "volume", "received_at", "price_position", "day", "candles"];

/// Writes the texts. Holds only scratch.
#[derive(Debug, Default)]
pub(crate) struct SymbolPen {
    /// Where the pieces of the ring go, and where in `ring` they begin.
    pieces: Vec<(usize, usize)>,
    ring: Vec<u8>,
    text: String,
    pen: Pen,
}

/// What is to be written of a symbol.
#[derive(Clone, Debug)]
pub(crate) struct SymbolText {
    /// The position that Redis is known to have; empty for none.
    pub(crate) base: String,
    pub(crate) others: Others,
    /// `HSET key field value … position place`.
    pub(crate) price: Cmd,
}

/// What is to be written beside the price.
#[derive(Clone, Debug)]
pub(crate) enum Others {
    /// As nearly always, of one piece of the ring of recent trades: `SETRANGE key at piece`.
    Piece(Cmd),
    Changes(Box<Changes>),
}

/// Of candles beside the newest ones, and of the ring.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    /// The ring's key.
    pub(crate) recent: String,
    /// Its trades are forgotten first.
    pub(crate) is_anew: bool,
    /// Where the pieces of the ring go.
    pub(crate) pieces: Vec<(usize, Vec<u8>)>,
    pub(crate) intervals: Vec<IntervalChanges>,
}

/// Of the candles of one interval.
#[derive(Clone, Debug)]
pub(crate) struct IntervalChanges {
    pub(crate) key: String,
    pub(crate) gone: Gone,
    pub(crate) candles: Vec<(i64, String)>,
    /// Starts of candles that are not retained any more.
    pub(crate) expired: Vec<i64>,
}

/// The words of a command.
fn words(command: &Cmd) -> impl Iterator<Item = &[u8]> {
    command.args_iter().filter_map(|word| match word {
        redis::Arg::Simple(word) => Some(word),
        _ => None,
    })
}

pub(crate) fn push_words<'w>(words: impl Iterator<Item = &'w [u8]>, command: &mut Cmd) {
    words.for_each(|word| {
        command.arg(word);
    });
}

impl SymbolText {
    /// Whether it is not known to Redis.
    pub(crate) fn is_new(&self) -> bool {
        self.base.is_empty()
    }

    /// Whether a transaction can do it, for a writer that nobody disputes.
    pub(crate) fn may_transact(&self) -> bool {
        let takes_function = match &self.others {
            Others::Piece(_) => false,
            // Which candles those are takes the function to find.
            Others::Changes(changes) => {
                changes.intervals.iter().any(|it| matches!(it.gone, Gone::Before(_)))
            }
        };
        !self.is_new() && !takes_function
    }

    /// The keys that a call of the function has of it.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let (recent, intervals) = match &self.others {
            Others::Piece(piece) => (words(piece).nth(1), &[][..]),
            Others::Changes(changes) => (Some(changes.recent.as_bytes()), &*changes.intervals),
        };
        let candles = intervals.iter().map(|interval| interval.key.as_bytes());
        words(&self.price).nth(1).into_iter().chain(recent).chain(candles)
    }

    /// And the arguments.
    pub(crate) fn arguments(&self, call: &mut Cmd) {
        let fields = || words(&self.price).skip(3).step_by(2);
        debug_assert!(
            words(&self.price).nth(PRICE_WORDS - 2) == Some(b"position")
                && words(&self.price).count() == PRICE_WORDS
        );
        call.arg(fields().last()).arg(&self.base);
        push_words(fields().take(FIELDS.len()), call);
        match &self.others {
            Others::Piece(piece) => {
                call.arg("");
                push_words(words(piece).skip(2), call);
            }
            Others::Changes(changes) => changes.arguments(call),
        }
    }
}

impl Changes {
    fn arguments(&self, call: &mut Cmd) {
        call.arg(u8::from(self.is_anew)).arg(self.pieces.len());
        for (at, piece) in &self.pieces {
            call.arg(*at).arg(&**piece);
        }
        call.arg(self.intervals.len());
        for IntervalChanges { gone, candles, expired, .. } in &self.intervals {
            call.arg(2 * candles.len()).arg(expired.len());
            match gone {
                Gone::Nothing => call.arg(""),
                Gone::Before(start) => call.arg(start),
                Gone::All => call.arg("*"),
            };
            for (start, candle) in candles {
                call.arg(start).arg(candle);
            }
            call.arg(expired);
        }
    }
}

impl SymbolPen {
    /// What is to be written of a symbol as it is now. Takes the state's changes, and counts on it
    /// that they will be in Redis. `intervals` are the names of the candles' intervals.
    pub(crate) fn text(
        &mut self,
        log: &LogId,
        spec: &StateSpec,
        intervals: &[String],
        write: &mut SymbolWrite<'_>,
    ) -> SymbolText {
        let is_known = write.tracked.base.is_some();
        let mut base = String::new();
        if let Some(sequence) = write.tracked.base {
            log.push_position(write.partition, sequence, &mut base);
        }
        let price = self.price(log, intervals, write);
        let SymbolWrite { symbol, tracked, .. } = write;
        let state = &mut tracked.state;
        let Self { pieces, ring, pen, .. } = self;
        pieces.clear();
        ring.clear();
        let is_anew = state.recent.take_changes(|slot, trades| {
            pieces.push((slot * SLOT, ring.len()));
            trades.for_each(|(sequence, trade)| slots::push(*sequence, trade, ring));
        });
        let recent = keys::recent(symbol);
        let are_candles = !is_known || state.candles.iter().any(Candles::has_changes);
        let others = if let ([(at, _)], false, false) = (&**pieces, is_anew, are_candles) {
            let mut piece = Cmd::with_capacity(4, recent.len() + ring.len() + 24);
            piece.arg("SETRANGE").arg(recent).arg(*at).arg(&**ring);
            // No candle has anything to tell, so nothing is taken of them; below likewise.
            Others::Piece(piece)
        } else {
            let ends = pieces.iter().skip(1).map(|(_, begin)| *begin).chain([ring.len()]);
            let pieces = pieces.iter().zip(ends);
            let pieces = pieces.map(|((at, begin), end)| (*at, ring[*begin..end].to_vec()));
            let pieces = pieces.collect();
            let intervals = spec.candles.iter().zip(&mut state.candles).filter_map(|(spec, it)| {
                // All of them where the writer comes from nowhere: what is there is forgotten first.
                let is_written = !is_known || it.has_changes();
                is_written.then(|| Self::interval(pen, keys::candles(symbol, spec.interval), it))
            });
            let intervals = intervals.collect();
            Others::Changes(Box::new(Changes { recent, is_anew, pieces, intervals }))
        };
        tracked.base = tracked.state.as_of;
        SymbolText { base, others, price }
    }

    fn price(&mut self, log: &LogId, intervals: &[String], write: &SymbolWrite<'_>) -> Cmd {
        let state = &write.tracked.state;
        let (Some(as_of), Some(latest), Some(day)) = (state.as_of, state.latest, state.day) else {
            unreachable!("a state is written only after a trade");
        };
        let Self { text, pen, .. } = self;
        let [price, timestamp, volume, received_at, stamp, of_day, candles] = FIELDS;
        let mut command = Cmd::with_capacity(PRICE_WORDS, PRICE_BYTES);
        command.arg("HSET").arg(keys::price(write.symbol));
        command.arg(price).arg(latest.price.get()).arg(timestamp).arg(latest.stamp.time);
        command.arg(volume).arg(latest.volume.get()).arg(received_at).arg(latest.received_at);
        text.clear();
        candle_text::push_stamp(latest.stamp, text);
        command.arg(stamp).arg(&**text);
        text.clear();
        for (interval, name) in state.candles.iter().zip(intervals) {
            let Some((start, candle)) = interval.newest() else { continue };
            text.push_str(if text.is_empty() { "" } else { ", " });
            text.push_str(name);
            text.push(' ');
            pen.push_started(start, candle, text);
        }
        // After the last of them: by default the day's, which is the same.
        let end = text.len();
        pen.push_started(day.start, &day.candle, text);
        command.arg(of_day).arg(&text[end..]).arg(candles).arg(&text[..end]);
        text.clear();
        log.push_position(write.partition, as_of, text);
        command.arg("position").arg(&**text);
        command
    }

    /// What of an interval's candles changes beside the newest one.
    fn interval(pen: &mut Pen, key: String, candles: &mut Candles) -> IntervalChanges {
        let mut closed = Vec::new();
        candles.take_closed(|start, candle| {
            let mut text = String::new();
            pen.push(candle, &mut text);
            closed.push((start, text));
        });
        let mut expired = Vec::new();
        let gone = candles.take_expired(|start| expired.push(start));
        IntervalChanges { key, gone, candles: closed, expired }
    }
}
