//! What people do to their alerts. Each begins a new generation, armed from then on, so that what
//! was found of the one before is refused.

use sqlx::{Acquire, PgConnection};
use triggers::{Condition, Repeat, Terms, TermsError, Version};

use crate::alert::{AlertRow, alerts};
use crate::log::abandoned;
use crate::metrics::Call;
use crate::quota::Quota;
use crate::session::within;
use crate::terms::TermsColumns;
use crate::{Alert, EndUnknown, Log, Status, Store, StoreError, UserId};

/// What is to be done to an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It sees nothing and does not fire.
    Pause,
    /// A paused one fires again, on what comes from now on.
    Resume,
    /// Whatever it was, it fires again, on what comes from now on.
    Rearm,
    Patch(Patch),
    Delete,
}

/// What of an alert becomes otherwise; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    pub condition: Option<Condition>,
    pub repeat: Option<Option<Repeat>>,
    /// Unix milliseconds.
    pub expires_at: Option<Option<i64>>,
    pub note: Option<Option<String>>,
}

/// Who changes which alert, and what else has to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub id: i64,
    /// Whose it must be; `None`: anybody's.
    pub user_id: Option<UserId>,
    /// Which version its row must have.
    pub row_version: Option<i64>,
}

/// Where an alert is armed, if it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmedAt {
    pub partition: i32,
    /// The partition's end, read while the call was under way.
    pub offset: i64,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none of that id, or it is another user's, or was deleted.
    #[error("there is no alert {0}")]
    NotFound(i64),
    #[error("alert {id} is {}: it cannot be {asked}", is.name())]
    Status { id: i64, is: Status, asked: &'static str },
    #[error("the expiry of alert {0} is past: change it first")]
    Expired(i64),
    #[error("alert {id} is at version {found} by now")]
    Version { id: i64, found: i64 },
    #[error("alert {0} was changed too often: make another one")]
    WornOut(i64),
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// Nothing was changed.
    #[error(transparent)]
    Offsets(#[from] EndUnknown),
}

impl Status {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::Triggered => "TRIGGERED",
            Self::Expired => "EXPIRED",
            Self::Deleted => "DELETED",
        }
    }
}

/// An alert's row as it is to be.
struct Next {
    status: Status,
    terms: Terms,
    expires_at: Option<i64>,
    note: Option<String>,
    /// Whether anything changes that decides.
    decides: bool,
}

impl Change {
    /// Whether an alert is armed by it: then [`ArmedAt`] is needed.
    pub fn arms(&self) -> bool {
        match self {
            Self::Pause | Self::Delete => false,
            Self::Resume | Self::Rearm => true,
            Self::Patch(Patch { condition, repeat, expires_at, note: _ }) => {
                condition.is_some() || repeat.is_some() || expires_at.is_some()
            }
        }
    }

    /// `None` where nothing is to be done.
    fn next(&self, alert: &Alert, now: i64) -> Result<Option<Next>, ChangeError> {
        let Alert { id, status, .. } = *alert;
        let to = |status| Next {
            status,
            terms: alert.terms,
            expires_at: alert.expires_at,
            note: alert.note.clone(),
            decides: true,
        };
        let refused = |asked| Err(ChangeError::Status { id, is: status, asked });
        let armed = || match alert.expires_at {
            Some(expiry) if expiry <= now => Err(ChangeError::Expired(id)),
            _ => Ok(Some(to(Status::Active))),
        };
        match (self, status) {
            (Self::Pause, Status::Paused) | (Self::Resume, Status::Active) => Ok(None),
            (Self::Pause, Status::Active) => Ok(Some(to(Status::Paused))),
            (Self::Pause, _) => refused("paused"),
            (Self::Resume, Status::Paused) | (Self::Rearm, _) => armed(),
            (Self::Resume, _) => refused("resumed"),
            (Self::Delete, _) => Ok(Some(to(Status::Deleted))),
            (Self::Patch(patch), _) => {
                let Patch { condition, repeat, expires_at, note } = patch.clone();
                let terms = Terms::new(
                    condition.unwrap_or(alert.terms.condition()),
                    repeat.unwrap_or(alert.terms.repeat()),
                )?;
                let expires_at = expires_at.unwrap_or(alert.expires_at);
                let note = note.unwrap_or_else(|| alert.note.clone());
                let decides = terms != alert.terms || expires_at != alert.expires_at;
                let changes = decides || note != alert.note;
                Ok(changes.then(|| Next { terms, expires_at, note, decides, ..to(status) }))
            }
        }
    }
}

impl Store {
    /// The symbol of an alert, whatever its state.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn symbol_of(&self, id: i64) -> Result<Option<String>, StoreError> {
        let mut session = self.session(Call::Get).await?;
        let symbol = sqlx::query_scalar!("SELECT symbol FROM alerts WHERE id = $1", id);
        let symbol = within(symbol.fetch_optional(session.connection())).await;
        session.settle(symbol)
    }

    /// Changes an alert; returns it as it is then. Once it returns, that is durable.
    ///
    /// # Errors
    /// [`ChangeError`]: nothing was changed, unless PostgreSQL is [`StoreError::Unavailable`].
    pub async fn change(
        &self,
        log: &Log,
        target: Target,
        change: &Change,
        armed_at: Option<ArmedAt>,
    ) -> Result<Alert, ChangeError> {
        let mut session = self.session(Call::Change).await?;
        let counts = self.quota.is_some();
        let work = work(session.connection(), log, target, change, armed_at, counts, &self.address);
        let outcome = within(work).await;
        let outcome = session.settle(outcome)?;
        self.news.announce();
        outcome
    }
}

/// Under a lock on the row: the owner's firing comes before all of it, or after.
async fn work(
    connection: &mut PgConnection,
    log: &Log,
    target: Target,
    change: &Change,
    armed_at: Option<ArmedAt>,
    counts: bool,
    address: &str,
) -> sqlx::Result<Result<Alert, ChangeError>> {
    let mut transaction = connection.begin().await?;
    let followed = sqlx::query!(
        r#"SELECT (extract(epoch FROM now()) * 1000)::bigint AS "now!"
        FROM logs WHERE log_id = $1 FOR SHARE"#,
        log.id
    );
    let Some(followed) = followed.fetch_optional(&mut *transaction).await? else {
        return Ok(Err(abandoned(log).into()));
    };
    let row =
        alerts!("SELECT", "FROM alerts WHERE id = $1 AND status <> 5 FOR NO KEY UPDATE", target.id);
    let row = row.fetch_optional(&mut *transaction).await?;
    let next = match check(row, target, change, followed.now, address) {
        Ok((alert, None)) => return Ok(Ok(alert)),
        Ok((_, Some(next))) => next,
        Err(error) => return Ok(Err(error)),
    };
    let row = update(&mut transaction, log, target.id, &next, armed_at).await?;
    if counts && next.status == Status::Deleted {
        Quota::release(&mut transaction, row.user_id).await?;
    }
    transaction.commit().await?;
    Ok(row.decode(address).map_err(Into::into))
}

fn check(
    row: Option<AlertRow>,
    target: Target,
    change: &Change,
    now: i64,
    address: &str,
) -> Result<(Alert, Option<Next>), ChangeError> {
    let row = row.filter(|row| target.user_id.is_none_or(|user| user.get() == row.user_id));
    let alert = row.ok_or(ChangeError::NotFound(target.id))?.decode(address)?;
    if target.row_version.is_some_and(|version| version != alert.row_version) {
        return Err(ChangeError::Version { id: target.id, found: alert.row_version });
    }
    let next = change.next(&alert, now)?;
    let is_worn_out = alert.version.revision >= Version::MOST - 1;
    // It can always be stopped.
    let stops = matches!(change, Change::Pause | Change::Delete);
    if next.as_ref().is_some_and(|next| next.decides) && is_worn_out && !stops {
        return Err(ChangeError::WornOut(target.id));
    }
    Ok((alert, next))
}

async fn update(
    connection: &mut PgConnection,
    log: &Log,
    id: i64,
    next: &Next,
    armed_at: Option<ArmedAt>,
) -> sqlx::Result<AlertRow> {
    if !next.decides {
        let row = alerts!(
            "UPDATE alerts SET note = $2, version = version + 1 WHERE id = $1 RETURNING",
            "",
            id,
            next.note.as_deref() as Option<&str>
        );
        return row.fetch_one(connection).await;
    }
    let TermsColumns { condition, cooldown_ms, hysteresis_percent } = (&next.terms).into();
    // The end was read before the row was locked: meanwhile the alert may have fired on a trade
    // past it, and does not see that trade again.
    let row = alerts!(
        "UPDATE alerts SET
            status = $2, condition = $3, target_price = $4, lower_price = $5, upper_price = $6,
            percent = $7, cooldown_ms = $8, hysteresis_percent = $9,
            expires_at = 'epoch'::timestamptz + $10::bigint * interval '1 ms', note = $11,
            revision = least(revision + 1, 8388607), generation = generation + 1,
            version = version + 1, changed_xid = pg_current_xact_id(), changed_at = now(),
            latched = false, asleep_until = NULL, reference_price = NULL,
            armed_index = CASE
                WHEN $12::bigint IS NULL OR armed_log = $14 AND armed_offset >= $12::bigint THEN armed_index ELSE 0
            END,
            armed_offset = CASE
                WHEN $12::bigint IS NULL OR armed_log = $14 AND armed_offset >= $12::bigint THEN armed_offset
                ELSE $12::bigint
            END,
            partition = coalesce($13, partition),
            armed_log = CASE WHEN $12::bigint IS NULL THEN armed_log ELSE $14 END
        WHERE id = $1 RETURNING",
        "",
        id,
        next.status.code(),
        condition.condition,
        condition.target_price,
        condition.lower_price,
        condition.upper_price,
        condition.percent,
        cooldown_ms,
        hysteresis_percent,
        next.expires_at,
        next.note.as_deref() as Option<&str>,
        armed_at.map(|at| at.offset) as Option<i64>,
        armed_at.map(|at| at.partition) as Option<i32>,
        log.id
    );
    row.fetch_one(connection).await
}
