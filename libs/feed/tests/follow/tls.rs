//! `wss://`, with certificates of an authority of our own.

use std::process::Command;

use feed::{DisconnectReason, Roots};

use crate::support::{Authority, Follower, Server, send_text, settings};

/// Set for the child process of the test below.
const CHILD: &str = "FEED_TEST_NATIVE_ROOTS";

async fn follow(server: &Server, roots: Roots) -> Follower {
    let url = format!("wss://localhost:{}/", server.address.port());
    let mut settings = settings(&url);
    settings.roots = roots;
    Follower::start(settings, 64)
}

#[tokio::test]
async fn a_trusted_feed_is_followed_over_tls() {
    let authority = Authority::new();
    let server = Server::tls(&authority).await;
    let mut follower = follow(&server, authority.roots()).await;
    for round in ["one", "two"] {
        let mut socket = server.accept_subscribed().await;
        send_text(&mut socket, round).await;
        assert_eq!(follower.message().await, round);
    }
    follower.stopped().await;
}

#[tokio::test]
async fn an_untrusted_feed_is_refused() {
    let server = Server::tls(&Authority::new()).await;
    let follower = follow(&server, Authority::new().roots()).await;
    tokio::select! {
        _ = server.accept() => panic!("the client has accepted a certificate of nobody's"),
        () = follower.wait_disconnect(DisconnectReason::Tls) => {}
    }
    follower.stopped().await;
}

/// The variable is read by the process, so the test runs itself again in another.
#[tokio::test]
async fn ssl_cert_file_names_whom_to_trust() {
    if std::env::var_os(CHILD).is_none() {
        let authority = Authority::new();
        let server = Server::tls(&authority).await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("authority.pem");
        std::fs::write(&file, authority.pem()).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tls::ssl_cert_file_names_whom_to_trust"])
            .env(CHILD, server.address.port().to_string())
            .env("SSL_CERT_FILE", file)
            .spawn()
            .unwrap();
        let mut socket = server.accept_subscribed().await;
        send_text(&mut socket, "trusted").await;
        let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
        assert!(status.success());
        return;
    }
    let port = std::env::var(CHILD).unwrap();
    let mut follower = Follower::start(settings(&format!("wss://localhost:{port}/")), 64);
    assert_eq!(follower.message().await, "trusted");
    follower.stopped().await;
}
