use sqlx::PgConnection;

use crate::alert::{AlertRow, alerts};
use crate::metrics::Call;
use crate::session::within;
use crate::{Alert, Status, Store, StoreError, UserId};

/// Which alerts a list shows. Deleted ones are never shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `None`: everybody's.
    pub user_id: Option<UserId>,
    /// As stored: in upper case. `None`: of all.
    pub symbol: Option<String>,
    /// In any of these states; `None`: in whichever.
    pub statuses: Option<Vec<Status>>,
}

impl Filter {
    pub fn active() -> Self {
        Self { statuses: Some(vec![Status::Active]), ..Self::default() }
    }
}

impl Store {
    /// Alerts with an id greater than `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn list(
        &self,
        filter: &Filter,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Alert>, StoreError> {
        let limit = i64::from(limit);
        let statuses: Option<Vec<i16>> = filter
            .statuses
            .as_ref()
            .map(|statuses| statuses.iter().map(|status| status.code()).collect());
        let statuses = statuses.as_deref();
        let mut session = self.session(Call::List).await?;
        let connection = session.connection();
        // The lists differ in the index that serves them, so each has a text of its own: with the
        // filter as a parameter PostgreSQL could plan for all of them at once, and read the whole
        // table.
        let rows = match (filter.user_id, &filter.symbol) {
            (Some(user), symbol) => {
                let rows = alerts!(
                    "SELECT",
                    "FROM alerts WHERE id > $1 AND status <> 5 AND user_id = $3
                        AND ($4::text IS NULL OR symbol = $4)
                        AND ($5::smallint[] IS NULL OR CASE
                            WHEN status = 1 AND expires_at <= now() THEN 4 ELSE status
                        END = ANY ($5))
                    ORDER BY id LIMIT $2",
                    after,
                    limit,
                    user.get(),
                    symbol.as_deref() as Option<&str>,
                    statuses as Option<&[i16]>
                );
                within(rows.fetch_all(connection)).await
            }
            (None, Some(symbol)) => {
                let rows = alerts!(
                    "SELECT",
                    "FROM alerts WHERE id > $1 AND status <> 5 AND symbol = $3
                        AND ($4::smallint[] IS NULL OR CASE
                            WHEN status = 1 AND expires_at <= now() THEN 4 ELSE status
                        END = ANY ($4))
                    ORDER BY id LIMIT $2",
                    after,
                    limit,
                    symbol,
                    statuses as Option<&[i16]>
                );
                within(rows.fetch_all(connection)).await
            }
            (None, None) => within(of_everybody(connection, statuses, after, limit)).await,
        };
        let rows = session.settle(rows)?;
        rows.into_iter().map(|row| row.decode(&self.address)).collect()
    }

    /// One alert; `None` where there is none, or where it was deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn get(&self, id: i64) -> Result<Option<Alert>, StoreError> {
        let mut session = self.session(Call::Get).await?;
        let row = alerts!("SELECT", "FROM alerts WHERE id = $1 AND status <> 5", id);
        let row = within(row.fetch_optional(session.connection())).await;
        let row = session.settle(row)?;
        row.map(|row| row.decode(&self.address)).transpose()
    }
}

/// Status by status, since each has an index of its own: to look for few among the many others
/// would read them all.
async fn of_everybody(
    connection: &mut PgConnection,
    statuses: Option<&[i16]>,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<AlertRow>> {
    let Some(statuses) = statuses else {
        let rows = alerts!(
            "SELECT",
            "FROM alerts WHERE id > $1 AND status <> 5 ORDER BY id LIMIT $2",
            after,
            limit
        );
        return rows.fetch_all(connection).await;
    };
    let mut rows = Vec::new();
    if statuses.contains(&Status::Active.code()) {
        let some = alerts!(
            "SELECT",
            "FROM alerts WHERE id > $1 AND status = 1
                AND (expires_at IS NULL OR expires_at > now())
            ORDER BY id LIMIT $2",
            after,
            limit
        );
        rows.extend(some.fetch_all(&mut *connection).await?);
    }
    if statuses.contains(&Status::Expired.code()) {
        // Those that nobody has marked yet.
        let some = alerts!(
            "SELECT",
            "FROM alerts WHERE id > $1 AND status = 1 AND expires_at <= now()
            ORDER BY id LIMIT $2",
            after,
            limit
        );
        rows.extend(some.fetch_all(&mut *connection).await?);
    }
    for status in [Status::Paused, Status::Triggered, Status::Expired] {
        if statuses.contains(&status.code()) {
            let some = alerts!(
                "SELECT",
                "FROM alerts WHERE id > $1 AND status = $3 AND status IN (2, 3, 4)
                ORDER BY id LIMIT $2",
                after,
                limit,
                status.code()
            );
            rows.extend(some.fetch_all(&mut *connection).await?);
        }
    }
    rows.sort_unstable_by_key(|row| row.id);
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(rows)
}
