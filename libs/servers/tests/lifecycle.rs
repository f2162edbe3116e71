//! Each server from its first start to its end, on this machine.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use servers::{Lifetime, Running, http, install, kafka, port, postgresql, prometheus, redis};

const PATIENCE: Duration = Duration::from_secs(60);

fn cache() -> PathBuf {
    std::env::var_os("GOSTOCKS_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.stack/cache"),
        PathBuf::from,
    )
}

fn installed(name: &str) -> bool {
    let found = install::find_program(name).is_some();
    if !found {
        eprintln!("skipped: {name} is not installed (`cargo stack test` installs it)");
    }
    found
}

#[test]
fn redis_comes_up_again_after_a_kill_and_ends_when_asked() {
    if !installed("redis-server") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (port, log) = (port::any().expect("a port"), folder.path().join("redis.log"));
    let start = || {
        let server = redis::start(folder.path(), port, &log, Lifetime::Bound).expect("start");
        server.wait_ready(PATIENCE, || redis::is_ready(&server.address)).expect("ready");
        server
    };
    let first = start();
    first.process.kill();
    assert!(!first.process.is_alive());
    let second = start();
    assert_ne!(first.process, second.process);
    assert_eq!(first.address, second.address);
    assert!(folder.path().join("redis.log.1").exists(), "the log of the life before");
    assert_eq!(told(&second.address, "SET key value"), "+OK\r\n");
    assert!(second.stop(PATIENCE), "it ends when asked");
    let third = start();
    assert_eq!(told(&third.address, "GET key"), "$5\r\nvalue\r\n", "and has kept what it was told");
    third.process.kill();
}

/// What Redis answers to a command.
fn told(address: &str, command: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.strip_suffix("+OK\r\n").expect("a farewell").to_owned()
}

#[test]
fn kafka_comes_up_again_after_a_kill_and_ends_when_asked() {
    if !installed("java") || !installed("mvn") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let distribution = kafka::Distribution::install(&cache()).expect("jars");
    let (port, log) = (port::any().expect("a port"), folder.path().join("kafka.log"));
    let start = || {
        let server =
            kafka::start(&distribution, folder.path(), port, &log, Lifetime::Bound).expect("start");
        server.wait_ready(PATIENCE, || kafka::is_ready(&server.address)).expect("ready");
        server
    };
    start().process.kill();
    assert!(start().stop(PATIENCE), "it ends when asked");
}

#[test]
fn postgresql_has_its_database() {
    if !installed("initdb") && !Path::new("/usr/lib/postgresql").exists() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let home = postgresql::home(&folder.path().join("postgresql")).expect("a home");
    let (port, log) = (port::any().expect("a port"), folder.path().join("postgresql.log"));
    let server = postgresql::start(&home, port, &log, Lifetime::Bound).expect("start");
    server.wait_ready(PATIENCE, || postgresql::is_ready(&server.address)).expect("ready");
    postgresql::create_database(&server.address).expect("made");
    postgresql::create_database(&server.address).expect("there already");
    assert!(server.stop(PATIENCE), "it ends when asked");
    fs::remove_dir_all(home).expect("wiped");
}

#[test]
fn prometheus_reads_its_settings() {
    if !installed("prometheus") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (port, log) = (port::any().expect("a port"), folder.path().join("prometheus.log"));
    let settings = "global: {scrape_interval: 1s}\n";
    let server =
        prometheus::start(folder.path(), settings, port, &log, Lifetime::Bound).expect("start");
    server.wait_ready(PATIENCE, || prometheus::is_ready(&server.address)).expect("ready");
    let (status, body) = http::get(&server.address, "/api/v1/status/config").expect("an answer");
    assert_eq!(status, 200);
    assert!(body.contains("scrape_interval: 1s"), "{body}");
    assert!(server.stop(PATIENCE), "it ends when asked");
}

#[test]
fn one_that_does_not_come_up_is_an_error_with_its_last_words() {
    if !installed("redis-server") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("redis.log");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let server: Running = redis::start(folder.path(), port, &log, Lifetime::Bound).expect("start");
    let error = server.wait_ready(PATIENCE, || false).expect_err("the port is taken").to_string();
    assert!(error.starts_with("redis ended (exit code 1) before it was ready;"), "{error}");
    assert!(error.contains("Address already in use"), "{error}");
}
