//! `GET /ws`: what happens to symbols, over a WebSocket (RFC 6455).
//!
//! A client sends `{"subscribe":["AAPL"]}` and `{"unsubscribe":["AAPL"]}`, and with the first of
//! them, if it was cut off, `"last_event_id"`. It is told `{"event":…,"id":…,"data":…}`, with the
//! events of `GET /stream`, and `error` for what cannot be read.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::response::Response;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{
    Frame, OpCode, Payload as Bytes, WebSocketError, WebSocketRead, WebSocketWrite,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use market::Symbol;
use serde::Deserialize;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::listen::Place;
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
/// Wishes that wait to be taken. Full means that the client is not read.
const WISHES_WAITING: usize = 16;
/// Bytes of messages that wait until there is something to join, and what each counts beside its
/// own. A client that sends more is let go.
const MESSAGES_WAITING: usize = 256 * 1_024;
const A_MESSAGE: usize = 1_024;
const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that does not even answer pings for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// <https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1>
const GOING_AWAY: u16 = 1001;
const PROTOCOL: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const POLICY: u16 = 1008;
const TOO_BIG: u16 = 1009;

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
    if !live.origins.allow(request.headers()) {
        let detail = "pages of this origin may not open a WebSocket here";
        return Err(Problem::new(problem::Kind::Forbidden, detail));
    }
    let places = live.follow(MOST_SYMBOLS).map_err(|_| {
        Problem::new(problem::Kind::TooMany, "too many streams are open; try again")
    })?;
    // Its connection counts for as long as it lasts.
    let connection = request.extensions().get::<Place>().cloned();
    let sockets = live.sockets.clone();
    sockets.spawn(async move {
        let _held = (places, connection);
        serve(live, kinds, upgraded).await;
    });
    Ok(response.map(|_| Body::empty()))
}

/// Whose pages may open WebSockets: browsers let any, and say which (RFC 6455, 10.2).
#[derive(Debug)]
pub(crate) struct Origins(Vec<String>);

impl Origins {
    pub(crate) fn new(allowed: &[String]) -> Self {
        Self(allowed.to_vec())
    }

    /// What comes from no page, or from a page of this host, is allowed.
    fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default())
        else {
            return true;
        };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        (authority.is_some() && authority == host)
            || self.0.iter().any(|allowed| allowed == "*" || allowed == origin)
    }
}

async fn serve(live: Arc<Live>, kinds: Kinds, upgraded: UpgradeFut) {
    let Ok(socket) = upgraded.await else { return };
    let _counted = Counted::new(&live.streams);
    let (reader, writer) = socket.split(tokio::io::split);
    let (sender, wishes) = mpsc::channel(WISHES_WAITING);
    let _reading = AbortOnDropHandle::new(tokio::spawn(read(reader, sender)));
    let subscribed = Subscription::new(&live.board, &[], kinds, live.stopping.clone());
    let Ok((subscription, _)) = subscribed else { return };
    let has_begun = live.board.has_begun();
    let messages = VecDeque::new();
    let mut session =
        Session { live, subscription, writer, wishes, has_begun, messages, is_new: true };
    // Whatever it is, the client has gone or is let go.
    let _ = session.run().await;
}

/// What a client wants.
enum Wish {
    Message(String),
    /// To be sent as it is: a pong, or the answer to a close.
    Owed(OpCode, Vec<u8>),
    /// It has broken a rule, and is let go with this code.
    Close(u16),
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
    let mut owed =
        |frame: Frame<'static>| wishes.send(Wish::Owed(frame.opcode, frame.payload.to_vec()));
    loop {
        // Given up with the connection: a frame that was read in part is not gone on with.
        let wish = match timeout(SILENCE, reader.read_frame(&mut owed)).await {
            // What has no reason to be long has none to come in pieces.
            Ok(Ok(frame)) if !frame.fin => Wish::Close(TOO_BIG),
            Ok(Ok(frame)) => match frame.opcode {
                OpCode::Text => match String::from_utf8(frame.payload.to_vec()) {
                    Ok(text) => Wish::Message(text),
                    Err(_) => Wish::Close(NOT_UTF8),
                },
                OpCode::Binary => Wish::Close(POLICY),
                _ => continue,
            },
            Ok(Err(WebSocketError::InvalidUTF8)) => Wish::Close(NOT_UTF8),
            Ok(Err(WebSocketError::FrameTooLarge)) => Wish::Close(TOO_BIG),
            Ok(Err(error)) if is_the_clients(&error) => Wish::Close(PROTOCOL),
            Ok(Err(_)) | Err(_) => return,
        };
        let is_last = matches!(wish, Wish::Close(_));
        if wishes.send(wish).await.is_err() || is_last {
            return;
        }
    }
}

/// Whether there is somebody to be told.
fn is_the_clients(error: &WebSocketError) -> bool {
    !matches!(
        error,
        WebSocketError::IoError(_)
            | WebSocketError::UnexpectedEOF
            | WebSocketError::ConnectionClosed
            | WebSocketError::SendError(_)
    )
}

struct Session {
    live: Arc<Live>,
    subscription: Subscription,
    writer: WebSocketWrite<WriteHalf<Socket>>,
    wishes: mpsc::Receiver<Wish>,
    has_begun: watch::Receiver<bool>,
    /// To be heeded in their order, once there is something to join: an id from before would say
    /// nothing.
    messages: VecDeque<String>,
    /// Nothing was asked for yet.
    is_new: bool,
}

impl Session {
    async fn run(&mut self) -> Result<(), WebSocketError> {
        let mut events: Vec<Arc<Event>> = Vec::new();
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = self.live.stopping.clone();
        loop {
            events.clear();
            let (subscription, found) = (&mut self.subscription, &mut events);
            let polled = poll_fn(|context| subscription.poll_events(context, found));
            tokio::select! {
                biased;
                () = stopping.cancelled() => return self.end(End::Stopping).await,
                // Before the next wish: what came first is heeded first.
                () = until(&mut self.has_begun), if !self.messages.is_empty() => {
                    if let Some(text) = self.messages.pop_front()
                        && let Some(end) = self.heed(&text).await?
                    {
                        return self.end(end).await;
                    }
                }
                wish = self.wishes.recv() => match wish {
                    None => return Ok(()),
                    Some(Wish::Close(code)) => {
                        return self.write(OpCode::Close, &code.to_be_bytes()).await;
                    }
                    Some(Wish::Owed(opcode, payload)) => {
                        self.write(opcode, &payload).await?;
                        if opcode == OpCode::Close {
                            return Ok(());
                        }
                    }
                    Some(Wish::Message(text)) => {
                        let waiting = self.messages.iter().chain([&text]);
                        if waiting.map(|text| text.len() + A_MESSAGE).sum::<usize>()
                            > MESSAGES_WAITING
                        {
                            return self.write(OpCode::Close, &POLICY.to_be_bytes()).await;
                        }
                        self.messages.push_back(text);
                    }
                },
                _ = pings.tick() => self.write(OpCode::Ping, &[]).await?,
                polled = polled => match polled {
                    Ok(()) => self.tell(&events).await?,
                    Err(end) => return self.end(end).await,
                },
            }
        }
    }

    async fn tell(&mut self, events: &[Arc<Event>]) -> Result<(), WebSocketError> {
        self.live.told.count(events);
        for event in events {
            self.write(OpCode::Text, event.message()).await?;
        }
        Ok(())
    }

    /// Does what a message says, and ends with `ready`, or with `error`. Returns why nothing more
    /// can be told.
    async fn heed(&mut self, text: &str) -> Result<Option<End>, WebSocketError> {
        let asked = match self.asked(text) {
            Ok(asked) => asked,
            Err(why) => {
                self.say(&Said::Error(why)).await?;
                return Ok(None);
            }
        };
        self.is_new = false;
        self.subscription.remove(&asked.unwanted);
        // What was followed before is told first: `ready` says that everything was.
        let mut events = Vec::new();
        let added = self.subscription.add(&asked.wanted, &mut events);
        self.tell(&events).await?;
        let (base, added) = match added {
            Ok(added) => added,
            Err(End::TooMany) => {
                self.say(&Said::Error(End::TooMany.why().to_owned())).await?;
                return Ok(None);
            }
            Err(end) => return Ok(Some(end)),
        };
        let kinds = self.subscription.kinds();
        let slots = self.subscription.slots();
        let slots = slots[slots.len() - added..].to_vec();
        let Some(from) = asked.from else {
            let payloads = slots.iter().flat_map(|slot| slot.snapshot(kinds));
            let said = standing(payloads, &base.cursor);
            self.say_all(&said).await?;
            return Ok(None);
        };
        if !self.live.reached(&from).await {
            return Ok(Some(End::Behind));
        }
        let mut catch_up = CatchUp::new(self.live.source(), (kinds, &*slots), (from, base));
        loop {
            match catch_up.next().await {
                Ok(Some(said)) => self.say_all(&said).await?,
                Ok(None) => return Ok(None),
                Err(_) => return Ok(Some(End::Away)),
            }
        }
    }

    fn asked(&self, text: &str) -> Result<Asked, String> {
        let message: Message = serde_json::from_str(text)
            .map_err(|error| format!("not a message that can be read: {error}"))?;
        let Message { subscribe, unsubscribe, last_event_id } = message;
        if last_event_id.is_some() && !self.is_new {
            return Err("last_event_id goes with the first message".to_owned());
        }
        let from = last_event_id.map(|id| {
            Cursor::parse(&id)
                .ok_or_else(|| "last_event_id must be an id that was given".to_owned())
        });
        let from = from.transpose()?;
        if subscribe.is_empty() && unsubscribe.is_empty() {
            return Err("subscribe or unsubscribe must name symbols".to_owned());
        }
        let followed = self.subscription.slots().len();
        if subscribe.len().max(unsubscribe.len()) > MOST_SYMBOLS
            || followed + subscribe.len() > MOST_SYMBOLS + unsubscribe.len()
        {
            return Err(format!("at most {MOST_SYMBOLS} symbols"));
        }
        let symbols = |names: &[String]| -> Result<Vec<Symbol>, String> {
            let symbol = |name: &String| Symbol::new(name).map_err(|error| error.to_string());
            let mut symbols: Vec<Symbol> = names.iter().map(symbol).collect::<Result<_, _>>()?;
            symbols.sort_unstable();
            symbols.dedup();
            Ok(symbols)
        };
        Ok(Asked { wanted: symbols(&subscribe)?, unwanted: symbols(&unsubscribe)?, from })
    }

    async fn say_all(&mut self, said: &[Said]) -> Result<(), WebSocketError> {
        for said in said {
            self.say(said).await?;
        }
        Ok(())
    }

    async fn say(&mut self, said: &Said) -> Result<(), WebSocketError> {
        self.write(OpCode::Text, said.message().as_bytes()).await
    }

    async fn write(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), WebSocketError> {
        self.writer.write_frame(Frame::new(true, opcode, None, Bytes::Borrowed(payload))).await
    }

    async fn end(&mut self, end: End) -> Result<(), WebSocketError> {
        self.say(&end.said()).await?;
        let code = if end == End::TooSlow { POLICY } else { GOING_AWAY };
        self.write(OpCode::Close, &code.to_be_bytes()).await
    }
}

async fn until(has_begun: &mut watch::Receiver<bool>) {
    // It errs only once the board is gone, which the session holds.
    let _ = has_begun.wait_for(|begun| *begun).await;
}

/// What a message says.
struct Asked {
    wanted: Vec<Symbol>,
    unwanted: Vec<Symbol>,
    /// Where the client was.
    from: Option<Cursor>,
}
