use std::pin::pin;
use std::task::{Context, Waker};

use market::{Price, Volume};

use super::*;

impl Shared {
    /// Reads a record of one trade of a symbol of that partition, as `push` does.
    fn read(&mut self, partition: i32, offset: i64) {
        let place = Place { offset, fingerprint: 1 };
        let Some(looked) = self.look(partition, place) else { return };
        looked.expect("the same log");
        let mut names = (0..).map(|number| format!("SYMBOL:{number}"));
        let name = names.find(|name| broker::partition_of(name, 2) == partition);
        let symbol = self.symbols.number(&name.expect("one of them"));
        let sequence = Sequence { offset, index: 0 };
        self.batch.records += 1;
        self.batch.places.insert(partition, place);
        self.batch.received.entry(partition).or_insert(1);
        self.batch.trades.push(Gathered { symbol, sequence, ..trade() });
    }
}

fn trade() -> Gathered {
    let price = Price::new(1.0).expect("a price");
    let trade = Trade { price, volume: Volume::ZERO, timestamp: 1, received_at: 1 };
    Gathered { symbol: 0, sequence: Sequence::default(), trade }
}

#[test]
fn a_batch_that_is_taken_in_the_middle_of_a_burst_says_when_all_of_it_was_read() {
    let gathering = Gathering::new(1_000, 1);
    let gather = |trades| gathering.lock().batch.trades.extend(vec![trade(); trades]);
    gather(2);
    gathering.rest(10, Duration::ZERO);
    gather(3);
    let mut batch = Batch::default();
    gathering.take(&mut batch, 20, |_, _| {});
    assert_eq!(batch.bursts, [(2, 10), (5, 20)]);
    batch.clear();
    // The burst goes on, in the next batch.
    gather(1);
    gathering.rest(30, Duration::ZERO);
    gathering.take(&mut batch, 40, |_, _| {});
    assert_eq!(batch.bursts, [(1, 30)]);
}

#[test]
fn whoever_wants_many_trades_is_woken_by_them_or_an_event() {
    let gathering = Gathering::new(1_000, 2);
    gathering.expect(&[0], &[]);
    let read = |offset| {
        gathering.lock().read(0, offset);
        gathering.rest(10, Duration::ZERO);
    };
    let is_woken = || {
        let mut context = Context::from_waker(Waker::noop());
        pin!(gathering.arrived()).poll(&mut context).is_ready()
    };
    assert!(!gathering.want(2));
    read(1);
    assert!(!is_woken(), "one is too few");
    assert!(gathering.want(0), "it is there");
    assert!(!gathering.want(2));
    read(2);
    assert!(is_woken() && gathering.want(2));
    assert!(!gathering.want(3));
    gathering.tell(Event::Finished);
    assert!(is_woken() && gathering.want(3));
    let mut batch = Batch::default();
    gathering.take(&mut batch, 20, |_, _| {});
    assert!(gathering.event().is_some() && !gathering.want(0), "nothing is left");
    // One that is full grows no further.
    gathering.want(usize::MAX);
    (3..1_003).for_each(read);
    assert!(is_woken());
}

#[test]
fn what_is_read_of_a_partition_that_is_not_expected_is_dropped() {
    let gathering = Gathering::new(1_000, 2);
    gathering.lock().read(0, 7);
    assert!(gathering.lock().batch.is_empty(), "it was never started");
    gathering.expect(&[0, 1], &[]);
    let read = |partition, offset| gathering.lock().read(partition, offset);
    read(0, 3);
    read(1, 5);
    gathering.rest(10, Duration::ZERO);
    read(0, 4);
    gathering.let_go(&[0]);
    read(0, 5);
    gathering.expect(&[0], &[(0, Place { offset: 2, fingerprint: 1 })]);
    read(0, 2);
    let mut batch = Batch::default();
    gathering.take(&mut batch, 20, |_, _| {});
    let offsets: Vec<i64> = batch.trades.iter().map(|trade| trade.sequence.offset).collect();
    assert_eq!(offsets, [5, 2], "what was read before 0 was let go is gone");
    assert_eq!((batch.places[&0].offset, batch.places[&1].offset), (2, 5));
    assert_eq!(batch.bursts, [(1, 10), (2, 20)]);
}

#[test]
fn a_record_that_comes_twice_in_a_row_counts_once() {
    let gathering = Gathering::new(1_000, 2);
    gathering.expect(&[0], &[]);
    let read = |offset| gathering.lock().read(0, offset);
    [3, 3, 4].into_iter().for_each(read);
    let mut batch = Batch::default();
    gathering.take(&mut batch, 20, |_, _| {});
    let offsets: Vec<i64> = batch.trades.iter().map(|trade| trade.sequence.offset).collect();
    assert_eq!(offsets, [3, 4]);
    let mut shared = gathering.lock();
    assert!(shared.look(0, Place { offset: 4, fingerprint: 1 }).is_none());
    let another = shared.look(0, Place { offset: 4, fingerprint: 2 });
    another.expect("it is expected").expect_err("another record at that place");
}

#[test]
fn what_may_be_held_has_brought_something_since_it_was_begun_or_held() {
    let gathering = Gathering::new(1_000, 2);
    gathering.expect(&[0, 1], &[]);
    assert!(gathering.brought().is_empty());
    gathering.lock().read(1, 5);
    assert_eq!(gathering.brought(), [1]);
    assert!(gathering.brought().is_empty());
    gathering.lock().read(0, 3);
    gathering.lock().read(1, 6);
    assert_eq!(gathering.brought(), [0, 1], "1 was not held, or goes on again");
    gathering.lock().read(0, 4);
    gathering.expect(&[0], &[]);
    assert!(gathering.brought().is_empty(), "that was before");
}

#[test]
fn where_partitions_stand_is_not_said_after_what_may_keep_records_back() {
    let gathering = Gathering::new(1, 2);
    gathering.expect(&[0, 1], &[]);
    assert_eq!(gathering.standing(), None, "they were begun");
    gathering.lock().read(1, 5);
    let standing = Some(BTreeMap::from([(0, 0), (1, 6)]));
    assert_eq!(gathering.standing(), standing);
    for patience in [Duration::ZERO, Duration::from_millis(1)] {
        gathering.rest(10, patience);
        assert_eq!(gathering.standing(), None, "the batch was full");
    }
    assert_eq!(gathering.standing(), standing);
    gathering.tell(Event::Revoked(vec![0]));
    for _ in 0..2 {
        assert_eq!(gathering.standing(), None, "it is to be heeded");
    }
    assert!(gathering.event().is_some());
    for _ in 0..2 {
        assert_eq!(gathering.standing(), None, "it is being heeded");
    }
    gathering.let_go(&[0]);
    assert!(gathering.event().is_none());
    assert_eq!(gathering.standing(), None, "it was heeded meanwhile");
    assert_eq!(gathering.standing(), Some(BTreeMap::from([(1, 6)])));
}
