use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::response::Response;
use market::Symbol;
use utoipa::ToSchema;

use crate::live::board::TOO_MANY_SYMBOLS;
use crate::live::cursor::Cursor;
use crate::live::event::{Kind, Kinds};
use crate::live::following::{Following, Wish};
use crate::live::{Live, sse};
use crate::problem::{self, Problem};
use crate::query::{Query, bad_query};

pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Of an id in the query, in bytes: symbols must fit beside it.
const LONGEST_IN_QUERY: usize = 4_096;

/// Follow symbols, live
///
/// Server-sent events. It begins with how everything stands, and then `ready`. Events `price` and
/// `candle` are states: a client that reads slowly is given the newest of each. `tick` and `firing`
/// are given each, in order. A client that was cut off goes on with the id of the last event, and is
/// told of each once; `gap` says that something is no longer kept. After `bye`, come back.
#[utoipa::path(
    get, path = "/stream", tag = "prices",
    params(
        ("symbols" = String, Query, description = "1 to 1,000, separated by commas, as many as fit",
            pattern = r"^[^,\u0000-\u001f\u007f-\u009f]{1,64}(,[^,\u0000-\u001f\u007f-\u009f]{1,64})*$",
            example = "AAPL,MSFT"),
        ("kinds" = Option<String>, Query,
            description = "Of price, tick, candle, firing; price alone where absent",
            pattern = r"^(price|tick|candle|firing)(,(price|tick|candle|firing))*$",
            example = "price,firing"),
        ("last_event_id" = Option<String>, Query,
            description = "For a first connection, what Last-Event-ID says on the next ones; \
                4,096 bytes at most",
            pattern = r"^[0-9A-Fa-f]{1,12}_(-|[0-9]+\.[0-9]+)(_(-|[0-9]+\.[0-9]+(\.[0-9]+)?))*$",
            example = "7f3a9c21d04b_12.7_41.3_-"),
        ("Last-Event-ID" = Option<String>, Header, description = "Of the last event received",
            pattern = r"^[0-9A-Fa-f]{1,12}_(-|[0-9]+\.[0-9]+)(_(-|[0-9]+\.[0-9]+(\.[0-9]+)?))*$",
            example = "7f3a9c21d04b_12.7_41.3_-"),
    ),
    responses((status = 200, description = "Events, each of which is one of these",
        content_type = "text/event-stream", body = StreamEvent))
)]
pub(crate) async fn stream(
    State(live): State<Arc<Live>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Asked::of(&uri)?;
    let from = match headers.get(LAST_EVENT_ID) {
        Some(id) => id.to_str().unwrap_or("not ASCII").to_owned(),
        None => query.last_event_id,
    };
    let from = match &*from {
        "" => None,
        id => Some(Cursor::parse(id).ok_or_else(|| {
            bad_query("last_event_id, or Last-Event-ID, must be an id that a stream gave")
        })?),
    };
    let wish = Wish { symbols: query.symbols, kinds: query.kinds, from };
    let following = Following::new(&live, wish).map_err(|_| {
        Problem::new(problem::Kind::TooMany, format!("{TOO_MANY_SYMBOLS}; try again"))
    })?;
    Ok(sse::response(following))
}

/// An event of the stream, for the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described, not made")]
struct StreamEvent {
    #[schema(example = "tick")]
    event: String,
    /// JSON, by the kind of event.
    #[schema(
        example = r#"{"symbol":"AAPL","price":150.25,"timestamp":1700000000000,"volume":12.0}"#
    )]
    data: String,
    /// Where to go on from; how everything stands at the begin has none.
    id: Option<String>,
}

/// What a client asks for.
#[derive(Debug)]
struct Asked {
    symbols: Vec<Symbol>,
    kinds: Kinds,
    last_event_id: String,
}

impl Asked {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let query = Query::of(uri);
        let last_event_id = query.value("last_event_id");
        if last_event_id.len() > LONGEST_IN_QUERY {
            let detail = format!("a last_event_id has {LONGEST_IN_QUERY} bytes at most");
            return Err(bad_query(detail));
        }
        Ok(Self { symbols: query.symbols()?, kinds: kinds_of(&query)?, last_event_id })
    }
}

pub(crate) fn kinds_of(query: &Query<'_>) -> Result<Kinds, Problem> {
    let kinds = query.value("kinds");
    let kinds = kinds.split(',').filter(|name| !name.is_empty()).map(|name| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
        kind.ok_or_else(|| bad_query("kinds must be some of price, tick, candle, firing"))
    });
    let mut kinds: Vec<Kind> = kinds.collect::<Result<_, _>>()?;
    if kinds.is_empty() {
        kinds.push(Kind::Price);
    }
    Ok(Kinds::of(&kinds))
}
