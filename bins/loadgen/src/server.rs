use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use fastwebsockets::upgrade::{is_upgrade_request, upgrade};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::cli::{Feed, SecondConnection};
use crate::connection::{Connection, Limits};
use crate::recording::Recording;
use crate::replay::{Playing, Replay};
use crate::source::Source;
use crate::synthetic::Synthetic;

/// How long clients have to take their close at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// The listening side: who may connect, and with what they are served.
pub(crate) struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    arguments: Feed,
    supply: Supply,
    tokens: Mutex<HashMap<String, Token>>,
    tasks: TaskTracker,
}

/// Makes what a connection is served with, from where a replay is to begin.
pub(crate) type Supply = Box<dyn Fn(usize) -> anyhow::Result<Source> + Send + Sync>;

/// What is known of the connections with one token.
#[derive(Default)]
struct Token {
    /// Cancelled to drop all that are open.
    open: CancellationToken,
    connections: usize,
    /// Where the last replay that ended had come to.
    position: usize,
}

impl Server {
    pub(crate) async fn bind(arguments: Feed) -> anyhow::Result<Self> {
        let recording = match &arguments.replay.file {
            None => None,
            Some(path) => {
                let mut recording = Recording::load(path)?;
                if arguments.faults.backwards {
                    recording.swap_neighbours();
                }
                Some(Arc::new(recording))
            }
        };
        let supply = supply(&arguments, recording);
        Self::of(arguments, supply).await
    }

    /// Of trades that come from elsewhere than the arguments say.
    pub(crate) async fn of(arguments: Feed, supply: Supply) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(arguments.listen)
            .await
            .with_context(|| format!("--listen {}", arguments.listen))?;
        info!(address = %listener.local_addr()?, "feed listening");
        let (tokens, tasks) = (Mutex::default(), TaskTracker::new());
        Ok(Self { listener, shared: Arc::new(Shared { arguments, supply, tokens, tasks }) })
    }

    /// Until stopped; then every client is told, and given a moment.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        loop {
            let tcp = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((tcp, _)) => tcp,
                    Err(error) => {
                        // Out of file descriptors, most likely: others have to end first.
                        warn!("a connection could not be accepted: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let stop = stop.clone();
            let handshake = handshake(self.shared.clone(), tcp, stop.clone());
            self.shared.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = handshake => {}
                }
            });
        }
        self.shared.tasks.close();
        if tokio::time::timeout(FAREWELL, self.shared.tasks.wait()).await.is_err() {
            info!("some clients did not take their close");
        }
    }
}

/// A replay of the recording, or a market.
fn supply(arguments: &Feed, recording: Option<Arc<Recording>>) -> Supply {
    let (market, backwards) = (arguments.market.clone(), arguments.faults.backwards);
    let replay = &arguments.replay;
    let playing =
        Playing { speed: replay.speed, rebase_time: replay.rebase_time, again: replay.again };
    Box::new(move |position| match &recording {
        Some(recording) => {
            Ok(Source::Replay(Replay::new(Arc::clone(recording), playing, position)))
        }
        None => {
            let market = Synthetic::new(market.clone(), backwards)?;
            Ok(Source::Synthetic(Box::new(market)))
        }
    })
}

/// Serves HTTP until a request turns the connection into a WebSocket.
async fn handshake(shared: Arc<Shared>, tcp: TcpStream, stop: CancellationToken) {
    let peer = tcp.peer_addr().map_or_else(|_| "?".to_owned(), |peer| peer.to_string());
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(peer, "no TCP_NODELAY: {error}");
    }
    let service = service_fn(|mut request: Request<Incoming>| {
        let response = answer(&shared, &mut request, &peer, &stop);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(tcp), service)
        .with_upgrades();
    if let Err(error) = serving.await {
        debug!(peer, "HTTP: {error}");
    }
}

fn answer(
    shared: &Arc<Shared>,
    request: &mut Request<Incoming>,
    peer: &str,
    stop: &CancellationToken,
) -> Response<Full<Bytes>> {
    let token = request.uri().query().map(token).unwrap_or_default();
    if let Some(status) = shared.arguments.refuse_with {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
        return plain(status, "refused, as asked for");
    }
    if shared.arguments.token.as_ref().is_some_and(|wanted| *wanted != token) {
        return plain(StatusCode::UNAUTHORIZED, "Invalid API key");
    }
    if !is_upgrade_request(request) {
        return plain(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket feed");
    }
    let (response, upgraded) = match upgrade(request) {
        Ok(both) => both,
        Err(error) => return plain(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let (shared_, peer, stop) = (shared.clone(), peer.to_owned(), stop.clone());
    shared.tasks.spawn(async move {
        match upgraded.await {
            Ok(socket) => shared_.connected(socket.into_inner(), token, &peer, stop).await,
            Err(error) => debug!(peer, "the upgrade failed: {error}"),
        }
    });
    response.map(|_| Full::default())
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

fn token(query: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned()).unwrap_or_default()
}

impl Shared {
    async fn connected(
        &self,
        stream: crate::connection::Stream,
        token: String,
        peer: &str,
        stop: CancellationToken,
    ) {
        let Some((dropped, position)) = self.enter(&token) else {
            info!(peer, "second connection of a token: both dropped");
            return;
        };
        match (self.supply)(position) {
            Ok(source) => {
                info!(peer, "client connected");
                let limits = Limits {
                    max_symbols: self.arguments.max_symbols,
                    ping_every: self.arguments.ping_every,
                };
                let connection = Connection::new(source, self.arguments.faults, limits);
                let ended = connection.run(stream, &dropped, &stop).await;
                info!(peer, frames = ended.frames, "client gone: {}", ended.why);
                self.leave(&token, ended.position);
            }
            Err(error) => {
                warn!(peer, "no market: {error:#}");
                self.leave(&token, None);
            }
        }
    }

    /// When to drop this connection, and where its replay starts; `None`: at once.
    fn enter(&self, name: &str) -> Option<(CancellationToken, usize)> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.entry(name.to_owned()).or_default();
        let drops = self.arguments.second_connection == SecondConnection::DropBoth;
        if drops && token.connections > 0 {
            std::mem::take(&mut token.open).cancel();
            return None;
        }
        token.connections += 1;
        let resumes = self.arguments.replay.resume || self.arguments.faults.drop_every.is_some();
        Some((token.open.clone(), if resumes { token.position } else { 0 }))
    }

    fn leave(&self, name: &str, position: Option<usize>) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get_mut(name) {
            token.connections -= 1;
            token.position = position.unwrap_or(token.position);
        }
    }
}
