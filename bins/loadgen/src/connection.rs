use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastwebsockets::{FragmentCollectorRead, after_handshake_split};
use fastwebsockets::{Frame, OpCode, Role, WebSocketError};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::cli::Faults;
use crate::outbox::{Line, Outbox};
use crate::probe::unix_nanos;
use crate::source::{Now, Source};
use crate::subscriptions::Subscriptions;

pub(crate) type Stream = TokioIo<Upgraded>;

const PING: &[u8] = br#"{"type":"ping"}"#;

/// Errors, pongs and the answer to a close that wait to be written. Full: the client is not read.
const REPLIES_IN_FLIGHT: usize = 16;

/// A client has no reason to send more at once.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// How long a client that we hang up on has to read what it was sent.
const LINGER: Duration = Duration::from_secs(2);

/// How long a client has to take its close when the server stops.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_symbols: usize,
    pub(crate) ping_every: Duration,
}

/// One client's connection.
pub(crate) struct Connection {
    source: Source,
    outbox: Outbox,
    limits: Limits,
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) why: &'static str,
    /// Frames of trades sent.
    pub(crate) frames: u64,
    /// Where a replay had come to.
    pub(crate) position: Option<usize>,
}

struct Reply {
    opcode: OpCode,
    payload: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(source: Source, faults: Faults, limits: Limits) -> Self {
        Self { source, outbox: Outbox::new(faults), limits }
    }

    /// Until the client goes, a fault or `dropped` cuts the line, or `stop` closes it.
    pub(crate) async fn run(
        mut self,
        stream: Stream,
        dropped: &CancellationToken,
        stop: &CancellationToken,
    ) -> Ended {
        let (read, mut write) = tokio::io::split(stream);
        let (replies, mut outgoing) = mpsc::channel(REPLIES_IN_FLIGHT);
        let (subscribed, wanted) = watch::channel(Subscriptions::default());
        let reading = self::read(read, replies, subscribed, self.limits.max_symbols);
        let mut reader = AbortOnDropHandle::new(tokio::spawn(reading));
        let why = tokio::select! {
            biased;
            () = dropped.cancelled() => "dropped for a second connection",
            // Mid-frame nothing else can be said, so whoever does not read gets no close.
            () = unread(stop) => "stopped, and it did not read",
            written = self.write(&mut write, &mut outgoing, wanted, stop) => {
                let why = written.unwrap_or("it does not read");
                // Waits for the client to hang up, since a socket closed over unread data takes
                // what is still on its way to the client with it.
                let _ = write.shutdown().await;
                let _ = timeout(LINGER, &mut reader).await;
                why
            }
        };
        Ended { why, frames: self.outbox.frames(), position: self.source.position() }
    }

    async fn write(
        &mut self,
        stream: &mut WriteHalf<Stream>,
        replies: &mut mpsc::Receiver<Reply>,
        mut wanted: watch::Receiver<Subscriptions>,
        stop: &CancellationToken,
    ) -> std::io::Result<&'static str> {
        let first_ping = tokio::time::Instant::now() + self.limits.ping_every;
        let mut pings = interval_at(first_ping, self.limits.ping_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let wake = self.source.fill(now(), &mut self.outbox);
            let mut written = 0;
            while written < self.outbox.bytes().len() {
                let (bytes, at) = write_some(stream, &self.outbox.bytes()[written..]).await?;
                written += bytes;
                self.source.left(written, at);
            }
            self.outbox.clear();
            match self.outbox.line() {
                Line::Open => {}
                Line::Dropped => return Ok("dropped, as asked for"),
                Line::Stalled => {
                    // Not even its pings are answered, but it is noticed when it goes.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = gone(&mut wanted) => {}
                    }
                    return Ok("stalled to the end");
                }
            }
            // What is due already is ready at once, but the client's own come first.
            let next = async {
                match wake {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.outbox.push(OpCode::Close, &1001_u16.to_be_bytes());
                    stream.write_all(self.outbox.bytes()).await?;
                    return Ok("stopped");
                }
                reply = replies.recv() => match reply {
                    None => return Ok("hung up"),
                    Some(Reply { opcode, payload }) => {
                        self.outbox.push(opcode, &payload);
                        if opcode == OpCode::Close {
                            stream.write_all(self.outbox.bytes()).await?;
                            return Ok("closed");
                        }
                    }
                },
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return Ok("hung up");
                    }
                    let wanted = wanted.borrow_and_update().clone();
                    self.source.subscribe(&wanted, now()).map_err(std::io::Error::other)?;
                }
                _ = pings.tick() => self.outbox.push(OpCode::Text, PING),
                () = next => {}
            }
        }
    }
}

/// Writes what the kernel takes at once; how much, and when it was given (Unix nanoseconds). The time
/// that the client lets us wait is not in it.
async fn write_some(stream: &mut WriteHalf<Stream>, bytes: &[u8]) -> std::io::Result<(usize, u64)> {
    let (written, at) = poll_fn(|context| {
        let at = unix_nanos();
        Pin::new(&mut *stream).poll_write(context, bytes).map_ok(|written| (written, at))
    })
    .await?;
    match written {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        _ => Ok((written, at)),
    }
}

/// Returns when the writer has had its time to stop by itself.
async fn unread(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(CLOSE_WAIT).await;
}

/// Returns when nobody reads from the client any more.
async fn gone(wanted: &mut watch::Receiver<Subscriptions>) {
    while wanted.changed().await.is_ok() {}
}

/// Follows what the client asks for, until it goes.
async fn read(
    stream: ReadHalf<Stream>,
    replies: mpsc::Sender<Reply>,
    subscribed: watch::Sender<Subscriptions>,
    max_symbols: usize,
) {
    let (mut reader, _) = after_handshake_split(stream, tokio::io::sink(), Role::Server);
    reader.set_max_message_size(MAX_MESSAGE_BYTES);
    let mut reader = FragmentCollectorRead::new(reader);
    let mut owed = |frame: Frame<'static>| {
        let reply = Reply { opcode: frame.opcode, payload: frame.payload.to_vec() };
        replies.send(reply)
    };
    loop {
        let frame = match reader.read_frame(&mut owed).await {
            Ok(frame) => frame,
            Err(WebSocketError::InvalidUTF8) => continue,
            Err(_) => return,
        };
        if !matches!(frame.opcode, OpCode::Text | OpCode::Binary) {
            continue;
        }
        let mut outcome = Ok(());
        subscribed.send_if_modified(|all| {
            outcome = all.request(&frame.payload, max_symbols);
            outcome.is_ok()
        });
        if let Err(error) = outcome {
            let reply = Reply { opcode: OpCode::Text, payload: error.as_bytes().to_vec() };
            if replies.send(reply).await.is_err() {
                return;
            }
        }
    }
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    Now { instant: Instant::now(), unix_ms }
}
