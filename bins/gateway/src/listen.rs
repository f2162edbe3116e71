use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clients::{self, Clients};
use crate::front::Front;
use crate::impatient::Impatient;
use crate::problem::{Kind, Problem};

/// What one client, or all together, may take of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections. Full means that further ones wait in the kernel's backlog.
    pub connections: usize,
    /// Open connections of one address. Full means that a further one is told 429 and closed.
    /// `None`: no bound of its own, since behind a load balancer all have the same address.
    pub connections_per_client: Option<usize>,
    /// How long a connection may take to send a request's head, idle time before it included:
    /// who sends a byte a minute is cut, and so is who holds a connection for nothing.
    pub head_timeout: Duration,
    /// The longest head, in bytes. hyper takes at most 100 headers.
    pub head_bytes: usize,
    /// How long a client may take nothing of its answer before it is cut.
    pub write_timeout: Duration,
    /// How long the requests under way may take to finish after the stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_client: None,
            head_timeout: Duration::from_secs(30),
            head_bytes: 16 * 1_024,
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Of a connection, for as long as anybody holds it: whoever upgrades a connection holds it on.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    _slot: Arc<OwnedSemaphorePermit>,
    _of_client: Option<Arc<clients::Place>>,
}

/// Serves `front` until `stopping`; then accepts no more, closes what is idle, and gives the
/// requests under way `limits.drain` to finish.
///
/// axum's own `serve` has no bound on how long a head may take, nor on connections.
pub async fn listen(
    listener: TcpListener,
    front: Front,
    limits: Limits,
    stopping: CancellationToken,
) {
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let clients = limits.connections_per_client.map(Clients::new);
    let too_many = too_many();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes);
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let (stream, address) = accept(&listener).await;
            let place = clients.as_ref().map(|clients| clients.place(address.ip()));
            if matches!(place, Some(None)) {
                // It fits in the buffer of a new socket, or the client must do without.
                let _ = stream.try_write(&too_many);
                continue;
            }
            let stream = Impatient::new(stream, limits.write_timeout);
            let place = Place { _slot: Arc::new(slot), _of_client: place.flatten().map(Arc::new) };
            let front = front.of_connection(place.clone());
            let answer = move |request: Request<Incoming>| front.answer(request.map(Body::new));
            let service = service_fn(answer);
            let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let stopping = stopping.clone();
            connections.spawn(async move {
                let _place = place;
                let mut connection = pin!(connection);
                let served = tokio::select! {
                    served = connection.as_mut() => served,
                    () = stopping.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = served {
                    // The client's doing: it went away, was too slow, or speaks something else.
                    tracing::debug!("connection ended: {error}");
                }
            });
        }
    };
    stopping.run_until_cancelled(accepting).await;
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        let cut = limits.connections - slots.available_permits();
        tracing::warn!(cut, "connections were still busy after {:?}", limits.drain);
    }
}

/// The answer to a connection that its client may not have, which need not have asked yet.
fn too_many() -> Vec<u8> {
    let problem = Problem::new(Kind::TooMany, "too many connections from this address");
    let body = serde_json::to_string(&problem.body()).unwrap_or_default();
    let length = body.len();
    let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\n\
                retry-after: 1\r\nconnection: close\r\ncontent-length:";
    format!("{head} {length}\r\n\r\n{body}").into_bytes()
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Answers are small and whole: waiting for more of them would only delay.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!("TCP_NODELAY: {error}");
                }
                return (stream, address);
            }
            Err(error) => {
                // A client that was gone already, or no more file descriptors; the latter does
                // not pass by trying again at once.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
