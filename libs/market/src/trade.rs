/// Below are the bits of what is finite and not negative, in their order.
const INFINITY: u64 = f64::INFINITY.to_bits();

/// Whether all values are `low` to `high`, which are less than 2^63 apart. Without a comparison, so
/// that the compiler does several at a time also where the processor cannot compare 64 bits: what is
/// below or above sets the top bit of one of two differences.
#[inline]
pub fn are_within(values: impl Iterator<Item = u64>, low: u64, high: u64) -> bool {
    let outside = values.fold(0, |outside, value| {
        let above = value.wrapping_sub(low);
        outside | above | (high - low).wrapping_sub(above)
    });
    outside >> 63 == 0
}

/// A price in the quote currency. One that exists is finite and positive.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct Price(f64);

impl Price {
    #[inline]
    pub fn new(value: f64) -> Option<Self> {
        // As integers, since the bits of what is positive are in its order: one comparison, where
        // the compiler makes a dozen steps of two between floats.
        let is_one = value.to_bits().wrapping_sub(1) < INFINITY - 1;
        is_one.then_some(Self(value))
    }

    /// Whether each of many values is one, as [`new`](Self::new) would say.
    #[inline]
    pub fn are_all(values: impl Iterator<Item = f64>) -> bool {
        are_within(values.map(f64::to_bits), 1, INFINITY - 1)
    }

    /// Of a value that [`are_all`](Self::are_all) must have judged: it is not judged again.
    #[inline]
    pub fn of_judged(value: f64) -> Self {
        debug_assert!(Self::new(value).is_some(), "{value} was not judged");
        Self(value)
    }

    #[inline]
    pub fn get(self) -> f64 {
        self.0
    }

    #[must_use]
    #[inline]
    pub fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    #[must_use]
    #[inline]
    pub fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }
}

/// How much changed hands, in units of the instrument: finite, zero or more, often fractional.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct Volume(f64);

impl Volume {
    pub const ZERO: Self = Self(0.0);

    #[inline]
    pub fn new(value: f64) -> Option<Self> {
        // The addition turns -0.0 into 0.0, so that no reader ever sees a minus sign.
        let value = value + 0.0;
        (value.to_bits() < INFINITY).then_some(Self(value))
    }

    /// Whether each of many values is one, as [`new`](Self::new) would say.
    #[inline]
    pub fn are_all(values: impl Iterator<Item = f64>) -> bool {
        are_within(values.map(|value| (value + 0.0).to_bits()), 0, INFINITY - 1)
    }

    /// Of a value that [`are_all`](Self::are_all) must have judged: it is not judged again.
    #[inline]
    pub fn of_judged(value: f64) -> Self {
        debug_assert!(Self::new(value).is_some(), "{value} was not judged");
        Self(value + 0.0)
    }

    #[inline]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A trade without its symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trade {
    pub price: Price,
    pub volume: Volume,
    /// Event time: when the exchange says it happened. Unix milliseconds, positive.
    pub timestamp: i64,
    /// When the ingestor read its frame from the socket, Unix nanoseconds; 0 where unknown
    /// (a record of the original's has none).
    pub received_at: u64,
}

/// A place within one partition of one log: the record's offset and the trade's index in it.
///
/// With the log id and the partition it is a *position*, which orders and identifies a trade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence {
    pub offset: i64,
    pub index: u32,
}

impl Sequence {
    /// The first place of a record.
    pub fn of_record(offset: i64) -> Self {
        Self { offset, index: 0 }
    }

    /// The first place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        match self.index.checked_add(1) {
            Some(index) => Self { index, ..self },
            None => Self::of_record(self.offset.saturating_add(1)),
        }
    }
}

/// What decides which of two trades is the later one: event time first, position breaks ties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Event time, Unix milliseconds.
    pub time: i64,
    pub sequence: Sequence,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_finite_and_positive() {
        for bad in [0.0, -0.0, -1.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Price::new(bad), None, "{bad}");
        }
        for good in [f64::MIN_POSITIVE, 5e-324, 0.01, 39_432.48, f64::MAX] {
            assert_eq!(Price::new(good).map(Price::get), Some(good));
        }
    }

    #[test]
    fn a_volume_is_finite_and_not_negative() {
        for bad in [-1.0, -5e-324, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Volume::new(bad), None, "{bad}");
        }
        for good in [0.0, 5e-324, f64::MAX] {
            assert_eq!(Volume::new(good).map(Volume::get), Some(good));
        }
        assert_eq!(Volume::new(0.000_263).map(Volume::get), Some(0.000_263));
        assert!(Volume::new(-0.0).expect("zero is a volume").get().is_sign_positive());
    }

    #[test]
    fn many_are_judged_as_each_alone() {
        let edges = [0.0, 5e-324, f64::MIN_POSITIVE, 1.0, f64::MAX, f64::INFINITY, f64::NAN];
        assert!(Price::are_all([].into_iter()) && Volume::are_all([].into_iter()));
        for odd in edges.into_iter().flat_map(|value| [value, -value]) {
            for place in 0..9 {
                let many = || (0..9).map(|at| if at == place { odd } else { 1.5 });
                assert_eq!(Price::are_all(many()), Price::new(odd).is_some(), "{odd} at {place}");
                assert_eq!(Volume::are_all(many()), Volume::new(odd).is_some(), "{odd} at {place}");
            }
        }
    }

    #[test]
    fn the_bounds_are_within() {
        for (value, is) in [(4, false), (5, true), (9, true), (10, false), (u64::MAX, false)] {
            assert_eq!(are_within([7, value, 7].into_iter(), 5, 9), is, "{value}");
        }
    }
}
