//! What calls are answered.

use std::collections::BTreeSet;

use alert::grpc::Limits;
use futures::{StreamExt, stream};
use rpc::alert::v1::{Alert, AlertCondition, AlertStatus, CreateAlertRequest, GetAlertsRequest};
use rpc::seed::alert as original;
use tonic::Code;
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt;

use crate::support::{Server, wanted};

const SERVICES: [&str; 5] = [
    "alert.AlertService",
    "gostocks.alert.v1.AlertService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_clients_get_the_originals_answers() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.original();
    for (id, symbol, target_price, condition, message) in [
        (1, "AAPL", 150.0, original::AlertCondition::Above, "Alert created: AAPL ABOVE $150.00"),
        (
            2,
            "ic markets:1",
            0.005,
            original::AlertCondition::Below,
            "Alert created: IC MARKETS:1 BELOW $0.01",
        ),
    ] {
        let request = original::CreateAlertRequest {
            user_id: id,
            symbol: symbol.to_owned(),
            target_price,
            condition: condition.into(),
        };
        let answer = client.create_alert(request).await.expect("made").into_inner();
        let message = message.to_owned();
        assert_eq!(answer, original::CreateAlertResponse { alert_id: id, message });
    }
    let mut list = async |user_id, active_only| {
        let request = original::GetAlertsRequest { user_id, active_only };
        client.get_alerts(request).await.expect("listed").into_inner().alerts
    };
    let all = list(0, false).await;
    assert_eq!(all.len(), 2);
    let found = &all[0];
    assert!((1_700_000_000..4_000_000_000).contains(&found.created_at), "{found:?}");
    let expected = original::Alert {
        id: 1,
        user_id: 1,
        symbol: "AAPL".to_owned(),
        target_price: 150.0,
        condition: original::AlertCondition::Above.into(),
        triggered: false,
        created_at: found.created_at,
    };
    assert_eq!(*found, expected);
    assert_eq!(list(2, true).await, all[1..]);
    assert_eq!(list(3, false).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_answered_as_it_is_listed_and_lists_have_pages() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.client();
    let mut made = Vec::new();
    for user_id in [1, 2, 1, 1, 2] {
        let request = CreateAlertRequest { user_id, ..wanted() };
        let answer = client.create_alert(request).await.expect("made").into_inner();
        made.push(answer.alert.expect("the alert"));
    }
    let expected = Alert {
        id: 1,
        user_id: 1,
        symbol: "AAPL".to_owned(),
        condition: AlertCondition::Above.into(),
        target_price: 150.0,
        status: AlertStatus::Active.into(),
        generation: 1,
        created_at: made[0].created_at,
        version: 1,
        ..Alert::default()
    };
    assert_eq!(made[0], expected);
    let pages = [(0, 2, vec![2, 2, 1]), (1, 1, vec![1, 1, 1]), (1, 3, vec![3]), (0, 0, vec![5])];
    for (user_id, page_size, sizes) in pages {
        let (mut page_token, mut found, mut found_sizes) = (String::new(), Vec::new(), Vec::new());
        loop {
            let request = GetAlertsRequest {
                user_id,
                active_only: true,
                page_size,
                page_token,
                ..GetAlertsRequest::default()
            };
            let page = client.get_alerts(request).await.expect("listed").into_inner();
            found_sizes.push(page.alerts.len());
            found.extend(page.alerts);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let of_user = made.iter().filter(|alert| user_id == 0 || alert.user_id == user_id);
        assert_eq!(found, of_user.cloned().collect::<Vec<_>>());
        assert_eq!(found_sizes, sizes, "user {user_id} by {page_size}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_calls_are_refused_with_the_reason_and_make_nothing() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.client();
    let bad = CreateAlertRequest { user_id: 0, condition: 99, ..wanted() };
    let status = client.create_alert(bad).await.expect_err("bad");
    assert_eq!(status.code(), Code::InvalidArgument);
    let message = "condition: must be one of the conditions; user_id: must be positive";
    assert_eq!(status.message(), message);
    let details = status.get_details_bad_request().expect("details");
    assert_eq!(details.field_violations.len(), 2);

    let bad = original::CreateAlertRequest::default();
    let status = server.original().create_alert(bad).await.expect_err("bad");
    assert_eq!(status.code(), Code::InvalidArgument);

    for request in [
        GetAlertsRequest { user_id: -1, ..GetAlertsRequest::default() },
        GetAlertsRequest { page_size: -1, ..GetAlertsRequest::default() },
        GetAlertsRequest { page_token: "x".to_owned(), ..GetAlertsRequest::default() },
    ] {
        let status = client.get_alerts(request).await.expect_err("bad");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    let long = CreateAlertRequest { note: "X".repeat(5_000_000), ..wanted() };
    assert_eq!(client.create_alert(long).await.expect_err("long").code(), Code::OutOfRange);
    let symbol = "X".repeat(70_000);
    let long = original::CreateAlertRequest { user_id: 1, symbol, ..Default::default() };
    let status = server.original().create_alert(long).await.expect_err("long");
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(server.count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_of_either_version_knows_every_service() {
    let server = Server::start(Limits::default()).await;
    let services: BTreeSet<String> = SERVICES.map(str::to_owned).into();
    macro_rules! check {
        ($version:ident) => {
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;
            let symbol = "gostocks.alert.v1.AlertService.CreateAlert".to_owned();
            let requests = [
                MessageRequest::ListServices(String::new()),
                MessageRequest::FileContainingSymbol(symbol),
            ]
            .map(|message_request| $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(message_request),
            });
            let channel = server.channel();
            let mut client =
                $version::server_reflection_client::ServerReflectionClient::new(channel);
            let answers = client.server_reflection_info(stream::iter(requests)).await;
            let answers: Vec<_> = answers
                .expect("answered")
                .into_inner()
                .map(|answer| answer.expect("an answer").message_response.expect("a response"))
                .collect()
                .await;
            let [
                MessageResponse::ListServicesResponse(list),
                MessageResponse::FileDescriptorResponse(file),
            ] = &answers[..]
            else {
                panic!("{answers:?}");
            };
            let found = list.service.iter().map(|service| service.name.clone());
            assert_eq!(found.collect::<BTreeSet<_>>(), services);
            assert_eq!(file.file_descriptor_proto.len(), 1);
        };
    }
    {
        check!(v1);
    }
    {
        check!(v1alpha);
    }
}
