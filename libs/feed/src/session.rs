use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastwebsockets::{Frame, OpCode, WebSocketError, WebSocketRead, WebSocketWrite};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::connect::Socket;
use crate::message::Reassembly;
use crate::pulse::Pulse;
use crate::{Disconnect, FeedMetrics, FeedSettings, Received};

/// Pongs and the answer to a close that wait for the socket. Full means that the feed does not
/// read what we send: the reader waits, and the write's timeout ends the connection.
const REPLIES_IN_FLIGHT: usize = 16;

/// A feed that does not take a few bytes within this time is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// For the farewell: nobody waits for it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

type Stream = TokioIo<Upgraded>;
type Reader = WebSocketRead<ReadHalf<Stream>>;
type Writer = WebSocketWrite<WriteHalf<Stream>>;
type Room<'a> = mpsc::Permit<'a, Received>;

/// How a connection ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) why: Disconnect,
    pub(crate) lasted: Duration,
    pub(crate) messages: u64,
}

/// What a session shares with the run that it is part of.
pub(crate) struct Session<'a> {
    pub(crate) settings: &'a FeedSettings,
    pub(crate) metrics: &'a FeedMetrics,
    pub(crate) frames: &'a mpsc::Sender<Received>,
    pub(crate) subscribed: &'a watch::Sender<bool>,
    pub(crate) stop: &'a CancellationToken,
}

impl Session<'_> {
    /// Lives as long as the connection does.
    pub(crate) async fn run(&self, mut socket: Socket) -> Ended {
        let opened = Instant::now();
        // fastwebsockets refuses a frame of exactly its bound.
        socket.set_max_message_size(self.settings.max_message_bytes.saturating_add(1));
        let (reader, mut writer) = socket.split(tokio::io::split);
        let pulse = Arc::new(Pulse::default());
        let (replies, mut outgoing) = mpsc::channel(REPLIES_IN_FLIGHT);
        let reading = Reading {
            reassembly: Reassembly::new(self.settings.max_message_bytes),
            limit: self.settings.max_message_bytes,
            frames: self.frames.clone(),
            pulse: pulse.clone(),
            opened,
            metrics: self.metrics.clone(),
        };
        // A read that is cancelled loses its place in the stream, so it has a task that nothing
        // cancels but the end of the connection.
        let mut reader = AbortOnDropHandle::new(tokio::spawn(reading.run(reader, replies)));

        let why = tokio::select! {
            biased;
            () = self.stop.cancelled() => Disconnect::Stopped,
            why = &mut reader => ended(why),
            () = silence(&pulse, opened, self.settings.silence) => Disconnect::Silent,
            why = self.write(&mut writer, &mut outgoing) => match why {
                Some(why) => why,
                // The reader has hung up: it knows why.
                None => ended((&mut reader).await),
            },
        };
        self.subscribed.send_replace(false);
        self.metrics.connected.set(0.0);
        reader.abort();
        say_goodbye(&mut writer, &mut outgoing, &why).await;
        Ended { why, lasted: opened.elapsed(), messages: pulse.messages() }
    }

    /// Subscribes, then writes what the reader owes. `None` when the reader has ended.
    async fn write(
        &self,
        writer: &mut Writer,
        outgoing: &mut mpsc::Receiver<Frame<'static>>,
    ) -> Option<Disconnect> {
        for symbol in &self.settings.symbols {
            let message = serde_json::json!({"type": "subscribe", "symbol": symbol}).to_string();
            if let Err(why) = write(writer, Frame::text(message.into_bytes().into())).await {
                return Some(why);
            }
        }
        self.subscribed.send_replace(true);
        self.metrics.connected.set(1.0);
        while let Some(reply) = outgoing.recv().await {
            // Left to `say_goodbye`, after which nothing may be sent.
            if reply.opcode == OpCode::Close {
                let _ = timeout(CLOSE_TIMEOUT, write(writer, reply)).await;
                continue;
            }
            if let Err(why) = write(writer, reply).await {
                return Some(why);
            }
        }
        None
    }
}

async fn write(writer: &mut Writer, frame: Frame<'_>) -> Result<(), Disconnect> {
    let written = timeout(WRITE_TIMEOUT, async {
        writer.write_frame(frame).await?;
        // TLS buffers; without this a pong would wait for the next write.
        writer.flush().await
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Disconnect::Lost(error.to_string())),
        Err(_) => Err(Disconnect::Lost("the feed does not read what is sent to it".to_owned())),
    }
}

/// Sends the close that the protocol asks for, if it can be sent without waiting for it.
async fn say_goodbye(
    writer: &mut Writer,
    outgoing: &mut mpsc::Receiver<Frame<'static>>,
    why: &Disconnect,
) {
    if writer.is_closed() {
        return;
    }
    let owed = std::iter::from_fn(|| outgoing.try_recv().ok()).find(|f| f.opcode == OpCode::Close);
    let close = owed.or_else(|| why.close_code().map(|code| Frame::close(code, b"")));
    if let Some(close) = close {
        let _ = timeout(CLOSE_TIMEOUT, write(writer, close)).await;
    }
}

/// Returns when no message has come for `limit`.
async fn silence(pulse: &Pulse, opened: Instant, limit: Duration) {
    while let Some(patience) = pulse.patience(opened.elapsed(), limit) {
        tokio::time::sleep(patience).await;
    }
}

fn ended(joined: Result<Disconnect, tokio::task::JoinError>) -> Disconnect {
    match joined {
        Ok(why) => why,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Disconnect::Stopped,
        },
    }
}

/// The reader's half of a session.
struct Reading {
    reassembly: Reassembly,
    limit: usize,
    frames: mpsc::Sender<Received>,
    pulse: Arc<Pulse>,
    opened: Instant,
    metrics: FeedMetrics,
}

impl Reading {
    async fn run(
        mut self,
        mut reader: Reader,
        replies: mpsc::Sender<Frame<'static>>,
    ) -> Disconnect {
        let mut warned = false;
        let mut reply = |frame: Frame<'static>| replies.send(frame);
        let frames = self.frames.clone();
        // The room comes before the frame: what has been read is always handed over, so that an
        // end of the connection, ours or the feed's, drops nothing.
        let Some(mut room) = self.room(&frames).await else { return Disconnect::Stopped };
        loop {
            let frame = match reader.read_frame(&mut reply).await {
                Ok(frame) => frame,
                // The frame has been taken off the stream, so the next one can be read: one bad
                // frame is not worth the connection.
                Err(WebSocketError::InvalidUTF8) => {
                    self.metrics.not_utf8.increment(1);
                    if !std::mem::replace(&mut warned, true) {
                        warn!("the feed sends text that is not UTF-8; such frames are skipped");
                    }
                    continue;
                }
                Err(error) => return Disconnect::from_read(error, self.limit),
            };
            let message = match frame.opcode {
                OpCode::Close => return closed(&frame.payload),
                OpCode::Ping | OpCode::Pong => continue,
                OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                    match self.reassembly.accept(frame) {
                        Ok(message) => message,
                        Err(why) => return why,
                    }
                }
            };
            let Some(payload) = message else { continue };
            let received_at = unix_nanos();
            self.pulse.message(self.opened.elapsed());
            self.metrics.frames.increment(1);
            self.metrics.bytes.increment(payload.len() as u64);
            room.send(Received { payload, received_at });
            room = match self.room(&frames).await {
                Some(room) => room,
                None => return Disconnect::Stopped,
            };
        }
    }

    /// Waits until the queue takes one more; `None` where nobody takes from it.
    async fn room<'a>(&self, frames: &'a mpsc::Sender<Received>) -> Option<Room<'a>> {
        match frames.try_reserve() {
            Ok(room) => Some(room),
            Err(mpsc::error::TrySendError::Closed(())) => None,
            Err(mpsc::error::TrySendError::Full(())) => {
                self.pulse.waiting();
                let room = frames.reserve().await.ok()?;
                self.pulse.resumed(self.opened.elapsed());
                Some(room)
            }
        }
    }
}

fn closed(payload: &[u8]) -> Disconnect {
    let (code, reason) = match payload {
        [high, low, reason @ ..] => {
            (Some(u16::from_be_bytes([*high, *low])), String::from_utf8_lossy(reason).into_owned())
        }
        _ => (None, String::new()),
    };
    Disconnect::Closed { code, reason }
}

fn unix_nanos() -> u64 {
    // A clock before 1970 or after 2554 gives the nearest that can be said.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
