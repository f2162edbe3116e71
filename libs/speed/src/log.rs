use std::collections::HashMap;
use std::fmt;

use anyhow::Context;
use market::{AnotherLog, Place, Sequence};

/// One life of a topic, as Redis follows it: a UUIDv7, so that a later one sorts after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId(String);

impl LogId {
    /// A new id, later than `previous` even where the clock went back.
    pub(crate) fn mint(previous: Option<&Self>) -> Self {
        let fresh = Self(uuid::Uuid::now_v7().simple().to_string());
        match previous {
            Some(previous) if fresh <= *previous => {
                let number = u128::from_str_radix(&previous.0, 16).unwrap_or_default();
                Self(format!("{:032x}", number.saturating_add(1)))
            }
            _ => fresh,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends the position of a trade: of fixed width, so that it sorts as positions do.
    pub(crate) fn push_position(&self, partition: i32, sequence: Sequence, text: &mut String) {
        text.push_str(&self.0);
        let mut buffer = itoa::Buffer::new();
        let mut padded = |digits: &str, width: usize| {
            text.push(':');
            text.extend(std::iter::repeat_n('0', width.saturating_sub(digits.len())));
            text.push_str(digits);
        };
        padded(buffer.format(partition), 5);
        padded(buffer.format(sequence.offset), 19);
        padded(buffer.format(sequence.index), 10);
    }
}

/// What orders and identifies a trade, over all logs, partitions and records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub log: LogId,
    pub partition: i32,
    pub sequence: Sequence,
}

impl Position {
    /// From what `LogId::push_position` gave.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let log = LogId::parse(parts.next()?)?;
        let partition = parts.next()?.parse().ok()?;
        let sequence =
            Sequence { offset: parts.next()?.parse().ok()?, index: parts.next()?.parse().ok()? };
        parts.next().is_none().then_some(Self { log, partition, sequence })
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn place_field(partition: i32) -> String {
    format!("partition.{partition}")
}

/// Fixed width, so that Redis compares places as strings.
pub(crate) fn encode_place(place: Place) -> String {
    format!("{:019} {:016x}", place.offset, place.fingerprint)
}

pub(crate) fn parse_place(text: &str) -> Option<Place> {
    let (offset, fingerprint) = text.split_once(' ')?;
    Some(Place {
        offset: offset.parse().ok()?,
        fingerprint: u64::from_str_radix(fingerprint, 16).ok()?,
    })
}

/// The places among the fields of a log's key, or of a mark.
pub(crate) fn parse_places(
    key: &str,
    fields: &HashMap<String, String>,
) -> anyhow::Result<HashMap<i32, Place>> {
    let mut places = HashMap::new();
    for (field, text) in fields {
        let Some(partition) = field.strip_prefix("partition.") else { continue };
        let place = partition.parse().ok().zip(parse_place(text));
        let (partition, place) =
            place.with_context(|| format!("{key} holds {field} = {text:?}, not a place"))?;
        places.insert(partition, place);
    }
    Ok(places)
}

/// The log that Redis follows.
#[derive(Clone, Debug)]
pub struct Log {
    pub id: LogId,
    pub topic: String,
}

/// Redis holds another log than the broker.
pub(crate) fn another(topic: &str, reason: impl Into<String>) -> AnotherLog {
    AnotherLog {
        store: "Redis",
        topic: topic.to_owned(),
        reason: reason.into(),
        remedy: "processor rebuild",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_sort_as_strings() {
        let old = LogId::mint(None);
        let new = LogId::mint(Some(&old));
        assert!(new > old);
        let at = |id: &LogId, offset, index| {
            let mut text = String::new();
            id.push_position(3, Sequence { offset, index }, &mut text);
            text
        };
        let text = format!("{}:00003:0000000000000000010:0000000007", old.as_str());
        assert_eq!(at(&old, 10, 7), text);
        assert!(at(&old, 9, 0) < at(&old, 10, 0));
        assert!(at(&old, 10, 9) < at(&old, 10, 10));
        assert!(at(&old, i64::MAX, u32::MAX) < at(&new, 0, 0));
        let sequence = Sequence { offset: 10, index: 7 };
        let position = Position { log: old.clone(), partition: 3, sequence };
        assert_eq!(Position::parse(&at(&old, 10, 7)), Some(position));
        assert_eq!(Position::parse("garbage:1:2:3"), None);
    }

    #[test]
    fn a_clock_that_went_back_mints_a_later_id_all_the_same() {
        let future = LogId("ffffffffffff7fff8000000000000000".into());
        assert!(LogId::mint(Some(&future)) > future);
    }

    #[test]
    fn places_survive_their_text() {
        let place = Place { offset: 42, fingerprint: 0xdead_beef };
        assert_eq!(parse_place(&encode_place(place)), Some(place));
        assert_eq!(parse_place("garbage"), None);
    }
}
