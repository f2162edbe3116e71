use market::{Candle, Gone, StateSpec};
use redis::Cmd;
use wire::slots::{self, SLOT};

use crate::candle_text::Pen;
use crate::log::LogId;
use crate::writer::SymbolWrite;
use crate::{candle_text, keys};

/// Puts a symbol's state into a call, in the order that the function expects. Holds only scratch.
#[derive(Debug, Default)]
pub(crate) struct SymbolText {
    /// Where the pieces of the ring go, and where in `ring` they begin.
    pieces: Vec<(usize, usize)>,
    ring: Vec<u8>,
    text: String,
    pen: Pen,
    candles: Vec<(i64, Candle)>,
    expired: Vec<i64>,
}

/// Which of a symbol's candles are written beside the newest ones: the keys and the arguments have
/// the same. All of them where the writer comes from nowhere: what is there is forgotten first.
fn is_written(write: &SymbolWrite<'_>, interval: usize) -> bool {
    write.tracked.base.is_none() || write.tracked.state.candles[interval].has_changes()
}

fn written(write: &SymbolWrite<'_>) -> usize {
    (0..write.tracked.state.candles.len()).filter(|interval| is_written(write, *interval)).count()
}

impl SymbolText {
    /// How many keys `keys` gives.
    pub(crate) fn key_count(write: &SymbolWrite<'_>) -> usize {
        2 + written(write)
    }

    /// Before `arguments`, which takes the changes.
    pub(crate) fn keys(spec: &StateSpec, write: &SymbolWrite<'_>, call: &mut Cmd) {
        call.arg(keys::price(write.symbol)).arg(keys::recent(write.symbol));
        for (number, candles) in spec.candles.iter().enumerate() {
            if is_written(write, number) {
                call.arg(keys::candles(write.symbol, candles.interval));
            }
        }
    }

    /// `intervals` are the names of the candles' intervals.
    pub(crate) fn arguments(
        &mut self,
        log: &LogId,
        intervals: &[String],
        write: &mut SymbolWrite<'_>,
        call: &mut Cmd,
    ) {
        let count = written(write);
        let base = write.tracked.base;
        let state = &mut write.tracked.state;
        let (Some(as_of), Some(latest), Some(day)) = (state.as_of, state.latest, state.day) else {
            unreachable!("a state is written only after a trade");
        };
        let Self { pieces, ring, candles, expired, text, pen } = self;
        text.clear();
        log.push_position(write.partition, as_of, text);
        let end = text.len();
        if let Some(base) = base {
            log.push_position(write.partition, base, text);
        }
        call.arg(&text[..end]).arg(&text[end..]);
        call.arg(latest.price.get()).arg(latest.stamp.time).arg(latest.volume.get());
        call.arg(latest.received_at);
        text.clear();
        candle_text::push_stamp(latest.stamp, text);
        call.arg(&**text);
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
        call.arg(&text[end..]).arg(&text[..end]);
        pieces.clear();
        ring.clear();
        let is_anew = state.recent.take_changes(|slot, trades| {
            pieces.push((slot * SLOT, ring.len()));
            trades.for_each(|(sequence, trade)| slots::push(*sequence, trade, ring));
        });
        // As nearly always: the shorter form. No candle has anything to tell, and what taking that
        // would reset does no harm.
        if let ([(at, _)], false, 0) = (&**pieces, is_anew, count) {
            call.arg("").arg(*at).arg(&**ring);
            return;
        }
        call.arg(u8::from(is_anew)).arg(pieces.len());
        let ends = pieces.iter().skip(1).map(|(_, begin)| *begin).chain([ring.len()]);
        for ((at, begin), end) in pieces.iter().zip(ends) {
            call.arg(*at).arg(&ring[*begin..end]);
        }
        call.arg(count);
        for interval in &mut state.candles {
            let is_written = base.is_none() || interval.has_changes();
            candles.clear();
            expired.clear();
            interval.take_closed(|start, candle| candles.push((start, *candle)));
            let gone = interval.take_expired(|start| expired.push(start));
            if !is_written {
                continue;
            }
            call.arg(2 * candles.len()).arg(expired.len());
            match gone {
                Gone::Nothing => call.arg(""),
                Gone::Before(start) => call.arg(start),
                Gone::All => call.arg("*"),
            };
            for (start, candle) in &*candles {
                text.clear();
                pen.push(candle, text);
                call.arg(start).arg(&**text);
            }
            for start in &*expired {
                call.arg(start);
            }
        }
    }
}
