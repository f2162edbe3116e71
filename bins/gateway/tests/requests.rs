//! A table of requests, good and bad, each with its answer. Redis is away: what a request is worth
//! is decided before Redis is asked.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Request, Response};
use gateway::Prices;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use service::Service;
use tower::ServiceExt;

fn router_at(redis: &str, redis_timeout: Duration, request_timeout: Duration) -> Router {
    let reader = speed::Reader::new(redis, redis_timeout).expect("an address");
    let service = Service::new("gateway", Duration::from_secs(1));
    gateway::router(Arc::new(Prices::new(reader)), &service, request_timeout)
}

async fn answer(request: Request<Body>) -> (Response<()>, Value) {
    let router = router_at("127.0.0.1:1", Duration::from_millis(200), Duration::from_secs(5));
    answer_of(router, request).await
}

async fn answer_of(router: Router, request: Request<Body>) -> (Response<()>, Value) {
    let response = router.oneshot(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {text:?}"));
    (Response::from_parts(head, ()), body)
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).expect("a request")
}

async fn check_problem(request: Request<Body>, status: u16, title: &str, detail: &str) {
    let what = format!("{} {}", request.method(), request.uri());
    let (head, body) = answer(request).await;
    assert_eq!(head.status(), status, "{what}: {body}");
    assert_eq!(head.headers()[CONTENT_TYPE], "application/problem+json", "{what}");
    let expected =
        json!({"type": "about:blank", "title": title, "status": status, "detail": detail});
    assert_eq!(body, expected, "{what}");
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
        "/",
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
        check_problem(request("GET", path), 404, "Not Found", detail).await;
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
        check_problem(request, 400, "Bad Request", detail).await;
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
        check_problem(request, 503, "Service Unavailable", detail).await;
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_405_with_those_that_it_has() {
    for path in ["/health", "/price/AAPL", "/price/%ZZ", "/livez", "/readyz"] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            let (head, _) = answer(request(method, path)).await;
            assert_eq!(head.headers()[ALLOW], "GET,HEAD", "{method} {path}");
            let detail =
                format!("this path does not answer {method}; the Allow header has what it answers");
            check_problem(request(method, path), 405, "Method Not Allowed", &detail).await;
        }
    }
    check_problem(request("BREW", "/pot"), 404, "Not Found", "there is nothing at this path").await;
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
    assert_eq!(body["detail"], "the request took too long; try again");
}

#[tokio::test]
async fn a_body_past_the_limit_is_413() {
    for (method, path) in [("POST", "/price/AAPL"), ("GET", "/price/AAPL"), ("POST", "/nowhere")] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-length", "65537")
            .body(Body::empty())
            .expect("a request");
        let detail = "the body is longer than 65536 bytes";
        check_problem(request, 413, "Payload Too Large", detail).await;
    }
}
