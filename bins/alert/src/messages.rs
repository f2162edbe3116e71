//! What is answered, in the words of `gostocks.alert.v1`. Also what is on the topic of firings.

use rpc::alert::v1::{Alert, AlertCondition, AlertStatus, Firing, Position, Repeat};
use triggers::{Condition, Percent, Terms};

/// A condition, and the fields that it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ConditionMessage {
    pub(crate) condition: AlertCondition,
    pub(crate) target_price: f64,
    pub(crate) lower_price: f64,
    pub(crate) upper_price: f64,
    pub(crate) percent: f64,
}

impl From<Condition> for ConditionMessage {
    fn from(condition: Condition) -> Self {
        let line = |condition, price: market::Price| Self {
            condition,
            target_price: price.get(),
            ..Self::default()
        };
        let range = |condition, range: triggers::PriceRange| Self {
            condition,
            lower_price: range.lower().get(),
            upper_price: range.upper().get(),
            ..Self::default()
        };
        let share = |condition, percent: Percent| Self {
            condition,
            percent: percent.get(),
            ..Self::default()
        };
        match condition {
            Condition::Above(price) => line(AlertCondition::Above, price),
            Condition::Below(price) => line(AlertCondition::Below, price),
            Condition::CrossesAbove(price) => line(AlertCondition::CrossesAbove, price),
            Condition::CrossesBelow(price) => line(AlertCondition::CrossesBelow, price),
            Condition::Crosses(price) => line(AlertCondition::Crosses, price),
            Condition::EntersRange(bounds) => range(AlertCondition::EntersRange, bounds),
            Condition::LeavesRange(bounds) => range(AlertCondition::LeavesRange, bounds),
            Condition::RisesPercent(percent) => share(AlertCondition::RisesPercent, percent),
            Condition::FallsPercent(percent) => share(AlertCondition::FallsPercent, percent),
            Condition::TrailingDrop(percent) => share(AlertCondition::TrailingDrop, percent),
            Condition::TrailingRise(percent) => share(AlertCondition::TrailingRise, percent),
        }
    }
}

fn repeat(terms: &Terms) -> Option<Repeat> {
    let repeat = terms.repeat()?;
    Some(Repeat {
        cooldown_ms: Some(i64::from(repeat.cooldown)),
        hysteresis_percent: repeat.hysteresis.map_or(0.0, Percent::get),
    })
}

pub(crate) fn alert(alert: store::Alert) -> Alert {
    let ConditionMessage { condition, target_price, lower_price, upper_price, percent } =
        alert.terms.condition().into();
    let status = match alert.status {
        store::Status::Active => AlertStatus::Active,
        store::Status::Paused => AlertStatus::Paused,
        store::Status::Triggered => AlertStatus::Triggered,
        store::Status::Expired => AlertStatus::Expired,
        store::Status::Deleted => AlertStatus::Deleted,
    };
    Alert {
        id: alert.id,
        user_id: alert.user_id,
        symbol: alert.symbol,
        condition: condition.into(),
        target_price,
        status: status.into(),
        generation: alert.version.generation,
        created_at: alert.created_at,
        triggered_at: alert.triggered_at,
        lower_price,
        upper_price,
        percent,
        repeat: repeat(&alert.terms),
        expires_at: alert.expires_at,
        note: alert.note.unwrap_or_default(),
        version: alert.row_version,
    }
}

/// An alert that was made this moment.
pub(crate) fn created(wish: store::Wish, created: store::CreatedAlert) -> Alert {
    alert(store::Alert {
        id: created.id,
        user_id: wish.user_id.get(),
        symbol: wish.symbol.as_str().to_owned(),
        terms: wish.terms,
        status: store::Status::Active,
        version: triggers::Version { revision: 0, generation: 1 },
        row_version: 1,
        created_at: created.created_at,
        triggered_at: None,
        expires_at: wish.expires_at,
        note: wish.note,
    })
}

pub(crate) fn firing(firing: &store::Firing) -> Firing {
    let ConditionMessage { condition, target_price, lower_price, upper_price, percent } =
        firing.condition.into();
    Firing {
        id: firing.id,
        alert_id: firing.alert_id,
        generation: firing.generation,
        user_id: firing.user_id,
        symbol: firing.symbol.clone(),
        condition: condition.into(),
        target_price,
        price: firing.price.get(),
        trade_time: firing.trade_time,
        position: Some(Position {
            log_id: firing.log_id.to_string(),
            partition: firing.partition,
            offset: firing.sequence.offset,
            index: firing.sequence.index,
        }),
        fired_at: firing.fired_at,
        lower_price,
        upper_price,
        percent,
        reference_price: firing.reference.map_or(0.0, market::Price::get),
    }
}
