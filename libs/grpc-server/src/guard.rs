//! What stands around every call: it is counted and timed, its deadline holds, its panic ends it
//! alone.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use metrics::{Counter, Gauge, Histogram};
use service::catalogue;
use tonic::{Code, Status};
use tracing::Instrument;

use crate::span;

const OTHER: &str = "other";

/// gRPC's codes are 0 to 16.
const CODES: usize = 17;

#[derive(Debug)]
pub(crate) struct Guard {
    /// Of a call that brings no deadline, and of one whose own is later.
    timeout: Duration,
    in_flight: Gauge,
    methods: Box<[Method]>,
    other: Method,
}

#[derive(Debug)]
struct Method {
    name: &'static str,
    seconds: Histogram,
    /// Made on first use: most codes are never seen.
    answered: [OnceLock<Counter>; CODES],
}

impl Method {
    fn new(name: &'static str) -> Self {
        let seconds = catalogue::GRPC_REQUEST.with("method", name).histogram();
        Self { name, seconds, answered: Default::default() }
    }

    fn answered(&self, code: Code, elapsed: Duration) {
        self.seconds.record(elapsed.as_secs_f64());
        if let Some(counter) = self.answered.get(code as usize) {
            let make = || {
                let labelled = catalogue::GRPC_REQUESTS.with("method", self.name);
                labelled.with("code", format!("{code:?}")).counter()
            };
            counter.get_or_init(make).increment(1);
        }
    }
}

impl Guard {
    pub(crate) fn new(methods: &[&'static str], timeout: Duration) -> Self {
        Self {
            timeout,
            in_flight: catalogue::GRPC_IN_FLIGHT.gauge(),
            methods: methods.iter().copied().map(Method::new).collect(),
            other: Method::new(OTHER),
        }
    }

    fn method(&self, path: &str) -> &Method {
        let name = path.strip_prefix('/').unwrap_or(path);
        self.methods.iter().find(|method| method.name == name).unwrap_or(&self.other)
    }
}

/// Counts a call out even where its client goes away.
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

/// A stream is timed to its first answer only: its deadline is the client's to keep.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let _in_flight = InFlight::new(&guard.in_flight);
    let method = guard.method(request.uri().path());
    let span = span::of_call(method.name, request.headers());
    let asked = grpc_timeout(request.headers()).unwrap_or(guard.timeout);
    let call = service::contain(next.run(request));
    let call = tokio::time::timeout(asked.min(guard.timeout), call).instrument(span.clone());
    let response = match call.await {
        Ok(Ok(response)) => response,
        Ok(Err(service::Panicked)) => {
            Status::internal("a mistake of the server's; it has been logged").into_http()
        }
        Err(_) => Status::deadline_exceeded("not done within the deadline").into_http(),
    };
    let (code, elapsed) = (code_of(&response), started.elapsed());
    method.answered(code, elapsed);
    span::answered(&span, code);
    span.in_scope(|| {
        tracing::debug!(
            target: "access",
            method = method.name,
            ?code,
            microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "answered"
        );
    });
    response
}

/// An error stands in the head; what went well says so only at its end.
fn code_of(response: &Response) -> Code {
    let status = response.headers().get(Status::GRPC_STATUS);
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// The deadline of the gRPC protocol (PROTOCOL-HTTP2.md): at most eight digits and a unit.
/// tonic's own server answers CANCELLED where it is over; the protocol's word is
/// DEADLINE_EXCEEDED.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&count.len()) || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count = count.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Duration>) {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().expect("a value"));
        assert_eq!(grpc_timeout(&headers), expected, "{text:?}");
    }

    #[test]
    fn a_deadline_is_digits_and_a_unit() {
        check("1H", Some(Duration::from_secs(3_600)));
        check("99999999H", Some(Duration::from_secs(359_999_996_400)));
        check("2M", Some(Duration::from_secs(120)));
        check("3S", Some(Duration::from_secs(3)));
        check("250m", Some(Duration::from_millis(250)));
        check("7u", Some(Duration::from_micros(7)));
        check("0n", Some(Duration::ZERO));
        for bad in ["", "S", "1", "1s", "+1S", "-1S", "1.5S", "123456789S", "1 S", "\u{e9}"] {
            check(bad, None);
        }
    }
}
