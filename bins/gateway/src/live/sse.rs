//! `GET /stream`: what happens to symbols, as server-sent events.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::{once, unfold};

use crate::live::event::Event;
use crate::live::following::{Following, Part};
use crate::live::said::Said;

/// How long a client waits before it comes back, in milliseconds.
const RETRY: Bytes = Bytes::from_static(b"retry: 1000\n\n");
/// A line now and then keeps proxies from taking a quiet stream for a dead one.
const NOTHING_NEW: Bytes = Bytes::from_static(b": nothing new\n\n");

pub(crate) fn response(following: Following) -> Response {
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store, no-transform")];
    let parts = unfold(following, |mut following| async {
        let text = match following.next().await? {
            Part::Said(said) => said.iter().map(Said::sse).collect::<String>().into(),
            Part::Events(events) => text(events),
            Part::Quiet => NOTHING_NEW,
            Part::End(end) => end.said().sse().into(),
        };
        Some((text, following))
    });
    let parts = once(async { RETRY }).chain(parts).map(Ok::<Bytes, Infallible>);
    (headers, Body::from_stream(parts)).into_response()
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
