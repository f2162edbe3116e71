use std::borrow::Cow;
use std::ops::Range;

use market::{Price, Symbol, Volume};

use super::ahead::Ahead;
use super::number::Number;
use super::scan::{Scanner, Text};
use super::{FrameError, Rejections, TradeRejection};

/// How far ahead of the clock a trade may be, in milliseconds.
pub const MAX_AHEAD_MS: i64 = 60_000;

/// The most conditions that a trade may have, and the longest, in bytes. Real ones are a handful
/// of one or two characters; the bounds keep a record of one trade small.
pub const MAX_CONDITIONS: usize = 32;
pub const MAX_CONDITION_BYTES: usize = 64;

/// The trades of one `data` array, as they are found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) trades: Vec<FoundTrade>,
    pub(super) conditions: Vec<Text>,
    pub(super) rejected: Rejections,
}

/// A trade that is valid, its strings not resolved yet.
#[derive(Debug)]
pub(super) struct FoundTrade {
    pub(super) symbol: Text,
    pub(super) price: Price,
    pub(super) volume: Volume,
    pub(super) timestamp: i64,
    /// Of [`Found::conditions`].
    pub(super) conditions: Range<usize>,
}

/// The members of a trade as they stand, last one wins.
struct Members {
    symbol: Option<Text>,
    price: Option<f64>,
    volume: Option<f64>,
    timestamp: Option<i64>,
    conditions_valid: bool,
}

impl Found {
    pub(super) fn clear(&mut self) {
        self.trades.clear();
        self.conditions.clear();
        self.rejected = Rejections::default();
    }

    /// Reads one element of the array: a trade to keep, or to count as rejected.
    #[inline]
    pub(super) fn read(
        &mut self,
        scanner: &mut Scanner<'_>,
        latest: i64,
    ) -> Result<(), FrameError> {
        let conditions_from = self.conditions.len();
        let checked = if scanner.peek() == b'{' {
            let members = match self.usual_members(scanner) {
                Some(members) => members,
                None => self.members(scanner)?,
            };
            self.check(scanner, &members, latest)
        } else {
            scanner.skip()?;
            Err(TradeRejection::Shape)
        };
        match checked {
            Ok((symbol, price, volume, timestamp)) => {
                let conditions = conditions_from..self.conditions.len();
                self.trades.push(FoundTrade { symbol, price, volume, timestamp, conditions });
            }
            Err(reason) => {
                self.conditions.truncate(conditions_from);
                self.rejected[reason as usize] += 1;
            }
        }
        Ok(())
    }

    /// Reads a trade that is written as the feed does: these members in this order, or all but the
    /// conditions, without whitespace, escapes or long numbers. `None` where anything is different;
    /// then nothing was read.
    #[inline]
    fn usual_members(&mut self, scanner: &mut Scanner<'_>) -> Option<Members> {
        let conditions_from = self.conditions.len();
        let mut ahead = scanner.ahead();
        let members = self.usual_members_ahead(&mut ahead);
        match members {
            Some(_) => scanner.catch_up(&ahead),
            None => self.conditions.truncate(conditions_from),
        }
        members
    }

    #[inline(always)]
    fn usual_members_ahead(&mut self, ahead: &mut Ahead<'_>) -> Option<Members> {
        ahead.pass(b"{")?;
        if ahead.pass(b"\"c\":").is_some() {
            if ahead.pass(b"null").is_none() {
                self.usual_conditions(ahead)?;
            }
            ahead.pass(b",")?;
        }
        ahead.pass(b"\"p\":")?;
        let price = ahead.value()?;
        ahead.pass(b",\"s\":")?;
        let symbol = ahead.text()?;
        ahead.pass(b",\"t\":")?;
        let timestamp = ahead.integer()?;
        ahead.pass(b",\"v\":")?;
        let volume = ahead.value()?;
        ahead.pass(b"}")?;
        Some(Members {
            symbol: Some(symbol),
            price: Some(price),
            volume: Some(volume),
            timestamp: (timestamp > 0).then_some(timestamp),
            conditions_valid: true,
        })
    }

    #[inline]
    fn usual_conditions(&mut self, ahead: &mut Ahead<'_>) -> Option<()> {
        ahead.pass(b"[")?;
        if ahead.pass(b"]").is_some() {
            return Some(());
        }
        for _ in 0..MAX_CONDITIONS {
            let condition = ahead.text().filter(|text| text.len() <= MAX_CONDITION_BYTES)?;
            self.conditions.push(condition);
            if ahead.pass(b"]").is_some() {
                return Some(());
            }
            ahead.pass(b",")?;
        }
        None
    }

    #[inline(never)]
    fn members(&mut self, scanner: &mut Scanner<'_>) -> Result<Members, FrameError> {
        let conditions_from = self.conditions.len();
        let mut members = Members {
            symbol: None,
            price: None,
            volume: Some(0.0),
            timestamp: None,
            conditions_valid: true,
        };
        scanner.object(|scanner, key| {
            match scanner.letter(key) {
                b's' => {
                    members.symbol = if scanner.peek() == b'"' {
                        Some(scanner.string()?)
                    } else {
                        scanner.skip()?;
                        None
                    };
                }
                b'p' => members.price = number(scanner, Scanner::value)?,
                b'v' => {
                    let null = scanner.peek() == b'n';
                    let number = number(scanner, Scanner::value)?;
                    members.volume = if null { Some(0.0) } else { number };
                }
                b't' => {
                    members.timestamp = number(scanner, Scanner::integer)?.and_then(milliseconds);
                }
                b'c' => {
                    self.conditions.truncate(conditions_from);
                    members.conditions_valid = conditions(scanner, &mut self.conditions)?;
                }
                _ => scanner.skip()?,
            }
            Ok(())
        })?;
        Ok(members)
    }

    /// Checks in the order of [`TradeRejection::ALL`].
    #[inline]
    fn check(
        &self,
        scanner: &mut Scanner<'_>,
        members: &Members,
        latest: i64,
    ) -> Result<(Text, Price, Volume, i64), TradeRejection> {
        if !members.conditions_valid {
            return Err(TradeRejection::Shape);
        }
        let symbol = members.symbol.ok_or(TradeRejection::Symbol)?;
        let symbol = self.normalize(scanner, symbol).ok_or(TradeRejection::Symbol)?;
        let price = members.price.and_then(Price::new).ok_or(TradeRejection::Price)?;
        let volume = members.volume.and_then(Volume::new).ok_or(TradeRejection::Volume)?;
        let timestamp = members.timestamp.ok_or(TradeRejection::Timestamp)?;
        if timestamp > latest {
            return Err(TradeRejection::TimestampAhead);
        }
        Ok((symbol, price, volume, timestamp))
    }

    #[inline]
    fn normalize(&self, scanner: &mut Scanner<'_>, symbol: Text) -> Option<Text> {
        let text = scanner.get(symbol);
        // A frame's trades are mostly of one symbol: what equals the last one is as valid.
        if self.trades.last().is_some_and(|last| scanner.get(last.symbol) == text) {
            return Some(symbol);
        }
        match Symbol::normalize(text) {
            Ok(Cow::Borrowed(_)) => Some(symbol),
            Ok(Cow::Owned(upper)) => Some(scanner.keep(&upper)),
            Err(_) => None,
        }
    }
}

/// Reads the value here: a number, or `None` for anything else.
#[inline(always)]
fn number<'a, N>(
    scanner: &mut Scanner<'a>,
    read: impl FnOnce(&mut Scanner<'a>) -> Result<N, FrameError>,
) -> Result<Option<N>, FrameError> {
    if matches!(scanner.peek(), b'0'..=b'9' | b'-') {
        read(scanner).map(Some)
    } else {
        scanner.skip()?;
        Ok(None)
    }
}

/// A positive integral number, however it is written. One beyond 64 bits is far ahead of any clock
/// and stays so.
#[inline]
fn milliseconds(number: Number) -> Option<i64> {
    let milliseconds = match number.integer {
        Some(integer) => integer,
        None if number.value.fract() == 0.0 => number.value as i64,
        None => return None,
    };
    (milliseconds > 0).then_some(milliseconds)
}

/// Reads the conditions here: whether they are a bounded array of bounded strings, or null.
#[inline]
fn conditions(scanner: &mut Scanner<'_>, found: &mut Vec<Text>) -> Result<bool, FrameError> {
    if scanner.peek() != b'[' {
        let null = scanner.peek() == b'n';
        scanner.skip()?;
        return Ok(null);
    }
    let from = found.len();
    let mut valid = true;
    scanner.array(|scanner| {
        if scanner.peek() != b'"' {
            valid = false;
            return scanner.skip();
        }
        let condition = scanner.string()?;
        valid &= condition.len() <= MAX_CONDITION_BYTES && found.len() - from < MAX_CONDITIONS;
        if valid {
            found.push(condition);
        }
        Ok(())
    })?;
    Ok(valid)
}
