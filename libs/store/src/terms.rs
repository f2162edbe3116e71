use market::Price;
use triggers::{Condition, Percent, PriceRange, Repeat, Terms};

use crate::StoreError;
use crate::alert::Decode;

/// A condition as its columns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ConditionColumns {
    pub(crate) condition: i16,
    pub(crate) target_price: Option<f64>,
    pub(crate) lower_price: Option<f64>,
    pub(crate) upper_price: Option<f64>,
    pub(crate) percent: Option<f64>,
}

/// Terms as their columns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct TermsColumns {
    pub(crate) condition: ConditionColumns,
    pub(crate) cooldown_ms: Option<i64>,
    pub(crate) hysteresis_percent: Option<f64>,
}

impl From<Condition> for ConditionColumns {
    fn from(condition: Condition) -> Self {
        let line = |condition, price: Price| Self {
            condition,
            target_price: Some(price.get()),
            ..Self::default()
        };
        let range = |condition, range: PriceRange| Self {
            condition,
            lower_price: Some(range.lower().get()),
            upper_price: Some(range.upper().get()),
            ..Self::default()
        };
        let share = |condition, percent: Percent| Self {
            condition,
            percent: Some(percent.get()),
            ..Self::default()
        };
        match condition {
            Condition::Above(price) => line(1, price),
            Condition::Below(price) => line(2, price),
            Condition::CrossesAbove(price) => line(3, price),
            Condition::CrossesBelow(price) => line(4, price),
            Condition::Crosses(price) => line(5, price),
            Condition::EntersRange(bounds) => range(6, bounds),
            Condition::LeavesRange(bounds) => range(7, bounds),
            Condition::RisesPercent(percent) => share(8, percent),
            Condition::FallsPercent(percent) => share(9, percent),
            Condition::TrailingDrop(percent) => share(10, percent),
            Condition::TrailingRise(percent) => share(11, percent),
        }
    }
}

impl From<&Terms> for TermsColumns {
    fn from(terms: &Terms) -> Self {
        let repeat = terms.repeat();
        Self {
            condition: terms.condition().into(),
            cooldown_ms: repeat.map(|repeat| i64::from(repeat.cooldown)),
            hysteresis_percent: repeat.and_then(|repeat| repeat.hysteresis).map(Percent::get),
        }
    }
}

impl ConditionColumns {
    fn parse(&self) -> Option<Condition> {
        let line = || self.target_price.and_then(Price::new);
        let share = || self.percent.and_then(Percent::new);
        let range = || {
            let bound = |price: Option<f64>| price.and_then(Price::new);
            PriceRange::new(bound(self.lower_price)?, bound(self.upper_price)?)
        };
        match self.condition {
            1 => line().map(Condition::Above),
            2 => line().map(Condition::Below),
            3 => line().map(Condition::CrossesAbove),
            4 => line().map(Condition::CrossesBelow),
            5 => line().map(Condition::Crosses),
            6 => range().map(Condition::EntersRange),
            7 => range().map(Condition::LeavesRange),
            8 => share().map(Condition::RisesPercent),
            9 => share().map(Condition::FallsPercent),
            10 => share().map(Condition::TrailingDrop),
            11 => share().map(Condition::TrailingRise),
            _ => None,
        }
    }

    pub(crate) fn decode(&self, decode: &Decode<'_>) -> Result<Condition, StoreError> {
        self.parse().ok_or_else(|| decode.foreign("condition", &self.condition.to_string()))
    }
}

impl TermsColumns {
    pub(crate) fn decode(&self, decode: &Decode<'_>) -> Result<Terms, StoreError> {
        let condition = self.condition.decode(decode)?;
        let hysteresis = match self.hysteresis_percent {
            None => None,
            Some(percent) => Some(
                Percent::new(percent)
                    .ok_or_else(|| decode.foreign("hysteresis_percent", &percent.to_string()))?,
            ),
        };
        let repeat = match self.cooldown_ms {
            None => None,
            Some(cooldown) => Some(Repeat {
                cooldown: u32::try_from(cooldown)
                    .map_err(|_| decode.foreign("cooldown_ms", &cooldown.to_string()))?,
                hysteresis,
            }),
        };
        Terms::new(condition, repeat)
            .map_err(|error| decode.foreign("terms of which it is said that", &error.to_string()))
    }
}

/// Rows of terms as arrays, for `unnest`.
#[derive(Debug, Default)]
pub(crate) struct TermsArrays {
    pub(crate) conditions: Vec<i16>,
    pub(crate) target_prices: Vec<Option<f64>>,
    pub(crate) lower_prices: Vec<Option<f64>>,
    pub(crate) upper_prices: Vec<Option<f64>>,
    pub(crate) percents: Vec<Option<f64>>,
    pub(crate) cooldowns: Vec<Option<i64>>,
    pub(crate) hystereses: Vec<Option<f64>>,
}

impl<'a> FromIterator<&'a Terms> for TermsArrays {
    fn from_iter<T: IntoIterator<Item = &'a Terms>>(terms: T) -> Self {
        let mut arrays = Self::default();
        for terms in terms {
            let TermsColumns { condition, cooldown_ms, hysteresis_percent } = terms.into();
            arrays.conditions.push(condition.condition);
            arrays.target_prices.push(condition.target_price);
            arrays.lower_prices.push(condition.lower_price);
            arrays.upper_prices.push(condition.upper_price);
            arrays.percents.push(condition.percent);
            arrays.cooldowns.push(cooldown_ms);
            arrays.hystereses.push(hysteresis_percent);
        }
        arrays
    }
}
