//! A gRPC server, whatever its calls are: connections with bounds, a guard around every call,
//! reflection (v1 and v1alpha), `grpc.health.v1`, and an end.
//!
//! ```text
//! client ─HTTP/2─▶ listen ─▶ guard (count, contain, deadline) ─▶ the calls │ health │ reflection
//! ```

mod guard;
mod health;
mod invalid;
mod listen;
mod span;

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::server::{HealthReporter, HealthService};

use guard::{Guard, guard};

pub use invalid::{Wrong, invalid};
pub use listen::Limits;

/// What there is to know of a server beside its calls.
#[derive(Debug)]
pub struct Served {
    /// The messages and services, as an encoded `FileDescriptorSet`: what reflection serves.
    pub descriptors: &'static [u8],
    /// As `grpc.health.v1` names them; the empty name stands for the whole server.
    pub services: &'static [&'static str],
    /// Those that have series of their own, as `package.Service/Method`; any other path is a
    /// client's to invent.
    pub methods: &'static [&'static str],
    /// Whether calls can be answered: what `grpc.health.v1` says of all services.
    pub answers: watch::Receiver<bool>,
}

/// What every server serves beside its calls.
const EVERYWHERE: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Adds health and reflection to `calls`, and the guard around all. `more` may replace paths.
fn router(
    calls: Routes,
    served: &Served,
    limits: &Limits,
    more: impl FnOnce(Router) -> Router,
) -> anyhow::Result<(Router, HealthReporter)> {
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure();
        [
            served.descriptors,
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
    // The descriptors hold more than is served here.
    let reflection = || {
        let names = served.services.iter().filter(|name| !name.is_empty()).chain(&EVERYWHERE);
        names.fold(reflection(), |builder, name| builder.with_service_name(*name))
    };
    let reporter = HealthReporter::new();
    let health = HealthService::from_health_reporter(reporter.clone());
    let routes = calls
        .add_service(tonic_health::pb::health_server::HealthServer::new(health))
        .add_service(reflection().build_v1().context("reflection")?)
        .add_service(reflection().build_v1alpha().context("reflection")?);
    let guard_state = Arc::new(Guard::new(served.methods, limits.call_timeout));
    let router = more(routes.prepare().into_axum_router());
    Ok((router.layer(from_fn_with_state(guard_state, guard)), reporter))
}

/// Serves until `stopping`; then accepts no more and lets the calls under way finish.
///
/// # Errors
/// Where the descriptors are not such, which is a mistake in the build.
pub async fn serve(
    listener: TcpListener,
    calls: Routes,
    mut served: Served,
    limits: Limits,
    more: impl FnOnce(Router) -> Router,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    let (router, reporter) = router(calls, &served, &limits, more)?;
    // Before anybody can ask: of a service that nobody told of, the answer is NOT_FOUND.
    let answers = *served.answers.borrow_and_update();
    health::tell(&reporter, served.services, answers).await;
    tokio::join!(
        listen::listen(listener, router, limits, stopping.clone()),
        health::follow(reporter, served.services, served.answers, stopping),
    );
    Ok(())
}
