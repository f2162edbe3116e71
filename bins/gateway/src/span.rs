//! Requests and what they ask of others as spans, by OpenTelemetry's semantic conventions.

use std::fmt;

use axum::extract::Request;
use axum::http::StatusCode;
use service::traces;
use tonic::{Code, Response, Status};
use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use crate::alerts::Refusal;
use crate::guard::{OTHER, method_label};

/// How much of a path a span repeats, in bytes: an invented one may be as long as a head.
const LONGEST_PATH: usize = 256;

/// The span of a request that this route matched: a child of whatever the client's headers name.
/// Probes have none: they come every few seconds, and say nothing.
pub(crate) fn of_request(route: Option<&str>, id: &str, request: &Request) -> Span {
    if matches!(route, Some("/health" | "/livez" | "/readyz")) {
        return Span::none();
    }
    let path = request.uri().path();
    // As the conventions call a method that a client made up.
    let method = match method_label(request.method()) {
        OTHER => "_OTHER",
        known => known,
    };
    let span = tracing::info_span!(
        target: traces::TARGET,
        "HTTP",
        otel.name = %Name(method, route),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        gostocks.request_id = id,
        url.path = path.get(..LONGEST_PATH).unwrap_or(path),
        url.scheme = "http",
        otel.status_code = Empty,
    );
    traces::adopt(&span, request.headers());
    span
}

/// `GET /price/{symbol}`, or the method alone: a path that nothing matched is anyone's to invent.
struct Name<'a>(&'static str, Option<&'a str>);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(method, route) = self;
        match route {
            Some(route) => write!(f, "{method} {route}"),
            None => write!(f, "{method}"),
        }
    }
}

pub(crate) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// The span of one call to the alert service, where a request asks for it: what the gateway asks
/// for by itself is nobody's trace.
pub(crate) fn of_call(method: &'static str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(
        target: traces::TARGET,
        "grpc",
        otel.name = %format_args!("{SERVICE}/{method}"),
        otel.kind = "client",
        rpc.system = "grpc",
        rpc.service = SERVICE,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

const SERVICE: &str = "gostocks.alert.v1.AlertService";

/// Makes the call within its span, which then has what came of it. A call that is given up before
/// it is answered says so by having no code.
pub(crate) async fn within<T>(
    span: Span,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    let answer = call.instrument(span.clone()).await;
    let code = match &answer {
        Ok(_) => Code::Ok,
        Err(status) if span.is_disabled() => status.code(),
        Err(status) => {
            let refusal = Refusal::new(status);
            span.record("otel.status_code", "ERROR");
            span.record("otel.status_description", display(&refusal));
            refusal.code
        }
    };
    span.record("rpc.grpc.status_code", i32::from(code));
    answer
}
