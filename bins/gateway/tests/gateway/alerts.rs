//! The gateway before an alert service that answers as each test wants it to, over real gRPC.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_MATCH, LOCATION, RETRY_AFTER,
};
use axum::http::{HeaderMap, Request};
use gateway::{Alerts, Front, Policy};
use http_body_util::BodyExt;
use rpc::alert::v1::{AlertCondition, CreateAlertRequest, GetAlertsRequest, Repeat};
use serde_json::{Value, json};
use service::Service;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tonic::Code;
use tower::ServiceExt;

use crate::document;
use crate::scripted::{Answer, Scripted, serve};

/// How long anything here may take on a busy machine before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

fn router(alerts: SocketAddr, timeout: Duration) -> Front {
    let reader = speed::Reader::new("127.0.0.1:1", Duration::from_secs(1)).expect("an address");
    let alerts = Alerts::new(&alerts.to_string(), timeout).expect("an address");
    let service = Service::new("gateway", Duration::from_secs(1));
    let policy = Policy { request_timeout: PATIENCE, cors_origins: Vec::new() };
    gateway::unfollowed(reader, alerts, &service, &policy)
}

async fn send(router: &Front, mut request: Request<Body>) -> (u16, HeaderMap, Value) {
    request.headers_mut().insert("host", "gateway".parse().expect("a value"));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let document = document::document(router).await;
    let response = router.clone().oneshot(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let body = match &bytes[..] {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).expect("JSON"),
    };
    document::check(document, method.as_str(), &path, head.status.as_u16(), &body);
    (head.status.as_u16(), head.headers, body)
}

fn post(condition: &str) -> Request<Body> {
    let body = json!({
        "user_id": 1, "symbol": "aapl", "target_price": 150.0, "condition": condition,
        "colour": "a field that nobody knows",
    });
    Request::post("/alerts").body(Body::from(body.to_string())).expect("a request")
}

fn get(query: &str) -> Request<Body> {
    Request::get(format!("/alerts{query}")).body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn an_alert_is_made_and_answered_as_by_the_original() {
    let alerts = Scripted::new(&[Answer::Well]);
    let (address, _serving) = serve(alerts.clone(), "127.0.0.1:0").await;
    let router = router(address, PATIENCE);
    for (condition, name) in [("ABOVE", "ABOVE"), ("below", "BELOW"), ("Above", "ABOVE")] {
        let (status, headers, body) = send(&router, post(condition)).await;
        assert_eq!(headers[LOCATION], "/alerts/7");
        let message = format!("Alert created: AAPL {name} $150.00");
        assert_eq!((status, body), (201, json!({"alert_id": 7, "message": message})));
    }
    let created = alerts.created.lock().expect("no panic");
    let wanted = CreateAlertRequest {
        user_id: 1,
        symbol: "AAPL".to_owned(),
        condition: AlertCondition::Above.into(),
        target_price: 150.0,
        ..CreateAlertRequest::default()
    };
    assert_eq!(created[0], wanted);
    assert_eq!(created[1], CreateAlertRequest { condition: 2, ..wanted });
}

#[tokio::test]
async fn a_list_is_answered_as_by_the_original_and_has_a_cursor_where_more_follows() {
    let (address, _serving) = serve(Scripted::new(&[Answer::Well]), "127.0.0.1:0").await;
    let (status, headers, body) = send(&router(address, PATIENCE), get("")).await;
    assert_eq!((status, &headers[CACHE_CONTROL]), (200, &"no-store".parse().expect("a value")));
    let alert = |id: i64, condition, triggered| {
        json!({
            "id": id, "user_id": 1, "symbol": "AAPL", "target_price": 150.25,
            "condition": condition, "triggered": triggered, "created_at": 1_700_000_000,
            "status": if triggered { "TRIGGERED" } else { "ACTIVE" }, "generation": 1, "version": 3,
        })
    };
    let alerts = [alert(1, "ABOVE", false), alert(i64::MAX, "BELOW", true)];
    assert_eq!(body, json!({"alerts": alerts, "count": 2, "next_cursor": "more"}));
}

#[tokio::test]
async fn the_query_says_what_is_listed() {
    let alerts = Scripted::new(&[Answer::Well]);
    let (address, _serving) = serve(alerts.clone(), "127.0.0.1:0").await;
    let router = router(address, PATIENCE);
    for (query, user_id, active_only, page_size, page_token) in [
        ("", 0, false, 10_000, ""),
        ("?user_id=1&active_only=true", 1, true, 10_000, ""),
        ("?user_id=0&active_only=1", 0, true, 10_000, ""),
        ("?user_id=&active_only=&limit=&cursor=", 0, false, 10_000, ""),
        ("?active_only=false", 0, false, 10_000, ""),
        ("?active_only=yes", 0, false, 10_000, ""),
        ("?user_id=1&user_id=2", 1, false, 10_000, ""),
        ("?limit=1&cursor=a%26b&unknown=1", 0, false, 1, "a&b"),
        ("?limit=10000", 0, false, 10_000, ""),
        ("?user_id=9223372036854775807", i64::MAX, false, 10_000, ""),
    ] {
        assert_eq!(send(&router, get(query)).await.0, 200, "{query}");
        let found = alerts.listed.lock().expect("no panic").pop();
        let page_token = page_token.to_owned();
        let (symbol, statuses) = (String::new(), Vec::new());
        let expected =
            GetAlertsRequest { user_id, active_only, page_size, page_token, symbol, statuses };
        assert_eq!(found, Some(expected), "{query}");
    }
    let query = "?symbol=ic%20markets:1&status=paused,TRIGGERED";
    assert_eq!(send(&router, get(query)).await.0, 200);
    let found = alerts.listed.lock().expect("no panic").pop().expect("asked");
    assert_eq!((found.symbol.as_str(), found.statuses), ("ic markets:1", vec![2, 3]));
    let (status, _, body) = send(&router, get("?status=deleted")).await;
    let detail = "status must be ACTIVE, PAUSED, TRIGGERED or EXPIRED";
    assert_eq!((status, &body["detail"]), (400, &json!(detail)));
}

#[tokio::test]
async fn a_long_list_is_compressed_where_its_client_likes_and_a_short_one_is_not() {
    let (address, _serving) = serve(Scripted::new(&[Answer::Well]), "127.0.0.1:0").await;
    let router = router(address, PATIENCE);
    for (query, accepted, is_compressed) in [
        ("?symbol=MANY", "gzip", true),
        ("?symbol=MANY", "identity", false),
        ("?symbol=FEW", "gzip", false),
    ] {
        let mut request = get(query);
        let headers = request.headers_mut();
        headers.insert("host", "gateway".parse().expect("a value"));
        headers.insert(ACCEPT_ENCODING, accepted.parse().expect("a value"));
        let response = router.clone().oneshot(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let length = body.collect().await.expect("a body").to_bytes().len();
        assert_eq!(head.headers.contains_key(CONTENT_ENCODING), is_compressed, "{query}");
        assert_eq!(length > 100_000, query == "?symbol=MANY" && !is_compressed, "{length}");
    }
}

#[tokio::test]
async fn an_alert_of_any_kind_is_made() {
    let alerts = Scripted::new(&[Answer::Well]);
    let (address, _serving) = serve(alerts.clone(), "127.0.0.1:0").await;
    let router = router(address, PATIENCE);
    let body = json!({
        "user_id": 1, "symbol": "AAPL", "condition": "leaves_range", "lower_price": 95,
        "upper_price": 105.5, "repeat": {"cooldown_ms": 5000, "hysteresis_percent": 0.5},
        "expires_at": 1_800_000_000_000_i64, "note": "sell",
    });
    let post = |body: Value| {
        Request::post("/alerts").body(Body::from(body.to_string())).expect("a request")
    };
    let (status, _, answer) = send(&router, post(body)).await;
    let message = "Alert created: AAPL LEAVES_RANGE $95.00 to $105.50";
    assert_eq!((status, answer), (201, json!({"alert_id": 7, "message": message})));
    let wanted = alerts.created.lock().expect("no panic").pop().expect("asked");
    let expected = CreateAlertRequest {
        user_id: 1,
        symbol: "AAPL".to_owned(),
        condition: AlertCondition::LeavesRange.into(),
        lower_price: 95.0,
        upper_price: 105.5,
        repeat: Some(Repeat { cooldown_ms: Some(5_000), hysteresis_percent: 0.5 }),
        expires_at: Some(1_800_000_000_000),
        note: "sell".to_owned(),
        ..CreateAlertRequest::default()
    };
    assert_eq!(wanted, expected);
    let body = json!({
        "user_id": 1, "symbol": "AAPL", "condition": "TRAILING_DROP", "percent": 2.5, "repeat": {},
    });
    let (status, _, answer) = send(&router, post(body)).await;
    let message = "Alert created: AAPL TRAILING_DROP 2.5%";
    assert_eq!((status, answer), (201, json!({"alert_id": 7, "message": message})));
    let wanted = alerts.created.lock().expect("no panic").pop().expect("asked");
    let defaults = Repeat { cooldown_ms: None, hysteresis_percent: 0.0 };
    assert_eq!((wanted.percent, wanted.repeat), (2.5, Some(defaults)));
}

fn request(method: &str, path: &str, body: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).expect("one")
}

#[tokio::test]
async fn one_alert_is_read_changed_and_deleted() {
    let alerts = Scripted::new(&[Answer::Well]);
    let (address, _serving) = serve(alerts.clone(), "127.0.0.1:0").await;
    let router = router(address, PATIENCE);
    let expected = json!({
        "id": 5, "user_id": 2, "symbol": "AAPL", "condition": "ENTERS_RANGE", "lower_price": 90.0,
        "upper_price": 110.0, "triggered": false, "status": "ACTIVE", "created_at": 1_700_000_000,
        "repeat": {"cooldown_ms": 5000, "hysteresis_percent": 0.25},
        "expires_at": 1_800_000_000_000_i64, "note": "look", "generation": 1, "version": 3,
    });
    let (status, headers, body) = send(&router, request("GET", "/alerts/5?user_id=2", "")).await;
    assert_eq!((status, &body, &headers[ETAG]), (200, &expected, &"\"3\"".parse().expect("a tag")));
    for (path, field, value) in [
        ("/alerts/5/pause", "status", json!("PAUSED")),
        ("/alerts/5/resume", "status", json!("ACTIVE")),
        ("/alerts/5/rearm", "generation", json!(2)),
    ] {
        let (status, _, body) = send(&router, request("POST", path, "")).await;
        assert_eq!((status, &body["id"], &body[field]), (200, &json!(5), &value), "{path}");
        assert_eq!(send(&router, request("GET", path, "")).await.0, 405, "{path}");
    }
    assert_eq!(send(&router, request("DELETE", "/alerts/5", "")).await.0, 204);
    for id in ["0", "-1", "x", "9223372036854775808", "5%20", "%35"] {
        for (method, path) in
            [("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("GET", "/firings"), ("PATCH", "")]
        {
            let path = format!("/alerts/{id}{path}");
            let (status, _, body) = send(&router, request(method, &path, "{}")).await;
            let detail = "the id of an alert is a positive whole number";
            assert_eq!((status, &body["detail"]), (400, &json!(detail)), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let alerts = Scripted::new(&[Answer::Well]);
    let (address, _serving) = serve(alerts.clone(), "127.0.0.1:0").await;
    let router = router(address, PATIENCE);
    let patch = async |body: Value| {
        let (status, _, _) =
            send(&router, request("PATCH", "/alerts/5?user_id=2", &body.to_string())).await;
        assert_eq!(status, 200, "{body}");
        let request = alerts.updated.lock().expect("no panic").pop().expect("asked");
        assert_eq!((request.user_id, request.expected_version), (2, Some(3)));
        (request.alert.expect("an alert"), request.update_mask.expect("a mask").paths)
    };
    let (alert, paths) = patch(json!({"upper_price": 120})).await;
    assert_eq!(paths, ["condition"]);
    assert_eq!(
        (alert.condition(), alert.lower_price, alert.upper_price),
        (AlertCondition::EntersRange, 90.0, 120.0)
    );
    let (alert, _) = patch(json!({"condition": "LEAVES_RANGE"})).await;
    assert_eq!((alert.lower_price, alert.upper_price), (90.0, 110.0), "it takes the same");
    let (alert, _) = patch(json!({"condition": "above", "target_price": 7})).await;
    assert_eq!((alert.target_price, alert.lower_price, alert.upper_price), (7.0, 0.0, 0.0));
    let (alert, paths) = patch(json!({"repeat": null, "expires_at": null, "note": null})).await;
    assert_eq!(paths, ["repeat", "expires_at", "note"]);
    assert_eq!((alert.repeat, alert.expires_at, alert.note.as_str()), (None, None, ""));
    let (alert, paths) = patch(json!({"repeat": {"cooldown_ms": 1}, "note": "new"})).await;
    assert_eq!(paths, ["repeat", "note"]);
    assert_eq!(alert.repeat.expect("it repeats").cooldown_ms, Some(1));
    for (body, detail) in [
        ("{}", "the body changes nothing"),
        ("{\"symbol\": \"MSFT\"}", "the body changes nothing"),
        ("{\"condition\": \"SIDEWAYS\"}", "condition must be"),
        ("{\"upper_price\": \"high\"}", "the body is not what this path takes"),
        ("[]", "the body is not what this path takes"),
        ("", "the body is not what this path takes"),
    ] {
        let (status, _, told) = send(&router, request("PATCH", "/alerts/5", body)).await;
        let found = told["detail"].as_str().unwrap_or_default();
        assert!(status == 400 && found.starts_with(detail), "{body}: {status} {found}");
    }
}

#[tokio::test]
async fn a_patch_is_of_the_version_that_its_client_has_read() {
    let aborted = Answer::Refuse(Code::Aborted, "alert 5 is at version 4 by now");
    let with_tag = |tag: &str| {
        let mut request = request("PATCH", "/alerts/5", "{\"note\": \"new\"}");
        request.headers_mut().insert(IF_MATCH, tag.parse().expect("a value"));
        request
    };
    let serve = async |script: &[Answer]| {
        let alerts = Scripted::new(script);
        let (address, _serving) = serve(alerts.clone(), "127.0.0.1:0").await;
        (alerts, router(address, PATIENCE))
    };
    let (_, router) = serve(&[Answer::Well]).await;
    for (tag, status) in [("\"3\"", 200), ("*", 200), ("\"2\"", 412), ("3", 400), ("W/\"3\"", 400)]
    {
        assert_eq!(send(&router, with_tag(tag)).await.0, status, "{tag}");
    }
    // It changed between the reading and the change.
    let (_, router) = serve(&[Answer::Well, aborted.clone()]).await;
    assert_eq!(send(&router, with_tag("\"3\"")).await.0, 412);
    // Whoever has named no version is not told of it, unless it never ends.
    let (alerts, router) = serve(&[Answer::Well, aborted.clone(), Answer::Well]).await;
    let patch = || request("PATCH", "/alerts/5", "{\"note\": \"new\"}");
    assert_eq!(send(&router, patch()).await.0, 200);
    assert_eq!(alerts.updated.lock().expect("no panic").len(), 2);
    let script: Vec<Answer> = (0..20).flat_map(|_| [Answer::Well, aborted.clone()]).collect();
    let (alerts, router) = serve(&script).await;
    assert_eq!(send(&router, patch()).await.0, 409);
    assert_eq!(alerts.updated.lock().expect("no panic").len(), 5);
}

#[tokio::test]
async fn every_change_is_of_the_version_that_its_client_has_read() {
    for (method, path, done) in [
        ("DELETE", "/alerts/5", 204),
        ("POST", "/alerts/5/pause", 200),
        ("POST", "/alerts/5/resume", 200),
        ("POST", "/alerts/5/rearm", 200),
    ] {
        let why = "alert 5 is at version 4 by now";
        let script = [
            Answer::Well,
            Answer::Well,
            Answer::Well,
            Answer::Refuse(Code::Aborted, why),
            Answer::Refuse(Code::Aborted, why),
            Answer::Refuse(Code::FailedPrecondition, "it is fired"),
            Answer::Refuse(Code::Unavailable, "PostgreSQL is away"),
        ];
        let alerts = Scripted::new(&script);
        let (address, _serving) = serve(alerts.clone(), "127.0.0.1:0").await;
        let router = router(address, PATIENCE);
        let with_tag = async |tag: Option<&str>| {
            let mut request = request(method, path, "");
            if let Some(tag) = tag {
                request.headers_mut().insert(IF_MATCH, tag.parse().expect("a value"));
            }
            send(&router, request).await
        };
        for tag in [Some("\"3\""), Some("*"), None] {
            assert_eq!(with_tag(tag).await.0, done, "{method} {path} {tag:?}");
        }
        let (status, _, body) = with_tag(Some("\"3\"")).await;
        assert_eq!((status, &body["detail"]), (412, &json!(why)), "{method} {path}");
        // Nobody named a version, or it is not what stands in the way.
        assert_eq!(with_tag(None).await.0, 409, "{method} {path}");
        assert_eq!(with_tag(Some("\"3\"")).await.0, 409, "{method} {path}");
        let (status, _, body) = with_tag(Some("\"3\"")).await;
        let detail = body["detail"].as_str().unwrap_or_default();
        assert!(status == 503 && detail.ends_with("may have been changed"), "{status} {detail}");
        for other in ["3", "\"+3\"", "\"03\"", "\"3\", \"4\"", "\"\"", "\"3"] {
            assert_eq!(with_tag(Some(other)).await.0, 400, "{method} {path} {other}");
        }
        let mut twice = request(method, path, "");
        for tag in ["*", "\"3\""] {
            twice.headers_mut().append(IF_MATCH, tag.parse().expect("a value"));
        }
        assert_eq!(send(&router, twice).await.0, 400, "{method} {path}");
        let expected = alerts.expected.lock().expect("no panic").clone();
        let asked = [Some(3), None, None, Some(3), None, Some(3), Some(3)];
        assert_eq!(expected, asked, "{method} {path}");
    }
}

#[tokio::test]
async fn firings_are_listed() {
    let (address, _serving) = serve(Scripted::new(&[Answer::Well]), "127.0.0.1:0").await;
    let router = router(address, PATIENCE);
    for (path, alert_id, user_id, limit, cursor) in [
        ("/firings", 0, 0, 10_000, ""),
        ("/firings?user_id=3&limit=5&cursor=n7", 0, 3, 5, "n7"),
        ("/alerts/5/firings", 5, 0, 10_000, ""),
        ("/alerts/5/firings?user_id=3&limit=1", 5, 3, 1, ""),
    ] {
        let (status, headers, body) = send(&router, request("GET", path, "")).await;
        assert_eq!((status, &headers[CACHE_CONTROL]), (200, &"no-store".parse().expect("a value")));
        let firing = json!({
            "id": 9, "alert_id": alert_id, "generation": limit, "user_id": user_id,
            "symbol": "AAPL", "condition": "FALLS_PERCENT", "percent": 2.5, "price": 97.5,
            "reference_price": 100.0, "trade_time": 1_700_000_000_000_i64,
            "fired_at": 1_700_000_000_005_i64,
            "position": {"log_id": cursor, "partition": 3, "offset": 42, "index": 1},
        });
        let expected = json!({"firings": [firing], "count": 1, "next_cursor": "more"});
        assert_eq!(body, expected, "{path}");
    }
    for path in ["/firings?user_id=x", "/firings?limit=0", "/alerts/5/firings?limit=10001"] {
        assert_eq!(send(&router, request("GET", path, "")).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn what_the_service_refuses_is_told_with_the_right_status() {
    let away = "the alert service is away; try again";
    for (code, status, detail) in [
        (Code::InvalidArgument, 400, "why"),
        (Code::NotFound, 404, "why"),
        (Code::FailedPrecondition, 409, "why"),
        (Code::ResourceExhausted, 429, "why"),
        (Code::Unavailable, 503, away),
        (Code::Cancelled, 503, away),
        (Code::DeadlineExceeded, 504, "the alert service did not answer in time"),
        (Code::Unimplemented, 501, "the alert service does not know this call"),
        (Code::Internal, 500, "the alert service failed"),
    ] {
        let alerts = Scripted::new(&[Answer::Refuse(code, "why")]);
        let (address, serving) = serve(alerts, "127.0.0.1:0").await;
        let router = router(address, PATIENCE);
        for (request, is_list) in [(post("ABOVE"), false), (get(""), true)] {
            let (found, headers, body) = send(&router, request).await;
            assert_eq!(found, status, "{code:?}");
            let told = body["detail"].as_str().unwrap_or_default();
            if status < 500 || is_list {
                assert_eq!(told, detail, "{code:?}");
            } else {
                assert!(told.ends_with("; the alert may have been made"), "{code:?}: {told}");
            }
            assert_eq!(headers.contains_key(RETRY_AFTER), matches!(status, 429 | 503), "{code:?}");
        }
        serving.abort();
    }
    let alerts = Scripted::new(&[Answer::Refuse(Code::InvalidArgument, "page_token: unreadable")]);
    let (address, _serving) = serve(alerts, "127.0.0.1:0").await;
    let (status, _, body) = send(&router(address, PATIENCE), get("?cursor=x")).await;
    let detail = "cursor must be the next_cursor of an answer before";
    assert_eq!((status, &body["detail"]), (400, &json!(detail)));
}

#[tokio::test]
async fn a_list_is_asked_for_again_and_an_alert_is_not() {
    let away = Answer::Refuse(Code::Unavailable, "the database is away");
    let alerts = Scripted::new(&[away.clone(), away, Answer::Well]);
    let (address, _serving) = serve(alerts.clone(), "127.0.0.1:0").await;
    let router = router(address, PATIENCE);
    assert_eq!(send(&router, post("ABOVE")).await.0, 503);
    assert_eq!(alerts.created.lock().expect("no panic").len(), 1);
    assert_eq!(send(&router, get("")).await.0, 200);
    assert_eq!(alerts.listed.lock().expect("no panic").len(), 2);
}

#[tokio::test]
async fn a_service_that_hangs_is_504_in_time() {
    let (address, _serving) = serve(Scripted::new(&[Answer::Never]), "127.0.0.1:0").await;
    // A listener that accepts nobody, too: there is no connection on which time could run.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    for address in [address, silent.local_addr().expect("an address")] {
        let router = router(address, Duration::from_millis(100));
        let started = Instant::now();
        let (status, _, body) = send(&router, get("")).await;
        let detail = "the alert service did not answer in time";
        assert_eq!((status, &body["detail"]), (504, &json!(detail)));
        let (status, _, body) = send(&router, post("ABOVE")).await;
        let detail = format!("{detail}; the alert may have been made");
        assert_eq!((status, &body["detail"]), (504, &json!(detail)));
        assert!(started.elapsed() < PATIENCE / 2);
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_in_the_middle_of_a_call_is_503() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        // Dies once the call has arrived, over and over.
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 4_096];
            let mut read = 0;
            while read < 200 {
                read += stream.read(&mut bytes).await.expect("the request");
            }
        }
    });
    let router = router(address, PATIENCE);
    let (status, _, body) = send(&router, post("ABOVE")).await;
    let detail = "the alert service could not finish the call; the alert may have been made";
    assert_eq!((status, &body["detail"]), (503, &json!(detail)));
    assert_eq!(send(&router, get("")).await.0, 503);
}

#[tokio::test]
async fn a_service_that_comes_back_is_found_again() {
    let alerts = Scripted::new(&[Answer::Well]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let router = router(address, PATIENCE);
    drop(taken);
    assert_eq!(send(&router, post("ABOVE")).await.0, 503);
    let (_, _serving) = serve(alerts, &address.to_string()).await;
    let started = Instant::now();
    while send(&router, post("ABOVE")).await.0 != 201 {
        assert!(started.elapsed() < PATIENCE, "still 503");
    }
}
