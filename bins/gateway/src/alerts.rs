mod refusal;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use metrics::Histogram;
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::{
    Alert, CreateAlertRequest, CreateAlertResponse, DeleteAlertRequest, GetAlertRequest,
    GetAlertsRequest, GetAlertsResponse, GetFiringsRequest, GetFiringsResponse, PauseAlertRequest,
    RearmAlertRequest, ResumeAlertRequest, UpdateAlertRequest, WatchFiringsRequest,
    WatchFiringsResponse,
};
use service::{ReadyFlag, catalogue, traces};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tracing::Span;

use crate::span;
use crate::sparingly::Sparingly;

pub(crate) use refusal::Refusal;

/// Which alert, whose it must be (0: anybody's), and at which version (`None`: at any).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) id: i64,
    pub(crate) user_id: i64,
    pub(crate) expected_version: Option<i64>,
}

/// How long a connection to the alert service may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection may be silent before it is asked whether it is still there, and how long
/// the answer may take: a peer that vanished without a word is noticed within the sum.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// What has no effect is asked for once more after each of these while the service is away: long enough for
/// a connection that was just closed to be opened again.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// How often the service is asked whether it takes calls, and so how long a change goes unnoticed.
const ASK_HEALTH_EVERY: Duration = Duration::from_secs(1);

/// The alert service, over one connection that all requests share. Connects when first needed, and
/// again by itself.
#[derive(Debug)]
pub struct Alerts {
    client: Client,
    health: HealthClient<Channel>,
    timeout: Duration,
    /// In the order of [`Method::ALL`].
    seconds: [Histogram; Method::ALL.len()],
    log: Sparingly,
    /// As it said of its health a moment ago.
    answers: AtomicBool,
}

impl Alerts {
    /// Does not connect yet. Must be called within a runtime.
    ///
    /// # Errors
    /// Where `address` is not `host:port`.
    pub fn new(address: &str, timeout: Duration) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .context("ALERT_SERVICE_ADDR")?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_lazy();
        let seconds =
            |method: Method| catalogue::ALERT_CALL.with("method", method.as_str()).histogram();
        Ok(Self {
            client: AlertServiceClient::new(channel.clone()),
            health: HealthClient::new(channel),
            timeout,
            seconds: Method::ALL.map(seconds),
            log: Sparingly::default(),
            answers: AtomicBool::new(false),
        })
    }

    /// Keeps `ready` true to whether the service takes calls, until `stopping`.
    pub(crate) async fn watch(self: Arc<Self>, ready: ReadyFlag, stopping: CancellationToken) {
        let watching = async {
            loop {
                let reason = self.health().await;
                self.answers.store(reason.is_none(), Ordering::Relaxed);
                match reason {
                    None => ready.set(),
                    Some(reason) => ready.clear(reason),
                }
                tokio::time::sleep(ASK_HEALTH_EVERY).await;
            }
        };
        stopping.run_until_cancelled(watching).await;
    }

    /// Whether it takes calls, as far as is known.
    pub(crate) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Why it takes no calls.
    async fn health(&self) -> Option<&'static str> {
        let mut health = self.health.clone();
        let asking = health.check(HealthCheckRequest::default());
        match tokio::time::timeout(self.timeout, asking).await {
            Ok(Ok(answer)) => {
                let HealthCheckResponse { status } = answer.into_inner();
                (status != i32::from(ServingStatus::Serving)).then_some("is not ready")
            }
            // Who knows nothing of health is there.
            Ok(Err(status)) if status.code() == Code::Unimplemented => None,
            Ok(Err(_)) | Err(_) => Some("does not answer"),
        }
    }

    /// Sent at most once: a second attempt could make a second alert.
    pub(crate) async fn create(
        &self,
        alert: CreateAlertRequest,
    ) -> Result<CreateAlertResponse, Refusal> {
        self.once(Method::Create, alert, async |mut client: Client, request| {
            client.create_alert(request).await
        })
        .await
    }

    pub(crate) async fn list(
        &self,
        filter: GetAlertsRequest,
    ) -> Result<GetAlertsResponse, Refusal> {
        self.again(Method::List, filter, async |mut client: Client, request| {
            client.get_alerts(request).await
        })
        .await
    }

    pub(crate) async fn firings(
        &self,
        filter: GetFiringsRequest,
    ) -> Result<GetFiringsResponse, Refusal> {
        self.again(Method::Firings, filter, async |mut client: Client, request| {
            client.get_firings(request).await
        })
        .await
    }

    pub(crate) async fn get(&self, id: i64, user_id: i64) -> Result<Alert, Refusal> {
        let request = GetAlertRequest { id, user_id };
        let ask = async |mut client: Client, request| client.get_alert(request).await;
        Ok(self.again(Method::Get, request, ask).await?.alert.unwrap_or_default())
    }

    pub(crate) async fn update(&self, request: UpdateAlertRequest) -> Result<Alert, Refusal> {
        let ask = async |mut client: Client, request| client.update_alert(request).await;
        Ok(self.once(Method::Update, request, ask).await?.alert.unwrap_or_default())
    }

    pub(crate) async fn pause(&self, target: Target) -> Result<Alert, Refusal> {
        let Target { id, user_id, expected_version } = target;
        let request = PauseAlertRequest { id, user_id, expected_version };
        let ask = async |mut client: Client, request| client.pause_alert(request).await;
        Ok(self.once(Method::Pause, request, ask).await?.alert.unwrap_or_default())
    }

    pub(crate) async fn resume(&self, target: Target) -> Result<Alert, Refusal> {
        let Target { id, user_id, expected_version } = target;
        let request = ResumeAlertRequest { id, user_id, expected_version };
        let ask = async |mut client: Client, request| client.resume_alert(request).await;
        Ok(self.once(Method::Resume, request, ask).await?.alert.unwrap_or_default())
    }

    pub(crate) async fn rearm(&self, target: Target) -> Result<Alert, Refusal> {
        let Target { id, user_id, expected_version } = target;
        let request = RearmAlertRequest { id, user_id, expected_version };
        let ask = async |mut client: Client, request| client.rearm_alert(request).await;
        Ok(self.once(Method::Rearm, request, ask).await?.alert.unwrap_or_default())
    }

    pub(crate) async fn delete(&self, target: Target) -> Result<(), Refusal> {
        let Target { id, user_id, expected_version } = target;
        let request = DeleteAlertRequest { id, user_id, expected_version };
        let ask = async |mut client: Client, request| client.delete_alert(request).await;
        self.once(Method::Delete, request, ask).await.map(drop)
    }

    /// Firings as they are stored, from the one after `after` on, or from now on.
    pub(crate) async fn watch_firings(
        &self,
        after: Option<i64>,
    ) -> Result<Streaming<WatchFiringsResponse>, Refusal> {
        let message = WatchFiringsRequest { after_firing_id: after, ..Default::default() };
        let mut request = Request::new(message);
        // The gateway's own wish: nobody's trace.
        traces::inject(&Span::none(), request.metadata_mut().as_mut());
        let mut client = self.client.clone();
        let call = async { client.watch_firings(request).await };
        self.within(Method::Watch, call).await
    }

    /// For what has an effect.
    async fn once<Q, A>(
        &self,
        method: Method,
        message: Q,
        ask: impl AsyncFn(Client, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Refusal> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        let call = span::of_call(method.as_str());
        traces::inject(&call, request.metadata_mut().as_mut());
        let asking = span::within(call, ask(self.client.clone(), request));
        self.within(method, asking).await
    }

    /// Asked again where the service is away, for as long as the deadline lets it.
    async fn again<Q: Clone, A>(
        &self,
        method: Method,
        message: Q,
        ask: impl AsyncFn(Client, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Refusal> {
        let deadline = Instant::now() + self.timeout;
        let asking = async {
            let mut pauses = RETRY_AFTER.iter();
            loop {
                let mut request = Request::new(message.clone());
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
                let call = span::of_call(method.as_str());
                traces::inject(&call, request.metadata_mut().as_mut());
                let answer = span::within(call, ask(self.client.clone(), request)).await;
                match (answer, pauses.next()) {
                    (Err(status), Some(pause)) if is_away(&status) => {
                        tokio::time::sleep(*pause).await;
                    }
                    (answer, _) => return answer,
                }
            }
        };
        self.within(method, asking).await
    }

    /// tonic's own deadline begins only when there is a connection.
    async fn within<T>(
        &self,
        method: Method,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Refusal> {
        let started = Instant::now();
        let answer = tokio::time::timeout(self.timeout, call).await;
        self.seconds[method as usize].record(started.elapsed().as_secs_f64());
        let refusal = match answer {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => Refusal::new(&status),
            Err(_) => Refusal::late(),
        };
        if refusal.is_the_services() && self.log.is_due() {
            tracing::warn!("the alert service: {refusal}");
        }
        Err(refusal)
    }
}

type Client = AlertServiceClient<Channel>;

/// The calls that are made.
#[derive(Clone, Copy, Debug)]
enum Method {
    Create,
    List,
    Firings,
    Get,
    Update,
    Pause,
    Resume,
    Rearm,
    Delete,
    Watch,
}

impl Method {
    const ALL: [Self; 10] = [
        Self::Create,
        Self::List,
        Self::Firings,
        Self::Get,
        Self::Update,
        Self::Pause,
        Self::Resume,
        Self::Rearm,
        Self::Delete,
        Self::Watch,
    ];

    /// Its name in the proto file.
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CreateAlert",
            Self::List => "GetAlerts",
            Self::Firings => "GetFirings",
            Self::Get => "GetAlert",
            Self::Update => "UpdateAlert",
            Self::Pause => "PauseAlert",
            Self::Resume => "ResumeAlert",
            Self::Rearm => "RearmAlert",
            Self::Delete => "DeleteAlert",
            Self::Watch => "WatchFirings",
        }
    }
}

fn is_away(status: &Status) -> bool {
    Refusal::new(status).code == Code::Unavailable
}
