use market::{Candle, Day, StateSpec};
use redis::Cmd;
use wire::batch::Packer;

use crate::log::LogId;
use crate::writer::SymbolWrite;
use crate::{candle_text, keys};

/// Puts a symbol's state into a call, in the order that the function expects. Holds only scratch.
#[derive(Debug, Default)]
pub(crate) struct SymbolText {
    packer: Packer,
    recent: Vec<u8>,
    text: String,
    candles: Vec<(i64, Candle)>,
    expired: Vec<i64>,
}

impl SymbolText {
    #[allow(clippy::unused_self)] // Beside `arguments`.
    pub(crate) fn keys(&self, spec: &StateSpec, symbol: &str, call: &mut Cmd) {
        call.arg(keys::price(symbol)).arg(keys::recent(symbol));
        for candles in &spec.candles {
            call.arg(keys::candles(symbol, candles.interval));
        }
    }

    pub(crate) fn arguments(&mut self, log: &LogId, write: &mut SymbolWrite<'_>, call: &mut Cmd) {
        let state = &mut *write.state;
        let (Some(as_of), Some(latest), Some(day)) = (state.as_of, state.latest, state.day) else {
            unreachable!("a state is written only after a trade");
        };
        let base = write.base.map(|base| log.position(write.partition, base));
        call.arg(log.position(write.partition, as_of)).arg(base.unwrap_or_default());
        call.arg(latest.price.get()).arg(latest.stamp.time).arg(latest.volume.get());
        call.arg(latest.received_at).arg(candle_text::encode_stamp(latest.stamp));
        let Day { start, candle } = day;
        call.arg(start).arg(candle.open.get()).arg(candle.high.get()).arg(candle.low.get());
        call.arg(candle.close.get()).arg(candle.volume).arg(candle.trades);
        call.arg(candle_text::encode_stamp(candle.opened));
        call.arg(candle_text::encode_stamp(candle.closed));
        call.arg(write.symbol);
        self.recent.clear();
        for (sequence, trade) in state.recent() {
            self.packer.push(0, write.symbol, *sequence, trade);
        }
        if !self.packer.is_empty() {
            self.packer.encode(&mut self.recent);
        }
        call.arg(&*self.recent);
        let Self { candles, expired, text, .. } = self;
        for interval in &mut state.candles {
            candles.clear();
            expired.clear();
            interval.take_changes(|start, candle| candles.push((start, *candle)));
            interval.take_expired(|start| expired.push(start));
            call.arg(2 * candles.len()).arg(expired.len());
            for (start, candle) in &*candles {
                candle_text::encode(candle, text);
                call.arg(start).arg(&**text);
            }
            for start in &*expired {
                call.arg(start);
            }
        }
    }
}
