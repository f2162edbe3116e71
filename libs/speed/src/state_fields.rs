//! A symbol's state from what is stored.

use std::collections::HashMap;

use market::{Candle, Day, Latest, Stamp, SymbolState, Volume};

use crate::candle_text;
use crate::fields::Fields;
use crate::log::LogId;

/// `None` where a field is not what this program writes. A state of another log, or none, is a
/// symbol never seen.
pub(crate) fn parse(
    log: &LogId,
    price: HashMap<String, String>,
    candles: &HashMap<String, String>,
    retain_minutes: u32,
) -> Option<SymbolState> {
    let mut state = SymbolState::new(retain_minutes);
    let fields = Fields::new(price);
    if fields.is_empty() {
        return Some(state);
    }
    let Some(as_of) = log.sequence(fields.text("position")?) else {
        return Some(state);
    };
    state.as_of = Some(as_of);
    state.latest = Some(Latest {
        price: fields.price("price")?,
        volume: Volume::new(fields.number("volume")?)?,
        received_at: fields.number("received_at")?,
        stamp: candle_text::parse_stamp(fields.text("price_position")?)?,
    });
    state.day = Some(Day {
        start: fields.number("day")?,
        candle: Candle {
            open: fields.price("day_open")?,
            high: fields.price("day_high")?,
            low: fields.price("day_low")?,
            close: fields.price("day_close")?,
            volume: fields.finite("day_volume")?,
            trades: fields.number("day_trades")?,
            opened: stamp(&fields, "day_opened")?,
            closed: stamp(&fields, "day_closed")?,
        },
    });
    // Newest first, so that a shorter retention than before restores nothing that it would drop.
    let mut stored = Vec::with_capacity(candles.len());
    for (start, candle) in candles {
        stored.push((start.parse::<i64>().ok()?, candle_text::parse(candle)?));
    }
    stored.sort_unstable_by_key(|(start, _)| std::cmp::Reverse(*start));
    for (start, candle) in stored {
        state.restore_minute(start, candle);
    }
    Some(state)
}

fn stamp(fields: &Fields, name: &str) -> Option<Stamp> {
    candle_text::parse_stamp(fields.text(name)?)
}
