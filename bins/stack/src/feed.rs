use crate::settings::{Settings, redact};

/// Where the trades come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    Simulated,
    /// The user's, named by `FEED_URL` or `FINNHUB_API_KEY`; without its token.
    Real {
        shown: String,
    },
}

impl Feed {
    pub(crate) fn choose(settings: &Settings) -> Self {
        if let Some(url) = settings.value("FEED_URL") {
            return Self::Real { shown: redact(url) };
        }
        match settings.value("FINNHUB_API_KEY") {
            Some(_) => Self::Real { shown: "wss://ws.finnhub.io".to_owned() },
            None => Self::Simulated,
        }
    }
}
