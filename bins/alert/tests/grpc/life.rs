//! Deadlines, overload, outages and the drain.

use std::time::{Duration, Instant};

use alert::grpc::Limits;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rpc::alert::v1::GetAlertsRequest;
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::alert_service_server::SERVICE_NAME;
use tokio::task::JoinSet;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{PATIENCE, Server, wanted};

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_call_whoever_set_it() {
    let call_timeout = Duration::from_millis(300);
    let server = Server::start(Limits { call_timeout, ..Limits::default() }).await;
    server.gate.send_replace(false);
    // tonic's own client would keep the deadline by itself, and say CANCELLED.
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let origin = format!("http://{}", server.address).parse().expect("a URI");
    let mut client = AlertServiceClient::with_origin(client, origin);
    for (asked, at_least) in [(Some(50), 50), (None, 300), (Some(60_000), 300)] {
        let mut request = Request::new(wanted());
        if let Some(milliseconds) = asked {
            request.set_timeout(Duration::from_millis(milliseconds));
        }
        let started = Instant::now();
        let status = client.create_alert(request).await.expect_err("late");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(started.elapsed() >= Duration::from_millis(at_least), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_limit_creates_are_refused_and_the_others_are_all_made() {
    const CALLS: usize = 2_100;
    const AT_ONCE: usize = 2_048;
    let server = Server::start(Limits::default()).await;
    server.gate.send_replace(false);
    let clients = [server.client(), server.client(), server.client()];
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let mut client = clients[call % clients.len()].clone();
        calls.spawn(async move { client.create_alert(wanted()).await });
    }
    // Those that are refused are answered first: the others wait at the gate.
    for _ in AT_ONCE..CALLS {
        let answer = tokio::time::timeout(PATIENCE, calls.join_next()).await.expect("in time");
        let answer = answer.expect("a call").expect("no panic");
        assert_eq!(answer.expect_err("too many").code(), Code::ResourceExhausted);
    }
    server.gate.send_replace(true);
    while let Some(answer) = calls.join_next().await {
        answer.expect("no panic").expect("made");
    }
    assert_eq!(server.count().await, AT_ONCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_answers_what_is_under_way_and_lets_go_of_who_only_watches() {
    let limits = Limits { drain: PATIENCE, ..Limits::default() };
    let server = Server::start(limits).await;
    server.gate.send_replace(false);
    let mut client = server.client();
    let create = tokio::spawn(async move { client.create_alert(wanted()).await });
    let mut health = HealthClient::new(server.channel());
    let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
    let mut watch = health.watch(request).await.expect("watching").into_inner();
    let mut health = async || watch.message().await.expect("no error").map(|told| told.status());
    assert_eq!(health().await, Some(ServingStatus::Serving));
    server.gated().await;
    server.stopping.cancel();
    assert_eq!(health().await, Some(ServingStatus::NotServing));
    assert_eq!(health().await, None);
    let status = server.client().get_alerts(GetAlertsRequest::default()).await;
    assert_eq!(status.expect_err("no longer listens").code(), Code::Unavailable);
    assert!(!server.serving.is_finished());
    server.gate.send_replace(true);
    create.await.expect("no panic").expect("made");
    assert_eq!(server.count().await, 1);
    server.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_finish_does_not_hold_the_stop() {
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let server = Server::start(limits).await;
    server.gate.send_replace(false);
    let mut client = server.client();
    let create = tokio::spawn(async move { client.create_alert(wanted()).await });
    server.gated().await;
    server.stopping.cancel();
    server.ended().await;
    // Its connection is the runtime's to end.
    create.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_calls_are_refused_at_once_and_health_says_so() {
    let server = Server::start(Limits::default()).await;
    let mut health = HealthClient::new(server.channel());
    for service in ["", SERVICE_NAME, "alert.AlertService"] {
        for (answers, status) in
            [(false, ServingStatus::NotServing), (true, ServingStatus::Serving)]
        {
            server.database.send_replace(answers);
            let request = HealthCheckRequest { service: service.to_owned() };
            let mut watch = health.watch(request).await.expect("watching").into_inner();
            while watch.message().await.expect("no error").expect("told").status() != status {}
        }
    }
    server.database.send_replace(false);
    let status = server.client().create_alert(wanted()).await.expect_err("away");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "PostgreSQL is away"));
    let status = server.client().get_alerts(GetAlertsRequest::default()).await;
    assert_eq!(status.expect_err("away").code(), Code::Unavailable);
    server.database.send_replace(true);
    server.client().create_alert(wanted()).await.expect("made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_no_service_has_is_unimplemented() {
    let server = Server::start(Limits::default()).await;
    let mut client = tonic::client::Grpc::new(server.channel());
    client.ready().await.expect("connected");
    for path in ["/alert.AlertService/DeleteAlert", "/nobody.Service/Call"] {
        let codec = tonic_prost::ProstCodec::<GetAlertsRequest, GetAlertsRequest>::default();
        let path = path.parse().expect("a path");
        let request = Request::new(GetAlertsRequest::default());
        let status = client.unary(request, path, codec).await.expect_err("unknown");
        assert_eq!(status.code(), Code::Unimplemented);
        client.ready().await.expect("connected");
    }
}
