//! The one place where a gRPC status becomes an HTTP status.

use std::error::Error;
use std::fmt;
use std::iter::successors;

use axum::http::StatusCode;
use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::problem::Problem;

/// A call that was not answered well, as the gateway understands it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    /// What the service said, or what became of the connection.
    message: String,
    /// The service may have done what it was asked for: it did not say that it would not.
    may_be_done: bool,
}

impl Refusal {
    /// tonic has a code for what happens to the connection as well, and not always a fitting one:
    /// UNKNOWN or INTERNAL where the peer died, CANCELLED where time was up. But only such a
    /// status has a source: one that came over the wire has none.
    pub(crate) fn new(status: &Status) -> Self {
        let message = status.message().to_owned();
        let Some(source) = status.source() else {
            let code = status.code();
            // A service that lost its database in the middle of a commit does not know, either.
            return Self { code, message, may_be_done: http_status(code).is_server_error() };
        };
        if causes(source).any(|error| error.is::<TimeoutExpired>()) {
            return Self::late();
        }
        let unsent = causes(source).any(|error| error.is::<ConnectError>());
        let message = causes(source).last().map_or(message, ToString::to_string);
        Self { code: Code::Unavailable, message, may_be_done: !unsent }
    }

    /// No answer within the deadline.
    pub(crate) fn late() -> Self {
        let message = "no answer in time".to_owned();
        Self { code: Code::DeadlineExceeded, message, may_be_done: true }
    }

    /// Whether it says something of the service, not of the request.
    pub(crate) fn is_the_services(&self) -> bool {
        http_status(self.code).is_server_error()
    }

    /// Whether it is a request's field that is refused.
    pub(crate) fn is_about(&self, field: &str) -> bool {
        self.message.strip_prefix(field).is_some_and(|rest| rest.starts_with(':'))
    }

    /// For a call that is not repeated: says so where it may have had its effect.
    pub(crate) fn of_an_effect(self, effect: &str) -> Problem {
        if !self.may_be_done {
            return self.into();
        }
        let status = http_status(self.code);
        let what = match status {
            // Not "try again".
            StatusCode::SERVICE_UNAVAILABLE => "the alert service could not finish the call",
            status => detail(status),
        };
        Problem::new(status, format!("{what}; {effect}"))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = http_status(refusal.code);
        // What a service says of its own trouble is for the log.
        if status.is_client_error() && !refusal.message.is_empty() {
            return Self::new(status, refusal.message);
        }
        Self::new(status, detail(status))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

/// An error, and what is behind it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error| (**error).source())
}

/// As `google/rpc/code.proto` maps them, but for two. CANCELLED: its 499 means that the client went
/// away, and here the client is still waiting; it was the service that let go. FAILED_PRECONDITION:
/// the request is a good one, and at odds with the state that the alert is in.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Cancelled | Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn detail(status: StatusCode) -> &'static str {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => "the alert service is away; try again",
        StatusCode::GATEWAY_TIMEOUT => "the alert service did not answer in time",
        StatusCode::TOO_MANY_REQUESTS => "the alert service is busy; try again",
        StatusCode::NOT_IMPLEMENTED => "the alert service does not know this call",
        _ if status.is_client_error() => "the alert service refused the request",
        _ => "the alert service failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[test]
    fn every_code_has_its_http_status() {
        // In the order of their numbers.
        let statuses =
            [200, 503, 500, 400, 504, 404, 409, 403, 429, 409, 409, 400, 501, 500, 503, 500, 401];
        for (code, status) in statuses.into_iter().enumerate() {
            let code = Code::from_i32(i32::try_from(code).expect("small"));
            assert_eq!(http_status(code), status, "{code:?}");
            let problem = Problem::from(Refusal::new(&Status::new(code, "why")));
            assert_eq!(problem.into_response().status(), status, "{code:?}");
        }
    }

    #[test]
    fn what_the_connection_did_is_told_from_what_the_service_said() {
        let lost = || std::io::Error::other("reset by peer");
        let mut status = Status::internal("h2 protocol error");
        assert_eq!(Refusal::new(&status).code, Code::Internal);
        status.set_source(std::sync::Arc::new(lost()));
        let refusal = Refusal::new(&status);
        assert_eq!(refusal.to_string(), "Unavailable: reset by peer");
        assert!(refusal.may_be_done);

        let refused = Status::from_error(Box::new(ConnectError(Box::new(lost()))));
        let refusal = Refusal::new(&refused);
        assert_eq!((refusal.code, refusal.may_be_done), (Code::Unavailable, false));

        let late = Refusal::new(&Status::from_error(Box::new(TimeoutExpired(()))));
        assert_eq!((late.code, late.may_be_done), (Code::DeadlineExceeded, true));
    }
}
