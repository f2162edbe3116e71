use std::fmt;
use std::str::FromStr;

use crate::DAY;

/// How much event time a candle is of: from one second to one day, and a whole number of them make
/// a day, so that every day (UTC) begins with a candle of each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    milliseconds: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an interval is from 1s to 1d, divides a day, and is written such as 1s, 5m, 1h or 1d")]
pub struct IntervalError;

/// The units of an interval's name, the largest first.
const UNITS: [(char, i64); 4] = [('d', DAY), ('h', 3_600_000), ('m', 60_000), ('s', 1_000)];

impl Interval {
    pub const MINUTE: Self = Self { milliseconds: 60_000 };

    pub fn new(milliseconds: i64) -> Result<Self, IntervalError> {
        let is_one = (1_000..=DAY).contains(&milliseconds)
            && milliseconds % 1_000 == 0
            && DAY % milliseconds == 0;
        if is_one { Ok(Self { milliseconds }) } else { Err(IntervalError) }
    }

    #[inline]
    pub fn milliseconds(self) -> i64 {
        self.milliseconds
    }

    /// The start of the candle that holds `time`, both Unix milliseconds.
    #[inline]
    pub fn start(self, time: i64) -> i64 {
        time - time.rem_euclid(self.milliseconds)
    }
}

/// As it is written: `60s` is one minute, and reads `1m` again.
impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let unit = text.chars().next_back().ok_or(IntervalError)?;
        let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or(IntervalError)?;
        let number = &text[..text.len() - 1];
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(IntervalError);
        }
        let number: i64 = number.parse().map_err(|_| IntervalError)?;
        Self::new(number.checked_mul(unit).ok_or(IntervalError)?)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.into_iter().find(|(_, unit)| self.milliseconds % unit == 0);
        let (name, unit) = whole.unwrap_or(('s', 1_000));
        write!(f, "{}{name}", self.milliseconds / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, i64)>) {
        let found = text.parse::<Interval>().ok();
        let found = found.map(|interval| (interval.to_string(), interval.milliseconds()));
        let expected = expected.map(|(name, seconds)| (name.to_owned(), seconds * 1_000));
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn an_interval_divides_a_day_and_has_one_name() {
        check("1s", Some(("1s", 1)));
        check("60s", Some(("1m", 60)));
        check("5m", Some(("5m", 300)));
        check("90m", Some(("90m", 5_400)));
        check("24h", Some(("1d", 86_400)));
        check("1d", Some(("1d", 86_400)));
        for bad in ["", "s", "1", "0s", "-1m", "+1m", "7m", "2d", "1w", "1 m", "1.5h", "1é"] {
            check(bad, None);
        }
        check("99999999999999999999d", None);
    }

    #[test]
    fn a_candle_begins_where_its_interval_does() {
        assert_eq!(Interval::MINUTE.start(60_000), 60_000);
        assert_eq!(Interval::MINUTE.start(119_999), 60_000);
    }
}
