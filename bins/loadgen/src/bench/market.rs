use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use market::Symbol;
use tokio::sync::watch;

use crate::bench::lateness::Lateness;
use crate::bench::plan::{Spread, Step};
use crate::outbox::{Line, Outbox};
use crate::pace::Pace;
use crate::probe::unix_nanos;
use crate::render::{push_decimal, push_u64};
use crate::source::{BATCH_BYTES, Now};
use crate::subscriptions::Subscriptions;

/// How often a market that rests looks whether it should go on.
const REST: Duration = Duration::from_millis(5);

/// The market of a run: its symbols, and the step whose trades flow.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) symbols: Vec<String>,
    pub(crate) spread: Spread,
    state: Mutex<State>,
    /// How many of the symbols a client has subscribed.
    subscribed: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody is connected.
    taken: bool,
    flow: Option<Flow>,
}

#[derive(Debug)]
struct Flow {
    step: Step,
    began: Instant,
    pace: Pace,
    /// The next trade to be put in the outbox, and the first that is not the kernel's.
    next: u64,
    left: u64,
    /// Before this trade it ends.
    until: u64,
    lateness: Lateness,
}

impl Market {
    pub(crate) fn new(symbols: Vec<String>, spread: Spread) -> Self {
        Self { symbols, spread, state: Mutex::default(), subscribed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribed(&self) -> watch::Receiver<usize> {
        self.subscribed.subscribe()
    }

    /// Lets a step's trades flow from now on; the step as it begins.
    pub(crate) fn flow(&self, step: Step) -> Step {
        let step = Step { began: unix_nanos(), ..step };
        let flow = Flow {
            began: Instant::now(),
            pace: Pace::new(step.rate, step.trades_per_frame),
            next: step.first,
            left: step.first,
            until: step.trades().end,
            lateness: Lateness::new(),
            step: step.clone(),
        };
        self.lock().flow = Some(flow);
        step
    }

    /// Nothing more is put in the outbox.
    pub(crate) fn stop(&self) {
        if let Some(flow) = &mut self.lock().flow {
            flow.until = flow.next;
        }
    }

    /// How far the feed is behind its own schedule; `None` once the flow's last trade has left.
    ///
    /// # Errors
    /// Where its client has gone: what was under way to it is lost.
    pub(crate) fn behind(&self) -> anyhow::Result<Option<Duration>> {
        let state = self.lock();
        let Some(flow) = &state.flow else { return Ok(None) };
        if !state.taken {
            bail!("the ingestor has gone while trades flowed");
        }
        let due = flow.step.due(flow.left);
        let behind = Duration::from_nanos(unix_nanos().saturating_sub(due));
        Ok((flow.left < flow.until).then_some(behind))
    }

    /// The trade before which everything has left.
    pub(crate) fn sent(&self) -> u64 {
        self.lock().flow.as_ref().map_or(0, |flow| flow.left)
    }

    /// Ends the flow: the trade before which all were sent, and how late their frames were with the
    /// kernel.
    pub(crate) fn take_flowed(&self) -> Option<(u64, Lateness)> {
        self.lock().flow.take().map(|flow| (flow.next, flow.lateness))
    }
}

/// The market as the one connection that may have it sees it: a second one would get the trades
/// that the first does not.
#[derive(Debug)]
pub(crate) struct Planned {
    market: Arc<Market>,
    /// Frames that have not left: where each ends in the outbox, and the trade after it.
    waiting: VecDeque<(usize, u64)>,
    text: Vec<u8>,
}

impl Planned {
    /// An error while another connection has it.
    pub(crate) fn new(market: Arc<Market>) -> anyhow::Result<Self> {
        if std::mem::replace(&mut market.lock().taken, true) {
            bail!("a benchmark has one client; this is a second ingestor");
        }
        Ok(Self { market, waiting: VecDeque::new(), text: Vec::new() })
    }

    pub(crate) fn subscribe(&mut self, wanted: &Subscriptions) {
        let names = self.market.symbols.iter().filter_map(|name| Symbol::new(name).ok());
        self.market.subscribed.send_replace(names.filter(|name| wanted.contains(name)).count());
    }

    pub(crate) fn fill(&mut self, now: Now, outbox: &mut Outbox) -> Option<Instant> {
        let market = Arc::clone(&self.market);
        let mut state = market.lock();
        let Some(flow) = &mut state.flow else { return Some(now.instant + REST) };
        for _ in 0..flow.pace.frames_due(now.since(flow.began)) {
            if flow.next >= flow.until {
                return Some(now.instant + REST);
            }
            self.render(&flow.step, flow.next);
            flow.next += flow.step.trades_per_frame;
            flow.pace.sent_frame();
            let line = outbox.trades(&self.text);
            self.waiting.push_back((outbox.bytes().len(), flow.next));
            if line != Line::Open || outbox.bytes().len() >= BATCH_BYTES {
                break;
            }
        }
        Some(flow.began + flow.pace.next())
    }

    /// So many bytes of the outbox are the kernel's, the last of them since `at` (Unix nanoseconds).
    pub(crate) fn left(&mut self, bytes: usize, at: u64) {
        let mut state = self.market.lock();
        let Some(flow) = &mut state.flow else { return };
        while let Some((_, next)) = self.waiting.pop_front_if(|(end, _)| *end <= bytes) {
            flow.lateness.add(&flow.step, flow.left, at);
            flow.left = next;
        }
    }

    fn render(&mut self, step: &Step, first: u64) {
        let (market, text) = (&self.market, &mut self.text);
        let time = step.time(first).unsigned_abs();
        text.clear();
        text.extend_from_slice(br#"{"data":["#);
        for number in first..first + step.trades_per_frame {
            if number > first {
                text.push(b',');
            }
            text.extend_from_slice(br#"{"c":["1","12"],"p":"#);
            push_decimal(text, step.price(number), 2);
            text.extend_from_slice(br#","s":""#);
            // The market's own symbols need no escapes.
            text.extend_from_slice(market.symbols[market.spread.symbol_of(number)].as_bytes());
            text.extend_from_slice(br#"","t":"#);
            push_u64(text, time);
            text.extend_from_slice(br#","v":"#);
            push_u64(text, number);
            text.push(b'}');
        }
        text.extend_from_slice(br#"],"type":"trade"}"#);
    }
}

impl Drop for Planned {
    fn drop(&mut self) {
        self.market.lock().taken = false;
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::bench::plan::tests::step;
    use crate::cli::{Distribution, Faults};

    #[test]
    fn a_step_flows_at_its_rate_and_ends_where_it_is_told_to() {
        let spread = Spread::new(NonZeroUsize::MIN, Distribution::Uniform);
        let market = Arc::new(Market::new(vec!["A".to_owned()], spread));
        let mut planned = Planned::new(Arc::clone(&market)).expect("the first");
        assert!(Planned::new(Arc::clone(&market)).is_err(), "a second");
        let step = market.flow(step());
        let began = market.lock().flow.as_ref().map(|flow| flow.began).expect("it flows");
        let mut outbox = Outbox::new(Faults::default());
        let mut fill = |millis| {
            let now = Now { instant: began + Duration::from_millis(millis), unix_ms: 0 };
            planned.fill(now, &mut outbox);
            planned.left(usize::MAX, step.began + millis * 1_000_000);
            let frame: serde_json::Value = serde_json::from_slice(&planned.text).expect("JSON");
            frame["data"][9]["v"].as_u64()
        };
        assert_eq!(fill(10), Some(510));
        assert_eq!(fill(35), Some(530));
        assert!(market.behind().expect("it is there").is_some());
        market.stop();
        assert_eq!(fill(100), Some(530));
        assert_eq!(market.behind().expect("it is there"), None);
        let (end, lateness) = market.take_flowed().expect("it has flowed");
        assert_eq!((end, lateness.since_due.len()), (531, 0), "the warm-up is not measured");
    }
}
