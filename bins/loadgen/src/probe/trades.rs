use std::sync::Arc;

use wire::tick::Decoder;

use crate::probe::market::Tape;
use crate::probe::tail::Tail;

/// What was seen of the trades on their topic, by trade; 0 for one that was not.
#[derive(Debug)]
pub(crate) struct Logged {
    /// When a consumer had it, Unix nanoseconds.
    pub(crate) at: Vec<u64>,
    /// When the ingestor says that it read its frame.
    pub(crate) received_at: Vec<u64>,
    /// Trades that came more than once.
    pub(crate) repeated: usize,
}

/// Reads the trades' topic.
pub(crate) fn tail(brokers: &str, topic: &str, tape: Arc<Tape>) -> anyhow::Result<Tail<Logged>> {
    let trades = tape.plan.trades();
    let logged = Logged { at: vec![0; trades], received_at: vec![0; trades], repeated: 0 };
    let mut decoder = Decoder::new();
    Tail::start(brokers, topic, None, logged, move |logged, value, at| {
        let Ok(record) = decoder.decode(value) else { return 0 };
        let mut found = 0;
        for logged_trade in record.trades() {
            let Some(trade) = tape.plan.trade(logged_trade.volume.get()) else { continue };
            if logged.at[trade] > 0 {
                logged.repeated += 1;
                continue;
            }
            logged.at[trade] = at;
            logged.received_at[trade] = logged_trade.received_at;
            found += 1;
        }
        found
    })
}
