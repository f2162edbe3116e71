use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::Value;
use servers::{http, poll};

use crate::ui::Ui;

/// What the ingestor subscribes where `SYMBOLS` is not set.
const DEFAULT_SYMBOLS: &str = "AAPL,BINANCE:BTCUSDT,IC MARKETS:1";
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the gateway has a price from now on of each symbol: a simulated market is never
/// closed. Older ones may lie in Redis.
pub(crate) fn wait(gateway: &str, symbols: Option<&str>, ui: &Ui) -> anyhow::Result<()> {
    let task = ui.task("first price");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let symbols = symbols.unwrap_or(DEFAULT_SYMBOLS).split(',').map(str::trim);
    for symbol in symbols.filter(|symbol| !symbol.is_empty()) {
        task.step(symbol);
        let path = format!("/price/{}", encode(symbol));
        let mut last = String::from("no answer");
        poll(PATIENCE, || {
            let (status, body) = http::get(gateway, &path).ok()?;
            let price: Value = serde_json::from_str(&body).unwrap_or_default();
            let is_new = price["timestamp"].as_u64().is_some_and(|time| u128::from(time) >= now);
            last = body;
            (status == 200 && is_new).then_some(())
        })
        .with_context(|| {
            format!(
                "everything is ready, and yet http://{gateway}{path} has no new price: {last}; \
                 `cargo stack logs` may tell why"
            )
        })?;
    }
    task.done("there for every symbol");
    Ok(())
}

fn encode(symbol: &str) -> String {
    let mut encoded = String::new();
    for byte in symbol.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_percent_encoded() {
        assert_eq!(encode("IC MARKETS:1"), "IC%20MARKETS%3A1");
        assert_eq!(encode("BRK/B"), "BRK%2FB");
        assert_eq!(encode("É"), "%C3%89");
    }
}
