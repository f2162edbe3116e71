//! What becomes of each message and frame of a connection that stays up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fastwebsockets::OpCode;
use feed::{DisconnectReason, FeedSettings};

use crate::support::{Follower, Server, read_frame, send, send_text, settings};

async fn connected(change: impl FnOnce(&mut FeedSettings)) -> (crate::support::Socket, Follower) {
    let server = Server::plain().await;
    let mut settings = settings(&format!("ws://{}", server.address));
    change(&mut settings);
    let follower = Follower::start(settings, 64);
    (server.accept_subscribed().await, follower)
}

#[tokio::test]
async fn messages_arrive_in_order_stamped_and_as_they_were_sent() {
    let before = std::time::SystemTime::now();
    let (mut socket, mut follower) = connected(|_| {}).await;
    follower.wait_subscribed(true).await;
    let texts = ["{\"type\":\"ping\"}", "not json", "", "{ü}"];
    for text in texts {
        send_text(&mut socket, text).await;
    }
    send(&mut socket, OpCode::Binary, true, b"{}").await;
    for text in texts {
        assert_eq!(follower.message().await, text);
    }
    let last = follower.frames.recv().await.unwrap();
    assert_eq!(&last.payload[..], b"{}");
    let received = std::time::UNIX_EPOCH + Duration::from_nanos(last.received_at);
    assert!(before <= received && received <= std::time::SystemTime::now());
    follower.stopped().await;
}

#[tokio::test]
async fn fragments_become_one_message_with_a_ping_answered_between_them() {
    let (mut socket, mut follower) = connected(|_| {}).await;
    // The two bytes of one character, in two fragments.
    send(&mut socket, OpCode::Text, false, b"{\"name\":\"\xc3").await;
    send(&mut socket, OpCode::Ping, true, b"there?").await;
    send(&mut socket, OpCode::Continuation, false, b"\xbc").await;
    send(&mut socket, OpCode::Continuation, true, b"\"}").await;
    assert_eq!(follower.message().await, "{\"name\":\"ü\"}");
    let pong = read_frame(&mut socket).await;
    assert_eq!((pong.opcode, &pong.payload[..]), (OpCode::Pong, &b"there?"[..]));
    follower.stopped().await;
}

#[tokio::test]
async fn text_that_is_not_utf8_costs_that_frame_only() {
    let (mut socket, mut follower) = connected(|_| {}).await;
    for _ in 0..3 {
        send(&mut socket, OpCode::Text, true, b"\xff\xfe{}").await;
    }
    send_text(&mut socket, "after").await;
    assert_eq!(follower.message().await, "after");
    assert_eq!(follower.not_utf8.load(Ordering::Relaxed), 3);
    assert_eq!(follower.disconnects(), 0);
    follower.stopped().await;
}

#[tokio::test]
async fn a_message_up_to_the_bound_is_taken_and_a_longer_one_ends_the_connection() {
    let (mut socket, mut follower) = connected(|settings| settings.max_message_bytes = 1_000).await;
    let longest = "x".repeat(1_000);
    send_text(&mut socket, &longest).await;
    assert_eq!(follower.message().await, longest);
    send_text(&mut socket, &"x".repeat(1_001)).await;
    let close = read_frame(&mut socket).await;
    assert_eq!((close.opcode, &close.payload[..]), (OpCode::Close, &1009_u16.to_be_bytes()[..]));
    follower.wait_disconnect(DisconnectReason::TooLong).await;
    follower.stopped().await;
}

#[tokio::test]
async fn many_small_fragments_do_not_get_around_the_bound() {
    let (mut socket, follower) = connected(|settings| settings.max_message_bytes = 1_000).await;
    send(&mut socket, OpCode::Text, false, &[b'x'; 400]).await;
    send(&mut socket, OpCode::Continuation, false, &[b'x'; 400]).await;
    send(&mut socket, OpCode::Continuation, false, &[b'x'; 400]).await;
    follower.wait_disconnect(DisconnectReason::TooLong).await;
    follower.stopped().await;
}

#[tokio::test]
async fn a_broken_protocol_ends_the_connection_with_its_code() {
    let (mut socket, follower) = connected(|_| {}).await;
    send(&mut socket, OpCode::Continuation, true, b"of nothing").await;
    let close = read_frame(&mut socket).await;
    assert_eq!((close.opcode, &close.payload[..]), (OpCode::Close, &1002_u16.to_be_bytes()[..]));
    follower.wait_disconnect(DisconnectReason::Protocol).await;
    follower.stopped().await;
}

#[tokio::test]
async fn a_full_queue_holds_the_feed_back_and_loses_nothing() {
    let server = Server::plain().await;
    let mut settings = settings(&format!("ws://{}", server.address));
    // The wait below is longer than this: a full queue must not count as silence.
    settings.silence = Duration::from_millis(300);
    let mut follower = Follower::start(settings, 2);
    let mut socket = server.accept_subscribed().await;
    let (sent, mut sent_so_far) = tokio::sync::watch::channel(0_u32);
    let sending = tokio::spawn(async move {
        for number in 0..2_000_u32 {
            send_text(&mut socket, &format!("{number:0>16384}")).await;
            sent.send_replace(number + 1);
        }
        socket
    });
    // Until what the kernel takes is full too.
    let stalled = async {
        let moved = |before: u32| move |now: &u32| *now > before;
        loop {
            let before = *sent_so_far.borrow();
            let next = sent_so_far.wait_for(moved(before));
            if tokio::time::timeout(Duration::from_millis(500), next).await.is_err() {
                return before;
            }
        }
    };
    let stalled_at = stalled.await;
    assert!(stalled_at < 2_000, "32 MB went into a queue of two");
    for number in 0..2_000_u32 {
        assert_eq!(follower.message().await.parse::<u32>(), Ok(number));
    }
    assert_eq!(follower.disconnects(), 0);
    drop(sending.await.unwrap());
    follower.stopped().await;
}
