//! A feed to follow, on loopback, that does what each test tells it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fastwebsockets::{Frame, OpCode, WebSocket};
use feed::{BackoffSettings, DisconnectReason, FeedMetrics, FeedSettings, FeedUrl};
use feed::{Feed, Received, Roots};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use metrics::Counter;
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Far above what any step takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SYMBOLS: [&str; 3] = ["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1"];

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) type Socket = WebSocket<TokioIo<Upgraded>>;

/// A listener, with TLS or without.
pub(crate) struct Server {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Server {
    pub(crate) async fn plain() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address, tls: None }
    }

    pub(crate) async fn tls(authority: &Authority) -> Self {
        Self { tls: Some(authority.acceptor()), ..Self::plain().await }
    }

    pub(crate) async fn accept_tcp(&self) -> TcpStream {
        timeout(PATIENCE, self.listener.accept()).await.expect("a client connects").unwrap().0
    }

    /// The next connection that gets through its handshakes, and the path and query it asked for.
    pub(crate) async fn accept(&self) -> (Socket, String) {
        loop {
            let tcp = self.accept_tcp().await;
            let io: Box<dyn Io> = match &self.tls {
                None => Box::new(tcp),
                Some(tls) => match tls.accept(tcp).await {
                    Ok(stream) => Box::new(stream),
                    Err(_) => continue,
                },
            };
            return upgrade(io).await;
        }
    }

    /// As `accept`, and all the subscriptions have been read.
    pub(crate) async fn accept_subscribed(&self) -> Socket {
        let (mut socket, _) = self.accept().await;
        for symbol in SYMBOLS {
            assert_eq!(read_text(&mut socket).await, subscription(symbol));
        }
        socket
    }
}

async fn upgrade(io: Box<dyn Io>) -> (Socket, String) {
    let (sender, receiver) = oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    tokio::spawn(async move {
        let service = service_fn(move |mut request: Request<Incoming>| {
            let target = request.uri().to_string();
            let (response, upgraded) = fastwebsockets::upgrade::upgrade(&mut request).unwrap();
            let _ = sender.lock().unwrap().take().unwrap().send((upgraded, target));
            async move { Ok::<Response<Empty<Bytes>>, std::convert::Infallible>(response) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
        let _ = connection.with_upgrades().await;
    });
    let (upgraded, target) = timeout(PATIENCE, receiver).await.unwrap().expect("a handshake");
    (timeout(PATIENCE, upgraded).await.unwrap().unwrap(), target)
}

pub(crate) fn subscription(symbol: &str) -> String {
    format!(r#"{{"symbol":"{symbol}","type":"subscribe"}}"#)
}

pub(crate) async fn read_frame(socket: &mut Socket) -> Frame<'static> {
    timeout(PATIENCE, socket.read_frame()).await.expect("a frame comes").unwrap()
}

pub(crate) async fn read_text(socket: &mut Socket) -> String {
    let frame = read_frame(socket).await;
    assert_eq!(frame.opcode, OpCode::Text);
    String::from_utf8(frame.payload.to_vec()).unwrap()
}

pub(crate) async fn send_text(socket: &mut Socket, text: &str) {
    socket.write_frame(Frame::text(text.as_bytes().into())).await.unwrap();
    socket.flush().await.unwrap();
}

pub(crate) async fn send(socket: &mut Socket, opcode: OpCode, fin: bool, payload: &[u8]) {
    socket.write_frame(Frame::new(fin, opcode, None, payload.into())).await.unwrap();
    socket.flush().await.unwrap();
}

/// An authority of our own, and the certificate that it gave `localhost`.
pub(crate) struct Authority {
    certificate: rcgen::Certificate,
    server: rcgen::Certificate,
    server_key: rcgen::KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server_key = rcgen::KeyPair::generate().unwrap();
        let server = rcgen::CertificateParams::new(names).unwrap();
        let server = server.signed_by(&server_key, &issuer).unwrap();
        Self { certificate, server, server_key }
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn roots(&self) -> Roots {
        let mut store = RootCertStore::empty();
        store.add(self.certificate.der().clone()).unwrap();
        Roots::Given(Arc::new(store))
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::try_from(self.server_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.server.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A running feed, and what comes out of it.
pub(crate) struct Follower {
    pub(crate) frames: mpsc::Receiver<Received>,
    pub(crate) subscribed: watch::Receiver<bool>,
    pub(crate) stop: CancellationToken,
    pub(crate) not_utf8: Arc<AtomicU64>,
    disconnects: [Arc<AtomicU64>; DisconnectReason::ALL.len()],
    running: JoinHandle<()>,
}

/// Quick to return after a loss; what tests wait for, they change.
pub(crate) fn settings(url: &str) -> FeedSettings {
    let symbols = SYMBOLS.map(str::to_owned).to_vec();
    let url = FeedUrl::parse(url).unwrap();
    let backoff = BackoffSettings {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(10),
        first_refused: Duration::from_millis(1),
        longest_refused: Duration::from_millis(10),
        ..BackoffSettings::default()
    };
    FeedSettings { silence: PATIENCE, backoff, ..FeedSettings::new(url, symbols) }
}

impl Follower {
    pub(crate) fn start(settings: FeedSettings, room: usize) -> Self {
        let disconnects = DisconnectReason::ALL.map(|_| Arc::new(AtomicU64::new(0)));
        let not_utf8 = Arc::new(AtomicU64::new(0));
        let metrics = FeedMetrics {
            disconnects: disconnects.clone().map(Counter::from_arc),
            not_utf8: Counter::from_arc(not_utf8.clone()),
            ..FeedMetrics::noop()
        };
        let (sender, frames) = mpsc::channel(room);
        let (subscribed_sender, subscribed) = watch::channel(false);
        let stop = CancellationToken::new();
        let feed = Feed::new(settings, metrics).unwrap();
        let running = tokio::spawn(feed.run(sender, subscribed_sender, stop.clone()));
        Self { frames, subscribed, stop, not_utf8, disconnects, running }
    }

    pub(crate) async fn message(&mut self) -> String {
        let received = timeout(PATIENCE, self.frames.recv()).await.expect("a message comes");
        String::from_utf8(received.unwrap().payload.to_vec()).unwrap()
    }

    pub(crate) async fn wait_subscribed(&mut self, wanted: bool) {
        let seen = timeout(PATIENCE, self.subscribed.wait_for(|now| *now == wanted)).await;
        seen.expect("the state is reached").unwrap();
    }

    /// Waits until a connection has ended for this reason.
    pub(crate) async fn wait_disconnect(&self, why: DisconnectReason) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.disconnects[why as usize].load(Ordering::Relaxed) == 0 {
            assert!(tokio::time::Instant::now() < deadline, "no disconnect {}", why.as_str());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) fn disconnects(&self) -> u64 {
        self.disconnects.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.running).await.expect("a stopped feed ends").unwrap();
    }
}
