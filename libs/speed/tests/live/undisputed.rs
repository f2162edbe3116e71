//! A writer that nobody disputes writes by plain commands, and never once somebody does.

use proptest::prelude::*;

use super::*;

/// A symbol of each of two partitions.
const NAMES: [&str; 2] = ["A", "B"];

struct Two {
    writer: Writer,
    states: Vec<Tracked>,
}

impl Two {
    /// Begins where Redis is.
    async fn begin(redis: &str) -> Self {
        let mut writer = Writer::connect(redis, settings(1_000_000)).await.expect("connected");
        let states = writer.load(&NAMES, false).await.expect("states");
        writer.begin_streams(0..PARTITIONS).await.expect("known");
        let places = writer.places().await.expect("places");
        writer.told(places);
        Self { writer, states }
    }

    /// The only writer, with so many records of each symbol: from now on it writes by transactions.
    async fn alone(redis: &str, records: i64) -> Self {
        let mut writer = Self::begin(redis).await;
        for offset in 0..records {
            writer.write(&[0, 1], offset).await.expect("written");
        }
        writer
    }

    /// A record of each of these symbols; appended, too.
    async fn write(&mut self, numbers: &[usize], offset: i64) -> anyhow::Result<speed::Written> {
        for number in numbers {
            self.append(*number, offset);
        }
        self.write_only(numbers, offset).await
    }

    fn append(&mut self, number: usize, offset: i64) {
        let (sequence, trade) = (Sequence::of_record(offset), trade(offset));
        self.writer.append(number as i32, number as u32, NAMES[number], sequence, &trade);
    }

    async fn write_only(
        &mut self,
        numbers: &[usize],
        offset: i64,
    ) -> anyhow::Result<speed::Written> {
        let mut writes = Vec::new();
        for (number, tracked) in self.states.iter_mut().enumerate() {
            if numbers.contains(&number) {
                tracked.state.apply(&trade(offset), Sequence::of_record(offset));
                let symbol = NAMES[number];
                writes.push(SymbolWrite { symbol, partition: number as i32, tracked });
            }
        }
        let place = Place { offset, fingerprint: 7 };
        let places: Vec<_> = numbers.iter().map(|number| (*number as i32, place)).collect();
        self.writer.write(&mut writes, &places).await
    }
}

/// How often Redis was asked for that.
pub(super) fn calls(person: &mut Person, command: &str) -> u64 {
    let stats: String = person.run(&["INFO", "commandstats"]);
    let prefix = format!("cmdstat_{command}:calls=");
    let calls = stats.lines().find_map(|line| line.strip_prefix(&*prefix)?.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

fn position(person: &mut Person, name: &str) -> i64 {
    let position: String = person.run(&["HGET", &format!("price:{{{name}}}"), "position"]);
    position.split(':').nth(2).expect("an offset").parse().expect("a number")
}

#[test]
fn who_is_alone_writes_by_transactions() {
    let redis = testkit::redis();
    let person = &mut Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut one = Two::alone(redis.address(), 3).await;
        let before = (calls(person, "fcall"), calls(person, "exec"));
        for offset in 3..13 {
            let written = one.write(&[0, 1], offset).await.expect("written");
            assert_eq!((written.refused.len(), written.entries, written.trades), (0, 2, 2));
        }
        assert_eq!((calls(person, "fcall"), calls(person, "exec")), (before.0, before.1 + 10));
        assert_eq!(person.run::<i64>(&["XLEN", "ticks:{market_ticks/1}"]), 13);
        let place: String = person.run(&["HGET", "log:{market_ticks}", "partition.1"]);
        assert!(place.starts_with("0000000000000000012 "), "{place}");
        // Deleted by a person: noticed, and there again.
        person.run::<i64>(&["DEL", "price:{A}"]);
        let error = one.write(&[0], 13).await.expect_err("something is lost").to_string();
        assert!(error.contains("has lost what it held"), "{error}");
        let mut one = Two::begin(redis.address()).await;
        assert_eq!(one.states[0].state.as_of, Some(Sequence::of_record(13)));
        one.write(&[0, 1], 14).await.expect("written");
    });
}

#[test]
fn what_redis_would_not_queue_is_told_with_its_reason() {
    let redis = testkit::redis();
    let person = &mut Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut one = Two::alone(redis.address(), 5).await;
        let before = calls(person, "exec");
        let () = person.run(&["CONFIG", "SET", "maxmemory", "1"]);
        let error = one.write(&[0, 1], 5).await.expect_err("no memory").to_string();
        assert!(error.contains("OOM"), "{error}");
        assert_eq!(calls(person, "exec"), before + 1, "it was a transaction");
        let () = person.run(&["CONFIG", "SET", "maxmemory", "0"]);
        let mut one = Two::begin(redis.address()).await;
        assert_eq!(one.states[0].state.as_of, Some(Sequence::of_record(4)), "nothing was done");
        one.write(&[0, 1], 5).await.expect("written");
        assert_eq!(position(person, "B"), 5);
    });
}

#[test]
fn whose_transactions_are_refused_goes_on_by_calls() {
    let redis = testkit::redis();
    let person = &mut Person::at(redis.address());
    let () = person.run(&["ACL", "SETUSER", "narrow", "on", ">secret", "allkeys", "+@all"]);
    let address = format!("redis://narrow:secret@{}", redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut one = Two::alone(&address, 5).await;
        // What a transaction asks with, and no call.
        let () = person.run(&["ACL", "SETUSER", "narrow", "-hget"]);
        let before = (calls(person, "fcall"), calls(person, "multi"));
        for offset in 5..8 {
            let written = one.write(&[0, 1], offset).await.expect("written");
            assert_eq!((written.refused.len(), written.trades), (0, 2));
        }
        assert_eq!(position(person, "B"), 7);
        let after = (calls(person, "fcall"), calls(person, "multi"));
        assert_eq!(after, (before.0 + 3, before.1 + 1), "one was tried");
    });
}

#[test]
fn whoever_takes_one_partition_ends_the_transactions_with_all() {
    let redis = testkit::redis();
    let person = &mut Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut one = Two::alone(redis.address(), 5).await;
        let mut other = Two::begin(redis.address()).await;
        other.write(&[1], 9).await.expect("written");
        // Nothing of a partition that was taken; the other one's is written all the same.
        let written = one.write(&[0], 5).await.expect("written");
        assert!(written.refused.is_empty());
        assert_eq!((position(person, "A"), position(person, "B")), (5, 9));
        let written = one.write(&[1], 6).await.expect("written");
        assert_eq!((written.refused, position(person, "B")), (vec![0], 9));
        // Whoever is overtaken in turn learns of it as well.
        let mut third = Two::begin(redis.address()).await;
        third.write(&[0, 1], 20).await.expect("written");
        let written = one.write(&[0], 7).await.expect("written");
        assert_eq!((written.refused, position(person, "A")), (vec![0], 20));
        let written = other.write(&[1], 10).await.expect("written");
        assert_eq!((written.refused, position(person, "B")), (vec![0], 20));
    });
}

#[test]
fn a_stream_is_appended_to_only_where_its_end_is_sure() {
    let redis = testkit::redis();
    let person = &mut Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut one = Two::begin(redis.address()).await;
        for offset in 0..10 {
            one.write(&[0], offset).await.expect("written");
        }
        let mut other = Two::begin(redis.address()).await;
        for offset in 10..20 {
            one.write(&[0], offset).await.expect("written");
        }
        // It has the partition to itself before it appends anything.
        let places = other.writer.places().await.expect("places");
        other.writer.told(places);
        let loaded = other.writer.load(&NAMES, false).await.expect("states");
        other.states = loaded;
        for offset in 20..23 {
            other.write_only(&[0], offset).await.expect("written");
        }
        (10..24).for_each(|offset| other.append(0, offset));
        let written = other.write_only(&[0], 23).await.expect("written");
        assert_eq!(written.trades, 4, "from 20 on");
        let reader = Reader::new(redis.address(), PATIENCE).expect("an address");
        let ends = reader.ends(TOPIC).await.expect("an answer").expect("a log");
        let mut tail = reader.tail(TOPIC, &ends.log, &[None, None]);
        let offsets: Vec<i64> = flattened(&tailed(&mut tail, 0, 24).await)
            .iter()
            .map(|(_, sequence, _)| sequence.offset)
            .collect();
        assert_eq!(offsets, (0..24).collect::<Vec<_>>());
        assert_eq!(position(person, "A"), 23);
    });
}

#[test]
fn a_rebuild_leaves_nothing_of_a_writer_that_goes_on() {
    let redis = testkit::redis();
    let person = &mut Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    // So that it takes a while to look for the writers.
    let mut many = redis::pipe();
    (0..20_000).for_each(|number| {
        many.cmd("HSET").arg(format!("price:{{{number}}}")).arg("price").arg(1).ignore();
    });
    many.exec(&mut person.0).expect("set");
    runtime.block_on(async {
        let mut one = Two::alone(redis.address(), 5).await;
        let going_on = async {
            for offset in 5.. {
                if let Err(error) = one.write(&[0, 1], offset).await {
                    return error.to_string();
                }
            }
            unreachable!()
        };
        let rebuilding = Writer::rebuild(redis.address(), TOPIC, PARTITIONS);
        let (rebuilt, error) = tokio::join!(rebuilding, going_on);
        rebuilt.expect("rebuilt");
        assert!(error.contains("another log"), "{error}");
        assert_eq!(person.run::<Vec<String>>(&["KEYS", "*"]), ["log:{market_ticks}"]);
        let mut fields: Vec<String> = person.run(&["HKEYS", "log:{market_ticks}"]);
        fields.sort();
        assert_eq!(fields, ["id", "layout", "partitions"]);
    });
}

#[test]
fn a_log_that_went_is_noticed() {
    let redis = testkit::redis();
    let person = &mut Person::at(redis.address());
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for (command, expected) in [
            (["HSET", "log:{market_ticks}", "id", "another"].as_slice(), "another log"),
            (&["DEL", "log:{market_ticks}"], "has lost what it held"),
        ] {
            let mut one = Two::begin(redis.address()).await;
            for offset in 0..5 {
                one.write(&[0, 1], offset).await.expect("written");
            }
            person.run::<i64>(command);
            let error = one.write(&[0, 1], 5).await.expect_err("noticed").to_string();
            assert!(error.contains(expected), "{error}");
            Writer::rebuild(redis.address(), TOPIC, PARTITIONS).await.expect("rebuilt");
        }
    });
}

/// What one of two writers does: a batch of the next record of these partitions.
#[derive(Clone, Debug)]
enum Step {
    Writes(usize, Vec<usize>),
    Both(Vec<usize>, Vec<usize>),
    Dies(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::sample::subsequence(vec![0, 1], 1..=2);
    prop_oneof![
        8 => (0..2_usize, some()).prop_map(|(of, partitions)| Step::Writes(of, partitions)),
        2 => (some(), some()).prop_map(|(one, two)| Step::Both(one, two)),
        1 => (0..2_usize).prop_map(Step::Dies),
    ]
}

/// A writer, and the next record of each partition.
struct Reading(Two, [i64; 2]);

impl Reading {
    async fn begin(redis: &str) -> Self {
        let two = Two::begin(redis).await;
        let places = two.writer.places().await.expect("places");
        let next = [0, 1].map(|partition| places.get(&partition).map_or(0, |at| at.offset + 1));
        Self(two, next)
    }

    async fn write(&mut self, partitions: &[usize]) {
        let Self(two, next) = self;
        let (mut writes, mut places, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for (number, tracked) in two.states.iter_mut().enumerate() {
            if partitions.contains(&number) {
                let (sequence, trade) = (Sequence::of_record(next[number]), trade(next[number]));
                two.writer.append(number as i32, number as u32, NAMES[number], sequence, &trade);
                places.push((number as i32, Place { offset: next[number], fingerprint: 7 }));
                next[number] += 1;
                if tracked.state.apply(&trade, sequence) {
                    written.push(number);
                    let symbol = NAMES[number];
                    writes.push(SymbolWrite { symbol, partition: number as i32, tracked });
                }
            }
        }
        let done = two.writer.write(&mut writes, &places).await.expect("written");
        for number in done.refused.iter().map(|index| written[*index]) {
            let loaded = two.writer.load(&[NAMES[number]], false).await.expect("loaded");
            two.states[number] = loaded.into_iter().next().expect("one");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// However two writers alternate, and whoever has which partition: each trade counts once.
    #[test]
    fn two_writers_of_two_partitions_count_each_trade_once(
        steps in prop::collection::vec(step(), 20..60),
    ) {
        let redis = testkit::redis();
        let person = &mut Person::at(redis.address());
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let mut writers = [Reading::begin(redis.address()).await, Reading::begin(redis.address()).await];
            let mut ends = [0, 0];
            for step in steps {
                match step {
                    Step::Writes(of, partitions) => writers[of].write(&partitions).await,
                    Step::Both(first, second) => {
                        let [one, two] = &mut writers;
                        tokio::join!(one.write(&first), two.write(&second));
                    }
                    Step::Dies(of) => writers[of] = Reading::begin(redis.address()).await,
                }
                for Reading(_, next) in &writers {
                    ends = [0, 1].map(|partition: usize| ends[partition].max(next[partition]));
                }
            }
            while [0, 1].iter().any(|partition| writers[0].1[*partition] < ends[*partition]) {
                writers[0].write(&[0, 1]).await;
            }
            // It is alone, and behind nobody.
            for _ in 0..6 {
                writers[0].write(&[0, 1]).await;
            }
            assert!(calls(person, "exec") > 0, "by transactions, too");
            let ends = writers[0].1;
            let reader = Reader::new(redis.address(), PATIENCE).expect("an address");
            for (number, name) in NAMES.iter().enumerate() {
                let mut whole = market::SymbolState::new(&spec());
                for offset in 0..ends[number] {
                    whole.apply(&trade(offset), Sequence::of_record(offset));
                }
                let stored = reader.state(&symbol(name), &spec()).await.expect("an answer");
                let stored = stored.expect("a symbol").state;
                assert_eq!((stored.as_of, stored.latest, stored.day), (whole.as_of, whole.latest, whole.day));
                let recent: Vec<_> = whole.recent.iter().copied().collect();
                assert_eq!(reader.recent(&symbol(name)).await.expect("an answer").expect("some"), recent);
            }
            let log = reader.ends(TOPIC).await.expect("an answer").expect("a log").log;
            for (partition, end) in (0..).zip(ends) {
                let mut tail = reader.tail(TOPIC, &log, &[None, None]);
                let entries = tailed(&mut tail, partition, end as usize).await;
                let offsets: Vec<i64> =
                    flattened(&entries).iter().map(|(_, sequence, _)| sequence.offset).collect();
                assert_eq!(offsets, (0..end).collect::<Vec<_>>());
            }
        });
    }
}
