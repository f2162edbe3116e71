//! `cargo stack chaos`, and a few rounds of it in every run of the tests.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use testkit::all_tests;
use testkit::chaos::Chaos;

/// Without `GOSTOCKS_CHAOS_ROUNDS` and `GOSTOCKS_CHAOS_SEED`.
const ROUNDS: u64 = 2;
const ALL_ROUNDS: u64 = 20;
const SEED: u64 = 1;

#[test]
fn everything_holds_whoever_dies() {
    let number = |name: &str| Some(env::var(name).ok()?.parse().expect("a number"));
    let usual = if all_tests() { ALL_ROUNDS } else { ROUNDS };
    let rounds: u64 = number("GOSTOCKS_CHAOS_ROUNDS").unwrap_or(usual);
    let first = number("GOSTOCKS_CHAOS_SEED").unwrap_or(SEED);
    let mut chaos = Chaos::default();
    for seed in first..first + rounds {
        match catch_unwind(AssertUnwindSafe(|| chaos.round(seed))) {
            Ok(report) => eprintln!("seed {seed}: {report}"),
            Err(panic) => {
                eprintln!("again: cargo stack chaos --rounds 1 --seed {seed}");
                resume_unwind(panic);
            }
        }
    }
}
