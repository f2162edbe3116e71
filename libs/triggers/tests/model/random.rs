use std::ops::Range;

use market::{Price, Trade, Volume};
use proptest::prelude::*;
use triggers::{Condition, Percent, PriceRange, Repeat, Terms};

use crate::{Record, SYMBOLS, Step};

fn price(value: u32) -> Price {
    Price::new(f64::from(value) / 2.0).expect("positive")
}

pub(crate) fn log() -> impl Strategy<Value = Vec<Record>> {
    log_of(1..250)
}

pub(crate) fn long_log() -> impl Strategy<Value = Vec<Record>> {
    log_of(500..1_500)
}

fn log_of(length: Range<usize>) -> impl Strategy<Value = Vec<Record>> {
    // Time mostly goes on, and jumps back and ahead now and then.
    let jump = prop_oneof![6 => 0i64..3, 2 => -6i64..0, 1 => 3i64..30];
    // Prices walk, so that they come and go at the bounds, and jump now and then.
    let step = prop_oneof![3 => Just(0i32), 6 => -2i32..3, 1 => -20i32..21];
    let trades = prop::collection::vec((jump, step), 0..4);
    prop::collection::vec((0..SYMBOLS.len(), trades), length).prop_map(|records| {
        let (mut now, mut prices) = (1_000, [20i32; SYMBOLS.len()]);
        let mut record = |(symbol, trades): (usize, Vec<(i64, i32)>)| {
            let mut trade = |(jump, step)| {
                let timestamp = now + jump;
                now = now.max(timestamp - 5);
                let next: i32 = prices[symbol] + step;
                prices[symbol] = next.clamp(1, 40);
                Trade {
                    price: price(prices[symbol].unsigned_abs()),
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

pub(crate) fn terms() -> impl Strategy<Value = Terms> {
    let line = (1u32..42).prop_map(price);
    let range = (1u32..40, 1u32..15).prop_map(|(lower, width)| {
        PriceRange::new(price(lower), price(lower + width)).expect("a range")
    });
    let percent = prop_oneof![Just(1.0), Just(5.0), Just(10.0), Just(50.0), Just(0.001)];
    let percent = percent.prop_map(|value| Percent::new(value).expect("a percent"));
    let condition = prop_oneof![
        2 => line.clone().prop_map(Condition::Above),
        2 => line.clone().prop_map(Condition::Below),
        1 => line.clone().prop_map(Condition::CrossesAbove),
        1 => line.clone().prop_map(Condition::CrossesBelow),
        1 => line.prop_map(Condition::Crosses),
        1 => range.clone().prop_map(Condition::EntersRange),
        1 => range.prop_map(Condition::LeavesRange),
        1 => percent.clone().prop_map(Condition::RisesPercent),
        1 => percent.clone().prop_map(Condition::FallsPercent),
        2 => percent.clone().prop_map(Condition::TrailingDrop),
        2 => percent.prop_map(Condition::TrailingRise),
    ];
    let hysteresis =
        prop_oneof![2 => Just(None), 1 => Just(Percent::new(5.0)), 1 => Just(Percent::new(10.0))];
    let cooldown = prop_oneof![2 => Just(0u32), 1 => 1u32..6, 1 => 6u32..60];
    let repeat = prop::option::of((cooldown, hysteresis));
    (condition, repeat).prop_map(|(condition, repeat)| {
        let repeat = repeat.map(|(cooldown, hysteresis)| Repeat { cooldown, hysteresis });
        let plain = || {
            let repeat = repeat.map(|repeat| Repeat { hysteresis: None, ..repeat });
            Terms::new(condition, repeat).expect("good without a hysteresis")
        };
        Terms::new(condition, repeat).unwrap_or_else(|_| plain())
    })
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ahead = prop_oneof![2 => Just(0i64), 2 => -4i64..8, 1 => -120i64..0];
    let symbol = 0..SYMBOLS.len();
    let which = any::<usize>();
    let step = prop_oneof![
        8 => (1usize..20, any::<bool>(), 0usize..3)
            .prop_map(|(count, advance, part)| Step::Read { count, advance, part }),
        8 => (symbol, terms(), ahead.clone(), prop::bool::weighted(0.8))
            .prop_map(|(symbol, terms, ahead, told)| Step::Create { symbol, terms, ahead, told }),
        4 => (which, terms(), ahead)
            .prop_map(|(which, terms, ahead)| Step::Change { which, terms, ahead }),
        2 => which.prop_map(|which| Step::Tell { which }),
        1 => which.prop_map(|which| Step::Delete { which }),
        4 => (1usize..40).prop_map(|count| Step::CatchUp { count }),
        2 => any::<bool>().prop_map(|news| Step::Checkpoint { news }),
        2 => (any::<bool>(), 1usize..12, any::<bool>()).prop_map(
            |(stored, ring, from_snapshot)| Step::Crash { stored, ring, from_snapshot }
        ),
    ];
    prop::collection::vec(step, 1..60)
}
