//! What a symbol's state is after a log of trades, against rules written down the long way.

use market::{DAY, MINUTE, Price, Sequence, SymbolState, Trade, Volume};
use proptest::prelude::*;

const RETAIN: u32 = 5;

fn trade(timestamp: i64, price: f64, volume: f64) -> Trade {
    Trade {
        price: Price::new(price).expect("a test's price is positive"),
        volume: Volume::new(volume).expect("a test's volume is not negative"),
        timestamp,
        received_at: 0,
    }
}

fn fold(log: &[Trade]) -> SymbolState {
    let mut state = SymbolState::new(RETAIN);
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
    let (start, candle) = state.minutes.iter().next().expect("the first minute is retained");
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
    assert_eq!(state.minutes.iter().len(), 2, "five minutes are retained");
    state.apply(&trade(95 * MINUTE, 3.0, 1.0), Sequence { offset: 9, index: 0 });
    assert_eq!(state.minutes.iter().len(), 2);
    state.apply(&trade(newest + MINUTE, 3.0, 1.0), Sequence { offset: 9, index: 1 });
    let mut expired = Vec::new();
    state.take_expired(|start| expired.push(start));
    assert_eq!(expired, [96 * MINUTE]);
}

fn trades() -> impl Strategy<Value = Vec<Trade>> {
    let one = (1..20 * MINUTE, 1u32..50, 0u32..10);
    let one = one.prop_map(|(time, price, volume)| {
        trade(DAY - 10 * MINUTE + time, f64::from(price), f64::from(volume) / 8.0)
    });
    prop::collection::vec(one, 1..200)
}

/// A candle as one would compute it by hand: sort the minute's trades, take first and last.
fn candle_by_hand(log: &[Trade], start: i64) -> (f64, f64, f64, f64, f64) {
    let mut inside: Vec<(usize, &Trade)> = log
        .iter()
        .enumerate()
        .filter(|(_, trade)| (start..start + MINUTE).contains(&trade.timestamp))
        .collect();
    let volume = inside.iter().map(|(_, trade)| trade.volume.get()).sum();
    inside.sort_by_key(|(index, trade)| (trade.timestamp, *index));
    let prices: Vec<f64> = inside.iter().map(|(_, trade)| trade.price.get()).collect();
    let high = prices.iter().copied().fold(f64::MIN, f64::max);
    let low = prices.iter().copied().fold(f64::MAX, f64::min);
    (prices[0], high, low, prices[prices.len() - 1], volume)
}

proptest! {
    #[test]
    fn candles_equal_a_straightforward_fold(log in trades()) {
        // A retention that nothing can fall out of.
        let mut state = SymbolState::new(60);
        for (index, trade) in log.iter().enumerate() {
            prop_assert!(state.apply(trade, place(index)));
        }
        for (start, candle) in state.minutes.iter() {
            let found = (
                candle.open.get(), candle.high.get(), candle.low.get(), candle.close.get(), candle.volume,
            );
            prop_assert_eq!(found, candle_by_hand(&log, start));
        }
        let counted: u64 = state.minutes.iter().map(|(_, candle)| candle.trades).sum();
        prop_assert_eq!(counted, log.len() as u64);
    }

    /// Resuming anywhere, having stored what changed and dropped what expired, ends the same.
    #[test]
    fn replaying_any_part_leaves_the_state_as_if_applied_once(
        log in trades(), cut in 0usize..200, back in 0usize..200,
    ) {
        let whole = fold(&log);
        let cut = cut.min(log.len());
        let mut state = fold(&log[..cut]);
        for (index, trade) in log.iter().enumerate().skip(cut.saturating_sub(back)) {
            state.apply(trade, place(index));
        }
        state.minutes.take_changes(|_, _| {});
        state.take_expired(|_| {});
        let mut whole = whole;
        whole.minutes.take_changes(|_, _| {});
        whole.take_expired(|_| {});
        prop_assert_eq!(state, whole);
    }

    /// What `take_changes` and `take_expired` tell is all that a store needs.
    #[test]
    fn changes_written_to_a_store_restore_the_same_state(log in trades(), batch in 1usize..20) {
        let mut state = SymbolState::new(RETAIN);
        let mut stored = std::collections::BTreeMap::new();
        for (index, trade) in log.iter().enumerate() {
            state.apply(trade, place(index));
            if index % batch == 0 || index + 1 == log.len() {
                state.minutes.take_changes(|start, candle| { stored.insert(start, *candle); });
                state.take_expired(|start| { stored.remove(&start); });
            }
        }
        let kept: Vec<_> = state.minutes.iter().map(|(start, candle)| (start, *candle)).collect();
        prop_assert_eq!(kept, stored.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_shorter_retention_tells_the_store_what_to_forget() {
    let log: Vec<_> = (0..5).map(|minute| trade(minute * MINUTE + 1, 1.0, 1.0)).collect();
    let stored = fold(&log);
    let mut state = SymbolState::new(2);
    let candles: Vec<_> = stored.minutes.iter().map(|(start, candle)| (start, *candle)).collect();
    for (start, candle) in candles.into_iter().rev() {
        state.restore_minute(start, candle);
    }
    let kept: Vec<_> = state.minutes.iter().map(|(start, _)| start).collect();
    assert_eq!(kept, [3 * MINUTE, 4 * MINUTE]);
    let mut forgotten = vec![];
    state.take_expired(|start| forgotten.push(start));
    assert_eq!(forgotten, [2 * MINUTE, MINUTE, 0]);
}
