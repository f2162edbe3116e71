use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Says of all services whether they serve.
pub(crate) async fn tell(health: &HealthReporter, services: &[&'static str], answers: bool) {
    let status = if answers { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in services {
        health.set_service_status(*service, status).await;
    }
}

/// Keeps the health of the services true to what `answers` says from now on, until `stopping`: then
/// none serves, and whoever watches is let go, so that no connection is held by a watch alone.
pub(crate) async fn follow(
    mut health: HealthReporter,
    services: &[&'static str],
    mut answers: watch::Receiver<bool>,
    stopping: CancellationToken,
) {
    let following = async {
        while answers.changed().await.is_ok() {
            let answers_now = *answers.borrow_and_update();
            tell(&health, services, answers_now).await;
        }
        // Nobody will say otherwise.
        std::future::pending::<()>().await;
    };
    stopping.run_until_cancelled(following).await;
    tell(&health, services, false).await;
    for service in services {
        health.clear_service_status(service).await;
    }
}
