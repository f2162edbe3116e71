use std::sync::Arc;
use std::time::{Duration, Instant};

use fastwebsockets::OpCode;
use market::Symbol;
use tracing::info;

use crate::outbox::{Line, Outbox};
use crate::recording::Recording;
use crate::source::{BATCH_BYTES, Now};
use crate::subscriptions::Subscriptions;

/// A client sends its subscriptions one by one; a replay that began with the first of them would
/// be over the first trades of the others.
const SETTLE: Duration = Duration::from_millis(100);

/// How a recording is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Playing {
    /// Times faster than recorded; 0: at once.
    pub(crate) speed: f64,
    pub(crate) rebase_time: bool,
    pub(crate) again: bool,
}

/// One connection's way through a recording.
#[derive(Debug)]
pub(crate) struct Replay {
    recording: Arc<Recording>,
    playing: Playing,
    wanted: Vec<Symbol>,
    /// The next frame's index.
    position: usize,
    stage: Stage,
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Nothing that occurs in the recording is subscribed.
    Waiting,
    /// Until the subscriptions have settled.
    Settling {
        until: Instant,
    },
    /// `origin` is when the recording's first frame was due, `shift` what is added to its times.
    Playing {
        origin: Instant,
        shift: i64,
    },
    Ended,
}

impl Replay {
    /// Starts with the frame of index `position`.
    pub(crate) fn new(recording: Arc<Recording>, playing: Playing, position: usize) -> Self {
        let stage = Stage::Waiting;
        Self { recording, playing, wanted: Vec::new(), position, stage, text: Vec::new() }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn subscribe(&mut self, subscriptions: &Subscriptions, now: Now) {
        self.wanted = subscriptions.iter().map(|subscribed| subscribed.name.clone()).collect();
        if matches!(self.stage, Stage::Waiting | Stage::Settling { .. })
            && self.recording.has_symbol(|symbol| self.wanted.contains(symbol))
        {
            self.stage = Stage::Settling { until: now.instant + SETTLE };
        }
    }

    pub(crate) fn fill(&mut self, now: Now, outbox: &mut Outbox) -> Option<Instant> {
        loop {
            match self.stage {
                Stage::Waiting | Stage::Ended => return None,
                Stage::Settling { until } if now.instant < until => return Some(until),
                Stage::Settling { .. } => self.start(now),
                Stage::Playing { origin, shift } => {
                    let Some(frame) = self.recording.frames().get(self.position) else {
                        self.end(now);
                        if self.playing.again {
                            // Not within this batch: a recording of nothing wanted, played at
                            // once and again, would never let go.
                            return Some(now.instant);
                        }
                        continue;
                    };
                    let due = origin + self.after_start(frame.time);
                    if due > now.instant {
                        return Some(due);
                    }
                    self.position += 1;
                    let wanted = |symbol: &Symbol| self.wanted.contains(symbol);
                    if !frame.render(wanted, shift, &mut self.text) {
                        continue;
                    }
                    let line = if frame.is_trades() {
                        outbox.trades(&self.text)
                    } else {
                        outbox.push(OpCode::Text, &self.text);
                        outbox.line()
                    };
                    if line != Line::Open || outbox.bytes().len() >= BATCH_BYTES {
                        return Some(now.instant);
                    }
                }
            }
        }
    }

    fn start(&mut self, now: Now) {
        let frames = self.recording.frames();
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            self.stage = Stage::Ended;
            return;
        };
        // One that is resumed goes on as if its first part had just been played.
        let at = frames.get(self.position).map_or(last.time, |frame| frame.time);
        let played = self.after_start(at);
        let began_ms = now.unix_ms - i64::try_from(played.as_millis()).unwrap_or(i64::MAX);
        let shift = if self.playing.rebase_time {
            // Played faster than recorded, times run faster than the clock: the last one is to be
            // of the moment when it is sent. Played slower, the first one is.
            let takes = i64::try_from(self.after_start(last.time).as_millis()).unwrap_or(i64::MAX);
            (began_ms - first.time).min(began_ms.saturating_add(takes) - last.time)
        } else {
            0
        };
        let origin = now.instant.checked_sub(played).unwrap_or(now.instant);
        self.stage = Stage::Playing { origin, shift };
        info!(frames = frames.len(), from = self.position, shift_ms = shift, "replay starts");
    }

    fn end(&mut self, now: Now) {
        info!(frames = self.position, "replay ended");
        if self.playing.again {
            self.position = 0;
            self.start(now);
        } else {
            self.stage = Stage::Ended;
        }
    }

    /// How long after the first frame's one of this time is played.
    fn after_start(&self, time: i64) -> Duration {
        let first = self.recording.frames().first().map_or(time, |frame| frame.time);
        if self.playing.speed == 0.0 {
            return Duration::ZERO;
        }
        let millis = time.saturating_sub(first).max(0) as f64 / self.playing.speed;
        // Bounded, so that no recording makes an instant that cannot be told.
        Duration::from_secs_f64((millis / 1_000.0).min(1e9))
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
