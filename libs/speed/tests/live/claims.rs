//! Writers that have a partition to themselves, and writers that do not.

use std::collections::VecDeque;
use std::thread;
use std::time::Instant;

use proptest::prelude::*;
use speed::{Packed, Sent};

use super::undisputed::calls;
use super::*;

/// Symbols: more than go into one call or transaction.
const MANY: usize = 700;

fn names() -> Vec<String> {
    (0..MANY).map(|number| format!("SYMBOL:{number}")).collect()
}

/// The symbol of a record. Some symbols are in nearly every batch, and most are not.
fn symbol_of(offset: i64) -> usize {
    let offset = offset as usize;
    if offset.is_multiple_of(3) { offset % 7 } else { (offset * 31) % MANY }
}

/// After so many records nobody trades for ten minutes. Of a symbol whose candles were not all loaded,
/// any may expire then that were stored before: which those are takes the function to find.
const LEAP: i64 = 10_000;

fn record(offset: i64) -> (Sequence, Trade) {
    let timestamp = BEGIN + offset * 10 + offset / LEAP * 600_000;
    (Sequence::of_record(offset), Trade { timestamp, ..trade(offset) })
}

/// Something that reads the log from a place and writes what it reads, as a processor does.
struct One {
    writer: Writer,
    states: Vec<Option<Tracked>>,
    names: Vec<String>,
    next: i64,
    refused: usize,
}

impl One {
    /// Begins where Redis is.
    async fn begin(redis: &str) -> Self {
        let mut writer = Writer::connect(redis, settings(1_000_000)).await.expect("connected");
        let places = writer.places().await.expect("places");
        let next = places.get(&0).map_or(0, |place| place.offset + 1);
        writer.told(places);
        Self { writer, states: vec![None; MANY], names: names(), next, refused: 0 }
    }

    /// The next so many records, in one batch.
    async fn write(&mut self, records: i64) {
        let (sent, written) = self.send(records).await;
        self.settle(sent, &written).await;
    }

    /// Two batches, the second of which is prepared while the first is on its way. Returns how many
    /// symbols of each were refused.
    async fn write_ahead(&mut self, first: i64, second: i64) -> [usize; 2] {
        let (sent, written) = self.send(first).await;
        let from = self.next;
        let mut changed = vec![false; MANY];
        self.read(second, &mut changed).await;
        let (writer, mut writes, _) = self.writes(&changed);
        let packed = writer.pack();
        writer.prepare(&mut writes);
        let refused = self.settle(sent, &written).await;
        refused.iter().for_each(|number| changed[*number] = false);
        // Those that were refused. (The processor loads them likewise, once it has the answer.)
        self.fold(from, &mut changed).await;
        let (sent, written) = self.send_packed(packed, &changed).await;
        [refused.len(), self.settle(sent, &written).await.len()]
    }

    /// Also which symbols were sent, in their order.
    async fn send(&mut self, records: i64) -> (Sent, Vec<usize>) {
        let mut changed = vec![false; MANY];
        self.read(records, &mut changed).await;
        let packed = self.writer.pack();
        self.send_packed(packed, &changed).await
    }

    async fn read(&mut self, records: i64, changed: &mut [bool]) {
        let from = self.next;
        self.next += records;
        self.fold(from, changed).await;
        self.writer.begin_streams([0]).await.expect("known");
        for offset in from..self.next {
            let (number, (sequence, trade)) = (symbol_of(offset), record(offset));
            self.writer.append(0, number as u32, &self.names[number], sequence, &trade);
        }
    }

    /// Counts the records from there on, where they are not counted yet.
    async fn fold(&mut self, from: i64, changed: &mut [bool]) {
        let mut missing: Vec<usize> = (from..self.next).map(symbol_of).collect();
        missing.retain(|number| self.states[*number].is_none());
        missing.sort_unstable();
        missing.dedup();
        let symbols: Vec<&str> = missing.iter().map(|number| &*self.names[*number]).collect();
        let loaded = self.writer.load(&symbols, false).await.expect("loaded");
        for (number, tracked) in missing.into_iter().zip(loaded) {
            self.states[number] = Some(tracked);
        }
        for offset in from..self.next {
            let (number, (sequence, trade)) = (symbol_of(offset), record(offset));
            let tracked = self.states[number].as_mut().expect("loaded");
            changed[number] |= tracked.state.apply(&trade, sequence);
        }
    }

    fn writes(&mut self, changed: &[bool]) -> (&mut Writer, Vec<SymbolWrite<'_>>, Vec<usize>) {
        let Self { writer, states, names, .. } = self;
        let states = states.iter_mut().enumerate().filter(|(number, _)| changed[*number]);
        let (writes, numbers) = states
            .map(|(number, tracked)| {
                let tracked = tracked.as_mut().expect("loaded");
                (SymbolWrite { symbol: &names[number], partition: 0, tracked }, number)
            })
            .unzip();
        (writer, writes, numbers)
    }

    async fn send_packed(&mut self, packed: Packed, changed: &[bool]) -> (Sent, Vec<usize>) {
        let place = Place { offset: self.next - 1, fingerprint: 7 };
        let (writer, mut writes, numbers) = self.writes(changed);
        let sent = writer.send(&mut writes, packed, &[(0, place)]).await.expect("sent");
        (sent, numbers)
    }

    /// Returns what was refused.
    async fn settle(&mut self, sent: Sent, written: &[usize]) -> Vec<usize> {
        let done = self.writer.settle(sent).await.expect("written");
        self.refused += done.refused.len();
        let refused: Vec<usize> = done.refused.iter().map(|index| written[*index]).collect();
        refused.iter().for_each(|number| self.states[*number] = None);
        refused
    }
}

/// Compares what Redis has with the log up to its place: the stream, and symbol by symbol.
async fn check(redis: &str) {
    let reader = Reader::new(redis, PATIENCE).expect("an address");
    let one = One::begin(redis).await;
    let mut whole: Vec<_> = (0..MANY).map(|_| market::SymbolState::new(&spec())).collect();
    for offset in 0..one.next {
        let (sequence, trade) = record(offset);
        whole[symbol_of(offset)].apply(&trade, sequence);
    }
    for (name, expected) in one.names.iter().zip(&whole) {
        let stored = reader.state(&symbol(name), &spec()).await.expect("an answer");
        let stored = stored.map(|snapshot| snapshot.state);
        let (stored_as_of, latest) =
            stored.as_ref().map_or((None, None), |state| (state.as_of, state.latest));
        assert_eq!((stored_as_of, latest), (expected.as_of, expected.latest), "{name}");
        for candles in &expected.candles {
            let all = CandleRange { from: None, to: None, limit: usize::MAX };
            let interval = candles.spec().interval;
            let found = match stored {
                Some(_) => reader.candles(&symbol(name), interval, all).await.expect("candles"),
                None => Vec::new(),
            };
            let candles: Vec<_> = candles.iter().map(|(start, it)| (start, *it)).collect();
            assert!(found == candles, "the candles of {name}, {interval}");
        }
        let recent: Vec<_> = expected.recent.iter().copied().collect();
        let stored = reader.recent(&symbol(name)).await.expect("an answer");
        assert_eq!(stored.unwrap_or_default(), recent, "{name}");
    }
    let log = reader.ends(TOPIC).await.expect("an answer").expect("a log").log;
    let mut tail = reader.tail(TOPIC, &log, &[None, None]);
    let entries = tailed(&mut tail, 0, one.next as usize).await;
    let offsets: Vec<i64> =
        flattened(&entries).iter().map(|(_, sequence, _)| sequence.offset).collect();
    assert!(offsets.iter().copied().eq(0..one.next), "the stream: {offsets:?}");
}

/// How often Redis was asked for one field, from within functions too; but not by a transaction,
/// each of which asks for the log's id.
fn reads(person: &mut Person) -> u64 {
    calls(person, "hget") - calls(person, "exec")
}

/// Transactions and calls.
fn ways(person: &mut Person) -> (u64, u64) {
    (calls(person, "exec"), calls(person, "fcall"))
}

#[test]
fn what_is_stored_is_read_back_only_where_somebody_else_may_have_written() {
    let runtime = Runtime::new().expect("a runtime");
    for is_by_calls in [false, true] {
        let redis = testkit::redis();
        let mut person = Person::at(redis.address());
        let () = person.run(&["ACL", "SETUSER", "narrow", "on", ">secret", "allkeys", "+@all"]);
        let address = format!("redis://narrow:secret@{}", redis.address());
        runtime.block_on(async {
            let mut one = One::begin(&address).await;
            one.write(2_000).await;
            if is_by_calls {
                // What a transaction asks with; whose first one is refused tries no other.
                one.write(2_000).await;
                let () = person.run(&["ACL", "SETUSER", "narrow", "-hget"]);
                let before = ways(&mut person);
                one.write(2_000).await;
                assert_eq!(ways(&mut person), (before.0 + 1, before.1 + 2));
                let () = person.run(&["ACL", "SETUSER", "narrow", "+hget"]);
            }
            // Each symbol was new.
            one.write(2_000).await;
            let before = (reads(&mut person), ways(&mut person));
            one.write(2_000).await;
            one.write(2_000).await;
            assert_eq!(reads(&mut person), before.0, "nobody else writes");
            let (transactions, calls) = ways(&mut person);
            let made = (transactions - before.1.0, calls - before.1.1);
            assert_eq!(made, if is_by_calls { (0, 4) } else { (4, 0) });
            let mut two = One::begin(redis.address()).await;
            two.write(1).await;
            let before = reads(&mut person);
            one.write(2_000).await;
            assert!(reads(&mut person) > before + 500, "somebody else has written");
            assert_eq!(one.refused, 1);
            one.write(2_000).await;
            let before = reads(&mut person);
            one.write(2_000).await;
            assert_eq!(reads(&mut person), before, "it has the partition to itself again");
            check(redis.address()).await;
        });
    }
}

#[test]
fn only_what_takes_the_function_goes_by_a_call() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut one = One::begin(redis.address()).await;
        one.write(30).await;
        one.write(30).await;
        let before = ways(&mut person);
        one.write(30).await;
        assert_eq!(ways(&mut person), (before.0 + 1, before.1 + 1), "most are new");
        one.write(2_400).await;
        let mut one = One::begin(redis.address()).await;
        for _ in 0..3 {
            one.write(2_400).await;
        }
        let before = ways(&mut person);
        one.write(LEAP - one.next).await;
        assert_eq!(ways(&mut person), (before.0 + 1, before.1), "of some 300 symbols");
        let before = ways(&mut person);
        one.write(30).await;
        assert_eq!(ways(&mut person), (before.0, before.1 + 1), "each has leapt");
        let before = ways(&mut person);
        one.write(30).await;
        assert_eq!(ways(&mut person), (before.0 + 1, before.1 + 1), "some have by now");
        one.write(2_400).await;
        check(redis.address()).await;
    });
}

#[test]
fn what_is_refused_is_named_whichever_part_it_was_in() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        One::begin(redis.address()).await.write(2_400).await;
        let mut one = One::begin(redis.address()).await;
        for _ in 0..3 {
            one.write(2_400).await;
        }
        one.write(LEAP + 30 - one.next).await;
        // One that has traded since the leap, and goes before the others, and one that has not.
        let numbers: Vec<usize> = (one.next..one.next + 30).map(symbol_of).collect();
        let of = [numbers.iter().min(), numbers.iter().max()].map(|number| *number.expect("some"));
        for number in of {
            let key = format!("price:{{SYMBOL:{number}}}");
            let position: String = person.run(&["HGET", &key, "position"]);
            let mut parts: Vec<&str> = position.split(':').collect();
            let later = format!("{:0width$}", 2 * LEAP, width = parts[2].len());
            parts[2] = &later;
            person.run::<i64>(&["HSET", &key, "position", &parts.join(":")]);
        }
        let keys: Vec<String> = person.run(&["KEYS", "writer:*"]);
        keys.iter().for_each(|presence| assert_eq!(person.run::<i64>(&["DEL", presence]), 1));
        assert_eq!(person.run::<i64>(&["HDEL", "log:{market_ticks}", "writer.0"]), 1);
        let before = ways(&mut person);
        let (sent, written) = one.send(30).await;
        let mut refused = one.settle(sent, &written).await;
        refused.sort_unstable();
        assert_eq!(refused, of);
        assert_eq!(ways(&mut person), (before.0 + 1, before.1 + 2), "of both kinds");
    });
}

#[test]
fn a_writer_that_is_disputed_between_two_transactions_goes_on_by_a_call() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    let of_first_part = ["HGET", "price:{SYMBOL:0}", "position"];
    let mut has_been_between = false;
    runtime.block_on(async {
        let mut one = One::begin(redis.address()).await;
        for _ in 0..200 {
            one.write(2_000).await;
            // Until each symbol has traded since the leap.
            while !(2_100..LEAP - 2_000).contains(&(one.next % LEAP)) {
                one.write(1_000).await;
            }
            let position: String = person.run(&of_first_part);
            let [presence]: [String; 1] =
                person.run::<Vec<String>>(&["KEYS", "writer:*"]).try_into().expect("one writer");
            let mut other = Person::at(redis.address());
            let disputing = thread::spawn(move || {
                let began = Instant::now();
                while other.run::<String>(&of_first_part) == position {
                    assert!(began.elapsed() < PATIENCE, "nothing is written");
                }
                other.run::<i64>(&["DEL", &presence])
            });
            let before = ways(&mut person);
            one.write(2_000).await;
            assert_eq!(disputing.join().expect("no panic"), 1);
            let after = ways(&mut person);
            // One, for the second part. (Between its reply to EXEC and what it watches then, too.)
            if after.1 == before.1 + 1 {
                has_been_between = true;
                break;
            }
            assert_eq!(after, (before.0 + 2, before.1), "it came after both");
        }
        assert!(has_been_between, "never in time");
        assert_eq!(one.refused, 0);
        check(redis.address()).await;
    });
}

#[test]
fn what_is_prepared_before_another_writer_is_seen_is_prepared_anew() {
    let redis = testkit::redis();
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut one = One::begin(redis.address()).await;
        one.write(500).await;
        one.write(500).await;
        let mut two = One::begin(redis.address()).await;
        // All of what one writes, and of some symbols what comes later.
        two.write(1_200).await;
        assert_eq!((one.refused, two.refused), (0, 0));
        let [first, second] = one.write_ahead(300, 300).await;
        assert!(first > 100, "two was ahead of the first batch: {first}");
        assert!(second > 50, "and of the second, which was prepared by then: {second}");
        check(redis.address()).await;
    });
}

#[test]
fn a_claim_is_lost_to_whoever_writes_meanwhile_even_within_a_batch() {
    let redis = testkit::redis();
    let person = &mut Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    let writer = runtime.block_on(Writer::connect(redis.address(), settings(1_000)));
    writer.expect("a log");
    let key = "log:{market_ticks}";
    let log: String = person.run(&["HGET", key, "id"]);
    // A call of no symbols, of one partition: what it is told, tells, claims, and whether anew.
    let call = |person: &mut Person, [told, now, claim, anew]: [&str; 4]| {
        let mut call = redis::cmd("FCALL");
        let presence = format!("writer:{{market_ticks}}:{}", &claim[..3]);
        call.arg("gostocks_write_7").arg(2).arg(key).arg(presence);
        call.arg(&log).arg(1).arg(0).arg(0).arg("1");
        call.arg(0).arg(told).arg(now).arg(claim).arg(anew);
        let answer: (Vec<usize>, Vec<String>, Vec<usize>, bool) =
            call.query(&mut person.0).expect("answered");
        (answer.2, person.run::<Option<String>>(&["HGET", key, "writer.0"]))
    };
    let (one, two) = (Some("one.1".to_owned()), Some("two.1".to_owned()));
    let place = |offset: i64| format!("{offset:019} {:016x}", 7);
    assert_eq!(call(person, ["", "", "one.1", "1"]), (vec![], one.clone()));
    assert_eq!(call(person, ["", &place(1), "one.1", ""]), (vec![], one.clone()), "it stands");
    assert_eq!(
        call(person, [&place(1), "", "two.1", "1"]),
        (vec![], two.clone()),
        "claimed by another"
    );
    assert_eq!(call(person, [&place(1), "", "one.1", ""]), (vec![0], None), "which one learns");
    assert_eq!(
        call(person, [&place(1), "", "two.1", ""]),
        (vec![0], None),
        "and so does the other"
    );
    assert!(call(person, [&place(1), &place(2), "two.2", "1"]).0.is_empty());
    // A writer of an older version.
    person.run::<i64>(&["HSET", key, "partition.0", &place(3)]);
    let answer = call(person, [&place(2), "", "two.2", ""]);
    assert_eq!(answer.0, [0], "it told a place, if nothing else");
    let answer = call(person, [&place(2), "", "two.3", "1"]);
    assert_eq!(answer, (vec![0], None), "and as long as that is not known there is no claim");
    assert_eq!(call(person, [&place(3), "", "two.4", "1"]), (vec![], Some("two.4".to_owned())));
}

#[test]
fn a_redis_that_went_back_to_before_is_noticed_whatever_it_claims() {
    let redis = testkit::redis();
    let mut person = Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut one = One::begin(redis.address()).await;
        for _ in 0..3 {
            one.write(500).await;
        }
        let keys: Vec<String> = person.run(&["KEYS", "*"]);
        let dumps: Vec<Vec<u8>> = keys.iter().map(|key| person.run(&["DUMP", key])).collect();
        one.write(500).await;
        for (key, dump) in keys.iter().zip(dumps) {
            let mut restore = redis::cmd("RESTORE");
            restore.arg(key).arg(0).arg(dump).arg("REPLACE");
            restore.exec(&mut person.0).expect("restored");
        }
        let claim: Option<String> = person.run(&["HGET", "log:{market_ticks}", "writer.0"]);
        assert!(claim.is_some(), "the claim is there all the same");
        let (sequence, trade) = record(one.next);
        let number = symbol_of(one.next);
        let tracked = one.states[number].as_mut().expect("written before");
        tracked.state.apply(&trade, sequence);
        let write = SymbolWrite { symbol: &one.names[number], partition: 0, tracked };
        let place = Place { offset: one.next, fingerprint: 7 };
        let error = one.writer.write(&mut [write], &[(0, place)]).await.expect_err("it went back");
        assert!(error.to_string().contains("has lost what it held"), "{error}");
        let mut again = One::begin(redis.address()).await;
        again.write(900).await;
        check(redis.address()).await;
    });
}

#[test]
fn a_batch_may_be_of_thousands_of_partitions() {
    let redis = testkit::redis();
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut writer =
            Writer::connect(redis.address(), settings(1_000)).await.expect("connected");
        for offset in 0..3 {
            let places: Vec<(i32, Place)> = (0..10_000)
                .map(|partition| (partition, Place { offset, fingerprint: 7 }))
                .collect();
            writer.write(&mut [], &places).await.expect("written");
        }
        let places = writer.places().await.expect("places");
        assert!(places.len() == 10_000 && places.values().all(|place| place.offset == 2));
    });
}

#[derive(Clone, Debug)]
enum Step {
    /// One of the two writes so many records.
    Writes(usize, i64),
    /// Both write at once.
    Both(i64, i64),
    /// The same, and the first goes on with so many more before it has an answer.
    Ahead(i64, i64, i64),
    /// One of the two is killed; another begins in its place.
    Dies(usize),
    /// The same, just after it has sent so many records.
    DiesInFlight(usize, i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize, 1..60_i64).prop_map(|(of, records)| Step::Writes(of, records)),
        2 => (0..2_usize, 700..1_500_i64).prop_map(|(of, records)| Step::Writes(of, records)),
        3 => (1..1_500_i64, 1..1_500_i64).prop_map(|(one, two)| Step::Both(one, two)),
        3 => (1..800_i64, 1..1_500_i64, 1..800_i64)
            .prop_map(|(one, two, more)| Step::Ahead(one, two, more)),
        1 => (0..2_usize).prop_map(Step::Dies),
        2 => (0..2_usize, 1..1_500_i64).prop_map(|(of, records)| Step::DiesInFlight(of, records)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whoever writes when, and dies when: once somebody has read as far as any of them, Redis is as
    /// one pass over the log leaves it. (Who dies may leave symbols that are ahead of the place: where
    /// a stream was, places are told only by another call.)
    #[test]
    fn two_writers_leave_what_one_pass_leaves(steps in prop::collection::vec(step(), 1..14)) {
        let redis = testkit::redis();
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let mut writers = VecDeque::new();
            for _ in 0..2 {
                writers.push_back(One::begin(redis.address()).await);
            }
            let mut reached = 0;
            for step in steps {
                match step {
                    Step::Writes(of, records) => writers[of].write(records).await,
                    Step::Both(first, second) => {
                        let mut two = writers.pop_back().expect("two");
                        let mut one = writers.pop_back().expect("one");
                        tokio::join!(one.write(first), two.write(second));
                        writers.extend([one, two]);
                    }
                    Step::Ahead(first, other, second) => {
                        let mut two = writers.pop_back().expect("two");
                        let mut one = writers.pop_back().expect("one");
                        tokio::join!(one.write_ahead(first, second), two.write(other));
                        // The other one is the first the next time.
                        writers.extend([two, one]);
                    }
                    Step::Dies(of) => {
                        reached = reached.max(writers[of].next);
                        writers[of] = One::begin(redis.address()).await;
                    }
                    Step::DiesInFlight(of, records) => {
                        let sent = writers[of].send(records).await;
                        reached = reached.max(writers[of].next);
                        writers[of] = One::begin(redis.address()).await;
                        drop(sent);
                    }
                }
            }
            // Both die, and the log goes on from the place.
            reached = writers.iter().fold(reached, |reached, writer| reached.max(writer.next));
            let mut last = One::begin(redis.address()).await;
            last.write((reached - last.next).max(0) + 1).await;
            check(redis.address()).await;
        });
    }
}
