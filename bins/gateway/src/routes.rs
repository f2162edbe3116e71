use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json};
use axum::routing::{get, post};
use market::Symbol;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use service::Service;
use speed::{LatestPrice, ReadError};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::alert_routes;
use crate::guard::{BODY_LIMIT, HttpMetrics, guard};
use crate::problem::Problem;
use crate::{Alerts, Live, Prices, live};

const HEALTH: &str = "/health";
const PRICE: &str = "/price/{symbol}";
const ALERTS: &str = "/alerts";
const ALERT: &str = "/alerts/{id}";
const PAUSE: &str = "/alerts/{id}/pause";
const RESUME: &str = "/alerts/{id}/resume";
const REARM: &str = "/alerts/{id}/rearm";
const FIRINGS_OF_ALERT: &str = "/alerts/{id}/firings";
const FIRINGS: &str = "/firings";
const STREAM: &str = "/stream";
const PRICE_PREFIX: &str = "/price/";

/// A price is old the moment it is sent, and so is a list of alerts.
pub(crate) const NO_STORE: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

/// Every route of the gateway, guarded. `timeout` bounds a request from its head to its answer.
pub fn router(
    prices: Arc<Prices>,
    alerts: Arc<Alerts>,
    live: Arc<Live>,
    service: &Service,
    timeout: Duration,
) -> Router {
    let metrics = Arc::new(HttpMetrics::new(&[
        HEALTH,
        PRICE,
        ALERTS,
        ALERT,
        PAUSE,
        RESUME,
        REARM,
        FIRINGS_OF_ALERT,
        FIRINGS,
        STREAM,
        "/livez",
        "/readyz",
    ]));
    let of_alerts = Router::new()
        .route(ALERTS, get(alert_routes::list).post(alert_routes::create))
        .route(
            ALERT,
            get(alert_routes::get).patch(alert_routes::patch).delete(alert_routes::delete),
        )
        .route(PAUSE, post(alert_routes::pause))
        .route(RESUME, post(alert_routes::resume))
        .route(REARM, post(alert_routes::rearm))
        .route(FIRINGS_OF_ALERT, get(alert_routes::firings_of_alert))
        .route(FIRINGS, get(alert_routes::firings))
        .with_state(alerts);
    Router::new()
        .route(HEALTH, get(health))
        .route(PRICE, get(price))
        .with_state(prices)
        .merge(of_alerts)
        .merge(Router::new().route(STREAM, get(live::stream)).with_state(live))
        .merge(service::probes(service))
        .fallback(no_such_path)
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, timeout))
        .layer(from_fn_with_state(metrics, guard))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
}

async fn health() -> Json<Health> {
    Json(Health { status: "ok", service: "gateway" })
}

async fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path")
}

/// The original's three fields, then what it did not keep.
#[derive(Serialize)]
struct PriceBody {
    symbol: String,
    price: f64,
    /// Exchange time, Unix milliseconds.
    timestamp: i64,
    volume: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<DayBody>,
}

/// The UTC day of the latest trade.
#[derive(Serialize)]
struct DayBody {
    /// Unix milliseconds.
    start: i64,
    open: f64,
    high: f64,
    low: f64,
    volume: f64,
}

impl From<LatestPrice> for PriceBody {
    fn from(latest: LatestPrice) -> Self {
        let day = latest.day.map(|day| DayBody {
            start: day.start_ms,
            open: day.open,
            high: day.high,
            low: day.low,
            volume: day.volume,
        });
        Self {
            symbol: latest.symbol.as_str().to_owned(),
            price: latest.price,
            timestamp: latest.timestamp,
            volume: latest.volume,
            day,
        }
    }
}

async fn price(State(prices): State<Arc<Prices>>, uri: Uri) -> Result<impl IntoResponse, Problem> {
    let symbol = symbol_of(&uri)?;
    match prices.latest(&symbol).await {
        Ok(Some(latest)) => Ok((NO_STORE, Json(PriceBody::from(latest)))),
        Ok(None) => {
            let detail = format!("no trade of {symbol} has been seen");
            Err(Problem::new(StatusCode::NOT_FOUND, detail))
        }
        Err(ReadError::Unavailable(_)) => {
            let detail = "the store of prices is away; try again";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
        Err(ReadError::Foreign { .. }) => {
            let detail = "what is stored of this symbol is damaged; it has been logged";
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
        }
    }
}

/// The symbol in the path, where `:`, `/` and spaces may be percent-encoded. Decoded here and not
/// by axum, which passes a `%` that encodes nothing on as it stands.
fn symbol_of(uri: &Uri) -> Result<Symbol, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let encoded = uri.path().strip_prefix(PRICE_PREFIX).unwrap_or_default();
    let whole = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !encoded.split('%').skip(1).all(whole) {
        return Err(bad("a % in a path must be followed by two hexadecimal digits".to_owned()));
    }
    let symbol = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| bad("the symbol is not UTF-8".to_owned()))?;
    Symbol::new(&symbol).map_err(|error| bad(error.to_string()))
}
