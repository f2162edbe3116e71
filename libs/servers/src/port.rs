//! Which TCP port of loopback a server gets.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below Linux's range for outgoing connections (32768 and up). A port from that range may be
/// taken, between one life of a server and its next, as the source of somebody's connection; a
/// client that keeps trying to reconnect may even end up connected to itself.
const QUIET: std::ops::Range<u16> = 20_000..32_000;

pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// `preferred` if it is free, else the next free one above it that `avoid` does not keep for
/// somebody else.
pub fn near(preferred: u16, avoid: &[u16]) -> io::Result<u16> {
    std::iter::once(preferred)
        .chain((preferred..u16::MAX).map(|port| port + 1).filter(|port| !avoid.contains(port)))
        .find(|port| is_free(*port))
        .ok_or_else(|| io::Error::other(format!("no port is free from {preferred} upwards")))
}

/// Some free port, a different one at each call so that programs which ask at the same moment do
/// not meet.
pub fn any() -> io::Result<u16> {
    let width = u64::from(QUIET.end - QUIET.start);
    (0..1_000_u32)
        .map(|attempt| RandomState::new().hash_one(attempt) % width)
        .filter_map(|step| u16::try_from(step).ok())
        .map(|step| QUIET.start + step)
        .find(|port| is_free(*port))
        .ok_or_else(|| io::Error::other("no port is free on 127.0.0.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_port_is_taken_only_while_free() {
        let first = any().expect("a port");
        assert_eq!(near(first, &[]).ok(), Some(first));
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).expect("bind");
        let second = near(first, &[]).expect("another");
        assert!(second > first);
        let third = near(first, &[second]).expect("yet another");
        assert!(third > second, "{second} is kept for somebody else");
    }
}
