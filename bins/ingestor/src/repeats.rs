use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use wire::frame::FrameTrade;

/// How many trades back a repeat is noticed, about. 128 KiB.
const REMEMBERED: usize = 16_384;

/// Notices trades that equal a recent one: the feed has been seen to send trades three times.
///
/// Real trades can be equal too, so this only counts. A table of hashes, each new one in the place
/// of an older: a repeat may be missed, and once in 2^50 or so a new trade taken for one.
#[derive(Debug)]
pub(crate) struct Repeats {
    recent: Box<[u64]>,
    hasher: FixedState,
}

impl Repeats {
    pub(crate) fn new() -> Self {
        Self { recent: vec![0; REMEMBERED].into_boxed_slice(), hasher: FixedState::default() }
    }

    /// Whether an equal trade was seen a short while ago.
    #[inline]
    pub(crate) fn seen(&mut self, trade: &FrameTrade<'_>) -> bool {
        let price = trade.price.get().to_bits();
        let volume = trade.volume.get().to_bits();
        let hash = self.hasher.hash_one((trade.symbol, price, volume, trade.timestamp));
        let place = &mut self.recent[hash as usize % REMEMBERED];
        std::mem::replace(place, hash) == hash
    }
}

#[cfg(test)]
mod tests {
    use wire::frame::{Frame, FrameDecoder};

    use super::*;

    fn repeats(repeats: &mut Repeats, trades: &str) -> usize {
        let frame = format!(r#"{{"data":[{trades}],"type":"trade"}}"#);
        let mut decoder = FrameDecoder::new();
        let Ok(Frame::Trades(trades)) = decoder.decode(frame.as_bytes(), i64::MAX) else {
            panic!("{frame}");
        };
        trades.filter(|trade| repeats.seen(trade)).count()
    }

    #[test]
    fn only_equal_trades_are_repeats() {
        let mut seen = Repeats::new();
        let first = r#"{"p":1,"s":"A","t":10,"v":1}"#;
        assert_eq!(repeats(&mut seen, first), 0);
        for other in [
            r#"{"p":2,"s":"A","t":10,"v":1}"#,
            r#"{"p":1,"s":"B","t":10,"v":1}"#,
            r#"{"p":1,"s":"A","t":11,"v":1}"#,
            r#"{"p":1,"s":"A","t":10,"v":2}"#,
        ] {
            assert_eq!(repeats(&mut seen, other), 0, "{other}");
        }
        assert_eq!(repeats(&mut seen, &format!("{first},{first}")), 2);
    }
}
