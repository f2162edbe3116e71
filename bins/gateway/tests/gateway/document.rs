//! Holds every answer that a test sees to the OpenAPI document: an operation gives only the
//! statuses that it says, and only the problems.

use std::sync::OnceLock;

use axum::body::Body;
use axum::http::Request;
use gateway::Front;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// The document of `router`; all routers of a test program have the same.
pub(crate) async fn document(router: &Front) -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    if let Some(document) = DOCUMENT.get() {
        return document;
    }
    let request = Request::get("/openapi.json").header("host", "x").body(Body::empty());
    let response = router.clone().oneshot(request.expect("a request")).await.expect("an answer");
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    let document = serde_json::from_slice(&bytes).expect("JSON");
    DOCUMENT.get_or_init(|| document)
}

/// Whether the document has this answer to `method path`.
#[track_caller]
pub(crate) fn check(document: &Value, method: &str, path: &str, status: u16, body: &Value) {
    let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/"));
    let what = format!("{method} {path}: {status} {}", kind.unwrap_or_default());
    let Some(operations) = operations(document, path) else {
        // No route: what the guard refuses, or that there is none.
        let kinds = ["no-such-path", "bad-request", "body-too-long", "uri-too-long"];
        assert!(kind.is_some_and(|kind| kinds.contains(&kind)), "{what}: no such path");
        return;
    };
    let method = if method == "HEAD" { "GET" } else { method };
    let Some(operation) = operations.get(method.to_ascii_lowercase()) else {
        let kinds = ["method-not-allowed", "bad-request", "body-too-long", "uri-too-long"];
        assert!(kind.is_some_and(|kind| kinds.contains(&kind)), "{what}: no such operation");
        return;
    };
    let response = &operation["responses"][status.to_string()];
    assert!(response.is_object(), "{what}: not documented");
    if let Some(kind) = kind {
        let documented = &response["content"]["application/problem+json"]["examples"][kind];
        assert_eq!(documented["value"]["type"], body["type"], "{what}: not documented");
        assert_eq!(documented["value"]["title"], body["title"], "{what}: not its title");
        assert_eq!(body["status"], status, "{what}");
    }
}

/// The operations at a path; one spelled as it stands goes before one with a place for anything.
fn operations<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    let paths = document["paths"].as_object().expect("paths");
    let matches = |template: &str| {
        let (wanted, given) = (template.split('/'), path.split('/'));
        wanted.clone().count() == given.clone().count()
            && wanted.zip(given).all(|(wanted, given)| {
                wanted == given || (wanted.starts_with('{') && !given.is_empty())
            })
    };
    let (_, operations) = paths.iter().find(|(template, _)| matches(template))?;
    Some(operations)
}
