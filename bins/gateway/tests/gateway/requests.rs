//! A table of requests, good and bad, each with its answer. Redis and the alert service are away:
//! what a request is worth is decided before they are asked.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Request, Response};
use gateway::{Alerts, Front, Policy};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use service::Service;
use tower::ServiceExt;

use crate::document;

fn router_at(redis: &str, redis_timeout: Duration, request_timeout: Duration) -> Front {
    let reader = speed::Reader::new(redis, redis_timeout).expect("an address");
    let alerts = Alerts::new("127.0.0.1:1", Duration::from_secs(3)).expect("an address");
    let service = Service::new("gateway", Duration::from_secs(1));
    let policy = Policy { request_timeout, cors_origins: Vec::new() };
    gateway::unfollowed(reader, alerts, &service, &policy)
}

async fn answer(request: Request<Body>) -> (Response<()>, Value) {
    let router = router_at("127.0.0.1:1", Duration::from_millis(200), Duration::from_secs(5));
    answer_of(router, request).await
}

async fn answer_of(router: Front, mut request: Request<Body>) -> (Response<()>, Value) {
    request.headers_mut().insert("host", "gateway".parse().expect("a value"));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let document = document::document(&router).await;
    let response = router.oneshot(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {text:?}"));
    document::check(document, method.as_str(), &path, head.status.as_u16(), &body);
    (Response::from_parts(head, ()), body)
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).expect("a request")
}

/// `document::check` holds its title and status to the catalogue.
async fn check_problem(request: Request<Body>, status: u16, kind: &str, detail: &str) {
    let what = format!("{} {}", request.method(), request.uri());
    let (head, body) = answer(request).await;
    assert_eq!(head.status(), status, "{what}: {body}");
    assert_eq!(head.headers()[CONTENT_TYPE], "application/problem+json", "{what}");
    let found = (&body["type"], &body["detail"]);
    assert_eq!(found, (&json!(format!("/problems/{kind}")), &json!(detail)), "{what}");
    assert_eq!(body.as_object().map(|members| members.len()), Some(4), "{what}: {body}");
    assert_eq!(head.headers().contains_key(RETRY_AFTER), status == 503, "{what}");
}

#[tokio::test]
async fn health_is_the_originals() {
    let (head, body) = answer(request("GET", "/health")).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(body, json!({"status": "ok", "service": "gateway"}));
    let (head, body) = answer(request("GET", "/livez")).await;
    assert_eq!((head.status().as_u16(), body["status"].as_str()), (200, Some("ok")));
    let (head, body) = answer(request("GET", "/readyz")).await;
    assert_eq!(head.status(), 503);
    assert_eq!(body["status"], "not ready");
}

#[tokio::test]
async fn a_path_that_is_not_there_is_404() {
    for path in [
        "/price",
        "/price/",
        "/price/A/B",
        "/prices/AAPL",
        "/Price/AAPL",
        "/health/",
        "//price/AAPL",
        "/price/AAPL/",
        "/metrics",
        "/%70rice/AAPL",
        "/price%2FAAPL",
        "/..%2f..%2fetc%2fpasswd",
    ] {
        let detail = "there is nothing at this path";
        check_problem(request("GET", path), 404, "no-such-path", detail).await;
    }
}

#[tokio::test]
async fn a_bad_symbol_is_400() {
    let percent = "a % in a path must be followed by two hexadecimal digits";
    let control = "a symbol must not contain control characters";
    let long = "a symbol must not be longer than 64 bytes";
    let longest = "X".repeat(65);
    for (symbol, detail) in [
        ("%", percent),
        ("A%2", percent),
        ("A%ZZ", percent),
        ("A%%20", percent),
        ("A%C3%", percent),
        ("%FF", "the symbol is not UTF-8"),
        ("%C3", "the symbol is not UTF-8"),
        ("%ED%A0%80", "the symbol is not UTF-8"),
        ("%00", control),
        ("A%0AB", control),
        ("A%7F", control),
        ("A%C2%85", control),
        (&longest, long),
        (&"%C3%A9".repeat(33), long),
    ] {
        let request = request("GET", &format!("/price/{symbol}"));
        check_problem(request, 400, "bad-symbol", detail).await;
    }
}

#[tokio::test]
async fn while_redis_is_away_a_good_symbol_is_503() {
    for symbol in [
        "AAPL",
        "aapl",
        "BINANCE:BTCUSDT",
        "BINANCE%3ABTCUSDT",
        "IC%20MARKETS:1",
        "BRK%2FB",
        "brk%2fb",
        "A+B",
        "%7BAAPL%7D",
        "%C3%A9",
        "A%25",
        "AAPL?key=secret",
        "..",
    ] {
        let detail = "the store of prices is away; try again";
        let request = request("GET", &format!("/price/{symbol}"));
        check_problem(request, 503, "prices-away", detail).await;
    }
}

async fn check_method(method: &str, path: &str, allowed: &str) {
    let (head, _) = answer(request(method, path)).await;
    assert_eq!(head.headers()[ALLOW], allowed, "{method} {path}");
    let detail =
        format!("this path does not answer {method}; the Allow header has what it answers");
    check_problem(request(method, path), 405, "method-not-allowed", &detail).await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_405_with_those_that_it_has() {
    for path in ["/health", "/price/AAPL", "/price/%ZZ", "/livez", "/readyz"] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            check_method(method, path, "GET,HEAD").await;
        }
    }
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
        check_method(method, "/alerts", "GET,HEAD,POST").await;
    }
    check_problem(request("BREW", "/pot"), 404, "no-such-path", "there is nothing at this path")
        .await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_503() {
    // An address that never answers: the backlog of a listener that accepts nobody.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let request = request("GET", "/price/AAPL");
    let router = router_at(&address, Duration::from_secs(60), Duration::from_millis(50));
    let (head, body) = answer_of(router, request).await;
    assert_eq!(head.status(), 503);
    assert_eq!(head.headers()[RETRY_AFTER], "1");
    assert_eq!(body["type"], "/problems/too-late");
    assert_eq!(body["detail"], "the request took too long; try again");
}

#[tokio::test]
async fn a_body_past_the_limit_is_413() {
    for (method, path) in
        [("POST", "/price/AAPL"), ("GET", "/price/AAPL"), ("POST", "/nowhere"), ("POST", "/alerts")]
    {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-length", "65537")
            .body(Body::empty())
            .expect("a request");
        let detail = "the body is longer than 65536 bytes";
        check_problem(request, 413, "body-too-long", detail).await;
    }
}

fn post(body: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request = Request::post("/alerts");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::from(body.to_owned())).expect("a request")
}

const GOOD: &str =
    r#"{"user_id": 1, "symbol": "AAPL", "target_price": 150.00, "condition": "ABOVE"}"#;

#[tokio::test]
async fn a_bad_alert_is_400() {
    let unreadable = "the body is not what this path takes: ";
    for (good, bad, detail) in [
        (": 1,", ": 0,", "user_id must be positive"),
        (": 1,", ": -1,", "user_id must be positive"),
        (": 1,", ": 1.5,", unreadable),
        (": 1,", r#": "1","#, unreadable),
        (": 1,", ": 9223372036854775808,", unreadable),
        (r#""user_id": 1, "#, "", unreadable),
        (r#""user_id": 1, "#, r#""user_id": 1, "user_id": 2, "#, unreadable),
        ("AAPL", "", "symbol: a symbol must not be empty"),
        ("AAPL", r"A\u0000", "symbol: a symbol must not contain control characters"),
        ("150.00", "0", "target_price must be positive"),
        ("150.00", "-0.01", "target_price must be positive"),
        ("150.00", "1e999", unreadable),
        ("150.00", "null", unreadable),
        ("ABOVE", "ABOVE ", "condition must be ABOVE or BELOW"),
        ("ABOVE", "", "condition must be ABOVE or BELOW"),
        ("ABOVE", "UNSPECIFIED", "condition must be ABOVE or BELOW"),
        ("ABOVE", "CONDITION_ABOVE", "condition must be ABOVE or BELOW"),
        (r#""ABOVE""#, "1", unreadable),
        (GOOD, "", unreadable),
        (GOOD, "null", unreadable),
        (GOOD, "[1, 2]", unreadable),
        (GOOD, r#"{"user_id": 1"#, unreadable),
        ("}", "} {", unreadable),
    ] {
        let body = GOOD.replace(good, bad);
        let (head, answer) = answer(post(&body, &[("content-type", "application/json")])).await;
        assert_eq!(head.status(), 400, "{body}: {answer}");
        assert_eq!(head.headers()[CONTENT_TYPE], "application/problem+json", "{body}");
        let found = answer["detail"].as_str().unwrap_or_default();
        assert!(found.starts_with(detail), "{body}: {found}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_by_its_headers_is_415() {
    for (header, detail) in [
        (("content-type", "text/plain"), "the body must be application/json: set Content-Type"),
        (
            ("content-type", "application/x-www-form-urlencoded"),
            "the body must be application/json: set Content-Type",
        ),
        (("content-encoding", "gzip"), "the body must not be compressed"),
    ] {
        check_problem(post(GOOD, &[header]), 415, "unsupported-body", detail).await;
    }
}

#[tokio::test]
async fn while_the_alert_service_is_away_good_calls_are_503() {
    let detail = "the alert service is away; try again";
    for headers in [
        &[][..],
        &[("content-type", "application/json")],
        &[("content-type", "Application/JSON; charset=utf-8"), ("content-encoding", "identity")],
    ] {
        check_problem(post(GOOD, headers), 503, "alert-service-away", detail).await;
    }
    check_problem(request("GET", "/alerts"), 503, "alert-service-away", detail).await;
}

#[tokio::test]
async fn a_bad_query_is_400() {
    for (query, detail) in [
        ("user_id=x", "user_id must be a whole number, 0 or positive"),
        ("user_id=-1", "user_id must be a whole number, 0 or positive"),
        ("user_id=9223372036854775808", "user_id must be a whole number, 0 or positive"),
        ("limit=0", "limit must be a whole number from 1 to 10000"),
        ("limit=10001", "limit must be a whole number from 1 to 10000"),
        ("limit=ten", "limit must be a whole number from 1 to 10000"),
    ] {
        let request = request("GET", &format!("/alerts?{query}"));
        check_problem(request, 400, "bad-query", detail).await;
    }
}
