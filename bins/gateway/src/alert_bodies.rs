//! Alerts and firings as JSON: what the original had under its names, and the rest.

mod whole;

use market::{Price, Symbol};
use rpc::alert::v1::{Alert, AlertCondition, AlertStatus, CreateAlertRequest, Firing, Repeat};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::alert_routes::bad_body;
use crate::alert_schemas;
use crate::problem::{Kind, Problem};
use whole::Whole;

/// What the names of conditions begin with in the proto file alone.
const CONDITION_PREFIX: &str = "ALERT_CONDITION_";
const STATUS_PREFIX: &str = "ALERT_STATUS_";

#[derive(Deserialize)]
pub(crate) struct NewAlertBody {
    user_id: Whole,
    symbol: String,
    condition: String,
    #[serde(flatten)]
    prices: PricesBody,
    #[serde(default)]
    repeat: Option<RepeatBody>,
    #[serde(default)]
    expires_at: Option<Whole>,
    #[serde(default)]
    note: Option<String>,
}

/// What a condition takes of these.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
pub(crate) struct PricesBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_price: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lower_price: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upper_price: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    percent: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = Repeat)]
pub(crate) struct RepeatBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    cooldown_ms: Option<Whole>,
    #[serde(default)]
    hysteresis_percent: f64,
}

impl From<RepeatBody> for Repeat {
    fn from(body: RepeatBody) -> Self {
        let RepeatBody { cooldown_ms, hysteresis_percent } = body;
        Self { cooldown_ms: cooldown_ms.map(|Whole(number)| number), hysteresis_percent }
    }
}

impl PricesBody {
    fn of(target_price: f64, lower_price: f64, upper_price: f64, percent: f64) -> Self {
        let given = |number: f64| (number != 0.0).then_some(number);
        Self {
            target_price: given(target_price),
            lower_price: given(lower_price),
            upper_price: given(upper_price),
            percent: given(percent),
        }
    }

    fn is_empty(&self) -> bool {
        let Self { target_price, lower_price, upper_price, percent } = self;
        [target_price, lower_price, upper_price, percent].iter().all(|number| number.is_none())
    }
}

impl NewAlertBody {
    /// The alert service has the last word on what is a good alert; but what can be seen here is
    /// told even while it is away.
    pub(crate) fn check(self) -> Result<CreateAlertRequest, Problem> {
        let Self { user_id, symbol, condition, prices, repeat, expires_at, note } = self;
        let Whole(user_id) = user_id;
        if user_id <= 0 {
            return Err(bad_body("user_id must be positive"));
        }
        let symbol = Symbol::new(&symbol).map_err(|error| bad_body(format!("symbol: {error}")))?;
        let condition = condition_of(&condition)?;
        if takes(condition) == Takes::Target {
            let Some(price) = prices.target_price else {
                return Err(bad_body(
                    "the body is not what this path takes: target_price is missing",
                ));
            };
            if Price::new(price).is_none() {
                return Err(bad_body("target_price must be positive"));
            }
        }
        Ok(CreateAlertRequest {
            user_id,
            symbol: symbol.as_str().to_owned(),
            condition: condition.into(),
            target_price: prices.target_price.unwrap_or_default(),
            lower_price: prices.lower_price.unwrap_or_default(),
            upper_price: prices.upper_price.unwrap_or_default(),
            percent: prices.percent.unwrap_or_default(),
            repeat: repeat.map(Into::into),
            expires_at: expires_at.map(|Whole(time)| time),
            note: note.unwrap_or_default(),
        })
    }
}

/// Which of the prices a condition takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Target,
    Bounds,
    Percent,
}

fn takes(condition: AlertCondition) -> Takes {
    use AlertCondition::{
        Above, Below, Crosses, CrossesAbove, CrossesBelow, EntersRange, LeavesRange,
    };
    match condition {
        Above | Below | CrossesAbove | CrossesBelow | Crosses => Takes::Target,
        EntersRange | LeavesRange => Takes::Bounds,
        _ => Takes::Percent,
    }
}

pub(crate) fn condition_of(text: &str) -> Result<AlertCondition, Problem> {
    let name = format!("{CONDITION_PREFIX}{}", text.to_ascii_uppercase());
    AlertCondition::from_str_name(&name)
        .filter(|condition| *condition != AlertCondition::Unspecified)
        .ok_or_else(|| {
            bad_body(
                "condition must be ABOVE or BELOW, or CROSSES_ABOVE, CROSSES_BELOW, CROSSES, \
                 ENTERS_RANGE, LEAVES_RANGE, RISES_PERCENT, FALLS_PERCENT, TRAILING_DROP, \
                 TRAILING_RISE",
            )
        })
}

fn condition_name(condition: i32) -> &'static str {
    let name = AlertCondition::try_from(condition).unwrap_or_default().as_str_name();
    name.strip_prefix(CONDITION_PREFIX).unwrap_or(name)
}

pub(crate) fn status_of(text: &str) -> Result<AlertStatus, Problem> {
    let name = format!("{STATUS_PREFIX}{}", text.to_ascii_uppercase());
    AlertStatus::from_str_name(&name)
        .filter(|status| !matches!(status, AlertStatus::Unspecified | AlertStatus::Deleted))
        .ok_or_else(|| {
            Problem::new(Kind::BadQuery, "status must be ACTIVE, PAUSED, TRIGGERED or EXPIRED")
        })
}

#[derive(Serialize, ToSchema)]
#[schema(as = CreatedAlert)]
pub(crate) struct CreatedBody {
    alert_id: i64,
    message: String,
}

impl From<Alert> for CreatedBody {
    /// The original's sentence where it is one of the original's alerts.
    fn from(alert: Alert) -> Self {
        let Alert { id, ref symbol, condition, target_price, lower_price, upper_price, .. } = alert;
        let percent = alert.percent;
        let name = condition_name(condition);
        let what = match takes(AlertCondition::try_from(condition).unwrap_or_default()) {
            Takes::Target => format!("${target_price:.2}"),
            Takes::Bounds => format!("${lower_price:.2} to ${upper_price:.2}"),
            Takes::Percent => format!("{percent}%"),
        };
        Self { alert_id: id, message: format!("Alert created: {symbol} {name} {what}") }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Alert)]
pub(crate) struct AlertBody {
    id: i64,
    user_id: i64,
    symbol: String,
    #[serde(flatten)]
    prices: PricesBody,
    #[schema(schema_with = alert_schemas::condition)]
    condition: &'static str,
    triggered: bool,
    /// Unix seconds, as in the original; the other times are milliseconds.
    created_at: i64,
    #[schema(schema_with = alert_schemas::status)]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat: Option<RepeatBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    triggered_at: Option<i64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    note: String,
    generation: i32,
    version: i64,
}

impl From<Alert> for AlertBody {
    fn from(alert: Alert) -> Self {
        let status = alert.status();
        let name = status.as_str_name();
        let Alert { target_price, lower_price, upper_price, percent, .. } = alert;
        let repeat = alert.repeat.map(|Repeat { cooldown_ms, hysteresis_percent }| RepeatBody {
            cooldown_ms: cooldown_ms.map(Whole),
            hysteresis_percent,
        });
        Self {
            triggered: status == AlertStatus::Triggered,
            status: name.strip_prefix(STATUS_PREFIX).unwrap_or(name),
            id: alert.id,
            user_id: alert.user_id,
            symbol: alert.symbol,
            prices: PricesBody::of(target_price, lower_price, upper_price, percent),
            condition: condition_name(alert.condition),
            created_at: alert.created_at.div_euclid(1_000),
            repeat,
            expires_at: alert.expires_at,
            triggered_at: alert.triggered_at,
            note: alert.note,
            generation: alert.generation,
            version: alert.version,
        }
    }
}

/// What of an alert becomes otherwise (RFC 7396): a field that is absent stays, `null` removes.
#[derive(Deserialize)]
pub(crate) struct PatchBody {
    #[serde(default)]
    condition: Option<String>,
    #[serde(flatten)]
    prices: PricesBody,
    #[serde(default, deserialize_with = "present")]
    repeat: Option<Option<RepeatBody>>,
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Option<Whole>>,
    #[serde(default, deserialize_with = "present")]
    note: Option<Option<String>>,
}

/// A field that is there, `null` or not.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl PatchBody {
    /// Puts what it says into an alert; returns which fields that changes.
    pub(crate) fn apply(self, alert: &mut Alert) -> Result<Vec<String>, Problem> {
        let Self { condition, prices, repeat, expires_at, note } = self;
        let mut paths = Vec::new();
        let kind = condition.as_deref().map(condition_of).transpose()?;
        if kind.is_some() || !prices.is_empty() {
            let kind = kind.unwrap_or(alert.condition());
            if takes(kind) != takes(alert.condition()) {
                (alert.target_price, alert.lower_price) = (0.0, 0.0);
                (alert.upper_price, alert.percent) = (0.0, 0.0);
            }
            alert.condition = kind.into();
            let PricesBody { target_price, lower_price, upper_price, percent } = prices;
            for (field, given) in [
                (&mut alert.target_price, target_price),
                (&mut alert.lower_price, lower_price),
                (&mut alert.upper_price, upper_price),
                (&mut alert.percent, percent),
            ] {
                *field = given.unwrap_or(*field);
            }
            paths.push("condition".to_owned());
        }
        if let Some(repeat) = repeat {
            alert.repeat = repeat.map(Into::into);
            paths.push("repeat".to_owned());
        }
        if let Some(expires_at) = expires_at {
            alert.expires_at = expires_at.map(|Whole(time)| time);
            paths.push("expires_at".to_owned());
        }
        if let Some(note) = note {
            alert.note = note.unwrap_or_default();
            paths.push("note".to_owned());
        }
        if paths.is_empty() {
            return Err(bad_body(
                "the body changes nothing: condition and what it takes, repeat, \
                            expires_at or note can be changed",
            ));
        }
        Ok(paths)
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Firing)]
pub(crate) struct FiringBody {
    id: i64,
    alert_id: i64,
    generation: i32,
    user_id: i64,
    symbol: String,
    #[schema(schema_with = alert_schemas::condition)]
    condition: &'static str,
    #[serde(flatten)]
    prices: PricesBody,
    /// Of the trade.
    price: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_price: Option<f64>,
    /// When the exchange says that the trade happened.
    trade_time: i64,
    fired_at: i64,
    position: PositionBody,
}

/// Of the trade, on the log.
#[derive(Serialize, ToSchema)]
#[schema(as = Position)]
struct PositionBody {
    log_id: String,
    partition: i32,
    offset: i64,
    index: u32,
}

impl From<Firing> for FiringBody {
    fn from(firing: Firing) -> Self {
        let Firing { target_price, lower_price, upper_price, percent, .. } = firing;
        let position = firing.position.unwrap_or_default();
        Self {
            id: firing.id,
            alert_id: firing.alert_id,
            generation: firing.generation,
            user_id: firing.user_id,
            symbol: firing.symbol,
            condition: condition_name(firing.condition),
            prices: PricesBody::of(target_price, lower_price, upper_price, percent),
            price: firing.price,
            reference_price: (firing.reference_price != 0.0).then_some(firing.reference_price),
            trade_time: firing.trade_time,
            fired_at: firing.fired_at,
            position: PositionBody {
                log_id: position.log_id,
                partition: position.partition,
                offset: position.offset,
                index: position.index,
            },
        }
    }
}
