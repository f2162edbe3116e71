//! `gostocks.market.v1.MarketService`: what the REST routes answer, for programs.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::unfold;
use grpc_server::{Wrong, invalid};
use market::Symbol;
use rpc::market::v1::market_service_server::MarketService;
use rpc::market::v1::subscribe_response::Event as Told;
use rpc::market::v1::{
    Candle, CandleChanged, Day, EventKind, Gap, GetCandlesRequest, GetCandlesResponse,
    GetPriceRequest, GetPriceResponse, GetPricesRequest, GetPricesResponse, ListSymbolsRequest,
    ListSymbolsResponse, Price, Ready, SubscribeRequest, SubscribeResponse, Tick,
};
use speed::{CandleRange, ReadError};
use tonic::{Request, Response, Status};

use crate::live::{
    Cursor, End, Following, Kind, Kinds, Part, Payload, Said, TOO_MANY_SYMBOLS, Wish,
};
use crate::prices::{Seen, SymbolPage, UnknownInterval};
use crate::query::{MOST_ROWS, MOST_SYMBOLS};
use crate::{Live, Prices};

/// Rows of a page where the request does not say.
const ROWS: i32 = 100;

/// The longest request, in bytes: a thousand of the longest symbols, and a resume token.
pub(crate) const LARGEST_MESSAGE: usize = 128 * 1_024;

pub(crate) const METHODS: [&str; 5] = [
    "gostocks.market.v1.MarketService/GetPrice",
    "gostocks.market.v1.MarketService/GetPrices",
    "gostocks.market.v1.MarketService/ListSymbols",
    "gostocks.market.v1.MarketService/GetCandles",
    "gostocks.market.v1.MarketService/Subscribe",
];

#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) prices: Arc<Prices>,
    pub(crate) live: Arc<Live>,
}

impl Market {
    async fn latest(&self, symbol: &Symbol) -> Result<Option<Price>, Status> {
        let seen = self.prices.latest(symbol).await.map_err(|error| unread(&error))?;
        Ok(seen.map(|seen| self.price(seen)))
    }

    fn price(&self, seen: Seen) -> Price {
        let (age_ms, stale) = self.prices.age(&seen);
        Price { age_ms, stale, ..price(seen) }
    }
}

#[tonic::async_trait]
impl MarketService for Market {
    async fn get_price(
        &self,
        request: Request<GetPriceRequest>,
    ) -> Result<Response<GetPriceResponse>, Status> {
        let symbol = symbol(&request.get_ref().symbol)?;
        match self.latest(&symbol).await? {
            Some(price) => Ok(Response::new(GetPriceResponse { price: Some(price) })),
            None => Err(unknown(&symbol)),
        }
    }

    async fn get_prices(
        &self,
        request: Request<GetPricesRequest>,
    ) -> Result<Response<GetPricesResponse>, Status> {
        let mut answer = GetPricesResponse::default();
        let symbols = symbols(&request.get_ref().symbols)?;
        let latest = self.prices.latest_of(symbols).await.map_err(|error| unread(&error))?;
        for (symbol, seen) in latest {
            match seen {
                Some(seen) => answer.prices.push(self.price(seen)),
                None => answer.unknown.push(symbol.as_str().to_owned()),
            }
        }
        Ok(Response::new(answer))
    }

    async fn list_symbols(
        &self,
        request: Request<ListSymbolsRequest>,
    ) -> Result<Response<ListSymbolsResponse>, Status> {
        let ListSymbolsRequest { search, page_size, page_token } = request.into_inner();
        let limit = rows(page_size)?;
        let page = self.prices.symbol_page(&search, &page_token, limit).await;
        let SymbolPage { symbols, next } = page.map_err(|error| unread(&error))?;
        Ok(Response::new(ListSymbolsResponse { symbols, next_page_token: next }))
    }

    async fn get_candles(
        &self,
        request: Request<GetCandlesRequest>,
    ) -> Result<Response<GetCandlesResponse>, Status> {
        let GetCandlesRequest { symbol: name, interval, from, to, page_size } =
            request.into_inner();
        let symbol = symbol(&name)?;
        let interval = self
            .prices
            .interval(&interval)
            .map_err(|UnknownInterval(why)| invalid(vec![("interval", why)]))?;
        for (field, time) in [("from", from), ("to", to)] {
            if time.is_some_and(|time| time < 0) {
                return Err(invalid(vec![(field, "must not be negative".to_owned())]));
            }
        }
        let range = CandleRange { from, to, limit: rows(page_size)? };
        let found = self.prices.candles(&symbol, interval, range).await;
        let found = found.map_err(|error| unread(&error))?;
        if found.is_empty() && self.latest(&symbol).await?.is_none() {
            return Err(unknown(&symbol));
        }
        let candles = found.iter().map(|(start, found)| candle(*start, found)).collect();
        Ok(Response::new(GetCandlesResponse { candles }))
    }

    type SubscribeStream =
        Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send + 'static>>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let SubscribeRequest { symbols: names, kinds, resume_token } = request.into_inner();
        let (symbols, kinds) = (symbols(&names)?, kinds_of(&kinds)?);
        let from = match &*resume_token {
            "" => None,
            token => Some(Cursor::parse(token).ok_or_else(|| {
                invalid(vec![("resume_token", "must be one that a stream gave".to_owned())])
            })?),
        };
        let wish = Wish { symbols, kinds, from };
        let following = Following::new(&self.live, wish)
            .map_err(|_| Status::resource_exhausted(format!("{TOO_MANY_SYMBOLS}; try again")))?;
        let state = Some((following, VecDeque::new()));
        Ok(Response::new(Box::pin(unfold(state, |state| async {
            let (mut following, mut ready) = state?;
            match next(&mut following, &mut ready).await {
                Ok(told) => Some((Ok(told), Some((following, ready)))),
                Err(status) => Some((Err(status), None)),
            }
        }))))
    }
}

async fn next(
    following: &mut Following,
    ready: &mut VecDeque<SubscribeResponse>,
) -> Result<SubscribeResponse, Status> {
    loop {
        if let Some(told) = ready.pop_front() {
            return Ok(told);
        }
        match following.next().await {
            Some(Part::Said(parts)) => ready.extend(parts.iter().filter_map(told_of)),
            Some(Part::Events(events)) => ready.extend(events.iter().map(|event| {
                let told = Some(told(&event.payload));
                SubscribeResponse { resume_token: event.id(), event: told }
            })),
            // HTTP/2 has pings of its own.
            Some(Part::Quiet) => {}
            Some(Part::End(end)) => return Err(ended(end)),
            None => return Err(ended(End::Stopping)),
        }
    }
}

fn told_of(said: &Said) -> Option<SubscribeResponse> {
    let event = match said {
        Said::Event(event, _) => told(&event.payload),
        Said::State(payload) => told(payload),
        Said::Ready(_) => Told::Ready(Ready {}),
        Said::Gap(why) => Told::Gap(Gap { reason: (*why).to_owned() }),
        Said::Bye(_) | Said::Error(_) => return None,
    };
    let resume_token = said.id().unwrap_or_default().to_owned();
    Some(SubscribeResponse { resume_token, event: Some(event) })
}

fn told(payload: &Payload) -> Told {
    match payload {
        Payload::Price { symbol, stands } => {
            let (latest, day) = &**stands;
            Told::Price(price(Seen::new(symbol.clone(), latest, *day)))
        }
        Payload::Tick { symbol, trade } => Told::Tick(Tick {
            symbol: symbol.as_str().to_owned(),
            price: trade.price.get(),
            timestamp: trade.timestamp,
            volume: trade.volume.get(),
        }),
        Payload::Candle { symbol, interval, start, candle: changed } => {
            Told::Candle(CandleChanged {
                symbol: symbol.as_str().to_owned(),
                interval: interval.to_string(),
                candle: Some(candle(*start, changed)),
            })
        }
        Payload::Firing(firing) => Told::Firing((**firing).clone()),
    }
}

fn price(seen: Seen) -> Price {
    let Seen { symbol, price, timestamp, volume, day } = seen;
    let day = day.map(|day| Day {
        start: day.start_ms,
        open: day.open,
        high: day.high,
        low: day.low,
        volume: day.volume,
    });
    let symbol = symbol.as_str().to_owned();
    Price { symbol, price, timestamp, volume, day, age_ms: 0, stale: false }
}

fn candle(start: i64, candle: &market::Candle) -> Candle {
    Candle {
        start,
        open: candle.open.get(),
        high: candle.high.get(),
        low: candle.low.get(),
        close: candle.close.get(),
        volume: candle.volume,
        trades: candle.trades,
    }
}

fn symbol(name: &str) -> Result<Symbol, Status> {
    Symbol::new(name).map_err(|error| invalid(vec![("symbol", error.to_string())]))
}

/// Each once, in their order.
fn symbols(names: &[String]) -> Result<Vec<Symbol>, Status> {
    let mut wrong = Wrong::new();
    let mut symbols = Vec::new();
    for name in names.iter().take(MOST_SYMBOLS + 1) {
        match Symbol::new(name) {
            Ok(symbol) => symbols.push(symbol),
            Err(error) => wrong.push(("symbols", error.to_string())),
        }
    }
    if names.is_empty() || names.len() > MOST_SYMBOLS {
        wrong.push(("symbols", format!("must name 1 to {MOST_SYMBOLS}")));
    }
    if !wrong.is_empty() {
        wrong.truncate(1);
        return Err(invalid(wrong));
    }
    symbols.sort_unstable();
    symbols.dedup();
    Ok(symbols)
}

fn kinds_of(kinds: &[i32]) -> Result<Kinds, Status> {
    let kind = |kind: &i32| match EventKind::try_from(*kind) {
        Ok(EventKind::Price) => Ok(Kind::Price),
        Ok(EventKind::Tick) => Ok(Kind::Tick),
        Ok(EventKind::Candle) => Ok(Kind::Candle),
        Ok(EventKind::Firing) => Ok(Kind::Firing),
        Ok(EventKind::Unspecified) | Err(_) => {
            Err(invalid(vec![("kinds", format!("{kind} is none that this gateway knows"))]))
        }
    };
    if kinds.is_empty() {
        return Ok(Kinds::of(&[Kind::Price]));
    }
    let kinds: Vec<Kind> = kinds.iter().map(kind).collect::<Result<_, _>>()?;
    Ok(Kinds::of(&kinds))
}

fn rows(page_size: i32) -> Result<usize, Status> {
    let rows = if page_size == 0 { ROWS } else { page_size };
    if !(1..=MOST_ROWS).contains(&rows) {
        return Err(invalid(vec![("page_size", format!("must be from 1 to {MOST_ROWS}"))]));
    }
    Ok(usize::try_from(rows).unwrap_or_default())
}

fn unknown(symbol: &Symbol) -> Status {
    Status::not_found(format!("no trade of {symbol} has been seen"))
}

/// What a client is told; the log has the rest.
fn unread(error: &ReadError) -> Status {
    match error {
        ReadError::Unavailable(_) => Status::unavailable("the store of prices is away"),
        ReadError::Foreign { .. } => {
            Status::internal("what is stored of this symbol is damaged; it has been logged")
        }
    }
}

fn ended(end: End) -> Status {
    match end {
        End::Stopping | End::Away | End::Behind => Status::unavailable(end.why()),
        End::TooSlow | End::TooMany => Status::resource_exhausted(end.why()),
        End::AnotherLog => Status::aborted(end.why()),
    }
}
