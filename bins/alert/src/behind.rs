//! Reading a partition of the log again, for alerts that were armed long before they were heard
//! of: while it is read, evaluation goes on.

use std::thread::sleep;
use std::time::Duration;

use broker::{TopicReader, partition_of};
use market::Sequence;
use tokio_util::sync::CancellationToken;
use triggers::{Firing, Partition};
use wire::tick::Decoder;

/// Until the log is read on after trouble.
const AGAIN: Duration = Duration::from_secs(1);

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

/// Evaluates the stretch from where `back` stands, for as long as it takes. `None` where `stop` came
/// first. Blocks.
pub(crate) fn read_again(
    stretch: &Stretch,
    mut back: Partition,
    stop: &CancellationToken,
) -> Option<Rewound> {
    let mut fired = Vec::new();
    // What was read before the trouble stays: it goes on from there.
    while let Err(error) = read(stretch, &mut back, &mut fired, stop)
        && !stop.is_cancelled()
    {
        tracing::warn!(stretch.partition, "reading again for late alerts: {error:#}");
        sleep(AGAIN);
    }
    // Where it was stopped nobody asks for what became of it.
    (!stop.is_cancelled()).then_some(Rewound {
        partition: stretch.partition,
        life: stretch.life,
        back,
        fired,
    })
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

#[cfg(test)]
mod tests {
    use std::thread;

    use market::Price;
    use testkit::{Kafka, RandomMarket, private_kafka};
    use triggers::{AlertId, Armed, Condition, Terms, Version};

    use super::*;

    #[test]
    fn a_rewind_goes_on_once_the_log_can_be_read() {
        let mut server = private_kafka();
        let kafka = Kafka::at(server.address());
        let topic = kafka.topic("behind", 1);
        let records = RandomMarket::new(3).records(100);
        kafka.produce(&topic, records.iter().map(|(symbol, value)| (&**symbol, &**value)));
        let mut back = Partition::new(16);
        let terms = Terms::new(Condition::Above(Price::new(0.001).expect("a price")), None);
        let alert = Armed {
            id: AlertId(1),
            version: Version { revision: 0, generation: 0 },
            terms: terms.expect("terms"),
            armed_at: Sequence::default(),
            judged_to: Sequence::default(),
            latched: false,
            asleep_until: i64::MIN,
            reference: None,
        };
        let _ = back.arm(&records[99].0, alert, &mut Vec::new());
        let stretch = Stretch {
            brokers: server.address().to_owned(),
            topic,
            partitions: 1,
            partition: 0,
            to: 100,
            life: 1,
        };
        server.kill9();
        let reading = thread::spawn(move || read_again(&stretch, back, &CancellationToken::new()));
        // Longer than a reader waits.
        sleep(Duration::from_secs(12));
        server.restart();
        let rewound = reading.join().expect("no panic").expect("it was not stopped");
        assert_eq!((rewound.back.next_offset(), rewound.fired.len()), (Some(100), 1));
    }
}
