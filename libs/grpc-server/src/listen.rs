use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long a connection may be silent before its peer is asked whether it is still there, and
/// how long the answer may take.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest head of a request, in bytes.
const HEAD_BYTES: u32 = 16 * 1_024;

/// What a call holds for a client that does not read, in bytes.
const SEND_BYTES: usize = 32 * 1_024;

/// What one client, or all together, may take of the service.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections. Full means that further ones wait in the kernel's backlog.
    pub connections: usize,
    /// Calls under way on one connection. Full means that its client holds further ones back.
    pub calls: u32,
    /// How long a call may take that brings no earlier deadline.
    pub call_timeout: Duration,
    /// How long the calls under way may take to finish after the stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            calls: 1_024,
            call_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Serves `router` until `stopping`; then accepts no more, tells clients to go elsewhere, and
/// gives the calls under way `limits.drain` to finish.
///
/// tonic's own server has no bound on connections, nor on how long a drain may take.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(limits.calls)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buf_size(SEND_BYTES);
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
                    // The client's doing: it went away, or speaks something else.
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
