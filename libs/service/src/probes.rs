use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::Service;

/// `/livez` and `/readyz`, as the two functions below answer them.
pub(crate) fn probes(service: &Service) -> Router {
    let (live, ready) = (service.clone(), service.clone());
    Router::new()
        .route("/livez", get(async move || livez(&live)))
        .route("/readyz", get(async move || readyz(&ready)))
}

/// The process answers. For a program's own port, too.
pub fn livez(service: &Service) -> Response {
    Json(json!({"status": "ok", "service": service.name()})).into_response()
}

/// All components that must work do, and the program is not stopping; or 503 with what is missing.
/// What is away and can be done without stands under `degraded` in both cases.
pub fn readyz(service: &Service) -> Response {
    let (missing, degraded) = (service.readiness().missing(), service.readiness().degraded());
    let (code, status) = if missing.is_empty() {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    let body = json!({"status": status, "service": service.name(), "missing": missing, "degraded": degraded});
    (code, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn check(service: &Service, path: &str, status: u16, body: serde_json::Value) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = probes(service).oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), status, "{path}");
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let found: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(found, body, "{path}");
    }

    #[tokio::test]
    async fn readiness_follows_the_flags_and_the_stop() {
        let service = Service::new("echo", std::time::Duration::ZERO);
        let answer = |status: &str, missing: serde_json::Value| json!({"status": status, "service": "echo", "missing": missing, "degraded": {}});
        check(&service, "/readyz", 503, answer("not ready", json!({"service": "starting"}))).await;
        let redis = service.ready("redis");
        check(&service, "/readyz", 503, answer("not ready", json!({"redis": "starting"}))).await;
        redis.set();
        check(&service, "/readyz", 200, answer("ready", json!({}))).await;
        redis.clear("connection refused");
        let missing = json!({"redis": "connection refused"});
        check(&service, "/readyz", 503, answer("not ready", missing)).await;
        redis.set();
        service.stop();
        check(&service, "/readyz", 503, answer("not ready", json!({"service": "stopping"}))).await;
        check(&service, "/livez", 200, json!({"status": "ok", "service": "echo"})).await;
    }
}
