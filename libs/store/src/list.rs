use market::Price;

use crate::alert::Decode;
use crate::metrics::Call;
use crate::session::within;
use crate::{Condition, Status, Store, StoreError, UserId};

/// Which alerts a list shows. Deleted ones are never shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `None`: everybody's.
    pub user_id: Option<UserId>,
    pub active_only: bool,
}

/// An alert as its user sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedAlert {
    pub id: i64,
    pub user_id: i64,
    pub symbol: String,
    pub condition: Condition,
    pub target_price: Price,
    pub status: Status,
    pub generation: i32,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub triggered_at: Option<i64>,
}

/// As the queries below give it.
struct Row {
    id: i64,
    user_id: i64,
    symbol: String,
    condition: i16,
    target_price: f64,
    status: i16,
    generation: i32,
    created_at: i64,
    triggered_at: Option<i64>,
}

/// The three lists differ in the index that serves them, so each has a text of its own: with the
/// filter as a parameter PostgreSQL could plan for all of them at once, and read the whole table.
macro_rules! rows {
    ($where:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT id, user_id, symbol, condition, target_price, status, generation,
                (extract(epoch FROM created_at) * 1000)::bigint AS "created_at!",
                (extract(epoch FROM triggered_at) * 1000)::bigint AS "triggered_at"
            FROM alerts WHERE "# + $where + " ORDER BY id LIMIT $2",
            $($argument),*
        )
    };
}

impl Store {
    /// Alerts with an id greater than `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn list(
        &self,
        filter: Filter,
        after: i64,
        limit: u32,
    ) -> Result<Vec<ListedAlert>, StoreError> {
        let limit = i64::from(limit);
        let mut session = self.session(Call::List).await?;
        let connection = session.connection();
        let rows = match filter {
            Filter { user_id: Some(user), active_only } => {
                let (user, any) = (user.get(), !active_only);
                let rows = rows!(
                    "id > $1 AND status <> 5 AND user_id = $3 AND ($4 OR status = 1)",
                    after,
                    limit,
                    user,
                    any
                );
                within(rows.fetch_all(connection)).await
            }
            Filter { user_id: None, active_only: true } => {
                within(rows!("id > $1 AND status = 1", after, limit).fetch_all(connection)).await
            }
            Filter { user_id: None, active_only: false } => {
                within(rows!("id > $1 AND status <> 5", after, limit).fetch_all(connection)).await
            }
        };
        let rows = session.settle(rows)?;
        rows.into_iter().map(|row| row.decode(&self.address)).collect()
    }
}

impl Row {
    fn decode(self, address: &str) -> Result<ListedAlert, StoreError> {
        let decode = Decode { address, table: "alert", id: self.id };
        Ok(ListedAlert {
            id: self.id,
            user_id: self.user_id,
            condition: decode.condition(self.condition)?,
            target_price: decode.price("target_price", self.target_price)?,
            status: decode.status(self.status)?,
            symbol: self.symbol,
            generation: self.generation,
            created_at: self.created_at,
            triggered_at: self.triggered_at,
        })
    }
}
