//! An alert service that answers as a test wants it to, over real gRPC.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rpc::alert::v1::alert_service_server::{AlertService, AlertServiceServer};
use rpc::alert::v1::{
    Alert, AlertCondition, AlertStatus, CreateAlertRequest, CreateAlertResponse,
    CreateAlertsRequest, CreateAlertsResponse, DeleteAlertRequest, DeleteAlertResponse, Firing,
    GetAlertRequest, GetAlertResponse, GetAlertsRequest, GetAlertsResponse, GetFiringsRequest,
    GetFiringsResponse, PauseAlertRequest, PauseAlertResponse, Position, RearmAlertRequest,
    RearmAlertResponse, Repeat, ResumeAlertRequest, ResumeAlertResponse, UpdateAlertRequest,
    UpdateAlertResponse, WatchFiringsRequest, WatchFiringsResponse,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Response, Status};

/// What the service does with the calls to come, the last for all that follow.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Well,
    Refuse(Code, &'static str),
    Never,
}

#[derive(Clone, Debug)]
pub(crate) struct Scripted {
    script: Arc<Mutex<Vec<Answer>>>,
    pub(crate) created: Arc<Mutex<Vec<CreateAlertRequest>>>,
    pub(crate) listed: Arc<Mutex<Vec<GetAlertsRequest>>>,
    pub(crate) updated: Arc<Mutex<Vec<UpdateAlertRequest>>>,
    /// The versions that the other changes were to find.
    pub(crate) expected: Arc<Mutex<Vec<Option<i64>>>>,
}

impl Scripted {
    pub(crate) fn new(script: &[Answer]) -> Self {
        let script = script.iter().rev().cloned().collect();
        Self {
            script: Arc::new(Mutex::new(script)),
            created: Arc::default(),
            listed: Arc::default(),
            updated: Arc::default(),
            expected: Arc::default(),
        }
    }

    /// As this service knows every alert.
    fn alert(&self, id: i64, user_id: i64) -> Alert {
        Alert {
            id,
            user_id: user_id.max(1),
            symbol: "AAPL".to_owned(),
            condition: AlertCondition::EntersRange.into(),
            lower_price: 90.0,
            upper_price: 110.0,
            status: AlertStatus::Active.into(),
            generation: 1,
            created_at: 1_700_000_000_999,
            repeat: Some(Repeat { cooldown_ms: Some(5_000), hysteresis_percent: 0.25 }),
            expires_at: Some(1_800_000_000_000),
            note: "look".to_owned(),
            version: 3,
            ..Alert::default()
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
        let CreateAlertRequest { user_id, symbol, condition, target_price, .. } = wanted;
        let CreateAlertRequest { lower_price, upper_price, percent, .. } = wanted;
        let alert = Alert {
            id: 7,
            user_id,
            symbol,
            condition,
            target_price,
            lower_price,
            upper_price,
            percent,
            ..Alert::default()
        };
        Ok(Response::new(CreateAlertResponse { alert: Some(alert) }))
    }

    async fn get_alerts(
        &self,
        request: tonic::Request<GetAlertsRequest>,
    ) -> Result<Response<GetAlertsResponse>, Status> {
        let request = request.into_inner();
        let is_long = request.symbol == "MANY";
        self.listed.lock().expect("no panic").push(request);
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
            version: 3,
            ..Alert::default()
        };
        let alerts = vec![
            alert(1, AlertStatus::Active, AlertCondition::Above),
            alert(i64::MAX, AlertStatus::Triggered, AlertCondition::Below),
        ];
        let times = if is_long { 500 } else { 1 };
        let alerts = vec![alerts; times].concat();
        Ok(Response::new(GetAlertsResponse { alerts, next_page_token: "more".to_owned() }))
    }

    async fn get_alert(
        &self,
        request: tonic::Request<GetAlertRequest>,
    ) -> Result<Response<GetAlertResponse>, Status> {
        let GetAlertRequest { id, user_id } = request.into_inner();
        self.next().await?;
        let alert = Some(self.alert(id, user_id));
        Ok(Response::new(GetAlertResponse { alert }))
    }

    async fn update_alert(
        &self,
        request: tonic::Request<UpdateAlertRequest>,
    ) -> Result<Response<UpdateAlertResponse>, Status> {
        let request = request.into_inner();
        self.updated.lock().expect("no panic").push(request.clone());
        self.next().await?;
        Ok(Response::new(UpdateAlertResponse { alert: request.alert }))
    }

    async fn pause_alert(
        &self,
        request: tonic::Request<PauseAlertRequest>,
    ) -> Result<Response<PauseAlertResponse>, Status> {
        let PauseAlertRequest { id, user_id, expected_version } = request.into_inner();
        self.expected.lock().expect("no panic").push(expected_version);
        self.next().await?;
        let alert = Some(Alert { status: 2, ..self.alert(id, user_id) });
        Ok(Response::new(PauseAlertResponse { alert }))
    }

    async fn resume_alert(
        &self,
        request: tonic::Request<ResumeAlertRequest>,
    ) -> Result<Response<ResumeAlertResponse>, Status> {
        let ResumeAlertRequest { id, user_id, expected_version } = request.into_inner();
        self.expected.lock().expect("no panic").push(expected_version);
        self.next().await?;
        Ok(Response::new(ResumeAlertResponse { alert: Some(self.alert(id, user_id)) }))
    }

    async fn rearm_alert(
        &self,
        request: tonic::Request<RearmAlertRequest>,
    ) -> Result<Response<RearmAlertResponse>, Status> {
        let RearmAlertRequest { id, user_id, expected_version } = request.into_inner();
        self.expected.lock().expect("no panic").push(expected_version);
        self.next().await?;
        let alert = Some(Alert { generation: 2, ..self.alert(id, user_id) });
        Ok(Response::new(RearmAlertResponse { alert }))
    }

    async fn delete_alert(
        &self,
        request: tonic::Request<DeleteAlertRequest>,
    ) -> Result<Response<DeleteAlertResponse>, Status> {
        let DeleteAlertRequest { expected_version, .. } = request.into_inner();
        self.expected.lock().expect("no panic").push(expected_version);
        self.next().await?;
        Ok(Response::new(DeleteAlertResponse {}))
    }

    async fn get_firings(
        &self,
        request: tonic::Request<GetFiringsRequest>,
    ) -> Result<Response<GetFiringsResponse>, Status> {
        let GetFiringsRequest { alert_id, user_id, page_size, page_token } = request.into_inner();
        self.next().await?;
        let firing = Firing {
            id: 9,
            alert_id,
            generation: page_size,
            user_id,
            symbol: "AAPL".to_owned(),
            condition: AlertCondition::FallsPercent.into(),
            percent: 2.5,
            price: 97.5,
            reference_price: 100.0,
            trade_time: 1_700_000_000_000,
            fired_at: 1_700_000_000_005,
            position: Some(Position { log_id: page_token, partition: 3, offset: 42, index: 1 }),
            ..Firing::default()
        };
        let next_page_token = "more".to_owned();
        Ok(Response::new(GetFiringsResponse { firings: vec![firing], next_page_token }))
    }

    async fn create_alerts(
        &self,
        _: tonic::Request<CreateAlertsRequest>,
    ) -> Result<Response<CreateAlertsResponse>, Status> {
        Err(Status::unimplemented("not for the gateway"))
    }

    type WatchFiringsStream = futures::stream::Empty<Result<WatchFiringsResponse, Status>>;

    async fn watch_firings(
        &self,
        _: tonic::Request<WatchFiringsRequest>,
    ) -> Result<Response<Self::WatchFiringsStream>, Status> {
        Err(Status::unimplemented("not for the gateway"))
    }
}

/// Serves `alerts` on a port of `address` until the handle is aborted.
pub(crate) async fn serve(alerts: Scripted, address: &str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = Server::builder()
        .add_service(AlertServiceServer::new(alerts))
        .serve_with_incoming(TcpIncoming::from(listener));
    (address, tokio::spawn(async { serving.await.expect("serves") }))
}
