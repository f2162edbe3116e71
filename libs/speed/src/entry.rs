//! An entry of a partition's stream: `log`, `after`, `trades` and `batch`, under the position of
//! its last trade as `offset-(index + 1)`.

use std::collections::HashMap;

use market::Sequence;
use wire::batch::TickBatch;

use crate::log::LogId;

/// Some trades of a partition, in the order of the log.
///
/// Where one entry ends and the next begins depends on how the writer's batches fell; which trades
/// there are does not.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    pub partition: i32,
    /// The log that it is of.
    pub log: LogId,
    /// The last trade of the entry before this one; `None` where there was none. A reader who has
    /// less than this has missed trades: they are past the stream's retention.
    pub after: Option<Sequence>,
    pub batch: TickBatch,
}

impl StreamEntry {
    /// Where a reader is who has this entry.
    pub fn last(&self) -> Sequence {
        self.batch.last()
    }
}

/// An entry as Redis has it: its id and its fields.
pub(crate) type Stored = (String, HashMap<String, Vec<u8>>);

/// The id of the entry whose last trade is there. Redis allows no `0-0`.
pub(crate) fn id(sequence: Sequence) -> String {
    format!("{}-{}", sequence.offset, u64::from(sequence.index) + 1)
}

/// The first id that an entry after that one can have.
pub(crate) fn id_after(sequence: Sequence) -> String {
    format!("{}-{}", sequence.offset, u64::from(sequence.index) + 2)
}

pub(crate) fn parse_id(text: &str) -> Option<Sequence> {
    let (offset, index) = text.split_once('-')?;
    let index = index.parse::<u64>().ok()?.checked_sub(1)?;
    Some(Sequence { offset: offset.parse().ok()?, index: index.try_into().ok()? })
}

/// `None` where it is not what this program writes.
pub(crate) fn parse(partition: i32, (entry_id, fields): &Stored) -> Option<StreamEntry> {
    let text = |name: &str| std::str::from_utf8(fields.get(name)?).ok();
    let log = LogId::parse(text("log")?)?;
    let after = match text("after")? {
        "" => None,
        after => Some(parse_id(after)?),
    };
    let batch = TickBatch::decode(fields.get("batch")?).ok()?;
    let is_whole = parse_id(entry_id)? == batch.last() && after < Some(batch.first());
    is_whole.then_some(StreamEntry { partition, log, after, batch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_positions() {
        for sequence in [Sequence::default(), Sequence { offset: i64::MAX, index: u32::MAX }] {
            assert_eq!(parse_id(&id(sequence)), Some(sequence));
        }
        assert_eq!(id(Sequence::default()), "0-1");
        assert_eq!(id_after(Sequence { offset: 7, index: 3 }), "7-5");
        for bad in ["", "7", "7-0", "7-x", "-7-1-", "7-99999999999"] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }
}
