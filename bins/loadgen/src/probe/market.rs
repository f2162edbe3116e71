use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use market::Symbol;
use tokio::sync::watch;

use crate::outbox::{Line, Outbox};
use crate::pace::Pace;
use crate::probe::plan::Plan;
use crate::render::{push_decimal, push_u64};
use crate::source::{BATCH_BYTES, Now};
use crate::subscriptions::Subscriptions;

/// How often a market that rests looks whether it should go on.
const REST: Duration = Duration::from_millis(5);

/// The planned trades, told when to flow, and when each left.
#[derive(Debug)]
pub(crate) struct Tape {
    pub(crate) plan: Plan,
    state: Mutex<State>,
    /// How many of the plan's symbols a client has subscribed.
    subscribed: watch::Sender<usize>,
}

#[derive(Debug)]
struct State {
    /// Somebody is connected.
    taken: bool,
    /// The next trade to be sent.
    next: usize,
    flow: Option<Flow>,
    /// By trade, Unix nanoseconds; 0 for one that has not left.
    sent_at: Vec<u64>,
}

#[derive(Debug)]
struct Flow {
    began: Instant,
    pace: Pace,
    /// Before this trade it ends.
    until: usize,
}

impl Tape {
    pub(crate) fn new(plan: Plan) -> Self {
        let sent_at = vec![0; plan.trades()];
        let state = Mutex::new(State { taken: false, next: 0, flow: None, sent_at });
        Self { plan, state, subscribed: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribed(&self) -> watch::Receiver<usize> {
        self.subscribed.subscribe()
    }

    /// Lets the trades before `until` flow. They come in whole frames: `until` must end one.
    pub(crate) fn flow(&self, pace: Pace, until: usize) {
        self.lock().flow = Some(Flow { began: Instant::now(), pace, until });
    }

    pub(crate) fn rests(&self) -> bool {
        self.lock().flow.is_none()
    }

    /// When each trade left.
    pub(crate) fn take_sent(&self) -> Vec<u64> {
        std::mem::take(&mut self.lock().sent_at)
    }
}

/// The tape as the one connection that may have it sees it: a second one would get the trades that
/// the first does not.
#[derive(Debug)]
pub(crate) struct Taped {
    tape: Arc<Tape>,
    /// Frames that have not left: where each ends in the outbox, and its trades.
    waiting: VecDeque<(usize, std::ops::Range<usize>)>,
    text: Vec<u8>,
}

impl Taped {
    /// An error while another connection has it.
    pub(crate) fn new(tape: Arc<Tape>) -> anyhow::Result<Self> {
        if std::mem::replace(&mut tape.lock().taken, true) {
            bail!("a probe has one client; this is a second ingestor");
        }
        Ok(Self { tape, waiting: VecDeque::new(), text: Vec::new() })
    }

    pub(crate) fn subscribe(&mut self, wanted: &Subscriptions) {
        let names = self.tape.plan.symbols.iter().filter_map(|name| Symbol::new(name).ok());
        self.tape.subscribed.send_replace(names.filter(|name| wanted.contains(name)).count());
    }

    pub(crate) fn fill(&mut self, now: Now, outbox: &mut Outbox) -> Option<Instant> {
        let tape = Arc::clone(&self.tape);
        let mut state = tape.lock();
        let state = &mut *state;
        let Some(flow) = &mut state.flow else { return Some(now.instant + REST) };
        for _ in 0..flow.pace.frames_due(now.since(flow.began)) {
            let trades = state.next..state.next + flow.pace.trades_per_frame() as usize;
            self.render(trades.clone(), now.unix_ms);
            let line = outbox.trades(&self.text);
            state.next = trades.end;
            flow.pace.sent_frame();
            self.waiting.push_back((outbox.bytes().len(), trades));
            let is_last = state.next >= flow.until;
            if is_last {
                state.flow = None;
                return Some(now.instant + REST);
            }
            if line != Line::Open || outbox.bytes().len() >= BATCH_BYTES {
                break;
            }
        }
        Some(flow.began + flow.pace.next())
    }

    /// So many bytes of the outbox are the kernel's, the last of them since `at` (Unix nanoseconds).
    pub(crate) fn left(&mut self, bytes: usize, at: u64) {
        let mut state = self.tape.lock();
        while let Some((_, trades)) = self.waiting.pop_front_if(|(end, _)| *end <= bytes) {
            if let Some(sent_at) = state.sent_at.get_mut(trades) {
                sent_at.fill(at);
            }
        }
    }

    fn render(&mut self, trades: std::ops::Range<usize>, unix_ms: i64) {
        let (plan, text) = (&self.tape.plan, &mut self.text);
        text.clear();
        text.extend_from_slice(br#"{"data":["#);
        let first = trades.start;
        for trade in trades {
            if trade > first {
                text.push(b',');
            }
            text.extend_from_slice(br#"{"c":["1","12"],"p":"#);
            push_decimal(text, plan.price(trade), 2);
            text.extend_from_slice(br#","s":""#);
            // The market's own symbols need no escapes.
            text.extend_from_slice(plan.symbols[plan.symbol_of(trade)].as_bytes());
            text.extend_from_slice(br#"","t":"#);
            push_u64(text, unix_ms.unsigned_abs());
            text.extend_from_slice(br#","v":"#);
            push_u64(text, plan.volume(trade));
            text.push(b'}');
        }
        text.extend_from_slice(br#"],"type":"trade"}"#);
    }
}

impl Drop for Taped {
    fn drop(&mut self) {
        self.tape.lock().taken = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_client_gets_nothing_while_the_first_is_there() {
        let plan = Plan::new(1_800_000_000, (4, 4), vec!["A".to_owned()], 0, 1);
        let tape = Arc::new(Tape::new(plan));
        let first = Taped::new(Arc::clone(&tape)).expect("the first");
        assert!(Taped::new(Arc::clone(&tape)).is_err());
        drop(first);
        assert!(Taped::new(tape).is_ok());
    }
}
