use crate::standing::Bounds;

/// Which way a price must go to reach a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Above,
    Below,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Above, Self::Below];

    #[inline]
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Above => Self::Below,
            Self::Below => Self::Above,
        }
    }

    /// The bound on this side.
    #[inline]
    pub(crate) fn of(self, (above, below): Bounds) -> Option<f64> {
        match self {
            Self::Above => above,
            Self::Below => below,
        }
    }

    /// A number that orders bounds by how soon they are reached: of two the one that is reached
    /// first has the higher key, and a price reaches each whose key is at least its own. The bits
    /// of positive floats are in the order of the floats.
    #[inline]
    pub(crate) fn key(self, bound: f64) -> u64 {
        match self {
            Self::Above => !bound.to_bits(),
            Self::Below => bound.to_bits(),
        }
    }

    /// The bound of a key; without one, a bound that no price reaches.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_reached_by_its_own_price() {
        let prices = [f64::from_bits(1), f64::MIN_POSITIVE, 0.01, 99.99, 100.0, 1e9, f64::MAX];
        for bound in prices {
            for price in prices {
                let reaches = |side: Side| side.key(bound) >= side.key(price);
                assert_eq!(reaches(Side::Above), price >= bound);
                assert_eq!(reaches(Side::Below), price <= bound);
            }
            for side in Side::BOTH {
                assert_eq!(side.bound(Some(side.key(bound))), bound);
                assert!(side.key(side.bound(None)) < side.key(bound));
            }
        }
    }
}
