//! The calls: `alert.AlertService` for the original's clients and `gostocks.alert.v1.AlertService`.
//!
//! ```text
//!                            ┌─▶ original ─┐
//! client ─HTTP/2─▶ server ───┴─▶ v1 ───────┴─▶ calls ─▶ store
//!                                └─▶ watch ───────────▶ store
//! ```
//! Keeps no state of its own: any instance serves any alert.

mod calls;
mod firings;
mod input;
mod original;
mod v1;

use std::sync::Arc;

use axum::Router;
use grpc_server::Served;
use rpc::alert::v1::alert_service_server::AlertServiceServer;
use rpc::seed::alert::alert_service_server::AlertServiceServer as OriginalServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

use original::Original;
use v1::V1;

pub use calls::Calls;
pub use firings::Watching;
pub use grpc_server::Limits;

/// The longest request, in bytes. A longer one is OUT_OF_RANGE.
const LARGEST_MESSAGE: usize = 64 * 1_024;
/// Of the call that makes many alerts at once: ten thousand with short notes.
const LARGEST_BULK: usize = 2 * 1_024 * 1_024;
/// Such calls under way, read or waited for. Further ones wait, until their deadlines: a request of
/// two megabytes may be a million empty alerts, which take a hundred times that.
const BULKS_AT_ONCE: usize = 2;
const CREATE_ALERTS: &str = "/gostocks.alert.v1.AlertService/CreateAlerts";

const METHODS: [&str; 13] = [
    "gostocks.alert.v1.AlertService/CreateAlert",
    "gostocks.alert.v1.AlertService/CreateAlerts",
    "gostocks.alert.v1.AlertService/GetAlert",
    "gostocks.alert.v1.AlertService/GetAlerts",
    "gostocks.alert.v1.AlertService/UpdateAlert",
    "gostocks.alert.v1.AlertService/PauseAlert",
    "gostocks.alert.v1.AlertService/ResumeAlert",
    "gostocks.alert.v1.AlertService/RearmAlert",
    "gostocks.alert.v1.AlertService/DeleteAlert",
    "gostocks.alert.v1.AlertService/GetFirings",
    "gostocks.alert.v1.AlertService/WatchFirings",
    "alert.AlertService/CreateAlert",
    "alert.AlertService/GetAlerts",
];

const SERVICES: [&str; 3] = ["", AlertServiceServer::<V1>::NAME, OriginalServer::<Original>::NAME];

/// Serves `calls` until `stopping`; then accepts no more and lets the calls under way finish.
/// `database` is whether PostgreSQL answers, and what `grpc.health.v1` says of both services.
///
/// # Errors
/// Where the descriptors of `rpc` are not such, which is a mistake in the build.
pub async fn serve(
    listener: TcpListener,
    calls: Calls,
    watching: Watching,
    limits: Limits,
    database: watch::Receiver<bool>,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let calls = Arc::new(calls);
    let v1 = Arc::new(V1::new(Arc::clone(&calls), watching));
    let bulk = AlertServiceServer::from_arc(Arc::clone(&v1));
    let bulk = ServiceBuilder::new()
        .layer(GlobalConcurrencyLimitLayer::new(BULKS_AT_ONCE))
        .service(bulk.max_decoding_message_size(LARGEST_BULK));
    let routes = Routes::default()
        .add_service(AlertServiceServer::from_arc(v1).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(
            OriginalServer::new(Original::new(calls)).max_decoding_message_size(LARGEST_MESSAGE),
        );
    let served = Served {
        descriptors: rpc::FILE_DESCRIPTOR_SET,
        services: &SERVICES,
        methods: &METHODS,
        answers: database,
    };
    let more = |router: Router| router.route_service(CREATE_ALERTS, bulk);
    grpc_server::serve(listener, routes, served, limits, more, stopping).await
}
