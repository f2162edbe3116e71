//! The real program on a real Kafka and a real PostgreSQL: whatever happens to it, what has fired
//! is what the log says, each alert once.

mod another_log;
mod rebalance;
mod rig;
mod snapshots;
mod users;

use std::thread;
use std::time::Duration;

use prost::Message;
use rpc::alert::v1::{AlertCondition, CreateAlertRequest};
use rpc::market::v1::StockTick;
use testkit::{Exit, eventually, postgresql, private_postgresql};

use crate::rig::Rig;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn what_fires_is_what_the_log_says() {
    let mut rig = Rig::new("fires", postgresql().address());
    rig.trade(500);
    let mut service = rig.alerts.service();
    service.wait_ready();
    for _ in 0..5 {
        assert_eq!(rig.ask(200), 200);
        rig.trade(300);
    }
    let fired = rig.alerts.check("while it runs");
    assert!(fired > 100, "{fired} firings of 1,000 alerts");
    assert_eq!(service.terminate(), Exit::Code(0));
    rig.trade(300);
    let _service = rig.alerts.service();
    rig.alerts.check("after a restart");
}

#[test]
fn a_killed_service_loses_nothing_and_fires_nothing_twice() {
    let mut rig = Rig::new("killed", postgresql().address());
    for round in 0..5 {
        let mut service = rig.alerts.service();
        service.wait_ready();
        rig.ask(150);
        rig.trade(300);
        if round % 2 == 0 {
            rig.wait_read(&service, 1);
        }
        service.kill9();
        rig.trade(100);
    }
    let _service = rig.alerts.service();
    assert!(rig.alerts.check("after five kills") > 100);
}

#[test]
fn a_killed_postgresql_loses_nothing() {
    let mut server = private_postgresql();
    let mut rig = Rig::new("postgresql", server.address());
    let mut service = rig.alerts.service();
    service.wait_ready();
    for _ in 0..3 {
        // Whoever evaluates may have to notice yet that its connections are gone.
        eventually(PATIENCE, "as many are made as are asked for", || rig.ask(100) == 100);
        rig.trade(200);
        server.kill9();
        rig.trade(200);
        server.restart();
        eventually(PATIENCE, "alerts are made again", || rig.ask(1) == 1);
        rig.trade(200);
        rig.alerts.check("after a kill of PostgreSQL");
    }
    assert!(service.is_alive(), "it never ended");
}

#[test]
fn dropped_connections_lose_nothing() {
    let mut rig = Rig::new("dropped", postgresql().address());
    let mut service = rig.alerts.service();
    service.wait_ready();
    for _ in 0..4 {
        // Whoever evaluates may have to notice yet that its connections are gone.
        eventually(PATIENCE, "as many are made as are asked for", || rig.ask(100) == 100);
        rig.trade(200);
        rig.alerts.drop_connections();
        rig.trade(200);
        eventually(PATIENCE, "alerts are made again", || rig.ask(1) == 1);
    }
    assert!(rig.alerts.check("after its connections were dropped") > 100);
    assert!(service.is_alive(), "it never ended");
}

#[test]
fn a_trade_in_a_two_second_outage_of_the_database_fires_its_alert_after_it() {
    let mut server = private_postgresql();
    let mut rig = Rig::new("outage", server.address());
    let mut service = rig.alerts.service();
    service.wait_ready();
    let wish = CreateAlertRequest {
        user_id: 1,
        symbol: "AAPL".into(),
        condition: AlertCondition::Above.into(),
        target_price: 150.0,
        ..CreateAlertRequest::default()
    };
    let [alert] = rig.alerts.create([wish])[..] else { panic!("it was made") };
    rig.trade(100);
    rig.wait_read(&service, 100);

    server.stop();
    let price = |price, timestamp| {
        let tick = StockTick { symbol: "AAPL".into(), price, timestamp, ..StockTick::default() };
        rig.kafka.produce(&rig.topic, [("AAPL", tick.encode_to_vec().as_slice())]);
    };
    price(150.5, 1);
    price(149.5, 2);
    // The length of the outage: nothing is waited for.
    thread::sleep(Duration::from_secs(2));
    server.restart();
    rig.alerts.check("after the outage");
    let fired = rig.alerts.fired();
    let of_alert = Vec::from_iter(fired);
    let [(id, ref firings)] = of_alert[..] else { panic!("{of_alert:?}") };
    let [(_, on, _)] = firings[..] else { panic!("{firings:?}") };
    assert_eq!((id, on.price, on.timestamp), (alert, 150.5, 1), "on the trade of the outage");
    assert!(service.is_alive(), "it went on by itself");
}

#[test]
fn two_services_share_the_partitions_and_fire_nothing_twice() {
    let mut rig = Rig::new("two", postgresql().address());
    let mut one = rig.alerts.service();
    one.wait_ready();
    let mut two = rig.alerts.second_service();
    for round in 0..4 {
        assert_eq!(rig.ask(150), 150);
        rig.trade(300);
        if round == 2 {
            two.kill9();
        }
    }
    assert!(rig.alerts.check("after one of two was killed") > 100);
    assert_eq!(one.terminate(), Exit::Code(0));
}

#[test]
fn an_alert_that_the_owner_hears_of_late_is_judged_by_the_log() {
    let mut rig = Rig::new("late", postgresql().address());
    let mut service = rig.alerts.service();
    service.wait_ready();
    rig.trade(2_000);
    rig.wait_read(&service, 2_000);
    assert_eq!(service.terminate(), Exit::Code(0));
    rig.alerts.audit();
    // As a create that took long leaves it: armed before the checkpoint, and committed after.
    let statement = "INSERT INTO alerts \
         (user_id, symbol, condition, target_price, partition, armed_log, armed_offset) \
         SELECT 1, symbol, condition, target, partition, log_id, offset_ FROM logs, (VALUES ";
    let rows: Vec<String> = (0..40)
        .flat_map(|number| {
            let symbol = format!("SYMBOL:{number}");
            let partition = broker::partition_of(&symbol, 6);
            [(1, 99.0, 0), (2, 1.0, 100), (1, 50.0, 200), (2, 0.001, 0)].map(
                |(condition, target, offset)| {
                    format!("('{symbol}', {condition}, {target}, {partition}, {offset})")
                },
            )
        })
        .collect();
    let names = ") AS new (symbol, condition, target, partition, offset_)";
    rig.alerts.execute(&format!("{statement}{}{names}", rows.join(", ")));
    let service = rig.alerts.service();
    assert!(rig.alerts.check("armed in the past") > 80);
    assert!(service.metric("gostocks_alerts_rewound_total") >= 100.0);
    rig.trade(300);
    rig.alerts.check("and on");
}
