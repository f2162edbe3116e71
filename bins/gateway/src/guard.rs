//! What stands around every route: it is counted and timed, its panic ends it alone, its errors
//! are problems.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{Counter, Gauge, Histogram};
use service::catalogue;
use tracing::Instrument;

use crate::problem::{self, Problem};
use crate::span;

/// The longest request body, in bytes.
pub(crate) const BODY_LIMIT: usize = 64 * 1_024;

/// The label of requests that no route answers: their paths are anyone's to invent, and would
/// make series without bound.
const UNMATCHED: &str = "unmatched";

/// Handles are made on first use: a route, a method and a status are few, but their product is
/// mostly never seen.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    in_flight: Gauge,
    seconds: HashMap<&'static str, Histogram>,
    requests: RwLock<HashMap<(&'static str, &'static str, StatusCode), Counter>>,
}

impl HttpMetrics {
    pub(crate) fn new(routes: &[&'static str]) -> Self {
        let histogram =
            |route: &'static str| (route, catalogue::HTTP_REQUEST.with("route", route).histogram());
        Self {
            in_flight: catalogue::HTTP_IN_FLIGHT.gauge(),
            seconds: routes.iter().copied().chain([UNMATCHED]).map(histogram).collect(),
            requests: RwLock::default(),
        }
    }

    /// The route by which it was matched. `None`: by none.
    fn route(&self, matched: Option<&MatchedPath>) -> Option<&'static str> {
        let (route, _) = self.seconds.get_key_value(matched?.as_str())?;
        Some(route)
    }

    fn answered(&self, method: &'static str, route: &'static str, status: StatusCode) {
        let key = (method, route, status);
        let known = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(&key) {
            counter.increment(1);
            return;
        }
        drop(known);
        let counter = catalogue::HTTP_REQUESTS
            .with("method", method)
            .with("route", route)
            .with("status", status.as_str())
            .counter();
        counter.increment(1);
        self.requests.write().unwrap_or_else(PoisonError::into_inner).insert(key, counter);
    }
}

/// Counts a request out even where its client goes away and the answer is never finished.
struct InFlight<'a>(&'a Gauge);

impl<'a> InFlight<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

pub(crate) async fn guard(
    State(metrics): State<Arc<HttpMetrics>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let _in_flight = InFlight::new(&metrics.in_flight);
    let method = request.method().clone();
    let route = metrics.route(request.extensions().get::<MatchedPath>());
    // The path only: a query may hold a key.
    let uri = request.uri().clone();
    let span = span::of_request(route, &request);
    let call = service::contain(next.run(request)).instrument(span.clone());
    let response = match call.await {
        Ok(response) => problem::normalize(&method, response),
        Err(service::Panicked) => {
            let detail = "a mistake of the server's; it has been logged";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
    };
    let (method, route) = (method_label(&method), route.unwrap_or(UNMATCHED));
    let status = response.status();
    let elapsed = started.elapsed();
    metrics.answered(method, route, status);
    if let Some(seconds) = metrics.seconds.get(route) {
        seconds.record(elapsed.as_secs_f64());
    }
    span::answered(&span, status);
    span.in_scope(|| {
        tracing::debug!(
            target: "access",
            method,
            path = uri.path(),
            status = status.as_u16(),
            microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
    });
    response
}

/// The label of methods that a client may invent, too.
pub(crate) const OTHER: &str = "other";

pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_is_500_for_its_own_request_alone() {
        async fn answer(path: &str) -> Response {
            let metrics = Arc::new(HttpMetrics::new(&["/panic"]));
            let router = Router::new()
                .route("/panic", get(async || -> () { panic!("on purpose") }))
                .route("/fine", get(async || "fine"))
                .layer(from_fn_with_state(metrics, guard));
            let request = Request::get(path).body(Body::empty()).expect("a request");
            router.oneshot(request).await.expect("an answer")
        }
        let response = answer("/panic").await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(answer("/fine").await.status(), 200);
    }
}
