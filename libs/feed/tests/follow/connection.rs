//! How connections come and go.

use std::time::{Duration, Instant};

use fastwebsockets::{Frame, OpCode};
use feed::DisconnectReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::{Follower, PATIENCE, Server, read_frame, send_text, settings};

#[tokio::test]
async fn every_connection_restores_all_subscriptions() {
    let server = Server::plain().await;
    let mut follower =
        Follower::start(settings(&format!("ws://{}/v1?token=T", server.address)), 64);
    for round in 0..5 {
        let mut socket = server.accept_subscribed().await;
        follower.wait_subscribed(true).await;
        send_text(&mut socket, &format!("round {round}")).await;
        assert_eq!(follower.message().await, format!("round {round}"));
        drop(socket);
        follower.wait_subscribed(false).await;
    }
    follower.wait_disconnect(DisconnectReason::Lost).await;
    follower.stopped().await;
}

#[tokio::test]
async fn the_token_is_sent_as_it_was_given() {
    let server = Server::plain().await;
    let url = format!("ws://{}/v1?token=a%20b", server.address);
    let follower = Follower::start(settings(&url), 64);
    let (_socket, target) = server.accept().await;
    assert_eq!(target, "/v1?token=a%20b");
    follower.stopped().await;
}

#[tokio::test]
async fn a_silent_connection_is_given_up() {
    let server = Server::plain().await;
    let mut settings = settings(&format!("ws://{}", server.address));
    settings.silence = Duration::from_millis(200);
    let mut follower = Follower::start(settings, 64);
    let mut first = server.accept_subscribed().await;
    send_text(&mut first, "one").await;
    assert_eq!(follower.message().await, "one");
    // `first` stays open and says nothing more.
    let _second = server.accept_subscribed().await;
    follower.wait_disconnect(DisconnectReason::Silent).await;
    follower.stopped().await;
}

#[tokio::test]
async fn pings_of_the_protocol_do_not_hide_that_the_feed_is_silent() {
    let server = Server::plain().await;
    let mut settings = settings(&format!("ws://{}", server.address));
    settings.silence = Duration::from_millis(200);
    let follower = Follower::start(settings, 64);
    let mut first = server.accept_subscribed().await;
    let pinging = tokio::spawn(async move {
        let ping = || Frame::new(true, OpCode::Ping, None, b"".as_slice().into());
        while first.write_frame(ping()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    follower.wait_disconnect(DisconnectReason::Silent).await;
    timeout(PATIENCE, pinging).await.unwrap().unwrap();
    follower.stopped().await;
}

#[tokio::test]
async fn a_close_is_answered_and_its_connection_replaced() {
    let server = Server::plain().await;
    let follower = Follower::start(settings(&format!("ws://{}", server.address)), 64);
    let mut first = server.accept_subscribed().await;
    first.write_frame(Frame::close(1001, b"restarting")).await.unwrap();
    let answer = read_frame(&mut first).await;
    assert_eq!((answer.opcode, &answer.payload[..2]), (OpCode::Close, &1001_u16.to_be_bytes()[..]));
    follower.wait_disconnect(DisconnectReason::Closed).await;
    let _second = server.accept_subscribed().await;
    follower.stopped().await;
}

/// How long the client stays away after `refuse` has dealt with its first connection.
async fn time_to_return<F>(refuse: impl FnOnce(Server) -> F) -> (Duration, Follower)
where
    F: Future<Output = Server>,
{
    let server = Server::plain().await;
    let mut settings = settings(&format!("ws://{}", server.address));
    settings.backoff.first_refused = Duration::from_millis(700);
    settings.backoff.longest_refused = Duration::from_millis(700);
    let follower = Follower::start(settings, 1_024);
    let server = refuse(server).await;
    let refused = Instant::now();
    let _second = server.accept_tcp().await;
    (refused.elapsed(), follower)
}

const HARD: Duration = Duration::from_millis(600);

#[tokio::test]
async fn a_handshake_that_is_not_101_backs_off_hard() {
    for status in ["200 OK", "401 Unauthorized", "429 Too Many Requests", "503 Gone Fishing"] {
        let (away, follower) = time_to_return(async |server| {
            let mut tcp = server.accept_tcp().await;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            let mut request = [0; 1_024];
            assert!(tcp.read(&mut request).await.unwrap() > 0);
            tcp.write_all(answer.as_bytes()).await.unwrap();
            follower_has_read(tcp).await;
            server
        })
        .await;
        assert!(away >= HARD, "{status}: back after {away:?}");
        follower.wait_disconnect(DisconnectReason::Refused).await;
        follower.stopped().await;
    }
}

/// Waits until the other side has closed.
async fn follower_has_read(mut tcp: tokio::net::TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, tcp.read_to_end(&mut rest)).await.expect("the client hangs up");
}

#[tokio::test]
async fn a_connection_dropped_right_after_opening_backs_off_hard() {
    let (away, follower) = time_to_return(async |server| {
        let mut socket = server.accept_subscribed().await;
        send_text(&mut socket, "{\"type\":\"error\",\"msg\":\"in use\"}").await;
        drop(socket);
        server
    })
    .await;
    assert!(away >= HARD, "back after {away:?}");
    follower.stopped().await;
}

#[tokio::test]
async fn a_connection_that_worked_is_taken_up_again_soon_however_short_it_was() {
    let (away, follower) = time_to_return(async |server| {
        let mut socket = server.accept_subscribed().await;
        for _ in 0..200 {
            send_text(&mut socket, "{}").await;
        }
        drop(socket);
        server
    })
    .await;
    assert!(away < HARD, "back after {away:?}");
    follower.stopped().await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_tried_again() {
    let server = Server::plain().await;
    let mut settings = settings(&format!("ws://{}", server.address));
    settings.connect_timeout = Duration::from_millis(100);
    let follower = Follower::start(settings, 64);
    let _silent = server.accept_tcp().await;
    follower.wait_disconnect(DisconnectReason::TimedOut).await;
    let _again = server.accept_tcp().await;
    follower.stopped().await;
}

#[tokio::test]
async fn a_feed_that_is_not_there_yet_is_found_when_it_comes() {
    let server = Server::plain().await;
    let address = server.address;
    drop(server);
    let mut follower = Follower::start(settings(&format!("ws://{address}")), 64);
    follower.wait_disconnect(DisconnectReason::Unreachable).await;
    let server = Server::at(address).await;
    let _socket = server.accept_subscribed().await;
    follower.wait_subscribed(true).await;
    follower.stopped().await;
}

#[tokio::test]
async fn stopping_says_goodbye_and_hands_over_what_has_been_read() {
    let server = Server::plain().await;
    let mut follower = Follower::start(settings(&format!("ws://{}", server.address)), 64);
    let mut socket = server.accept_subscribed().await;
    send_text(&mut socket, "last").await;
    while follower.frames.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    follower.stop.cancel();
    let close = read_frame(&mut socket).await;
    assert_eq!((close.opcode, &close.payload[..]), (OpCode::Close, &1000_u16.to_be_bytes()[..]));
    assert_eq!(follower.message().await, "last");
    assert!(follower.frames.recv().await.is_none(), "the queue's end is the feed's end");
    follower.stopped().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_backoff() {
    let server = Server::plain().await;
    let mut settings = settings(&format!("ws://{}", server.address));
    settings.backoff.first_refused = Duration::from_secs(3_600);
    settings.backoff.longest_refused = Duration::from_secs(3_600);
    let follower = Follower::start(settings, 64);
    drop(server.accept_subscribed().await);
    follower.wait_disconnect(DisconnectReason::Lost).await;
    follower.stopped().await;
}
