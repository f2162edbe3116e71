mod properties;
mod reference;

use super::*;
use reference::{Said, say};

/// The clock of the tests.
const NOW_MS: i64 = 1_700_000_000_000;

/// What the frame says, or the label of why it is refused. Whatever the table says, the
/// reference must say too.
fn said(frame: &str) -> Result<Said, &'static str> {
    let mut decoder = FrameDecoder::new();
    let said = say(&mut decoder, frame.as_bytes(), NOW_MS).map_err(FrameError::as_str);
    reference::check(&mut decoder, frame.as_bytes(), NOW_MS);
    said
}

/// What happens to one trade: its members, or why it is rejected.
fn trade(element: &str) -> Result<(String, f64, f64, i64, Vec<String>), TradeRejection> {
    match said(&format!(r#"{{"data":[{element}],"type":"trade"}}"#)) {
        Ok(Said::Trades(mut trades, rejected)) => {
            assert_eq!(trades.len() + rejected.iter().sum::<u32>() as usize, 1, "{element}");
            match TradeRejection::ALL.iter().find(|reason| rejected[**reason as usize] == 1) {
                Some(&reason) => Err(reason),
                None => Ok(trades.remove(0)),
            }
        }
        other => panic!("{element} gave {other:?}"),
    }
}

fn accepts(element: &str, price: f64, volume: f64, timestamp: i64) {
    let found = trade(element).map(|(_, p, v, t, _)| (p, v, t));
    assert_eq!(found, Ok((price, volume, timestamp)), "{element}");
}

fn rejects(element: &str, reason: TradeRejection) {
    assert_eq!(trade(element).map(|found| found.0), Err(reason), "{element}");
}

#[test]
fn finnhubs_own_example_is_a_trade() {
    let frame = r#"{"data":[{"c":["1","12"],"p":122.1,"s":"TSLA","t":1672348887195,"v":1}],"type":"trade"}"#;
    let trade = ("TSLA".into(), 122.1, 1.0, 1_672_348_887_195, vec!["1".into(), "12".into()]);
    assert_eq!(said(frame), Ok(Said::Trades(vec![trade], Rejections::default())));
}

#[test]
fn a_frame_is_what_its_type_says() {
    assert_eq!(said(r#"{"type":"ping"}"#), Ok(Said::Ping));
    assert_eq!(said(r#"{"type":"ping","data":[1]}"#), Ok(Said::Ping));
    assert_eq!(said(r#"{"type":"p\u0069ng"}"#), Ok(Said::Ping));
    let message = "Subscribing to too many symbols";
    let frame = format!(r#"{{"msg":"{message}","type":"error"}}"#);
    assert_eq!(said(&frame), Ok(Said::Error(message.into())));
    assert_eq!(said(r#"{"type":"error","msg":"a\nb"}"#), Ok(Said::Error("a\nb".into())));
    assert_eq!(said(r#"{"type":"error","msg":[1]}"#), Ok(Said::Error(String::new())));
    assert_eq!(said(r#"{"type":"error"}"#), Ok(Said::Error(String::new())));
    assert_eq!(said(r#"{"type":"news","data":[{}]}"#), Ok(Said::Other("news".into())));
    assert_eq!(said(r#"{"type":""}"#), Ok(Said::Other(String::new())));
    let nothing = Ok(Said::Trades(vec![], Rejections::default()));
    assert_eq!(said(r#" { "type" : "trade" , "data" : [ ] } "#), nothing);
    assert_eq!(said(r#"{"data":[1,{}],"type":"trade","data":[]}"#), nothing);
}

#[test]
fn what_is_no_frame_has_its_reason() {
    for (frame, reason) in [
        ("", "json"),
        ("garbage", "json"),
        (r#"{"data":[{"p":1"#, "json"),
        (r#"{"type":"ping"} x"#, "json"),
        (r#"{"type":"ping"}{"type":"ping"}"#, "json"),
        (r#"{"type":"ping",}"#, "json"),
        (r#"{"type":'ping'}"#, "json"),
        (r#"{"type":"ping","x":NaN}"#, "json"),
        (r#"{"type":"ping","x":01}"#, "json"),
        (r#"{"type":"ping","x":1.}"#, "json"),
        (r#"{"type":"ping","x":.5}"#, "json"),
        (r#"{"type":"ping","x":+1}"#, "json"),
        (r#"{"type":"ping","x":1e}"#, "json"),
        (r#"{"type":"ping","x":-}"#, "json"),
        (r#"{"type":"ping","x":"\ud800"}"#, "json"),
        (r#"{"type":"ping","x":"\udc00\ud800"}"#, "json"),
        (r#"{"type":"ping","x":"\ud800\ue000"}"#, "json"),
        (r#"{"type":"ping","x":"\x41"}"#, "json"),
        ("{\"type\":\"ping\",\"x\":\"a\nb\"}", "json"),
        ("{\"type\":\"pi\0ng\"}", "json"),
        ("\u{feff}{\"type\":\"ping\"}", "json"),
        ("[]", "not_object"),
        ("\"ping\"", "not_object"),
        ("1", "not_object"),
        ("null", "not_object"),
        ("{}", "no_type"),
        (r#"{"type":1}"#, "no_type"),
        (r#"{"type":"ping","type":null}"#, "no_type"),
        (r#"{"type":"trade"}"#, "no_data"),
        (r#"{"type":"trade","data":null}"#, "no_data"),
        (r#"{"type":"trade","data":[],"data":{}}"#, "no_data"),
    ] {
        assert_eq!(said(frame), Err(reason), "{frame}");
    }
    let mut decoder = FrameDecoder::new();
    let error = say(&mut decoder, b"{\"type\":\"ping\xff\"}", NOW_MS).expect_err("not UTF-8");
    assert_eq!(error.as_str(), "not_utf8");
}

#[test]
fn nesting_is_bounded_as_in_serde_json() {
    let nested = |depth: usize| {
        let frame = format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        said(&frame)
    };
    assert_eq!(nested(126), Ok(Said::Ping));
    assert_eq!(nested(127), Err("too_deep"));
    assert_eq!(nested(100_000), Err("too_deep"));
}

#[test]
fn every_label_is_listed() {
    let errors = [
        FrameError::NotUtf8,
        FrameError::Json { at: 3 },
        FrameError::TooDeep,
        FrameError::NotObject,
        FrameError::NoType,
        FrameError::NoData,
    ];
    assert_eq!(errors.map(FrameError::as_str), FrameError::LABELS);
    for (index, reason) in TradeRejection::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index);
    }
}

#[test]
fn members_come_in_any_order_with_whatever_else() {
    accepts(r#"{"v":2,"t":3,"s":"A","p":1}"#, 1.0, 2.0, 3);
    accepts(r#"{"\u0070":1,"s":"A","t":3}"#, 1.0, 0.0, 3);
    accepts(r#"{"p":1,"s":"A","t":3,"v":null,"c":null}"#, 1.0, 0.0, 3);
    accepts(r#"{"p":1,"s":"A","t":3,"x":{"p":[{}]},"pp":2,"":1e999}"#, 1.0, 0.0, 3);
    accepts(r#"{"p":"?","s":1,"t":{},"v":-1,"c":1,"c":[],"v":2,"p":1,"s":"A","t":3}"#, 1.0, 2.0, 3);
    accepts("{\t\"p\" :\r1 ,\n\"s\": \"A\", \"t\":3 }", 1.0, 0.0, 3);
    rejects(r#"{"p":1,"s":"A","t":3,"p":null}"#, TradeRejection::Price);
    rejects(r#"{"p":1,"s":"A","t":3,"c":[],"c":0}"#, TradeRejection::Shape);
}

#[test]
fn a_number_is_read_however_it_is_spelled() {
    for spelling in ["0.1", "1e-1", "0.01E+1", "100e-3", "0.1000000000000000000000000000000"] {
        accepts(&format!(r#"{{"p":{spelling},"s":"A","t":3}}"#), 0.1, 0.0, 3);
    }
    for (spelling, price) in [
        ("9007199254740993", 9_007_199_254_740_992.0),
        ("18446744073709551615", 18_446_744_073_709_551_615.0),
        ("18446744073709551617", 18_446_744_073_709_551_617.0),
        ("123456789012345678901234567890", 123_456_789_012_345_678_901_234_567_890.0),
        ("0.30000000000000004", 0.300_000_000_000_000_04),
        ("1e22", 1e22),
        ("1e23", 1e23),
        ("5e-324", 5e-324),
        ("2.2250738585072011e-308", 2.225_073_858_507_201e-308),
        ("1.7976931348623157e308", f64::MAX),
    ] {
        accepts(&format!(r#"{{"p":{spelling},"s":"A","t":3}}"#), price, 0.0, 3);
    }
    for spelling in ["1700000000000", "1.7e12", "1700000000000.0", "17E11", "170000000000000e-2"] {
        accepts(&format!(r#"{{"p":1,"s":"A","t":{spelling}}}"#), 1.0, 0.0, NOW_MS);
    }
}

#[test]
fn each_bad_member_has_its_reason() {
    use TradeRejection::{Price, Shape, Symbol, Timestamp, TimestampAhead, Volume};
    for element in ["null", "1", "[]", "\"A\"", "true"] {
        rejects(element, Shape);
    }
    rejects("{}", Symbol);
    for conditions in ["1", "\"1\"", "{}", "false", "[1]", "[\"1\",null]", "[[]]"] {
        rejects(&format!(r#"{{"s":"A","p":1,"t":3,"c":{conditions}}}"#), Shape);
    }
    for symbol in ["null", "1", "\"\"", "[\"A\"]", "\"A\\n\"", "\"\\u007f\"", "\"\\u0085\""] {
        rejects(&format!(r#"{{"s":{symbol},"p":1,"t":3}}"#), Symbol);
    }
    rejects(&format!(r#"{{"s":"{}","p":1,"t":3}}"#, "X".repeat(65)), Symbol);
    for price in ["0", "-0", "-1.5", "0.0", "null", "\"1\"", "1e309", "-1e309", "1e-400", "[1]"] {
        rejects(&format!(r#"{{"s":"A","p":{price},"t":3}}"#), Price);
    }
    rejects(r#"{"s":"A","t":3}"#, Price);
    for volume in ["-1", "-1e-300", "1e309", "\"1\"", "{}", "true"] {
        rejects(&format!(r#"{{"s":"A","p":1,"t":3,"v":{volume}}}"#), Volume);
    }
    for time in ["0", "-1", "-0", "1.5", "null", "\"3\"", "1e-3", "1e309", "-1e30", "[3]"] {
        rejects(&format!(r#"{{"s":"A","p":1,"t":{time}}}"#), Timestamp);
    }
    rejects(r#"{"s":"A","p":1}"#, Timestamp);
    accepts(r#"{"s":"A","p":1,"t":1700000060000}"#, 1.0, 0.0, NOW_MS + MAX_AHEAD_MS);
    for time in ["1700000060001", "9223372036854775807", "9223372036854775808", "1e20", "1e300"] {
        rejects(&format!(r#"{{"s":"A","p":1,"t":{time}}}"#), TimestampAhead);
    }
}

#[test]
fn a_symbol_is_normalized_and_unescaped() {
    let symbol = |spelling: &str| {
        trade(&format!(r#"{{"s":"{spelling}","p":1,"t":3}}"#)).map(|trade| trade.0)
    };
    assert_eq!(symbol("binance:btcusdt"), Ok("BINANCE:BTCUSDT".into()));
    assert_eq!(symbol("IC MARKETS:1"), Ok("IC MARKETS:1".into()));
    assert_eq!(symbol("BRK\\/b"), Ok("BRK/B".into()));
    assert_eq!(symbol("\\u0041\\uD83D\\ude00"), Ok("A😀".into()));
    assert_eq!(symbol("überé"), Ok("üBERé".into()));
    assert_eq!(symbol("\\\"\\\\"), Ok("\"\\".into()));
}

#[test]
fn conditions_are_bounded() {
    let conditions = |count: usize, length: usize| {
        let list = vec![format!("\"{}\"", "x".repeat(length)); count].join(",");
        trade(&format!(r#"{{"s":"A","p":1,"t":3,"c":[{list}]}}"#)).map(|trade| trade.4.len())
    };
    assert_eq!(conditions(MAX_CONDITIONS, MAX_CONDITION_BYTES), Ok(MAX_CONDITIONS));
    assert_eq!(conditions(MAX_CONDITIONS + 1, 1), Err(TradeRejection::Shape));
    assert_eq!(conditions(1, MAX_CONDITION_BYTES + 1), Err(TradeRejection::Shape));
}

#[test]
fn one_bad_trade_drops_that_trade() {
    let frame = r#"{"data":[{"s":"A","p":1,"t":3,"c":["1"]},{"s":"A","p":0,"t":3,"c":["2"]},7,
        {"s":"b","p":2,"t":4,"c":["3","4"]}],"type":"trade"}"#;
    let Ok(Said::Trades(trades, rejected)) = said(frame) else { panic!("the frame is good") };
    let first = ("A".into(), 1.0, 0.0, 3, vec!["1".into()]);
    let second = ("B".into(), 2.0, 0.0, 4, vec!["3".into(), "4".into()]);
    assert_eq!(trades, [first, second]);
    assert_eq!(rejected[TradeRejection::Price as usize], 1);
    assert_eq!(rejected[TradeRejection::Shape as usize], 1);
    assert_eq!(rejected.iter().sum::<u32>(), 2);
}
