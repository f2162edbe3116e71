//! What a collector gets of requests and batches, and what becomes of the programs where it gets
//! nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rpc::alert::v1::{AlertCondition, CreateAlertRequest};
use serde_json::Value;
use testkit::{
    Alerts, Collector, Exit, ExportedSpan, Pipeline, Program, Recording, Wishes, eventually,
    eventually_some, free_port, kafka, postgresql,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A trace of a caller's, from W3C Trace Context's own example.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

const OTLP: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The status that a request with this `traceparent` gets.
fn ask(way: &Pipeline, traceparent: &str, path: &str, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--header", &format!("traceparent: {traceparent}")])
        .args(arguments)
        .arg(format!("http://{}{path}", way.gateway_address()))
        .output()
        .expect("curl");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn post(way: &Pipeline, traceparent: &str) -> String {
    let body = r#"{"user_id": 1, "symbol": "AAPL", "target_price": 150, "condition": "ABOVE"}"#;
    ask(way, traceparent, "/alerts", &["--json", body])
}

fn sampled() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

/// Waits for the one span of that program and name which this has for a parent.
#[track_caller]
fn child(collector: &Collector, service: &str, name: &str, parent: &str) -> ExportedSpan {
    eventually_some(PATIENCE, &format!("{service}: {name} within {parent}"), || {
        let mut spans = collector.spans();
        spans.retain(|span| span.service == service && span.name == name);
        spans.retain(|span| span.trace_id == TRACE && span.parent_id == parent);
        (spans.len() == 1).then(|| spans.remove(0))
    })
}

#[track_caller]
fn check(span: &ExportedSpan, attributes: &[(&str, &str)]) {
    for (name, value) in attributes {
        assert_eq!(span.get(name), *value, "{name} of {span:?}");
    }
    assert!(!span.failed, "{span:?}");
}

#[test]
fn a_request_is_one_trace_from_its_caller_to_the_statement() {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let way = Pipeline::new(kafka().brokers(), "traces");
    let alerts = Alerts::new(way.kafka().brokers(), way.topic(), postgresql().address());
    let mut alert = alerts.service_with(&[(OTLP, &endpoint)]);
    let mut gateway = way.gateway(&[(OTLP, &endpoint), ("ALERT_SERVICE_ADDR", &alerts.address())]);
    alert.wait_ready();
    gateway.wait_ready();

    // What a caller does not keep, nobody does, for all that the ratio is 1 here.
    let other = "a".repeat(32);
    assert_eq!(post(&way, &format!("00-{other}-{CALLER}-00")), "201");
    assert_eq!(post(&way, &sampled()), "201");
    assert_eq!(ask(&way, &sampled(), "/alerts?user_id=1", &[]), "200");
    assert_eq!(ask(&way, &sampled(), "/ticks/AAPL", &[]), "404");
    assert_eq!(ask(&way, &sampled(), "/health", &[]), "200");
    assert_eq!(ask(&way, "nonsense", "/alerts?user_id=7", &[]), "200");

    let request = child(&collector, "gateway", "POST /alerts", CALLER);
    let http = [
        ("http.request.method", "POST"),
        ("http.route", "/alerts"),
        ("http.response.status_code", "201"),
        ("url.path", "/alerts"),
    ];
    check(&request, &http);
    assert_eq!(request.get("target"), "", "nothing of ours that the conventions do not name");
    let rpc = [
        ("rpc.system", "grpc"),
        ("rpc.service", "gostocks.alert.v1.AlertService"),
        ("rpc.method", "CreateAlert"),
        ("rpc.grpc.status_code", "0"),
    ];
    let method = "gostocks.alert.v1.AlertService/CreateAlert";
    let asked = child(&collector, "gateway", method, &request.span_id);
    check(&asked, &rpc);
    let call = child(&collector, "alert", method, &asked.span_id);
    check(&call, &rpc);
    // It was alone, so the batch is its own.
    let batch = child(&collector, "alert", "create batch", &call.span_id);
    check(&batch, &[("calls", "1")]);
    let statement = child(&collector, "alert", "create", &batch.span_id);
    check(&statement, &[("db.system.name", "postgresql"), ("db.operation.name", "create")]);

    let request = child(&collector, "gateway", "GET /alerts", CALLER);
    let method = "gostocks.alert.v1.AlertService/GetAlerts";
    let asked = child(&collector, "gateway", method, &request.span_id);
    let call = child(&collector, "alert", method, &asked.span_id);
    let statement = child(&collector, "alert", "list", &call.span_id);
    check(&statement, &[("db.system.name", "postgresql"), ("db.operation.name", "list")]);

    let request = child(&collector, "gateway", "GET /ticks/{symbol}", CALLER);
    check(&request, &[("http.response.status_code", "404"), ("url.path", "/ticks/AAPL")]);
    let read = child(&collector, "gateway", "GET", &request.span_id);
    check(&read, &[("db.system.name", "redis")]);

    // A caller's nonsense is as good as nothing: a trace begins, and is whole.
    let begun = eventually_some(PATIENCE, "a trace that begins here", || {
        let mut spans = collector.spans();
        spans.retain(|span| span.parent_id.is_empty() && span.name == "GET /alerts");
        spans.pop()
    });
    eventually(PATIENCE, "its statement", || {
        let of_it = |span: &ExportedSpan| span.trace_id == begun.trace_id && span.name == "list";
        collector.spans().iter().any(of_it)
    });
    // Both have sent all that they have.
    assert_eq!(gateway.terminate(), Exit::Code(0));
    assert_eq!(alert.terminate(), Exit::Code(0));
    let spans = collector.spans();
    let traces: BTreeSet<&str> = spans.iter().map(|span| span.trace_id.as_str()).collect();
    assert_eq!(traces, BTreeSet::from([TRACE, begun.trace_id.as_str()]), "and no more: {spans:#?}");
    assert!(spans.iter().all(|span| span.get("url.path") != "/health"), "probes are no requests");
}

#[test]
fn creates_that_share_a_transaction_share_a_span_that_links_to_each() {
    let collector = Collector::start();
    let way = Pipeline::new(kafka().brokers(), "links");
    let alerts = Alerts::new(way.kafka().brokers(), way.topic(), postgresql().address());
    let mut alert = alerts.service_with(&[(OTLP, &collector.endpoint())]);
    alert.wait_ready();
    let wish = CreateAlertRequest {
        user_id: 1,
        symbol: "AAPL".to_owned(),
        condition: AlertCondition::Above.into(),
        target_price: 1.5,
        ..CreateAlertRequest::default()
    };
    let mut made = 0;
    let batch = eventually_some(PATIENCE, "a batch of more than one call", || {
        made += alerts.create(vec![wish.clone(); 64]).len();
        let is_shared = |span: &ExportedSpan| span.name == "create batch" && span.links.len() > 1;
        collector.spans().into_iter().find(is_shared)
    });
    assert_eq!(batch.get("calls"), batch.links.len().to_string());
    assert_eq!(batch.parent_id, "", "it is no single call's: {batch:?}");
    assert_eq!(alert.terminate(), Exit::Code(0));

    let spans = collector.spans();
    for link in &batch.links {
        let linked = |span: &&ExportedSpan| (&span.trace_id, &span.span_id) == (&link.0, &link.1);
        let call = spans.iter().find(linked).expect("the call has arrived, too");
        assert_eq!(call.get("rpc.method"), "CreateAlert");
    }
    let statements = spans.iter().filter(|span| span.parent_id == batch.span_id);
    let names: Vec<_> = statements.map(|span| span.get("db.operation.name")).collect();
    assert_eq!(names, ["create"], "one statement for all of them");
    let calls = spans.iter().filter(|span| span.get("rpc.method") == "CreateAlert").count();
    assert_eq!(calls, made, "each call has a span");
    let batches = spans.iter().filter(|span| span.name == "create batch");
    let served: usize = batches.map(|span| span.get("calls").parse().unwrap_or(0)).sum();
    assert_eq!(served, made, "and is in one batch");
}

#[test]
fn the_log_line_of_a_request_names_its_trace() {
    let collector = Collector::start();
    let nobody = format!("127.0.0.1:{}", free_port());
    let way = Pipeline::new(kafka().brokers(), "trace-log");
    let fixed = [("ALERT_SERVICE_ADDR", nobody.as_str()), ("LOG", "info,access=debug")];
    let endpoint = collector.endpoint();
    let mut gateway = way.gateway(&[&fixed[..], &[(OTLP, &endpoint)]].concat());
    gateway.wait_ready();
    assert_eq!(post(&way, &sampled()), "503");
    assert_eq!(gateway.terminate(), Exit::Code(0));
    let request = child(&collector, "gateway", "POST /alerts", CALLER);
    assert!(request.failed, "{request:?}");
    let log = gateway.log();
    let line = |says: &str| -> Value {
        let line = log.lines().find(|line| line.contains(says));
        let line = line.unwrap_or_else(|| panic!("no line with {says}: {log}"));
        serde_json::from_str(line).expect("JSON")
    };
    for says in ["the alert service: ", r#""target":"access""#] {
        let line = line(says);
        let ids = [&line["trace_id"], &line["span_id"]].map(|id| id.as_str().expect("text"));
        assert_eq!(ids, [TRACE, &request.span_id], "{line}");
    }
    let started = line(r#""message":"started""#);
    assert!(started.get("trace_id").is_none(), "{started}");

    // Without an endpoint nothing is traced, whatever a caller wishes.
    let mut gateway = way.gateway(&fixed);
    gateway.wait_ready();
    assert_eq!(post(&way, &sampled()), "503");
    assert!(!threads(&gateway).contains(&"traces".to_owned()), "{:?}", threads(&gateway));
    assert_eq!(gateway.series("gostocks_trace_spans_total"), 0);
    assert_eq!(gateway.terminate(), Exit::Code(0));
    assert!(gateway.log().contains("the alert service: "), "{}", gateway.log());
    assert!(!gateway.log().contains("trace_id"), "{}", gateway.log());
    let spans = collector.spans();
    let requests = spans.iter().filter(|span| span.name == "POST /alerts");
    assert_eq!(requests.count(), 1);
}

fn threads(program: &Program) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.pid())).expect("it runs");
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.flatten().filter_map(name).map(|name| name.trim().to_owned()).collect()
}

#[test]
fn batches_arrive_with_what_they_held_and_link_to_where_it_came_from() {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let traced = [(OTLP, endpoint.as_str()), ("TRACES_BATCH_RATIO", "1")];
    let recording = Recording::random();
    let way = Pipeline::new(kafka().brokers(), "batches");
    let alerts = Alerts::new(way.kafka().brokers(), way.topic(), postgresql().address());
    let mut alert = alerts.service_with(&traced);
    let mut processor = way.processor_with("processor-group", &traced);
    alert.wait_ready();
    processor.wait_ready();
    // Some of them fire: only then does a batch ask PostgreSQL for something.
    let wishes = Wishes::new(&recording, &mut SmallRng::seed_from_u64(1));
    assert_eq!(alerts.create(wishes.take(100)).len(), 100);
    let _feed = way.feed(&recording, &["--speed", "20"]);
    let mut ingestor = way.ingestor(&recording.symbols(), &traced);
    let trades = way.wait_logged(recording.trades().len()).len();
    assert_eq!(ingestor.terminate(), Exit::Code(0));
    for mut follower in [processor, alert] {
        way.wait_read(&follower);
        assert_eq!(follower.terminate(), Exit::Code(0));
    }
    let spans = collector.spans();
    let of = |service: &str, name: &str| -> Vec<&ExportedSpan> {
        spans.iter().filter(|span| span.service == service && span.name == name).collect()
    };
    let sum = |spans: &[&ExportedSpan], attribute: &str| -> usize {
        spans.iter().map(|span| span.get(attribute).parse::<usize>().unwrap_or(0)).sum()
    };
    let sent = of("ingestor", "send batch");
    assert_eq!(sum(&sent, "gostocks.batch.trades"), trades);
    let ids: BTreeSet<_> =
        sent.iter().map(|span| (span.trace_id.clone(), span.span_id.clone())).collect();
    let records = way.kafka().records(way.topic()).len();
    for service in ["processor", "alert"] {
        let batches = of(service, "process batch");
        assert_eq!(sum(&batches, "gostocks.batch.trades"), trades, "{service}");
        assert_eq!(sum(&batches, "messaging.batch.message_count"), records, "{service}");
        let first = batches.first().expect("a batch");
        assert_eq!(first.get("messaging.destination.name"), way.topic());
        assert!(first.get("gostocks.batch.offsets").contains(':'), "{first:?}");
        for batch in &batches {
            assert!((1..=32).contains(&batch.links.len()), "{batch:?}");
            assert!(batch.links.iter().all(|link| ids.contains(link)), "{batch:?}");
        }
        let within: BTreeSet<&str> = batches.iter().map(|span| span.span_id.as_str()).collect();
        let database = if service == "processor" { "redis" } else { "postgresql" };
        let exchanges = spans.iter().filter(|span| span.get("db.system.name") == database);
        // What was written, not what was read.
        let exchanges = exchanges.filter(|span| span.name != "FCALL_RO");
        let exchanges = exchanges.filter(|span| within.contains(span.parent_id.as_str())).count();
        assert!(exchanges > 0, "{service}: none of its batches shows what it asked of {database}");
    }
}

#[test]
fn a_collector_that_is_away_or_hangs_costs_nobody_anything() {
    let silent = Collector::start_silent();
    // The kernel opens connections, and nobody answers on them.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute = listener.local_addr().expect("its address");
    let away = format!("127.0.0.1:{}", free_port());
    let endpoints = [silent.endpoint(), format!("http://{mute}"), format!("http://{away}")];
    let way = Pipeline::new(kafka().brokers(), "no-collector");
    for endpoint in endpoints {
        let mut gateway = way.gateway(&[(OTLP, &endpoint), ("SHUTDOWN_TIMEOUT", "3s")]);
        gateway.wait_ready();
        assert!(threads(&gateway).contains(&"traces".to_owned()), "{:?}", threads(&gateway));
        let began = Instant::now();
        for _ in 0..200 {
            assert_eq!(way.get("/ticks/AAPL").map(|(status, _)| status), Some(404));
        }
        let asking = began.elapsed();
        assert!(asking < Duration::from_secs(4), "{endpoint}: 200 requests took {asking:?}");
        let began = Instant::now();
        assert_eq!(gateway.terminate(), Exit::Code(0), "{endpoint}");
        let stopping = began.elapsed();
        assert!(stopping < Duration::from_secs(3), "{endpoint}: the stop took {stopping:?}");
        let log = gateway.log();
        let told = log.lines().filter(|line| line.contains("spans were")).count();
        assert!((1..=3).contains(&told), "{endpoint}: {log}");
    }
    assert!(!silent.spans().is_empty(), "it was asked, and was silent");
}
