use sqlx::{Acquire, PgConnection};

use crate::copy::RowsOut;
use crate::create::{CreatedAlert, NewAlert};
use crate::log::abandoned;
use crate::metrics::Call;
use crate::quota::Quota;
use crate::session::within;
use crate::terms::TermsColumns;
use crate::{Log, Store, StoreError, UserId};

const COPY: &str = "COPY alerts (
        id, user_id, symbol, condition, target_price, lower_price, upper_price, percent,
        cooldown_ms, hysteresis_percent, expires_at, note, partition, armed_log, armed_offset
    ) FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 15;

/// PostgreSQL counts time from 2000-01-01. Microseconds since 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl Store {
    /// As [`create`](Self::create), for many: all or none, through COPY. `None` where a quota has
    /// no room for all of them.
    ///
    /// # Errors
    /// [`StoreError::AnotherLog`] where `log` is no longer followed; [`StoreError::Unavailable`].
    pub async fn create_many(
        &self,
        log: &Log,
        alerts: &[NewAlert],
    ) -> Result<Option<Vec<CreatedAlert>>, StoreError> {
        if alerts.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut session = self.session(Call::CreateMany).await?;
        let copied = within(copy(session.connection(), log, alerts, self.quota)).await;
        match session.settle(copied)? {
            Copied::All(created) => {
                self.news.announce();
                Ok(Some(created))
            }
            Copied::TooMany => Ok(None),
            Copied::Abandoned => Err(abandoned(log)),
        }
    }
}

enum Copied {
    All(Vec<CreatedAlert>),
    TooMany,
    /// The log is not followed any more.
    Abandoned,
}

async fn copy(
    connection: &mut PgConnection,
    log: &Log,
    alerts: &[NewAlert],
    quota: Option<Quota>,
) -> sqlx::Result<Copied> {
    let mut transaction = connection.begin().await?;
    let count = i32::try_from(alerts.len()).unwrap_or(i32::MAX);
    // The lock on the log's row makes `rebuild` wait, or this one finds that the id has gone.
    let followed = sqlx::query!(
        r#"SELECT (extract(epoch FROM now()) * 1000)::bigint AS "now!"
        FROM logs WHERE log_id = $1 FOR SHARE"#,
        log.id
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(followed) = followed else { return Ok(Copied::Abandoned) };
    if let Some(quota) = quota {
        let users: Vec<UserId> = alerts.iter().map(|alert| alert.wish.user_id).collect();
        if quota.admit(&mut transaction, &users).await?.contains(&false) {
            return Ok(Copied::TooMany);
        }
    }
    let mut ids = sqlx::query_scalar!(
        r#"SELECT nextval(pg_get_serial_sequence('alerts', 'id')) AS "id!"
        FROM generate_series(1, $1)"#,
        count
    )
    .fetch_all(&mut *transaction)
    .await?;
    ids.sort_unstable();
    let rows = rows(log, alerts, &ids);
    let mut stream = transaction.copy_in_raw(COPY).await?;
    stream.send(rows).await?;
    stream.finish().await?;
    transaction.commit().await?;
    let created_at = followed.now;
    Ok(Copied::All(ids.into_iter().map(|id| CreatedAlert { id, created_at }).collect()))
}

fn rows(log: &Log, alerts: &[NewAlert], ids: &[i64]) -> Vec<u8> {
    let mut rows = RowsOut::new(COLUMNS);
    for (NewAlert { wish, armed_offset }, id) in alerts.iter().zip(ids) {
        let TermsColumns { condition, cooldown_ms, hysteresis_percent } = (&wish.terms).into();
        rows.row()
            .field(&id.to_be_bytes())
            .field(&wish.user_id.get().to_be_bytes())
            .field(wish.symbol.as_str().as_bytes())
            .field(&condition.condition.to_be_bytes())
            .optional(condition.target_price.map(f64::to_be_bytes))
            .optional(condition.lower_price.map(f64::to_be_bytes))
            .optional(condition.upper_price.map(f64::to_be_bytes))
            .optional(condition.percent.map(f64::to_be_bytes))
            .optional(cooldown_ms.map(i64::to_be_bytes))
            .optional(hysteresis_percent.map(f64::to_be_bytes))
            .optional(wish.expires_at.map(|at| (at * 1_000 - POSTGRES_EPOCH).to_be_bytes()));
        match &wish.note {
            Some(note) => rows.field(note.as_bytes()),
            None => rows.null(),
        };
        rows.field(&wish.partition.to_be_bytes())
            .field(log.id.as_bytes())
            .field(&armed_offset.to_be_bytes());
    }
    rows.finish()
}
