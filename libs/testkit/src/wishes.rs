use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rpc::alert::v1::{AlertCondition, CreateAlertRequest};

use crate::Recording;

/// Alerts without end, on a recording's symbols and spread over a little more than the range of
/// their prices. Most wait on the far side of a symbol's first price, as people's alerts do.
#[derive(Debug)]
pub struct Wishes {
    symbols: Vec<Span>,
    random: SmallRng,
}

#[derive(Debug)]
struct Span {
    symbol: String,
    first: f64,
    low: f64,
    high: f64,
}

impl Wishes {
    /// The same for the same recording and state of `random`.
    pub fn new(recording: &Recording, random: &mut SmallRng) -> Self {
        let mut symbols = BTreeMap::new();
        for trade in recording.trades() {
            let price = trade.price;
            let fresh = || (price, price, price);
            let (_, low, high) = symbols.entry(trade.symbol).or_insert_with(fresh);
            (*low, *high) = (low.min(price), high.max(price));
        }
        let span = |(symbol, (first, low, high)): (String, (f64, f64, f64))| {
            let margin = (high - low) / 20.0;
            Span { symbol, first, low: (low - margin).max(low / 2.0), high: high + margin }
        };
        let symbols = symbols.into_iter().map(span).collect();
        Self { symbols, random: SmallRng::seed_from_u64(random.random()) }
    }
}

impl Iterator for Wishes {
    type Item = CreateAlertRequest;

    fn next(&mut self) -> Option<CreateAlertRequest> {
        let Self { symbols, random } = self;
        let Span { symbol, first, low, high } = &symbols[random.random_range(0..symbols.len())];
        let target_price = random.random_range(*low..=*high);
        let is_ahead = random.random_bool(0.8);
        let condition = match (target_price > *first) == is_ahead {
            true => AlertCondition::Above,
            false => AlertCondition::Below,
        };
        Some(CreateAlertRequest {
            user_id: random.random_range(1..100),
            symbol: symbol.clone(),
            condition: condition.into(),
            target_price,
        })
    }
}
