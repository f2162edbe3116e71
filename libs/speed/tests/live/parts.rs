//! The parts of a batch: transactions, and calls of what is left.

use std::thread;
use std::time::Instant;

use super::one::{LEAP, One, check, symbol_of, ways};
use super::*;

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
