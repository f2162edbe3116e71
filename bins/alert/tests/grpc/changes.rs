//! Making many alerts, and what is done to one afterwards.

use alert::grpc::Limits;
use rpc::FieldMask;
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::{
    Alert, AlertCondition, AlertStatus, CreateAlertRequest, CreateAlertsRequest,
    DeleteAlertRequest, GetAlertRequest, GetAlertsRequest, PauseAlertRequest, RearmAlertRequest,
    Repeat, ResumeAlertRequest, UpdateAlertRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::{Server, wanted};

async fn get(client: &mut AlertServiceClient<Channel>, id: i64) -> Result<Alert, Status> {
    let answer = client.get_alert(GetAlertRequest { id, user_id: 0 }).await?;
    Ok(answer.into_inner().alert.expect("the alert"))
}

fn ranging() -> CreateAlertRequest {
    CreateAlertRequest {
        user_id: 1,
        symbol: "btc".into(),
        condition: AlertCondition::LeavesRange.into(),
        lower_price: 90.0,
        upper_price: 110.0,
        repeat: Some(Repeat { cooldown_ms: Some(5_000), hysteresis_percent: 0.25 }),
        expires_at: Some(4_102_444_800_000),
        note: "either way".into(),
        ..CreateAlertRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_made_at_once_or_none() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.client();
    let mut create = async |alerts: Vec<CreateAlertRequest>| {
        let answer = client.create_alerts(CreateAlertsRequest { alerts }).await;
        answer.map(|answer| answer.into_inner().alert_ids)
    };
    assert!(create(vec![]).await.expect("nothing").is_empty());
    let mut many = vec![wanted(); 3_000];
    many[2_999] = ranging();
    let ids = create(many.clone()).await.expect("made");
    assert_eq!(ids.len(), 3_000);
    assert!(ids.is_sorted());

    many[1_234].user_id = 0;
    let status = create(many).await.expect_err("one is bad");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "alerts[1234]: user_id: must be positive");
    let status = create(vec![wanted(); 10_001]).await.expect_err("too many");
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "alerts: must be at most 10000")
    );
    assert_eq!(server.count().await, 3_000);

    let alert = get(&mut server.client(), ids[2_999]).await.expect("the last");
    let wished = ranging();
    assert_eq!((alert.symbol.as_str(), alert.condition), ("BTC", wished.condition));
    assert_eq!((alert.lower_price, alert.upper_price, alert.target_price), (90.0, 110.0, 0.0));
    assert_eq!((alert.repeat, alert.expires_at), (wished.repeat, wished.expires_at));
    assert_eq!(alert.note, wished.note);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_changed_step_by_step() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.client();
    let made = client.create_alert(ranging()).await.expect("made").into_inner();
    let made = made.alert.expect("the alert");
    assert_eq!(get(&mut client, made.id).await.expect("read"), made);
    let (id, user_id) = (made.id, 1);

    let paused = client
        .pause_alert(PauseAlertRequest { id, user_id, ..Default::default() })
        .await
        .expect("paused");
    let paused = paused.into_inner().alert.expect("the alert");
    assert_eq!((paused.status(), paused.generation, paused.version), (AlertStatus::Paused, 2, 2));
    let resumed = client
        .resume_alert(ResumeAlertRequest { id, user_id, ..Default::default() })
        .await
        .expect("resumed");
    let resumed = resumed.into_inner().alert.expect("the alert");
    assert_eq!((resumed.status(), resumed.generation), (AlertStatus::Active, 3));
    let rearmed = client
        .rearm_alert(RearmAlertRequest { id, user_id, ..Default::default() })
        .await
        .expect("rearmed");
    let rearmed = rearmed.into_inner().alert.expect("the alert");
    assert_eq!((rearmed.status(), rearmed.generation), (AlertStatus::Active, 4));

    let mut update = async |alert: Alert, paths: &[&str], expected_version| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = UpdateAlertRequest {
            alert: Some(Alert { id, ..alert }),
            update_mask: Some(FieldMask { paths }),
            user_id: 0,
            expected_version,
        };
        let answer = client.update_alert(request).await?;
        Ok::<Alert, Status>(answer.into_inner().alert.expect("the alert"))
    };
    let noted = Alert { note: "new".into(), target_price: 7.0, ..Alert::default() };
    let noted = update(noted, &["note"], Some(4)).await.expect("of that version");
    assert_eq!((noted.note.as_str(), noted.generation, noted.version), ("new", 4, 5));
    assert_eq!((noted.lower_price, noted.upper_price), (90.0, 110.0), "what is not named stays");
    let trailing =
        Alert { condition: AlertCondition::TrailingDrop.into(), percent: 2.5, ..Alert::default() };
    let paths = ["condition", "repeat", "expires_at", "note"];
    let changed = update(trailing, &paths, None).await.expect("changed");
    assert_eq!(changed.condition(), AlertCondition::TrailingDrop);
    assert_eq!((changed.percent, changed.lower_price), (2.5, 0.0));
    assert_eq!((changed.repeat, changed.expires_at, changed.note.as_str()), (None, None, ""));
    assert_eq!(changed.generation, 5);

    for (alert, paths, version, code, message) in [
        (Alert::default(), vec!["note"], Some(1), Code::Aborted, "alert 1 is at version 6 by now"),
        (
            Alert::default(),
            vec!["symbol"],
            None,
            Code::InvalidArgument,
            "update_mask: \"symbol\" cannot be changed",
        ),
        (
            Alert::default(),
            vec![],
            None,
            Code::InvalidArgument,
            "update_mask: must say what is to be changed",
        ),
        (
            Alert::default(),
            vec!["condition"],
            None,
            Code::InvalidArgument,
            "condition: must be one of the conditions",
        ),
        (
            Alert {
                repeat: Some(Repeat { cooldown_ms: None, hysteresis_percent: 1.0 }),
                ..Alert::default()
            },
            vec!["repeat"],
            None,
            Code::InvalidArgument,
            "repeat.hysteresis_percent: the condition measures from a new price each time: it \
             takes no hysteresis",
        ),
    ] {
        let status = update(alert, &paths, version).await.expect_err(message);
        assert_eq!((status.code(), status.message()), (code, message));
    }
    assert_eq!(get(&mut server.client(), id).await.expect("read"), changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_with_the_reason() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.client();
    let made = client.create_alert(wanted()).await.expect("made").into_inner();
    let id = made.alert.expect("the alert").id;
    let mut delete = async |id, user_id| {
        let request = DeleteAlertRequest { id, user_id, ..Default::default() };
        client.delete_alert(request).await.map(drop)
    };
    let others = delete(id, 2).await.expect_err("another user's");
    assert_eq!((others.code(), others.message()), (Code::NotFound, "there is no alert 1"));
    assert_eq!(delete(99, 0).await.expect_err("none").code(), Code::NotFound);
    assert_eq!(delete(id, -1).await.expect_err("no user").code(), Code::InvalidArgument);
    delete(id, 1).await.expect("deleted");
    assert_eq!(delete(id, 1).await.expect_err("gone").code(), Code::NotFound);
    let gone = get(&mut client, id).await.expect_err("gone");
    assert_eq!(gone.code(), Code::NotFound);
    for id in [id, 99, 0, -1] {
        let status = client.pause_alert(PauseAlertRequest { id, ..Default::default() }).await;
        assert_eq!(status.expect_err("none").code(), Code::NotFound);
        let status = client.rearm_alert(RearmAlertRequest { id, ..Default::default() }).await;
        assert_eq!(status.expect_err("none").code(), Code::NotFound);
    }
    let listed = client.get_alerts(GetAlertsRequest::default()).await.expect("listed");
    assert_eq!(listed.into_inner().alerts, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_done_to_an_alert_may_name_its_version() {
    let server = Server::start(Limits::default()).await;
    let mut client = server.client();
    let made = client.create_alert(wanted()).await.expect("made").into_inner();
    let made = made.alert.expect("the alert");
    let (id, user_id, other) = (made.id, made.user_id, Some(made.version + 1));
    let (right, wrong) = (Some(made.version), "alert 1 is at version 1 by now");
    assert_eq!(right, Some(1));
    let paused = PauseAlertRequest { id, user_id, expected_version: other };
    let resumed = ResumeAlertRequest { id, user_id, expected_version: other };
    let rearmed = RearmAlertRequest { id, user_id, expected_version: other };
    let deleted = DeleteAlertRequest { id, user_id, expected_version: other };
    for refused in [
        client.pause_alert(paused).await.map(drop),
        client.resume_alert(resumed).await.map(drop),
        client.rearm_alert(rearmed).await.map(drop),
        client.delete_alert(deleted).await.map(drop),
    ] {
        let status = refused.expect_err("of another version");
        assert_eq!((status.code(), status.message()), (Code::Aborted, wrong));
    }
    assert_eq!(get(&mut client, id).await.expect("read"), made, "nothing was done");
    let paused = client.pause_alert(PauseAlertRequest { expected_version: right, ..paused }).await;
    assert_eq!(paused.expect("of that version").into_inner().alert.expect("one").version, 2);
    let resumed = ResumeAlertRequest { expected_version: Some(2), ..resumed };
    let resumed = client.resume_alert(resumed).await.expect("of that version").into_inner();
    assert_eq!(resumed.alert.expect("one").version, 3);
    let rearmed = RearmAlertRequest { expected_version: Some(3), ..rearmed };
    let rearmed = client.rearm_alert(rearmed).await.expect("of that version").into_inner();
    assert_eq!(rearmed.alert.expect("one").version, 4);
    let late = DeleteAlertRequest { expected_version: right, ..deleted };
    assert_eq!(client.delete_alert(late).await.expect_err("changed").code(), Code::Aborted);
    let deleted = DeleteAlertRequest { expected_version: Some(4), ..deleted };
    client.delete_alert(deleted).await.expect("of that version");
    assert_eq!(get(&mut client, id).await.expect_err("gone").code(), Code::NotFound);
}
