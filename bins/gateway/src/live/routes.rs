use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use market::Symbol;
use url::form_urlencoded;

use crate::live::catch_up::{CatchUp, standing};
use crate::live::cursor::Cursor;
use crate::live::event::{Kind, Kinds};
use crate::live::sse::EventStream;
use crate::live::subscription::{MOST_SYMBOLS, Subscription};
use crate::live::{Counted, Live};
use crate::problem::Problem;

const LAST_EVENT_ID: &str = "last-event-id";

/// `GET /stream?symbols=A,B&kinds=price,tick,candle,firing`. Where it goes on is said by the header
/// `Last-Event-ID`, or, for a first connection, by `last_event_id` in the query.
pub(crate) async fn stream(
    State(live): State<Arc<Live>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let query = Asked::parse(uri.query().unwrap_or_default())?;
    let from = match headers.get(LAST_EVENT_ID) {
        Some(id) => Some(id.to_str().unwrap_or_default().to_owned()),
        None => query.last_event_id,
    };
    let from = match from.filter(|id| !id.is_empty()) {
        Some(id) => {
            Some(Cursor::parse(&id).ok_or_else(|| bad("Last-Event-ID is no id of a stream's"))?)
        }
        None => None,
    };
    let subscribed =
        Subscription::new(&live.board, &query.symbols, query.kinds, live.stopping.clone());
    let Ok((subscription, base)) = subscribed else {
        let detail = "too many symbols are asked for that nobody trades";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let (mut catch_up, mut first) = (None, Bytes::new());
    match from {
        Some(from) => {
            let (reader, topic, board) =
                (live.reader.clone(), live.topic.clone(), Arc::clone(&live.board));
            let wanted = (subscription.kinds(), subscription.slots());
            catch_up = Some(CatchUp::new(reader, topic, board, wanted, (from, base)));
        }
        None => {
            let slots = subscription.slots().iter();
            first = standing(slots.flat_map(|slot| slot.snapshot(query.kinds)), &base.cursor);
        }
    }
    let (told, counted) = (live.told.clone(), Counted::new(&live.streams));
    Ok(EventStream { subscription, catch_up, first, told, counted }.response())
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// What a client asks for.
#[derive(Debug)]
struct Asked {
    symbols: Vec<Symbol>,
    kinds: Kinds,
    last_event_id: Option<String>,
}

impl Asked {
    fn parse(query: &str) -> Result<Self, Problem> {
        let (mut symbols, mut kinds, mut last_event_id) = (Vec::new(), Vec::new(), None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "symbols" => {
                    for name in value.split(',').filter(|name| !name.is_empty()) {
                        let symbol = Symbol::new(name);
                        symbols.push(symbol.map_err(|error| bad(format!("symbols: {error}")))?);
                    }
                }
                "kinds" => {
                    for name in value.split(',').filter(|name| !name.is_empty()) {
                        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
                        kinds.push(kind.ok_or_else(|| {
                            bad("kinds must be some of price, tick, candle, firing")
                        })?);
                    }
                }
                "last_event_id" => last_event_id = Some(value.into_owned()),
                _ => {}
            }
        }
        symbols.sort_unstable();
        symbols.dedup();
        if symbols.is_empty() || symbols.len() > MOST_SYMBOLS {
            return Err(bad(format!("symbols must name 1 to {MOST_SYMBOLS}, separated by commas")));
        }
        if kinds.is_empty() {
            kinds.push(Kind::Price);
        }
        Ok(Self { symbols, kinds: Kinds::of(&kinds), last_event_id })
    }
}
