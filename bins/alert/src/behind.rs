//! Reading a partition of the log again, for alerts that were armed long before they were heard
//! of: while it is read, evaluation goes on.

use broker::{TopicReader, partition_of};
use market::Sequence;
use tokio_util::sync::CancellationToken;
use triggers::{Firing, Partition};
use wire::tick::Decoder;

/// Which stretch of the log, and who asks.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    /// How many the topic has.
    pub(crate) partitions: i32,
    pub(crate) partition: i32,
    /// Before this offset.
    pub(crate) to: i64,
    pub(crate) life: u64,
}

/// What came of a reading.
pub(crate) struct Rewound {
    pub(crate) partition: i32,
    pub(crate) life: u64,
    pub(crate) back: Partition,
    pub(crate) fired: Vec<Firing>,
}

/// Evaluates the stretch from where `back` stands. `None` where `stop` came first. Blocks.
pub(crate) fn read_again(
    stretch: &Stretch,
    mut back: Partition,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Rewound>> {
    let mut fired = Vec::new();
    let read = read(stretch, &mut back, &mut fired, stop);
    // Where it was stopped nobody asks for what became of it.
    if stop.is_cancelled() {
        return Ok(None);
    }
    read?;
    Ok(Some(Rewound { partition: stretch.partition, life: stretch.life, back, fired }))
}

fn read(
    stretch: &Stretch,
    back: &mut Partition,
    fired: &mut Vec<Firing>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let reader = TopicReader::new(&stretch.brokers, &stretch.topic)?;
    let from = back.next_offset().unwrap_or(0);
    let mut decoder = Decoder::new();
    tracing::info!(stretch.partition, from, stretch.to, "reading again for late alerts");
    reader.read(stretch.partition, from, stretch.to, |record| {
        // As when it was read first: what is no tick, or is on another partition than its
        // symbol's, was put aside.
        if let Ok(tick) = decoder.decode(record.value())
            && partition_of(tick.symbol(), stretch.partitions) == stretch.partition
            && let Some(symbol) = back.intern(tick.symbol())
        {
            for (index, trade) in (0..).zip(tick.trades()) {
                let sequence = Sequence { offset: record.offset(), index };
                back.evaluate(symbol, &trade, sequence, fired);
            }
        }
        back.advance(record.offset() + 1);
        !stop.is_cancelled()
    })?;
    // Where the end of the stretch holds no record any more, it is read all the same.
    if !stop.is_cancelled() {
        back.advance(stretch.to);
    }
    Ok(())
}
