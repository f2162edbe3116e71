use std::sync::Arc;

use rpc::seed::alert::alert_service_server::AlertService;
use rpc::seed::alert::{
    Alert, AlertCondition, CreateAlertRequest, CreateAlertResponse, GetAlertsRequest,
    GetAlertsResponse,
};
use store::{Condition, ListedAlert};
use tonic::{Request, Response, Status};

use super::calls::{Calls, LARGEST_PAGE};
use super::input::{self, Wanted};

/// The original's service, for clients that were made from its files.
#[derive(Debug)]
pub(crate) struct Original {
    calls: Arc<Calls>,
}

impl Original {
    pub(crate) fn new(calls: Arc<Calls>) -> Self {
        Self { calls }
    }
}

#[tonic::async_trait]
impl AlertService for Original {
    async fn create_alert(
        &self,
        request: Request<CreateAlertRequest>,
    ) -> Result<Response<CreateAlertResponse>, Status> {
        let request = request.into_inner();
        let condition = match request.condition() {
            AlertCondition::ConditionUnspecified => None,
            AlertCondition::Above => Some(Condition::Above),
            AlertCondition::Below => Some(Condition::Below),
        };
        let CreateAlertRequest { user_id, symbol, target_price, .. } = request;
        let wanted = Wanted { user_id, symbol: &symbol, condition, target_price };
        let wish = wanted.check(self.calls.partitions())?;
        let (symbol, condition) = (wish.symbol.clone(), of_store(wish.condition).as_str_name());
        let alert_id = self.calls.create(wish).await?.id;
        let message = format!("Alert created: {symbol} {condition} ${target_price:.2}");
        Ok(Response::new(CreateAlertResponse { alert_id, message }))
    }

    async fn get_alerts(
        &self,
        request: Request<GetAlertsRequest>,
    ) -> Result<Response<GetAlertsResponse>, Status> {
        let GetAlertsRequest { user_id, active_only } = request.into_inner();
        let page = self.calls.list(input::filter(user_id, active_only)?, 0, LARGEST_PAGE).await?;
        let alerts = page.alerts.into_iter().map(alert).collect();
        Ok(Response::new(GetAlertsResponse { alerts }))
    }
}

fn of_store(condition: Condition) -> AlertCondition {
    match condition {
        Condition::Above => AlertCondition::Above,
        Condition::Below => AlertCondition::Below,
    }
}

fn alert(listed: ListedAlert) -> Alert {
    Alert {
        id: listed.id,
        user_id: listed.user_id,
        symbol: listed.symbol,
        target_price: listed.target_price.get(),
        condition: of_store(listed.condition).into(),
        triggered: listed.status == store::Status::Triggered,
        created_at: listed.created_at.div_euclid(1_000),
    }
}
