//! Every firing, from the alert service, once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rpc::alert::v1::{Firing, GetFiringsRequest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Alerts;

const PAUSE: Duration = Duration::from_secs(1);
/// Firings from before that are asked for at the start, for clients that come back.
const FROM_BEFORE: i32 = 10_000;
/// The alert service may tell of one again: so many ids are remembered.
const REMEMBERED: usize = 20_000;

/// Hands on every firing until `stopping`, whatever becomes of the alert service.
pub(crate) async fn watch(
    alerts: Arc<Alerts>,
    sender: mpsc::Sender<Firing>,
    stopping: CancellationToken,
) {
    let watching = async {
        let mut seen = Seen::default();
        loop {
            // What went wrong was logged; the alert service is away, or stops.
            let _ = follow(&alerts, &sender, &mut seen).await;
            tokio::time::sleep(PAUSE).await;
        }
    };
    stopping.run_until_cancelled(watching).await;
}

#[derive(Debug, Default)]
struct Seen {
    ids: std::collections::HashSet<i64>,
    order: VecDeque<i64>,
}

impl Seen {
    fn is_new(&mut self, id: i64) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    fn last(&self) -> Option<i64> {
        self.order.back().copied()
    }
}

/// Nobody listens any more, or the alert service does not answer.
struct Ended;

async fn follow(
    alerts: &Alerts,
    sender: &mpsc::Sender<Firing>,
    seen: &mut Seen,
) -> Result<(), Ended> {
    let is_first = seen.last().is_none();
    let mut watched = alerts.watch_firings(seen.last()).await.map_err(|_| Ended)?;
    if is_first {
        // What is stored meanwhile may be in both.
        let request = GetFiringsRequest { page_size: FROM_BEFORE, ..GetFiringsRequest::default() };
        let page = alerts.firings(request).await.map_err(|_| Ended)?;
        for firing in page.firings.into_iter().rev() {
            seen.is_new(firing.id);
            sender.send(firing).await.map_err(|_| Ended)?;
        }
    }
    while let Some(answer) = watched.message().await.map_err(|_| Ended)? {
        let Some(firing) = answer.firing else { continue };
        if seen.is_new(firing.id) {
            sender.send(firing).await.map_err(|_| Ended)?;
        }
    }
    Ok(())
}
