//! Redis and the alert service to REST on `PORT` (`GET /health`, `/price/{symbol}` and all else of
//! prices, `/alerts` and `/firings`, the probes, and what describes them: `/openapi.json`, `/docs`,
//! `/problems`), to live streams (`/stream`, `/ws`), and to gRPC on `MARKET_GRPC_PORT`.
//!
//! ```text
//! client ─HTTP/1.1─▶ listen ─▶ front ─▶ guard (count, contain, limit) ─▶ routes ─┬▶ prices ─▶ view, Redis
//!                                                                        │       ├▶ live ◀─ Redis' streams
//! client ─HTTP/2───▶ grpc_server ───────────────────▶ market_service ────┼───────┘
//!                                                                        └▶ alerts ─gRPC─▶ alert
//! ```
//! A price that the view has is answered by `front`, with the guard and without the routes.
//! `routes` is the table of all routes, each with the problems that it can answer; what a handler
//! takes and gives is said beside it, and both together are the OpenAPI document. Every error is
//! `application/problem+json` (RFC 9457), and none is 500 for a client's mistake.
//! Keeps no state of its own: any number of gateways serve the same Redis.
//!
//! Ready means that prices can be read. An alert service that is away does not make a gateway
//! unready: its calls answer 503, `/readyz` names it as degraded, and to take every gateway out of
//! rotation would take the prices along.

mod alert_bodies;
mod alert_routes;
mod alert_schemas;
mod alerts;
mod body;
mod clients;
mod config;
mod documentation;
mod files;
mod front;
mod guard;
mod impatient;
mod listen;
mod live;
mod market_service;
mod price_routes;
mod prices;
mod probe_routes;
mod problem;
mod query;
mod request_id;
mod routes;
mod span;
mod sparingly;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use grpc_server::Served;
use rpc::market::v1::market_service_server::MarketServiceServer;
use service::Service;
use speed::Reader;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic::service::Routes;

use crate::market_service::{LARGEST_MESSAGE, METHODS, Market};

pub use alerts::Alerts;
pub use config::Config;
pub use front::Front;
pub use listen::{Limits, listen};
pub use live::Live;
pub use prices::Prices;
pub use routes::{Policy, router};

/// Serves until the service stops; then lets the requests that are under way finish.
///
/// # Errors
/// Where `PORT` or `MARKET_GRPC_PORT` cannot be listened on. A Redis or an alert service that is away is no error:
/// the gateway answers 503 until it is back.
pub async fn serve(config: Config, service: Service) -> anyhow::Result<()> {
    let address = config.address;
    let listener = bind("PORT", address).await?;
    let grpc_listener = bind("MARKET_GRPC_PORT", config.grpc_address).await?;
    let reader = Reader::new(&config.redis_addr, config.redis_timeout)?;
    let alerts = Arc::new(Alerts::new(&config.alert_service_addr, config.alert_timeout)?);
    let (topic, candles, origins) = (&config.topic, config.candles, &config.cors_origins);
    let follower = Reader::new(&config.redis_addr, config.redis_timeout)?;
    let stopping = service.stopping();
    let (live, going) =
        Live::new(reader.clone(), follower, topic, candles, Arc::clone(&alerts), origins, stopping);
    let live = Arc::new(live);
    follow(&service, going)?;
    let prices = Arc::new(Prices::new(reader, Arc::clone(&live), config.stale_after));
    let (answering, answers) = watch::channel(false);
    let watching = Arc::clone(&prices).watch(service.ready("redis"), answering, service.stopping());
    service.tasks().spawn(watching);
    let watching = Arc::clone(&alerts).watch(service.helped_by("alert"), service.stopping());
    service.tasks().spawn(watching);
    files::allow_many();
    tracing::info!(%address, grpc = %config.grpc_address, "listening");
    let policy =
        Policy { request_timeout: config.request_timeout, cors_origins: config.cors_origins };
    let market = Market { prices: Arc::clone(&prices), live: Arc::clone(&live) };
    let sockets = Arc::clone(&live);
    let router = router(prices, alerts, live, &service, &policy);
    // A quarter of the time is left for what follows.
    let drain = service.shutdown_timeout() * 3 / 4;
    let calls = MarketServiceServer::new(market).max_decoding_message_size(LARGEST_MESSAGE);
    let serving = grpc_server::serve(
        grpc_listener,
        Routes::new(calls),
        Served {
            descriptors: rpc::FILE_DESCRIPTOR_SET,
            services: &["", MarketServiceServer::<Market>::NAME],
            methods: &METHODS,
            answers,
        },
        grpc_server::Limits {
            connections: config.connections,
            call_timeout: config.request_timeout,
            drain,
            ..grpc_server::Limits::default()
        },
        std::convert::identity,
        service.stopping(),
    );
    service.spawn("grpc", serving);
    let limits = Limits {
        connections: config.connections,
        connections_per_client: config.connections_per_client,
        head_timeout: config.idle_timeout,
        drain,
        ..Limits::default()
    };
    tokio::join!(listen(listener, router, limits, service.stopping()), async {
        service.stopping().cancelled().await;
        sockets.drain(drain).await;
    });
    Ok(())
}

/// Keeps the live view on a thread of its own: however many clients wait for their turn on the
/// others, what they are told is not old.
fn follow(
    service: &Service,
    going: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let following = move || {
        runtime.block_on(going);
        Ok(())
    };
    service.thread("live", following).context("cannot start a thread")
}

async fn bind(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("{setting}: cannot listen on {address}"))
}

/// The routes of a gateway that does not follow the streams: it reads everything from Redis, as any
/// does while it is behind.
pub fn unfollowed(reader: Reader, alerts: Alerts, service: &Service, policy: &Policy) -> Front {
    let (alerts, stopping) = (Arc::new(alerts), service.stopping());
    let (live, _) = Live::new(
        reader.clone(),
        reader.clone(),
        "market_ticks",
        Vec::new(),
        Arc::clone(&alerts),
        &[],
        stopping,
    );
    let live = Arc::new(live);
    let prices = Prices::new(reader, Arc::clone(&live), Duration::from_secs(60));
    router(Arc::new(prices), alerts, live, service, policy)
}
