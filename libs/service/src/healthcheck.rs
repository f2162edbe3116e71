//! `program healthcheck`: whether the program that runs with the same settings takes work.
//!
//! For containers, whose images hold nothing else that could ask.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::{Configuration, Settings, parse};

/// Of each step: connecting, asking, hearing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks `/readyz` at `METRICS_ADDR`. Exit code 0 when ready, else 1 with the reason on stderr.
pub fn healthcheck<C: Configuration>(name: &str) -> ExitCode {
    match address::<C>().and_then(|address| ask(reachable(address))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn address<C: Configuration>() -> anyhow::Result<SocketAddr> {
    let mut settings = Settings::load(Path::new("."));
    let address = settings.read("METRICS_ADDR", Some(C::METRICS_ADDR), parse::socket_addr);
    address.context("METRICS_ADDR: expected an address and port")
}

/// Whoever listens everywhere is reached at home.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let answer = get(address).with_context(|| format!("nobody answers at {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) != Some("200") {
        bail!("{body}");
    }
    Ok(())
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    /// More than any list of what is missing.
    const LONGEST: u64 = 65_536;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_at_home() {
        let asked = |address: &str| reachable(address.parse().expect("an address")).to_string();
        assert_eq!(asked("0.0.0.0:9101"), "127.0.0.1:9101");
        assert_eq!(asked("[::]:9101"), "[::1]:9101");
        assert_eq!(asked("10.1.2.3:9101"), "10.1.2.3:9101");
    }
}
