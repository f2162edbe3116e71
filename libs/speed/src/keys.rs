//! Names of keys. The braces keep a symbol's keys, and a stream's, in one slot of a cluster.

use std::borrow::Cow;

use market::{Interval, Symbol};

/// What stands between the braces for a symbol. Redis takes empty braces for none, so a symbol that
/// begins with `}` needs something before it that no symbol has.
fn tag(symbol: &str) -> Cow<'_, str> {
    if symbol.starts_with('}') { format!("{GUARD}{symbol}").into() } else { symbol.into() }
}

const GUARD: char = '\u{1}';

pub(crate) fn price(symbol: &str) -> String {
    format!("price:{{{}}}", tag(symbol))
}

/// The symbol of a key that `price` gave.
pub(crate) fn symbol(price_key: &[u8]) -> Option<Symbol> {
    let key = std::str::from_utf8(price_key).ok()?;
    let tag = key.strip_prefix("price:{")?.strip_suffix('}')?;
    Symbol::new(tag.trim_start_matches(GUARD)).ok()
}

pub(crate) fn candles(symbol: &str, interval: Interval) -> String {
    format!("candles:{{{}}}:{interval}", tag(symbol))
}

pub(crate) fn recent(symbol: &str) -> String {
    format!("recent:{{{}}}", tag(symbol))
}

pub(crate) fn stream(topic: &str, partition: i32) -> String {
    format!("ticks:{{{topic}/{partition}}}")
}

/// How far a stream goes, and of which log it is.
pub(crate) fn stream_end(topic: &str, partition: i32) -> String {
    format!("ticks:{{{topic}/{partition}}}:end")
}

pub(crate) fn log(topic: &str) -> String {
    format!("log:{{{topic}}}")
}

/// What goes as soon as somebody else takes a claim of a writer, on a single Redis.
pub(crate) fn presence(topic: &str, writer: &str) -> String {
    format!("writer:{{{topic}}}:{writer}")
}

/// On a cluster: how far one master has everything. `number` puts the key in one of its slots.
pub(crate) fn mark(topic: &str, number: u32) -> String {
    format!("mark:{{{topic}#{number}}}")
}

/// Pattern of what `presence` gives.
pub(crate) const WRITERS: &str = "writer:{*}:*";
/// Pattern of what `price` gives.
pub(crate) const SYMBOLS: &str = "price:{*}";
/// Patterns of everything but the log's key: what a rebuild forgets. First the writers, so that
/// there is none that still writes when the others are looked for.
pub(crate) const ALL: [&str; 6] =
    [WRITERS, SYMBOLS, "candles:{*}:*", "recent:{*}", "ticks:{*}*", "mark:{*}"];

#[cfg(test)]
mod tests {
    use redis::cluster_routing::Slot;

    use super::*;

    #[test]
    fn the_keys_of_a_symbol_are_in_one_slot_and_name_it() {
        for symbol in ["AAPL", "IC MARKETS:1", "{X}", "}", "}{", "A}B", "{"] {
            let keys = [price(symbol), recent(symbol), candles(symbol, Interval::MINUTE)];
            assert!(
                keys.iter().all(|key| Slot::for_key(key) == Slot::for_key(&keys[0])),
                "{keys:?}"
            );
            let found = super::symbol(keys[0].as_bytes());
            assert_eq!(found.as_ref().map(Symbol::as_str), Some(symbol));
        }
        assert_eq!(price("AAPL"), "price:{AAPL}");
        let stream = [stream("t", 3), stream_end("t", 3)];
        assert_eq!(Slot::for_key(&stream[0]), Slot::for_key(&stream[1]));
    }
}
