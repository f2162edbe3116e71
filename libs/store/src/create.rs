use market::Symbol;
use triggers::Terms;

use crate::log::abandoned;
use crate::metrics::Call;
use crate::quota::Quota;
use crate::session::within;
use crate::terms::TermsArrays;
use crate::{Log, Store, StoreError, UserId};

/// What a caller wants to be told of.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    pub user_id: UserId,
    pub symbol: Symbol,
    pub terms: Terms,
    /// Unix milliseconds.
    pub expires_at: Option<i64>,
    pub note: Option<String>,
    /// Of the topic, where the symbol's trades are.
    pub partition: i32,
}

/// An alert to be stored: active, in its first generation.
#[derive(Clone, Debug, PartialEq)]
pub struct NewAlert {
    pub wish: Wish,
    /// Its partition's end, read while the call was under way.
    pub armed_offset: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedAlert {
    pub id: i64,
    /// Unix milliseconds.
    pub created_at: i64,
}

impl Store {
    /// Stores alerts in one transaction; answers in their order, `None` for those that a quota
    /// refuses. Once it returns they are durable.
    ///
    /// # Errors
    /// [`StoreError::AnotherLog`] where `log` is no longer followed; [`StoreError::Unavailable`].
    pub async fn create(
        &self,
        log: &Log,
        alerts: &[NewAlert],
    ) -> Result<Vec<Option<CreatedAlert>>, StoreError> {
        let Some(quota) = self.quota else {
            let alerts: Vec<&NewAlert> = alerts.iter().collect();
            let created = self.insert(log, &alerts).await?;
            return Ok(created.into_iter().map(Some).collect());
        };
        self.create_within(log, alerts, quota).await
    }

    /// All or none, in one statement.
    async fn insert(
        &self,
        log: &Log,
        alerts: &[&NewAlert],
    ) -> Result<Vec<CreatedAlert>, StoreError> {
        if alerts.is_empty() {
            return Ok(Vec::new());
        }
        let mut session = self.session(Call::Create).await?;
        let rows = within(insert(session.connection(), log, alerts)).await;
        let created = session.settle(rows)?;
        if created.is_empty() {
            return Err(abandoned(log));
        }
        self.news.announce();
        Ok(created)
    }

    /// The users' counts are locked until the alerts are stored.
    async fn create_within(
        &self,
        log: &Log,
        alerts: &[NewAlert],
        quota: Quota,
    ) -> Result<Vec<Option<CreatedAlert>>, StoreError> {
        let mut session = self.session(Call::Create).await?;
        let work = async {
            let mut transaction = sqlx::Acquire::begin(session.connection()).await?;
            let users: Vec<UserId> = alerts.iter().map(|alert| alert.wish.user_id).collect();
            let admitted = quota.admit(&mut transaction, &users).await?;
            let within: Vec<&NewAlert> = alerts
                .iter()
                .zip(&admitted)
                .filter_map(|(alert, admitted)| admitted.then_some(alert))
                .collect();
            let created = match &within[..] {
                [] => Vec::new(),
                within => insert(&mut transaction, log, within).await?,
            };
            let is_followed = created.len() == within.len();
            if is_followed {
                transaction.commit().await?;
            }
            let mut created = created.into_iter();
            let answers = admitted.iter().map(|admitted| admitted.then(|| created.next())?);
            Ok(is_followed.then(|| answers.collect()))
        };
        let created = within(work).await;
        let created: Option<Vec<Option<CreatedAlert>>> = session.settle(created)?;
        self.news.announce();
        created.ok_or_else(|| abandoned(log))
    }
}

/// Nothing is stored where the log is not followed any more.
async fn insert(
    connection: &mut sqlx::PgConnection,
    log: &Log,
    alerts: &[&NewAlert],
) -> sqlx::Result<Vec<CreatedAlert>> {
    let wishes = || alerts.iter().map(|alert| &alert.wish);
    let users: Vec<i64> = wishes().map(|wish| wish.user_id.get()).collect();
    let symbols: Vec<&str> = wishes().map(|wish| wish.symbol.as_str()).collect();
    let partitions: Vec<i32> = wishes().map(|wish| wish.partition).collect();
    let expiries: Vec<Option<i64>> = wishes().map(|wish| wish.expires_at).collect();
    let notes: Vec<Option<&str>> = wishes().map(|wish| wish.note.as_deref()).collect();
    let offsets: Vec<i64> = alerts.iter().map(|alert| alert.armed_offset).collect();
    let terms: TermsArrays = wishes().map(|wish| &wish.terms).collect();
    // Ids are given in the order of the rows that the sort puts out. The lock on the log's row
    // makes `rebuild` wait, or makes this one find that the id has gone.
    let rows = sqlx::query!(
        r#"WITH log AS MATERIALIZED (
            SELECT log_id FROM logs WHERE log_id = $1 FOR SHARE
        )
        INSERT INTO alerts (
            user_id, symbol, condition, target_price, lower_price, upper_price, percent,
            cooldown_ms, hysteresis_percent, expires_at, note, partition, armed_log, armed_offset
        )
        SELECT user_id, symbol, condition, target_price, lower_price, upper_price, percent,
            cooldown_ms, hysteresis_percent, 'epoch'::timestamptz + expires_ms * interval '1 ms',
            note, partition, log_id, armed_offset
        FROM log, unnest(
            $2::bigint[], $3::text[], $4::smallint[], $5::double precision[],
            $6::double precision[], $7::double precision[], $8::double precision[],
            $9::bigint[], $10::double precision[], $11::bigint[], $12::text[], $13::integer[],
            $14::bigint[]
        ) WITH ORDINALITY AS new (
            user_id, symbol, condition, target_price, lower_price, upper_price, percent,
            cooldown_ms, hysteresis_percent, expires_ms, note, partition, armed_offset, ordinal
        )
        ORDER BY ordinal
        RETURNING id, (extract(epoch FROM created_at) * 1000)::bigint AS "created_at!""#,
        log.id,
        &users,
        &symbols as &[&str],
        &terms.conditions,
        &terms.target_prices as &[Option<f64>],
        &terms.lower_prices as &[Option<f64>],
        &terms.upper_prices as &[Option<f64>],
        &terms.percents as &[Option<f64>],
        &terms.cooldowns as &[Option<i64>],
        &terms.hystereses as &[Option<f64>],
        &expiries as &[Option<i64>],
        &notes as &[Option<&str>],
        &partitions,
        &offsets
    )
    .fetch_all(connection);
    let mut rows = rows.await?;
    rows.sort_unstable_by_key(|row| row.id);
    let created = rows.iter();
    Ok(created.map(|row| CreatedAlert { id: row.id, created_at: row.created_at }).collect())
}
