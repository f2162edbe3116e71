//! Names of keys. The braces keep a symbol's keys in one slot of a cluster.

pub(crate) fn price(symbol: &str) -> String {
    format!("price:{{{symbol}}}")
}

pub(crate) fn candles(symbol: &str) -> String {
    format!("candles:{{{symbol}}}:1m")
}

pub(crate) fn log(topic: &str) -> String {
    format!("log:{{{topic}}}")
}
