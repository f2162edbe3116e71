//! Redis and the alert service to REST: `GET /health`, `GET /price/{symbol}`, all of `/alerts` and
//! `/firings`, and the probes, on `PORT`.
//!
//! ```text
//! client ─HTTP/1.1─▶ listen ─▶ guard (count, contain, limit) ─▶ routes ─┬▶ prices ─▶ Redis
//!                                                                       └▶ alerts ─gRPC─▶ alert
//! ```
//! Every error is `application/problem+json` (RFC 9457), and none is 500 for a client's mistake.
//! Keeps no state of its own: any number of gateways serve the same Redis.
//!
//! Ready means that prices can be read. An alert service that is away does not make a gateway
//! unready: its two calls answer 503, and to take every gateway out of rotation would take the
//! prices along.

mod alert_bodies;
mod alert_routes;
mod alerts;
mod config;
mod guard;
mod listen;
mod live;
mod prices;
mod problem;
mod routes;
mod span;
mod sparingly;

use std::sync::Arc;

use anyhow::Context;
use service::Service;
use speed::Reader;
use tokio::net::TcpListener;

pub use alerts::Alerts;
pub use config::Config;
pub use listen::{Limits, listen};
pub use live::Live;
pub use prices::Prices;
pub use routes::router;

/// Serves until the service stops; then lets the requests that are under way finish.
///
/// # Errors
/// Where `PORT` cannot be listened on. A Redis or an alert service that is away is no error:
/// the gateway answers 503 until it is back.
pub async fn serve(config: Config, service: Service) -> anyhow::Result<()> {
    let address = config.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("PORT: cannot listen on {address}"))?;
    let reader = Reader::new(&config.redis_addr, config.redis_timeout)?;
    let prices = Arc::new(Prices::new(reader.clone()));
    let watch = Arc::clone(&prices).watch(service.ready("redis"), service.stopping());
    service.tasks().spawn(watch);
    let alerts = Arc::new(Alerts::new(&config.alert_service_addr, config.alert_timeout)?);
    let (candles, stopping) = (config.candles, service.stopping());
    let (live, going) = Live::new(reader, &config.topic, candles, Arc::clone(&alerts), stopping);
    service.tasks().spawn(going);
    tracing::info!(%address, "listening");
    let router = router(prices, alerts, Arc::new(live), &service, config.request_timeout);
    // A quarter of the time is left for what follows.
    let limits = Limits { drain: service.shutdown_timeout() * 3 / 4, ..Limits::default() };
    listen(listener, router, limits, service.stopping()).await;
    Ok(())
}
