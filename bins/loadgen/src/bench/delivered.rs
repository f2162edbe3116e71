//! A client of the gateway's `GET /stream`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

use crate::probe::{Look, unix_nanos};

const PATIENCE: Duration = Duration::from_secs(10);

/// A thread that follows the prices of some symbols until finished.
pub(crate) struct Client {
    socket: TcpStream,
    /// By symbol, the volume of the last price.
    told: Arc<[AtomicU64]>,
    thread: JoinHandle<anyhow::Result<Vec<Look>>>,
}

#[derive(Deserialize)]
struct Price<'a> {
    symbol: &'a str,
    volume: f64,
}

impl Client {
    /// Returns once it has been told how everything stands. `address` is the gateway's host:port.
    /// Blocks.
    pub(crate) fn start(address: &str, symbols: &[String]) -> anyhow::Result<Self> {
        let names = symbols.join(",");
        let names: String = url::form_urlencoded::byte_serialize(names.as_bytes()).collect();
        let socket = TcpStream::connect(address).with_context(|| format!("--gateway {address}"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        // HTTP/1.0: an answer without chunks, so that lines are lines.
        let request = format!("GET /stream?symbols={names} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        (&socket).write_all(request.as_bytes())?;
        let mut reader = BufReader::new(socket.try_clone()?);
        let mut status = String::new();
        reader.read_line(&mut status)?;
        if !status.contains(" 200") {
            bail!("the gateway answers {} to GET /stream", status.trim());
        }
        let mut line = String::new();
        while line != "event: ready\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                bail!("the gateway has ended a stream before it was ready");
            }
        }
        // Nothing may happen for long.
        socket.set_read_timeout(None)?;
        let symbols = symbols.to_vec();
        let told: Arc<[AtomicU64]> = symbols.iter().map(|_| AtomicU64::new(0)).collect();
        let telling = Arc::clone(&told);
        let thread = thread::Builder::new()
            .name("delivered".to_owned())
            .spawn(move || follow(&mut reader, &symbols, &telling))?;
        Ok(Self { socket, told, thread })
    }

    /// Whether it was told of these trades, by symbol; 0 where there is none.
    pub(crate) fn is_told(&self, numbers: &[u64]) -> bool {
        let is_told = |(told, number): (&AtomicU64, &u64)| {
            *number == 0 || told.load(Ordering::Relaxed) == *number
        };
        self.told.iter().zip(numbers).all(is_told)
    }

    /// What it was told, in order.
    pub(crate) fn finish(self) -> anyhow::Result<Vec<Look>> {
        // One that has ended by itself has an error to tell, or was let go of.
        let _ = self.socket.shutdown(Shutdown::Both);
        self.thread.join().map_err(|_| anyhow!("the client of a stream panicked"))?
    }
}

fn follow(
    reader: &mut impl BufRead,
    symbols: &[String],
    told: &[AtomicU64],
) -> anyhow::Result<Vec<Look>> {
    let mut looks = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return Ok(looks),
            Ok(_) => {}
        }
        let at = unix_nanos();
        if line == b"event: bye\n" || line == b"event: gap\n" {
            bail!("the gateway has let go of a stream that was read");
        }
        // Of `ready` the data is empty.
        let Some(data) = line.strip_prefix(b"data: {\"symbol\"").map(|_| &line[6..]) else {
            continue;
        };
        let price: Price<'_> = serde_json::from_slice(data).context("an event of a stream")?;
        let symbol = symbols.iter().position(|name| name == price.symbol);
        let symbol = symbol.context("an event of a symbol that was not asked for")?;
        looks.push(Look { symbol, at, volume: Some(price.volume) });
        told[symbol].store(price.volume as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_from_lines() {
        let text = "event: price\nid: 7\ndata: {\"symbol\":\"B\",\"price\":1.5,\"timestamp\":9,\
                    \"volume\":42.0}\n\n: nothing new\n\nevent: ready\ndata: {}\n\n";
        let symbols = ["A", "B"].map(str::to_owned);
        let told = [AtomicU64::new(0), AtomicU64::new(0)];
        let looks = follow(&mut text.as_bytes(), &symbols, &told).expect("looks");
        assert_eq!(told.map(AtomicU64::into_inner), [0, 42]);
        assert_eq!(
            looks.iter().map(|look| (look.symbol, look.volume)).collect::<Vec<_>>(),
            [(1, Some(42.0))]
        );
        let gap = "event: gap\ndata: {}\n\n";
        assert!(follow(&mut gap.as_bytes(), &symbols, &[]).is_err());
    }
}
