//! What the decoders' tests share: bytes that are almost right, and trades.

use market::{Price, Trade, Volume};
use proptest::collection::vec;
use proptest::prelude::*;

/// One change of a byte string, at a place between its two ends.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Replace(u16, u8),
    FlipBit(u16, u8),
    Insert(u16, u8),
    Remove(u16),
    Cut(u16),
    Repeat(u16, u16),
}

/// Up to four mutations whose new bytes are mostly out of `alphabet`.
pub(crate) fn mutations(alphabet: &'static [u8]) -> impl Strategy<Value = Vec<Mutation>> {
    let byte = prop_oneof![4 => proptest::sample::select(alphabet), 1 => any::<u8>()];
    let mutation = (any::<u16>(), any::<u16>(), byte, 0..6_u8).prop_map(
        |(place, other, byte, kind)| match kind {
            0 => Mutation::Replace(place, byte),
            1 => Mutation::FlipBit(place, byte % 8),
            2 => Mutation::Insert(place, byte),
            3 => Mutation::Remove(place),
            4 => Mutation::Repeat(place, other),
            _ => Mutation::Cut(place),
        },
    );
    vec(mutation, 0..4)
}

pub(crate) fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        let length = bytes.len();
        let place = |part: u16| usize::from(part) * length / (usize::from(u16::MAX) + 1);
        if length == 0 {
            return;
        }
        match *mutation {
            Mutation::Replace(at, byte) => bytes[place(at)] = byte,
            Mutation::FlipBit(at, bit) => bytes[place(at)] ^= 1 << bit,
            Mutation::Insert(at, byte) => bytes.insert(place(at), byte),
            Mutation::Remove(at) => drop(bytes.remove(place(at))),
            Mutation::Cut(at) => bytes.truncate(place(at)),
            Mutation::Repeat(from, to) => {
                let (from, to) = (place(from.min(to)), place(from.max(to)));
                let piece = bytes[from..to].to_vec();
                bytes.splice(to..to, piece);
            }
        }
    }
}

pub(crate) fn trade() -> impl Strategy<Value = Trade> {
    let price = prop_oneof![1e-8..1e6_f64, Just(f64::MIN_POSITIVE), Just(f64::MAX)];
    let volume = prop_oneof![Just(0.0), 0.0..1e6_f64];
    let timestamp =
        prop_oneof![1..crate::tick::END_OF_TIME, 1_600_000_000_000..1_800_000_000_000_i64];
    (price, volume, timestamp, any::<u64>()).prop_map(|(price, volume, timestamp, received_at)| {
        Trade {
            price: Price::new(price).expect("the strategy's prices are positive"),
            volume: Volume::new(volume).expect("the strategy's volumes are not negative"),
            timestamp,
            received_at,
        }
    })
}

pub(crate) fn conditions() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![3 => Just(vec![]), 1 => vec("[0-9A-Zé]{0,3}", 0..4)]
}
