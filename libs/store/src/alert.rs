use market::Price;
use uuid::Uuid;

use crate::StoreError;

/// Whose an alert is. One that exists is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(i64);

impl UserId {
    pub fn new(id: i64) -> Option<Self> {
        (id > 0).then_some(Self(id))
    }

    pub fn get(self) -> i64 {
        self.0
    }
}

/// What an alert waits for, beside its target price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Price ≥ target.
    Above,
    /// Price ≤ target.
    Below,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Active,
    Paused,
    Triggered,
    Expired,
    /// A tombstone: owners hear of it, lists leave it out.
    Deleted,
}

/// What the owner of an alert's partition needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertState {
    pub id: i64,
    pub symbol: String,
    pub condition: Condition,
    pub target_price: Price,
    pub status: Status,
    pub generation: i32,
    pub partition: i32,
    /// The log of `armed_offset`.
    pub armed_log: Uuid,
    /// It fires only on trades of records at this offset or later.
    pub armed_offset: i64,
    /// Of two states of one alert the one with the higher version holds.
    pub version: i64,
}

impl Condition {
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Above => 1,
            Self::Below => 2,
        }
    }

    pub(crate) fn parse(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Above),
            2 => Some(Self::Below),
            _ => None,
        }
    }
}

impl Status {
    pub(crate) fn parse(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Active),
            2 => Some(Self::Paused),
            3 => Some(Self::Triggered),
            4 => Some(Self::Expired),
            5 => Some(Self::Deleted),
            _ => None,
        }
    }
}

/// Decodes what `CHECK` constraints promise; another version may have changed them.
pub(crate) struct Decode<'a> {
    pub(crate) address: &'a str,
    pub(crate) table: &'static str,
    pub(crate) id: i64,
}

impl Decode<'_> {
    pub(crate) fn condition(&self, code: i16) -> Result<Condition, StoreError> {
        Condition::parse(code).ok_or_else(|| self.foreign("condition", &code.to_string()))
    }

    pub(crate) fn status(&self, code: i16) -> Result<Status, StoreError> {
        Status::parse(code).ok_or_else(|| self.foreign("status", &code.to_string()))
    }

    pub(crate) fn price(&self, column: &str, price: f64) -> Result<Price, StoreError> {
        Price::new(price).ok_or_else(|| self.foreign(column, &price.to_string()))
    }

    pub(crate) fn index(&self, index: i64) -> Result<u32, StoreError> {
        u32::try_from(index).map_err(|_| self.foreign("record_index", &index.to_string()))
    }

    fn foreign(&self, column: &str, value: &str) -> StoreError {
        let (table, id) = (self.table, self.id);
        let reason = format!("{table} {id} has {column} {value}, which this version does not know");
        StoreError::foreign(self.address, reason)
    }
}
