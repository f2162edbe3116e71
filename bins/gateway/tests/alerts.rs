//! The gateway before an alert service that answers as each test wants it to, over real gRPC.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderMap, Request};
use gateway::{Alerts, Prices};
use http_body_util::BodyExt;
use rpc::alert::v1::alert_service_server::{AlertService, AlertServiceServer};
use rpc::alert::v1::{
    Alert, AlertCondition, AlertStatus, CreateAlertRequest, CreateAlertResponse, GetAlertsRequest,
    GetAlertsResponse,
};
use serde_json::{Value, json};
use service::Service;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Response, Status};
use tower::ServiceExt;

/// How long anything here may take on a busy machine before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the service does with the calls to come, the last for all that follow.
#[derive(Clone, Debug)]
enum Answer {
    Well,
    Refuse(Code, &'static str),
    Never,
}

#[derive(Clone, Debug)]
struct Scripted {
    script: Arc<Mutex<Vec<Answer>>>,
    created: Arc<Mutex<Vec<CreateAlertRequest>>>,
    listed: Arc<Mutex<Vec<GetAlertsRequest>>>,
}

impl Scripted {
    fn new(script: &[Answer]) -> Self {
        let script = script.iter().rev().cloned().collect();
        Self {
            script: Arc::new(Mutex::new(script)),
            created: Arc::default(),
            listed: Arc::default(),
        }
    }

    async fn next(&self) -> Result<(), Status> {
        let answer = {
            let mut script = self.script.lock().expect("no panic");
            if script.len() > 1 { script.pop() } else { script.last().cloned() }
        };
        match answer.expect("a script has an answer") {
            Answer::Well => Ok(()),
            Answer::Refuse(code, why) => Err(Status::new(code, why)),
            Answer::Never => std::future::pending().await,
        }
    }
}

#[tonic::async_trait]
impl AlertService for Scripted {
    async fn create_alert(
        &self,
        request: tonic::Request<CreateAlertRequest>,
    ) -> Result<Response<CreateAlertResponse>, Status> {
        let wanted = request.into_inner();
        self.created.lock().expect("no panic").push(wanted.clone());
        self.next().await?;
        let CreateAlertRequest { user_id, symbol, condition, target_price } = wanted;
        let alert = Alert { id: 7, user_id, symbol, condition, target_price, ..Alert::default() };
        Ok(Response::new(CreateAlertResponse { alert: Some(alert) }))
    }

    async fn get_alerts(
        &self,
        request: tonic::Request<GetAlertsRequest>,
    ) -> Result<Response<GetAlertsResponse>, Status> {
        self.listed.lock().expect("no panic").push(request.into_inner());
        self.next().await?;
        let alert = |id, status: AlertStatus, condition: AlertCondition| Alert {
            id,
            user_id: 1,
            symbol: "AAPL".to_owned(),
            condition: condition.into(),
            target_price: 150.25,
            status: status.into(),
            generation: 1,
            created_at: 1_700_000_000_999,
            triggered_at: None,
        };
        let alerts = vec![
            alert(1, AlertStatus::Active, AlertCondition::Above),
            alert(i64::MAX, AlertStatus::Triggered, AlertCondition::Below),
        ];
        Ok(Response::new(GetAlertsResponse { alerts, next_page_token: "more".to_owned() }))
    }
}

/// Serves `alerts` on a port of `address` until the handle is aborted.
async fn serve(alerts: Scripted, address: &str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = Server::builder()
        .add_service(AlertServiceServer::new(alerts))
        .serve_with_incoming(TcpIncoming::from(listener));
    (address, tokio::spawn(async { serving.await.expect("serves") }))
}

fn router(alerts: SocketAddr, timeout: Duration) -> Router {
    let reader = speed::Reader::new("127.0.0.1:1", Duration::from_secs(1)).expect("an address");
    let alerts = Alerts::new(&alerts.to_string(), timeout).expect("an address");
    let service = Service::new("gateway", Duration::from_secs(1));
    gateway::router(Arc::new(Prices::new(reader)), Arc::new(alerts), &service, PATIENCE)
}

async fn send(router: &Router, request: Request<Body>) -> (u16, HeaderMap, Value) {
    let response = router.clone().oneshot(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let body = serde_json::from_slice(&bytes).expect("JSON");
    (head.status.as_u16(), head.headers, body)
}

fn post(condition: &str) -> Request<Body> {
    let body = json!({
        "user_id": 1, "symbol": "aapl", "target_price": 150.0, "condition": condition,
        "note": "a field that nobody knows",
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
        let (status, _, body) = send(&router, post(condition)).await;
        let message = format!("Alert created: AAPL {name} $150.00");
        assert_eq!((status, body), (201, json!({"alert_id": 7, "message": message})));
    }
    let created = alerts.created.lock().expect("no panic");
    let wanted = CreateAlertRequest {
        user_id: 1,
        symbol: "AAPL".to_owned(),
        condition: AlertCondition::Above.into(),
        target_price: 150.0,
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
        let expected = GetAlertsRequest { user_id, active_only, page_size, page_token };
        assert_eq!(found, Some(expected), "{query}");
    }
}

#[tokio::test]
async fn what_the_service_refuses_is_told_with_the_right_status() {
    let away = "the alert service is away; try again";
    for (code, status, detail) in [
        (Code::InvalidArgument, 400, "why"),
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
