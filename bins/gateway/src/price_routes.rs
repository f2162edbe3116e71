use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Json, Response};
use market::{Sequence, Symbol, Trade};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use speed::{CandleRange, ReadError};
use utoipa::ToSchema;

use crate::Prices;
use crate::prices::{Seen, SymbolPage, UnknownInterval};
use crate::problem::{Kind, Problem};
use crate::query::{Query, bad_query};
use crate::routes::NO_STORE;

pub(crate) const PRICE: &str = "/price/{symbol}";

/// What nearly every price fits in, in bytes.
const LONG_BODY: usize = 256;

const PRICE_PREFIX: &str = "/price/";
const TICKS_PREFIX: &str = "/ticks/";
const CANDLES_PREFIX: &str = "/candles/";

/// The original's three fields, then what it did not keep.
#[derive(Serialize, ToSchema)]
#[schema(as = Price)]
pub(crate) struct PriceBody {
    #[schema(example = "AAPL")]
    symbol: String,
    /// Of the latest trade.
    #[schema(example = 150.25)]
    price: f64,
    /// When the exchange says that it happened, in Unix milliseconds.
    #[schema(example = 1_700_000_000_000_i64)]
    timestamp: i64,
    volume: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    day: Option<DayBody>,
    /// How long ago that trade was when this was answered, by the gateway's clock.
    age_ms: i64,
    /// Whether that is longer than `STALE_AFTER`: a market is closed, or a feed stalls.
    stale: bool,
}

/// The UTC day of the latest trade.
#[derive(Serialize, ToSchema)]
#[schema(as = Day)]
pub(crate) struct DayBody {
    /// Unix milliseconds.
    start: i64,
    open: f64,
    high: f64,
    low: f64,
    volume: f64,
}

impl PriceBody {
    fn new(latest: Seen, (age_ms, stale): (i64, bool)) -> Self {
        let day = latest.day.map(|day| DayBody {
            start: day.start_ms,
            open: day.open,
            high: day.high,
            low: day.low,
            volume: day.volume,
        });
        Self {
            symbol: latest.symbol.as_str().to_owned(),
            price: latest.price,
            timestamp: latest.timestamp,
            volume: latest.volume,
            day,
            age_ms,
            stale,
        }
    }
}

/// The latest price of a symbol
#[utoipa::path(
    get, path = "/price/{symbol}", tag = "prices",
    params(("symbol" = String, Path,
        description = "As the feed spells it, in upper or lower case: 1 to 64 bytes of UTF-8 \
                       without control characters; percent-encode spaces and slashes",
        min_length = 1, max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$",
        example = "AAPL")),
    responses((status = 200, description = "The latest trade and its day", body = PriceBody))
)]
pub(crate) async fn price(
    State(prices): State<Arc<Prices>>,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    let symbol = symbol_in(&uri, PRICE_PREFIX)?;
    let latest = prices.latest(&symbol).await.map_err(unread)?;
    let latest = latest.ok_or_else(|| unknown(&symbol))?;
    Ok(answer(&prices, latest))
}

fn answer(prices: &Prices, latest: Seen) -> Response {
    const TYPE: HeaderValue = HeaderValue::from_static("application/json");
    // As `Json` gives it, of a size that need not grow.
    let mut body = Vec::with_capacity(LONG_BODY);
    let age = prices.age(&latest);
    if let Err(error) = serde_json::to_writer(&mut body, &PriceBody::new(latest, age)) {
        return Problem::new(Kind::Internal, error.to_string()).into_response();
    }
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, TYPE);
    response.headers_mut().extend(NO_STORE);
    response
}

/// Whether that route has it.
pub(crate) fn is_price(uri: &Uri) -> bool {
    uri.path().strip_prefix(PRICE_PREFIX).is_some_and(|symbol| !symbol.contains('/'))
}

/// As [`price`] answers, where nothing has to be waited for and nothing is wrong.
pub(crate) fn known(prices: &Prices, uri: &Uri) -> Option<Response> {
    let latest = prices.known(&symbol_in(uri, PRICE_PREFIX).ok()?)?;
    Some(answer(prices, latest))
}

fn unread(error: ReadError) -> Problem {
    match error {
        ReadError::Unavailable(_) => {
            Problem::new(Kind::PricesAway, "the store of prices is away; try again")
        }
        ReadError::Foreign { .. } => {
            let detail = "what is stored of this symbol is damaged; it has been logged";
            Problem::new(Kind::DamagedPrice, detail)
        }
    }
}

fn unknown(symbol: &Symbol) -> Problem {
    Problem::new(Kind::UnknownSymbol, format!("no trade of {symbol} has been seen"))
}

#[derive(Serialize, ToSchema)]
#[schema(as = PriceList)]
pub(crate) struct PricesBody {
    prices: Vec<PriceBody>,
    count: usize,
    /// Those of which no trade has been seen.
    unknown: Vec<String>,
}

/// The latest prices of several symbols
#[utoipa::path(
    get, path = "/prices", tag = "prices",
    params(("symbols" = String, Query, description = "1 to 1,000, separated by commas, as many as fit",
        pattern = r"^[^,\u0000-\u001f\u007f-\u009f]{1,64}(,[^,\u0000-\u001f\u007f-\u009f]{1,64})*$",
        example = "AAPL,MSFT")),
    responses((status = 200, description = "In the order of their symbols", body = PricesBody))
)]
pub(crate) async fn prices(
    State(prices): State<Arc<Prices>>,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    let symbols = Query::of(&uri).symbols()?;
    for (symbol, latest) in prices.latest_of(symbols).await.map_err(unread)? {
        match latest {
            Some(latest) => {
                let age = prices.age(&latest);
                found.push(PriceBody::new(latest, age));
            }
            None => unknown.push(symbol.as_str().to_owned()),
        }
    }
    Ok((NO_STORE, Json(PricesBody { count: found.len(), prices: found, unknown })))
}

#[derive(Serialize, ToSchema)]
#[schema(as = SymbolList)]
pub(crate) struct SymbolsBody {
    symbols: Vec<String>,
    count: usize,
    /// Where more follows.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    next_cursor: String,
}

/// List symbols
///
/// Those that have traded, in the order of their names.
#[utoipa::path(
    get, path = "/symbols", tag = "prices",
    params(
        ("search" = Option<String>, Query, description = "A part of their names, in any case",
            example = "BTC"),
        ("limit" = Option<i32>, Query, description = "10,000 where absent", minimum = 1,
            maximum = 10_000),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before"),
    ),
    responses((status = 200, description = "A page of them", body = SymbolsBody))
)]
pub(crate) async fn symbols(
    State(prices): State<Arc<Prices>>,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    let query = Query::of(&uri);
    let limit = usize::try_from(query.limit()?).unwrap_or_default();
    let page = prices.symbol_page(&query.value("search"), &query.value("cursor"), limit).await;
    let SymbolPage { symbols, next } = page.map_err(unread)?;
    Ok((NO_STORE, Json(SymbolsBody { count: symbols.len(), symbols, next_cursor: next })))
}

#[derive(Serialize, ToSchema)]
#[schema(as = TickList)]
pub(crate) struct TicksBody {
    #[schema(example = "AAPL")]
    symbol: String,
    ticks: Vec<TickBody>,
    count: usize,
}

/// A trade.
#[derive(Serialize, ToSchema)]
#[schema(as = Tick)]
pub(crate) struct TickBody {
    price: f64,
    /// When the exchange says that it happened, in Unix milliseconds.
    timestamp: i64,
    volume: f64,
}

/// The last trades of a symbol
///
/// In the order in which they came, the newest last; `RECENT_TICKS` of them at most.
#[utoipa::path(
    get, path = "/ticks/{symbol}", tag = "prices",
    params(
        ("symbol" = String, Path, description = "As in /price/{symbol}", min_length = 1,
            max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", example = "AAPL"),
        ("limit" = Option<i32>, Query, description = "Only the newest so many", minimum = 1,
            maximum = 10_000),
    ),
    responses((status = 200, description = "The trades", body = TicksBody))
)]
pub(crate) async fn ticks(
    State(prices): State<Arc<Prices>>,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    let symbol = symbol_in(&uri, TICKS_PREFIX)?;
    let limit = usize::try_from(Query::of(&uri).limit()?).unwrap_or_default();
    let trades = prices.recent(&symbol).await.map_err(unread)?;
    let trades = trades.ok_or_else(|| unknown(&symbol))?;
    let newest = &trades[trades.len().saturating_sub(limit)..];
    let tick = |(_, trade): &(Sequence, Trade)| TickBody {
        price: trade.price.get(),
        timestamp: trade.timestamp,
        volume: trade.volume.get(),
    };
    let ticks: Vec<TickBody> = newest.iter().map(tick).collect();
    let symbol = symbol.as_str().to_owned();
    Ok((NO_STORE, Json(TicksBody { symbol, count: ticks.len(), ticks })))
}

#[derive(Serialize, ToSchema)]
#[schema(as = CandleList)]
pub(crate) struct CandlesBody {
    #[schema(example = "AAPL")]
    symbol: String,
    #[schema(example = "1m")]
    interval: String,
    candles: Vec<CandleBody>,
    count: usize,
}

/// What was traded in one interval; one without a trade has none.
#[derive(Serialize, ToSchema)]
#[schema(as = Candle)]
pub(crate) struct CandleBody {
    /// Unix milliseconds.
    start: i64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    trades: u64,
}

/// Candles of a symbol
///
/// Oldest first. Of more than `limit` the oldest where there is a `from`, else the newest.
#[utoipa::path(
    get, path = "/candles/{symbol}", tag = "prices",
    params(
        ("symbol" = String, Path, description = "As in /price/{symbol}", min_length = 1,
            max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", example = "AAPL"),
        ("interval" = Option<String>, Query, description = "1m where absent"),
        ("from" = Option<i64>, Query, description = "Those that start then or later: Unix \
            milliseconds", minimum = 0),
        ("to" = Option<i64>, Query, description = "Those that start before then", minimum = 0),
        ("limit" = Option<i32>, Query, description = "10,000 where absent", minimum = 1,
            maximum = 10_000),
    ),
    responses((status = 200, description = "The candles", body = CandlesBody))
)]
pub(crate) async fn candles(
    State(prices): State<Arc<Prices>>,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    let symbol = symbol_in(&uri, CANDLES_PREFIX)?;
    let query = Query::of(&uri);
    let interval = prices.interval(&query.value("interval"));
    let interval = interval.map_err(|UnknownInterval(why)| bad_query(format!("interval {why}")))?;
    let range = CandleRange {
        from: query.time("from")?,
        to: query.time("to")?,
        limit: usize::try_from(query.limit()?).unwrap_or_default(),
    };
    let found = prices.candles(&symbol, interval, range).await.map_err(unread)?;
    if found.is_empty() && prices.latest(&symbol).await.map_err(unread)?.is_none() {
        return Err(unknown(&symbol));
    }
    let candles: Vec<CandleBody> = found
        .into_iter()
        .map(|(start, candle)| CandleBody {
            start,
            open: candle.open.get(),
            high: candle.high.get(),
            low: candle.low.get(),
            close: candle.close.get(),
            volume: candle.volume,
            trades: candle.trades,
        })
        .collect();
    let (symbol, interval) = (symbol.as_str().to_owned(), interval.to_string());
    Ok((NO_STORE, Json(CandlesBody { symbol, interval, count: candles.len(), candles })))
}

/// The symbol in the path, where `:`, `/` and spaces may be percent-encoded. Decoded here and not
/// by axum, which passes a `%` that encodes nothing on as it stands.
fn symbol_in(uri: &Uri, prefix: &str) -> Result<Symbol, Problem> {
    let bad = |detail: String| Problem::new(Kind::BadSymbol, detail);
    let encoded = uri.path().strip_prefix(prefix).unwrap_or_default();
    let whole = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !encoded.split('%').skip(1).all(whole) {
        return Err(bad("a % in a path must be followed by two hexadecimal digits".to_owned()));
    }
    let symbol = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| bad("the symbol is not UTF-8".to_owned()))?;
    Symbol::new(&symbol).map_err(|error| bad(error.to_string()))
}
