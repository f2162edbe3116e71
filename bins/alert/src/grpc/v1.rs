use std::sync::Arc;

use rpc::alert::v1::alert_service_server::AlertService;
use rpc::alert::v1::{
    Alert, AlertCondition, AlertStatus, CreateAlertRequest, CreateAlertResponse, GetAlertsRequest,
    GetAlertsResponse,
};
use store::{Condition, ListedAlert};
use tonic::{Request, Response, Status};

use super::calls::Calls;
use super::input::{self, Wanted};

/// `gostocks.alert.v1.AlertService`.
#[derive(Debug)]
pub(crate) struct V1 {
    calls: Arc<Calls>,
}

impl V1 {
    pub(crate) fn new(calls: Arc<Calls>) -> Self {
        Self { calls }
    }
}

#[tonic::async_trait]
impl AlertService for V1 {
    async fn create_alert(
        &self,
        request: Request<CreateAlertRequest>,
    ) -> Result<Response<CreateAlertResponse>, Status> {
        let request = request.into_inner();
        let condition = match request.condition() {
            AlertCondition::Unspecified => None,
            AlertCondition::Above => Some(Condition::Above),
            AlertCondition::Below => Some(Condition::Below),
        };
        let CreateAlertRequest { user_id, symbol, target_price, .. } = request;
        let wanted = Wanted { user_id, symbol: &symbol, condition, target_price };
        let wish = wanted.check(self.calls.partitions())?;
        let created = self.calls.create(wish.clone()).await?;
        let alert = Alert {
            id: created.id,
            user_id: wish.user_id.get(),
            symbol: wish.symbol.as_str().to_owned(),
            condition: condition_of(wish.condition).into(),
            target_price: wish.target_price.get(),
            status: AlertStatus::Active.into(),
            generation: 1,
            created_at: created.created_at,
            triggered_at: None,
        };
        Ok(Response::new(CreateAlertResponse { alert: Some(alert) }))
    }

    async fn get_alerts(
        &self,
        request: Request<GetAlertsRequest>,
    ) -> Result<Response<GetAlertsResponse>, Status> {
        let GetAlertsRequest { user_id, active_only, page_size, page_token } = request.into_inner();
        let filter = input::filter(user_id, active_only)?;
        let (after, limit) = (input::after(&page_token)?, input::page_size(page_size)?);
        let page = self.calls.list(filter, after, limit).await?;
        let next_page_token = match page.alerts.last() {
            Some(last) if page.more => input::page_token(last.id),
            _ => String::new(),
        };
        let alerts = page.alerts.into_iter().map(alert).collect();
        Ok(Response::new(GetAlertsResponse { alerts, next_page_token }))
    }
}

fn condition_of(condition: Condition) -> AlertCondition {
    match condition {
        Condition::Above => AlertCondition::Above,
        Condition::Below => AlertCondition::Below,
    }
}

fn alert(listed: ListedAlert) -> Alert {
    let status = match listed.status {
        store::Status::Active => AlertStatus::Active,
        store::Status::Paused => AlertStatus::Paused,
        store::Status::Triggered => AlertStatus::Triggered,
        store::Status::Expired => AlertStatus::Expired,
        store::Status::Deleted => AlertStatus::Deleted,
    };
    Alert {
        id: listed.id,
        user_id: listed.user_id,
        symbol: listed.symbol,
        condition: condition_of(listed.condition).into(),
        target_price: listed.target_price.get(),
        status: status.into(),
        generation: listed.generation,
        created_at: listed.created_at,
        triggered_at: listed.triggered_at,
    }
}
