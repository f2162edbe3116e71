//! Errors as RFC 9457 wants them told: `type` is one of the [catalogue](Kind), `title` and status
//! are fixed by it, and `detail` says what to do about this one.

mod kind;
mod page;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use kind::Kind;
pub(crate) use page::{__path_of_all, __path_of_one, of_all, of_one};

use crate::body;

/// How long a client should wait when a backend is away, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    pub(crate) fn body(&self) -> ProblemBody<'_> {
        ProblemBody {
            r#type: self.kind.path(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
        }
    }
}

/// What went wrong (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// Which kind of problem, for programs. A path of this server, with a page for people.
    #[schema(schema_with = kind::paths)]
    r#type: &'static str,
    /// The kind in words, always the same.
    title: &'static str,
    /// That of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request, and what to do.
    detail: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let mut response = (status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

/// Turns an error that a library answered (a method that a route does not have) into a problem.
/// One that is JSON already is ours, and stays.
pub(crate) fn normalize(method: &Method, response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|content_type| {
        matches!(content_type.as_bytes(), b"application/json" | b"application/problem+json")
    });
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let problem = match status {
        // axum adds the `Allow` header further out.
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            Kind::MethodNotAllowed,
            format!("this path does not answer {method}; the Allow header has what it answers"),
        ),
        StatusCode::PAYLOAD_TOO_LARGE => body::too_long(),
        status if status.is_client_error() => {
            Problem::new(Kind::BadRequest, "the request could not be answered")
        }
        _ => Problem::new(Kind::Internal, "the request could not be answered"),
    };
    problem.into_response()
}
