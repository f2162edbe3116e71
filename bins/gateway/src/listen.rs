use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What one client, or all together, may take of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections. Full means that further ones wait in the kernel's backlog.
    pub connections: usize,
    /// How long a connection may take to send a request's head, idle time before it included:
    /// who sends a byte a minute is cut, and so is who holds a connection for nothing.
    pub head_timeout: Duration,
    /// The longest head, in bytes.
    pub head_bytes: usize,
    /// How long the requests under way may take to finish after the stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head_timeout: Duration::from_secs(30),
            head_bytes: 16 * 1_024,
            drain: Duration::from_secs(5),
        }
    }
}

/// Serves `router` until `stopping`; then accepts no more, closes what is idle, and gives the
/// requests under way `limits.drain` to finish.
///
/// axum's own `serve` has no bound on how long a head may take, nor on connections.
pub async fn listen(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes);
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let stream = accept(&listener).await;
            let service = TowerToHyperService::new(router.clone());
            let connection = http.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                let _slot = slot;
                if let Err(error) = connection.await {
                    // The client's doing: it went away, was too slow, or speaks something else.
                    tracing::debug!("connection ended: {error}");
                }
            });
        }
    };
    stopping.run_until_cancelled(accepting).await;
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        let cut = limits.connections - slots.available_permits();
        tracing::warn!(cut, "connections were still busy after {:?}", limits.drain);
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and whole: waiting for more of them would only delay.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!("TCP_NODELAY: {error}");
                }
                return stream;
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
