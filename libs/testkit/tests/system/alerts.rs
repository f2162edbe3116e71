//! Alerts through every program: the original's examples, a replay with ten thousand of them, and
//! ones that are made while trades flow.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use prost::Message;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rpc::alert::v1::{AlertCondition, CreateAlertRequest};
use rpc::market::v1::StockTick;
use serde_json::{Value, json};
use testkit::{
    Alerts, Exit, Pipeline, Recording, Wishes, alert_oracle, eventually, kafka, postgresql,
};

const PATIENCE: Duration = Duration::from_secs(60);

fn alerts_of(way: &Pipeline) -> Alerts {
    Alerts::new(way.kafka().brokers(), way.topic(), postgresql().address())
}

/// What curl prints for a command of the original's README, and the status.
fn run(example: &str, way: &Pipeline) -> (u16, Value) {
    let example = example.replace("localhost:8080", &way.gateway_address());
    let command = format!("{example} --silent --show-error --write-out '\\n%{{http_code}}'");
    let output = Command::new("sh").args(["-c", &command]).output().expect("sh and curl");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{command}: {text:?}"));
    (status.parse().expect("a status"), serde_json::from_str(body).expect("JSON"))
}

fn trade(way: &Pipeline, price: f64, timestamp: i64) {
    let tick = StockTick { symbol: "AAPL".into(), price, timestamp, ..StockTick::default() };
    way.kafka().produce(way.topic(), [("AAPL", tick.encode_to_vec().as_slice())]);
}

#[test]
fn the_originals_examples_give_its_answers() {
    let way = Pipeline::new(kafka().brokers(), "examples");
    let alerts = alerts_of(&way);
    let mut alert = alerts.service();
    let mut processor = way.processor("processor-group");
    let mut gateway = way.gateway(&[("ALERT_SERVICE_ADDR", &alerts.address())]);
    for program in [&mut alert, &mut processor, &mut gateway] {
        program.wait_ready();
    }
    alerts.audit();
    trade(&way, 149.5, 1_700_000_000_000);

    let get_price = "curl http://localhost:8080/price/AAPL";
    eventually(PATIENCE, "the first price", || run(get_price, &way).0 == 200);
    let (_, price) = run(get_price, &way);
    assert_eq!(
        (&price["symbol"], &price["price"], &price["timestamp"]),
        (&json!("AAPL"), &json!(149.5), &json!(1_700_000_000_000_i64))
    );
    let created = run(
        r#"curl -X POST http://localhost:8080/alerts \
             -H "Content-Type: application/json" \
             -d '{"user_id": 1, "symbol": "AAPL", "target_price": 150.00, "condition": "ABOVE"}'"#,
        &way,
    );
    let answer = json!({"alert_id": 1, "message": "Alert created: AAPL ABOVE $150.00"});
    assert_eq!(created, (201, answer));
    let list = |active_only| {
        let example =
            format!(r#"curl "http://localhost:8080/alerts?user_id=1&active_only={active_only}""#);
        run(&example, &way)
    };
    let (status, listed) = list(true);
    let created_at = listed["alerts"][0]["created_at"].as_i64().expect("Unix seconds");
    // The original's fields; there are others, which its clients pass over.
    let row = |triggered| {
        json!({"alerts": [{
            "id": 1, "user_id": 1, "symbol": "AAPL", "target_price": 150.0, "condition": "ABOVE",
            "triggered": triggered, "created_at": created_at,
        }], "count": 1})
    };
    let list = |active_only| {
        let (status, mut listed) = list(active_only);
        for alert in listed["alerts"].as_array_mut().expect("a list") {
            let known = ["id", "user_id", "symbol", "target_price", "condition", "triggered"];
            let alert = alert.as_object_mut().expect("an alert");
            alert.retain(|field, _| known.contains(&field.as_str()) || field == "created_at");
        }
        (status, listed)
    };
    assert_eq!((status, list(true).1), (200, row(false)));

    trade(&way, 150.25, 1_700_000_001_000);
    eventually(PATIENCE, "it has fired", || list(false) == (200, row(true)));
    assert_eq!(list(true), (200, json!({"alerts": [], "count": 0})));
    alerts.check("after the examples");
}

#[test]
fn of_ten_thousand_over_a_replay_those_fire_that_the_log_satisfies() {
    let recording = Recording::real().unwrap_or_else(Recording::random);
    let way = Pipeline::new(kafka().brokers(), "ten-thousand");
    let alerts = alerts_of(&way);
    let mut service = alerts.service();
    service.wait_ready();
    let wishes = Wishes::new(&recording, &mut SmallRng::seed_from_u64(1));
    assert_eq!(alerts.create(wishes.take(10_000)).len(), 10_000);
    let _feed = way.feed(&recording, &["--speed", "20"]);
    let mut ingestor = way.ingestor(&recording.symbols(), &[]);
    way.wait_logged(recording.trades().len());
    assert_eq!(ingestor.terminate(), Exit::Code(0));
    let fired = alerts.check("after the replay");
    assert!(fired > 5_000, "{fired} firings");
    let admitted = service.metric(r#"gostocks_alerts_fired_total{outcome="admitted"}"#);
    assert_eq!(admitted as usize, fired, "nobody else fired any");
}

/// An alert, and where its partition ended before it was asked for and after it was promised.
struct Bracket {
    id: i64,
    before: i64,
    after: i64,
}

#[test]
fn alerts_made_while_trades_flow_miss_no_trade_after_and_see_none_from_before() {
    const CALLERS: usize = 16;
    const SYMBOLS: [&str; 4] = ["AAPL", "MSFT", "BINANCE:BTCUSDT", "IC MARKETS:1"];
    let way = Pipeline::new(kafka().brokers(), "flow");
    let alerts = alerts_of(&way);
    let mut processor = way.processor("processor-group");
    let mut gateway = way.gateway(&[("ALERT_SERVICE_ADDR", &alerts.address())]);
    let mut service = alerts.service();
    for program in [&mut service, &mut processor, &mut gateway] {
        program.wait_ready();
    }
    let _feed = way.any_feed(&["--rate", "20000"]);
    let mut ingestor = way.ingestor(&SYMBOLS.join(","), &[]);
    let partitions = eventually_all(&way, &SYMBOLS);

    // One after another, on the price that it has at that moment: the next trade or the one before
    // decides.
    let caller = |number: usize| {
        let ends = way.kafka().ends(way.topic());
        let mut brackets = Vec::new();
        let begun = Instant::now();
        while brackets.len() < 40 && begun.elapsed() < PATIENCE {
            let symbol = SYMBOLS[(number + brackets.len()) % SYMBOLS.len()];
            let path = format!("/price/{}", symbol.replace(' ', "%20"));
            let Some((200, price)) = way.get(&path) else { continue };
            let is_above = brackets.len() % 2 == 0;
            let wish = CreateAlertRequest {
                user_id: 1,
                symbol: symbol.to_owned(),
                condition: match is_above {
                    true => AlertCondition::Above.into(),
                    false => AlertCondition::Below.into(),
                },
                target_price: price["price"].as_f64().expect("a price"),
                ..CreateAlertRequest::default()
            };
            let before = ends(partitions[symbol]);
            let made = alerts.create([wish]);
            let after = ends(partitions[symbol]);
            brackets.extend(made.into_iter().map(|id| Bracket { id, before, after }));
        }
        brackets
    };
    let brackets: Vec<Bracket> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|n| scope.spawn(move || caller(n))).collect();
        callers.into_iter().flat_map(|each| each.join().expect("no panic")).collect()
    });
    assert_eq!(brackets.len(), CALLERS * 40);
    assert_eq!(ingestor.terminate(), Exit::Code(0));
    alerts.check("made while trades flow");

    let trades = alert_oracle::trades(&way.kafka().records(way.topic()));
    let (rows, fired) = (alerts.rows(), alerts.fired());
    let mut between = 0;
    for Bracket { id, before, after } in brackets {
        let row = &rows[&id][0];
        let place = |from| {
            let firings = row.firings(&trades[&row.symbol], (from, 0));
            firings.first().map_or((i64::MAX, 0), |(_, on, _)| (on.offset, on.index))
        };
        let fired = fired.get(&id).and_then(|fired| fired.first());
        let fired = fired.map_or((i64::MAX, 0), |(_, on, _)| (on.offset, on.index));
        let (first, last) = (place(before), place(after));
        assert!(first <= fired, "alert {id} fired on {fired:?}, a trade from before {before}");
        assert!(fired <= last, "alert {id} fired on {fired:?}, and missed {last:?}");
        between += usize::from(before < after);
    }
    assert!(between > 0, "trades came while alerts were being made");
}

/// Waits until each symbol has traded; their partitions.
fn eventually_all(way: &Pipeline, symbols: &[&'static str]) -> BTreeMap<&'static str, i32> {
    let mut partitions = BTreeMap::new();
    eventually(PATIENCE, "every symbol trades", || {
        for record in way.kafka().records(way.topic()) {
            let key = record.key.unwrap_or_default();
            if let Some(symbol) = symbols.iter().find(|symbol| symbol.as_bytes() == key) {
                partitions.insert(*symbol, record.partition);
            }
        }
        partitions.len() == symbols.len()
    });
    partitions
}
