//! Generated and mutated frames, held to the reference.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::{FrameDecoder, number};
use super::reference::check;
use crate::testing::{Mutation, mutate, mutations};

const NOW_MS: i64 = super::NOW_MS;

/// What a mutated frame is likely to trip over.
const ALPHABET: &[u8] = b"{}[]:,\"\\ \t\n0123456789.eE+-psvtcnullu\x00\x1f\x7f\x80\xc3\xff";

/// A JSON value, so far without spelling.
#[derive(Clone, Debug)]
enum Json {
    /// As it stands: a number or a literal.
    Plain(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Spells a value: whitespace and escapes as the choices say, over and over.
struct Speller<'a> {
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    out: String,
}

impl Speller<'_> {
    fn choice(&mut self) -> u8 {
        *self.choices.next().expect("there is at least one choice")
    }

    fn whitespace(&mut self) {
        let space = match self.choice() % 16 {
            0 => " ",
            1 => "\t\r\n ",
            2 => "          ",
            _ => "",
        };
        self.out.push_str(space);
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            match (char, self.choice() % 32) {
                (char, 0) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                ('"' | '\\', _) => self.out.extend(['\\', char]),
                ('/', 1) => self.out.push_str("\\/"),
                ('\n', _) => self.out.push_str("\\n"),
                (char @ '\0'..='\x1f', _) => {
                    self.out.push_str(&format!("\\u{:04X}", u32::from(char)));
                }
                (char, _) => self.out.push(char),
            }
        }
        self.out.push('"');
    }

    fn json(&mut self, json: &Json) {
        match json {
            Json::Plain(text) => self.out.push_str(text),
            Json::Text(text) => self.text(text),
            Json::Array(elements) => {
                self.out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    self.separate(index);
                    self.json(element);
                }
                self.whitespace();
                self.out.push(']');
            }
            Json::Object(members) => {
                self.out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    self.separate(index);
                    self.text(key);
                    self.whitespace();
                    self.out.push(':');
                    self.whitespace();
                    self.json(value);
                }
                self.whitespace();
                self.out.push('}');
            }
        }
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.whitespace();
            self.out.push(',');
        }
        self.whitespace();
    }
}

fn plain(text: impl ToString) -> Json {
    Json::Plain(text.to_string())
}

fn number() -> impl Strategy<Value = Json> {
    prop_oneof![
        (1..1_000_000_000_u64, 0..9_u32).prop_map(|(value, places)| {
            plain(format!("{:.*}", places as usize, value as f64 / 10_f64.powi(places as i32)))
        }),
        any::<i64>().prop_map(plain),
        any::<u64>().prop_map(plain),
        any::<f64>()
            .prop_filter("JSON has only finite numbers", |value| value.is_finite())
            .prop_flat_map(|value| prop_oneof![
                Just(plain(format!("{value:e}"))),
                Just(plain(format!("{value}"))),
            ]),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-2]?[0-9]{1,2})?".prop_map(plain),
        "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,5})?([eE][+-]?[0-9])?".prop_map(plain),
    ]
}

fn milliseconds() -> impl Strategy<Value = Json> {
    let near = 1_699_999_000_000..NOW_MS + 70_000;
    prop_oneof![
        4 => near.clone().prop_map(plain),
        1 => near.clone().prop_map(|time| plain(format!("{time}.0"))),
        1 => near.clone().prop_map(|time| plain(format!("{time}.5"))),
        1 => near.prop_map(|time| plain(format!("{:e}", time as f64))),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["AAPL", "BINANCE:BTCUSDT", "IC MARKETS:1", "aapl", "BRK/B"])
            .prop_map(String::from),
        "[ -~]{0,12}",
        "\\PC{0,8}",
        "[\\x00-\\x1f\"\\\\/\u{7f}-\u{9f}😀é]{0,4}",
        "[A-Z]{60,70}",
    ]
}

fn literal() -> impl Strategy<Value = Json> {
    select(vec!["null", "true", "false"]).prop_map(plain)
}

fn anything() -> impl Strategy<Value = Json> {
    let key = prop_oneof![select(vec!["s", "p", "data", "type"]).prop_map(String::from), text()];
    let leaf = prop_oneof![literal(), number(), text().prop_map(Json::Text)];
    leaf.prop_recursive(4, 12, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::Array),
            vec((key.clone(), inner), 0..4).prop_map(Json::Object),
        ]
    })
}

/// A value of the kind that belongs here, mostly.
fn mostly(good: impl Strategy<Value = Json> + 'static) -> impl Strategy<Value = Json> {
    prop_oneof![16 => good, 1 => anything()]
}

fn conditions() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(plain("null")),
        vec(mostly("[0-9A-Z]{0,2}".prop_map(Json::Text)), 0..4).prop_map(Json::Array),
        vec(Just(Json::Text("1".into())), 31..34).prop_map(Json::Array),
    ]
}

fn price() -> impl Strategy<Value = Json> {
    prop_oneof![2 => (0.0001..1e6_f64).prop_map(plain), 1 => number()]
}

fn member() -> impl Strategy<Value = (String, Json)> {
    let named = |name: &'static str, value: BoxedStrategy<Json>| {
        value.prop_map(move |value| (name.to_owned(), value))
    };
    prop_oneof![
        named("s", mostly(text().prop_map(Json::Text)).boxed()),
        named("p", mostly(price()).boxed()),
        named("v", mostly(price()).boxed()),
        named("t", mostly(milliseconds()).boxed()),
        named("c", mostly(conditions()).boxed()),
        (text(), anything()),
    ]
}

/// An object with the members a trade needs, some other ones, and all of them in any order.
fn trade() -> impl Strategy<Value = Json> {
    let whole = (text(), price(), price(), milliseconds(), conditions()).prop_map(
        |(symbol, price, volume, time, conditions)| {
            let values = [Json::Text(symbol), price, volume, time, conditions];
            ["s", "p", "v", "t", "c"].map(String::from).into_iter().zip(values).collect::<Vec<_>>()
        },
    );
    let members = (whole, vec(member(), 0..3)).prop_map(|(whole, more)| [whole, more].concat());
    let shuffled = members.prop_shuffle().prop_map(Json::Object);
    prop_oneof![
        12 => shuffled,
        2 => vec(member(), 0..6).prop_map(Json::Object),
        1 => anything(),
    ]
}

fn frame() -> impl Strategy<Value = Json> {
    let data = || mostly(vec(trade(), 0..8).prop_map(Json::Array)).boxed();
    let kind = || {
        let kind = select(vec!["trade", "trade", "trade", "trade", "ping", "error", "news"]);
        mostly(kind.prop_map(|kind| Json::Text(kind.into()))).boxed()
    };
    let member = prop_oneof![
        2 => data().prop_map(|data| ("data".to_owned(), data)),
        2 => kind().prop_map(|kind| ("type".to_owned(), kind)),
        2 => mostly(text().prop_map(Json::Text)).prop_map(|text| ("msg".to_owned(), text)),
        1 => (text(), anything()),
    ];
    let members = (data(), kind(), vec(member, 0..3)).prop_map(|(data, kind, more)| {
        let needed = vec![("data".to_owned(), data), ("type".to_owned(), kind)];
        [needed, more].concat()
    });
    prop_oneof![20 => members.prop_shuffle().prop_map(Json::Object), 1 => anything()]
}

fn spelled(json: &Json, choices: &[u8]) -> Vec<u8> {
    let mut speller = Speller { choices: choices.iter().cycle(), out: String::new() };
    speller.whitespace();
    speller.json(json);
    speller.whitespace();
    speller.out.into_bytes()
}

/// Frames as the feed sends them, and those of a recording where there is one.
fn real_frames() -> Vec<String> {
    let mut frames: Vec<String> = [
        r#"{"data":[{"c":["1","12"],"p":122.1,"s":"TSLA","t":1672348887195,"v":1}],"type":"trade"}"#,
        r#"{"data":[{"c":null,"p":39432.48,"s":"BINANCE:BTCUSDT","t":1610064000278,"v":0.000263},{"c":null,"p":39439.44,"s":"BINANCE:BTCUSDT","t":1610064000310,"v":0.004376}],"type":"trade"}"#,
        r#"{"data":[{"p":1.08512,"s":"IC MARKETS:1","t":1672348887195,"v":0}],"type":"trade"}"#,
        r#"{"msg":"Subscribing to too many symbols","type":"error"}"#,
        r#"{"type":"ping"}"#,
    ]
    .map(String::from)
    .into();
    let shared = std::env::var_os("GOSTOCKS_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        Into::into,
    );
    let recording = shared.join("btcusdt-2021-01-08.ndjson");
    match std::fs::read_to_string(&recording) {
        Ok(text) => frames.extend(text.lines().map(String::from)),
        Err(error) => println!("skips the recording: {}: {error}", recording.display()),
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn says_what_the_reference_says_of_generated_frames(
        frames in vec(frame(), 1..3),
        choices in vec(any::<u8>(), 1..64),
        mutations in mutations(ALPHABET),
    ) {
        let mut decoder = FrameDecoder::new();
        for frame in &frames {
            let mut bytes = spelled(frame, &choices);
            check(&mut decoder, &bytes, NOW_MS);
            mutate(&mut bytes, &mutations);
            check(&mut decoder, &bytes, NOW_MS);
        }
    }

    #[test]
    fn reads_numbers_as_the_standard_library_does(number in number()) {
        let Json::Plain(text) = number else { unreachable!("a number is plain") };
        let value = text.parse::<f64>().expect("it is");
        // What follows is no part of it, and there is room to read ahead.
        for after in ["", ",", "}],\"type\":\"trade\"}"] {
            let frame = format!("{text}{after}");
            let (found, end) = number::read_value(&frame, 0).expect("it is a number");
            prop_assert_eq!((found.to_bits(), end), (value.to_bits(), text.len()));
            for read in [number::read, number::read_integer] {
                let (found, end) = read(&frame, 0).expect("it is a number");
                prop_assert_eq!((found.value.to_bits(), end), (value.to_bits(), text.len()));
                prop_assert_eq!(found.integer, text.parse::<i64>().ok());
            }
        }
    }
}

#[test]
fn says_what_the_reference_says_of_real_frames() {
    let mut decoder = FrameDecoder::new();
    for frame in real_frames() {
        check(&mut decoder, frame.as_bytes(), NOW_MS);
    }
}

#[test]
fn says_what_the_reference_says_of_mutated_real_frames() {
    let frames = real_frames();
    let strategy = (any::<Index>(), vec(mutations(ALPHABET), 1..4));
    let config = ProptestConfig::with_cases(4_000);
    let run = |(index, rounds): (Index, Vec<Vec<Mutation>>)| {
        let mut decoder = FrameDecoder::new();
        let mut bytes = index.get(&frames).clone().into_bytes();
        for mutations in &rounds {
            mutate(&mut bytes, mutations);
            check(&mut decoder, &bytes, NOW_MS);
        }
        Ok(())
    };
    proptest::test_runner::TestRunner::new(config)
        .run(&strategy, run)
        .expect("decoder and reference agree");
}
