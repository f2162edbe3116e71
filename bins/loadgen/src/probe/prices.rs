//! When a price is visible in Redis, as anyone else sees it.
//!
//! ```text
//!  probe ── HGET price:{AAPL} volume ──▶ Redis      remembers that we have read it
//!        ◀─ invalidate price:{AAPL} ──── Redis      it was written: the moment that counts
//!        ── HGET price:{AAPL} volume ──▶ Redis      which trade was it?
//! ```
//! Redis sends an invalidation (`CLIENT TRACKING`) when the call that wrote is over, which is when
//! the writer gets its answer. So nothing is polled, and one small read a write of a watched
//! symbol is all that this costs. A write that falls between an invalidation and our read is taken
//! for the one before: it counts as visible too early by at most that round trip.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow, bail};
use redis::{Parser, PushKind, Value};
use url::Url;

use crate::probe::unix_nanos;

/// A symbol's price was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Look {
    /// Among those watched.
    pub(crate) symbol: usize,
    /// Since when it was visible, Unix nanoseconds.
    pub(crate) at: u64,
    /// Of the trade whose price it is; `None` for a symbol that Redis does not know.
    pub(crate) volume: Option<f64>,
}

/// A thread that watches the prices of some symbols until finished.
pub(crate) struct Watch {
    socket: TcpStream,
    thread: JoinHandle<(Vec<Look>, anyhow::Result<()>)>,
}

struct Watching {
    socket: TcpStream,
    keys: Vec<String>,
    by_key: HashMap<String, usize>,
    /// Reads whose answers have not come: the symbol, and since when its price is visible.
    asked: VecDeque<(usize, u64)>,
    looks: Vec<Look>,
}

impl Watch {
    /// `address` is host:port or a `redis://` URL. Blocks.
    pub(crate) fn start(address: &str, symbols: &[String]) -> anyhow::Result<Self> {
        let mut socket = connect(address).with_context(|| format!("Redis at {address}"))?;
        socket.write_all(&redis::cmd("CLIENT").arg("TRACKING").arg("ON").get_packed_command())?;
        let mut parser = Parser::new();
        match parser.parse_value(&mut socket)? {
            Value::Okay => {}
            other => bail!("Redis does not track what is read: {other:?}"),
        }
        let keys: Vec<String> =
            symbols.iter().map(|symbol| format!("price:{{{symbol}}}")).collect();
        let by_key = keys.iter().cloned().enumerate().map(|(index, key)| (key, index)).collect();
        let mut watching = Watching {
            socket: socket.try_clone()?,
            keys,
            by_key,
            asked: VecDeque::new(),
            looks: Vec::new(),
        };
        watching.ask(0..symbols.len(), unix_nanos())?;
        let thread = thread::Builder::new().name("prices".to_owned()).spawn(move || {
            let outcome = watching.run(&mut parser);
            (watching.looks, outcome)
        })?;
        Ok(Self { socket, thread })
    }

    /// What was seen, in order.
    pub(crate) fn finish(self) -> anyhow::Result<Vec<Look>> {
        let ended_before = self.thread.is_finished();
        let _ = self.socket.shutdown(Shutdown::Both);
        let (looks, outcome) =
            self.thread.join().map_err(|_| anyhow!("the thread that watches prices panicked"))?;
        if ended_before {
            outcome?;
        }
        Ok(looks)
    }
}

impl Watching {
    /// Until the connection ends, which is always an error.
    fn run(&mut self, parser: &mut Parser) -> anyhow::Result<()> {
        loop {
            let value = parser.parse_value(&mut self.socket)?;
            let at = unix_nanos();
            match value {
                Value::Push { kind: PushKind::Invalidate, data } => {
                    let symbols = invalidated(&data)
                        .filter_map(|key| self.by_key.get(key).copied())
                        .collect::<Vec<_>>();
                    self.ask(symbols, at)?;
                }
                Value::BulkString(text) => {
                    let text = std::str::from_utf8(&text)?;
                    self.look(Some(text.parse().context("a volume in Redis")?))?;
                }
                Value::Nil => self.look(None)?,
                other => bail!("Redis answers with {other:?}"),
            }
        }
    }

    fn ask(&mut self, symbols: impl IntoIterator<Item = usize>, at: u64) -> anyhow::Result<()> {
        let mut commands = Vec::new();
        for symbol in symbols {
            let command = redis::cmd("HGET").arg(&self.keys[symbol]).arg("volume").clone();
            command.write_packed_command(&mut commands);
            self.asked.push_back((symbol, at));
        }
        Ok(self.socket.write_all(&commands)?)
    }

    fn look(&mut self, volume: Option<f64>) -> anyhow::Result<()> {
        let (symbol, at) = self.asked.pop_front().context("an answer that nobody asked for")?;
        self.looks.push(Look { symbol, at, volume });
        Ok(())
    }
}

/// The keys that an invalidation names. (None where the whole of Redis was flushed.)
fn invalidated(data: &[Value]) -> impl Iterator<Item = &str> {
    let keys = data.iter().flat_map(|value| match value {
        Value::Array(keys) => keys.as_slice(),
        _ => &[],
    });
    keys.filter_map(|key| match key {
        Value::BulkString(key) => std::str::from_utf8(key).ok(),
        _ => None,
    })
}

/// A connection that speaks RESP3.
fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let text = match address.contains("://") {
        true => address.to_owned(),
        false => format!("redis://{address}"),
    };
    let url = Url::parse(&text)?;
    let host = url.host_str().context("no host")?;
    let mut socket = TcpStream::connect((host, url.port().unwrap_or(6379)))?;
    socket.set_nodelay(true)?;
    let mut hello = redis::cmd("HELLO");
    hello.arg(3);
    if let Some(password) = url.password() {
        let user = Some(url.username()).filter(|user| !user.is_empty()).unwrap_or("default");
        hello.arg("AUTH").arg(user).arg(password);
    }
    socket.write_all(&hello.get_packed_command())?;
    match Parser::new().parse_value(&mut socket)? {
        Value::Map(_) => Ok(socket),
        other => bail!("it does not speak RESP3: {other:?}"),
    }
}
