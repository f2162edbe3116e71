//! `GET /ws`: what happens to symbols, over a WebSocket (RFC 6455).
//!
//! A client sends `{"subscribe":["AAPL"]}` and `{"unsubscribe":["AAPL"]}`, and with the first of
//! them, if it was cut off, `"last_event_id"`. It is told `{"event":…,"id":…,"data":…}`, with the
//! events of `GET /stream`, and `error` for what cannot be read.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload as Bytes, WebSocketError, WebSocketRead,
    WebSocketWrite,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use market::Symbol;
use serde::Deserialize;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::live::catch_up::{CatchUp, standing};
use crate::live::cursor::Cursor;
use crate::live::event::{Event, Kinds};
use crate::live::routes::kinds_of;
use crate::live::said::Said;
use crate::live::subscription::{End, Subscription};
use crate::live::{Counted, Live};
use crate::problem::{self, Problem};
use crate::query::{MOST_SYMBOLS, Query};

type Socket = TokioIo<Upgraded>;

/// A client has no reason to send more at once.
const LONGEST_MESSAGE: usize = 128 * 1_024;
/// Messages that wait to be heeded. Full means that the client is not read.
const WISHES_WAITING: usize = 16;
const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that does not even answer pings for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// <https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1>
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;

/// Follow symbols over a WebSocket
///
/// Send `{"subscribe":["AAPL"]}`, `{"unsubscribe":["AAPL"]}`; a client that was cut off adds
/// `"last_event_id"` to its first message. It is told the events of `/stream` as
/// `{"event":"price","id":"…","data":{…}}`, and `ready` after each subscribe.
#[utoipa::path(
    get, path = "/ws", tag = "prices", operation_id = "websocket",
    params(
        ("kinds" = Option<String>, Query,
            description = "Of price, tick, candle, firing; price alone where absent",
            pattern = r"^(price|tick|candle|firing)(,(price|tick|candle|firing))*$",
            example = "price"),
    ),
    responses((status = 101, description = "The WebSocket begins"))
)]
pub(crate) async fn websocket(
    State(live): State<Arc<Live>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let kinds = kinds_of(&Query::of(request.uri()))?;
    let (response, upgraded) = upgrade(&mut request).map_err(|_| {
        let detail = "this path takes the handshake of a WebSocket, version 13";
        Problem::new(problem::Kind::BadRequest, detail)
    })?;
    let place = Arc::clone(&live.websockets).try_acquire_owned().map_err(|_| {
        Problem::new(problem::Kind::TooMany, "too many WebSockets are open; try again")
    })?;
    tokio::spawn(serve(live, kinds, upgraded, place));
    Ok(response.map(|_| Body::empty()))
}

async fn serve(live: Arc<Live>, kinds: Kinds, upgraded: UpgradeFut, _place: OwnedSemaphorePermit) {
    let Ok(socket) = upgraded.await else { return };
    let _counted = Counted::new(&live.streams);
    let (reader, writer) = socket.split(tokio::io::split);
    let (sender, wishes) = mpsc::channel(WISHES_WAITING);
    let _reading = AbortOnDropHandle::new(tokio::spawn(read(reader, sender)));
    let subscribed = Subscription::new(&live.board, &[], kinds, live.stopping.clone());
    let Ok((subscription, _)) = subscribed else { return };
    let mut session = Session { live, subscription, writer, wishes, is_new: true };
    // Whatever it is, the client has gone or is let go.
    let _ = session.run().await;
}

/// What a client wants.
enum Wish {
    Message(String),
    /// To be sent as it is: a pong, or the answer to a close.
    Owed(OpCode, Vec<u8>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(default)]
    subscribe: Vec<String>,
    #[serde(default)]
    unsubscribe: Vec<String>,
    #[serde(default)]
    last_event_id: Option<String>,
}

async fn read(mut reader: WebSocketRead<ReadHalf<Socket>>, wishes: mpsc::Sender<Wish>) {
    reader.set_max_message_size(LONGEST_MESSAGE);
    let mut reader = FragmentCollectorRead::new(reader);
    let mut owed =
        |frame: Frame<'static>| wishes.send(Wish::Owed(frame.opcode, frame.payload.to_vec()));
    loop {
        // Given up with the connection: a frame that was read in part is not gone on with.
        let wish = match timeout(SILENCE, reader.read_frame(&mut owed)).await {
            Ok(Ok(frame)) if matches!(frame.opcode, OpCode::Text | OpCode::Binary) => {
                Wish::Message(String::from_utf8_lossy(&frame.payload).into_owned())
            }
            Ok(Ok(_)) => continue,
            Ok(Err(WebSocketError::InvalidUTF8)) => Wish::Message(String::new()),
            Ok(Err(_)) | Err(_) => return,
        };
        if wishes.send(wish).await.is_err() {
            return;
        }
    }
}

struct Session {
    live: Arc<Live>,
    subscription: Subscription,
    writer: WebSocketWrite<WriteHalf<Socket>>,
    wishes: mpsc::Receiver<Wish>,
    /// Nothing was asked for yet.
    is_new: bool,
}

impl Session {
    async fn run(&mut self) -> Result<(), WebSocketError> {
        let mut events: Vec<Arc<Event>> = Vec::new();
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            events.clear();
            let (subscription, found) = (&mut self.subscription, &mut events);
            let polled = poll_fn(|context| subscription.poll_events(context, found));
            tokio::select! {
                biased;
                wish = self.wishes.recv() => match wish {
                    None => return Ok(()),
                    Some(Wish::Owed(opcode, payload)) => {
                        self.write(opcode, payload).await?;
                        if opcode == OpCode::Close {
                            return Ok(());
                        }
                    }
                    Some(Wish::Message(text)) => self.heed(&text).await?,
                },
                _ = pings.tick() => self.write(OpCode::Ping, Vec::new()).await?,
                polled = polled => match polled {
                    Ok(()) => {
                        self.live.told.count(&events);
                        for event in &events {
                            self.write(OpCode::Text, event.message().into_bytes()).await?;
                        }
                    }
                    Err(end) => return self.end(end).await,
                },
            }
        }
    }

    async fn heed(&mut self, text: &str) -> Result<(), WebSocketError> {
        match self.asked(text) {
            Ok((added, from)) => {
                let is_first = std::mem::take(&mut self.is_new);
                let slots = self.subscription.last_slots(added);
                match from.filter(|_| is_first) {
                    Some(from) => {
                        let base = self.subscription.begin_at_base();
                        let wanted = (self.subscription.kinds(), &*slots);
                        let live = &self.live;
                        let (reader, topic) = (live.reader.clone(), live.topic.clone());
                        let board = Arc::clone(&live.board);
                        let mut catch_up = CatchUp::new(reader, topic, board, wanted, (from, base));
                        while let Some(said) = catch_up.next().await {
                            self.say_all(&said).await?;
                        }
                    }
                    None => {
                        let kinds = self.subscription.kinds();
                        let payloads = slots.iter().flat_map(|slot| slot.snapshot(kinds));
                        let cursor = self.live.board.base().cursor;
                        let said = standing(payloads, &cursor);
                        self.say_all(&said).await?;
                    }
                }
                Ok(())
            }
            Err(why) => self.say(&Said::Error(why)).await,
        }
    }

    /// Does what a message says. Returns how many symbols are new, and where the client was.
    fn asked(&mut self, text: &str) -> Result<(usize, Option<Cursor>), String> {
        let message: Message = serde_json::from_str(text)
            .map_err(|error| format!("not a message that can be read: {error}"))?;
        let from = message.last_event_id.as_deref().map(|id| {
            Cursor::parse(id).ok_or_else(|| "last_event_id must be an id that was given".to_owned())
        });
        let from = from.transpose()?;
        let symbols = |names: &[String]| -> Result<Vec<Symbol>, String> {
            names.iter().map(|name| Symbol::new(name).map_err(|error| error.to_string())).collect()
        };
        let (wanted, unwanted) = (symbols(&message.subscribe)?, symbols(&message.unsubscribe)?);
        if wanted.is_empty() && unwanted.is_empty() {
            return Err("subscribe or unsubscribe must name symbols".to_owned());
        }
        self.subscription.remove(&unwanted);
        let added = self.subscription.add(&wanted, MOST_SYMBOLS);
        let added = added.ok_or_else(|| format!("at most {MOST_SYMBOLS} symbols"))?;
        Ok((added, from))
    }

    async fn say_all(&mut self, said: &[Said]) -> Result<(), WebSocketError> {
        for said in said {
            self.say(said).await?;
        }
        Ok(())
    }

    async fn say(&mut self, said: &Said) -> Result<(), WebSocketError> {
        self.write(OpCode::Text, said.message().into_bytes()).await
    }

    async fn write(&mut self, opcode: OpCode, payload: Vec<u8>) -> Result<(), WebSocketError> {
        self.writer.write_frame(Frame::new(true, opcode, None, Bytes::Owned(payload))).await
    }

    async fn end(&mut self, end: End) -> Result<(), WebSocketError> {
        self.say(&end.said()).await?;
        let code = if end == End::TooSlow { POLICY } else { GOING_AWAY };
        self.write(OpCode::Close, code.to_be_bytes().to_vec()).await
    }
}
