use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::info;

/// As long as the gateway's.
const PRICE: &str = r#"{"symbol":"AAPL","price":100.57,"timestamp":1790000000000,"volume":1234567.0,"received_at":1790000000000123456,"day":{"start":1789948800000,"open":100.21,"high":100.99,"low":100.0,"close":100.57,"volume":12345678900.0,"trades":123456}}"#;

pub(super) async fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let answer = || async { ([(CONTENT_TYPE, "application/json")], PRICE) };
    let routes = Router::new().route("/price/{symbol}", get(answer));
    let listener = TcpListener::bind(listen).await.with_context(|| format!("--listen {listen}"))?;
    info!(address = %listener.local_addr()?, "listening");
    Ok(axum::serve(listener, routes).await?)
}
