use market::{Price, Trade, Volume};
use proptest::prelude::*;
use triggers::Condition;

use crate::{Record, SYMBOLS, Step};

fn price(value: u32) -> Price {
    Price::new(f64::from(value) / 2.0).expect("positive")
}

pub(crate) fn log() -> impl Strategy<Value = Vec<Record>> {
    // Time mostly goes on, and jumps back and ahead now and then.
    let jump = prop_oneof![6 => 0i64..3, 2 => -6i64..0, 1 => 3i64..30];
    let trades = prop::collection::vec((jump, 1u32..40), 0..4);
    prop::collection::vec((0..SYMBOLS.len(), trades), 1..250).prop_map(|records| {
        let mut now = 1_000;
        let mut record = |(symbol, trades): (usize, Vec<(i64, u32)>)| {
            let mut trade = |(jump, value)| {
                let timestamp = now + jump;
                now = now.max(timestamp - 5);
                Trade {
                    price: price(value),
                    volume: Volume::ZERO,
                    timestamp,
                    received_at: timestamp.unsigned_abs(),
                }
            };
            Record { symbol, trades: trades.into_iter().map(&mut trade).collect() }
        };
        records.into_iter().map(&mut record).collect()
    })
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Near the ends of the range of prices, so that not everything fires at once.
    let condition = prop_oneof![
        (25u32..45).prop_map(|value| Condition::Above(price(value))),
        (1u32..15).prop_map(|value| Condition::Below(price(value))),
    ];
    let ahead = prop_oneof![2 => Just(0i64), 2 => -4i64..8, 1 => -120i64..0];
    let symbol = 0..SYMBOLS.len();
    let which = any::<usize>();
    let step = prop_oneof![
        8 => (1usize..20, any::<bool>(), 0usize..3)
            .prop_map(|(count, advance, part)| Step::Read { count, advance, part }),
        8 => (symbol, condition.clone(), ahead.clone(), prop::bool::weighted(0.8)).prop_map(
            |(symbol, condition, ahead, told)| Step::Create { symbol, condition, ahead, told }
        ),
        1 => (which, condition, ahead)
            .prop_map(|(which, condition, ahead)| Step::Change { which, condition, ahead }),
        2 => which.prop_map(|which| Step::Tell { which }),
        1 => which.prop_map(|which| Step::Delete { which }),
        3 => (1usize..40).prop_map(|count| Step::CatchUp { count }),
        1 => Just(Step::Checkpoint),
        1 => (any::<bool>(), 1usize..12).prop_map(|(stored, ring)| Step::Crash { stored, ring }),
    ];
    prop::collection::vec(step, 1..60)
}
