//! Request bodies, read whole within bounds of length and time.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::problem::{Kind, Problem};

/// The longest request body, in bytes.
pub(crate) const LONGEST: usize = 64 * 1_024;

/// How long a body may take to come, however steadily it trickles. What a route takes is mostly a
/// few hundred bytes, and the rest of a request's time is its backend's.
const PATIENCE: Duration = Duration::from_secs(2);

/// The body of a request. What every route that takes one has it by: axum's own extractors have no
/// bound on how long a body may take.
#[derive(Debug)]
pub(crate) struct Whole(pub(crate) Bytes);

impl<S: Sync> FromRequest<S> for Whole {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let reading = Limited::new(request.into_body(), LONGEST).collect();
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
            Ok(Err(_)) => Err(Problem::new(Kind::BadBody, "the body did not come as announced")),
            Err(_) => {
                let detail = format!("the body was not there within {PATIENCE:?}");
                Err(Problem::new(Kind::SlowBody, detail))
            }
        }
    }
}

pub(crate) fn too_long() -> Problem {
    Problem::new(Kind::LongBody, format!("the body is longer than {LONGEST} bytes"))
}
