//! A candle as a person reads it in Redis:
//! `open high low close volume trades opened closed`, the last two as `time@offset.index`.

use std::fmt::Write;

use market::{Candle, Price, Sequence, Stamp};

pub(crate) fn encode_stamp(stamp: Stamp) -> String {
    format!("{}@{}.{}", stamp.time, stamp.sequence.offset, stamp.sequence.index)
}

pub(crate) fn parse_stamp(text: &str) -> Option<Stamp> {
    let (time, sequence) = text.split_once('@')?;
    let (offset, index) = sequence.split_once('.')?;
    let sequence = Sequence { offset: offset.parse().ok()?, index: index.parse().ok()? };
    Some(Stamp { time: time.parse().ok()?, sequence })
}

/// Writes the candle's text to `text`, emptied first.
pub(crate) fn encode(candle: &Candle, text: &mut String) {
    text.clear();
    let mut buffer = ryu::Buffer::new();
    for price in [candle.open, candle.high, candle.low, candle.close] {
        text.push_str(buffer.format_finite(price.get()));
        text.push(' ');
    }
    text.push_str(buffer.format_finite(candle.volume));
    let Candle { trades, opened, closed, .. } = candle;
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        " {trades} {}@{}.{} {}@{}.{}",
        opened.time,
        opened.sequence.offset,
        opened.sequence.index,
        closed.time,
        closed.sequence.offset,
        closed.sequence.index
    );
}

pub(crate) fn parse(text: &str) -> Option<Candle> {
    let mut parts = text.split(' ');
    let mut price = || Price::new(parts.next()?.parse().ok()?);
    let (open, high, low, close) = (price()?, price()?, price()?, price()?);
    let candle = Candle {
        open,
        high,
        low,
        close,
        volume: parts.next()?.parse().ok().filter(|volume: &f64| volume.is_finite())?,
        trades: parts.next()?.parse().ok()?,
        opened: parse_stamp(parts.next()?)?,
        closed: parse_stamp(parts.next()?)?,
    };
    parts.next().is_none().then_some(candle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price() -> impl Strategy<Value = Price> {
        any::<f64>().prop_filter_map("finite and positive", |value| Price::new(value.abs()))
    }

    fn stamp() -> impl Strategy<Value = Stamp> {
        (any::<i64>(), 0..i64::MAX, any::<u32>())
            .prop_map(|(time, offset, index)| Stamp { time, sequence: Sequence { offset, index } })
    }

    proptest! {
        #[test]
        fn every_candle_survives_its_text(
            open in price(), high in price(), low in price(), close in price(),
            volume in 0.0..f64::MAX, trades: u64, opened in stamp(), closed in stamp(),
        ) {
            let candle = Candle { open, high, low, close, volume, trades, opened, closed };
            let mut text = String::new();
            encode(&candle, &mut text);
            prop_assert_eq!(parse(&text), Some(candle));
        }

        #[test]
        fn any_text_is_a_candle_or_nothing(text in "[0-9a-zA-Z@. -]{0,60}") {
            let _ = parse(&text);
        }
    }
}
