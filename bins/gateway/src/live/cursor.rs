//! Where a client of a live stream is: what `Last-Event-ID` says.

use std::fmt::{self, Write};
use std::str::FromStr;

use market::Sequence;

/// Longer ones are refused unread.
const LONGEST: usize = 16_384;
/// How many digits of the log's id tell one log from another.
const TAG: usize = 12;

/// One place for each source: what a client has been given lies before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Which log the places are of.
    pub(crate) log: Box<str>,
    /// By partition; `None` where nothing of it is needed that was before.
    pub(crate) places: Box<[Option<Given>]>,
    /// The last firing; `None` where that is not known.
    pub(crate) firing: Option<FiringPlace>,
}

/// Which firing came last, and at whom: gateways may hear of firings in different orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FiringPlace {
    /// 0 where none has come yet.
    pub(crate) id: i64,
    /// One life of one gateway.
    pub(crate) teller: u32,
}

/// Of a partition: every event up to that trade, and of its own those up to a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Given {
    pub(crate) sequence: Sequence,
    pub(crate) rank: u8,
}

impl Given {
    /// All events of that trade.
    pub(crate) fn all(sequence: Sequence) -> Self {
        Self { sequence, rank: u8::MAX }
    }
}

/// The end of the log's id.
pub(crate) fn tag(log: &str) -> Box<str> {
    log[log.len().saturating_sub(TAG)..].into()
}

impl Cursor {
    /// As a client is told it: `tag_firing_place_place…`, the firing being `id.teller`, a place
    /// `offset.index.rank`, and `-` where there is none. `with` replaces the place of a partition.
    pub(crate) fn write(&self, with: Option<(usize, Given)>, text: &mut String) {
        text.push_str(&self.log);
        text.push('_');
        match self.firing {
            Some(FiringPlace { id, teller }) => put(text, format_args!("{id}.{teller}")),
            None => text.push('-'),
        }
        for (partition, place) in self.places.iter().enumerate() {
            let with = with.filter(|(of, _)| *of == partition).map(|(_, given)| given);
            text.push('_');
            match with.or(*place) {
                Some(Given { sequence: Sequence { offset, index }, rank: u8::MAX }) => {
                    put(text, format_args!("{offset}.{index}"));
                }
                Some(Given { sequence: Sequence { offset, index }, rank }) => {
                    put(text, format_args!("{offset}.{index}.{rank}"));
                }
                None => text.push('-'),
            }
        }
    }

    /// `None` where it does not look like what a client was told. A number that is too large is as
    /// large as it can be: a place that is never reached, a firing that is not kept, every event of
    /// a trade.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = Some(text).filter(|text| text.len() <= LONGEST)?.split('_');
        let log = parts.next()?;
        let is_tag =
            (1..=TAG).contains(&log.len()) && log.bytes().all(|byte| byte.is_ascii_hexdigit());
        let firing = match parts.next()? {
            "-" => None,
            firing => {
                let (id, teller) = firing.split_once('.')?;
                Some(FiringPlace {
                    id: parse_number(id, i64::MAX)?,
                    teller: parse_number(teller, u32::MAX)?,
                })
            }
        };
        let places: Option<Box<[_]>> = parts.map(parse_place).collect();
        is_tag.then_some(Self { log: log.into(), places: places?, firing })
    }
}

fn put(text: &mut String, what: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(what);
}

fn parse_place(text: &str) -> Option<Option<Given>> {
    if text == "-" {
        return Some(None);
    }
    let mut numbers = text.split('.');
    let offset = parse_number(numbers.next()?, i64::MAX)?;
    let index = parse_number(numbers.next()?, u32::MAX)?;
    let rank = numbers.next().map_or(Some(u8::MAX), |rank| parse_number(rank, u8::MAX))?;
    let sequence = Sequence { offset, index };
    numbers.next().is_none().then_some(Some(Given { sequence, rank }))
}

fn parse_number<N: FromStr>(text: &str, largest: N) -> Option<N> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cursor: &Cursor, with: Option<(usize, Given)>) -> String {
        let mut text = String::new();
        cursor.write(with, &mut text);
        text
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let sequence = Sequence { offset: i64::MAX, index: u32::MAX };
        let places =
            [None, Some(Given::all(Sequence::default())), Some(Given { sequence, rank: 3 })];
        let log = tag("0123456789abcdef0123456789abcdef");
        for id in [None, Some(0), Some(i64::MAX)] {
            let firing = id.map(|id| FiringPlace { id, teller: 7 });
            let cursor = Cursor { log: log.clone(), places: places.into(), firing };
            assert_eq!(Cursor::parse(&text(&cursor, None)), Some(cursor.clone()));
            let given = Given::all(Sequence { offset: 7, index: 1 });
            let moved = Cursor::parse(&text(&cursor, Some((0, given)))).expect("a cursor");
            assert_eq!(moved.places[0], Some(given));
            assert_eq!(moved.places[1..], cursor.places[1..]);
        }
        let firing = Some(FiringPlace { id: 9, teller: 3 });
        let cursor = Cursor { log, places: places.into(), firing };
        assert_eq!(text(&cursor, None), "456789abcdef_9.3_-_0.0_9223372036854775807.4294967295.3");
    }

    #[test]
    fn a_number_that_is_too_large_is_the_largest() {
        let cursor = |text: &str| Cursor::parse(text).expect("a cursor");
        let largest = "ab_9223372036854775807.4294967295_9223372036854775807.4294967295";
        let larger = "ab_9223372036854775808.4294967296_9223372036854775808.4294967296.256";
        assert_eq!(cursor(larger), cursor(largest));
    }

    #[test]
    fn anything_else_is_no_cursor() {
        let long = "1".repeat(LONGEST + 1);
        for bad in [
            "",
            "_",
            "zz_-",
            "ab",
            "ab_x",
            "ab_-1.1",
            "ab_1",
            "_1.1",
            "ab_-_1",
            "ab_-_1.2.3.4",
            "ab_-_1.2.",
            "ab_-_-1.2",
            "ab_-_+1.2",
            "ab_1.+2",
            &long,
        ] {
            assert_eq!(Cursor::parse(bad), None, "{bad:.20}");
        }
    }
}
