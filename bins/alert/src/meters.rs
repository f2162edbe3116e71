use follow::{Batch, now, seconds};
use metrics::{Counter, Gauge, Histogram};
use service::{Tally, catalogue};
use store::{Call, StoreMetrics};

/// The engine's metric handles, resolved once.
pub(crate) struct Meters {
    records: Counter,
    trades: Counter,
    batch_records: Histogram,
    batch_trades: Histogram,
    pub(crate) armed: Gauge,
    pub(crate) bytes: Gauge,
    pub(crate) admitted: Counter,
    pub(crate) refused: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) checkpoints: Counter,
    pub(crate) rewound: Counter,
    pub(crate) heard: Histogram,
    evaluated: Histogram,
    fired: Histogram,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let stage = |stage| catalogue::TICK_STAGE.with("stage", stage).histogram();
        let fired = |outcome| catalogue::ALERTS_FIRED.with("outcome", outcome).counter();
        Self {
            records: catalogue::RECORDS_CONSUMED.counter(),
            trades: catalogue::TRADES_CONSUMED.counter(),
            batch_records: catalogue::BATCH_RECORDS.histogram(),
            batch_trades: catalogue::BATCH_TRADES.histogram(),
            armed: catalogue::ALERTS_ARMED.gauge(),
            bytes: catalogue::INDEX_BYTES.gauge(),
            admitted: fired("admitted"),
            refused: fired("refused"),
            commit_seconds: catalogue::FIRE_COMMIT.histogram(),
            checkpoints: catalogue::CHECKPOINTS.counter(),
            rewound: catalogue::ALERTS_REWOUND.counter(),
            heard: catalogue::ALERT_HEARD.histogram(),
            evaluated: stage("evaluated"),
            fired: stage("fired"),
        }
    }

    /// Counts a batch that has been evaluated this moment.
    pub(crate) fn count(&self, batch: &Batch) {
        let evaluated_at = now();
        self.records.increment(batch.records as u64);
        self.trades.increment(batch.trades.len() as u64);
        self.batch_records.record(batch.records as f64);
        self.batch_trades.record(batch.trades.len() as f64);
        let mut evaluated = Tally::default();
        // Trades of one frame were received at once.
        for frame in batch.trades.chunk_by(|a, b| a.trade.received_at == b.trade.received_at) {
            if frame[0].trade.received_at > 0 {
                let since = evaluated_at.saturating_sub(frame[0].trade.received_at);
                evaluated.add(since, frame.len());
            }
        }
        evaluated.hand_over(&self.evaluated);
    }

    /// Counts firings that were committed at `fired_at`, by when their trades were received.
    pub(crate) fn count_fired(&self, received_at: impl Iterator<Item = u64>, fired_at: u64) {
        for received_at in received_at.filter(|received_at| *received_at > 0) {
            self.fired.record(seconds(received_at, fired_at));
        }
    }
}

pub(crate) fn store() -> StoreMetrics {
    StoreMetrics {
        acquire: catalogue::POSTGRES_ACQUIRE.histogram(),
        calls: Call::ALL
            .map(|call| catalogue::POSTGRES_CALL.with("call", call.as_str()).histogram()),
    }
}
