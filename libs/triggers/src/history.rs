use market::{Price, Sequence, Stamp};
use rkyv::rancor;
use rkyv::util::AlignedVec;

use crate::sealed::{self, SealError};
use crate::side::Side;
use crate::trail::Peak;

/// What conditions need of a symbol's past.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct History {
    /// The newest event time so far in the log, late trades are judged by it. Unix milliseconds.
    pub(crate) newest: i64,
    /// The price of the last trade that was not late; 0 before the first.
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

    /// A mark was due and comes now. Makes room for it; false where it would not be kept.
    pub(crate) fn make_room(&mut self, now: i64) -> bool {
        self.due = self.due.max(now.saturating_add(self.spacing));
        let class = |mark: &Mark| match (now - mark.next_offset) / self.spacing {
            0..8 => 0,
            8..64 => 1,
            _ => 2,
        };
        let old = self.kept.iter().filter(|mark| class(mark) == 2).count();
        self.kept.drain(..old.saturating_sub(1));
        self.kept.dedup_by_key(|mark| class(mark));
        // It would be of the first class, of which the older one stays.
        self.kept.last().is_none_or(|mark| class(mark) > 0)
    }

    /// The newest one, for which there is room.
    pub(crate) fn push(&mut self, mark: Mark) {
        self.kept.push(mark);
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
const VERSION: u32 = 2;

/// A checkpoint's history.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Image {
    /// Those that have traded, in order.
    symbols: Vec<String>,
    /// Marks oldest first, and the present as the last one.
    marks: Vec<MarkImage>,
    /// In the order of symbols; of each those of the lowest prices first, the farthest first.
    peaks: Vec<PeakImage>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct MarkImage {
    next_offset: i64,
    /// Of each symbol: newest event time and last price.
    histories: Vec<(i64, f64)>,
}

#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct PeakImage {
    symbol: u32,
    /// Whether it is a highest price.
    is_high: bool,
    best: f64,
    time: i64,
    offset: i64,
    index: u32,
}

/// What a checkpoint keeps of a symbol's alerts that follow its best prices, by the side on which
/// they fire.
pub(crate) type Peaks = [Vec<Peak>; 2];

/// `marks` are oldest first, the present last; `peaks` are those of each symbol.
pub(crate) fn encode<'a>(
    symbols: impl Iterator<Item = &'a str>,
    marks: impl Iterator<Item = &'a Mark>,
    now: &Mark,
    peaks: impl Iterator<Item = impl Iterator<Item = (Side, Peak)>>,
) -> Vec<u8> {
    let mut symbols: Vec<((usize, &str), _)> = symbols.enumerate().zip(peaks).collect();
    symbols.retain(|((number, _), _)| now.history(*number) != History::NONE);
    symbols.sort_unstable_by_key(|((_, name), _)| *name);
    let image_of = |mark: &Mark| {
        let histories = symbols.iter().map(|((number, _), _)| mark.history(*number));
        let histories = histories.map(|history| (history.newest, history.last)).collect();
        MarkImage { next_offset: mark.next_offset, histories }
    };
    let marks = marks.map(image_of).chain([image_of(now)]).collect();
    let names = symbols.iter().map(|((_, name), _)| (*name).to_owned()).collect();
    let peaks = (0..).zip(symbols).flat_map(|(symbol, (_, peaks))| {
        peaks.map(move |(side, Peak { best, stamp })| PeakImage {
            symbol,
            is_high: side == Side::Below,
            best: best.get(),
            time: stamp.time,
            offset: stamp.sequence.offset,
            index: stamp.sequence.index,
        })
    });
    sealed::seal(VERSION, 0, &Image { marks, symbols: names, peaks: peaks.collect() })
}

pub(crate) struct Decoded {
    pub(crate) symbols: Vec<String>,
    /// Oldest first.
    pub(crate) marks: Vec<Mark>,
    pub(crate) now: Mark,
    /// By symbol.
    pub(crate) peaks: Vec<Peaks>,
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, HistoryError> {
    use HistoryError::Damaged;
    let body = sealed::open(VERSION, bytes).map_err(|error| match error {
        SealError::Version { found } => HistoryError::Version { found },
        SealError::Damaged(why) => Damaged(why),
    })?;
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
    let mut peaks: Vec<Peaks> = symbols.iter().map(|_| Peaks::default()).collect();
    for PeakImage { symbol, is_high, best, time, offset, index } in image.peaks {
        let (Some(of_symbol), Some(best)) = (peaks.get_mut(symbol as usize), Price::new(best))
        else {
            return Err(Damaged("it holds a peak that is none"));
        };
        let side = if is_high { Side::Below } else { Side::Above };
        let stamp = Stamp { time, sequence: Sequence { offset, index } };
        of_symbol[side as usize].push(Peak { best, stamp });
    }
    Ok(Decoded { symbols, marks, now, peaks })
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
            if now >= marks.due() && marks.make_room(now) {
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
