use market::{Price, Symbol, Trade, Volume};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use rpc::market::v1::StockTick;

use super::protobuf::put_varint;
use super::*;
use crate::testing::{self, mutate};

/// What a record says: symbol, and each trade with its conditions.
type Said = (String, Vec<(Trade, Vec<String>)>);

fn said(record: &TickRecord<'_>) -> Said {
    let trades = (0..).zip(record.trades()).map(|(index, trade)| {
        assert_eq!(trade, record.trade(index));
        (trade, record.conditions(index).map(String::from).collect())
    });
    let said = (record.symbol().to_owned(), trades.collect::<Vec<_>>());
    assert_eq!(said.1.len(), record.len() as usize);
    assert_eq!(record.conditions(record.len()).count(), 0);
    assert_eq!(record.conditions(u32::MAX).count(), 0);
    said
}

fn reference_trade(
    price: f64,
    volume: f64,
    timestamp: i64,
    received_at: u64,
) -> Result<Trade, TickError> {
    let price = Price::new(price).ok_or(TickError::Price)?;
    let volume = Volume::new(volume).ok_or(TickError::Volume)?;
    if !(1..END_OF_TIME).contains(&timestamp) {
        return Err(TickError::Timestamp);
    }
    Ok(Trade { price, volume, timestamp, received_at })
}

/// The contract of `tick.proto` applied to what prost decoded.
fn reference(message: &StockTick) -> Result<Said, TickError> {
    let last =
        reference_trade(message.price, message.volume, message.timestamp, message.received_at)?;
    let symbol = Symbol::new(&message.symbol)?.to_string();
    let length = message.prices.len();
    let lengths = [message.timestamps.len(), message.volumes.len(), message.received_ats.len()];
    if lengths != [length; 3] {
        return Err(TickError::UnequalColumns);
    }
    if length > MAX_TRADES_PER_RECORD {
        return Err(TickError::TooManyTrades);
    }
    let mut trades = vec![];
    for index in 0..length {
        trades.push(reference_trade(
            message.prices[index],
            message.volumes[index],
            message.timestamps[index],
            message.received_ats[index],
        )?);
    }
    let counts = &message.condition_counts;
    if !counts.is_empty() && counts.len() != length {
        return Err(TickError::UnequalColumns);
    }
    let sum: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    if sum != message.condition_values.len() as u64 {
        return Err(TickError::ConditionCounts);
    }
    if length == 0 {
        return Ok((symbol, vec![(last, message.conditions.clone())]));
    }
    let mut values = message.condition_values.iter().cloned();
    let trades = trades.into_iter().enumerate().map(|(index, trade)| {
        let count = counts.get(index).map_or(0, |&count| count as usize);
        (trade, values.by_ref().take(count).collect())
    });
    Ok((symbol, trades.collect()))
}

/// Holds the decoder to prost and the contract: the same bytes are refused, for the same reason
/// unless several hold, and the rest say the same.
fn check(decoder: &mut Decoder, bytes: &[u8]) {
    let found = decoder.decode(bytes).map(|record| said(&record));
    match StockTick::decode(bytes) {
        Err(error) => assert!(
            matches!(found, Err(TickError::Encoding | TickError::NotUtf8)),
            "prost says {error}, we {found:?}, of {bytes:02x?}"
        ),
        Ok(message) => match (found, reference(&message)) {
            // Of several bad values in the columns either may be named.
            (Err(found), Err(expected)) if is_value(found) && is_value(expected) => {}
            (found, expected) => assert_eq!(found, expected, "{bytes:02x?}"),
        },
    }
}

fn is_value(error: TickError) -> bool {
    matches!(error, TickError::Price | TickError::Volume | TickError::Timestamp)
}

/// A field's key and value, as a foreign encoder may write it.
fn field(number: u32, wire_type: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    put_varint(&mut out, u64::from(number << 3 | u32::from(wire_type)));
    if wire_type == 2 {
        put_varint(&mut out, value.len() as u64);
    }
    out.extend_from_slice(value);
    out
}

fn varint(value: u64) -> Vec<u8> {
    let mut out = vec![];
    put_varint(&mut out, value);
    out
}

/// A column in pieces, packed and not.
fn column(number: u32, wire_type: u8, values: Vec<Vec<u8>>, cuts: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = vec![];
    let mut rest = values.as_slice();
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(usize::from(cut % 8).min(rest.len()));
        rest = after;
        if piece.len() == 1 && cut & 8 != 0 {
            pieces.push(field(number, wire_type, &piece[0]));
        } else {
            pieces.push(field(number, 2, &piece.concat()));
        }
        // Always make headway.
        if let Some((first, after)) = rest.split_first() {
            pieces.push(field(number, wire_type, first));
            rest = after;
        }
    }
    pieces
}

/// A message's fields in pieces, each column's in order, cut as `cuts` says.
fn pieces(message: &StockTick, cuts: &[u8]) -> Vec<Vec<u8>> {
    let scalars = StockTick {
        prices: vec![],
        timestamps: vec![],
        volumes: vec![],
        received_ats: vec![],
        condition_counts: vec![],
        condition_values: vec![],
        ..message.clone()
    };
    let eights = |number, values: Vec<[u8; 8]>| {
        column(number, 1, values.into_iter().map(Vec::from).collect(), cuts)
    };
    let counts = message.condition_counts.iter().map(|&count| varint(u64::from(count))).collect();
    let mut pieces = vec![scalars.encode_to_vec()];
    pieces.extend(eights(7, message.prices.iter().map(|v| v.to_le_bytes()).collect()));
    pieces.extend(eights(8, message.timestamps.iter().map(|v| v.to_le_bytes()).collect()));
    pieces.extend(eights(9, message.volumes.iter().map(|v| v.to_le_bytes()).collect()));
    pieces.extend(eights(10, message.received_ats.iter().map(|v| v.to_le_bytes()).collect()));
    pieces.extend(column(11, 0, counts, cuts));
    pieces.extend(message.condition_values.iter().map(|value| field(12, 2, value.as_bytes())));
    pieces
}

/// Any field, known or not, well-formed or nearly so.
fn stray() -> impl Strategy<Value = Vec<u8>> {
    let scalar = (1..16_u32, 0..6_u8, vec(any::<u8>(), 0..12))
        .prop_map(|(number, wire_type, value)| field(number, wire_type, &value));
    let proper = (1..16_u32, any::<u64>(), "[a-zé\u{7f}]{0,3}", 0..4_u8).prop_map(
        |(number, value, text, kind)| match kind {
            0 => field(number, 0, &varint(value)),
            1 => field(number, 1, &value.to_le_bytes()),
            2 => field(number, 2, text.as_bytes()),
            _ => field(number, 5, &(value as u32).to_le_bytes()),
        },
    );
    let unknown = (13..1_u32 << 29, any::<u64>())
        .prop_map(|(number, value)| field(number, 0, &varint(value)));
    let leaf = prop_oneof![1 => scalar, 4 => proper, 4 => unknown];
    leaf.prop_recursive(4, 16, 4, |inner| {
        (13..20_u32, vec(inner, 0..4)).prop_map(|(number, fields)| {
            [field(number, 3, &[]), fields.concat(), field(number, 4, &[])].concat()
        })
    })
}

/// Mostly a value of `good`, sometimes one of `bad`.
fn mostly<T: Clone + std::fmt::Debug + 'static>(
    good: impl Strategy<Value = T> + 'static,
    bad: Vec<T>,
) -> impl Strategy<Value = T> {
    prop_oneof![60 => good, 1 => proptest::sample::select(bad)]
}

fn message() -> impl Strategy<Value = StockTick> {
    let symbol = mostly(
        "[A-Za-z0-9:. é]{1,12}",
        vec![String::new(), "X".repeat(65), "A\n".into(), "a\u{85}".into()],
    );
    let price = mostly(1e-8..1e9_f64, vec![0.0, -1.0, f64::NAN, f64::INFINITY]);
    let volume = mostly(0.0..1e9_f64, vec![-0.0, -1.0, f64::NAN, f64::INFINITY]);
    let timestamp = mostly(1..END_OF_TIME, vec![0, -1, i64::MIN, END_OF_TIME, i64::MAX]);
    let row = (price, timestamp, volume, any::<u64>(), testing::conditions());
    (symbol, vec(row, 1..12), 0..40_u8).prop_map(|(symbol, rows, flaw)| {
        let last = rows.last().expect("at least one");
        let mut message = StockTick {
            symbol,
            price: last.0,
            timestamp: last.1,
            volume: last.2,
            conditions: last.4.clone(),
            received_at: last.3,
            ..StockTick::default()
        };
        if rows.len() > 1 || flaw == 0 {
            for (price, timestamp, volume, received_at, conditions) in rows {
                message.prices.push(price);
                message.timestamps.push(timestamp);
                message.volumes.push(volume);
                message.received_ats.push(received_at);
                message.condition_counts.push(conditions.len() as u32);
                message.condition_values.extend(conditions);
            }
        }
        match flaw {
            1 => drop(message.prices.pop()),
            2 => message.timestamps.clear(),
            3 => message.volumes.push(1.0),
            4 => drop(message.received_ats.pop()),
            5 => drop(message.condition_counts.pop()),
            6 => message.condition_values.push("1".into()),
            7 => message.condition_counts.push(u32::MAX),
            8 => message.condition_counts.clear(),
            _ => {}
        }
        message
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn says_what_prost_says_of_messages(message in message()) {
        check(&mut Decoder::new(), &message.encode_to_vec());
    }

    #[test]
    fn says_what_prost_says_of_foreign_encodings(
        messages in vec(message(), 1..3),
        cuts in vec(any::<u8>(), 1..6),
        strays in vec((any::<prop::sample::Index>(), stray()), 0..3),
        swaps in vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..3),
        mutations in testing::mutations(&[0, 1, 8, 9, 0x7f, 0x80, 0xff, 0x62]),
    ) {
        let mut decoder = Decoder::new();
        for message in &messages {
            let mut pieces = pieces(message, &cuts);
            for (a, b) in &swaps {
                let length = pieces.len();
                pieces.swap(a.index(length), b.index(length));
            }
            for (at, stray) in &strays {
                pieces.insert(at.index(pieces.len()), stray.clone());
            }
            let mut bytes = pieces.concat();
            check(&mut decoder, &bytes);
            mutate(&mut bytes, &mutations);
            check(&mut decoder, &bytes);
        }
    }

    #[test]
    fn a_single_trade_is_written_as_prost_writes_it(
        symbol in "[A-Z:]{1,20}",
        trade in testing::trade(),
        conditions in testing::conditions(),
    ) {
        let mut bytes = vec![];
        encode(&symbol, &trade, conditions.iter().map(String::as_str), &mut bytes);
        let message = StockTick {
            symbol: symbol.clone(),
            price: trade.price.get(),
            timestamp: trade.timestamp,
            volume: trade.volume.get(),
            conditions: conditions.clone(),
            received_at: trade.received_at,
            ..StockTick::default()
        };
        prop_assert_eq!(&bytes, &message.encode_to_vec());
        let mut decoder = Decoder::new();
        let record = decoder.decode(&bytes).expect("what was written can be read");
        prop_assert_eq!(said(&record), (symbol, vec![(trade, conditions)]));
    }
}

fn valid() -> StockTick {
    StockTick { symbol: "AAPL".into(), price: 1.5, timestamp: 1_000, ..StockTick::default() }
}

fn refused(bytes: &[u8]) -> TickError {
    check(&mut Decoder::new(), bytes);
    Decoder::new().decode(bytes).map(|record| said(&record)).expect_err("must be refused")
}

#[test]
fn a_message_of_the_originals_is_a_trade_without_volume() {
    let seed = rpc::seed::stock::StockTick {
        symbol: "binance:btcusdt".into(),
        price: 39_432.48,
        timestamp: 1_610_064_000_278,
    };
    let bytes = seed.encode_to_vec();
    let mut decoder = Decoder::new();
    let record = decoder.decode(&bytes).expect("the seed's bytes decode");
    assert_eq!(record.symbol(), "BINANCE:BTCUSDT");
    let trade = record.trade(0);
    assert_eq!((trade.price.get(), trade.timestamp), (39_432.48, 1_610_064_000_278));
    assert_eq!((trade.volume, trade.received_at), (Volume::ZERO, 0));
}

#[test]
fn each_breach_of_the_contract_has_its_reason() {
    let refused = |change: fn(&mut StockTick)| {
        let mut message = valid();
        change(&mut message);
        refused(&message.encode_to_vec()).as_str()
    };
    assert_eq!(refused(|tick| tick.symbol.clear()), "symbol");
    assert_eq!(refused(|tick| tick.price = f64::NAN), "price");
    assert_eq!(refused(|tick| tick.volume = -1.0), "volume");
    assert_eq!(refused(|tick| tick.timestamp = 0), "timestamp");
    assert_eq!(refused(|tick| tick.timestamp = END_OF_TIME), "timestamp");
    assert_eq!(refused(|tick| tick.prices.push(1.0)), "unequal_columns");
    assert_eq!(refused(|tick| tick.condition_counts.push(0)), "unequal_columns");
    assert_eq!(refused(|tick| tick.condition_values.push("1".into())), "condition_counts");
    assert_eq!(
        refused(|tick| {
            let length = MAX_TRADES_PER_RECORD + 1;
            tick.prices = vec![1.0; length];
            tick.volumes = vec![1.0; length];
            tick.timestamps = vec![1; length];
            tick.received_ats = vec![1; length];
        }),
        "too_many_trades"
    );
}

#[test]
fn what_is_no_message_is_refused() {
    assert_eq!(refused(b"{\"symbol\":\"AAPL\"}"), TickError::Encoding);
    assert_eq!(refused(b"\x0a\x02\xff\xfe"), TickError::NotUtf8);
    assert_eq!(refused(&valid().encode_to_vec()[..7]), TickError::Encoding);
    assert!(matches!(refused(b""), TickError::Price));
}

/// What is between two conditions may be no text, or make a text of two that are none.
#[test]
fn conditions_are_judged_each_by_itself() {
    let of = |between: &[u8], texts: [&[u8]; 3]| {
        let mut bytes = valid().encode_to_vec();
        for text in texts {
            bytes.extend(field(5, 2, text));
            bytes.extend_from_slice(between);
        }
        bytes
    };
    let long = "é".repeat(70);
    let texts: [&[u8]; 3] = ["é1".as_bytes(), b"", "\u{1f600}".as_bytes()];
    for between in [&[][..], &field(20, 2, b"\xff\xfe"), &field(20, 2, b"ok")] {
        check(&mut Decoder::new(), &of(between, texts));
        check(&mut Decoder::new(), &of(between, [texts[2], long.as_bytes(), b"12"]));
        for half in [&b"\xc3"[..], b"\xa9", b"1\xf0\x9f", b"\x80"] {
            assert_eq!(refused(&of(between, [b"1", half, b"2"])), TickError::NotUtf8);
            assert_eq!(refused(&of(between, [half, b"2", long.as_bytes()])), TickError::NotUtf8);
            assert_eq!(refused(&of(between, [b"", b"1", half])), TickError::NotUtf8);
        }
    }
    // A key in two bytes, of which the first goes on the text before.
    let mut split = field(5, 2, b"\xc3");
    split.extend([0xaa, 0x00, 1, b'x']);
    let bytes = [valid().encode_to_vec(), split].concat();
    assert_eq!(refused(&bytes), TickError::NotUtf8);
}

#[test]
fn unknown_groups_are_skipped_to_the_depth_that_prost_skips() {
    for depth in [1, 98, 99, 100, 101, 200] {
        let mut bytes = valid().encode_to_vec();
        bytes.extend(field(20, 3, &[]).repeat(depth));
        bytes.extend(field(21, 0, &[1]));
        bytes.extend(field(20, 4, &[]).repeat(depth));
        check(&mut Decoder::new(), &bytes);
    }
}

#[test]
fn a_decoder_forgets_the_record_before() {
    let mut decoder = Decoder::new();
    let mut many = valid();
    many.symbol = "lower".into();
    many.prices = vec![1.0, 1.5];
    many.timestamps = vec![900, 1_000];
    many.volumes = vec![0.0, 0.0];
    many.received_ats = vec![1, 2];
    many.condition_counts = vec![2, 1];
    many.condition_values = vec!["a".into(), "b".into(), "c".into()];
    for message in [many.clone(), valid(), many] {
        check(&mut decoder, &pieces(&message, &[9, 1, 0]).concat());
        check(&mut decoder, &message.encode_to_vec());
    }
}
