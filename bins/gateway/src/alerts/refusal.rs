//! The one place where a gRPC status becomes a problem, and so an HTTP status.

use std::error::Error;
use std::fmt;
use std::iter::successors;

use tonic::{Code, ConnectError, Status, TimeoutExpired};

use crate::problem::{Kind, Problem};

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
            return Self { code, message, may_be_done: kind_of(code).status().is_server_error() };
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
        kind_of(self.code).status().is_server_error()
    }

    /// Whether it is a request's field that is refused.
    pub(crate) fn is_about(&self, field: &str) -> bool {
        self.message.strip_prefix(field).is_some_and(|rest| rest.starts_with(':'))
    }

    /// For a change of an alert at a version that its client named, if it did.
    pub(crate) fn of_a_change(self, version: Option<i64>) -> Problem {
        if version.is_some() && self.code == Code::Aborted {
            return Problem::new(Kind::OtherVersion, self.message);
        }
        self.of_an_effect("the alert may have been changed")
    }

    /// For a call that is not repeated: says so where it may have had its effect.
    pub(crate) fn of_an_effect(self, effect: &str) -> Problem {
        if !self.may_be_done {
            return self.into();
        }
        let kind = kind_of(self.code);
        let what = match kind {
            // Not "try again".
            Kind::AlertsAway => "the alert service could not finish the call",
            kind => detail(kind),
        };
        Problem::new(kind, format!("{what}; {effect}"))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = kind_of(refusal.code);
        // What a service says of its own trouble is for the log.
        if kind.status().is_client_error() && !refusal.message.is_empty() {
            return Self::new(kind, refusal.message);
        }
        Self::new(kind, detail(kind))
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
fn kind_of(code: Code) -> Kind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => Kind::Refused,
        Code::Unauthenticated => Kind::Unauthorized,
        Code::PermissionDenied => Kind::Forbidden,
        Code::NotFound => Kind::UnknownAlert,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => Kind::Conflict,
        Code::ResourceExhausted => Kind::TooMany,
        Code::Unimplemented => Kind::AlertsOld,
        Code::Cancelled | Code::Unavailable => Kind::AlertsAway,
        Code::DeadlineExceeded => Kind::AlertsLate,
        // An error that is none is a mistake, too.
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Kind::AlertsFailed,
    }
}

fn detail(kind: Kind) -> &'static str {
    match kind {
        Kind::AlertsAway => "the alert service is away; try again",
        Kind::AlertsLate => "the alert service did not answer in time",
        Kind::TooMany => "the alert service is busy; try again",
        Kind::AlertsOld => "the alert service does not know this call",
        kind if kind.status().is_client_error() => "the alert service refused the request",
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
            [500, 503, 500, 400, 504, 404, 409, 403, 429, 409, 409, 400, 501, 500, 503, 500, 401];
        for (code, status) in statuses.into_iter().enumerate() {
            let code = Code::from_i32(i32::try_from(code).expect("small"));
            assert_eq!(kind_of(code).status(), status, "{code:?}");
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
