use std::collections::HashMap;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::{AlertCondition, CreateAlertRequest, Firing};
use tonic::transport::Endpoint;

use crate::probe::plan::Plan;
use crate::probe::tail::Tail;

/// Calls under way at once.
const CALLERS: usize = 32;

/// When each alert's firing was first seen on its topic (Unix nanoseconds), by the alert's id.
pub(crate) type Fired = HashMap<i64, u64>;

/// Makes the planned alerts; their ids, in the plan's order.
pub(crate) async fn create(address: &str, plan: &Plan) -> anyhow::Result<Vec<i64>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let client = AlertServiceClient::new(endpoint.connect_lazy());
    let calls = plan.spikes().iter().enumerate().map(|(alert, trade)| {
        let mut client = client.clone();
        let wish = CreateAlertRequest {
            user_id: 1,
            symbol: plan.symbols[plan.symbol_of(*trade)].clone(),
            condition: AlertCondition::Above.into(),
            target_price: plan.target(alert),
            ..CreateAlertRequest::default()
        };
        async move {
            let answer = client.create_alert(wish).await.context("an alert was not made")?;
            answer.into_inner().alert.map(|alert| alert.id).context("an alert without an id")
        }
    });
    futures::stream::iter(calls).buffered(CALLERS).try_collect().await
}

/// Reads the firings' topic for those of the alerts `ids`.
pub(crate) fn tail(brokers: &str, topic: &str, ids: &[i64]) -> anyhow::Result<Tail<Fired>> {
    let ours: std::collections::HashSet<i64> = ids.iter().copied().collect();
    Tail::start(brokers, topic, None, Fired::new(), move |fired, value, at| {
        let Ok(firing) = Firing::decode(value) else { return 0 };
        if !ours.contains(&firing.alert_id) || fired.contains_key(&firing.alert_id) {
            return 0;
        }
        fired.insert(firing.alert_id, at);
        1
    })
}
