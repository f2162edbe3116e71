use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use broker::Consumer;
use tokio::time::sleep;

use crate::gathering::{Event, Gathering};

/// How long a partition may bring nothing before it is asked whether its log has more, and then how
/// long that may take to come. Twice as long after each time that it did not, up to the end, until
/// something comes: what is never brought, such as the marks of another's transactions, must not have the log read for ever.
const PATIENCE: std::ops::Range<Duration> = Duration::from_secs(5)..Duration::from_secs(600);

/// Notices partitions that are read and bring nothing, though their log has more, and tells of them.
///
/// librdkafka may lose what it is told of a partition (see [`Consumer`]), and says nothing then: it
/// would not be read before the next rebalance.
pub(crate) struct Watch {
    consumer: Weak<Consumer>,
    gathering: Arc<Gathering>,
    patience: Duration,
}

impl Watch {
    pub(crate) fn new(consumer: &Arc<Consumer>, gathering: Arc<Gathering>) -> Self {
        Self { consumer: Arc::downgrade(consumer), gathering, patience: PATIENCE.start }
    }

    pub(crate) async fn run(mut self) -> Infallible {
        // By partition, the next offset: of all, and of those whose log had more.
        let (mut before, mut behind) = (BTreeMap::new(), BTreeMap::new());
        // What was told of, while nothing has come of it since.
        let mut told: BTreeMap<i32, i64> = BTreeMap::new();
        loop {
            sleep(self.patience).await;
            let Some(standing) = self.gathering.standing() else {
                (before, behind) = Default::default();
                continue;
            };
            let silent = common(&behind, &standing);
            if !silent.is_empty() {
                self.gathering.tell(Event::Silent(silent.keys().copied().collect()));
                self.patience = (self.patience * 2).min(PATIENCE.end);
                told = silent;
                (before, behind) = Default::default();
                continue;
            }
            if told.iter().any(|(partition, next)| standing.get(partition) > Some(next)) {
                self.patience = PATIENCE.start;
                told.clear();
            }
            behind = self.that_have_more(common(&before, &standing)).await;
            before = standing;
        }
    }

    /// Of partitions and their next offsets, those whose log has it. None where it cannot be asked.
    async fn that_have_more(&self, mut standing: BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
        if standing.is_empty() {
            return standing;
        }
        let consumer = Weak::clone(&self.consumer);
        // This blocks.
        let asking = tokio::task::spawn_blocking(move || {
            let mut is_asked = true;
            standing.retain(|partition, next| {
                // Whoever closes the consumer waits for one question at most.
                let consumer = consumer.upgrade().filter(|_| is_asked);
                let bounds = consumer.and_then(|consumer| consumer.bounds(*partition).ok());
                is_asked = bounds.is_some();
                bounds.is_some_and(|bounds| has_more(*next, bounds))
            });
            standing
        });
        asking.await.unwrap_or_default()
    }
}

/// Whether a partition is read that ends at `high` and may have lost what was before `low`.
fn has_more(next: i64, (low, high): (i64, i64)) -> bool {
    next.max(low) < high
}

fn common(some: &BTreeMap<i32, i64>, others: &BTreeMap<i32, i64>) -> BTreeMap<i32, i64> {
    some.iter()
        .filter(|(key, value)| others.get(key) == Some(value))
        .map(|(k, v)| (*k, *v))
        .collect()
}

#[cfg(test)]
mod tests;
