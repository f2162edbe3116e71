use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;

use crate::guard::BODY_LIMIT;

/// How long a client should wait when a backend is away, in seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error as RFC 9457 wants it told. Its type is `about:blank`: the status says what it is, the
/// detail what to do about it.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

/// Turns an error that a library answered (an over-long body, a timeout, a method that a route
/// does not have) into a problem. One that is JSON already is ours, and stays.
pub(crate) fn normalize(method: &Method, response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|content_type| {
        matches!(content_type.as_bytes(), b"application/json" | b"application/problem+json")
    });
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let detail = match status {
        // axum adds the `Allow` header further out.
        StatusCode::METHOD_NOT_ALLOWED => {
            format!("this path does not answer {method}; the Allow header has what it answers")
        }
        StatusCode::PAYLOAD_TOO_LARGE => format!("the body is longer than {BODY_LIMIT} bytes"),
        StatusCode::SERVICE_UNAVAILABLE => "the request took too long; try again".to_owned(),
        _ => "the request could not be answered".to_owned(),
    };
    Problem::new(status, detail).into_response()
}
