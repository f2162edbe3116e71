use std::sync::Arc;

use rpc::alert::v1;
use rpc::seed::alert::alert_service_server::AlertService;
use rpc::seed::alert::{
    Alert, AlertCondition, CreateAlertRequest, CreateAlertResponse, GetAlertsRequest,
    GetAlertsResponse,
};
use tonic::{Request, Response, Status};
use triggers::Condition;

use super::calls::{Calls, LARGEST_PAGE};
use super::input;

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
        let (name, condition) = match request.condition() {
            AlertCondition::ConditionUnspecified => ("", None),
            AlertCondition::Above => ("ABOVE", Some(v1::AlertCondition::Above)),
            AlertCondition::Below => ("BELOW", Some(v1::AlertCondition::Below)),
        };
        let CreateAlertRequest { user_id, symbol, target_price, .. } = request;
        let wish = self.calls.rules().plain_wish(user_id, symbol, condition, target_price)?;
        let symbol = wish.symbol.clone();
        let alert_id = self.calls.create(wish).await?.id;
        let message = format!("Alert created: {symbol} {name} ${target_price:.2}");
        Ok(Response::new(CreateAlertResponse { alert_id, message }))
    }

    async fn get_alerts(
        &self,
        request: Request<GetAlertsRequest>,
    ) -> Result<Response<GetAlertsResponse>, Status> {
        let GetAlertsRequest { user_id, active_only } = request.into_inner();
        let filter = input::filter(user_id, active_only, "", &[])?;
        let page = self.calls.list(&filter, 0, LARGEST_PAGE).await?;
        let alerts = page.rows.into_iter().map(alert).collect();
        Ok(Response::new(GetAlertsResponse { alerts }))
    }
}

/// A condition that the original does not know is none in its words.
fn alert(listed: store::Alert) -> Alert {
    let (condition, target_price) = match listed.terms.condition() {
        Condition::Above(price) => (AlertCondition::Above, price.get()),
        Condition::Below(price) => (AlertCondition::Below, price.get()),
        _ => (AlertCondition::ConditionUnspecified, 0.0),
    };
    Alert {
        id: listed.id,
        user_id: listed.user_id,
        symbol: listed.symbol,
        target_price,
        condition: condition.into(),
        triggered: listed.status == store::Status::Triggered,
        created_at: listed.created_at.div_euclid(1_000),
    }
}
