use std::fmt;

use market::Price;

/// A share of a price in thousandths of a percent, so that whoever computes with it gets the same
/// number: 0.001 % to 1,000,000 %.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

impl Percent {
    const MOST: u32 = 1_000_000_000;

    /// `None` where it is out of bounds, or has more than three decimals.
    pub fn new(percent: f64) -> Option<Self> {
        let thousandths = percent * 1_000.0;
        let whole = thousandths.round();
        // What decimals lose on their way into a double, and no more.
        let is_whole = (thousandths - whole).abs() <= 1e-9 * whole;
        let fits = (1.0..=f64::from(Self::MOST)).contains(&whole);
        (is_whole && fits).then_some(Self(whole as u32))
    }

    pub fn from_thousandths(thousandths: u32) -> Option<Self> {
        (1..=Self::MOST).contains(&thousandths).then_some(Self(thousandths))
    }

    pub fn thousandths(self) -> u32 {
        self.0
    }

    pub fn get(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

impl fmt::Debug for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.get())
    }
}

/// Two prices and all between; the lower one is below the upper one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PriceRange {
    lower: Price,
    upper: Price,
}

impl PriceRange {
    pub fn new(lower: Price, upper: Price) -> Option<Self> {
        (lower < upper).then_some(Self { lower, upper })
    }

    pub fn lower(self) -> Price {
        self.lower
    }

    pub fn upper(self) -> Price {
        self.upper
    }
}

/// What prices must do for an alert to fire. `CONDITIONS.md` says it exactly, with examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// At or above: whatever the price was before.
    Above(Price),
    /// At or below.
    Below(Price),
    /// From below to at or above.
    CrossesAbove(Price),
    /// From above to at or below.
    CrossesBelow(Price),
    Crosses(Price),
    /// From outside to inside; the bounds are inside.
    EntersRange(PriceRange),
    LeavesRange(PriceRange),
    /// So much above the first price that the alert sees.
    RisesPercent(Percent),
    FallsPercent(Percent),
    /// So much below the highest price that the alert has seen.
    TrailingDrop(Percent),
    /// So much above the lowest one.
    TrailingRise(Percent),
}

/// How an alert fires again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repeat {
    /// For how long after a firing the alert sees nothing, by the trades' own times. Milliseconds.
    pub cooldown: u32,
    /// How far a price must go back before the alert can fire again; `None`: just off the line.
    pub hysteresis: Option<Percent>,
}

/// A condition, and how often it fires: good together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    condition: Condition,
    repeat: Option<Repeat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    #[error("a price cannot fall by 100 percent")]
    FallsToNothing,
    #[error("the condition measures from a new price each time: it takes no hysteresis")]
    NeedlessHysteresis,
    #[error("a hysteresis is at most 50 percent")]
    WideHysteresis,
    #[error("with this hysteresis no price is far enough inside of the range")]
    NarrowRange,
}

impl Terms {
    /// Without `repeat` the alert fires once.
    ///
    /// # Errors
    /// Where the two make no sense together.
    pub fn new(condition: Condition, repeat: Option<Repeat>) -> Result<Self, TermsError> {
        use Condition::{FallsPercent, LeavesRange, RisesPercent, TrailingDrop, TrailingRise};
        const ALL: u32 = 100_000;
        if let FallsPercent(percent) | TrailingDrop(percent) = condition
            && percent.0 >= ALL
        {
            return Err(TermsError::FallsToNothing);
        }
        if let Some(hysteresis) = repeat.and_then(|repeat| repeat.hysteresis) {
            match condition {
                RisesPercent(_) | FallsPercent(_) | TrailingDrop(_) | TrailingRise(_) => {
                    return Err(TermsError::NeedlessHysteresis);
                }
                _ if hysteresis.0 > ALL / 2 => return Err(TermsError::WideHysteresis),
                LeavesRange(PriceRange { lower, upper }) => {
                    let hysteresis = Some(hysteresis);
                    if higher(lower.get(), hysteresis) > lower_by(upper.get(), hysteresis) {
                        return Err(TermsError::NarrowRange);
                    }
                }
                _ => {}
            }
        }
        Ok(Self { condition, repeat })
    }

    pub fn condition(&self) -> Condition {
        self.condition
    }

    pub fn repeat(&self) -> Option<Repeat> {
        self.repeat
    }
}

/// A hundred percent, in thousandths.
const WHOLE: f64 = 100_000.0;

/// So many thousandths of a percent of a price. Infinite only where the share itself is.
fn share(of: f64, thousandths: f64) -> f64 {
    let exact = of * thousandths;
    if exact.is_finite() { exact / WHOLE } else { of / WHOLE * thousandths }
}

/// A line moved up by a hysteresis.
pub(crate) fn higher(line: f64, hysteresis: Option<Percent>) -> f64 {
    hysteresis.map_or(line, |by| share(line, WHOLE + f64::from(by.0)))
}

/// A line moved down by a hysteresis.
pub(crate) fn lower_by(line: f64, hysteresis: Option<Percent>) -> f64 {
    hysteresis.map_or(line, |by| share(line, WHOLE - f64::from(by.0)))
}

/// What decimals may lose as binary fractions: without it, a rise of 10 % from 0.7 would ask for
/// more than 0.77. Far less than any exchange's tick.
const SLACK: f64 = 1e-14;

/// The price from which on a reference has risen by so much.
pub(crate) fn risen(reference: f64, by: Percent) -> f64 {
    let exact = share(reference, WHOLE + f64::from(by.0));
    (exact * (1.0 - SLACK)).max(reference.next_up())
}

/// The price from which on a reference has fallen by so much.
pub(crate) fn fallen(reference: f64, by: Percent) -> f64 {
    let exact = share(reference, WHOLE - f64::from(by.0));
    (exact * (1.0 + SLACK)).min(reference.next_down())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(value: f64) -> Percent {
        Percent::new(value).expect("a percent")
    }

    #[test]
    fn percents_have_three_decimals_and_bounds() {
        for (value, thousandths) in
            [(0.001, 1), (0.1, 100), (33.333, 33_333), (1.1, 1_100), (1e6, 1_000_000_000)]
        {
            let percent = percent(value);
            assert_eq!((percent.thousandths(), percent.get()), (thousandths, value));
            assert_eq!(Percent::from_thousandths(thousandths), Some(percent));
        }
        for bad in [0.0, -1.0, 0.0005, 0.0001, 1.000_5, 1_000_000.001, f64::NAN, f64::INFINITY] {
            assert_eq!(Percent::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_is_what_decimals_say() {
        for whole in 1..20_000_u32 {
            for by in [100, 333, 1_000, 7_500, 10_000, 50_000] {
                let percent = Percent(by);
                let from = f64::from(whole) / 100.0;
                // In thousandths of a thousandth of a cent: exact.
                let exact = |by: u64| (u64::from(whole) * by) as f64 / 1e7;
                let (up, down) = (exact(100_000 + u64::from(by)), exact(100_000 - u64::from(by)));
                assert!(up >= risen(from, percent), "{from} +{percent:?}");
                assert!(down <= fallen(from, percent), "{from} -{percent:?}");
                assert!(up * 0.999_999 < risen(from, percent), "{from} +{percent:?}");
                assert!(down * 1.000_001 > fallen(from, percent), "{from} -{percent:?}");
            }
        }
    }

    #[test]
    fn a_share_is_never_nothing() {
        for from in [f64::from_bits(1), f64::MIN_POSITIVE, 1e-300, 1.0, 1e300, f64::MAX] {
            assert!(risen(from, Percent(1)) > from);
            assert!(fallen(from, Percent(1)) < from);
        }
    }

    #[test]
    fn a_share_of_a_price_is_a_price_however_high() {
        for line in [1e303, 2e303, 1e307, f64::MAX] {
            let about = |found: f64, share: f64| (found / line / share - 1.0).abs() < 1e-12;
            assert!(about(lower_by(line, Some(percent(1.0))), 0.99), "{line}");
            assert!(about(fallen(line, percent(10.0)), 0.9), "{line}");
            if line < 1e308 {
                assert!(about(higher(line, Some(percent(50.0))), 1.5), "{line}");
                assert!(about(risen(line, percent(10.0)), 1.1), "{line}");
            }
        }
    }

    #[test]
    fn terms_are_good_together() {
        let price = |value| Price::new(value).expect("a price");
        let range = |lower, upper| PriceRange::new(price(lower), price(upper));
        let repeat = |by| Some(Repeat { cooldown: 0, hysteresis: Some(percent(by)) });
        let ten = range(95.0, 105.0).expect("a range");
        assert_eq!(range(1.0, 1.0), None);
        for (condition, repeat, expected) in [
            (Condition::FallsPercent(percent(99.999)), None, None),
            (Condition::FallsPercent(percent(100.0)), None, Some(TermsError::FallsToNothing)),
            (Condition::TrailingDrop(percent(100.0)), None, Some(TermsError::FallsToNothing)),
            (Condition::TrailingRise(percent(100.0)), None, None),
            (
                Condition::RisesPercent(percent(1.0)),
                repeat(1.0),
                Some(TermsError::NeedlessHysteresis),
            ),
            (Condition::Above(price(1.0)), repeat(50.0), None),
            (Condition::Above(price(1.0)), repeat(50.001), Some(TermsError::WideHysteresis)),
            (Condition::LeavesRange(ten), repeat(5.0), None),
            (Condition::LeavesRange(ten), repeat(5.1), Some(TermsError::NarrowRange)),
            (Condition::EntersRange(ten), repeat(5.1), None),
        ] {
            assert_eq!(Terms::new(condition, repeat).err(), expected, "{condition:?}");
        }
    }
}
