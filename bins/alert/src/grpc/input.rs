//! What a request says, checked once: past here an alert that is wished for is a good one.

use broker::partition_of;
pub(crate) use grpc_server::{Wrong, invalid};
use market::{Price, Symbol};
use rpc::alert::v1::{AlertCondition, AlertStatus, CreateAlertRequest, Repeat as RepeatMessage};
use store::{Filter, Status as AlertState, UserId, Wish};
use tonic::Status;
use triggers::{Condition, Percent, PriceRange, Repeat, Terms, TermsError};

/// What a page token of alerts begins with: the list is in the order of ids. Another order would
/// have another letter.
pub(crate) const BY_ID: char = 'i';
/// Of firings: the newest first.
pub(crate) const NEWEST_FIRST: char = 'n';

/// What is meant where a request does not say.
const DEFAULT_COOLDOWN: i64 = 60_000;
/// 30 days.
const MAX_COOLDOWN: i64 = 30 * 86_400_000;
/// The year 2200: before it, as for trades.
const END_OF_TIME: i64 = 7_258_118_400_000;
const MAX_NOTE: usize = 1_024;

/// What a request is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Of the topic.
    pub(crate) partitions: i32,
    /// Milliseconds.
    pub(crate) min_cooldown: i64,
    /// Unix milliseconds.
    pub(crate) now: i64,
}

impl Rules {
    /// # Errors
    /// INVALID_ARGUMENT, with every field that is wrong and the reason.
    pub(crate) fn wish(&self, request: CreateAlertRequest) -> Result<Wish, Status> {
        let mut wrong = Wrong::new();
        let condition = condition_of(request.condition);
        let condition = ConditionFields::of(&request).read(condition, &mut wrong);
        self.finish(request, condition, wrong)
    }

    /// As the original's clients send it.
    ///
    /// # Errors
    /// As [`wish`](Self::wish).
    pub(crate) fn plain_wish(
        &self,
        user_id: i64,
        symbol: String,
        condition: Option<AlertCondition>,
        target_price: f64,
    ) -> Result<Wish, Status> {
        let request = CreateAlertRequest { user_id, symbol, target_price, ..Default::default() };
        let mut wrong = Wrong::new();
        if condition.is_none() {
            wrong.push(("condition", "must be ABOVE or BELOW".to_owned()));
        }
        // The price is looked at, too, whatever the condition.
        let of_price = condition.unwrap_or(AlertCondition::Above);
        let condition = ConditionFields::of(&request).read(Some(of_price), &mut wrong);
        self.finish(request, condition, wrong)
    }

    fn finish(
        &self,
        request: CreateAlertRequest,
        condition: Option<Condition>,
        mut wrong: Wrong,
    ) -> Result<Wish, Status> {
        let user_id = UserId::new(request.user_id);
        if user_id.is_none() {
            wrong.push(("user_id", "must be positive".to_owned()));
        }
        let symbol = Symbol::new(&request.symbol);
        let symbol = symbol.map_err(|error| wrong.push(("symbol", error.to_string()))).ok();
        let repeat = self.repeat(request.repeat, &mut wrong);
        let terms = condition.and_then(|condition| terms(condition, repeat, &mut wrong));
        let expires_at = self.expiry(request.expires_at, &mut wrong);
        let note = note(request.note, &mut wrong);
        match (user_id, symbol, terms) {
            (Some(user_id), Some(symbol), Some(terms)) if wrong.is_empty() => {
                let partition = partition_of(symbol.as_str(), self.partitions);
                Ok(Wish { user_id, symbol, terms, expires_at, note, partition })
            }
            _ => Err(invalid(wrong)),
        }
    }

    pub(crate) fn repeat(
        &self,
        repeat: Option<RepeatMessage>,
        wrong: &mut Wrong,
    ) -> Option<Repeat> {
        let RepeatMessage { cooldown_ms, hysteresis_percent } = repeat?;
        let cooldown = cooldown_ms.unwrap_or(DEFAULT_COOLDOWN.max(self.min_cooldown));
        if !(self.min_cooldown..=MAX_COOLDOWN).contains(&cooldown) {
            let least = self.min_cooldown;
            let why = format!("must be from {least} to {MAX_COOLDOWN}");
            wrong.push(("repeat.cooldown_ms", why));
        }
        let hysteresis = match hysteresis_percent {
            0.0 => None,
            percent => {
                let percent = Percent::new(percent);
                if percent.is_none() {
                    let why = "must be 0, or from 0.001 to 50, with at most three decimals";
                    wrong.push(("repeat.hysteresis_percent", why.to_owned()));
                }
                percent
            }
        };
        Some(Repeat { cooldown: u32::try_from(cooldown).unwrap_or_default(), hysteresis })
    }

    pub(crate) fn expiry(&self, expires_at: Option<i64>, wrong: &mut Wrong) -> Option<i64> {
        let expires_at = expires_at?;
        if !(self.now + 1..END_OF_TIME).contains(&expires_at) {
            let why = "must be in the future, in Unix milliseconds, and before the year 2200";
            wrong.push(("expires_at", why.to_owned()));
        }
        Some(expires_at)
    }
}

/// Past its edge: one that is known.
pub(crate) fn condition_of(number: i32) -> Option<AlertCondition> {
    let condition = AlertCondition::try_from(number).ok();
    condition.filter(|condition| *condition != AlertCondition::Unspecified)
}

/// The fields of which a condition takes some.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConditionFields {
    pub(crate) target_price: f64,
    pub(crate) lower_price: f64,
    pub(crate) upper_price: f64,
    pub(crate) percent: f64,
}

impl ConditionFields {
    fn of(request: &CreateAlertRequest) -> Self {
        let CreateAlertRequest { target_price, lower_price, upper_price, percent, .. } = *request;
        Self { target_price, lower_price, upper_price, percent }
    }

    pub(crate) fn read(
        self,
        condition: Option<AlertCondition>,
        wrong: &mut Wrong,
    ) -> Option<Condition> {
        use AlertCondition::{
            Above, Below, Crosses, CrossesAbove, CrossesBelow, EntersRange, FallsPercent,
            LeavesRange, RisesPercent, TrailingDrop, TrailingRise, Unspecified,
        };
        let Some(condition) = condition else {
            wrong.push(("condition", "must be one of the conditions".to_owned()));
            return None;
        };
        let line = self.price("target_price", self.target_price);
        let range = || {
            let lower = self.price("lower_price", self.lower_price)?;
            let upper = self.price("upper_price", self.upper_price)?;
            PriceRange::new(lower, upper)
                .ok_or_else(|| ("upper_price", "must be above lower_price".to_owned()))
        };
        let share = || {
            Percent::new(self.percent).ok_or_else(|| {
                let why = "must be from 0.001 to 1000000, with at most three decimals";
                ("percent", why.to_owned())
            })
        };
        let (read, takes): (_, &[&str]) = match condition {
            Above => (line.map(Condition::Above), &["target_price"]),
            Below => (line.map(Condition::Below), &["target_price"]),
            CrossesAbove => (line.map(Condition::CrossesAbove), &["target_price"]),
            CrossesBelow => (line.map(Condition::CrossesBelow), &["target_price"]),
            Crosses => (line.map(Condition::Crosses), &["target_price"]),
            EntersRange => (range().map(Condition::EntersRange), &["lower_price", "upper_price"]),
            LeavesRange => (range().map(Condition::LeavesRange), &["lower_price", "upper_price"]),
            RisesPercent => (share().map(Condition::RisesPercent), &["percent"]),
            FallsPercent => (share().map(Condition::FallsPercent), &["percent"]),
            TrailingDrop => (share().map(Condition::TrailingDrop), &["percent"]),
            TrailingRise => (share().map(Condition::TrailingRise), &["percent"]),
            Unspecified => (Err(("condition", "must be one of the conditions".to_owned())), &[]),
        };
        for (field, value) in [
            ("target_price", self.target_price),
            ("lower_price", self.lower_price),
            ("upper_price", self.upper_price),
            ("percent", self.percent),
        ] {
            if value != 0.0 && !takes.contains(&field) {
                wrong.push((field, "the condition takes none".to_owned()));
            }
        }
        read.map_err(|why| wrong.push(why)).ok()
    }

    fn price(self, field: &'static str, price: f64) -> Result<Price, (&'static str, String)> {
        Price::new(price).ok_or_else(|| (field, "must be positive and finite".to_owned()))
    }
}

/// A condition and how it repeats, if they are good together.
pub(crate) fn terms(
    condition: Condition,
    repeat: Option<Repeat>,
    wrong: &mut Wrong,
) -> Option<Terms> {
    let terms = Terms::new(condition, repeat);
    terms.map_err(|error| wrong.push((field_of(error), error.to_string()))).ok()
}

pub(crate) fn field_of(error: TermsError) -> &'static str {
    match error {
        TermsError::FallsToNothing => "percent",
        TermsError::NeedlessHysteresis | TermsError::WideHysteresis | TermsError::NarrowRange => {
            "repeat.hysteresis_percent"
        }
    }
}

/// A note; none where it is empty.
pub(crate) fn note(note: String, wrong: &mut Wrong) -> Option<String> {
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if note.chars().count() > MAX_NOTE || note.contains(is_odd) {
        let why = format!("must be at most {MAX_NOTE} characters, without control characters");
        wrong.push(("note", why));
    }
    (!note.is_empty()).then_some(note)
}

/// Whose: anybody's where it is 0.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn owner(user_id: i64) -> Result<Option<UserId>, Status> {
    match user_id {
        0 => Ok(None),
        id => Ok(Some(UserId::new(id).ok_or_else(|| {
            invalid(vec![("user_id", "must be positive, or 0 for everybody's".to_owned())])
        })?)),
    }
}

/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn filter(
    user_id: i64,
    active_only: bool,
    symbol: &str,
    statuses: &[i32],
) -> Result<Filter, Status> {
    let user_id = owner(user_id)?;
    let symbol = match symbol {
        "" => None,
        symbol => Some(
            Symbol::new(symbol)
                .map_err(|error| invalid(vec![("symbol", error.to_string())]))?
                .as_str()
                .to_owned(),
        ),
    };
    let mut wanted = Vec::with_capacity(statuses.len());
    for number in statuses {
        let status = AlertStatus::try_from(*number).ok().and_then(status_of);
        let status = status.ok_or_else(|| {
            let why = "must be ACTIVE, PAUSED, TRIGGERED or EXPIRED".to_owned();
            invalid(vec![("statuses", why)])
        })?;
        if !wanted.contains(&status) {
            wanted.push(status);
        }
    }
    if active_only {
        let is_other = !wanted.is_empty() && !wanted.contains(&AlertState::Active);
        if is_other {
            let why = "is at odds with statuses".to_owned();
            return Err(invalid(vec![("active_only", why)]));
        }
        wanted = vec![AlertState::Active];
    }
    let statuses = (!wanted.is_empty()).then_some(wanted);
    Ok(Filter { user_id, symbol, statuses })
}

fn status_of(status: AlertStatus) -> Option<AlertState> {
    match status {
        AlertStatus::Active => Some(AlertState::Active),
        AlertStatus::Paused => Some(AlertState::Paused),
        AlertStatus::Triggered => Some(AlertState::Triggered),
        AlertStatus::Expired => Some(AlertState::Expired),
        AlertStatus::Deleted | AlertStatus::Unspecified => None,
    }
}

/// How many rows a page is to hold; 0 means 100.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn page_size(page_size: i32) -> Result<u32, Status> {
    match u32::try_from(page_size) {
        Ok(0) => Ok(100),
        Ok(size) => Ok(size),
        Err(_) => Err(invalid(vec![("page_size", "must not be negative".to_owned())])),
    }
}

/// The token of the page after the row with this id, in some order.
pub(crate) fn page_token(order: char, id: i64) -> String {
    format!("{order}{id}")
}

/// The id after which the page begins; `first` for the first page.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn after(order: char, first: i64, page_token: &str) -> Result<i64, Status> {
    if page_token.is_empty() {
        return Ok(first);
    }
    page_token
        .strip_prefix(order)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| {
            let why = "must be the next_page_token of an answer before".to_owned();
            invalid(vec![("page_token", why)])
        })
}

#[cfg(test)]
mod tests;
