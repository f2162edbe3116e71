use std::task::{Context, Poll, Waker};

use market::{Interval, Price, Trade, Volume};
use speed::LogId;
use tokio_util::sync::CancellationToken;
use wire::batch::{Packer, TickBatch};

use super::*;
use crate::live::subscription::{End, Subscription};

const LOG: &str = "0199c0ffee0070008000000000000001";

fn board() -> Arc<Board> {
    let interval: Interval = "1m".parse().expect("an interval");
    let board = Arc::new(Board::new(vec![CandleSpec { interval, retain: 10 }], 7));
    begin(&board, LOG);
    board
}

fn begin(board: &Board, log: &str) {
    let log = LogId::parse(log).expect("a log id");
    board.begin(&Ends { log, newest: vec![None] }, Vec::new());
}

fn symbol(name: &str) -> Symbol {
    Symbol::new(name).expect("a symbol")
}

/// Trades at these offsets, each a second after the one before.
fn entry(after: Option<i64>, trades: impl IntoIterator<Item = (&'static str, i64)>) -> StreamEntry {
    let at = |offset| Sequence { offset, index: 0 };
    let mut packer = Packer::new();
    for (name, offset) in trades {
        let trade = Trade {
            price: Price::new(1.0 + offset as f64).expect("a price"),
            volume: Volume::new(1.0).expect("a volume"),
            timestamp: 1_700_000_000_000 + 1_000 * offset,
            received_at: 0,
        };
        packer.push(u32::from(name.as_bytes()[0]), name, at(offset), &trade);
    }
    let mut bytes = Vec::new();
    packer.encode(&mut bytes);
    let log = LogId::parse(LOG).expect("a log id");
    let batch = TickBatch::decode(&bytes).expect("a batch");
    StreamEntry { partition: 0, log, after: after.map(at), batch }
}

fn firing(id: i64) -> Firing {
    Firing { id, symbol: "A".to_owned(), ..Firing::default() }
}

fn subscribe(board: &Arc<Board>, names: &[&str], kinds: &[Kind]) -> (Subscription, Base) {
    let symbols: Vec<Symbol> = names.iter().map(|name| symbol(name)).collect();
    Subscription::new(board, &symbols, Kinds::of(kinds), CancellationToken::new()).expect("room")
}

fn take(subscription: &mut Subscription) -> Result<Vec<Arc<Event>>, End> {
    let mut events = Vec::new();
    match subscription.poll_events(&mut Context::from_waker(Waker::noop()), &mut events) {
        Poll::Ready(Err(end)) => Err(end),
        Poll::Ready(Ok(())) | Poll::Pending => Ok(events),
    }
}

fn offsets(events: &[Arc<Event>]) -> Vec<i64> {
    let offset = |event: &Arc<Event>| match &event.payload {
        Payload::Tick { trade, .. } => (trade.timestamp - 1_700_000_000_000) / 1_000,
        Payload::Firing(firing) => firing.id,
        other => panic!("not asked for: {other:?}"),
    };
    events.iter().map(offset).collect()
}

#[test]
fn whoever_leaves_late_takes_no_symbol_along_that_was_begun_anew() {
    let board = board();
    let (old, _) = subscribe(&board, &["A"], &[Kind::Tick]);
    let (mut older, _) = subscribe(&board, &["A"], &[Kind::Price]);
    begin(&board, "0199c0ffee0070008000000000000002");
    board.apply(&entry(None, [("A", 1)])).expect("it follows");
    drop(old);
    assert!(matches!(take(&mut older), Err(End::AnotherLog)));
    drop(older);
    let slot = board.find("A").expect("it is still there");
    assert!(slot.lock().known.is_some());
    assert_eq!(board.unknown.load(Ordering::Relaxed), 0);
    let (mut new, _) = subscribe(&board, &["A"], &[Kind::Tick]);
    board.apply(&entry(Some(1), [("A", 2)])).expect("it follows");
    assert_eq!(offsets(&take(&mut new).expect("events")), [2]);
}

#[test]
fn a_symbol_that_nobody_trades_is_forgotten_with_its_last_client() {
    let board = board();
    let (one, _) = subscribe(&board, &["A", "B"], &[Kind::Price]);
    let (two, _) = subscribe(&board, &["B"], &[Kind::Tick]);
    assert_eq!(board.unknown.load(Ordering::Relaxed), 2);
    drop(one);
    assert!(board.find("A").is_none() && board.find("B").is_some());
    drop(two);
    assert!(board.find("B").is_none());
    assert_eq!(board.unknown.load(Ordering::Relaxed), 0);
    assert_eq!(board.ticking.load(Ordering::Relaxed), 0);
}

#[test]
fn more_trades_than_are_kept_in_one_entry_are_told_to_whoever_reads() {
    let board = board();
    let (mut client, _) = subscribe(&board, &["A"], &[Kind::Tick]);
    let most = *TICKS_OF_SYMBOL.end() as i64;
    let many = || (1..=2 * most).map(|offset| ("A", offset));
    board.apply(&entry(None, many())).expect("it follows");
    assert_eq!(offsets(&take(&mut client).expect("events")), Vec::from_iter(1..=2 * most));

    let (mut slow, _) = subscribe(&board, &["A"], &[Kind::Tick]);
    for offset in 2 * most + 1..=4 * most {
        board.apply(&entry(Some(offset - 1), [("A", offset)])).expect("it follows");
    }
    assert!(matches!(take(&mut slow), Err(End::TooSlow)), "what it lacks is gone");
}

#[test]
fn trades_that_were_missed_are_noticed_and_old_ones_are_left_out() {
    let board = board();
    let (mut client, _) = subscribe(&board, &["A"], &[Kind::Tick]);
    board.apply(&entry(None, [("A", 1), ("A", 2)])).expect("it follows");
    board.apply(&entry(Some(1), [("A", 2), ("A", 3)])).expect("it overlaps");
    assert_eq!(offsets(&take(&mut client).expect("events")), [1, 2, 3]);
    assert_eq!(board.apply(&entry(Some(4), [("A", 5)])).expect_err("4 is missing"), Missed);
}

#[test]
fn a_state_that_was_overtaken_is_told_once_with_the_newest() {
    let board = board();
    let (mut client, _) = subscribe(&board, &["A", "B"], &[Kind::Price]);
    board.apply(&entry(None, [("A", 1), ("B", 2), ("A", 3)])).expect("it follows");
    board.apply(&entry(Some(3), [("B", 4)])).expect("it follows");
    let told = take(&mut client).expect("events");
    let prices = told.iter().map(|event| match &event.payload {
        Payload::Price { symbol, stands } => (symbol.as_str().to_owned(), stands.0.price.get()),
        other => panic!("not asked for: {other:?}"),
    });
    assert_eq!(prices.collect::<Vec<_>>(), [("A".to_owned(), 4.0), ("B".to_owned(), 5.0)]);
    assert!(take(&mut client).expect("nothing more").is_empty());
}

#[test]
fn a_candle_that_closed_is_told_with_its_last_trade() {
    let board = board();
    let (mut client, _) = subscribe(&board, &["A"], &[Kind::Candle]);
    // A minute begins at second 40.
    board.apply(&entry(None, [("A", 38), ("A", 39), ("A", 40), ("A", 41)])).expect("it follows");
    let told = take(&mut client).expect("events");
    let candles = told.iter().map(|event| match &event.payload {
        Payload::Candle { candle, .. } => (candle.close.get(), candle.trades),
        other => panic!("not asked for: {other:?}"),
    });
    assert_eq!(candles.collect::<Vec<_>>(), [(40.0, 2), (42.0, 2)]);
}

#[test]
fn firings_go_on_from_the_last_one_and_some_again_from_another_gateway() {
    let board = board();
    let (mut client, base) = subscribe(&board, &["A"], &[Kind::Firing]);
    assert_eq!(base.cursor.firing, None, "what was before is not known yet");
    board.remember((1..=3).map(firing).collect(), true);
    assert!(take(&mut client).expect("nothing").is_empty(), "from before is no news");
    [5, 4].into_iter().for_each(|id| board.fire(firing(id)));
    assert_eq!(offsets(&take(&mut client).expect("events")), [5, 4]);
    let until = board.base().number;
    let after = |id, teller, until| {
        let events = board.firings_after(FiringPlace { id, teller }, until);
        events.map(|events| offsets(&events))
    };
    assert_eq!(after(3, 7, until), Some(vec![5, 4]));
    assert_eq!(after(5, 7, until), Some(vec![4]));
    assert_eq!(after(5, 8, until), Some(vec![1, 2, 3, 4]), "another may have told 5 first");
    assert_eq!(after(3, 7, until - 1), Some(vec![5]), "the live ones begin there");
    assert_eq!(after(0, 7, until), Some(vec![1, 2, 3, 5, 4]));
    assert_eq!(after(9, 7, until), None, "it was never here");
}

#[test]
fn firings_are_kept_for_a_symbol_only_while_somebody_wants_them() {
    let board = board();
    let (mut client, _) = subscribe(&board, &["A"], &[Kind::Price]);
    let kept = || board.find("A").expect("watched").lock().firings();
    board.fire(firing(1));
    assert_eq!(kept(), 0, "prices are wanted, firings are not");
    let (mut other, _) = subscribe(&board, &["A"], &[Kind::Firing]);
    board.fire(firing(2));
    assert_eq!((kept(), offsets(&take(&mut other).expect("one"))), (1, vec![2]));
    drop(other);
    assert_eq!(kept(), 0);
    assert!(take(&mut client).expect("nothing").is_empty());
}

#[test]
fn no_more_firings_are_kept_than_of_all_symbols_together() {
    let board = board();
    let of = |id, name: &str| Firing { id, symbol: name.to_owned(), ..Firing::default() };
    let (mut slow, _) = subscribe(&board, &["A"], &[Kind::Firing]);
    let (mut lost, _) = subscribe(&board, &["B"], &[Kind::Firing]);
    board.fire(of(1, "A"));
    (2..=3).for_each(|id| board.fire(of(id, "B")));
    let (mut whole, _) = subscribe(&board, &["A"], &[Kind::Firing]);
    let last = FIRINGS_KEPT as i64 + 2;
    (4..=last).for_each(|id| board.fire(of(id, "C")));
    let kept = |name| board.find(name).expect("watched").lock().firings();
    assert_eq!((kept("A"), kept("B")), (0, 1), "two are too many, the oldest two");
    assert_eq!(take(&mut slow).err(), Some(End::TooSlow));
    assert_eq!(take(&mut lost).err(), Some(End::TooSlow));
    assert!(take(&mut whole).expect("it came later").is_empty());
    board.fire(of(last + 1, "A"));
    assert_eq!(offsets(&take(&mut whole).expect("one")), [last + 1]);
}

#[test]
fn firings_go_though_others_took_the_place_of_those_that_were_kept() {
    let board = board();
    let (_client, _) = subscribe(&board, &["A"], &[Kind::Firing]);
    let other = |id| Firing { id, symbol: "C".to_owned(), ..Firing::default() };
    board.fire(firing(1));
    // The alert service's database was restored.
    board.remember(vec![other(2)], true);
    let kept = || board.find("A").expect("watched").lock().firings();
    board.fire(firing(3));
    assert_eq!(kept(), 2);
    (4..FIRINGS_KEPT as i64 + 4).for_each(|id| board.fire(other(id)));
    assert_eq!(kept(), 0, "the one before it, too");
}

#[test]
fn whose_ticks_are_wanted_is_counted_across_another_log() {
    let board = board();
    let wanted = || board.ticking.load(Ordering::Relaxed);
    let (before, _) = subscribe(&board, &["A", "B"], &[Kind::Tick]);
    begin(&board, "0199c0ffee0070008000000000000002");
    let (after, _) = subscribe(&board, &["A"], &[Kind::Tick]);
    drop(before);
    assert_eq!(wanted(), 1);
    drop(after);
    assert_eq!(wanted(), 0);
}
