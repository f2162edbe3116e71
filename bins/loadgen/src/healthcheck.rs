use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Of each step: connecting, asking, hearing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a feed answers there: any HTTP will do, since a handshake would be a client.
pub(crate) fn run(address: SocketAddr) -> anyhow::Result<()> {
    let mut answer = [0; 5];
    ask(address, &mut answer).with_context(|| format!("no feed answers at {address}"))?;
    if &answer != b"HTTP/" {
        bail!("what answers at {address} is no feed");
    }
    Ok(())
}

fn ask(address: SocketAddr, answer: &mut [u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    stream.read_exact(answer)
}
