mod refusal;

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context;
use metrics::Histogram;
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::{
    CreateAlertRequest, CreateAlertResponse, GetAlertsRequest, GetAlertsResponse,
};
use service::{catalogue, traces};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::span;
use crate::sparingly::Sparingly;

pub(crate) use refusal::Refusal;

/// How long a connection to the alert service may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection may be silent before it is asked whether it is still there, and how long
/// the answer may take: a peer that vanished without a word is noticed within the sum.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// A list is asked for once more after each of these while the service is away: long enough for
/// a connection that was just closed to be opened again.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// The alert service, over one connection that all requests share. Connects when first needed, and
/// again by itself.
#[derive(Debug)]
pub struct Alerts {
    client: AlertServiceClient<Channel>,
    timeout: Duration,
    create_seconds: Histogram,
    list_seconds: Histogram,
    log: Sparingly,
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
        let seconds = |method| catalogue::ALERT_CALL.with("method", method).histogram();
        Ok(Self {
            client: AlertServiceClient::new(channel),
            timeout,
            create_seconds: seconds("CreateAlert"),
            list_seconds: seconds("GetAlerts"),
            log: Sparingly::default(),
        })
    }

    /// Sent at most once: a second attempt could make a second alert.
    pub(crate) async fn create(
        &self,
        alert: CreateAlertRequest,
    ) -> Result<CreateAlertResponse, Refusal> {
        let mut client = self.client.clone();
        let mut request = Request::new(alert);
        request.set_timeout(self.timeout);
        let call = span::of_call("CreateAlert");
        traces::inject(&call, request.metadata_mut().as_mut());
        let asking = span::within(call, client.create_alert(request));
        self.within(&self.create_seconds, asking).await
    }

    /// Asked again where the service is away, for as long as the deadline lets it.
    pub(crate) async fn list(
        &self,
        filter: GetAlertsRequest,
    ) -> Result<GetAlertsResponse, Refusal> {
        let deadline = Instant::now() + self.timeout;
        let asking = async {
            let mut pauses = RETRY_AFTER.iter();
            loop {
                let mut request = Request::new(filter.clone());
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
                let call = span::of_call("GetAlerts");
                traces::inject(&call, request.metadata_mut().as_mut());
                let mut client = self.client.clone();
                let answer = span::within(call, client.get_alerts(request)).await;
                match (answer, pauses.next()) {
                    (Err(status), Some(pause)) if is_away(&status) => {
                        tokio::time::sleep(*pause).await;
                    }
                    (answer, _) => return answer,
                }
            }
        };
        self.within(&self.list_seconds, asking).await
    }

    /// tonic's own deadline begins only when there is a connection.
    async fn within<T>(
        &self,
        seconds: &Histogram,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Refusal> {
        let started = Instant::now();
        let answer = tokio::time::timeout(self.timeout, call).await;
        seconds.record(started.elapsed().as_secs_f64());
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

fn is_away(status: &Status) -> bool {
    Refusal::new(status).code == Code::Unavailable
}
