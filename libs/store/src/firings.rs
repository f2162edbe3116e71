//! What has fired: lists of it, and following it.

use std::sync::Arc;

use futures::StreamExt;
use market::{Price, Sequence};
use sqlx::PgConnection;
use triggers::Condition;
use uuid::Uuid;

use crate::alert::Decode;
use crate::changes::snapshot;
use crate::metrics::Call;
use crate::session::{Outcome, PATIENCE, within};
use crate::terms::ConditionColumns;
use crate::{Cursor, Reader, Store, StoreError, UserId};

/// An alert met the trade that it waited for. `id` tells a repeated delivery from a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    pub id: i64,
    pub alert_id: i64,
    pub generation: i32,
    pub user_id: i64,
    pub symbol: String,
    pub condition: Condition,
    pub price: Price,
    /// What a percent was counted from.
    pub reference: Option<Price>,
    /// Event time, Unix milliseconds.
    pub trade_time: i64,
    pub log_id: Uuid,
    pub partition: i32,
    pub sequence: Sequence,
    /// When it was stored, Unix milliseconds.
    pub fired_at: i64,
    /// When the trade arrived at the socket, Unix nanoseconds; 0 where that is not known.
    pub received_at: u64,
}

/// Whose firings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Everybody,
    User(UserId),
    Alert(i64),
}

pub(crate) struct FiringRow {
    pub(crate) id: i64,
    pub(crate) alert_id: i64,
    pub(crate) generation: i32,
    pub(crate) user_id: i64,
    pub(crate) symbol: String,
    pub(crate) condition: i16,
    pub(crate) target_price: Option<f64>,
    pub(crate) lower_price: Option<f64>,
    pub(crate) upper_price: Option<f64>,
    pub(crate) percent: Option<f64>,
    pub(crate) price: f64,
    pub(crate) reference_price: Option<f64>,
    pub(crate) trade_time: i64,
    pub(crate) log_id: Uuid,
    pub(crate) partition: i32,
    pub(crate) record_offset: i64,
    pub(crate) record_index: i64,
    pub(crate) fired_at: i64,
    pub(crate) received_at: i64,
}

/// A query whose rows are firings: what stands before the columns, what after, and its arguments.
macro_rules! firings {
    ($before:literal, $after:literal, $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            crate::firings::FiringRow,
            $before + r#" firings.id, alert_id, generation, user_id, symbol, condition,
                target_price, lower_price, upper_price, percent, price, reference_price,
                trade_time, log_id, partition, record_offset, record_index, received_at,
                (extract(epoch FROM fired_at) * 1000)::bigint AS "fired_at!" "# + $after,
            $($argument),*
        )
    };
}

pub(crate) use firings;

impl FiringRow {
    pub(crate) fn decode(self, address: &str) -> Result<Firing, StoreError> {
        let decode = Decode { address, table: "firing", id: self.id };
        let condition = ConditionColumns {
            condition: self.condition,
            target_price: self.target_price,
            lower_price: self.lower_price,
            upper_price: self.upper_price,
            percent: self.percent,
        };
        let reference = self.reference_price;
        Ok(Firing {
            id: self.id,
            alert_id: self.alert_id,
            generation: self.generation,
            user_id: self.user_id,
            condition: condition.decode(&decode)?,
            price: decode.price("price", self.price)?,
            reference: reference.map(|price| decode.price("reference_price", price)).transpose()?,
            symbol: self.symbol,
            trade_time: self.trade_time,
            log_id: self.log_id,
            partition: self.partition,
            sequence: Sequence {
                offset: self.record_offset,
                index: decode.index("record_index", self.record_index)?,
            },
            fired_at: self.fired_at,
            received_at: u64::try_from(self.received_at).unwrap_or_default(),
        })
    }
}

impl Store {
    /// Firings with an id below `before`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn firings(
        &self,
        of: Of,
        before: i64,
        limit: u32,
    ) -> Result<Vec<Firing>, StoreError> {
        let limit = i64::from(limit);
        let mut session = self.session(Call::Firings).await?;
        let connection = session.connection();
        let rows = match of {
            Of::Everybody => {
                let rows = firings!(
                    "SELECT",
                    "FROM firings WHERE id < $1 ORDER BY id DESC LIMIT $2",
                    before,
                    limit
                );
                within(rows.fetch_all(connection)).await
            }
            Of::User(user) => {
                let rows = firings!(
                    "SELECT",
                    "FROM firings WHERE id < $1 AND user_id = $3 ORDER BY id DESC LIMIT $2",
                    before,
                    limit,
                    user.get()
                );
                within(rows.fetch_all(connection)).await
            }
            Of::Alert(alert) => {
                // By generation, which an index has: ids of one alert's firings ascend with it.
                let rows = firings!(
                    "SELECT",
                    "FROM firings WHERE id < $1 AND alert_id = $3
                    ORDER BY alert_id DESC, generation DESC LIMIT $2",
                    before,
                    limit,
                    alert
                );
                within(rows.fetch_all(connection)).await
            }
        };
        let rows = session.settle(rows)?;
        rows.into_iter().map(|row| row.decode(&self.address)).collect()
    }

    /// Where to begin so that none is missed that was stored after the firing of this id had been
    /// seen: for [`Store::firings_from`]. `None` where there is no such firing. In a database
    /// restored from a dump, whose rows may carry transactions that are yet to come, that is the
    /// begin of all.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn horizon_of(&self, firing: i64) -> Result<Option<Place>, StoreError> {
        let mut session = self.session(Call::Firings).await?;
        let xid = sqlx::query_scalar!(
            r#"SELECT CASE
                WHEN horizon <= pg_snapshot_xmin(pg_current_snapshot()) THEN horizon::text ELSE '0'
            END AS "xid!" FROM firings WHERE id = $1"#,
            firing
        );
        let xid = within(xid.fetch_optional(session.connection())).await;
        let xid = session.settle(xid)?;
        Ok(xid.map(|xid| Place { xid, id: 0 }))
    }

    /// Firings from a place on, up to those that `until` has seen, in the order of their
    /// transactions, at most `limit`: a user's where one is given, and a symbol's; and where to go
    /// on, `None` where no more follow.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn firings_from(
        &self,
        place: &Place,
        until: &Cursor,
        user: Option<UserId>,
        symbol: Option<&str>,
        limit: u32,
    ) -> Result<(Vec<Firing>, Option<Place>), StoreError> {
        let mut session = self.session(Call::Firings).await?;
        let rows = firings!(
            "SELECT",
            "FROM firings WHERE (xid, id) > ($1::text::xid8, $2::bigint)
                AND xid < pg_snapshot_xmax($3::text::pg_snapshot)
                AND pg_visible_in_snapshot(xid, $3::text::pg_snapshot)
                AND ($5::bigint IS NULL OR user_id = $5)
                AND ($6::text IS NULL OR symbol = $6)
            ORDER BY xid, id LIMIT $4",
            place.xid,
            place.id,
            until.as_str(),
            i64::from(limit),
            user.map(UserId::get) as Option<i64>,
            symbol as Option<&str>
        );
        let rows = within(rows.fetch_all(session.connection())).await;
        let rows = session.settle(rows)?;
        let firings: Result<Vec<Firing>, StoreError> =
            rows.into_iter().map(|row| row.decode(&self.address)).collect();
        let firings = firings?;
        let Some(last) = firings.last() else { return Ok((firings, None)) };
        let xid = sqlx::query_scalar!(
            r#"SELECT xid::text AS "xid!" FROM firings WHERE id = $1"#,
            last.id
        );
        let mut session = self.session(Call::Firings).await?;
        let xid = within(xid.fetch_one(session.connection())).await;
        let xid = session.settle(xid)?;
        let next = Place { xid, id: last.id };
        Ok((firings, Some(next)))
    }
}

/// Firings that are read at once for those who follow them.
pub const AT_ONCE: usize = 1_000;

/// Among the firings in the order of their transactions: all at or before it have been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    xid: String,
    id: i64,
}

impl Reader {
    /// Where to begin to follow the firings: what is stored from here on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn now(&mut self) -> Result<Cursor, StoreError> {
        let (address, mut connection) = self.take()?;
        let cursor = snapshot(&address, &mut connection).await?;
        self.put_back(connection);
        Ok(cursor)
    }

    /// Gives every firing that was stored since the cursor, whatever was uncommitted then, to
    /// `each`, at most [`AT_ONCE`] at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: ask again from the same cursor.
    pub async fn firings_since(
        &mut self,
        cursor: &Cursor,
        each: impl FnMut(Vec<Firing>),
    ) -> Result<Cursor, StoreError> {
        let (address, mut connection) = self.take()?;
        // All of it in one snapshot, so that what is given is what the next cursor has seen.
        let next = snapshot(&address, &mut connection).await?;
        since(&address, &mut connection, cursor, &next, each).await?;
        self.put_back(connection);
        Ok(next)
    }
}

async fn since(
    address: &Arc<str>,
    connection: &mut PgConnection,
    cursor: &Cursor,
    next: &Cursor,
    mut each: impl FnMut(Vec<Firing>),
) -> Result<(), StoreError> {
    let rows = firings!(
        "SELECT",
        "FROM firings WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
            AND xid < pg_snapshot_xmax($2::text::pg_snapshot)
            AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
            AND pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
        ORDER BY id",
        cursor.as_str(),
        next.as_str()
    );
    let mut rows = rows.fetch(connection).chunks(AT_ONCE);
    loop {
        match within(async { Ok(rows.next().await) }).await {
            Outcome::Answer(Ok(Some(some))) => {
                let decode = |row: sqlx::Result<FiringRow>| {
                    row.map_err(|error| StoreError::new(address, &error))?.decode(address)
                };
                let some: Result<Vec<Firing>, StoreError> = some.into_iter().map(decode).collect();
                each(some?);
            }
            Outcome::Answer(Ok(None)) => return Ok(()),
            Outcome::Answer(Err(error)) => return Err(StoreError::new(address, &error)),
            Outcome::Silence => return Err(StoreError::slow(address, PATIENCE)),
        }
    }
}
