use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a component does not work, by its name; `None` where it works.
type Components = BTreeMap<&'static str, Option<String>>;

#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Those without which the program is not ready.
    needed: Mutex<Components>,
    /// Those without which it does less.
    helpful: Mutex<Components>,
    stopping: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
enum Rank {
    Needed,
    Helpful,
}

impl Readiness {
    pub(crate) fn register(self: &Arc<Self>, component: &'static str) -> ReadyFlag {
        self.flag(component, Rank::Needed)
    }

    pub(crate) fn register_helpful(self: &Arc<Self>, component: &'static str) -> ReadyFlag {
        self.flag(component, Rank::Helpful)
    }

    fn flag(self: &Arc<Self>, component: &'static str, rank: Rank) -> ReadyFlag {
        self.lock(rank).insert(component, Some("starting".to_owned()));
        ReadyFlag { component, rank, readiness: Arc::clone(self) }
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// What is missing, by component; empty where the program is ready.
    pub(crate) fn missing(&self) -> BTreeMap<&'static str, String> {
        if self.stopping.load(Ordering::Acquire) {
            return BTreeMap::from([("service", "stopping".to_owned())]);
        }
        let components = self.lock(Rank::Needed);
        if components.is_empty() {
            // `serve` has not yet said what it needs.
            return BTreeMap::from([("service", "starting".to_owned())]);
        }
        away(&components)
    }

    /// What is away that the program can do without, by component.
    pub(crate) fn degraded(&self) -> BTreeMap<&'static str, String> {
        away(&self.lock(Rank::Helpful))
    }

    fn lock(&self, rank: Rank) -> MutexGuard<'_, Components> {
        let components = match rank {
            Rank::Needed => &self.needed,
            Rank::Helpful => &self.helpful,
        };
        // Each change is a single insertion, so a holder that panicked left nothing half done.
        components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn away(components: &Components) -> BTreeMap<&'static str, String> {
    let away = |(name, reason): (&&'static str, &Option<String>)| Some((*name, reason.clone()?));
    components.iter().filter_map(away).collect()
}

/// One component's say in `/readyz`: not ready until set.
#[derive(Clone, Debug)]
pub struct ReadyFlag {
    component: &'static str,
    rank: Rank,
    readiness: Arc<Readiness>,
}

impl ReadyFlag {
    /// The component works. A change is logged.
    pub fn set(&self) {
        let before = self.readiness.lock(self.rank).insert(self.component, None);
        if before.flatten().is_some() {
            tracing::info!(component = self.component, "ready");
        }
    }

    /// The component does not work, and why: the text stands in `/readyz`, so no secrets. The first
    /// of several reasons in a row is logged.
    pub fn clear(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let before = self.readiness.lock(self.rank).insert(self.component, Some(reason.clone()));
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
        let alert = readiness.register_helpful("alert");
        assert_eq!(missing(&readiness), []);
        let degraded = |readiness: &Readiness| readiness.degraded().into_keys().collect::<Vec<_>>();
        assert_eq!(degraded(&readiness), ["alert"]);
        alert.set();
        assert!(degraded(&readiness).is_empty());
        readiness.stop();
        assert_eq!(missing(&readiness), [("service", "stopping".to_owned())]);
    }
}
