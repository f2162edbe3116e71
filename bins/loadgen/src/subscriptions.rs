use market::Symbol;
use serde::Deserialize;

/// What one client wants to see, in the order in which it asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions {
    symbols: Vec<Subscribed>,
}

#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    /// As the client spelled it, and will see it.
    pub(crate) spelled: String,
    pub(crate) name: Symbol,
}

#[derive(Debug, Deserialize)]
struct Request {
    r#type: String,
    symbol: Option<String>,
}

/// Finnhub does not name the symbol that was too many.
pub(crate) const TOO_MANY: &str = r#"{"type":"error","msg":"Subscribing to too many symbols"}"#;
const INVALID: &str = r#"{"type":"error","msg":"Invalid symbol"}"#;
const NOT_UNDERSTOOD: &str = r#"{"type":"error","msg":"Invalid message"}"#;

impl Subscriptions {
    /// Does what a client's message asks for. Finnhub does not acknowledge; `Err` is its error.
    /// `limit` of 0: none.
    pub(crate) fn request(&mut self, message: &[u8], limit: usize) -> Result<(), &'static str> {
        let request: Request = serde_json::from_slice(message).map_err(|_| NOT_UNDERSTOOD)?;
        let spelled = request.symbol.unwrap_or_default();
        match request.r#type.as_str() {
            "subscribe" => {
                let name = Symbol::new(&spelled).map_err(|_| INVALID)?;
                if self.contains(&name) {
                    return Ok(());
                }
                if limit > 0 && self.symbols.len() >= limit {
                    return Err(TOO_MANY);
                }
                self.symbols.push(Subscribed { spelled, name });
                Ok(())
            }
            "unsubscribe" => {
                let name = Symbol::new(&spelled).map_err(|_| INVALID)?;
                self.symbols.retain(|subscribed| subscribed.name != name);
                Ok(())
            }
            // The server's own ping may be echoed by a client: harmless.
            "ping" | "pong" => Ok(()),
            _ => Err(NOT_UNDERSTOOD),
        }
    }

    pub(crate) fn contains(&self, name: &Symbol) -> bool {
        self.symbols.iter().any(|subscribed| subscribed.name == *name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Subscribed> {
        self.symbols.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(messages: &[&str], expected: &[&str], last: Result<(), &str>) {
        let mut subscriptions = Subscriptions::default();
        let mut outcome = Ok(());
        for message in messages {
            outcome = subscriptions.request(message.as_bytes(), 2);
        }
        let found: Vec<_> = subscriptions.iter().map(|s| s.spelled.as_str()).collect();
        assert_eq!((found.as_slice(), outcome), (expected, last));
    }

    #[test]
    fn clients_subscribe_and_unsubscribe() {
        let a = r#"{"type":"subscribe","symbol":"AAPL"}"#;
        let b = r#"{"symbol":"IC MARKETS:1","type":"subscribe"}"#;
        let c = r#"{"type":"subscribe","symbol":"MSFT"}"#;
        check(&[a, b], &["AAPL", "IC MARKETS:1"], Ok(()));
        check(&[a, b, c], &["AAPL", "IC MARKETS:1"], Err(TOO_MANY));
        check(&[a, b, a], &["AAPL", "IC MARKETS:1"], Ok(()));
        check(&[a, b, r#"{"type":"unsubscribe","symbol":"aapl"}"#], &["IC MARKETS:1"], Ok(()));
        check(&[r#"{"type":"subscribe"}"#], &[], Err(INVALID));
        check(&["subscribe AAPL"], &[], Err(NOT_UNDERSTOOD));
        check(&[r#"{"type":"dance"}"#], &[], Err(NOT_UNDERSTOOD));
    }
}
