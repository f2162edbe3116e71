//! What stands before the routes: a price that the view has is answered there and then. Nothing has
//! to be waited for, and the way through the routes costs more than the answer.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures::future::{Either, FutureExt};
use service::{contain, traces};
use tower::Service;

use crate::guard::{Guard, Route, check};
use crate::listen::Place;
use crate::{Prices, price_routes};

/// All that the gateway answers over HTTP/1.1.
#[derive(Clone)]
pub struct Front {
    routes: Router,
    at_once: Option<AtOnce>,
    /// Of the connection, for whoever upgrades it.
    place: Option<Place>,
}

/// What a price is answered with.
#[derive(Clone)]
struct AtOnce {
    guard: Arc<Guard>,
    route: Arc<Route>,
    prices: Arc<Prices>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl Front {
    /// Also answers prices, with the guard and no other layer: as the routes would.
    pub(crate) fn with_prices(self, guard: Arc<Guard>, prices: Arc<Prices>) -> Self {
        let route = guard.route(price_routes::PRICE).cloned();
        Self { at_once: route.map(|route| AtOnce { guard, route, prices }), ..self }
    }

    pub(crate) fn of_connection(&self, place: Place) -> Self {
        Self { place: Some(place), ..self.clone() }
    }
}

/// One that has all from its routes.
impl From<Router> for Front {
    fn from(routes: Router) -> Self {
        Self { routes, at_once: None, place: None }
    }
}

impl AtOnce {
    /// `None` where the routes are to answer: whatever is not simply the price of a symbol that is
    /// known, and, where spans are made, everything.
    fn answer(&self, request: &Request) -> Option<Response> {
        let Self { guard, route, prices } = self;
        let headers = request.headers();
        let has_body =
            || headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
        if request.method() != Method::GET
            || !price_routes::is_price(request.uri())
            || has_body()
            || traces::are_made()
            || check(request).is_err()
        {
            return None;
        }
        let begun = guard.begin(request);
        let response = price_routes::known(prices, request.uri())?;
        Some(guard.end(begun, route, request.uri().path(), response))
    }
}

/// An answer that is there, or the way to it.
pub(crate) type Answer = Either<Ready<Result<Response, Infallible>>, RouteFuture<Infallible>>;

impl Front {
    pub(crate) fn answer(&self, mut request: Request) -> Answer {
        if let Some(at_once) = &self.at_once {
            // Where it panics, the routes are asked: they know what to say then.
            let answer = contain(async { at_once.answer(&request) }).now_or_never();
            if let Some(Ok(Some(response))) = answer {
                return Either::Left(ready(Ok(response)));
            }
        }
        if let Some(place) = &self.place {
            request.extensions_mut().insert(place.clone());
        }
        // A router is always ready.
        Either::Right(self.routes.clone().call(request))
    }
}

/// For whoever has no socket.
impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answer {
        self.answer(request)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use axum::body::Body;
    use axum::http::HeaderMap;
    use http_body_util::BodyExt;
    use market::{CANDLES, Price, Sequence, Trade, Volume, parse_candle_specs};
    use serde_json::Value;
    use service::Service as Program;
    use speed::{Ends, LogId, Reader, StreamEntry};
    use wire::batch::{Packer, TickBatch};

    use crate::{Alerts, Live, Policy, router};

    /// Of a gateway that has the price of AAPL.
    fn front() -> Front {
        let reader = Reader::new("127.0.0.1:1", Duration::from_secs(1)).expect("an address");
        let alerts = Alerts::new("127.0.0.1:1", Duration::from_secs(1)).expect("an address");
        let (alerts, program) = (Arc::new(alerts), Program::new("gateway", Duration::from_secs(1)));
        let candles = parse_candle_specs(CANDLES).expect("good specs");
        let (for_live, stopping) = (Arc::clone(&alerts), program.stopping());
        let (live, _) =
            Live::new(reader.clone(), reader.clone(), "ticks", candles, for_live, &[], stopping);
        let log = LogId::parse("0123456789abcdef0123456789abcdef").expect("an id");
        live.begin(&Ends { log: log.clone(), newest: vec![None] });
        let trade = Trade {
            price: Price::new(150.25).expect("a price"),
            timestamp: 1_700_000_000_000,
            volume: Volume::new(12.0).expect("a volume"),
            received_at: 1,
        };
        let (mut packer, mut bytes) = (Packer::new(), Vec::new());
        packer.push(0, "AAPL", Sequence::default(), &trade);
        packer.encode(&mut bytes);
        let batch = TickBatch::decode(&bytes).expect("a batch");
        assert!(live.tell(&StreamEntry { partition: 0, log, after: None, batch }));
        let live = Arc::new(live);
        let prices = Arc::new(Prices::new(reader, Arc::clone(&live), Duration::from_secs(60)));
        let policy = Policy { request_timeout: Duration::from_secs(5), cors_origins: Vec::new() };
        router(prices, alerts, live, &program, &policy)
    }

    fn request(method: &str, path: &str, headers: &[(&'static str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in [("host", "gateway"), ("x-request-id", "1")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).expect("a request")
    }

    async fn whole(response: Response) -> (HeaderMap, Value) {
        let (head, body) = response.into_parts();
        assert_eq!(head.status, 200);
        let body = body.collect().await.expect("a body").to_bytes();
        let mut body: Value = serde_json::from_slice(&body).expect("JSON");
        body["age_ms"].take();
        (head.headers, body)
    }

    #[tokio::test]
    async fn what_is_answered_at_once_is_what_the_routes_answer() {
        let mut front = front();
        for path in ["/price/AAPL", "/price/aapl?x=1", "/price/%41APL"] {
            let at_once = front.at_once.as_ref().expect("prices");
            let at_once = at_once.answer(&request("GET", path, &[])).expect("an answer at once");
            let at_once = whole(at_once).await;
            let routed = front.routes.call(request("GET", path, &[])).await.expect("an answer");
            let (mut headers, body) = whole(routed).await;
            headers.remove("content-length");
            assert_eq!(at_once, (headers, body), "{path}");
        }
    }

    #[tokio::test]
    async fn whatever_else_is_for_the_routes() {
        let front = front();
        let at_once = front.at_once.as_ref().expect("prices");
        for (method, path, headers) in [
            ("HEAD", "/price/AAPL", &[][..]),
            ("POST", "/price/AAPL", &[]),
            ("GET", "/price/MSFT", &[]),
            ("GET", "/price/", &[]),
            ("GET", "/price/%zz", &[]),
            ("GET", "/price/AAPL/", &[]),
            ("GET", "/prices?symbols=AAPL", &[]),
            ("GET", "/price/AAPL", &[("content-length", "0")]),
            ("GET", "/price/AAPL", &[("transfer-encoding", "chunked")]),
            ("GET", "/price/AAPL", &[("host", "another")]),
        ] {
            assert!(at_once.answer(&request(method, path, headers)).is_none(), "{method} {path}");
        }
    }
}
