//! The alerts of a run, and what they have fired.

use std::collections::HashMap;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use rpc::alert::v1::alert_service_client::AlertServiceClient;
use rpc::alert::v1::{
    AlertCondition, CreateAlertRequest, CreateAlertsRequest, DeleteAlertRequest, Firing,
    GetFiringsRequest,
};
use tonic::transport::{Channel, Endpoint};

use crate::bench::market::Market;
use crate::bench::plan::Step;
use crate::bench::wrong::Wrong;
use crate::probe::splitmix;

/// Whose they are.
const USER: i64 = 1;

/// In a call that makes many, and calls under way at once.
const A_CALL: usize = 10_000;
const CALLERS: usize = 2;
const A_PAGE: i32 = 10_000;
/// Calls under way at once that are for one alert each.
const ONES_AT_ONCE: usize = 32;

/// What the alerts that never fire wait for: above every spike (tenths), or below every price
/// (hundredths).
const OUT_OF_REACH: u64 = 10_000_000;
const BELOW: u64 = 9_000;

/// The alert service, and the firing that was the newest at the start.
#[derive(Clone, Debug)]
pub(crate) struct Alerts {
    client: AlertServiceClient<Channel>,
    newest: i64,
}

impl Alerts {
    pub(crate) async fn connect(address: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.connect().await.with_context(|| format!("alerts at {address}"))?;
        let mut alerts = Self { client: AlertServiceClient::new(channel), newest: 0 };
        alerts.newest = alerts.page(1, String::new()).await?.0.first().map_or(0, |it| it.id);
        Ok(alerts)
    }

    /// Makes those that never fire.
    pub(crate) async fn make_idle(&self, market: &Market, count: u64) -> anyhow::Result<()> {
        let calls = (0..count).step_by(A_CALL).map(|from| {
            let numbers = from..(from + A_CALL as u64).min(count);
            numbers.map(|number| idle(market, number)).collect()
        });
        self.make(calls).await.map(drop)
    }

    /// Makes those that a step's trades fire; their ids, in order.
    pub(crate) async fn make_firing(
        &self,
        market: &Market,
        step: &Step,
    ) -> anyhow::Result<Vec<i64>> {
        let wish = |alert| {
            let symbol = market.spread.symbol_of(step.spike(alert));
            level(&market.symbols[symbol], AlertCondition::Above, step.target(alert))
        };
        let wishes: Vec<_> = (0..step.alerts).map(wish).collect();
        self.make(wishes.chunks(A_CALL).map(<[_]>::to_vec)).await
    }

    async fn make(
        &self,
        calls: impl Iterator<Item = Vec<CreateAlertRequest>>,
    ) -> anyhow::Result<Vec<i64>> {
        let calls = calls.map(|alerts| {
            let mut client = self.client.clone();
            async move {
                let made = client.create_alerts(CreateAlertsRequest { alerts }).await;
                anyhow::Ok(made.context("alerts were not made")?.into_inner().alert_ids)
            }
        });
        let ids: Vec<Vec<i64>> =
            futures::stream::iter(calls).buffered(CALLERS).try_collect().await?;
        Ok(ids.into_iter().flatten().collect())
    }

    /// Takes back those that a step was stopped before: a later one's trades would fire them.
    pub(crate) async fn take_back(&self, ids: &[i64]) -> anyhow::Result<()> {
        let calls = ids.iter().map(|id| {
            let mut client = self.client.clone();
            let request = DeleteAlertRequest { id: *id, user_id: USER, ..Default::default() };
            async move { client.delete_alert(request).await.context("an alert was not taken back") }
        });
        futures::stream::iter(calls).buffered(ONES_AT_ONCE).try_for_each(|_| async { Ok(()) }).await
    }

    /// Everything that anybody's alert has fired since the start, or since this was last asked.
    pub(crate) async fn fired(&mut self) -> anyhow::Result<Vec<Firing>> {
        let (mut fired, mut token) = (Vec::new(), String::new());
        loop {
            let (page, next) = self.page(A_PAGE, token).await?;
            let is_last = next.is_empty() || page.iter().any(|firing| firing.id <= self.newest);
            fired.extend(page.into_iter().filter(|firing| firing.id > self.newest));
            if is_last {
                break;
            }
            token = next;
        }
        self.newest = fired.first().map_or(self.newest, |firing| firing.id);
        Ok(fired)
    }

    /// The newest first, and where the next page begins.
    async fn page(
        &self,
        page_size: i32,
        page_token: String,
    ) -> anyhow::Result<(Vec<Firing>, String)> {
        let request = GetFiringsRequest { page_size, page_token, ..GetFiringsRequest::default() };
        let page = self.client.clone().get_firings(request).await.context("firings")?.into_inner();
        Ok((page.firings, page.next_page_token))
    }
}

/// Far above or below, at levels of their own.
fn idle(market: &Market, number: u64) -> CreateAlertRequest {
    let dice = splitmix(number);
    let symbol = &market.symbols[(dice % market.symbols.len() as u64) as usize];
    match dice >> 63 {
        0 => level(symbol, AlertCondition::Above, (OUT_OF_REACH + number) as f64 / 10.0),
        _ => level(symbol, AlertCondition::Below, (1 + (dice >> 32) % BELOW) as f64 / 100.0),
    }
}

fn level(symbol: &str, condition: AlertCondition, target_price: f64) -> CreateAlertRequest {
    CreateAlertRequest {
        user_id: USER,
        symbol: symbol.to_owned(),
        condition: condition.into(),
        target_price,
        ..CreateAlertRequest::default()
    }
}

/// Holds what has fired against what a step's trades before `end` fire: each alert once and on its
/// trade, and nothing else. Pure.
pub(crate) fn compare(
    market: &Market,
    (step, end): (&Step, u64),
    ids: &[i64],
    fired: &[Firing],
    wrong: &mut Wrong,
) {
    let mut expected: HashMap<i64, u64> =
        ids.iter().copied().zip(0..).filter(|(_, alert)| step.spike(*alert) < end).collect();
    for firing in fired {
        let id = firing.alert_id;
        let Some(alert) = expected.remove(&id) else {
            wrong.add("firings that were not to be, or came twice", || {
                format!("alert {id} at {}", firing.price)
            });
            continue;
        };
        let number = step.spike(alert);
        let is_right = firing.price == step.price(number) as f64 / 100.0
            && firing.trade_time == step.time(number)
            && firing.symbol == market.symbols[market.spread.symbol_of(number)];
        if !is_right {
            wrong.add("firings on another trade", || format!("alert {id} at {}", firing.price));
        }
    }
    let mut lost: Vec<i64> = expected.into_keys().collect();
    lost.sort_unstable();
    lost.into_iter().for_each(|id| wrong.add("firings that are lost", || format!("alert {id}")));
}

/// How many alerts a step's trades before `end` fire.
pub(crate) fn fires(step: &Step, end: u64) -> usize {
    (0..step.alerts).take_while(|alert| step.spike(*alert) < end).count()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::bench::plan::Spread;
    use crate::bench::plan::tests::step;
    use crate::cli::Distribution;

    fn market() -> Market {
        let spread = Spread::new(NonZeroUsize::MIN, Distribution::Uniform);
        Market::new(vec!["A".to_owned()], spread)
    }

    fn firing(alert: u64) -> Firing {
        let (step, number) = (step(), step().spike(alert));
        Firing {
            alert_id: 1_000 + alert.cast_signed(),
            symbol: "A".to_owned(),
            price: step.price(number) as f64 / 100.0,
            trade_time: step.time(number),
            ..Firing::default()
        }
    }

    #[test]
    fn each_alert_fires_once_and_on_its_trade() {
        let step = step();
        let ids: Vec<i64> = (0..step.alerts.cast_signed()).map(|alert| 1_000 + alert).collect();
        let end = step.spike(2) + 1;
        let check = |fired: &[Firing], expected: &[&str]| {
            let mut wrong = Wrong::default();
            compare(&market(), (&step, end), &ids, fired, &mut wrong);
            assert_eq!(wrong.sentences(), expected);
        };
        let all = [firing(0), firing(1), firing(2)];
        assert_eq!(fires(&step, end), 3);
        check(&all, &[]);
        check(&all[..2], &["1 firings that are lost: alert 1002"]);
        let twice = [&all[..], &[firing(1)]].concat();
        check(&twice, &["1 firings that were not to be, or came twice: alert 1001 at 1008"]);
        let early = [&all[..], &[firing(3)]].concat();
        check(&early, &["1 firings that were not to be, or came twice: alert 1003 at 1010"]);
        let other = Firing { price: 1_009.5, ..firing(2) };
        check(
            &[firing(0), firing(1), other],
            &["1 firings on another trade: alert 1002 at 1009.5"],
        );
    }

    #[test]
    fn idle_alerts_are_out_of_reach() {
        for number in 0..10_000 {
            let wish = idle(&market(), number);
            let above = wish.condition == i32::from(AlertCondition::Above);
            assert!(if above { wish.target_price >= 1e6 } else { wish.target_price < 91.0 });
        }
    }
}
