use axum::http::Uri;
use market::Symbol;
use url::form_urlencoded;

use crate::problem::{Kind, Problem};

/// The most rows that one list holds, and how many it holds where the client names no limit.
pub(crate) const MOST_ROWS: i32 = 10_000;

/// Symbols that one request names at most.
pub(crate) const MOST_SYMBOLS: usize = 1_000;

pub(crate) fn bad_query(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadQuery, detail)
}

/// A query. Of a parameter that stands twice the first counts, and one without a value is absent:
/// both as in the original.
pub(crate) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(crate) fn of(uri: &'a Uri) -> Self {
        Self(uri.query().unwrap_or_default())
    }

    pub(crate) fn value(&self, wanted: &str) -> String {
        let mut parameters = form_urlencoded::parse(self.0.as_bytes());
        let value = parameters.find_map(|(name, value)| (name == wanted).then_some(value));
        value.unwrap_or_default().into_owned()
    }

    pub(crate) fn user_id(&self) -> Result<i64, Problem> {
        match &*self.value("user_id") {
            "" => Ok(0),
            text => text
                .parse()
                .ok()
                .filter(|user_id| *user_id >= 0)
                .ok_or_else(|| bad_query("user_id must be a whole number, 0 or positive")),
        }
    }

    pub(crate) fn limit(&self) -> Result<i32, Problem> {
        match &*self.value("limit") {
            "" => Ok(MOST_ROWS),
            text => {
                let limit = text.parse().ok().filter(|limit| (1..=MOST_ROWS).contains(limit));
                limit.ok_or_else(|| {
                    bad_query(format!("limit must be a whole number from 1 to {MOST_ROWS}"))
                })
            }
        }
    }

    /// Symbols separated by commas, each once, in their order.
    pub(crate) fn symbols(&self) -> Result<Vec<Symbol>, Problem> {
        let text = self.value("symbols");
        let symbols: Result<Vec<Symbol>, Problem> = text
            .split(',')
            .filter(|name| !name.is_empty())
            .map(|name| Symbol::new(name).map_err(|error| bad_query(format!("symbols: {error}"))))
            .collect();
        let mut symbols = symbols?;
        symbols.sort_unstable();
        symbols.dedup();
        if symbols.is_empty() || symbols.len() > MOST_SYMBOLS {
            let detail = format!("symbols must name 1 to {MOST_SYMBOLS}, separated by commas");
            return Err(bad_query(detail));
        }
        Ok(symbols)
    }

    /// Unix milliseconds; `None` where it is absent.
    pub(crate) fn time(&self, name: &str) -> Result<Option<i64>, Problem> {
        match &*self.value(name) {
            "" => Ok(None),
            text => {
                let time = text.parse().ok().filter(|time| *time >= 0);
                let wrong = || bad_query(format!("{name} must be a time in Unix milliseconds"));
                time.map(Some).ok_or_else(wrong)
            }
        }
    }
}
