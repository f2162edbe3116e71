//! Redis, as the speed layer needs it: it comes back after a crash, and evicts nothing.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::Running;
use crate::http::connect;
use crate::launch::{Lifetime, launch};

/// How long a node of a cluster may be silent before its replica takes over.
const NODE_TIMEOUT_MS: &str = "1500";

/// What a crash costs is read from the log again, a minute of it: to keep each write in a file costs
/// Redis more than a stop of a second now and then. A view of the log does not stop for a disk that is
/// full; to compress takes longer than to write.
const SNAPSHOTS: [&str; 8] = [
    "--save",
    "60 1",
    "--rdbcompression",
    "no",
    "--stop-writes-on-bgsave-error",
    "no",
    "--shutdown-on-sigterm",
    "force",
];

/// A master that comes back older would take its replicas back with it. No fsync is waited for, and no
/// small file rewritten whenever it has doubled.
const FILE: [&str; 10] = [
    "--appendonly",
    "yes",
    "--appendfsync",
    "no",
    "--save",
    "",
    "--auto-aof-rewrite-min-size",
    "1gb",
    "--rdbcompression",
    "no",
];

/// Starts Redis, which keeps snapshots under `home`.
pub fn start(home: &Path, port: u16, log: &Path, lifetime: Lifetime) -> anyhow::Result<Running> {
    run(home, port, &SNAPSHOTS, log, lifetime)
}

/// Starts a node of a cluster; `bus` is the port by which nodes know each other.
pub fn start_node(
    home: &Path,
    (port, bus): (u16, u16),
    log: &Path,
    lifetime: Lifetime,
) -> anyhow::Result<Running> {
    let bus = bus.to_string();
    let cluster = [
        ["--cluster-enabled", "yes"],
        ["--cluster-node-timeout", NODE_TIMEOUT_MS],
        ["--cluster-port", &bus],
        // A replica need not wait for others that want a copy too.
        ["--repl-diskless-sync-delay", "0"],
    ];
    run(home, port, &[&FILE[..], cluster.as_flattened()].concat(), log, lifetime)
}

/// Makes nodes one cluster, with a replica of each master.
pub fn make_cluster(addresses: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(addresses)
        .args(["--cluster-replicas", "1", "--cluster-yes"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(output.status.success(), "redis-cli makes no cluster: {said}");
    Ok(())
}

fn run(
    home: &Path,
    port: u16,
    more: &[&str],
    log: &Path,
    lifetime: Lifetime,
) -> anyhow::Result<Running> {
    fs::create_dir_all(home)?;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--maxmemory-policy", "noeviction"])
        .args(["--daemonize", "no", "--logfile", ""])
        .args(more)
        .arg("--dir")
        .arg(home)
        .current_dir(home);
    let process = launch(command, log, lifetime)?;
    Ok(Running {
        name: "redis",
        process,
        address: format!("127.0.0.1:{port}"),
        log: log.to_owned(),
        stop_signal: Signal::SIGTERM,
    })
}

/// Whether it answers PING: one that still loads its file says so instead.
pub fn is_ready(address: &str) -> bool {
    let mut answer = [0; 5];
    connect(address)
        .and_then(|mut stream| {
            stream.write_all(b"PING\r\n")?;
            stream.read_exact(&mut answer)
        })
        .is_ok_and(|()| answer == *b"+PONG")
}
