//! A call as a span, by OpenTelemetry's semantic conventions of RPC server spans.

use axum::http::HeaderMap;
use service::traces;
use tonic::Code;
use tracing::Span;
use tracing::field::Empty;

/// The span of a call of this method, `package.Service/Method`: a child of whatever the caller's
/// headers name. None where it is not kept, and for what is no method of ours: reflection and
/// health are asked for every few seconds, and say nothing.
pub(crate) fn of_call(method: &'static str, headers: &HeaderMap) -> Span {
    let Some((service, method_name)) = method.split_once('/') else { return Span::none() };
    let span = tracing::info_span!(
        target: traces::TARGET,
        "grpc",
        otel.name = method,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method_name,
        rpc.grpc.status_code = Empty,
        otel.status_code = Empty,
    );
    traces::adopt(&span, headers);
    traces::sampled(span)
}

pub(crate) fn answered(span: &Span, code: Code) {
    span.record("rpc.grpc.status_code", i32::from(code));
    if is_the_servers(code) {
        span.record("otel.status_code", "ERROR");
    }
}

/// The codes that the conventions take for an error of a server; the rest is the client's doing.
fn is_the_servers(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}
