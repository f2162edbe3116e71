use market::{Price, Sequence};
use triggers::{Terms, Version};

use crate::StoreError;
use crate::terms::{ConditionColumns, TermsColumns};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Active,
    Paused,
    Triggered,
    Expired,
    /// A tombstone: owners hear of it, lists leave it out.
    Deleted,
}

/// An alert as its user sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub id: i64,
    pub user_id: i64,
    pub symbol: String,
    pub terms: Terms,
    /// By the clock: expired from its expiry on, whether or not a trade has come since.
    pub status: Status,
    pub version: Version,
    /// Raised by every change of the row.
    pub row_version: i64,
    /// Unix milliseconds, as are the other times.
    pub created_at: i64,
    /// When its latest firing was stored.
    pub triggered_at: Option<i64>,
    pub expires_at: Option<i64>,
    pub note: Option<String>,
}

/// What the owner of an alert's partition needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertState<S = String> {
    pub id: i64,
    pub symbol: S,
    pub terms: Terms,
    pub status: Status,
    pub version: Version,
    pub partition: i32,
    pub armed_at: Sequence,
    pub latched: bool,
    /// Event time, Unix milliseconds.
    pub asleep_until: Option<i64>,
    pub reference: Option<Price>,
    /// When the row was changed last, Unix microseconds of PostgreSQL's clock.
    pub changed_at: i64,
    /// It was judged up to its partition's checkpoint.
    pub is_judged: bool,
}

impl Status {
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Active => 1,
            Self::Paused => 2,
            Self::Triggered => 3,
            Self::Expired => 4,
            Self::Deleted => 5,
        }
    }

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
    pub(crate) fn status(&self, code: i16) -> Result<Status, StoreError> {
        Status::parse(code).ok_or_else(|| self.foreign("status", &code.to_string()))
    }

    pub(crate) fn price(&self, column: &str, price: f64) -> Result<Price, StoreError> {
        Price::new(price).ok_or_else(|| self.foreign(column, &price.to_string()))
    }

    pub(crate) fn version(&self, revision: i32, generation: i32) -> Result<Version, StoreError> {
        let revision = u32::try_from(revision)
            .ok()
            .filter(|revision| *revision <= Version::MOST)
            .ok_or_else(|| self.foreign("revision", &revision.to_string()))?;
        Ok(Version { revision, generation })
    }

    pub(crate) fn index(&self, column: &str, index: i64) -> Result<u32, StoreError> {
        u32::try_from(index).map_err(|_| self.foreign(column, &index.to_string()))
    }

    pub(crate) fn foreign(&self, column: &str, value: &str) -> StoreError {
        let (table, id) = (self.table, self.id);
        let reason = format!("{table} {id} has {column} {value}, which this version does not know");
        StoreError::foreign(self.address, reason)
    }
}

/// An alert as queries give it: [`alert_columns!`].
pub(crate) struct AlertRow {
    pub(crate) id: i64,
    pub(crate) user_id: i64,
    pub(crate) symbol: String,
    pub(crate) condition: i16,
    pub(crate) target_price: Option<f64>,
    pub(crate) lower_price: Option<f64>,
    pub(crate) upper_price: Option<f64>,
    pub(crate) percent: Option<f64>,
    pub(crate) cooldown_ms: Option<i64>,
    pub(crate) hysteresis_percent: Option<f64>,
    pub(crate) status: i16,
    pub(crate) revision: i32,
    pub(crate) generation: i32,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
    pub(crate) triggered_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) note: Option<String>,
}

/// A query whose rows are alerts: what stands before the columns, what after, and its arguments.
macro_rules! alerts {
    ($before:literal, $after:literal, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            crate::alert::AlertRow,
            $before + r#" alerts.id, user_id, symbol, condition, target_price, lower_price,
                upper_price, percent, cooldown_ms, hysteresis_percent,
                CASE WHEN status = 1 AND expires_at <= now() THEN 4::smallint ELSE status END
                    AS "status!",
                revision, generation, version,
                (extract(epoch FROM created_at) * 1000)::bigint AS "created_at!",
                (extract(epoch FROM triggered_at) * 1000)::bigint AS "triggered_at",
                (extract(epoch FROM expires_at) * 1000)::bigint AS "expires_at", note "# + $after,
            $($argument),*
        )
    };
}

pub(crate) use alerts;

impl AlertRow {
    pub(crate) fn decode(self, address: &str) -> Result<Alert, StoreError> {
        let decode = Decode { address, table: "alert", id: self.id };
        let columns = TermsColumns {
            condition: ConditionColumns {
                condition: self.condition,
                target_price: self.target_price,
                lower_price: self.lower_price,
                upper_price: self.upper_price,
                percent: self.percent,
            },
            cooldown_ms: self.cooldown_ms,
            hysteresis_percent: self.hysteresis_percent,
        };
        Ok(Alert {
            id: self.id,
            user_id: self.user_id,
            terms: columns.decode(&decode)?,
            status: decode.status(self.status)?,
            version: decode.version(self.revision, self.generation)?,
            row_version: self.version,
            symbol: self.symbol,
            created_at: self.created_at,
            triggered_at: self.triggered_at,
            expires_at: self.expires_at,
            note: self.note,
        })
    }
}
