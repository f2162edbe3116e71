use broker::ProducerMetrics;
use feed::{DisconnectReason, FeedMetrics};
use metrics::{Counter, Gauge};
use service::catalogue;
use wire::frame::{FrameError, TradeRejection};

/// The encoder's metric handles, resolved once.
pub(crate) struct Meters {
    pub(crate) trades: Counter,
    pub(crate) repeated: Counter,
    pub(crate) frames_queued: Gauge,
    /// In the order of [`FrameError::LABELS`].
    frames_rejected: [Counter; FrameError::LABELS.len()],
    pub(crate) feed_errors: Counter,
    pub(crate) unknown_types: Counter,
    /// In the order of [`TradeRejection::ALL`].
    pub(crate) trades_rejected: [Counter; TradeRejection::ALL.len()],
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            trades: catalogue::FEED_TRADES.counter(),
            repeated: catalogue::FEED_TRADES_REPEATED.counter(),
            frames_queued: catalogue::QUEUE.with("queue", "frames").gauge(),
            frames_rejected: FrameError::LABELS.map(frames_rejected),
            feed_errors: frames_rejected("feed_error"),
            unknown_types: frames_rejected("unknown_type"),
            trades_rejected: TradeRejection::ALL.map(|reason| {
                catalogue::FEED_TRADES_REJECTED.with("reason", reason.as_str()).counter()
            }),
        }
    }

    pub(crate) fn frame_rejected(&self, error: FrameError) {
        let reasons = FrameError::LABELS.iter().zip(&self.frames_rejected);
        for (_, counter) in reasons.filter(|(label, _)| **label == error.as_str()) {
            counter.increment(1);
        }
    }
}

fn frames_rejected(reason: &'static str) -> Counter {
    catalogue::FEED_FRAMES_REJECTED.with("reason", reason).counter()
}

pub(crate) fn feed() -> FeedMetrics {
    let disconnects = |reason: DisconnectReason| {
        catalogue::FEED_DISCONNECTS.with("reason", reason.as_str()).counter()
    };
    FeedMetrics {
        frames: catalogue::FEED_FRAMES.counter(),
        bytes: catalogue::FEED_BYTES.counter(),
        not_utf8: frames_rejected("not_utf8"),
        connects: catalogue::FEED_CONNECTS.counter(),
        disconnects: DisconnectReason::ALL.map(disconnects),
        connected: catalogue::FEED_CONNECTED.gauge(),
    }
}

pub(crate) fn producer() -> ProducerMetrics {
    ProducerMetrics {
        produced: catalogue::RECORDS_PRODUCED.counter(),
        delivered: catalogue::RECORDS_DELIVERED.counter(),
        failed: catalogue::DELIVERY_FAILURES.counter(),
        in_flight: catalogue::QUEUE.with("queue", "in_flight").gauge(),
        in_flight_bound: catalogue::QUEUE_BOUND.with("queue", "in_flight").gauge(),
        full: catalogue::PRODUCER_FULL.counter(),
        produced_stage: catalogue::TICK_STAGE.with("stage", "produced").histogram(),
    }
}

pub(crate) fn frames_bound() -> Gauge {
    catalogue::QUEUE_BOUND.with("queue", "frames").gauge()
}
