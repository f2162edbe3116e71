//! What the gateway says of itself is what it does: the document has every route and no other,
//! what describes it loads nothing from elsewhere, and every answer has what all have.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, ORIGIN,
};
use axum::http::response::Parts;
use axum::http::{Request, StatusCode};
use gateway::{Alerts, Front, Policy};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use service::Service;
use tower::ServiceExt;

use crate::document;

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

fn router_for(origins: &[&str]) -> Front {
    let reader = speed::Reader::new("127.0.0.1:1", Duration::from_millis(200)).expect("an address");
    let alerts = Alerts::new("127.0.0.1:1", Duration::from_secs(1)).expect("an address");
    let service = Service::new("gateway", Duration::from_secs(1));
    let cors_origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let policy = Policy { request_timeout: Duration::from_secs(5), cors_origins };
    gateway::unfollowed(reader, alerts, &service, &policy)
}

async fn send(
    router: &Front,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (Parts, Bytes) {
    let request = Request::builder().method(method).uri(path).header("host", "gateway");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(Body::empty()).expect("a request");
    let response = router.clone().oneshot(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    (head, body.collect().await.expect("a body").to_bytes())
}

/// The templates of the routes that axum has, by what it prints of them: it has no other way to
/// be asked.
fn routes_of(router: &Front) -> BTreeSet<String> {
    // Where axum keeps the fallback.
    const FALLBACK: [&str; 2] = ["/", "/{*__private__axum_fallback}"];
    let printed = format!("{router:?}");
    let templates = printed.split('"').filter(|text| text.starts_with('/'));
    templates.filter(|text| !FALLBACK.contains(text)).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_document_has_every_route_and_method_and_no_other() {
    let router = router_for(&[]);
    let document = document::document(&router).await;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    let mut documented: BTreeSet<String> = paths.keys().cloned().collect();
    // axum prints it of its fallback, too; below it is asked for as the others are.
    assert!(documented.remove("/"));
    assert_eq!(routes_of(&router), documented);
    let mut ids = BTreeSet::new();
    for (template, operations) in paths {
        // A place for anything holds what no route takes for good.
        let path = template.replace("{id}", "0").replace(['{', '}'], "");
        for method in METHODS {
            let operation = &operations[method.to_ascii_lowercase()];
            let (head, body) = send(&router, method, &path, &[]).await;
            let status = head.status;
            let what = format!("{method} {path}: {status}");
            let is_served = status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(is_served, operation.is_object(), "{what}");
            let body = serde_json::from_slice(&body).unwrap_or_default();
            document::check(document, method, &path, status.as_u16(), &body);
            if is_served {
                let id = operation["operationId"].as_str().expect("an operationId");
                assert!(ids.insert(id), "{id} stands twice");
                assert!(operation["summary"].is_string() && operation["tags"][0].is_string());
                assert!(operation["responses"]["500"].is_object(), "{what}");
            } else {
                let allowed = head.headers[ALLOW].to_str().expect("text").to_ascii_lowercase();
                let allowed: BTreeSet<&str> = allowed.split(',').filter(|m| *m != "head").collect();
                let operations = operations.as_object().expect("operations").keys();
                assert_eq!(allowed, operations.map(String::as_str).collect(), "{what}");
            }
        }
        // Every place in a path is a parameter.
        for operation in operations.as_object().expect("operations").values() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named: BTreeSet<&str> = parameters
                .filter(|parameter| parameter["in"] == "path")
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            let places = template.split(['{', '}']).skip(1).step_by(2);
            assert_eq!(named, places.collect(), "{template}");
        }
    }
}

/// Every `$ref` leads somewhere.
#[tokio::test]
async fn the_document_holds_together() {
    fn check(document: &Value, part: &Value) {
        match part {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let target = reference.strip_prefix('#').expect("a place in the document");
                    assert!(document.pointer(target).is_some(), "{reference}");
                }
                members.values().for_each(|member| check(document, member));
            }
            Value::Array(items) => items.iter().for_each(|item| check(document, item)),
            _ => {}
        }
    }
    let document = document::document(&router_for(&[])).await;
    check(document, document);
}

#[tokio::test]
async fn every_problem_has_a_page() {
    let router = router_for(&[]);
    let document = document::document(&router).await;
    let types = &document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"];
    let types = types.as_array().expect("the catalogue");
    assert!(types.len() > 20);
    let (_, all) = send(&router, "GET", "/problems", &[]).await;
    let all = String::from_utf8_lossy(&all).into_owned();
    for path in types.iter().filter_map(Value::as_str) {
        let (head, page) = send(&router, "GET", path, &[]).await;
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.headers[CONTENT_TYPE], "text/html; charset=utf-8", "{path}");
        assert!(page.starts_with(b"<!doctype html>") && all.contains(path), "{path}");
    }
    assert_eq!(send(&router, "GET", "/problems/none", &[]).await.0.status, 404);
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let router = router_for(&[]);
    let (head, _) = send(&router, "GET", "/", &[]).await;
    assert_eq!(
        (head.status.as_u16(), &head.headers[LOCATION]),
        (307, &"/docs".parse().expect("one"))
    );
    let (head, page) = send(&router, "GET", "/docs", &[]).await;
    let policy = head.headers[CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let page = String::from_utf8_lossy(&page);
    assert!(!page.contains("//"), "{page}");
    let loaded = page.split(['"']).filter(|text| text.starts_with("/docs/"));
    let mut count = 0;
    for path in loaded {
        let (head, whole) = send(&router, "GET", path, &[]).await;
        assert_eq!(head.status, 200, "{path}");
        assert!(!head.headers.contains_key(CONTENT_ENCODING), "{path}");
        let (head, packed) = send(&router, "GET", path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(head.headers[CONTENT_ENCODING], "gzip", "{path}");
        assert!(packed.len() < whole.len() || whole.len() < 200, "{path}");
        count += 1;
    }
    assert_eq!(count, 3);
}

#[tokio::test]
async fn who_has_the_document_is_told_that_it_has_not_changed() {
    let router = router_for(&[]);
    let (head, _) = send(&router, "GET", "/openapi.json", &[]).await;
    let tag = head.headers[ETAG].to_str().expect("text");
    let with = async |tag: &str| {
        let (head, body) =
            send(&router, "GET", "/openapi.json", &[(IF_NONE_MATCH.as_str(), tag)]).await;
        (head.status.as_u16(), body.is_empty())
    };
    assert_eq!(with(tag).await, (304, true));
    assert_eq!(with(&format!("\"other\", {tag}")).await, (304, true));
    assert_eq!(with("W/\"other\"").await, (200, false));
    let (again, _) = send(&router_for(&[]), "GET", "/openapi.json", &[]).await;
    assert_eq!(again.headers[ETAG], tag, "another gateway has the same");
}

#[tokio::test]
async fn every_answer_has_an_id_and_keeps_browsers_safe() {
    let router = router_for(&["https://desk.example"]);
    let mut seen = BTreeSet::new();
    for (method, path) in [
        ("GET", "/health"),
        ("GET", "/nowhere"),
        ("PUT", "/health"),
        ("GET", "/price/%"),
        ("GET", "/price/AAPL"),
        ("POST", "/alerts"),
        ("GET", "/docs"),
        ("OPTIONS", "/alerts"),
    ] {
        let given = [("x-request-id", "abc-1"), ("origin", "https://desk.example")];
        let (head, _) = send(&router, method, path, &given).await;
        assert_eq!(head.headers["x-request-id"], "abc-1", "{method} {path}");
        assert_eq!(head.headers["x-content-type-options"], "nosniff", "{method} {path}");
        assert_eq!(head.headers["referrer-policy"], "no-referrer", "{method} {path}");
        let policy = head.headers[CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(policy.contains("frame-ancestors 'none'"), "{method} {path}");
        for given in [&[][..], &[("x-request-id", "a b")]] {
            let (head, _) = send(&router, method, path, given).await;
            let id = head.headers["x-request-id"].to_str().expect("text").to_owned();
            assert!(id.len() == 32 && seen.insert(id), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn only_the_origins_that_are_set_may_read_answers() {
    let preflight = async |router: &Front, origin: &str| {
        let asked = [(ORIGIN.as_str(), origin), (ACCESS_CONTROL_REQUEST_METHOD.as_str(), "PATCH")];
        send(router, "OPTIONS", "/alerts/1", &asked).await.0
    };
    let none = router_for(&[]);
    let head = preflight(&none, "https://desk.example").await;
    assert_eq!(head.status, 405);
    assert!(!head.headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));

    let one = router_for(&["https://desk.example"]);
    let head = preflight(&one, "https://desk.example").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://desk.example");
    let head = preflight(&one, "https://other.example").await;
    assert!(!head.headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    // An error, too: a page must be able to say what went wrong.
    let asked = [(ORIGIN.as_str(), "https://desk.example")];
    for path in ["/price/AAPL", "/nowhere"] {
        let (head, _) = send(&one, "GET", path, &asked).await;
        assert!(head.status.is_client_error() || head.status.is_server_error());
        assert_eq!(head.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://desk.example", "{path}");
    }
    let (head, _) = send(&router_for(&["*"]), "GET", "/health", &asked).await;
    assert_eq!(head.headers[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
}

#[tokio::test]
async fn what_hyper_lets_pass_is_refused() {
    let router = router_for(&[]);
    let long = format!("/price/AAPL?{}", "x".repeat(8_192));
    for (path, headers, status, kind) in [
        ("/health", &[("host", "another")][..], 400, "bad-request"),
        (
            "/health",
            &[("content-length", "1"), ("transfer-encoding", "chunked")],
            400,
            "bad-request",
        ),
        (&long, &[], 414, "uri-too-long"),
        ("/health", &[("content-length", "9999999")], 413, "body-too-long"),
    ] {
        let (head, body) = send(&router, "GET", path, headers).await;
        let body: Value = serde_json::from_slice(&body).expect("a problem");
        let found = (head.status.as_u16(), &body["type"]);
        assert_eq!(found, (status, &json!(format!("/problems/{kind}"))), "{headers:?}");
    }
    let request = Request::get("/health").body(Body::empty()).expect("a request");
    assert_eq!(router.oneshot(request).await.expect("an answer").status(), 400, "no Host");
}

#[tokio::test]
async fn what_is_small_is_not_compressed() {
    let asked = [(ACCEPT_ENCODING.as_str(), "gzip")];
    let (head, _) = send(&router_for(&[]), "GET", "/alerts", &asked).await;
    assert_eq!(head.status, 503);
    assert!(!head.headers.contains_key(CONTENT_ENCODING));
}
