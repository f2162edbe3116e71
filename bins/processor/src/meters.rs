use follow::{Batch, Gathered};
use metrics::{Counter, Gauge, Histogram};
use service::{Tally, catalogue};

/// The processor's metric handles, resolved once.
#[derive(Clone)]
pub(crate) struct Meters {
    pub(crate) records: Counter,
    pub(crate) trades: Counter,
    pub(crate) batch_records: Histogram,
    pub(crate) batch_trades: Histogram,
    pub(crate) written: Counter,
    pub(crate) failed: Counter,
    pub(crate) refused: Counter,
    pub(crate) late: Counter,
    pub(crate) stream_entries: Counter,
    pub(crate) stream_trades: Counter,
    pub(crate) write_seconds: Histogram,
    pub(crate) symbols: Gauge,
    pub(crate) consumed: Histogram,
    pub(crate) visible: Histogram,
    pub(crate) exchange: Histogram,
}

impl Meters {
    pub(crate) fn new() -> Self {
        let stage = |stage| catalogue::TICK_STAGE.with("stage", stage).histogram();
        let batches = |outcome| catalogue::REDIS_BATCHES.with("outcome", outcome).counter();
        Self {
            records: catalogue::RECORDS_CONSUMED.counter(),
            trades: catalogue::TRADES_CONSUMED.counter(),
            batch_records: catalogue::BATCH_RECORDS.histogram(),
            batch_trades: catalogue::BATCH_TRADES.histogram(),
            written: batches("written"),
            failed: batches("failed"),
            refused: catalogue::REDIS_REFUSED.counter(),
            late: catalogue::REDIS_LATE.counter(),
            stream_entries: catalogue::STREAM_ENTRIES.counter(),
            stream_trades: catalogue::STREAM_TRADES.counter(),
            write_seconds: catalogue::REDIS_WRITE.histogram(),
            symbols: catalogue::SYMBOLS.gauge(),
            consumed: stage("consumed"),
            visible: stage("visible"),
            exchange: catalogue::TICK_EXCHANGE.histogram(),
        }
    }
}

/// What is to be counted of a batch once it is visible.
#[derive(Debug)]
pub(crate) struct Counts {
    records: usize,
    trades: usize,
    consumed: Tally,
    exchange: Tally,
    /// When trades were received, Unix nanoseconds, and how many.
    received: Vec<(u64, usize)>,
}

impl Counts {
    pub(crate) fn of(batch: &Batch) -> Self {
        let mut counts = Self {
            records: batch.records,
            trades: batch.trades.len(),
            consumed: Tally::default(),
            exchange: Tally::default(),
            received: Vec::new(),
        };
        let mut from = 0;
        for (to, read_at) in &batch.bursts {
            counts.add(&batch.trades[from..*to], *read_at);
            from = *to;
        }
        counts
    }

    fn add(&mut self, burst: &[Gathered], read_at: u64) {
        // Trades of one frame were received at once.
        for frame in burst.chunk_by(|a, b| a.trade.received_at == b.trade.received_at) {
            let received_at = frame[0].trade.received_at;
            // A record of the original's has no such time.
            if received_at == 0 {
                continue;
            }
            self.consumed.add(read_at.saturating_sub(received_at), frame.len());
            self.received.push((received_at, frame.len()));
            let exchange = u64::try_from(frame[0].trade.timestamp).unwrap_or(0);
            let exchange = exchange.saturating_mul(1_000_000);
            self.exchange.add(received_at.saturating_sub(exchange), frame.len());
        }
    }
}

impl Meters {
    /// Counts a batch that is visible in Redis since `visible_at`, Unix nanoseconds.
    pub(crate) fn count(&self, mut counts: Counts, visible_at: u64) {
        self.written.increment(1);
        self.records.increment(counts.records as u64);
        self.trades.increment(counts.trades as u64);
        self.batch_records.record(counts.records as f64);
        self.batch_trades.record(counts.trades as f64);
        let mut visible = Tally::default();
        for (received_at, trades) in &counts.received {
            visible.add(visible_at.saturating_sub(*received_at), *trades);
        }
        visible.hand_over(&self.visible);
        counts.consumed.hand_over(&self.consumed);
        counts.exchange.hand_over(&self.exchange);
    }
}
