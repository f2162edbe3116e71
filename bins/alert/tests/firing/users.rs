//! What users do to their alerts while trades flow.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use rpc::alert::v1::{AlertCondition, CreateAlertRequest};
use rpc::market::v1::StockTick;
use testkit::{Exit, eventually, postgresql};

use crate::PATIENCE;
use crate::rig::Rig;

#[test]
fn changes_while_trades_flow_neither_lose_nor_repeat_a_firing() {
    let mut rig = Rig::new("changed", postgresql().address());
    let mut service = rig.alerts.service();
    service.wait_ready();
    assert_eq!(rig.ask(500), 500);
    for round in 0..6 {
        let flow = rig.flow(20, 20);
        rig.change(150);
        flow.join().expect("no panic");
        if round == 2 {
            service.kill9();
            service = rig.alerts.service();
            service.wait_ready();
        }
        if round == 4 {
            assert_eq!(service.terminate(), Exit::Code(0));
            service = rig.alerts.service();
        }
    }
    assert!(rig.alerts.check("after all the changes") > 100);
    let changed = "SELECT count(*) FROM alerts WHERE revision > 0";
    assert!(rig.alerts.execute(changed).parse::<u32>().expect("a count") > 100);
}

/// Milliseconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    i64::try_from(since.as_millis()).expect("this age")
}

#[test]
fn an_alert_ends_with_the_first_trade_past_its_expiry() {
    let rig = Rig::new("expiry", postgresql().address());
    let mut service = rig.alerts.service();
    service.wait_ready();
    let soon = now() + 3_000;
    let later = soon + 3_600_000;
    let wish = |symbol: &str, target_price, expires_at: i64, condition: AlertCondition| {
        CreateAlertRequest {
            user_id: 1,
            symbol: symbol.into(),
            condition: condition.into(),
            target_price,
            expires_at: Some(expires_at),
            ..CreateAlertRequest::default()
        }
    };
    let (above, below) = (AlertCondition::Above, AlertCondition::Below);
    let make = |wish| rig.alerts.create([wish])[0];
    let in_time = make(wish("AAPL", 200.0, later, above));
    let too_late = make(wish("AAPL", 250.0, later, above));
    let unmet = make(wish("MSFT", 500.0, soon, above));
    let quiet = make(wish("NVDA", 1.0, soon, below));
    let trade = |symbol: &str, price, timestamp| {
        let tick = StockTick { symbol: symbol.into(), price, timestamp, ..StockTick::default() };
        rig.kafka.produce(&rig.topic, [(symbol, tick.encode_to_vec().as_slice())]);
    };
    trade("AAPL", 210.0, later - 1);
    trade("AAPL", 260.0, later);
    trade("MSFT", 400.0, soon);
    // Of this one no trade says that its time is over.
    trade("NVDA", 2.0, soon - 1);

    let fired = |id: i64| rig.alerts.fired().contains_key(&id);
    let status =
        |id: i64| rig.alerts.execute(&format!("SELECT status FROM alerts WHERE id = {id}"));
    eventually(PATIENCE, "what was met in time fires", || fired(in_time));
    eventually(PATIENCE, "met too late, it has expired", || status(too_late) == "4");
    eventually(PATIENCE, "the clock says so, and a trade", || status(unmet) == "4");
    rig.alerts.check("past the expiry");
    assert!(now() > soon, "its time is over by the clock");
    assert_eq!((status(quiet).as_str(), fired(too_late)), ("1", false));
    trade("NVDA", 0.5, soon - 1);
    eventually(PATIENCE, "a trade from before its expiry still counts", || fired(quiet));
    rig.alerts.check("at the end");
}
