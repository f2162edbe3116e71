//! `GET /stream`: what happens to symbols, as server-sent events.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use futures::stream::unfold;
use tokio::time::timeout;

use crate::live::catch_up::{CatchUp, Said};
use crate::live::event::Event;
use crate::live::subscription::Subscription;
use crate::live::{Counted, Told};

/// A line now and then keeps proxies from taking a quiet stream for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client waits before it comes back, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

pub(crate) struct EventStream {
    pub(crate) subscription: Subscription,
    /// What is given first: how everything stands, or what was missed.
    pub(crate) first: Bytes,
    pub(crate) catch_up: Option<CatchUp>,
    pub(crate) told: Told,
    pub(crate) counted: Counted,
}

impl EventStream {
    pub(crate) fn response(self) -> Response {
        let headers =
            [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store, no-transform")];
        (headers, Body::from_stream(self.parts())).into_response()
    }

    fn parts(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        let state = State {
            hello: Some([RETRY.as_bytes(), &self.first].concat().into()),
            catch_up: self.catch_up,
            subscription: Some(self.subscription),
            events: Vec::new(),
            told: self.told,
            _counted: self.counted,
        };
        unfold(state, |mut state| async move {
            let part = state.next().await?;
            Some((Ok(part), state))
        })
    }
}

struct State {
    hello: Option<Bytes>,
    catch_up: Option<CatchUp>,
    /// `None` once it has ended.
    subscription: Option<Subscription>,
    events: Vec<Arc<Event>>,
    told: Told,
    _counted: Counted,
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        while let Some(catch_up) = &mut self.catch_up {
            match catch_up.next().await {
                Some(said) if said.is_empty() => {}
                Some(said) => return Some(written(&said)),
                None => self.catch_up = None,
            }
        }
        let subscription = self.subscription.as_mut()?;
        self.events.clear();
        let events = &mut self.events;
        let polled = poll_fn(|context| subscription.poll_events(context, events));
        match timeout(KEEP_ALIVE, polled).await {
            Err(_) => Some(Bytes::from_static(b": nothing new\n\n")),
            Ok(Ok(())) => {
                self.told.count(&self.events);
                Some(text(&self.events))
            }
            Ok(Err(end)) => {
                self.subscription = None;
                Some(end.said().sse().into())
            }
        }
    }
}

fn text(events: &[Arc<Event>]) -> Bytes {
    // Mostly there is one, and its text is there for all who are told of it.
    if let [event] = events {
        return event.sse().clone();
    }
    let length = events.iter().map(|event| event.sse().len()).sum();
    let mut text = Vec::with_capacity(length);
    events.iter().for_each(|event| text.extend_from_slice(event.sse()));
    text.into()
}

pub(crate) fn written(said: &[Said]) -> Bytes {
    said.iter().map(Said::sse).collect::<String>().into()
}
