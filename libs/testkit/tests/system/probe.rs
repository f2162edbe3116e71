//! `loadgen probe` between real programs: it sees every trade and every firing that there is, and
//! the programs' metrics count the same. How long they took is for a quiet machine to judge.

use std::process::Command;

use testkit::{Alerts, Exit, Pipeline, Program, kafka, postgresql};

#[test]
fn the_probe_sees_what_the_metrics_count() {
    let mut way = Pipeline::new(kafka().brokers(), "probe");
    let alerts = Alerts::new(way.kafka().brokers(), way.topic(), postgresql().address());
    let output = Command::new(testkit::binary("loadgen")).args(["symbols", "20"]).output();
    let symbols = String::from_utf8(output.expect("loadgen").stdout).expect("UTF-8");

    let mut alert = alerts.service();
    let mut processor = way.processor("processor-group");
    alert.wait_ready();
    processor.wait_ready();
    let ingestor = way.ingestor(symbols.trim(), &[]);
    let listen = format!("127.0.0.1:{}", way.feed_port());
    let metrics = [ingestor.metrics(), processor.metrics(), alert.metrics()].join(",");
    let redis = way.redis().address().to_owned();
    let settings = [
        ("KAFKA_BROKERS", way.kafka().brokers()),
        ("KAFKA_TOPIC", way.topic()),
        ("KAFKA_FIRINGS_TOPIC", alerts.firings_topic()),
        ("REDIS_ADDR", &redis),
        ("ALERT_SERVICE_ADDR", &alerts.address()),
    ];
    let arguments = "probe --symbols 20 --rate 1000 --warm-up 1 --duration 2 --alerts 30";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let places = ["--listen", &listen, "--metrics", &metrics];
    let mut probe = Program::start("loadgen", &[&arguments[..], &places].concat(), &settings);
    let exit = probe.wait_exit(std::time::Duration::from_secs(120));
    let report = probe.log();
    assert_eq!(exit, Exit::Code(0), "{report}");
    let counts = "3000 trades sent, 3000 on the topic; 2000 measured; 20 of 20 symbols watched in \
                  Redis; 30 alerts, 30 firings seen";
    assert!(report.contains(counts), "{report}");
    for (stage, outside, counted) in [
        ("read", 2_000, 0),
        ("produced", 0, 2_000),
        ("consumed", 2_000, 2_000),
        ("visible", 2_000, 2_000),
        ("evaluated", 0, 2_000),
        ("fired", 0, 30),
        ("published", 30, 30),
    ] {
        let row = report.lines().find(|line| line.starts_with(stage)).expect(stage);
        let counts: Vec<usize> =
            row.split_whitespace().rev().take(2).map(|text| text.parse().expect(row)).collect();
        assert_eq!(counts, [counted, outside], "{row}");
    }
}
