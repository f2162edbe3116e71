//! Redis, as the speed layer needs it: it survives a crash, and evicts nothing.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::Running;
use crate::http::connect;
use crate::launch::{Lifetime, launch};

/// Starts Redis with its append-only file under `home`.
pub fn start(home: &Path, port: u16, log: &Path, lifetime: Lifetime) -> anyhow::Result<Running> {
    fs::create_dir_all(home)?;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
        .args(["--maxmemory-policy", "noeviction"])
        .args(["--daemonize", "no", "--logfile", ""])
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
