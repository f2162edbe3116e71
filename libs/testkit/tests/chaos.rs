//! `cargo stack chaos`, and a few rounds of it, with fewer alerts, in every run of the tests.

use std::env;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::str::FromStr;

use testkit::all_tests;
use testkit::chaos::Chaos;

/// Rounds and alerts, without `GOSTOCKS_CHAOS_ROUNDS` and `GOSTOCKS_CHAOS_ALERTS`.
const USUAL: (u64, usize) = (2, 50_000);
const ALL: (u64, usize) = (20, 1_000_000);
/// Without `GOSTOCKS_CHAOS_SEED`.
const SEED: u64 = 1;

#[test]
fn everything_holds_whoever_dies() {
    fn number<T: FromStr<Err: Debug>>(name: &str) -> Option<T> {
        Some(env::var(name).ok()?.parse().expect("a number"))
    }
    let (rounds, alerts) = if all_tests() { ALL } else { USUAL };
    let rounds = number("GOSTOCKS_CHAOS_ROUNDS").unwrap_or(rounds);
    let alerts = number("GOSTOCKS_CHAOS_ALERTS").unwrap_or(alerts);
    let first = number("GOSTOCKS_CHAOS_SEED").unwrap_or(SEED);
    let mut chaos = Chaos::new(alerts);
    for seed in first..first + rounds {
        match catch_unwind(AssertUnwindSafe(|| chaos.round(seed))) {
            Ok(report) => eprintln!("seed {seed}: {report}"),
            Err(panic) => {
                eprintln!("again: cargo stack chaos --rounds 1 --seed {seed} --alerts {alerts}");
                resume_unwind(panic);
            }
        }
    }
}
