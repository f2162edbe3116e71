//! Which TCP port of loopback a server gets.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixDatagram};
use std::sync::{Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

/// Below Linux's range for outgoing connections (32768 and up). A port from that range may be
/// taken, between one life of a server and its next, as the source of somebody's connection; a
/// client that keeps trying to reconnect may even end up connected to itself.
const QUIET: std::ops::Range<u16> = 20_000..32_000;

/// A port that no outgoing connection gets as its own meanwhile. A server may bind it, since this
/// neither listens nor insists (SO_REUSEADDR, as servers set it, too): `ip(7)`, `socket(7)`.
#[derive(Debug)]
pub struct Held {
    pub port: u16,
    _socket: Socket,
}

impl Held {
    fn new(port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        Ok(Self { port, _socket: socket })
    }
}

pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// `preferred` if it is free, else the next free one above it that `avoid` does not keep for
/// somebody else.
pub fn near(preferred: u16, avoid: &[u16]) -> io::Result<Held> {
    std::iter::once(preferred)
        .chain((preferred..u16::MAX).map(|port| port + 1).filter(|port| !avoid.contains(port)))
        .filter(|port| is_free(*port))
        .find_map(|port| Held::new(port).ok())
        .ok_or_else(|| io::Error::other(format!("no port is free from {preferred} upwards")))
}

/// Some free port. Nobody else is given it here as long as this program lives, whichever process
/// asks: it may be long until a server binds it.
pub fn any() -> io::Result<u16> {
    let width = u64::from(QUIET.end - QUIET.start);
    (0..1_000_u32)
        .map(|attempt| RandomState::new().hash_one(attempt) % width)
        .filter_map(|step| u16::try_from(step).ok())
        .map(|step| QUIET.start + step)
        .find(|port| claim(*port) && is_free(*port))
        .ok_or_else(|| io::Error::other("no port is free on 127.0.0.1"))
}

/// By a socket with a name in Linux's abstract namespace, which goes with the process: `unix(7)`.
fn claim(port: u16) -> bool {
    static CLAIMS: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let name = unix::SocketAddr::from_abstract_name(format!("gostocks-port-{port}"));
    let claimed = name.and_then(|name| UnixDatagram::bind_addr(&name));
    let mut claims = CLAIMS.lock().unwrap_or_else(PoisonError::into_inner);
    let is_ours = claimed.is_ok();
    claims.extend(claimed);
    is_ours
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_port_is_given_once() {
        // Of twelve thousand so many would hardly be different by chance.
        let given: Vec<u16> = (0..300).map(|_| any().expect("a port")).collect();
        let different: HashSet<u16> = given.iter().copied().collect();
        assert_eq!(different.len(), given.len());
        assert!(!claim(given[0]));
    }

    #[test]
    fn the_preferred_port_is_taken_only_while_free() {
        let first = any().expect("a port");
        assert_eq!(near(first, &[]).expect("free").port, first);
        let _listening = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).expect("bind");
        let second = near(first, &[]).expect("another").port;
        assert!(second > first);
        let third = near(first, &[second]).expect("yet another").port;
        assert!(third > second, "{second} is kept for somebody else");
    }

    #[test]
    fn a_held_port_is_a_servers_and_no_clients() {
        let held = near(any().expect("a port"), &[]).expect("free");
        let address = (Ipv4Addr::LOCALHOST, held.port);
        assert!(std::net::TcpStream::connect(address).is_err(), "it does not listen");
        let outgoing = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let bound = outgoing.bind(&SocketAddr::from(address).into());
        assert!(bound.is_err(), "a socket that does not reuse addresses");
        let server = TcpListener::bind(address).expect("a server's");
        std::net::TcpStream::connect(address).expect("which listens");
        drop(server);
    }
}
