//! What a request says, checked once: past here an alert that is wished for is a good one.

use broker::partition_of;
use market::{Price, Symbol};
use store::{Condition, Filter, UserId, Wish};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// What a page token begins with: the list is in the order of ids. Another order would have
/// another letter.
const BY_ID: char = 'i';

/// An alert as either service receives it. `condition` is `None` where it is no known one.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) user_id: i64,
    pub(crate) symbol: &'a str,
    pub(crate) condition: Option<Condition>,
    pub(crate) target_price: f64,
}

impl Wanted<'_> {
    /// # Errors
    /// INVALID_ARGUMENT, with every field that is wrong and the reason.
    pub(crate) fn check(self, partitions: i32) -> Result<Wish, Status> {
        let user_id = UserId::new(self.user_id).ok_or(MUST_BE_POSITIVE);
        let symbol = Symbol::new(self.symbol).map_err(|error| error.to_string());
        let condition = self.condition.ok_or("must be ABOVE or BELOW");
        let target_price = Price::new(self.target_price).ok_or(MUST_BE_FINITE);
        match (user_id, symbol, condition, target_price) {
            (Ok(user_id), Ok(symbol), Ok(condition), Ok(target_price)) => {
                let partition = partition_of(symbol.as_str(), partitions);
                Ok(Wish { user_id, symbol, condition, target_price, partition })
            }
            (user_id, symbol, condition, target_price) => {
                let wrong = [
                    ("user_id", user_id.err().map(str::to_owned)),
                    ("symbol", symbol.err()),
                    ("condition", condition.err().map(str::to_owned)),
                    ("target_price", target_price.err().map(str::to_owned)),
                ];
                let wrong = wrong.into_iter().filter_map(|(field, why)| Some((field, why?)));
                Err(invalid(wrong.collect()))
            }
        }
    }
}

const MUST_BE_POSITIVE: &str = "must be positive";
const MUST_BE_FINITE: &str = "must be positive and finite";

/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn filter(user_id: i64, active_only: bool) -> Result<Filter, Status> {
    let user_id = match user_id {
        0 => None,
        id => Some(UserId::new(id).ok_or_else(|| {
            invalid(vec![("user_id", "must be positive, or 0 for everybody's".to_owned())])
        })?),
    };
    Ok(Filter { user_id, active_only })
}

/// How many alerts a page is to hold; 0 means 100.
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

/// The token of the page after the alert with this id.
pub(crate) fn page_token(after: i64) -> String {
    format!("{BY_ID}{after}")
}

/// The id after which the page begins.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn after(page_token: &str) -> Result<i64, Status> {
    if page_token.is_empty() {
        return Ok(0);
    }
    page_token
        .strip_prefix(BY_ID)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| {
            let why = "must be the next_page_token of an answer before".to_owned();
            invalid(vec![("page_token", why)])
        })
}

/// The fields and reasons as text, and as a `google.rpc.BadRequest` for programs.
fn invalid(wrong: Vec<(&'static str, String)>) -> Status {
    let sentences: Vec<String> =
        wrong.iter().map(|(field, why)| format!("{field}: {why}")).collect();
    let violations = wrong.into_iter().map(|(field, why)| FieldViolation::new(field, why));
    let details = ErrorDetails::with_bad_request(violations.collect::<Vec<_>>());
    Status::with_error_details(Code::InvalidArgument, sentences.join("; "), details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted<'static> {
        Wanted {
            user_id: 1,
            symbol: "aapl",
            condition: Some(Condition::Above),
            target_price: 150.0,
        }
    }

    fn check(wanted: Wanted<'_>, expected: &[(&str, &str)]) {
        let status = wanted.check(6).expect_err("something is wrong");
        assert_eq!(status.code(), Code::InvalidArgument);
        let sentences: Vec<String> =
            expected.iter().map(|(field, why)| format!("{field}: {why}")).collect();
        assert_eq!(status.message(), sentences.join("; "));
        let details = status.get_details_bad_request().expect("details");
        let found: Vec<(&str, &str)> = details
            .field_violations
            .iter()
            .map(|violation| (&*violation.field, &*violation.description))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_good_alert_is_taken_as_the_store_wants_it() {
        let wish = wanted().check(6).expect("good");
        assert_eq!((wish.user_id.get(), wish.symbol.as_str()), (1, "AAPL"));
        assert_eq!(wish.partition, partition_of("AAPL", 6));
    }

    #[test]
    fn each_wrong_field_is_named_with_its_reason() {
        for user_id in [0, -1, i64::MIN] {
            check(Wanted { user_id, ..wanted() }, &[("user_id", MUST_BE_POSITIVE)]);
        }
        for target_price in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            check(Wanted { target_price, ..wanted() }, &[("target_price", MUST_BE_FINITE)]);
        }
        for (symbol, why) in [
            ("", "a symbol must not be empty"),
            ("A\n", "a symbol must not contain control characters"),
            (&*"X".repeat(65), "a symbol must not be longer than 64 bytes"),
        ] {
            check(Wanted { symbol, ..wanted() }, &[("symbol", why)]);
        }
        let condition = ("condition", "must be ABOVE or BELOW");
        check(Wanted { condition: None, ..wanted() }, &[condition]);
        check(
            Wanted { user_id: 0, symbol: "", condition: None, target_price: 0.0 },
            &[
                ("user_id", MUST_BE_POSITIVE),
                ("symbol", "a symbol must not be empty"),
                condition,
                ("target_price", MUST_BE_FINITE),
            ],
        );
    }

    #[test]
    fn a_page_token_leads_to_where_the_page_ended() {
        assert_eq!(after("").expect("the first page"), 0);
        for id in [1, 42, i64::MAX] {
            assert_eq!(after(&page_token(id)).expect("ours"), id);
        }
        for token in ["i", "42", "i-1", "i+1", "i 1", "I1", "i9223372036854775808", "\u{665}"] {
            assert_eq!(after(token).expect_err(token).code(), Code::InvalidArgument, "{token}");
        }
    }

    #[test]
    fn lists_have_their_bounds() {
        assert_eq!(page_size(0).expect("good"), 100);
        assert_eq!(page_size(i32::MAX).expect("good"), i32::MAX.cast_unsigned());
        assert_eq!(page_size(-1).expect_err("bad").code(), Code::InvalidArgument);
        assert_eq!(filter(0, true).expect("good"), Filter { user_id: None, active_only: true });
        assert_eq!(filter(7, false).expect("good").user_id, UserId::new(7));
        assert_eq!(filter(-1, false).expect_err("bad").code(), Code::InvalidArgument);
    }
}
