//! Writers that have a partition to themselves, and writers that do not.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::one::{One, check, record, symbol_of, ways};
use super::undisputed::calls;
use super::*;

/// How often Redis was asked for one field, from within functions too; but not by a transaction,
/// each of which asks for the log's id.
fn reads(person: &mut Person) -> u64 {
    calls(person, "hget") - calls(person, "exec")
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
