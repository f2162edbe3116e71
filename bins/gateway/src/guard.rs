//! What stands around every route: it is counted and timed, has an id, its panic ends it alone, it
//! ends in time, its errors are problems.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::{Counter, Gauge, Histogram};
use service::catalogue;
use tracing::Instrument;

use crate::problem::{self, Kind, Problem};
use crate::request_id::{RequestIds, X_REQUEST_ID};
use crate::{body, span};

/// The longest path and query together, in bytes: a hundred symbols of the longest kind fit.
const LONGEST_URI: usize = 8 * 1_024;

/// The label of requests that no route answers: their paths are anyone's to invent, and would
/// make series without bound.
const UNMATCHED: &str = "unmatched";

#[derive(Debug)]
pub(crate) struct Guard {
    in_flight: Gauge,
    routes: HashMap<String, Arc<Route>>,
    unmatched: Arc<Route>,
    ids: RequestIds,
}

#[derive(Debug)]
pub(crate) struct Route {
    name: String,
    seconds: Histogram,
    /// Handles are made on first use: a method and a status are few, but their product is mostly
    /// never seen. Of those that are, the first is nearly always the one: there is nothing to hash.
    requests: RwLock<Vec<(&'static str, StatusCode, Counter)>>,
}

impl Guard {
    pub(crate) fn new(routes: impl IntoIterator<Item = String>) -> Self {
        Self {
            in_flight: catalogue::HTTP_IN_FLIGHT.gauge(),
            routes: routes.into_iter().map(|name| (name.clone(), Route::new(name))).collect(),
            unmatched: Route::new(UNMATCHED.to_owned()),
            ids: RequestIds::new(),
        }
    }
}

impl Route {
    fn new(name: String) -> Arc<Self> {
        let seconds = catalogue::HTTP_REQUEST.with("route", name.clone()).histogram();
        Arc::new(Self { name, seconds, requests: RwLock::default() })
    }

    fn answered(&self, method: &'static str, status: StatusCode, elapsed: Duration) {
        self.seconds.record(elapsed.as_secs_f64());
        let is_it = |known: &&(&str, StatusCode, Counter)| (known.0, known.1) == (method, status);
        let known = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., counter)) = known.iter().find(is_it) {
            counter.increment(1);
            return;
        }
        drop(known);
        let counter = catalogue::HTTP_REQUESTS
            .with("method", method)
            .with("route", self.name.clone())
            .with("status", status.as_str())
            .counter();
        counter.increment(1);
        let mut known = self.requests.write().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|known| is_it(&known)) {
            known.push((method, status, counter));
        }
    }
}

/// Counts a request out even where its client goes away and the answer is never finished.
struct InFlight(Gauge);

impl InFlight {
    fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A request that is not answered yet.
pub(crate) struct Begun {
    started: Instant,
    id: HeaderValue,
    method: &'static str,
    is_chunked: bool,
    _in_flight: InFlight,
}

impl Begun {
    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }
}

impl Guard {
    /// By its template.
    pub(crate) fn route(&self, path: &str) -> Option<&Arc<Route>> {
        self.routes.get(path)
    }

    pub(crate) fn begin(&self, request: &Request) -> Begun {
        Begun {
            started: Instant::now(),
            id: self.ids.of(request.headers()),
            method: method_label(request.method()),
            is_chunked: request.headers().contains_key(TRANSFER_ENCODING),
            _in_flight: InFlight::new(&self.in_flight),
        }
    }

    /// Counts, times and logs an answer, and makes it safe to give. `path` is without its query,
    /// which may hold a key.
    pub(crate) fn end(
        &self,
        begun: Begun,
        route: &Route,
        path: &str,
        mut response: Response,
    ) -> Response {
        let status = response.status();
        let headers = response.headers_mut();
        if begun.is_chunked || status == StatusCode::REQUEST_TIMEOUT {
            // What stands between the client and us may see the end of the body elsewhere: no further
            // request of this connection is believed.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        secure(headers);
        let elapsed = begun.started.elapsed();
        route.answered(begun.method, status, elapsed);
        let (id, method) = (begun.id(), begun.method);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(request_id = id, method, path, "answered 500");
        }
        tracing::debug!(
            target: "access",
            request_id = id,
            method,
            path,
            status = status.as_u16(),
            microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
        headers.insert(X_REQUEST_ID, begun.id);
        response
    }
}

/// The outermost layer of every route.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let begun = guard.begin(&request);
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.and_then(|matched| guard.route(matched.as_str()));
    let uri = request.uri().clone();
    let span = span::of_request(route.map(|route| &*route.name), begun.id(), &request);
    let response = match check(&request) {
        Ok(()) => next.run(request).instrument(span.clone()).await,
        Err(problem) => problem.into_response(),
    };
    span::answered(&span, response.status());
    let route = route.unwrap_or(&guard.unmatched);
    span.in_scope(|| guard.end(begun, route, uri.path(), response))
}

/// The innermost layer: a route's panic is its own, and its time is bounded.
pub(crate) async fn contain(
    State(timeout): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    match tokio::time::timeout(timeout, service::contain(next.run(request))).await {
        Ok(Ok(response)) => problem::normalize(&method, response),
        Ok(Err(service::Panicked)) => {
            let detail = "a mistake of the server's; it has been logged";
            Problem::new(Kind::Internal, detail).into_response()
        }
        Err(_) => Problem::new(Kind::Late, "the request took too long; try again").into_response(),
    }
}

/// What hyper lets pass and nobody should answer.
pub(crate) fn check(request: &Request) -> Result<(), Problem> {
    let bad = |detail: &str| Err(Problem::new(Kind::BadRequest, detail));
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && request.version() == Version::HTTP_11) {
        return bad("a request has one Host");
    }
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return bad("a body has a Content-Length or a Transfer-Encoding, not both");
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > body::LONGEST as u64) {
        return Err(body::too_long());
    }
    if request.uri().path_and_query().is_some_and(|all| all.as_str().len() > LONGEST_URI) {
        let detail = format!("the path and the query are longer than {LONGEST_URI} bytes");
        return Err(Problem::new(Kind::LongUri, detail));
    }
    Ok(())
}

/// An answer is data: a browser must not guess its type, frame it, or run what may stand in it. A
/// page of ours has said already what it needs.
fn secure(headers: &mut HeaderMap) {
    const POLICY: HeaderValue =
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
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
            let guard_state = Arc::new(Guard::new(["/panic".to_owned()]));
            let router = Router::new()
                .route("/panic", get(async || -> () { panic!("on purpose") }))
                .route("/fine", get(async || "fine"))
                .layer(from_fn_with_state(Duration::from_secs(5), contain))
                .layer(from_fn_with_state(guard_state, guard));
            let request = Request::get(path).header(HOST, "x").body(Body::empty());
            router.oneshot(request.expect("a request")).await.expect("an answer")
        }
        let response = answer("/panic").await;
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(answer("/fine").await.status(), 200);
    }
}
