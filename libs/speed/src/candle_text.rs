//! A candle as a person reads it in Redis:
//! `open high low close volume trades opened closed`, the last two as `time@offset.index`.

use market::{Candle, Interval, Price, Sequence, Stamp};

pub(crate) fn push_stamp(stamp: Stamp, text: &mut String) {
    push_number(stamp.time, text);
    text.push('@');
    push_number(stamp.sequence.offset, text);
    text.push('.');
    push_number(stamp.sequence.index, text);
}

pub(crate) fn parse_stamp(text: &str) -> Option<Stamp> {
    let (time, sequence) = text.split_once('@')?;
    let (offset, index) = sequence.split_once('.')?;
    let sequence = Sequence { offset: offset.parse().ok()?, index: index.parse().ok()? };
    Some(Stamp { time: time.parse().ok()?, sequence })
}

pub(crate) fn push_number(number: impl itoa::Integer, text: &mut String) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// Writes candles. Those of a symbol have most of their numbers in common: what was the same in the
/// candle before is not put into digits again.
#[derive(Debug, Default)]
pub(crate) struct Pen {
    open: Last<u64>,
    high: Last<u64>,
    low: Last<u64>,
    close: Last<u64>,
    volume: Last<u64>,
    opened: Last<Stamp>,
    closed: Last<Stamp>,
}

/// What was written last in a place.
#[derive(Debug, Default)]
struct Last<T> {
    written: Option<T>,
    text: String,
}

impl<T: PartialEq> Last<T> {
    fn push(&mut self, value: T, write: impl FnOnce(&mut String), text: &mut String) {
        if self.written.as_ref() != Some(&value) {
            self.text.clear();
            write(&mut self.text);
            self.written = Some(value);
        }
        text.push_str(&self.text);
    }
}

impl Pen {
    /// Appends the candle's text to `text`.
    pub(crate) fn push(&mut self, candle: &Candle, text: &mut String) {
        let Self { open, high, low, close, volume, opened, closed } = self;
        for (last, number) in [
            (open, candle.open.get()),
            (high, candle.high.get()),
            (low, candle.low.get()),
            (close, candle.close.get()),
            (volume, candle.volume),
        ] {
            let write = |text: &mut String| {
                text.push_str(zmij::Buffer::new().format_finite(number));
            };
            last.push(number.to_bits(), write, text);
            text.push(' ');
        }
        push_number(candle.trades, text);
        text.push(' ');
        opened.push(candle.opened, |text| push_stamp(candle.opened, text), text);
        text.push(' ');
        closed.push(candle.closed, |text| push_stamp(candle.closed, text), text);
    }

    /// Appends `start candle`: where a candle has no field of its own.
    pub(crate) fn push_started(&mut self, start: i64, candle: &Candle, text: &mut String) {
        push_number(start, text);
        text.push(' ');
        self.push(candle, text);
    }
}

pub(crate) fn parse_started(text: &str) -> Option<(i64, Candle)> {
    let (start, candle) = text.split_once(' ')?;
    Some((start.parse().ok()?, parse(candle)?))
}

/// The newest candle of an interval among those of a price's field `candles`, which are
/// `interval start candle`, separated by commas; `None` where there is none, an error where it is
/// not what this program writes.
pub(crate) fn newest(text: &str, interval: Interval) -> Result<Option<(i64, Candle)>, ()> {
    let name = interval.to_string();
    for part in text.split(", ").filter(|part| !part.is_empty()) {
        let (of, candle) = part.split_once(' ').ok_or(())?;
        if of == name {
            return parse_started(candle).map(Some).ok_or(());
        }
    }
    Ok(None)
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
            let mut pen = Pen::default();
            pen.push(&candle, &mut text);
            prop_assert_eq!(parse(&text), Some(candle));
            // After one that has some of its numbers.
            let other = Candle { high: open, low: close, trades: 0, closed: opened, ..candle };
            let mut next = String::new();
            pen.push(&other, &mut next);
            prop_assert_eq!(parse(&next), Some(other));
            let mut again = String::new();
            pen.push(&candle, &mut again);
            prop_assert_eq!(&again, &text);
            let text = format!("1s 7 {text}, 1m -60000 {text}");
            let minute = newest(&text, Interval::MINUTE);
            prop_assert_eq!(minute, Ok(Some((-60_000, candle))));
            let hour = "1h".parse().expect("an interval");
            prop_assert_eq!(newest(&text, hour), Ok(None));
        }

        #[test]
        fn any_text_is_a_candle_or_nothing(text in "[0-9a-zA-Z@. -]{0,60}") {
            let _ = (parse(&text), newest(&text, Interval::MINUTE));
        }
    }
}
