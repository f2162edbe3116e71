use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Json};
use market::{Price, Symbol};
use rpc::alert::v1::{Alert, AlertCondition, AlertStatus, CreateAlertRequest, GetAlertsRequest};
use serde::{Deserialize, Serialize};
use tonic::Code;
use url::form_urlencoded;

use crate::Alerts;
use crate::problem::Problem;
use crate::routes::NO_STORE;

/// The most rows that one list holds, and how many it holds where the client names no limit.
const MOST_ROWS: i32 = 10_000;

/// What the names of conditions begin with in the proto file alone.
const CONDITION_PREFIX: &str = "ALERT_CONDITION_";

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[derive(Deserialize)]
struct NewAlertBody {
    user_id: i64,
    symbol: String,
    target_price: f64,
    condition: String,
}

#[derive(Serialize)]
struct CreatedBody {
    alert_id: i64,
    message: String,
}

pub(crate) async fn create(
    State(alerts): State<Arc<Alerts>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<impl IntoResponse, Problem> {
    must_be_json(&headers)?;
    let request = new_alert(&body)?;
    let created = alerts
        .create(request)
        .await
        .map_err(|refusal| refusal.of_an_effect("the alert may have been made"))?;
    let Alert { id, symbol, condition, target_price, .. } = created.alert.unwrap_or_default();
    let condition = condition_name(condition);
    let message = format!("Alert created: {symbol} {condition} ${target_price:.2}");
    Ok((StatusCode::CREATED, Json(CreatedBody { alert_id: id, message })))
}

/// A body without a type is taken for what this path takes: the original asked for none.
fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail: &str| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail);
    if let Some(content_type) = headers.get(CONTENT_TYPE) {
        let media_type = content_type.to_str().unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(unsupported("the body must be application/json: set Content-Type"));
        }
    }
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(unsupported("the body must not be compressed"))
        }
        _ => Ok(()),
    }
}

/// The alert service has the last word on what is a good alert; but what can be seen here is told
/// even while it is away.
fn new_alert(body: &[u8]) -> Result<CreateAlertRequest, Problem> {
    let NewAlertBody { user_id, symbol, target_price, condition } = serde_json::from_slice(body)
        .map_err(|error| bad(format!("the body is not what this path takes: {error}")))?;
    if user_id <= 0 {
        return Err(bad("user_id must be positive"));
    }
    let symbol = Symbol::new(&symbol).map_err(|error| bad(format!("symbol: {error}")))?;
    if Price::new(target_price).is_none() {
        return Err(bad("target_price must be positive"));
    }
    let condition =
        condition_of(&condition).ok_or_else(|| bad("condition must be ABOVE or BELOW"))?;
    Ok(CreateAlertRequest {
        user_id,
        symbol: symbol.as_str().to_owned(),
        condition: condition.into(),
        target_price,
    })
}

fn condition_of(text: &str) -> Option<AlertCondition> {
    let name = format!("{CONDITION_PREFIX}{}", text.to_ascii_uppercase());
    AlertCondition::from_str_name(&name)
        .filter(|condition| *condition != AlertCondition::Unspecified)
}

fn condition_name(condition: i32) -> &'static str {
    let name = AlertCondition::try_from(condition).unwrap_or_default().as_str_name();
    name.strip_prefix(CONDITION_PREFIX).unwrap_or(name)
}

#[derive(Serialize)]
struct AlertBody {
    id: i64,
    user_id: i64,
    symbol: String,
    target_price: f64,
    condition: &'static str,
    triggered: bool,
    /// Unix seconds, as in the original.
    created_at: i64,
}

#[derive(Serialize)]
struct ListBody {
    alerts: Vec<AlertBody>,
    count: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    next_cursor: String,
}

impl From<Alert> for AlertBody {
    fn from(alert: Alert) -> Self {
        Self {
            triggered: alert.status() == AlertStatus::Triggered,
            id: alert.id,
            user_id: alert.user_id,
            symbol: alert.symbol,
            target_price: alert.target_price,
            condition: condition_name(alert.condition),
            created_at: alert.created_at.div_euclid(1_000),
        }
    }
}

pub(crate) async fn list(
    State(alerts): State<Arc<Alerts>>,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    let filter = filter(uri.query().unwrap_or_default())?;
    let has_cursor = !filter.page_token.is_empty();
    let page = alerts.list(filter).await.map_err(|refusal| match refusal.code {
        // All else was checked.
        Code::InvalidArgument if has_cursor => {
            bad("cursor must be the next_cursor of an answer before")
        }
        _ => refusal.into(),
    })?;
    let alerts: Vec<AlertBody> = page.alerts.into_iter().map(AlertBody::from).collect();
    let body = ListBody { count: alerts.len(), alerts, next_cursor: page.next_page_token };
    Ok((NO_STORE, Json(body)))
}

/// The query of a list. Of a parameter that stands twice the first counts, and one without a value
/// is absent: both as in the original.
fn filter(query: &str) -> Result<GetAlertsRequest, Problem> {
    let value = |wanted| {
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        parameters.find_map(|(name, value)| (name == wanted).then_some(value)).unwrap_or_default()
    };
    let user_id = match &*value("user_id") {
        "" => 0,
        text => text
            .parse()
            .ok()
            .filter(|user_id| *user_id >= 0)
            .ok_or_else(|| bad("user_id must be a whole number, 0 or positive"))?,
    };
    let page_size =
        match &*value("limit") {
            "" => MOST_ROWS,
            text => text.parse().ok().filter(|limit| (1..=MOST_ROWS).contains(limit)).ok_or_else(
                || bad(format!("limit must be a whole number from 1 to {MOST_ROWS}")),
            )?,
        };
    // Anything else is not true, as in the original.
    let active_only = matches!(&*value("active_only"), "true" | "1");
    let page_token = value("cursor").into_owned();
    Ok(GetAlertsRequest { user_id, active_only, page_size, page_token })
}
