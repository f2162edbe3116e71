use tonic::Code;
use tonic_types::StatusExt;

use super::*;

const RULES: Rules = Rules { partitions: 6, min_cooldown: 1_000, now: 1_700_000_000_000 };

const MUST_BE_FINITE: &str = "must be positive and finite";

fn wanted() -> CreateAlertRequest {
    CreateAlertRequest {
        user_id: 1,
        symbol: "aapl".into(),
        condition: AlertCondition::Above.into(),
        target_price: 150.0,
        ..Default::default()
    }
}

#[track_caller]
fn check(wanted: CreateAlertRequest, expected: &[(&str, &str)]) {
    let status = RULES.wish(wanted).expect_err("something is wrong");
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
    let wish = RULES.wish(wanted()).expect("good");
    assert_eq!((wish.user_id.get(), wish.symbol.as_str()), (1, "AAPL"));
    assert_eq!(wish.partition, partition_of("AAPL", 6));
    assert_eq!((wish.expires_at, wish.note, wish.terms.repeat()), (None, None, None));
    let plain = RULES.plain_wish(1, "aapl".into(), Some(AlertCondition::Above), 150.0);
    assert_eq!(plain.expect("good").terms, wish.terms);

    let wish = RULES.wish(CreateAlertRequest {
        repeat: Some(RepeatMessage { cooldown_ms: None, hysteresis_percent: 0.5 }),
        expires_at: Some(RULES.now + 1),
        note: "tab\tand\nline".into(),
        ..wanted()
    });
    let wish = wish.expect("good");
    let hysteresis = Percent::new(0.5);
    assert_eq!(wish.terms.repeat(), Some(Repeat { cooldown: 60_000, hysteresis }));
    assert_eq!(wish.expires_at, Some(RULES.now + 1));
    assert_eq!(wish.note.as_deref(), Some("tab\tand\nline"));
}

#[test]
fn each_condition_takes_its_own_fields() {
    let condition = |condition: AlertCondition, of: [f64; 4]| {
        let [target_price, lower_price, upper_price, percent] = of;
        let condition = condition.into();
        CreateAlertRequest {
            condition,
            target_price,
            lower_price,
            upper_price,
            percent,
            ..wanted()
        }
    };
    for number in 1..=11 {
        let kind = AlertCondition::try_from(number).expect("a condition");
        let of = match number {
            1..=5 => [1.0, 0.0, 0.0, 0.0],
            6..=7 => [0.0, 1.0, 2.0, 0.0],
            _ => [0.0, 0.0, 0.0, 0.5],
        };
        let wish = RULES.wish(condition(kind, of)).expect("good");
        let none = condition(kind, [0.0; 4]);
        assert_eq!(RULES.wish(none).expect_err("none").code(), Code::InvalidArgument);
        let all = RULES.wish(condition(kind, [1.0, 1.0, 2.0, 0.5])).expect_err("too many");
        assert!(all.message().contains("the condition takes none"), "{all}");
        assert!(!format!("{:?}", wish.terms.condition()).is_empty());
    }
    use AlertCondition::{EntersRange, FallsPercent, RisesPercent};
    let above = "must be above lower_price";
    check(condition(EntersRange, [0.0, 2.0, 2.0, 0.0]), &[("upper_price", above)]);
    check(condition(EntersRange, [0.0, 0.0, 2.0, 0.0]), &[("lower_price", MUST_BE_FINITE)]);
    let decimals = "must be from 0.001 to 1000000, with at most three decimals";
    check(condition(RisesPercent, [0.0, 0.0, 0.0, 0.0005]), &[("percent", decimals)]);
    let nothing = "a price cannot fall by 100 percent";
    check(condition(FallsPercent, [0.0, 0.0, 0.0, 100.0]), &[("percent", nothing)]);
}

#[test]
fn each_wrong_field_is_named_with_its_reason() {
    for user_id in [0, -1, i64::MIN] {
        check(CreateAlertRequest { user_id, ..wanted() }, &[("user_id", "must be positive")]);
    }
    for target_price in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        check(CreateAlertRequest { target_price, ..wanted() }, &[("target_price", MUST_BE_FINITE)]);
    }
    for (symbol, why) in [
        ("", "a symbol must not be empty"),
        ("A\n", "a symbol must not contain control characters"),
        (&*"X".repeat(65), "a symbol must not be longer than 64 bytes"),
    ] {
        check(CreateAlertRequest { symbol: symbol.into(), ..wanted() }, &[("symbol", why)]);
    }
    for condition in [0, -1, 12, 99] {
        let why = "must be one of the conditions";
        check(CreateAlertRequest { condition, ..wanted() }, &[("condition", why)]);
    }
    let repeat = |cooldown_ms, hysteresis_percent| CreateAlertRequest {
        repeat: Some(RepeatMessage { cooldown_ms, hysteresis_percent }),
        ..wanted()
    };
    for cooldown in [999, -1, MAX_COOLDOWN + 1] {
        let why = "must be from 1000 to 2592000000";
        check(repeat(Some(cooldown), 0.0), &[("repeat.cooldown_ms", why)]);
    }
    for percent in [-1.0, f64::NAN, 0.000_1] {
        let why = "must be 0, or from 0.001 to 50, with at most three decimals";
        check(repeat(None, percent), &[("repeat.hysteresis_percent", why)]);
    }
    let wide = "a hysteresis is at most 50 percent";
    check(repeat(None, 51.0), &[("repeat.hysteresis_percent", wide)]);
    for expires_at in [0, RULES.now, END_OF_TIME, i64::MIN, i64::MAX] {
        let why = "must be in the future, in Unix milliseconds, and before the year 2200";
        let expires_at = Some(expires_at);
        check(CreateAlertRequest { expires_at, ..wanted() }, &[("expires_at", why)]);
    }
    for note in ["\0".to_owned(), "x".repeat(MAX_NOTE + 1)] {
        let why = "must be at most 1024 characters, without control characters";
        check(CreateAlertRequest { note, ..wanted() }, &[("note", why)]);
    }
    let everything = CreateAlertRequest { condition: 1, ..Default::default() };
    check(
        everything,
        &[
            ("target_price", MUST_BE_FINITE),
            ("user_id", "must be positive"),
            ("symbol", "a symbol must not be empty"),
        ],
    );
    let plain = RULES.plain_wish(0, String::new(), None, 0.0).expect_err("all is wrong");
    assert_eq!(
        plain.message(),
        "condition: must be ABOVE or BELOW; target_price: must be positive and finite; \
         user_id: must be positive; symbol: a symbol must not be empty"
    );
}

#[test]
fn a_page_token_leads_to_where_the_page_ended() {
    assert_eq!(after(BY_ID, 0, "").expect("the first page"), 0);
    assert_eq!(after(NEWEST_FIRST, i64::MAX, "").expect("the first page"), i64::MAX);
    for id in [1, 42, i64::MAX] {
        assert_eq!(after(BY_ID, 0, &page_token(BY_ID, id)).expect("ours"), id);
    }
    let newest = page_token(NEWEST_FIRST, 42);
    for token in ["i", "42", "i-1", "i+1", "i 1", "I1", "i9223372036854775808", "\u{665}", &newest]
    {
        let status = after(BY_ID, 0, token).expect_err(token);
        assert_eq!(status.code(), Code::InvalidArgument, "{token}");
    }
}

#[test]
fn lists_have_their_bounds() {
    assert_eq!(page_size(0).expect("good"), 100);
    assert_eq!(page_size(i32::MAX).expect("good"), i32::MAX.cast_unsigned());
    assert_eq!(page_size(-1).expect_err("bad").code(), Code::InvalidArgument);
    assert_eq!(filter(0, true, "", &[]).expect("good"), Filter::active());
    let good = filter(7, false, "aapl", &[3, 2, 3]).expect("good");
    assert_eq!(
        good,
        Filter {
            user_id: UserId::new(7),
            symbol: Some("AAPL".into()),
            statuses: Some(vec![AlertState::Triggered, AlertState::Paused]),
        }
    );
    for bad in [
        filter(-1, false, "", &[]),
        filter(0, false, "\n", &[]),
        filter(0, false, "", &[5]),
        filter(0, false, "", &[0]),
        filter(0, true, "", &[2]),
    ] {
        assert_eq!(bad.expect_err("bad").code(), Code::InvalidArgument);
    }
}
