use std::time::{Duration, Instant};

use broker::{Arrival, DeliveryFailed, Producer};
use feed::Received;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tracing::warn;
use wire::frame::{Frame, FrameDecoder, TradeRejection, Trades};
use wire::record::Gatherer;

use crate::batch_span::BatchSpan;
use crate::frames::Frames;
use crate::meters::Meters;
use crate::occasionally::Occasionally;
use crate::pace::Pace;
use crate::repeats::Repeats;

/// How many frames one round takes at most while the log keeps up, so that the first of them does
/// not wait for a feed that is as fast as the encoder.
const FRAMES_PER_ROUND: usize = 1_024;

/// The log is behind where so many records are unacknowledged, and half as many as the round at
/// hand has: it takes fewer, fuller ones with less trouble, so the round goes on meanwhile. At
/// 20,000 trades a second fifty are on their way, and no trade waits for another.
const BEHIND: usize = 200;
/// A round of so many trades tells of a feed that is fast: its records are let to become this full,
/// since what a trade costs from here on is its share of a record.
const FAST_ROUND: usize = 2_048;
const FULL_RECORD: usize = 32;
/// But not if for so many looks nothing has come.
const QUIET_LOOKS: usize = 4;
/// A round of so many trades whose records are full is sent, however far the log is behind: a larger
/// one falls out of the core's own cache, and each trade of it costs twice as much.
const LARGE_ROUND: usize = 16_384;
/// What is behind may be one partition alone: the others' trades wait no longer than this, nor do
/// those of a fast feed, nor any for the cores' rest.
pub(crate) const GATHER_AT_MOST: Duration = Duration::from_millis(20);
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Frames that are taken between two looks at it.
const FRAMES_PER_LOOK: usize = 64;

/// How soon a failed delivery is noticed while the feed is silent.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// How much of the feed's own words a log line repeats, in characters.
const LONGEST_QUOTE: usize = 200;

/// Where records go.
pub(crate) trait Log {
    /// Waits while too many are on their way.
    fn send(
        &self,
        key: &str,
        value: &[u8],
        headers: &[(&str, &str)],
        arrival: Arrival,
    ) -> Result<(), DeliveryFailed>;

    /// Whether so many records or more are on their way, after a wait for them to become fewer.
    fn has_on_its_way(&self, records: usize, wait: Duration) -> bool;

    /// Why a record that was sent earlier will not arrive, if one will not.
    fn failure(&self) -> Option<DeliveryFailed>;
}

impl Log for Producer {
    fn send(
        &self,
        key: &str,
        value: &[u8],
        headers: &[(&str, &str)],
        arrival: Arrival,
    ) -> Result<(), DeliveryFailed> {
        Self::send(self, key, value, headers, arrival)
    }

    fn has_on_its_way(&self, records: usize, wait: Duration) -> bool {
        self.has_in_flight(records, wait)
    }

    fn failure(&self) -> Option<DeliveryFailed> {
        Self::failure(self)
    }
}

/// Turns frames into records: whatever is queued when it is free becomes one record a symbol, and
/// what arrives while the log is behind, the feed so fast that its records are worth filling, or the
/// machine's cores without rest.
pub(crate) struct Encoder {
    decoder: FrameDecoder,
    gatherer: Gatherer,
    /// Otherwise no record gets fuller.
    gathers: bool,
    gathers_at_most: Duration,
    pace: Pace,
    /// When the last round that had a trade was sent; before the first, when there could have been
    /// one.
    sent: Instant,
    /// So many trades are enough for a record.
    full_record: usize,
    repeats: Repeats,
    meters: Meters,
    occasionally: Occasionally,
}

impl Encoder {
    pub(crate) fn new(ticks_per_record: usize, pace: Pace) -> Self {
        Self {
            decoder: FrameDecoder::new(),
            gatherer: Gatherer::new(ticks_per_record),
            gathers: ticks_per_record > 1,
            gathers_at_most: GATHER_AT_MOST,
            pace,
            sent: Instant::now(),
            full_record: FULL_RECORD.min(ticks_per_record),
            repeats: Repeats::new(),
            meters: Meters::new(),
            occasionally: Occasionally::default(),
        }
    }

    /// Until the queue's senders are gone and it is empty, or a record is lost. Blocks.
    pub(crate) fn run(
        &mut self,
        runtime: &Handle,
        frames: &mut mpsc::Receiver<Received>,
        log: &impl Log,
    ) -> Result<(), DeliveryFailed> {
        let mut frames = Frames::new(frames);
        loop {
            let first = match frames.wait(runtime, CHECK_EVERY) {
                Ok(first) => first,
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => match log.failure() {
                    None => {
                        self.pace.check(Instant::now());
                        continue;
                    }
                    Some(failure) => return Err(failure),
                },
            };
            self.meters.frames_queued.set(frames.queued() as f64);
            let batch = BatchSpan::begin();
            self.take(&first);
            for _ in 1..FRAMES_PER_ROUND {
                if self.gatherer.is_full() || self.is_large() {
                    break;
                }
                let Ok(next) = frames.next() else { break };
                self.take(&next);
            }
            if self.gathers {
                self.gather_more(&mut frames, log)?;
            }
            if self.gatherer.is_empty()
                && let Some(failure) = log.failure()
            {
                return Err(failure);
            }
            let is_any = !self.gatherer.is_empty();
            batch.send(&mut self.gatherer, log)?;
            if is_any {
                self.sent = Instant::now();
            }
            self.meters.frames_queued.set(frames.queued() as f64);
        }
    }

    /// Goes on with the round at hand while the log is behind, its records are worth filling, or
    /// rounds are to be further apart.
    fn gather_more(
        &mut self,
        frames: &mut Frames<'_>,
        log: &impl Log,
    ) -> Result<(), DeliveryFailed> {
        let (begun, mut wait, mut quiet) = (Instant::now(), Duration::ZERO, 0);
        self.pace.check(begun);
        while !self.gatherer.is_empty()
            && !self.gatherer.is_full()
            && !self.is_large()
            && begun.elapsed() < self.gathers_at_most
        {
            let is_behind = log.has_on_its_way(BEHIND.max(self.gatherer.records() / 2), wait);
            if !is_behind {
                let is_worth_filling = self.is_worth_filling() && quiet < QUIET_LOOKS;
                if !is_worth_filling && !self.is_early() {
                    break;
                }
                if !wait.is_zero() {
                    std::thread::sleep(LOOK_AGAIN);
                }
            }
            if let Some(failure) = log.failure() {
                return Err(failure);
            }
            let before = self.gatherer.trades();
            for _ in 0..FRAMES_PER_LOOK {
                if self.gatherer.is_full() || self.is_large() {
                    break;
                }
                match frames.next() {
                    Ok(next) => self.take(&next),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            quiet = if self.gatherer.trades() == before { quiet + 1 } else { 0 };
            wait = if frames.is_empty() { LOOK_AGAIN } else { Duration::ZERO };
        }
        Ok(())
    }

    fn is_worth_filling(&self) -> bool {
        let trades = self.gatherer.trades();
        trades >= FAST_ROUND && trades < self.full_record * self.gatherer.records()
    }

    /// Whether the round before was sent too short a while ago for a small one.
    fn is_early(&self) -> bool {
        self.gatherer.trades() < FAST_ROUND && self.sent.elapsed() < self.pace.least()
    }

    fn is_large(&self) -> bool {
        let trades = self.gatherer.trades();
        trades >= LARGE_ROUND && trades >= self.full_record * self.gatherer.records()
    }

    /// Gathers the trades of one frame.
    fn take(&mut self, received: &Received) {
        let received_ms = i64::try_from(received.received_at / 1_000_000).unwrap_or(i64::MAX);
        match self.decoder.decode(&received.payload, received_ms) {
            Ok(Frame::Trades(trades)) => {
                self.meters.trades.increment(trades.len() as u64);
                reject(&trades, &self.meters, &mut self.occasionally);
                let mut repeated = 0;
                for trade in trades {
                    repeated += u64::from(self.repeats.seen(&trade));
                    let stamped = trade.received(received.received_at);
                    self.gatherer.add(trade.symbol, &stamped, trade.conditions);
                }
                if repeated > 0 {
                    self.meters.repeated.increment(repeated);
                }
            }
            Ok(Frame::Ping) => {}
            Ok(Frame::Error { message }) => {
                self.meters.feed_errors.increment(1);
                if let Some(count) = self.occasionally.tell("feed_error", 1, Instant::now()) {
                    let message: String = message.chars().take(LONGEST_QUOTE).collect();
                    warn!(
                        count,
                        said = message,
                        "the feed reports an error (too many SYMBOLS, usually)"
                    );
                }
            }
            Ok(Frame::Other { kind }) => {
                self.meters.unknown_types.increment(1);
                if let Some(count) = self.occasionally.tell("unknown_type", 1, Instant::now()) {
                    let kind: String = kind.chars().take(LONGEST_QUOTE).collect();
                    warn!(count, kind, "frames of a type that holds no trades were ignored");
                }
            }
            Err(error) => {
                self.meters.frame_rejected(error);
                if let Some(count) = self.occasionally.tell(error.as_str(), 1, Instant::now()) {
                    warn!(count, reason = error.as_str(), "frames were dropped: {error}");
                }
            }
        }
    }
}

fn reject(trades: &Trades<'_>, meters: &Meters, occasionally: &mut Occasionally) {
    for reason in TradeRejection::ALL {
        let count = u64::from(trades.rejected()[reason as usize]);
        if count == 0 {
            continue;
        }
        meters.trades_rejected[reason as usize].increment(count);
        if let Some(count) = occasionally.tell(reason.as_str(), count, Instant::now()) {
            warn!(count, reason = reason.as_str(), "trades with something wrong were dropped");
        }
    }
}

#[cfg(test)]
mod tests;
