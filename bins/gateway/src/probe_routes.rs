use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use service::Service;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    #[schema(value_type = String)]
    status: &'static str,
    #[schema(value_type = String)]
    service: &'static str,
}

/// What a readiness probe is told.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`service` answers it, for every program: here it is described")]
pub(crate) struct Readiness {
    #[schema(example = "ready")]
    status: String,
    service: String,
    /// What must be there and is not, by name, with the reason.
    missing: BTreeMap<String, String>,
    /// What is away and can be done without: its calls answer 503.
    degraded: BTreeMap<String, String>,
}

/// Whether the gateway answers
///
/// The original's; asks nobody else.
#[utoipa::path(get, path = "/health", tag = "probes", responses(
    (status = 200, description = "It does", body = Health)
))]
pub(crate) async fn health() -> Response {
    Json(Health { status: "ok", service: "gateway" }).into_response()
}

/// Whether the process answers
#[utoipa::path(get, path = "/livez", tag = "probes", responses(
    (status = 200, description = "It does", body = Health)
))]
pub(crate) async fn livez(State(service): State<Service>) -> Response {
    service::livez(&service)
}

/// Whether the gateway should be sent requests
///
/// Says which backend is away.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses(
    (status = 200, description = "It should", body = Readiness),
    (status = 503, description = "It should not: it starts, stops, or misses a backend", body = Readiness)
))]
pub(crate) async fn readyz(State(service): State<Service>) -> Response {
    service::readyz(&service)
}
