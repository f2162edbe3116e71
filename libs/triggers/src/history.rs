use market::Price;
use rkyv::rancor;
use rkyv::util::AlignedVec;
use xxhash_rust::xxh3::xxh3_64;

/// What conditions need of a symbol's past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct History {
    /// The newest event time so far in the log, late trades are judged by it. Unix milliseconds.
    pub(crate) newest: i64,
    /// The price of the last trade that was not late; 0 before the first. Levels do not ask for
    /// it; it is kept so that a checkpoint has it when a condition does.
    pub(crate) last: f64,
}

impl History {
    /// Of a symbol that has not traded.
    pub(crate) const NONE: Self = Self { newest: i64::MIN, last: 0.0 };
}

/// The histories as of an offset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mark {
    /// All trades of records before this one are counted, and none after.
    pub(crate) next_offset: i64,
    /// By symbol number. Symbols that came later are missing: they had not traded.
    pub(crate) histories: Vec<History>,
}

impl Mark {
    pub(crate) fn history(&self, number: usize) -> History {
        self.histories.get(number).copied().unwrap_or(History::NONE)
    }
}

/// Marks of the past, so that a stretch of the log can be judged again as it was the first time.
///
/// At most three, since each is as large as a history: in units of `spacing` one that is under 8
/// old, one under 64, one of 64 or more. So what is up to 64 spacings old can be judged by reading at
/// most 130 of them; alerts that come so late are few.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    /// In offsets.
    spacing: i64,
    /// The first trade at or after this offset finds a mark due.
    due: i64,
    /// Oldest first.
    kept: Vec<Mark>,
}

impl Marks {
    pub(crate) fn new(spacing: usize, next_offset: i64) -> Self {
        let spacing = i64::try_from(spacing.max(1)).unwrap_or(i64::MAX);
        Self { spacing, due: next_offset.saturating_add(spacing), kept: Vec::new() }
    }

    pub(crate) fn due(&self) -> i64 {
        self.due
    }

    pub(crate) fn push(&mut self, mark: Mark) {
        let now = mark.next_offset;
        self.due = self.due.max(now.saturating_add(self.spacing));
        let class = |mark: &Mark| match (now - mark.next_offset) / self.spacing {
            0..8 => 0,
            8..64 => 1,
            _ => 2,
        };
        self.kept.push(mark);
        let old = self.kept.iter().filter(|mark| class(mark) == 2).count();
        self.kept.drain(..old.saturating_sub(1));
        self.kept.dedup_by_key(|mark| class(mark));
    }

    /// The newest mark that is at or before an offset.
    pub(crate) fn at_or_before(&self, offset: i64) -> Option<&Mark> {
        self.kept.iter().rev().find(|mark| mark.next_offset <= offset)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Mark> {
        self.kept.iter()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.kept.iter().map(|mark| mark.histories.capacity() * size_of::<History>()).sum()
    }
}

/// The bytes are not a history that this program can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error("a history of version {found}; this program reads version {VERSION}")]
    Version { found: u32 },
    #[error("a damaged history: {0}")]
    Damaged(&'static str),
}

/// Of the layout of `Image`.
const VERSION: u32 = 1;

/// Before the image: the version, four zero bytes, and the xxh3 of the image (little-endian).
const HEADER: usize = 16;

/// A checkpoint's history.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Image {
    /// Those that have traded, in order.
    symbols: Vec<String>,
    /// Marks oldest first, and the present as the last one.
    marks: Vec<MarkImage>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct MarkImage {
    next_offset: i64,
    /// Of each symbol: newest event time and last price.
    histories: Vec<(i64, f64)>,
}

/// `marks` are oldest first, the present last.
pub(crate) fn encode<'a>(
    symbols: impl Iterator<Item = &'a str>,
    marks: impl Iterator<Item = &'a Mark>,
    now: &Mark,
) -> Vec<u8> {
    let mut symbols: Vec<(usize, &str)> =
        symbols.enumerate().filter(|(number, _)| now.history(*number) != History::NONE).collect();
    symbols.sort_unstable_by_key(|(_, name)| *name);
    let image_of = |mark: &Mark| {
        let histories = symbols.iter().map(|(number, _)| mark.history(*number));
        let histories = histories.map(|history| (history.newest, history.last)).collect();
        MarkImage { next_offset: mark.next_offset, histories }
    };
    let image = Image {
        marks: marks.map(image_of).chain([image_of(now)]).collect(),
        symbols: symbols.iter().map(|(_, name)| (*name).to_owned()).collect(),
    };
    let Ok(body) = rkyv::to_bytes::<rancor::Panic>(&image);
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&xxh3_64(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// The symbols, the marks oldest first, and the present.
pub(crate) type Decoded = (Vec<String>, Vec<Mark>, Mark);

pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, HistoryError> {
    use HistoryError::{Damaged, Version};
    let Some(([v0, v1, v2, v3, _, _, _, _, checksum @ ..], body)) =
        bytes.split_first_chunk::<HEADER>()
    else {
        return Err(Damaged("it is too short"));
    };
    let found = u32::from_le_bytes([*v0, *v1, *v2, *v3]);
    if found != VERSION {
        return Err(Version { found });
    }
    if u64::from_le_bytes(*checksum) != xxh3_64(body) {
        return Err(Damaged("its checksum does not fit"));
    }
    // What PostgreSQL hands over is aligned to nothing in particular.
    let mut aligned = AlignedVec::<16>::with_capacity(body.len());
    aligned.extend_from_slice(body);
    let image: Image = rkyv::from_bytes::<Image, rancor::Failure>(&aligned)
        .map_err(|_| Damaged("it is not laid out as one"))?;
    let symbols = image.symbols;
    if !symbols.is_sorted_by(|a, b| a < b) {
        return Err(Damaged("its symbols are not in order"));
    }
    let marks: Option<Vec<Mark>> =
        image.marks.into_iter().map(|mark| mark_of(mark, symbols.len())).collect();
    let mut marks = marks.ok_or(Damaged("it holds what is no history of a symbol"))?;
    if !marks.is_sorted_by_key(|mark| mark.next_offset) {
        return Err(Damaged("its marks are not in order"));
    }
    let now = marks.pop().ok_or(Damaged("it holds nothing"))?;
    Ok((symbols, marks, now))
}

fn mark_of(image: MarkImage, symbols: usize) -> Option<Mark> {
    let histories: Vec<History> =
        image.histories.into_iter().map(|(newest, last)| History { newest, last }).collect();
    let is_history = |history: &History| {
        *history == History::NONE
            || (history.newest > i64::MIN && Price::new(history.last).is_some())
    };
    let is_good =
        image.next_offset >= 0 && histories.len() == symbols && histories.iter().all(is_history);
    is_good.then_some(Mark { next_offset: image.next_offset, histories })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_few_and_reach_back() {
        const SPACING: i64 = 10;
        let mut marks = Marks::new(SPACING as usize, 0);
        for now in 1..20_000 {
            if now >= marks.due() {
                marks.push(Mark { next_offset: now, histories: Vec::new() });
            }
            assert!(marks.kept.len() <= 3 && marks.kept.is_sorted_by_key(|mark| mark.next_offset));
            for age in (0..now.min(64 * SPACING)).step_by(7) {
                let from = marks.at_or_before(now - age).map_or(0, |mark| mark.next_offset);
                assert!(now - from <= 130 * SPACING, "{now}: from {from} for {age} back");
            }
        }
    }
}
