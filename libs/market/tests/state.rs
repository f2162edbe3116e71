//! What a symbol's state is after a log of trades, against rules written down the long way.

use std::collections::BTreeMap;

use market::{
    Candle, CandleSpec, Candles, DAY, Gone, Interval, Price, Sequence, StateSpec, SymbolState,
    Trade, Volume,
};
use proptest::prelude::*;

const RETAIN: u32 = 5;
const MINUTE: i64 = 60_000;
const RECENT: usize = 7;
const INTERVALS: [&str; 3] = ["1s", "1m", "1h"];

fn spec(retain: u32) -> StateSpec {
    let candles =
        INTERVALS.map(|name| CandleSpec { interval: name.parse().expect("an interval"), retain });
    StateSpec { candles: candles.to_vec(), recent: RECENT }
}

fn minutes(state: &SymbolState) -> &Candles {
    &state.candles[1]
}

fn trade(timestamp: i64, price: f64, volume: f64) -> Trade {
    Trade {
        price: Price::new(price).expect("a test's price is positive"),
        volume: Volume::new(volume).expect("a test's volume is not negative"),
        timestamp,
        received_at: 0,
    }
}

fn fold(log: &[Trade]) -> SymbolState {
    let mut state = SymbolState::new(&spec(RETAIN));
    for (index, trade) in log.iter().enumerate() {
        state.apply(trade, place(index));
    }
    state
}

/// Three trades a record.
fn place(index: usize) -> Sequence {
    Sequence { offset: index as i64 / 3, index: index as u32 % 3 }
}

#[track_caller]
fn check_latest(rule: &str, log: &[(i64, f64)], expected: f64) {
    let log: Vec<_> = log.iter().map(|(time, price)| trade(*time, *price, 1.0)).collect();
    let latest = fold(&log).latest.expect("a trade was applied");
    assert_eq!(latest.price.get(), expected, "{rule}");
}

#[test]
fn a_late_trade_never_overwrites_a_newer_price() {
    check_latest("in order", &[(1_000, 1.0), (2_000, 2.0)], 2.0);
    check_latest("late", &[(2_000, 2.0), (1_000, 1.0)], 2.0);
    check_latest("equal time is not late", &[(2_000, 2.0), (2_000, 3.0)], 3.0);
    check_latest("late, then newer", &[(2_000, 2.0), (1_000, 1.0), (3_000, 4.0)], 4.0);
}

#[test]
fn a_late_trade_counts_in_its_candle() {
    let state = fold(&[trade(10, 5.0, 1.0), trade(MINUTE + 1, 6.0, 1.0), trade(5, 9.0, 2.0)]);
    let (start, candle) = minutes(&state).iter().next().expect("the first minute is retained");
    assert_eq!(start, 0);
    assert_eq!((candle.open.get(), candle.high.get()), (9.0, 9.0));
    assert_eq!((candle.low.get(), candle.close.get()), (5.0, 5.0));
    assert_eq!((candle.volume, candle.trades), (3.0, 2));
}

#[test]
fn a_day_is_utc_and_a_trade_of_yesterday_does_not_count_today() {
    let log = [trade(DAY - 1, 1.0, 1.0), trade(DAY, 2.0, 1.0), trade(DAY - 2, 99.0, 1.0)];
    let day = fold(&log).day.expect("a trade was applied");
    assert_eq!(day.start, DAY);
    assert_eq!((day.candle.high.get(), day.candle.volume), (2.0, 1.0));
}

#[test]
fn a_trade_whose_candle_is_no_longer_retained_is_left_out() {
    let newest = 100 * MINUTE;
    let mut state = fold(&[trade(96 * MINUTE, 1.0, 1.0), trade(newest, 2.0, 1.0)]);
    assert_eq!(minutes(&state).iter().len(), 2, "five minutes are retained");
    state.apply(&trade(95 * MINUTE, 3.0, 1.0), Sequence { offset: 9, index: 0 });
    assert_eq!(minutes(&state).iter().len(), 2);
    state.apply(&trade(newest + MINUTE, 3.0, 1.0), Sequence { offset: 9, index: 1 });
    let mut expired = Vec::new();
    state.candles[1].take_expired(|start| expired.push(start));
    assert_eq!(expired, [96 * MINUTE]);
}

fn trades() -> impl Strategy<Value = Vec<Trade>> {
    let one = (1..20 * MINUTE, 1u32..50, 0u32..10);
    let one = one.prop_map(|(time, price, volume)| {
        trade(DAY - 10 * MINUTE + time, f64::from(price), f64::from(volume) / 8.0)
    });
    prop::collection::vec(one, 1..200)
}

/// A candle as one would compute it by hand: sort its trades, take first and last.
fn candle_by_hand(log: &[Trade], interval: Interval, start: i64) -> (f64, f64, f64, f64, f64) {
    let end = start + interval.milliseconds();
    let mut inside: Vec<(usize, &Trade)> = log
        .iter()
        .enumerate()
        .filter(|(_, trade)| (start..end).contains(&trade.timestamp))
        .collect();
    let volume = inside.iter().map(|(_, trade)| trade.volume.get()).sum();
    inside.sort_by_key(|(index, trade)| (trade.timestamp, *index));
    let prices: Vec<f64> = inside.iter().map(|(_, trade)| trade.price.get()).collect();
    let high = prices.iter().copied().fold(f64::MIN, f64::max);
    let low = prices.iter().copied().fold(f64::MAX, f64::min);
    (prices[0], high, low, prices[prices.len() - 1], volume)
}

fn take_all(state: &mut SymbolState) {
    for candles in &mut state.candles {
        candles.take_changes(|_, _| {});
        candles.take_expired(|_| {});
    }
}

/// What a store has of a symbol's candles: those of each interval, by start.
type Stored = [BTreeMap<i64, Candle>; INTERVALS.len()];

/// Returns how many candles of each interval were named that are to be forgotten.
fn store(state: &mut SymbolState, stored: &mut Stored) -> [usize; INTERVALS.len()] {
    let mut named = [0; INTERVALS.len()];
    for ((candles, stored), named) in state.candles.iter_mut().zip(stored).zip(&mut named) {
        // The newest is apart from the others, and replaced each time.
        stored.pop_last();
        let mut changes = Vec::new();
        let newest = candles.newest().map(|(start, candle)| (start, *candle));
        let (newest, candle) = newest.expect("a trade was applied");
        let mut expired = Vec::new();
        if candles.has_changes() {
            candles.take_closed(|start, candle| changes.push((start, *candle)));
            match candles.take_expired(|start| expired.push(start)) {
                Gone::Nothing => {}
                Gone::Before(before) => stored.retain(|start, _| *start >= before),
                Gone::All => stored.clear(),
            }
        }
        *named = expired.len();
        stored.extend(changes);
        expired.iter().for_each(|start| {
            stored.remove(start);
        });
        assert!(stored.keys().all(|other| *other < newest));
        stored.insert(newest, candle);
    }
    named
}

fn candles_of(state: &SymbolState) -> Stored {
    std::array::from_fn(|at| {
        state.candles[at].iter().map(|(start, candle)| (start, *candle)).collect()
    })
}

/// The state again, from its hot candles alone or from all.
fn load(state: &SymbolState, stored: &Stored, all: bool, retain: u32) -> SymbolState {
    let mut loaded = SymbolState::new(&spec(retain));
    let Some(latest) = state.latest else { return loaded };
    (loaded.as_of, loaded.latest, loaded.day) = (state.as_of, state.latest, state.day);
    for (candles, stored) in loaded.candles.iter_mut().zip(stored) {
        let spec = candles.spec();
        let hot_from = spec.hot_from(latest.stamp.time);
        if !all {
            *candles = Candles::known_from(spec, hot_from);
        }
        for (start, candle) in stored.iter().rev().filter(|(start, _)| all || **start >= hot_from) {
            candles.restore(*start, *candle);
        }
    }
    let slots: Vec<_> = state.recent.iter().copied().map(Some).collect();
    loaded.restore_recent(&spec(retain), &slots);
    loaded
}

proptest! {
    #[test]
    fn candles_equal_a_straightforward_fold(log in trades()) {
        // A retention that nothing can fall out of.
        let mut state = SymbolState::new(&spec(10_000));
        for (index, trade) in log.iter().enumerate() {
            prop_assert!(state.apply(trade, place(index)));
        }
        for candles in &state.candles {
            let interval = candles.spec().interval;
            for (start, candle) in candles.iter() {
                let found = (
                    candle.open.get(), candle.high.get(), candle.low.get(), candle.close.get(),
                    candle.volume,
                );
                prop_assert_eq!(found, candle_by_hand(&log, interval, start));
            }
            let counted: u64 = candles.iter().map(|(_, candle)| candle.trades).sum();
            prop_assert_eq!(counted, log.len() as u64);
        }
    }

    #[test]
    fn recent_trades_are_the_last_of_the_log(log in trades()) {
        let state = fold(&log);
        let expected = log.iter().enumerate().map(|(index, trade)| (place(index), *trade));
        let expected: Vec<_> = expected.skip(log.len().saturating_sub(RECENT)).collect();
        prop_assert_eq!(state.recent.iter().copied().collect::<Vec<_>>(), expected);
    }

    /// Resuming anywhere, having stored what changed and dropped what expired, ends the same.
    #[test]
    fn replaying_any_part_leaves_the_state_as_if_applied_once(
        log in trades(), cut in 0usize..200, back in 0usize..200,
    ) {
        let mut whole = fold(&log);
        let cut = cut.min(log.len());
        let mut state = fold(&log[..cut]);
        for (index, trade) in log.iter().enumerate().skip(cut.saturating_sub(back)) {
            state.apply(trade, place(index));
        }
        take_all(&mut state);
        take_all(&mut whole);
        prop_assert_eq!(state, whole);
    }

    /// What `take_changes` and `take_expired` tell is all that a store needs.
    #[test]
    fn changes_written_to_a_store_restore_the_same_state(log in trades(), batch in 1usize..20) {
        let mut state = SymbolState::new(&spec(RETAIN));
        let mut stored = Stored::default();
        for (index, trade) in log.iter().enumerate() {
            state.apply(trade, place(index));
            if index % batch == 0 || index + 1 == log.len() {
                store(&mut state, &mut stored);
            }
        }
        prop_assert_eq!(candles_of(&state), stored);
    }

    /// Also where old candles are in the store alone: after a state has cooled, or was loaded again
    /// from its hot candles. A trade out of reach has all of it loaded first.
    #[test]
    fn a_store_and_hot_candles_are_as_good_as_all(
        log in trades(), batch in 1usize..20, cold in any::<bool>(), retain in 5u32..40,
    ) {
        let mut whole = SymbolState::new(&spec(retain));
        let (mut state, mut stored) = (whole.clone(), Stored::default());
        let places: Vec<_> = (0..log.len()).map(place).collect();
        for (number, (trades, places)) in log.chunks(batch).zip(places.chunks(batch)).enumerate() {
            if !trades.iter().all(|trade| state.reaches(trade.timestamp)) {
                state = load(&state, &stored, true, retain);
                prop_assert!(trades.iter().all(|trade| state.reaches(trade.timestamp)));
            }
            for (trade, place) in trades.iter().zip(places) {
                prop_assert!(state.apply(trade, *place));
                whole.apply(trade, *place);
            }
            store(&mut state, &mut stored);
            if number % 3 == 0 {
                state = load(&state, &stored, false, retain);
            } else if cold {
                state.cool();
            }
        }
        prop_assert_eq!(stored, candles_of(&whole));
        take_all(&mut whole);
        prop_assert_eq!(&state.day, &whole.day);
        prop_assert!(state.recent.iter().eq(whole.recent.iter()));
    }
}

#[test]
fn many_candles_that_expire_at_once_are_not_named() {
    // Fifteen minutes of seconds; after a break of `minutes` the next trade.
    let after_a_break = |minutes: i64, cold: bool| {
        let mut state = SymbolState::new(&spec(900));
        let mut stored = Stored::default();
        for second in 1..900 {
            state.apply(&trade(second * 1_000, 1.0, 1.0), place(second as usize));
        }
        store(&mut state, &mut stored);
        if cold {
            state.cool();
        }
        state.apply(&trade(900_000 + minutes * MINUTE, 2.0, 1.0), place(1_000));
        let named = store(&mut state, &mut stored);
        assert!(named[0] <= 1, "{named:?}");
        stored[0].len()
    };
    for cold in [true, false] {
        assert_eq!(after_a_break(0, cold), 900);
        assert_eq!(after_a_break(5, cold), 600);
        assert_eq!(after_a_break(14, cold), 60);
        assert_eq!(after_a_break(60 * 24, cold), 1);
    }
}

#[test]
fn a_shorter_retention_tells_the_store_what_to_forget() {
    let log: Vec<_> = (0..5).map(|minute| trade(minute * MINUTE + 1, 1.0, 1.0)).collect();
    let stored = fold(&log);
    let mut state = SymbolState::new(&spec(2));
    for (start, candle) in candles_of(&stored)[1].iter().rev() {
        state.candles[1].restore(*start, *candle);
    }
    let kept: Vec<_> = minutes(&state).iter().map(|(start, _)| start).collect();
    assert_eq!(kept, [3 * MINUTE, 4 * MINUTE]);
    let mut forgotten = vec![];
    state.candles[1].take_expired(|start| forgotten.push(start));
    assert_eq!(forgotten, [2 * MINUTE, MINUTE, 0]);
}

#[test]
fn a_state_that_has_cooled_is_small() {
    let log: Vec<_> = (0..3_000).map(|second| trade(1 + second * 1_000, 1.0, 1.0)).collect();
    let mut state = SymbolState::new(&spec(2_000));
    for (index, trade) in log.iter().enumerate() {
        state.apply(trade, place(index));
    }
    take_all(&mut state);
    assert!(state.reaches(2_000_000));
    state.cool();
    assert_eq!(state.candles[0].iter().len(), 120, "two minutes of seconds");
    assert_eq!(minutes(&state).iter().len(), 8, "or eight candles");
    assert!(!state.reaches(2_000_000), "it is retained, in the store");
    assert!(state.reaches(2_990_000));
}
