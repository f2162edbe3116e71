use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rpc::alert::v1::{AlertCondition, CreateAlertRequest, Repeat};

use crate::Recording;

/// Alerts without end, on a recording's symbols: every condition, once and again and again.
#[derive(Debug)]
pub struct Wishes {
    symbols: Vec<Span>,
    random: SmallRng,
    /// The share of those that a price of the recording can reach.
    near: f64,
}

/// What the prices of a symbol are.
#[derive(Clone, Debug)]
struct Span {
    symbol: String,
    first: f64,
    low: f64,
    high: f64,
}

impl Wishes {
    /// The same for the same recording and state of `random`. Most wait on the far side of a
    /// symbol's first price, as people's alerts do.
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
        Self::of(symbols.into_iter().map(span).collect(), random)
    }

    /// On a [`RandomMarket`](crate::RandomMarket), whose symbols it writes small.
    pub fn on_random_market(random: &mut SmallRng) -> Self {
        Self::on((0..40).map(|number| (format!("symbol:{number}"), 0.01..=100.1)), random)
    }

    /// On symbols, each with its lowest price and its highest.
    pub fn on(
        symbols: impl IntoIterator<Item = (String, RangeInclusive<f64>)>,
        random: &mut SmallRng,
    ) -> Self {
        let span = |(symbol, prices): (String, RangeInclusive<f64>)| {
            let (low, high) = prices.into_inner();
            Span { symbol, first: f64::midpoint(low, high), low, high }
        };
        Self::of(symbols.into_iter().map(span).collect(), random)
    }

    fn of(symbols: Vec<Span>, random: &mut SmallRng) -> Self {
        Self { symbols, random: SmallRng::seed_from_u64(random.random()), near: 1.0 }
    }

    /// So many, of which only this share is near enough to fire.
    pub fn mostly_far(&mut self, near: f64, count: usize) -> Vec<CreateAlertRequest> {
        self.near = near;
        let wishes = self.by_ref().take(count).collect();
        self.near = 1.0;
        wishes
    }

    fn repeat(&mut self, condition: AlertCondition) -> Option<Repeat> {
        let random = &mut self.random;
        if !random.random_bool(0.25) {
            return None;
        }
        let cooldown_ms = [0, 500, 5_000, 60_000][random.random_range(0..4)];
        let latches = (condition as i32) < AlertCondition::RisesPercent as i32;
        // Of a range that is left, something must be left between its lines.
        let most = if condition == AlertCondition::LeavesRange { 4 } else { 20 };
        let hysteresis_percent = match latches && random.random_bool(0.4) {
            true => f64::from(random.random_range(1..most)) / 100.0,
            false => 0.0,
        };
        Some(Repeat { cooldown_ms: Some(cooldown_ms), hysteresis_percent })
    }
}

impl Iterator for Wishes {
    type Item = CreateAlertRequest;

    fn next(&mut self) -> Option<CreateAlertRequest> {
        let random = &mut self.random;
        let is_near = random.random_bool(self.near);
        let Span { symbol, first, low, high } =
            self.symbols[random.random_range(0..self.symbols.len())].clone();
        let mut wish = CreateAlertRequest {
            user_id: random.random_range(1..100),
            symbol,
            ..CreateAlertRequest::default()
        };
        let far = if is_near { 1.0 } else { 2.0 };
        let line = random.random_range(low..=high);
        let is_ahead = random.random_bool(0.8);
        let is_upward = (line > first) == is_ahead;
        let condition = match random.random_range(0..100) {
            0..40 if is_upward => AlertCondition::Above,
            0..40 => AlertCondition::Below,
            40..50 => AlertCondition::CrossesAbove,
            50..60 => AlertCondition::CrossesBelow,
            60..65 => AlertCondition::Crosses,
            65..72 => AlertCondition::EntersRange,
            72..80 => AlertCondition::LeavesRange,
            80..85 => AlertCondition::RisesPercent,
            85..90 => AlertCondition::FallsPercent,
            90..95 => AlertCondition::TrailingDrop,
            _ => AlertCondition::TrailingRise,
        };
        wish.condition = condition.into();
        match condition {
            AlertCondition::EntersRange | AlertCondition::LeavesRange => {
                let width = (high - low) * random.random_range(0.01..0.4) * far;
                let width = width.max(line * far / 1_000.0);
                (wish.lower_price, wish.upper_price) = (line * far, line * far + width);
            }
            AlertCondition::RisesPercent
            | AlertCondition::FallsPercent
            | AlertCondition::TrailingDrop
            | AlertCondition::TrailingRise => {
                let most = ((high - low) / low * 100.0).clamp(0.01, 90.0);
                let percent = random.random_range(0.0..most).max(0.001);
                let percent = if is_near { percent } else { 95.0 };
                wish.percent = (percent * 1_000.0).round() / 1_000.0;
            }
            // So far that no price of the recording comes there.
            AlertCondition::Below | AlertCondition::CrossesBelow if !is_near => {
                wish.target_price = line / 3.0;
            }
            _ => wish.target_price = if is_near { line } else { line * 3.0 },
        }
        wish.repeat = self.repeat(condition);
        Some(wish)
    }
}
