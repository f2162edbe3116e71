//! The tokio runtime's own figures, read at each scrape.

use std::fmt::Write;

use tokio::runtime::RuntimeMetrics;

use crate::catalogue::{
    Metric, RUNTIME_BUSY, RUNTIME_PARKS, RUNTIME_QUEUED, RUNTIME_TASKS, RUNTIME_WORKERS,
};

pub(super) fn render(text: &mut String, runtime: &RuntimeMetrics) {
    let workers = 0..runtime.num_workers();
    let busy = workers.clone().map(|worker| runtime.worker_total_busy_duration(worker));
    let parks: u64 = workers.clone().map(|worker| runtime.worker_park_count(worker)).sum();
    add(text, &RUNTIME_WORKERS, "gauge", workers.len() as f64);
    add(text, &RUNTIME_TASKS, "gauge", runtime.num_alive_tasks() as f64);
    add(text, &RUNTIME_QUEUED, "gauge", runtime.global_queue_depth() as f64);
    add(text, &RUNTIME_BUSY, "counter", busy.map(|busy| busy.as_secs_f64()).sum());
    add(text, &RUNTIME_PARKS, "counter", parks as f64);
}

fn add(text: &mut String, metric: &Metric, kind: &str, value: f64) {
    let Metric { name, help, .. } = metric;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runtime_knows_its_workers_and_tasks() {
        let waiting = tokio::spawn(std::future::pending::<()>());
        let mut text = String::new();
        render(&mut text, &tokio::runtime::Handle::current().metrics());
        waiting.abort();
        for line in ["gostocks_runtime_workers 1", "gostocks_runtime_tasks 1"] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        assert!(text.contains("# TYPE gostocks_runtime_busy_seconds_total counter\n"), "{text}");
    }
}
