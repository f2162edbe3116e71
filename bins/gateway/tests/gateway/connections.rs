//! Clients that are slow, greedy or broken, on a real socket, and the drain.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use gateway::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything here may take on a busy machine before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    stopping: CancellationToken,
    task: JoinHandle<()>,
    /// Lets `/slow` answer.
    gate: CancellationToken,
}

/// How long what `/big` answers is: more than any socket buffers.
const BIG: usize = 64 << 20;

/// `/fast` answers at once; `/slow` when the gate opens.
async fn start(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stopping, gate) = (CancellationToken::new(), CancellationToken::new());
    let opened = gate.clone();
    let slow = async move || {
        opened.cancelled().await;
        "slow"
    };
    let router = Router::new()
        .route("/fast", get(async || "fast"))
        .route("/slow", get(slow))
        .route("/big", get(async || vec![b'x'; BIG]));
    let task = tokio::spawn(gateway::listen(listener, router.into(), limits, stopping.clone()));
    Server { address, stopping, task, gate }
}

async fn send(address: SocketAddr, text: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(text).await.expect("sent");
    stream
}

/// All that comes until the server closes; a reset counts as a close.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the server did not close; so far {:?}", String::from_utf8_lossy(&bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn read_some(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4_096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await;
    let count = read.expect("an answer in time").expect("an answer");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut() {
    let head_timeout = Duration::from_millis(100);
    let server = start(Limits { head_timeout, ..Limits::default() }).await;
    for sent in [&b""[..], b"G", b"GET /fast HTTP/1.1\r\nhost: x\r\n"] {
        let started = Instant::now();
        let mut stream = send(server.address, sent).await;
        let answer = rest(&mut stream).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!(started.elapsed() >= head_timeout);
    }
    // An idle connection is cut, too, after its answer.
    let mut stream = send(server.address, b"GET /fast HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(rest(&mut stream).await.ends_with("fast"));
}

#[tokio::test]
async fn nonsense_and_oversized_heads_are_4xx() {
    let server = start(Limits::default()).await;
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(20_000));
    let long_header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    for (sent, statuses) in [
        ("\0\0\0\0\r\n\r\n", ["400", "400"]),
        ("GET\r\n\r\n", ["400", "400"]),
        ("GET / HTTP/9.9\r\n\r\n", ["400", "400"]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ["", ""]),
        ("GET /a b HTTP/1.1\r\n\r\n", ["400", "400"]),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", ["400", "400"]),
        ("POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n", ["400", "400"]),
        ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", ["400", "400"]),
        ("\u{16}\u{3}\u{1}\u{2} TLS hello\r\n\r\n", ["400", "400"]),
        (&long_path, ["414", "431"]),
        (&long_header, ["431", "431"]),
        (&many_headers, ["431", "431"]),
    ] {
        let mut stream = send(server.address, sent.as_bytes()).await;
        let answer = rest(&mut stream).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(statuses.contains(&status), "{:?}: {answer:?}", &sent[..sent.len().min(40)]);
    }
}

#[tokio::test]
async fn past_the_limit_connections_wait_their_turn() {
    let server = start(Limits { connections: 1, ..Limits::default() }).await;
    let request = b"GET /fast HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = send(server.address, request).await;
    assert!(read_some(&mut first).await.ends_with("fast"));
    let mut second = send(server.address, request).await;
    let early = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
    assert!(early.is_err(), "answered beside the first");
    drop(first);
    assert!(read_some(&mut second).await.ends_with("fast"));
}

#[tokio::test]
async fn the_stop_closes_what_is_idle_and_lets_the_rest_finish() {
    let server = start(Limits::default()).await;
    let mut fresh = send(server.address, b"").await;
    let mut idle = send(server.address, b"GET /fast HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(read_some(&mut idle).await.ends_with("fast"));
    let slow = b"GET /fast HTTP/1.1\r\nhost: x\r\n\r\nGET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut slow = send(server.address, slow).await;
    assert!(read_some(&mut slow).await.contains("fast"));
    server.stopping.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut fresh).await, "");
    assert!(TcpStream::connect(server.address).await.is_err(), "still listens");
    assert!(!server.task.is_finished());
    server.gate.cancel();
    assert!(rest(&mut slow).await.ends_with("slow"));
    tokio::time::timeout(PATIENCE, server.task).await.expect("ends").expect("ends well");
}

#[tokio::test]
async fn a_request_that_does_not_finish_does_not_hold_the_stop() {
    let drain = Duration::from_millis(100);
    let server = start(Limits { drain, ..Limits::default() }).await;
    let slow = b"GET /fast HTTP/1.1\r\nhost: x\r\n\r\nGET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut slow = send(server.address, slow).await;
    assert!(read_some(&mut slow).await.contains("fast"));
    let started = Instant::now();
    server.stopping.cancel();
    tokio::time::timeout(PATIENCE, server.task).await.expect("ends").expect("ends well");
    assert!(started.elapsed() >= drain);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let write_timeout = Duration::from_millis(200);
    let server = start(Limits { write_timeout, ..Limits::default() }).await;
    let mut idle = send(server.address, b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let request = b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut slow = send(server.address, request).await;
    // Who goes on reading, if slowly, is not.
    for _ in 0..10 {
        tokio::time::sleep(write_timeout / 4).await;
        let mut bytes = vec![0; 1 << 20];
        slow.read_exact(&mut bytes).await.expect("more of it");
    }
    assert!(rest(&mut slow).await.len() > BIG / 2);
    assert!(rest(&mut idle).await.len() < BIG);
}
