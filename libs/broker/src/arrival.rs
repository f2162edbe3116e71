/// How many trades a record carries and when they were received, on the average.
///
/// The average, since they may have come in several frames: it keeps the mean of the stage exact,
/// and its percentiles to within the time that the frames of one record are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Unix nanoseconds, 0 where unknown.
    pub received_at: u64,
    pub trades: usize,
}

/// The unit of a packed time, nanoseconds.
const RESOLUTION: u64 = 10_000;
/// As many as a record may carry, 1 to 65,536, take so many bits.
const TRADES_BITS: u32 = 16;

impl Arrival {
    /// Fits where a pointer does: the time in steps of 10 µs (until 2059), and the number less one.
    /// What does not fit, or is not known, is 0.
    pub(crate) fn pack(self) -> usize {
        let (time, trades) = (self.received_at / RESOLUTION, self.trades.wrapping_sub(1) as u64);
        if time >> (u64::BITS - TRADES_BITS) != 0 || trades >> TRADES_BITS != 0 {
            return 0;
        }
        usize::try_from(time << TRADES_BITS | trades).unwrap_or_default()
    }

    pub(crate) fn unpack(packed: usize) -> Option<Self> {
        let (packed, mask) = (packed as u64, (1 << TRADES_BITS) - 1);
        let received_at = (packed >> TRADES_BITS) * RESOLUTION;
        let trades = (packed & mask) as usize + 1;
        (received_at > 0).then_some(Self { received_at, trades })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(received_at: u64, trades: usize, expected: Option<(u64, usize)>) {
        let found = Arrival::unpack(Arrival { received_at, trades }.pack());
        assert_eq!(found.map(|found| (found.received_at, found.trades)), expected);
    }

    #[test]
    fn what_fits_comes_back_to_10_us() {
        check(1_764_000_000_123_456_789, 1, Some((1_764_000_000_123_450_000, 1)));
        check(1_764_000_000_123_456_789, 65_536, Some((1_764_000_000_123_450_000, 65_536)));
        check(2_808_000_000_000_000_000, 1_000, Some((2_808_000_000_000_000_000, 1_000)));
    }

    #[test]
    fn what_is_unknown_or_does_not_fit_is_not_counted() {
        check(0, 7, None);
        check(1_764_000_000_123_456_789, 0, None);
        check(1_764_000_000_123_456_789, 65_537, None);
        check(u64::MAX, 1, None);
    }
}
