use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Json};
use market::Symbol;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use speed::{LatestPrice, ReadError};
use utoipa::ToSchema;

use crate::Prices;
use crate::problem::{Kind, Problem};
use crate::routes::NO_STORE;

const PRICE_PREFIX: &str = "/price/";

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

impl From<LatestPrice> for PriceBody {
    fn from(latest: LatestPrice) -> Self {
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
    let symbol = symbol_of(&uri)?;
    match prices.latest(&symbol).await {
        Ok(Some(latest)) => Ok((NO_STORE, Json(PriceBody::from(latest)))),
        Ok(None) => {
            let detail = format!("no trade of {symbol} has been seen");
            Err(Problem::new(Kind::UnknownSymbol, detail))
        }
        Err(ReadError::Unavailable(_)) => {
            let detail = "the store of prices is away; try again";
            Err(Problem::new(Kind::PricesAway, detail))
        }
        Err(ReadError::Foreign { .. }) => {
            let detail = "what is stored of this symbol is damaged; it has been logged";
            Err(Problem::new(Kind::DamagedPrice, detail))
        }
    }
}

/// The symbol in the path, where `:`, `/` and spaces may be percent-encoded. Decoded here and not
/// by axum, which passes a `%` that encodes nothing on as it stands.
fn symbol_of(uri: &Uri) -> Result<Symbol, Problem> {
    let bad = |detail: String| Problem::new(Kind::BadSymbol, detail);
    let encoded = uri.path().strip_prefix(PRICE_PREFIX).unwrap_or_default();
    let whole = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !encoded.split('%').skip(1).all(whole) {
        return Err(bad("a % in a path must be followed by two hexadecimal digits".to_owned()));
    }
    let symbol = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| bad("the symbol is not UTF-8".to_owned()))?;
    Symbol::new(&symbol).map_err(|error| bad(error.to_string()))
}
