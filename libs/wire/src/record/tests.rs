use std::convert::Infallible;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use rpc::market::v1::StockTick;

use super::*;
use crate::testing;

type Arrival = (String, Trade, Vec<String>);

struct Sent {
    key: String,
    value: Vec<u8>,
    received_at: u64,
    trades: usize,
}

fn add(gatherer: &mut Gatherer, (symbol, trade, conditions): &Arrival) {
    gatherer.add(symbol, trade, conditions.iter().map(String::as_str));
}

fn drain(gatherer: &mut Gatherer) -> Vec<Sent> {
    let mut sent = vec![];
    let Ok(()) = gatherer.drain(|key, value, received_at, trades| -> Result<(), Infallible> {
        sent.push(Sent { key: key.into(), value: value.into(), received_at, trades });
        Ok(())
    });
    sent
}

/// How many trades are in the records.
fn trades(sent: &[Sent]) -> usize {
    let mut decoder = tick::Decoder::new();
    sent.iter().map(|sent| decoder.decode(&sent.value).expect("a record").len() as usize).sum()
}

/// The records of one round, without any cleverness.
fn expected(arrivals: &[Arrival], trades_per_record: usize) -> Vec<(String, Vec<Arrival>)> {
    let mut symbols: Vec<(String, Vec<Arrival>)> = vec![];
    for arrival in arrivals {
        match symbols.iter_mut().find(|(symbol, _)| *symbol == arrival.0) {
            Some((_, of_symbol)) => of_symbol.push(arrival.clone()),
            None => symbols.push((arrival.0.clone(), vec![arrival.clone()])),
        }
    }
    let records = symbols.iter().flat_map(|(symbol, arrivals)| {
        arrivals.chunks(trades_per_record).map(|chunk| (symbol.clone(), chunk.to_vec()))
    });
    records.collect()
}

/// The message that carries `arrivals`, as `tick.proto` describes it.
fn message(symbol: &str, arrivals: &[Arrival]) -> StockTick {
    let (_, last, conditions) = arrivals.last().expect("a record has a trade");
    let mut message = StockTick {
        symbol: symbol.into(),
        price: last.price.get(),
        timestamp: last.timestamp,
        volume: last.volume.get(),
        conditions: conditions.clone(),
        received_at: last.received_at,
        ..StockTick::default()
    };
    if arrivals.len() > 1 {
        for (_, trade, conditions) in arrivals {
            message.prices.push(trade.price.get());
            message.timestamps.push(trade.timestamp);
            message.volumes.push(trade.volume.get());
            message.received_ats.push(trade.received_at);
            message.condition_counts.push(conditions.len() as u32);
            message.condition_values.extend(conditions.iter().cloned());
        }
        if message.condition_values.is_empty() {
            message.condition_counts.clear();
        }
    }
    message
}

fn check(gatherer: &mut Gatherer, arrivals: &[Arrival], trades_per_record: usize) {
    let expected = expected(arrivals, trades_per_record);
    for arrival in arrivals {
        add(gatherer, arrival);
    }
    let sent = drain(gatherer);
    assert!(gatherer.is_empty());
    assert!(gatherer.names.is_empty() && gatherer.next.is_empty());
    assert!(gatherer.conditions.is_empty(), "a round leaves nothing behind");
    assert_eq!(sent.len(), expected.len());
    let mut decoder = tick::Decoder::new();
    for (sent, (symbol, arrivals)) in sent.iter().zip(&expected) {
        assert_eq!(sent.key, *symbol);
        let received: u128 = arrivals.iter().map(|a| u128::from(a.1.received_at)).sum();
        assert_eq!(u128::from(sent.received_at), received / arrivals.len() as u128);
        assert_eq!(sent.trades, arrivals.len());
        let decoded = StockTick::decode(&*sent.value).expect("a record is a message");
        assert_eq!(decoded, message(symbol, arrivals));
        assert_eq!(decoded.encode_to_vec(), sent.value, "written as prost writes it");

        let record = decoder.decode(&sent.value).expect("a record can be read again");
        assert_eq!(record.symbol(), symbol);
        let trades: Vec<_> = arrivals.iter().map(|arrival| arrival.1).collect();
        assert_eq!(record.trades().collect::<Vec<_>>(), trades);
        for (index, (_, _, conditions)) in (0..).zip(arrivals) {
            assert_eq!(record.conditions(index).collect::<Vec<_>>(), *conditions);
        }
    }
}

proptest! {
    #[test]
    fn a_round_becomes_one_record_per_symbol_and_bound(
        rounds in vec(
            vec(("[A-C]", testing::trade(), testing::conditions()), 0..40),
            1..4,
        ),
        trades_per_record in 1..12_usize,
    ) {
        let mut gatherer = Gatherer::new(trades_per_record);
        for arrivals in &rounds {
            check(&mut gatherer, arrivals, trades_per_record);
        }
    }
}

fn arrival(symbol: &str, timestamp: i64, conditions: &[&str]) -> Arrival {
    let trade = Trade {
        price: market::Price::new(1.5).expect("1.5 is a price"),
        volume: market::Volume::ZERO,
        timestamp,
        received_at: 7,
    };
    (symbol.into(), trade, conditions.iter().map(|&text| text.into()).collect())
}

#[test]
fn one_trade_a_record_has_the_originals_fields_and_no_columns() {
    let mut gatherer = Gatherer::new(1);
    for timestamp in 1..=3 {
        add(&mut gatherer, &arrival("AAPL", timestamp, &["1"]));
    }
    let sent = drain(&mut gatherer);
    assert_eq!(sent.len(), 3);
    for (sent, timestamp) in sent.iter().zip(1..) {
        let message = StockTick::decode(&*sent.value).expect("a record is a message");
        assert_eq!(message.timestamp, timestamp);
        assert!(message.prices.is_empty() && message.condition_values.is_empty());
        let seed = rpc::seed::stock::StockTick::decode(&*sent.value).expect("the seed reads it");
        assert_eq!((seed.symbol.as_str(), seed.price, seed.timestamp), ("AAPL", 1.5, timestamp));
    }
}

#[test]
fn a_record_stays_below_what_a_broker_takes() {
    let long = "X".repeat(60);
    let conditions = [long.as_str(); 32];
    let arrivals: Vec<_> = (1..=1_000).map(|time| arrival("AAPL", time, &conditions)).collect();
    let mut gatherer = Gatherer::new(1_000);
    for arrival in &arrivals {
        add(&mut gatherer, arrival);
    }
    let sent = drain(&mut gatherer);
    assert!(sent.len() > 1);
    assert!(sent.iter().all(|sent| sent.value.len() < 1_000_000));
    assert_eq!(trades(&sent), 1_000);
}

#[test]
fn many_symbols_keep_their_order_of_first_arrival() {
    let arrivals: Vec<_> =
        (0..5_000).map(|index| arrival(&format!("S{}", index % 2_000), 1 + index, &[])).collect();
    check(&mut Gatherer::new(1_000), &arrivals, 1_000);
}

#[test]
fn a_round_says_when_it_is_full() {
    let mut gatherer = Gatherer::new(usize::MAX);
    let arrival = arrival("AAPL", 1, &[]);
    for _ in 1..MAX_TRADES_PER_ROUND {
        add(&mut gatherer, &arrival);
    }
    assert!(!gatherer.is_full());
    add(&mut gatherer, &arrival);
    assert!(gatherer.is_full());
    assert_eq!(trades(&drain(&mut gatherer)), MAX_TRADES_PER_ROUND);
    assert!(!gatherer.is_full());
}

#[test]
fn conditions_make_a_round_full() {
    let long = "X".repeat(64);
    let arrival = arrival("AAPL", 1, &[long.as_str(); 32]);
    let mut gatherer = Gatherer::new(1_000);
    let enough = (1..MAX_TRADES_PER_ROUND).find(|_| {
        add(&mut gatherer, &arrival);
        gatherer.is_full()
    });
    let bytes = (1 + 1 + 64) * 32;
    assert_eq!(enough, Some(MAX_CONDITION_BYTES_PER_ROUND.div_ceil(bytes)));
    assert_eq!(trades(&drain(&mut gatherer)), enough.unwrap_or_default());
}

#[test]
fn a_drain_that_fails_ends_the_round() {
    let mut gatherer = Gatherer::new(1);
    add(&mut gatherer, &arrival("AAPL", 1, &[]));
    add(&mut gatherer, &arrival("TSLA", 1, &[]));
    let mut calls = 0;
    let outcome = gatherer.drain(|_, _, _, _| {
        calls += 1;
        Err("away")
    });
    assert_eq!((outcome, calls), (Err("away"), 1));
    assert!(gatherer.is_empty());
    assert!(drain(&mut gatherer).is_empty());
}
