//! What of alerts a derive cannot say: which condition takes which prices, and texts in queries.

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{KnownFormat, RefOr, Required, SchemaFormat};
use utoipa::{IntoParams, PartialSchema, ToSchema};

const SYMBOL: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";
const NOTE: &str = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$";

pub(crate) const CONDITIONS: [&str; 11] = [
    "ABOVE",
    "BELOW",
    "CROSSES_ABOVE",
    "CROSSES_BELOW",
    "CROSSES",
    "ENTERS_RANGE",
    "LEAVES_RANGE",
    "RISES_PERCENT",
    "TRAILING_RISE",
    "FALLS_PERCENT",
    "TRAILING_DROP",
];
pub(crate) const STATUSES: [&str; 4] = ["ACTIVE", "PAUSED", "TRIGGERED", "EXPIRED"];

/// 30 days, in milliseconds.
const LONGEST_COOLDOWN: f64 = 30.0 * 86_400_000.0;
/// The year 2200, in Unix milliseconds.
const END_OF_TIME: f64 = 7_258_118_400_000.0;

fn names(names: &[&str]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names.iter().copied())).build()
}

pub(crate) fn condition() -> RefOr<Schema> {
    names(&CONDITIONS).into()
}

pub(crate) fn status() -> RefOr<Schema> {
    names(&STATUSES).into()
}

fn or_null(of: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::from_iter([of, Type::Null]))
}

fn integer(least: isize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(least))
        .maximum(Some(i64::MAX as isize))
}

/// A price, where it must be there.
fn price(about: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .description(Some(about))
        .exclusive_minimum(Some(0))
        .maximum(Some(f64::MAX))
}

fn percent() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .description(Some("With at most three decimals"))
        .minimum(Some(0.001))
        .multiple_of(Some(0.001))
}

/// What a condition takes none of.
fn none() -> Object {
    ObjectBuilder::new()
        .description(Some("The condition takes none"))
        .enum_values(Some([serde_json::Value::Null, 0.into()]))
        .schema_type(SchemaType::from_iter([Type::Number, Type::Null]))
        .build()
}

fn repeat(with_hysteresis: bool) -> Object {
    let cooldown = or_null(Type::Integer)
        .description(Some(
            "How long after a firing the alert sees nothing, in milliseconds; 60,000 where absent. \
             The least is ALERT_MIN_COOLDOWN's.",
        ))
        .minimum(Some(1_000))
        .maximum(Some(LONGEST_COOLDOWN));
    let hysteresis = ObjectBuilder::new()
        .schema_type(Type::Number)
        .description(Some(
            "How far the price must go back before the alert can fire again: 0, or 0.001 to 50 \
             with at most three decimals",
        ))
        .minimum(Some(0))
        .maximum(Some(if with_hysteresis { 50 } else { 0 }))
        .multiple_of(Some(0.001));
    or_null(Type::Object)
        .description(Some("Fire again and again, and not just once"))
        .property("cooldown_ms", cooldown)
        .property("hysteresis_percent", hysteresis)
        .build()
}

/// What every alert has, whatever its condition.
fn alert(title: &str, with_hysteresis: bool) -> ObjectBuilder {
    let symbol = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("1 to 64 bytes of UTF-8"))
        .min_length(Some(1))
        .max_length(Some(64))
        .pattern(Some(SYMBOL));
    ObjectBuilder::new()
        .title(Some(title))
        .schema_type(Type::Object)
        .property("user_id", integer(1))
        .required("user_id")
        .property("symbol", symbol)
        .required("symbol")
        .required("condition")
        .property("repeat", repeat(with_hysteresis))
        .property("expires_at", expiry())
        .property("note", note())
}

fn expiry() -> Object {
    or_null(Type::Integer)
        .description(Some("When it ends, in Unix milliseconds: in the future"))
        .minimum(Some(1))
        .exclusive_maximum(Some(END_OF_TIME))
        .build()
}

fn note() -> Object {
    or_null(Type::String)
        .description(Some("Yours; without control characters but line breaks and tabs"))
        .max_length(Some(1_024))
        .pattern(Some(NOTE))
        .build()
}

/// An alert to be made.
#[derive(Debug)]
pub(crate) struct NewAlert;

impl ToSchema for NewAlert {}

impl PartialSchema for NewAlert {
    fn schema() -> RefOr<Schema> {
        let without = |alert: ObjectBuilder, fields: &[&str]| {
            fields.iter().fold(alert, |alert, field| alert.property(*field, none()))
        };
        let target = alert("On a price", true)
            .property("condition", names(&CONDITIONS[..5]))
            .property("target_price", price("The line"))
            .required("target_price");
        let range = alert("On a range", true)
            .property("condition", names(&CONDITIONS[5..7]))
            .property("lower_price", price("Inside, too"))
            .required("lower_price")
            .property("upper_price", price("Inside, too; above lower_price"))
            .required("upper_price");
        let of_percent = |title, conditions: &[&str], percent: ObjectBuilder| {
            let alert = alert(title, false)
                .property("condition", names(conditions))
                .property("percent", percent)
                .required("percent");
            without(alert, &["target_price", "lower_price", "upper_price"])
        };
        let rise = of_percent("On a rise", &CONDITIONS[7..9], percent().maximum(Some(1_000_000)));
        let fall =
            of_percent("On a fall", &CONDITIONS[9..], percent().exclusive_maximum(Some(100)));
        OneOfBuilder::new()
            .description(Some("Which prices it has depends on its condition."))
            .item(without(target, &["lower_price", "upper_price", "percent"]))
            .item(without(range, &["target_price", "percent"]))
            .item(rise)
            .item(fall)
            .examples([
                serde_json::json!({
                    "user_id": 1, "symbol": "AAPL", "condition": "ABOVE", "target_price": 150.0
                }),
                serde_json::json!({
                    "user_id": 1, "symbol": "BINANCE:BTCUSDT", "condition": "TRAILING_DROP",
                    "percent": 5, "repeat": {"cooldown_ms": 3_600_000}, "note": "take profit"
                }),
            ])
            .into()
    }
}

/// What of an alert is to be otherwise.
#[derive(Debug)]
pub(crate) struct AlertPatch;

impl ToSchema for AlertPatch {}

impl PartialSchema for AlertPatch {
    fn schema() -> RefOr<Schema> {
        let price = || or_null(Type::Number).exclusive_minimum(Some(0)).maximum(Some(f64::MAX));
        let percent = or_null(Type::Number)
            .minimum(Some(0.001))
            .maximum(Some(1_000_000))
            .multiple_of(Some(0.001));
        let condition = or_null(Type::String).enum_values(Some(
            CONDITIONS.iter().map(|name| (*name).into()).chain([serde_json::Value::Null]),
        ));
        ObjectBuilder::new()
            .description(Some(
                "A merge patch (RFC 7396): what is absent stays, null removes a repeat, expiry or \
                 note. Whether prices fit is decided with the condition that the alert has then.",
            ))
            .schema_type(Type::Object)
            .property("condition", condition)
            .property("target_price", price())
            .property("lower_price", price())
            .property("upper_price", price())
            .property("percent", percent)
            .property("repeat", repeat(true))
            .property("expires_at", expiry())
            .property("note", note())
            .examples([serde_json::json!({"percent": 7.5, "note": null})])
            .into()
    }
}

fn query(name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema.into()))
        .build()
}

/// A number, or nothing: a parameter without a value is absent, as in the original.
fn number_or_nothing(number: ObjectBuilder) -> Schema {
    let nothing = ObjectBuilder::new().schema_type(Type::String).max_length(Some(0));
    AnyOfBuilder::new().item(number).item(nothing).build().into()
}

/// Which alert, in the path.
#[derive(Debug)]
pub(crate) struct AlertId;

impl IntoParams for AlertId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let id = ParameterBuilder::new()
            .name("id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("Which alert"))
            .schema(Some(integer(1)));
        vec![id.build()]
    }
}

/// Whose alerts: a parameter of all that concerns alerts.
#[derive(Debug)]
pub(crate) struct OfUser;

impl IntoParams for OfUser {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "Whose; 0 or absent: anybody's. What is another user's is not there.";
        vec![query("user_id", about, number_or_nothing(integer(0)))]
    }
}

/// At which version an alert must be.
#[derive(Debug)]
pub(crate) struct IfMatch;

impl IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let tag = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r#"^(\*|"[1-9][0-9]{0,17}")$"#));
        let header = ParameterBuilder::new()
            .name("If-Match")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Do it only at this version: an ETag of the alert; *: at any"))
            .schema(Some(tag));
        vec![header.build()]
    }
}

/// Which page of a list.
#[derive(Debug)]
pub(crate) struct Page;

impl IntoParams for Page {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit =
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(10_000));
        let text = ObjectBuilder::new().schema_type(Type::String);
        vec![
            query("limit", "The most rows; 10,000 where absent", number_or_nothing(limit)),
            query("cursor", "The next_cursor of an answer before, and nothing else", text),
        ]
    }
}

/// Which alerts of a list.
#[derive(Debug)]
pub(crate) struct Which;

impl IntoParams for Which {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let symbol = text()
            .max_length(Some(64))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*$"))
            .examples(["AAPL"]);
        let statuses = ArrayBuilder::new().items(names(&STATUSES));
        let mut statuses = query("status", "In one of these states; absent: in any", statuses);
        statuses.style = Some(ParameterStyle::Form);
        statuses.explode = Some(false);
        vec![
            query("symbol", "Of this symbol", symbol),
            statuses,
            query(
                "active_only",
                "`true` or `1`: those that are ACTIVE; anything else: all",
                text().examples(["true"]),
            ),
        ]
    }
}
