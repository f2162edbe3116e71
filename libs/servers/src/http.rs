//! One GET, for probes of readiness.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

/// The status and the body of `GET path` at `host:port`.
pub fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| io::Error::other(format!("{address} does not speak HTTP")))?;
    Ok((status, body.to_owned()))
}

/// A connection that gives up after two seconds, in each direction.
pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let mut outcome = Err(io::Error::other(format!("{address} has no address")));
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}
