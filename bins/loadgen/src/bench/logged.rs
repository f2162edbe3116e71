//! The trades on their topic: one partition of it while they flow, and all of it afterwards.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use rdkafka::consumer::Consumer;
use rdkafka::{Message, Offset, TopicPartitionList};
use wire::tick::Decoder;

use crate::bench::lateness::Lateness;
use crate::bench::market::Market;
use crate::bench::plan::Step;
use crate::bench::wrong::Wrong;
use crate::probe::{Tail, consumer, ends};

/// How long a record that is there may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The partition that is followed while trades flow: to read all of them would cost the broker as
/// much as another service.
const FOLLOWED: i32 = 0;

/// A consumer that measures each trade of the followed partition, from when it knows the step.
pub(crate) fn follow(
    brokers: &str,
    topic: &str,
    step: Arc<OnceLock<Step>>,
) -> anyhow::Result<Tail<Lateness>> {
    let mut decoder = Decoder::new();
    Tail::start(brokers, topic, Some(FOLLOWED), Lateness::new(), move |lateness, value, at| {
        let Some(step) = step.get() else { return 0 };
        let Ok(record) = decoder.decode(value) else { return 0 };
        for trade in record.trades() {
            let number = trade.volume.get() as u64;
            if step.trades().contains(&number) {
                lateness.add_received(step, number, at, trade.received_at);
            }
        }
        record.len() as usize
    })
}

/// Where the topic's partitions end. Blocks.
pub(crate) fn offsets(brokers: &str, topic: &str) -> anyhow::Result<Vec<(i32, i64)>> {
    ends(&consumer(brokers)?, topic)
}

/// What the log holds of a step.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    pub(crate) records: u64,
    /// Of values.
    pub(crate) bytes: u64,
    /// By the number of a trade that somebody wants to know more of: when the ingestor has read it,
    /// Unix nanoseconds.
    pub(crate) received_at: HashMap<u64, u64>,
}

/// Reads what was appended from `from` on, and holds it against the plan: every trade before `end`
/// is there once, as it was sent, and each symbol's in order. Blocks.
pub(crate) fn check(
    (brokers, topic): (&str, &str),
    from: &[(i32, i64)],
    market: &Market,
    (step, end): (&Step, u64),
    is_wanted: impl Fn(u64) -> bool,
    wrong: &mut Wrong,
) -> anyhow::Result<Logged> {
    let consumer = consumer(brokers)?;
    let until: HashMap<i32, i64> = ends(&consumer, topic)?.into_iter().collect();
    let mut assignment = TopicPartitionList::new();
    let mut missing = 0;
    for (partition, from) in from {
        let count = until.get(partition).context("a partition has vanished")? - from;
        if count > 0 {
            missing += count;
            assignment.add_partition_offset(topic, *partition, Offset::Offset(*from))?;
        }
    }
    consumer.assign(&assignment)?;
    let mut judge = Judge::new(market, step, end);
    let mut logged = Logged::default();
    let mut decoder = Decoder::new();
    while missing > 0 {
        let message = consumer.poll(PATIENCE).context("the log does not give what it holds")??;
        missing -= 1;
        let value = message.payload().unwrap_or_default();
        logged.records += 1;
        logged.bytes += value.len() as u64;
        let Ok(record) = decoder.decode(value) else {
            wrong.add("records on the log that are no ticks", || {
                format!("{}@{}", message.partition(), message.offset())
            });
            continue;
        };
        let symbol = judge.symbol(record.symbol());
        for trade in record.trades() {
            let volume = trade.volume.get();
            judge.see(symbol, trade.price.get(), volume, trade.timestamp, wrong);
            if is_wanted(volume as u64) {
                logged.received_at.insert(volume as u64, trade.received_at);
            }
        }
    }
    judge.finish(wrong);
    Ok(logged)
}

/// Sees every trade of the log once. Pure.
#[derive(Debug)]
struct Judge<'a> {
    market: &'a Market,
    step: &'a Step,
    end: u64,
    by_name: HashMap<&'a str, usize>,
    /// By number from the step's first: a bit for each that was seen.
    seen: Vec<u64>,
    /// By symbol.
    last: Vec<u64>,
}

impl<'a> Judge<'a> {
    fn new(market: &'a Market, step: &'a Step, end: u64) -> Self {
        let names = market.symbols.iter().enumerate();
        let by_name = names.map(|(symbol, name)| (name.as_str(), symbol)).collect();
        let seen = vec![0; (end - step.first).div_ceil(64) as usize];
        Self { market, step, end, by_name, seen, last: vec![0; market.symbols.len()] }
    }

    fn symbol(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    fn see(
        &mut self,
        symbol: Option<usize>,
        price: f64,
        volume: f64,
        time: i64,
        wrong: &mut Wrong,
    ) {
        let number = volume as u64;
        let is_sent = (self.step.first..self.end).contains(&number) && volume == number as f64;
        let what = || format!("volume {volume}");
        let Some(symbol) = symbol.filter(|_| is_sent) else {
            return wrong.add("trades on the log that were not sent", what);
        };
        let (at, bit) = ((number - self.step.first) / 64, 1 << ((number - self.step.first) % 64));
        let seen = &mut self.seen[at as usize];
        if *seen & bit != 0 {
            return wrong.add("trades that are on the log twice", what);
        }
        *seen |= bit;
        let is_as_sent = symbol == self.market.spread.symbol_of(number)
            && price == self.step.price(number) as f64 / 100.0
            && time == self.step.time(number);
        if !is_as_sent {
            wrong.add("trades on the log that are not as they were sent", what);
        }
        if std::mem::replace(&mut self.last[symbol], number) > number {
            wrong.add("trades on the log out of order", what);
        }
    }

    fn finish(&self, wrong: &mut Wrong) {
        for number in self.step.first..self.end {
            let at = number - self.step.first;
            if self.seen[(at / 64) as usize] & (1 << (at % 64)) == 0 {
                wrong.add("trades that are not on the log", || format!("volume {number}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::bench::plan::Spread;
    use crate::bench::plan::tests::step;
    use crate::cli::Distribution;

    /// What is wrong where the log holds these trades, of those up to 504.
    fn judged(numbers: &[u64], change: impl Fn(&mut f64, &mut i64)) -> Vec<String> {
        let spread = Spread::new(NonZeroUsize::MIN, Distribution::Uniform);
        let (market, step) = (Market::new(vec!["A".to_owned()], spread), step());
        let (mut judge, mut wrong) = (Judge::new(&market, &step, 505), Wrong::default());
        for number in numbers {
            let (mut price, mut time) = (step.price(*number) as f64 / 100.0, step.time(*number));
            change(&mut price, &mut time);
            judge.see(judge.symbol("A"), price, *number as f64, time, &mut wrong);
        }
        judge.finish(&mut wrong);
        wrong.sentences()
    }

    #[test]
    fn a_log_holds_what_was_sent_once_and_in_order() {
        let as_sent = |_: &mut f64, _: &mut i64| {};
        let check = |numbers: &[u64], expected: &[&str]| {
            assert_eq!(judged(numbers, as_sent), expected, "{numbers:?}");
        };
        check(&[501, 502, 503, 504], &[]);
        check(&[501, 502, 504], &["1 trades that are not on the log: volume 503"]);
        check(&[501, 502, 502, 503, 504], &["1 trades that are on the log twice: volume 502"]);
        check(&[501, 503, 502, 504], &["1 trades on the log out of order: volume 502"]);
        check(&[501, 502, 503, 504, 9], &["1 trades on the log that were not sent: volume 9"]);
        let dearer = judged(&[501, 502, 503, 504], |price, _| *price += 0.01);
        assert_eq!(dearer.len(), 1);
        assert!(dearer[0].starts_with("4 trades on the log that are not as they were sent"));
    }
}
