use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What each component that must work is doing; `None` where it works.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    missing: Mutex<BTreeMap<&'static str, Option<String>>>,
    stopping: AtomicBool,
}

impl Readiness {
    pub(crate) fn register(self: &Arc<Self>, component: &'static str) -> ReadyFlag {
        self.lock().insert(component, Some("starting".to_owned()));
        ReadyFlag { component, readiness: Arc::clone(self) }
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// What is missing, by component; empty where the program is ready.
    pub(crate) fn missing(&self) -> BTreeMap<&'static str, String> {
        if self.stopping.load(Ordering::Acquire) {
            return BTreeMap::from([("service", "stopping".to_owned())]);
        }
        let components = self.lock();
        if components.is_empty() {
            // `serve` has not yet said what it needs.
            return BTreeMap::from([("service", "starting".to_owned())]);
        }
        components
            .iter()
            .filter_map(|(component, reason)| Some((*component, reason.clone()?)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        // Each change is a single insertion, so a holder that panicked left nothing half done.
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One component's say in `/readyz`: not ready until set.
#[derive(Clone, Debug)]
pub struct ReadyFlag {
    component: &'static str,
    readiness: Arc<Readiness>,
}

impl ReadyFlag {
    /// The component works. A change is logged.
    pub fn set(&self) {
        let before = self.readiness.lock().insert(self.component, None);
        if before.flatten().is_some() {
            tracing::info!(component = self.component, "ready");
        }
    }

    /// The component does not work, and why: the text stands in `/readyz`, so no secrets. The first
    /// of several reasons in a row is logged.
    pub fn clear(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let before = self.readiness.lock().insert(self.component, Some(reason.clone()));
        if before.flatten().is_none() {
            tracing::warn!(component = self.component, reason, "not ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(readiness: &Readiness) -> Vec<(&'static str, String)> {
        readiness.missing().into_iter().collect()
    }

    #[test]
    fn ready_is_when_all_are_and_none_is_stopping() {
        let readiness = Arc::new(Readiness::default());
        assert_eq!(missing(&readiness), [("service", "starting".to_owned())]);
        let feed = readiness.register("feed");
        let redis = readiness.register("redis");
        feed.set();
        assert_eq!(missing(&readiness), [("redis", "starting".to_owned())]);
        redis.set();
        assert_eq!(missing(&readiness), []);
        feed.clear("silent");
        assert_eq!(missing(&readiness), [("feed", "silent".to_owned())]);
        feed.set();
        readiness.stop();
        assert_eq!(missing(&readiness), [("service", "stopping".to_owned())]);
    }
}
