//! Reading a hash whose fields somebody else may have written.

use std::collections::HashMap;
use std::str::FromStr;

use market::Price;

/// A hash of Redis, by field.
#[derive(Debug)]
pub(crate) struct Fields(HashMap<String, String>);

impl Fields {
    pub(crate) fn new(fields: HashMap<String, String>) -> Self {
        Self(fields)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    pub(crate) fn finite(&self, name: &str) -> Option<f64> {
        self.number(name).filter(|value: &f64| value.is_finite())
    }

    pub(crate) fn price(&self, name: &str) -> Option<Price> {
        Price::new(self.number(name)?)
    }
}
