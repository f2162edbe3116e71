//! The table of routes: a route stands here, with the problems that it can answer, and beside its
//! handler what it takes and gives (`#[utoipa::path]`). From both come the OpenAPI document, the
//! routes' metrics and what `/docs` shows; nothing else has to be told of a new route.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
};
use axum::http::{HeaderValue, Method};
use axum::middleware::from_fn_with_state;
use service::Service;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::documentation::{self, Document, fails};
use crate::guard::{Guard, contain, guard};
use crate::live::LAST_EVENT_ID;
use crate::problem::{self, Kind, Problem};
use crate::request_id::X_REQUEST_ID;
use crate::{Alerts, Front, Live, Prices, alert_routes, live, price_routes, probe_routes};

/// A price is old the moment it is sent, and so is a list of alerts.
pub(crate) const NO_STORE: [(HeaderName, HeaderValue); 1] =
    [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];

/// An answer shorter than this is sent as it is: it fits in a packet or two.
const WORTH_COMPRESSING: u64 = 1_024;

/// How long a browser may remember what it was allowed.
const CORS_MAX_AGE: Duration = Duration::from_secs(3_600);

/// How requests are treated, whatever their route.
#[derive(Clone, Debug)]
pub struct Policy {
    /// From a request's head to its answer.
    pub request_timeout: Duration,
    /// The origins whose pages may read answers: none, some, or `*`.
    pub cors_origins: Vec<String>,
}

/// Every route of the gateway, guarded.
pub fn router(
    prices: Arc<Prices>,
    alerts: Arc<Alerts>,
    live: Arc<Live>,
    service: &Service,
    policy: &Policy,
) -> Front {
    let intervals: Vec<_> = live.intervals().collect();
    let at_once = Arc::clone(&prices);
    let (routes, mut api) = table(prices, alerts, live, service.clone()).split_for_parts();
    documentation::tell_parameters(&mut api, &intervals);
    let guarding = Arc::new(Guard::new(api.paths.paths.keys().cloned()));
    let routes = routes
        .with_state(Arc::new(Document::new(&api)))
        .fallback(no_such_path)
        .layer(from_fn_with_state(policy.request_timeout, contain));
    let guarded = |routes: Router| {
        Front::from(routes.layer(from_fn_with_state(Arc::clone(&guarding), guard)))
    };
    // That layer has a word to say on every answer.
    if policy.cors_origins.is_empty() {
        guarded(routes).with_prices(guarding, at_once)
    } else {
        guarded(routes.layer(cors(&policy.cors_origins)))
    }
}

/// A line a route. A list is compressed where its client likes, and what is small never.
fn table(
    prices: Arc<Prices>,
    alerts: Arc<Alerts>,
    live: Arc<Live>,
    service: Service,
) -> OpenApiRouter<Arc<Document>> {
    use Kind::{
        AlertsAway, AlertsFailed, AlertsLate, AlertsOld, BadBody, BadHeader, BadId, BadQuery,
        BadSymbol, Conflict, DamagedPrice, Forbidden, NoSuchPath, OtherVersion, PricesAway,
        Refused, SlowBody, TooMany, Unauthorized, UnknownAlert, UnknownSymbol, UnsupportedBody,
    };
    // What any call to the alert service can come to.
    const CALL: &[Kind] = &[
        Refused,
        Unauthorized,
        Forbidden,
        UnknownAlert,
        Conflict,
        TooMany,
        AlertsFailed,
        AlertsOld,
        AlertsAway,
        AlertsLate,
    ];
    const BODY: &[Kind] = &[BadBody, SlowBody, UnsupportedBody];
    // Of one alert, by its id.
    const ONE: &[Kind] = &[BadId, BadQuery];
    // Where its version may be named.
    const OF_VERSION: &[Kind] = &[BadHeader, OtherVersion];

    const OF_SYMBOL: &[Kind] = &[BadSymbol, BadQuery, UnknownSymbol, PricesAway, DamagedPrice];

    let of_prices = OpenApiRouter::new()
        .routes(fails(
            routes!(price_routes::price),
            &[&[BadSymbol, UnknownSymbol, PricesAway, DamagedPrice]],
        ))
        .routes(compressed(fails(
            routes!(price_routes::prices),
            &[&[BadQuery, PricesAway, DamagedPrice]],
        )))
        .routes(compressed(fails(
            routes!(price_routes::symbols),
            &[&[BadQuery, PricesAway, DamagedPrice]],
        )))
        .routes(compressed(fails(routes!(price_routes::ticks), &[OF_SYMBOL])))
        .routes(compressed(fails(routes!(price_routes::candles), &[OF_SYMBOL])))
        .with_state(prices);
    let of_streams = OpenApiRouter::new()
        .routes(fails(routes!(live::stream), &[&[BadQuery, TooMany]]))
        .routes(fails(routes!(live::websocket), &[&[BadQuery, TooMany, Forbidden]]))
        .with_state(live);
    let of_alerts = OpenApiRouter::new()
        .routes(compressed(fails(routes!(alert_routes::list), &[&[BadQuery], CALL])))
        .routes(fails(routes!(alert_routes::create), &[BODY, CALL]))
        .routes(fails(routes!(alert_routes::get), &[ONE, CALL]))
        .routes(fails(routes!(alert_routes::patch), &[ONE, BODY, OF_VERSION, CALL]))
        .routes(fails(routes!(alert_routes::delete), &[ONE, OF_VERSION, CALL]))
        .routes(fails(routes!(alert_routes::pause), &[ONE, OF_VERSION, CALL]))
        .routes(fails(routes!(alert_routes::resume), &[ONE, OF_VERSION, CALL]))
        .routes(fails(routes!(alert_routes::rearm), &[ONE, OF_VERSION, CALL]))
        .routes(compressed(fails(routes!(alert_routes::firings_of_alert), &[ONE, CALL])))
        .routes(compressed(fails(routes!(alert_routes::firings), &[&[BadQuery], CALL])))
        .with_state(alerts);
    let probes = OpenApiRouter::new()
        .routes(fails(routes!(probe_routes::health), &[]))
        .routes(fails(routes!(probe_routes::livez), &[]))
        .routes(fails(routes!(probe_routes::readyz), &[]))
        .with_state(service);
    OpenApiRouter::with_openapi(documentation::about())
        .merge(of_prices)
        .merge(of_streams)
        .merge(of_alerts)
        .merge(probes)
        .routes(fails(routes!(documentation::openapi), &[]))
        .routes(fails(routes!(documentation::start), &[]))
        .routes(fails(routes!(documentation::page), &[]))
        .routes(fails(routes!(documentation::file), &[&[NoSuchPath]]))
        .routes(fails(routes!(problem::of_all), &[]))
        .routes(fails(routes!(problem::of_one), &[&[NoSuchPath]]))
}

fn compressed<S: Clone + Send + Sync + 'static>(
    routes: UtoipaMethodRouter<S>,
) -> UtoipaMethodRouter<S> {
    let layer = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(WORTH_COMPRESSING));
    routes.layer(layer)
}

fn cors(origins: &[String]) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, X_REQUEST_ID, LAST_EVENT_ID])
        .expose_headers([ETAG, LOCATION, RETRY_AFTER, X_REQUEST_ID])
        .max_age(CORS_MAX_AGE);
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(Any);
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    layer.allow_origin(AllowOrigin::list(origins))
}

async fn no_such_path() -> Problem {
    Problem::new(Kind::NoSuchPath, "there is nothing at this path")
}
