//! The alert service as a whole, on real servers of its own: what takes seconds and not
//! nanoseconds, measured from outside.
//!
//! `cargo bench --package benches --bench alerts -- [start] [bulk] [heard] [failover]`; how many
//! alerts there are is `ALERTS`' to say, else ten million for the start and a million for the rest.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prost::Message;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rpc::alert::v1::{AlertCondition, CreateAlertRequest, Repeat};
use rpc::market::v1::StockTick;
use testkit::{
    Alerts, Exit, Kafka, Program, Server, Wishes, eventually, private_kafka, private_postgresql,
};

const PATIENCE: Duration = Duration::from_secs(600);
const PARTITIONS: i32 = 6;
const SYMBOLS: usize = 10_000;

fn main() {
    let asked: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let all: [(&str, fn()); 4] =
        [("start", start), ("bulk", bulk), ("heard", heard), ("failover", failover)];
    for (name, measure) in all {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            measure();
        }
    }
}

fn alerts_or(usual: usize) -> usize {
    env::var("ALERTS").map_or(usual, |text| text.parse().expect("ALERTS is a number"))
}

/// Servers of its own, a topic, and alerts on ten thousand symbols.
struct Rig {
    kafka: Kafka,
    topic: String,
    alerts: Alerts,
    wishes: Wishes,
    _servers: [Server; 2],
}

impl Rig {
    fn new() -> Self {
        let servers = [private_kafka(), private_postgresql()];
        let kafka = Kafka::at(servers[0].address());
        let topic = kafka.topic("bench", PARTITIONS);
        let alerts = Alerts::new(kafka.brokers(), &topic, servers[1].address());
        let symbols = (0..SYMBOLS).map(|number| (format!("SYM{number}"), 50.0..=150.0));
        let wishes = Wishes::on(symbols, &mut SmallRng::seed_from_u64(1));
        Self { kafka, topic, alerts, wishes, _servers: servers }
    }

    /// Makes so many. How long that took.
    fn make(&mut self, count: usize) -> Duration {
        let wishes: Vec<CreateAlertRequest> = self.wishes.by_ref().take(count).collect();
        let began = Instant::now();
        assert_eq!(self.alerts.create_many(wishes).len(), count);
        began.elapsed()
    }

    fn trade(&self, symbol: &str, price: f64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let timestamp = i64::try_from(now.as_millis()).expect("this age");
        let tick = StockTick { symbol: symbol.into(), price, timestamp, ..StockTick::default() };
        self.kafka.produce(&self.topic, [(symbol, tick.encode_to_vec().as_slice())]);
    }

    fn number(&self, query: &str) -> i64 {
        self.alerts.execute(query).parse().unwrap_or_else(|_| panic!("{query}: a number"))
    }

    fn wait_armed(&self, service: &Program, count: usize) {
        eventually(PATIENCE, "every alert is in the index", || {
            service.metric("gostocks_alerts_armed") as usize >= count
        });
    }
}

fn above(symbol: &str, target_price: f64) -> CreateAlertRequest {
    CreateAlertRequest {
        user_id: 1,
        symbol: symbol.into(),
        condition: AlertCondition::Above.into(),
        target_price,
        ..CreateAlertRequest::default()
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// From the start of the program until a trade that was waiting on the log has fired.
fn start() {
    const TIMES: usize = 3;
    let count = alerts_or(10_000_000);
    let mut rig = Rig::new();
    let mut service = rig.alerts.service();
    service.wait_ready();
    let made = rig.make(count);
    println!("start: {count} alerts made in {made:.1?}");
    rig.wait_armed(&service, count);
    // A partition of which nothing was read has no place on the log, and no snapshot.
    (0..PARTITIONS).for_each(|partition| rig.trade(&symbol_on(partition), 1.0));
    eventually(PATIENCE, "every partition was read", || {
        service.metric("gostocks_records_consumed_total") as i32 >= PARTITIONS
    });
    let bytes = service.metric("gostocks_alert_index_bytes") / count as f64;
    println!("start: {bytes:.1} bytes an alert");
    for (with, kept) in [("with", true), ("without", false)] {
        let mut times = Vec::new();
        for time in 0..TIMES {
            let symbol = format!("START:{}:{time}", with.to_uppercase());
            let ids = rig.alerts.create([above(&symbol, 1.0)]);
            let began = Instant::now();
            assert_eq!(service.terminate(), Exit::Code(0));
            let ended = began.elapsed();
            if !kept {
                fs::remove_dir_all(rig.alerts.snapshots()).expect("it kept snapshots");
            }
            rig.trade(&symbol, 2.0);
            let began = Instant::now();
            service = rig.alerts.service_with(&[("ALERT_SNAPSHOT_EVERY", "1h")]);
            let query = format!("SELECT count(*) FROM firings WHERE alert_id = {}", ids[0]);
            eventually(PATIENCE, "it has fired", || {
                // The tables are there all along.
                rig.number(&query) == 1
            });
            times.push(began.elapsed());
            let loaded = service.log();
            let loaded =
                loaded.split(r#""seconds":"#).nth(1).and_then(|rest| rest.split('}').next());
            println!(
                "start: {with} snapshots: {:.2?}, of it loading {} s (the stop before it took {ended:.2?})",
                times[time],
                loaded.unwrap_or("?"),
            );
        }
        println!("start: {with} snapshots, median of {TIMES}: {:.2?}", median(&mut times));
    }
}

/// Many alerts through the service, beside PostgreSQL's own COPY of the same rows into the same
/// table, in turn.
fn bulk() {
    const TIMES: usize = 3;
    let count = alerts_or(1_000_000);
    let (mut made, mut copied) = (Vec::new(), Vec::new());
    let mut rig = Rig::new();
    let mut service = rig.alerts.service();
    service.wait_ready();
    for _ in 0..TIMES {
        rig.alerts.execute("TRUNCATE alerts CASCADE");
        made.push(rig.make(count));
        assert_eq!(rig.number("SELECT count(*) FROM alerts"), count as i64);
        rig.alerts.execute(
            "DO $$ BEGIN
                EXECUTE format('COPY alerts TO %L (FORMAT binary)',
                    current_setting('data_directory') || '/bulk.bin');
                DROP TABLE IF EXISTS bare;
                CREATE TABLE bare (LIKE alerts INCLUDING ALL);
            END $$",
        );
        let began = Instant::now();
        rig.alerts.execute(
            "DO $$ BEGIN
                EXECUTE format('COPY bare FROM %L (FORMAT binary)',
                    current_setting('data_directory') || '/bulk.bin');
            END $$",
        );
        copied.push(began.elapsed());
        let rate = |took: Duration| count as f64 / took.as_secs_f64();
        let (ours, bare) = (made[made.len() - 1], copied[copied.len() - 1]);
        println!("bulk: {:.0} rows/s, COPY {:.0} rows/s", rate(ours), rate(bare));
    }
    let (ours, bare) = (median(&mut made), median(&mut copied));
    println!(
        "bulk: {count} alerts, median of {TIMES}: {ours:.2?}, COPY {bare:.2?}: {:.2} of its speed",
        bare.as_secs_f64() / ours.as_secs_f64()
    );
}

/// Time from the begin of a CreateAlert's transaction until the alert is in the index.
fn heard() {
    let mut rig = Rig::new();
    let mut service = rig.alerts.service();
    service.wait_ready();
    let made = alerts_or(1_000_000);
    rig.make(made);
    rig.wait_armed(&service, made);
    for (load, batch, pause) in [("one at a time", 1, 20), ("32 at once, without pause", 2_000, 0)]
    {
        let before = buckets(&service);
        let began = Instant::now();
        let mut count = 0;
        while began.elapsed() < Duration::from_secs(10) {
            let wishes: Vec<CreateAlertRequest> = rig.wishes.by_ref().take(batch).collect();
            count += rig.alerts.create(wishes).len();
            thread::sleep(Duration::from_millis(pause));
        }
        let rate = count as f64 / began.elapsed().as_secs_f64();
        eventually(PATIENCE, "every alert is in the index", || {
            let heard = buckets(&service).last().map_or(0.0, |last| last.1);
            heard - before.last().map_or(0.0, |last| last.1) >= count as f64
        });
        let after = buckets(&service);
        let quantile = |of: f64| {
            let counts = after.iter().enumerate().map(|(number, (bound, count))| {
                (*bound, count - before.get(number).map_or(0.0, |before| before.1))
            });
            let counts: Vec<(f64, f64)> = counts.collect();
            let wanted = counts.last().map_or(0.0, |last| last.1) * of;
            let bound =
                counts.iter().find(|(_, count)| *count >= wanted).map_or(f64::NAN, |it| it.0);
            bound * 1e3
        };
        println!(
            "heard: {load} ({rate:.0} alerts/s): p50 <= {:.1} ms, p90 <= {:.1} ms, \
             p99 <= {:.1} ms, p99.9 <= {:.1} ms",
            quantile(0.5),
            quantile(0.9),
            quantile(0.99),
            quantile(0.999)
        );
    }
}

/// The bounds of the histogram's buckets, and how many samples are within each.
fn buckets(service: &Program) -> Vec<(f64, f64)> {
    let text = testkit::http::get(service.metrics(), "/metrics").map(|(_, body)| body);
    let text = text.unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("gostocks_alert_heard_seconds_bucket{le=\"")?;
        let (bound, count) = rest.split_once("\"} ")?;
        Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
    });
    lines.collect()
}

/// kill -9 of an instance: until each of its partitions has fired on a trade from after the kill.
fn failover() {
    const TIMES: usize = 10;
    let count = alerts_or(1_000_000);
    let mut rig = Rig::new();
    let mut instances = [rig.alerts.service(), rig.alerts.second_service()];
    for instance in &mut instances {
        instance.wait_ready();
    }
    rig.make(count);
    // A symbol on each partition, with an alert that fires on each second trade of it.
    let symbols: Vec<String> = (0..PARTITIONS).map(symbol_on).collect();
    let again = Repeat { cooldown_ms: Some(0), hysteresis_percent: 0.0 };
    let wishes: Vec<CreateAlertRequest> = symbols
        .iter()
        .map(|symbol| CreateAlertRequest { repeat: Some(again), ..above(symbol, 100.0) })
        .collect();
    assert_eq!(rig.alerts.create(wishes).len(), symbols.len());
    let mut times = Vec::new();
    for time in 0..TIMES {
        eventually(PATIENCE, "they share the partitions", || {
            instances.iter().all(|instance| instance.partitions().len() == 3)
        });
        let victim = time % 2;
        let lost = instances[victim].partitions();
        let beat = || {
            symbols.iter().for_each(|symbol| {
                rig.trade(symbol, 101.0);
                rig.trade(symbol, 99.0);
            })
        };
        let fired = |ends: &[i64]| {
            let of = |partition: &i32| {
                let query = format!(
                    "SELECT coalesce(max(record_offset), -1) FROM firings WHERE partition = {partition}"
                );
                rig.number(&query) >= ends[*partition as usize]
            };
            lost.iter().all(of)
        };
        let ends = || -> Vec<i64> { (0..PARTITIONS).map(rig.kafka.ends(&rig.topic)).collect() };
        let before = ends();
        eventually(PATIENCE, "every partition fires", || {
            beat();
            fired(&before)
        });
        instances[victim].kill9();
        let killed = Instant::now();
        let after = ends();
        eventually(PATIENCE, "its partitions fire again", || {
            beat();
            fired(&after)
        });
        times.push(killed.elapsed());
        println!("failover: {:.2?}", times[time]);
        instances[victim] = match victim {
            0 => rig.alerts.service(),
            _ => rig.alerts.second_service(),
        };
        instances[victim].wait_ready();
    }
    let median = median(&mut times);
    println!(
        "failover: {count} alerts, {TIMES} times: from {:.2?} to {:.2?}, median {median:.2?}",
        times[0],
        times[TIMES - 1]
    );
}

fn symbol_on(partition: i32) -> String {
    let mut symbols = (0..).map(|number| format!("BEAT:{number}"));
    let found = symbols.find(|symbol| broker::partition_of(symbol, PARTITIONS) == partition);
    found.expect("one of them is on it")
}
