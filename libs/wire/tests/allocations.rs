//! What is on the way of every trade takes memory once, and never again.

use std::convert::Infallible;

use allocation_counter::measure;
use wire::frame::{Frame, FrameDecoder};
use wire::record::Gatherer;
use wire::tick::Decoder;

const NOW_MS: i64 = 1_700_000_000_000;

/// Two trades with conditions and one without, of two symbols.
const FRAME: &[u8] = br#"{"data":[
    {"c":["1","12"],"p":122.1,"s":"TSLA","t":1672348887195,"v":1},
    {"c":null,"p":39432.48,"s":"BINANCE:BTCUSDT","t":1610064000278,"v":0.000263},
    {"v":1,"s":"TSLA","p":122.2,"t":1672348887196,"c":["\u0031"]}],"type":"trade"}"#;

/// From a frame to records and from those to trades again, which are counted.
fn turn(
    decoder: &mut FrameDecoder,
    gatherer: &mut Gatherer,
    records: &mut [Vec<u8>],
    ticks: &mut Decoder,
) -> usize {
    let Ok(Frame::Trades(trades)) = decoder.decode(FRAME, NOW_MS) else { panic!("trades") };
    for trade in trades {
        gatherer.add(trade.symbol, &trade.received(1), trade.conditions.clone());
    }
    let mut sent = 0;
    let Ok(()) = gatherer.drain(|_, record, _, _| {
        records[sent].clear();
        records[sent].extend_from_slice(record);
        sent += 1;
        Ok::<_, Infallible>(())
    });
    let read = |record: &Vec<u8>| {
        let record = ticks.decode(record).expect("a record");
        let conditions = (0..record.len()).flat_map(|index| record.conditions(index));
        assert!(conditions.count() <= 3);
        record.trades().count()
    };
    records[..sent].iter().map(read).sum()
}

#[test]
fn nothing_is_allocated_for_a_trade() {
    let (mut decoder, mut gatherer) = (FrameDecoder::new(), Gatherer::new(10));
    let (mut records, mut ticks) = (vec![Vec::new(); 2], Decoder::new());
    let mut turn = || turn(&mut decoder, &mut gatherer, &mut records, &mut ticks);
    assert_eq!(turn(), 3);
    let taken = measure(|| {
        for _ in 0..10 {
            turn();
        }
    });
    assert_eq!(taken.count_total, 0);
}
