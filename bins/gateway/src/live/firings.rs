//! Every firing, from the alert service, once.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rpc::alert::v1::{Firing, GetFiringsRequest};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::Alerts;
use crate::alerts::Refusal;

const PAUSE: Duration = Duration::from_secs(1);
/// Firings from before that are asked for at the start, for clients that come back.
const FROM_BEFORE: i32 = 10_000;
/// The alert service may tell of one again: so many ids are remembered.
const REMEMBERED: usize = 20_000;

#[derive(Debug)]
pub(crate) enum News {
    /// What was stored before, oldest first, and whether that is all.
    Before(Vec<Firing>, bool),
    Fired(Box<Firing>),
}

/// Hands on every firing until `stopping`, whatever becomes of the alert service.
pub(crate) async fn watch(
    alerts: Arc<Alerts>,
    sender: mpsc::Sender<News>,
    stopping: CancellationToken,
) {
    let watching = async {
        let mut seen = Seen::default();
        loop {
            // What went wrong was logged; the alert service stops. One that is away is not asked.
            if alerts.answers()
                && let Err(Ended::NotFound) = follow(&alerts, &sender, &mut seen).await
            {
                tracing::warn!("the alert service does not know the last firing: it begins anew");
                seen = Seen::default();
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    stopping.run_until_cancelled(watching).await;
}

#[derive(Debug, Default)]
struct Seen {
    has_begun: bool,
    ids: HashSet<i64>,
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

enum Ended {
    /// Nobody listens any more, or the alert service does not answer.
    Away,
    /// The firing to go on from is not there: the database was restored.
    NotFound,
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        if refusal.code == Code::NotFound { Self::NotFound } else { Self::Away }
    }
}

async fn follow(
    alerts: &Alerts,
    sender: &mpsc::Sender<News>,
    seen: &mut Seen,
) -> Result<(), Ended> {
    let tell = async |news| sender.send(news).await.map_err(|_| Ended::Away);
    let mut watched = alerts.watch_firings(seen.last()).await?;
    if seen.last().is_none() {
        // What is stored meanwhile may be in both.
        let request = GetFiringsRequest { page_size: FROM_BEFORE, ..GetFiringsRequest::default() };
        let page = alerts.firings(request).await?;
        let is_all = page.next_page_token.is_empty();
        let before = page.firings.into_iter().rev();
        let before: Vec<Firing> = before.filter(|firing| seen.is_new(firing.id)).collect();
        if seen.has_begun {
            // There was none until now.
            for firing in before {
                tell(News::Fired(Box::new(firing))).await?;
            }
        } else {
            seen.has_begun = true;
            tell(News::Before(before, is_all)).await?;
        }
    }
    while let Some(answer) = watched.message().await.map_err(|_| Ended::Away)? {
        let Some(firing) = answer.firing else { continue };
        if seen.is_new(firing.id) {
            tell(News::Fired(Box::new(firing))).await?;
        }
    }
    Ok(())
}
