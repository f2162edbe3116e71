use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use rpc::alert::v1::alert_service_server::AlertService;
use rpc::alert::v1::{
    Alert, CreateAlertRequest, CreateAlertResponse, CreateAlertsRequest, CreateAlertsResponse,
    DeleteAlertRequest, DeleteAlertResponse, GetAlertRequest, GetAlertResponse, GetAlertsRequest,
    GetAlertsResponse, GetFiringsRequest, GetFiringsResponse, PauseAlertRequest,
    PauseAlertResponse, RearmAlertRequest, RearmAlertResponse, ResumeAlertRequest,
    ResumeAlertResponse, UpdateAlertRequest, UpdateAlertResponse, WatchFiringsRequest,
    WatchFiringsResponse,
};
use store::{Change, Of, Patch, Target, Wish};
use tonic::{Request, Response, Status};

use super::calls::{Calls, LARGEST_PAGE};
use super::firings::{Wanted, Watching};
use super::input::{self, BY_ID, ConditionFields, NEWEST_FIRST, Wrong, page_token};
use crate::messages;

/// Paths of an update: there are four.
const MOST_PATHS: usize = 16;

/// `gostocks.alert.v1.AlertService`.
#[derive(Debug)]
pub(crate) struct V1 {
    calls: Arc<Calls>,
    watching: Watching,
}

impl V1 {
    pub(crate) fn new(calls: Arc<Calls>, watching: Watching) -> Self {
        Self { calls, watching }
    }

    async fn change(
        &self,
        id: i64,
        user_id: i64,
        expected_version: Option<i64>,
        change: Change,
    ) -> Result<Option<Alert>, Status> {
        let user_id = input::owner(user_id)?;
        let target = Target { id, user_id, row_version: expected_version };
        let alert = self.calls.change(target, change).await?;
        Ok(Some(messages::alert(alert)))
    }

    /// What an update says.
    fn patch(&self, request: UpdateAlertRequest) -> Result<(Target, Patch), Status> {
        let UpdateAlertRequest { alert, update_mask, user_id, expected_version } = request;
        let user_id = input::owner(user_id)?;
        let (alert, mask) = (alert.unwrap_or_default(), update_mask.unwrap_or_default());
        if mask.paths.len() > MOST_PATHS {
            let why = format!("has more than {MOST_PATHS} paths");
            return Err(input::invalid(vec![("update_mask", why)]));
        }
        let (rules, mut wrong, mut patch) = (self.calls.rules(), Wrong::new(), Patch::default());
        for path in &mask.paths {
            match path.as_str() {
                "condition" => {
                    let Alert { target_price, lower_price, upper_price, percent, .. } = alert;
                    let fields =
                        ConditionFields { target_price, lower_price, upper_price, percent };
                    let condition = input::condition_of(alert.condition);
                    patch.condition = fields.read(condition, &mut wrong);
                }
                "repeat" => patch.repeat = Some(rules.repeat(alert.repeat, &mut wrong)),
                "expires_at" => {
                    patch.expires_at = Some(rules.expiry(alert.expires_at, &mut wrong));
                }
                "note" => patch.note = Some(input::note(alert.note.clone(), &mut wrong)),
                other => {
                    let why = format!("{other:?} cannot be changed");
                    wrong.push(("update_mask", why));
                }
            }
        }
        if mask.paths.is_empty() {
            wrong.push(("update_mask", "must say what is to be changed".to_owned()));
        }
        if !wrong.is_empty() {
            return Err(input::invalid(wrong));
        }
        Ok((Target { id: alert.id, user_id, row_version: expected_version }, patch))
    }
}

#[tonic::async_trait]
impl AlertService for V1 {
    async fn create_alert(
        &self,
        request: Request<CreateAlertRequest>,
    ) -> Result<Response<CreateAlertResponse>, Status> {
        let wish = self.calls.rules().wish(request.into_inner())?;
        let created = self.calls.create(wish.clone()).await?;
        let alert = Some(messages::created(wish, created));
        Ok(Response::new(CreateAlertResponse { alert }))
    }

    async fn create_alerts(
        &self,
        request: Request<CreateAlertsRequest>,
    ) -> Result<Response<CreateAlertsResponse>, Status> {
        let CreateAlertsRequest { alerts } = request.into_inner();
        if alerts.len() > LARGEST_PAGE as usize {
            let why = format!("must be at most {LARGEST_PAGE}");
            return Err(input::invalid(vec![("alerts", why)]));
        }
        let rules = self.calls.rules();
        let wish = |(number, alert)| -> Result<Wish, Status> {
            let wish: Result<Wish, Status> = rules.wish(alert);
            wish.map_err(|status| {
                Status::new(status.code(), format!("alerts[{number}]: {}", status.message()))
            })
        };
        let wishes: Result<Vec<Wish>, Status> = alerts.into_iter().enumerate().map(wish).collect();
        let alert_ids = self.calls.create_many(wishes?).await?;
        Ok(Response::new(CreateAlertsResponse { alert_ids }))
    }

    async fn get_alert(
        &self,
        request: Request<GetAlertRequest>,
    ) -> Result<Response<GetAlertResponse>, Status> {
        let GetAlertRequest { id, user_id } = request.into_inner();
        let target = Target { id, user_id: input::owner(user_id)?, row_version: None };
        let alert = Some(messages::alert(self.calls.get(target).await?));
        Ok(Response::new(GetAlertResponse { alert }))
    }

    async fn get_alerts(
        &self,
        request: Request<GetAlertsRequest>,
    ) -> Result<Response<GetAlertsResponse>, Status> {
        let GetAlertsRequest { user_id, active_only, page_size, page_token, symbol, statuses } =
            request.into_inner();
        let filter = input::filter(user_id, active_only, &symbol, &statuses)?;
        let after = input::after(BY_ID, 0, &page_token)?;
        let page = self.calls.list(&filter, after, input::page_size(page_size)?).await?;
        let last = page.rows.last().filter(|_| page.more);
        let next_page_token =
            last.map_or_else(String::new, |last| self::page_token(BY_ID, last.id));
        let alerts = page.rows.into_iter().map(messages::alert).collect();
        Ok(Response::new(GetAlertsResponse { alerts, next_page_token }))
    }

    async fn update_alert(
        &self,
        request: Request<UpdateAlertRequest>,
    ) -> Result<Response<UpdateAlertResponse>, Status> {
        let (target, patch) = self.patch(request.into_inner())?;
        let alert = self.calls.change(target, Change::Patch(patch)).await?;
        let alert = Some(messages::alert(alert));
        Ok(Response::new(UpdateAlertResponse { alert }))
    }

    async fn pause_alert(
        &self,
        request: Request<PauseAlertRequest>,
    ) -> Result<Response<PauseAlertResponse>, Status> {
        let PauseAlertRequest { id, user_id, expected_version } = request.into_inner();
        let alert = self.change(id, user_id, expected_version, Change::Pause).await?;
        Ok(Response::new(PauseAlertResponse { alert }))
    }

    async fn resume_alert(
        &self,
        request: Request<ResumeAlertRequest>,
    ) -> Result<Response<ResumeAlertResponse>, Status> {
        let ResumeAlertRequest { id, user_id, expected_version } = request.into_inner();
        let alert = self.change(id, user_id, expected_version, Change::Resume).await?;
        Ok(Response::new(ResumeAlertResponse { alert }))
    }

    async fn rearm_alert(
        &self,
        request: Request<RearmAlertRequest>,
    ) -> Result<Response<RearmAlertResponse>, Status> {
        let RearmAlertRequest { id, user_id, expected_version } = request.into_inner();
        let alert = self.change(id, user_id, expected_version, Change::Rearm).await?;
        Ok(Response::new(RearmAlertResponse { alert }))
    }

    async fn delete_alert(
        &self,
        request: Request<DeleteAlertRequest>,
    ) -> Result<Response<DeleteAlertResponse>, Status> {
        let DeleteAlertRequest { id, user_id, expected_version } = request.into_inner();
        self.change(id, user_id, expected_version, Change::Delete).await?;
        Ok(Response::new(DeleteAlertResponse {}))
    }

    async fn get_firings(
        &self,
        request: Request<GetFiringsRequest>,
    ) -> Result<Response<GetFiringsResponse>, Status> {
        let GetFiringsRequest { alert_id, user_id, page_size, page_token } = request.into_inner();
        let user = input::owner(user_id)?;
        let of = match (alert_id, user) {
            (0, None) => Of::Everybody,
            (0, Some(user)) => Of::User(user),
            (id, user_id) => {
                // One that there is, and whose.
                self.calls.get(Target { id, user_id, row_version: None }).await?;
                Of::Alert(id)
            }
        };
        let before = input::after(NEWEST_FIRST, i64::MAX, &page_token)?;
        let page = self.calls.firings(of, before, input::page_size(page_size)?).await?;
        let last = page.rows.last().filter(|_| page.more);
        let next_page_token =
            last.map_or_else(String::new, |last| self::page_token(NEWEST_FIRST, last.id));
        let firings = page.rows.iter().map(messages::firing).collect();
        Ok(Response::new(GetFiringsResponse { firings, next_page_token }))
    }

    type WatchFiringsStream =
        Pin<Box<dyn Stream<Item = Result<WatchFiringsResponse, Status>> + Send>>;

    async fn watch_firings(
        &self,
        request: Request<WatchFiringsRequest>,
    ) -> Result<Response<Self::WatchFiringsStream>, Status> {
        let WatchFiringsRequest { user_id, symbol, after_firing_id } = request.into_inner();
        let wanted = Wanted {
            user_id: input::owner(user_id)?,
            symbol: input::filter(0, false, &symbol, &[])?.symbol,
        };
        let stream = self.watching.watch(wanted, after_firing_id).await?;
        Ok(Response::new(Box::pin(stream)))
    }
}
