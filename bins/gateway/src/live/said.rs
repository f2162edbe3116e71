//! What a client is told, in whichever way it listens.

use std::sync::Arc;

use serde_json::json;

use crate::live::event::{Event, Payload};

#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// With the id from which a client goes on that was cut off after it.
    Event(Arc<Event>, String),
    /// How a symbol stands, as no news.
    State(Arc<Payload>),
    /// It has been told everything that there was; with the id from which it goes on.
    Ready(String),
    /// It has missed something.
    Gap(&'static str),
    /// Nothing more comes.
    Bye(&'static str),
    /// It has sent what cannot be read.
    Error(String),
}

impl Said {
    fn name(&self) -> &'static str {
        match self {
            Self::Event(event, _) => event.payload.kind().as_str(),
            Self::State(payload) => payload.kind().as_str(),
            Self::Ready(_) => "ready",
            Self::Gap(_) => "gap",
            Self::Bye(_) => "bye",
            Self::Error(_) => "error",
        }
    }

    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Event(_, id) | Self::Ready(id) => Some(id),
            _ => None,
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Event(event, _) => event.payload.json(),
            Self::State(payload) => payload.json(),
            Self::Ready(_) => "{}".to_owned(),
            Self::Gap(why) | Self::Bye(why) => json!({ "reason": why }).to_string(),
            Self::Error(why) => json!({ "reason": why }).to_string(),
        }
    }

    /// As one event of an event stream.
    /// <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>
    pub(crate) fn sse(&self) -> String {
        sse(self.name(), self.id(), &self.json())
    }

    /// As one message of a WebSocket. An id needs no escapes.
    pub(crate) fn message(&self) -> String {
        message(self.name(), self.id(), &self.json())
    }
}

impl Event {
    pub(crate) fn sse_text(&self) -> String {
        sse(self.payload.kind().as_str(), Some(&self.id()), &self.payload.json())
    }

    pub(crate) fn message_text(&self) -> String {
        message(self.payload.kind().as_str(), Some(&self.id()), &self.payload.json())
    }
}

fn sse(name: &str, id: Option<&str>, json: &str) -> String {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    format!("event: {name}\n{id}data: {json}\n\n")
}

fn message(name: &str, id: Option<&str>, json: &str) -> String {
    let id = id.map_or_else(String::new, |id| format!("\"id\":\"{id}\","));
    format!("{{\"event\":\"{name}\",{id}\"data\":{json}}}")
}
