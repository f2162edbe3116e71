use market::Price;

use crate::Condition;

/// Which way a price must go to reach a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Above,
    Below,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Above, Self::Below];

    /// A number that orders prices by how soon they are reached: of two thresholds the one that
    /// is reached first has the higher key, and a price reaches each whose key is at least its
    /// own. The bits of positive floats are in the order of the floats.
    #[inline]
    pub(crate) fn key(self, price: Price) -> u64 {
        match self {
            Self::Above => !price.get().to_bits(),
            Self::Below => price.get().to_bits(),
        }
    }

    /// The price of a key; without one, a bound that no price reaches.
    #[inline]
    pub(crate) fn bound(self, key: Option<u64>) -> f64 {
        match (self, key) {
            (Self::Above, Some(key)) => f64::from_bits(!key),
            (Self::Above, None) => f64::INFINITY,
            (Self::Below, Some(key)) => f64::from_bits(key),
            (Self::Below, None) => 0.0,
        }
    }
}

/// A condition as a place among the thresholds of its symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) side: Side,
    pub(crate) key: u64,
}

impl Level {
    pub(crate) fn new(condition: Condition) -> Self {
        let (side, price) = match condition {
            Condition::Above(price) => (Side::Above, price),
            Condition::Below(price) => (Side::Below, price),
        };
        Self { side, key: side.key(price) }
    }

    pub(crate) fn is_reached_by(self, price: Price) -> bool {
        self.key >= self.side.key(price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_includes_its_own_price() {
        let price = |value: f64| Price::new(value).expect("a test's price is positive");
        let smallest = f64::from_bits(1);
        let prices = [smallest, f64::MIN_POSITIVE, 0.01, 1.0, 99.99, 100.0, 1e9, f64::MAX];
        for target in prices {
            let above = Level::new(Condition::Above(price(target)));
            let below = Level::new(Condition::Below(price(target)));
            for found in prices {
                assert_eq!(above.is_reached_by(price(found)), found >= target);
                assert_eq!(below.is_reached_by(price(found)), found <= target);
            }
            assert_eq!(Side::Above.bound(Some(above.key)), target);
            assert_eq!(Side::Below.bound(Some(below.key)), target);
        }
    }
}
