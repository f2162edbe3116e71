//! schemathesis asks a gateway whatever its OpenAPI document allows and forbids, in thousands of
//! requests, and holds every answer to it. All that is behind the gateway is real.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use prost::Message;
use rpc::market::v1::StockTick;
use testkit::{Alerts, Pipeline, all_tests, eventually, kafka, postgresql, schemathesis};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn every_answer_is_as_the_document_says() {
    if !all_tests() {
        eprintln!("skipped: takes minutes (`cargo stack test --all` runs it)");
        return;
    }
    let Some(schemathesis) = schemathesis() else { return };
    let way = Pipeline::new(kafka().brokers(), "contract");
    let alerts = Alerts::new(way.kafka().brokers(), way.topic(), postgresql().address());
    let mut alert = alerts.service();
    let mut processor = way.processor("processor-group");
    let settings = [("ALERT_SERVICE_ADDR", alerts.address()), ("LOG", "info".to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut gateway = way.gateway(&settings);
    for program in [&mut alert, &mut processor, &mut gateway] {
        program.wait_ready();
    }
    let tick = StockTick {
        symbol: "AAPL".into(),
        price: 150.25,
        timestamp: 1_700_000_000_000,
        ..StockTick::default()
    };
    way.kafka().produce(way.topic(), [("AAPL", tick.encode_to_vec().as_slice())]);
    eventually(PATIENCE, "the first price", || {
        way.get("/price/AAPL").is_some_and(|(status, _)| status == 200)
    });

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/schemathesis");
    let output = Command::new(schemathesis)
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", way.gateway_address()))
        .args(["--checks", "all", "--no-color", "--generation-database", "none"])
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .expect("schemathesis starts");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{told}");
    assert!(gateway.is_alive());
    let (status, body) = way.get("/readyz").expect("an answer");
    assert_eq!((status, &body["degraded"]), (200, &serde_json::json!({})));
    let log = gateway.log();
    assert!(!log.contains(r#""level":"ERROR""#), "{log}");
}
