//! The calls: `alert.AlertService` for the original's clients, `gostocks.alert.v1.AlertService`,
//! reflection (v1 and v1alpha) and `grpc.health.v1`.
//!
//! ```text
//! client ─HTTP/2─▶ listen ─▶ guard (count, contain, deadline) ─▶ original │ v1 ─▶ calls ─▶ store
//!                                                                          └───▶ watch ─▶ store
//! ```
//! Keeps no state of its own: any instance serves any alert.

mod calls;
mod firings;
mod guard;
mod input;
mod listen;
mod original;
mod span;
mod v1;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::middleware::from_fn_with_state;
use rpc::alert::v1::alert_service_server::AlertServiceServer;
use rpc::seed::alert::alert_service_server::AlertServiceServer as OriginalServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

use guard::{Guard, guard};
use original::Original;
use v1::V1;

pub use calls::Calls;
pub use firings::Watching;
pub use listen::Limits;

/// The longest request, in bytes. A longer one is OUT_OF_RANGE.
const LARGEST_MESSAGE: usize = 64 * 1_024;
/// Of the call that makes many alerts at once: ten thousand with short notes.
const LARGEST_BULK: usize = 2 * 1_024 * 1_024;
/// Such calls under way, read or waited for. Further ones wait, until their deadlines: a request of
/// two megabytes may be a million empty alerts, which take a hundred times that.
const BULKS_AT_ONCE: usize = 2;
const CREATE_ALERTS: &str = "/gostocks.alert.v1.AlertService/CreateAlerts";

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
    let health = HealthReporter::new();
    let router = router(Arc::new(calls), watching, health.clone(), limits.call_timeout)?;
    tokio::join!(
        listen::listen(listener, router, limits, stopping.clone()),
        tell_health(health, database, stopping),
    );
    Ok(())
}

fn router(
    calls: Arc<Calls>,
    watching: Watching,
    health: HealthReporter,
    call_timeout: Duration,
) -> anyhow::Result<Router> {
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure();
        [
            rpc::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            // Errors carry google.rpc.BadRequest: a client that asks can read it.
            tonic_types::pb::FILE_DESCRIPTOR_SET,
        ]
        .into_iter()
        .fold(
            builder.include_reflection_service(false),
            tonic_reflection::server::Builder::register_encoded_file_descriptor_set,
        )
    };
    let health = HealthService::from_health_reporter(health);
    let v1 = Arc::new(V1::new(Arc::clone(&calls), watching));
    let bulk = AlertServiceServer::from_arc(Arc::clone(&v1));
    let bulk = ServiceBuilder::new()
        .layer(GlobalConcurrencyLimitLayer::new(BULKS_AT_ONCE))
        .service(bulk.max_decoding_message_size(LARGEST_BULK));
    let routes = Routes::default()
        .add_service(AlertServiceServer::from_arc(v1).max_decoding_message_size(LARGEST_MESSAGE))
        .add_service(
            OriginalServer::new(Original::new(calls)).max_decoding_message_size(LARGEST_MESSAGE),
        )
        .add_service(tonic_health::pb::health_server::HealthServer::new(health))
        .add_service(reflection().build_v1().context("reflection")?)
        .add_service(reflection().build_v1alpha().context("reflection")?);
    let guard_state = Arc::new(Guard::new(call_timeout));
    let router = routes.prepare().into_axum_router().route_service(CREATE_ALERTS, bulk);
    Ok(router.layer(from_fn_with_state(guard_state, guard)))
}

/// Keeps the health of the services true to `database`, until `stopping`: then none serves, and
/// whoever watches is let go, so that no connection is held by a watch alone.
async fn tell_health(
    mut health: HealthReporter,
    mut database: watch::Receiver<bool>,
    stopping: CancellationToken,
) {
    let following = async {
        loop {
            let answers = *database.borrow_and_update();
            let status = if answers { ServingStatus::Serving } else { ServingStatus::NotServing };
            tell(&health, status).await;
            if database.changed().await.is_err() {
                // Nobody will say otherwise.
                std::future::pending::<()>().await;
            }
        }
    };
    stopping.run_until_cancelled(following).await;
    tell(&health, ServingStatus::NotServing).await;
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
}

/// As `grpc.health.v1` names them; the empty name stands for the whole server.
const SERVICES: [&str; 3] = ["", AlertServiceServer::<V1>::NAME, OriginalServer::<Original>::NAME];

async fn tell(health: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}
