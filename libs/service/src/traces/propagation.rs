//! How a trace is carried on: W3C Trace Context, in and out.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header of a request, or of a record, that says which span it comes from.
pub const TRACEPARENT: &str = "traceparent";

/// Makes `span`, which was never entered, a child of what these headers name. Headers that name
/// nothing, or in a wrong way, are as good as none: then it begins a trace.
pub fn adopt(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() || !headers.contains_key(TRACEPARENT) {
        return;
    }
    let parent = extract(&Headers(headers));
    if parent.span().span_context().is_valid() {
        // It fails for a span that was entered, or is another layer's.
        let _ = span.set_parent(parent);
    }
}

/// Puts `span` into the headers of a request that is made within it, kept or not: whoever is
/// asked follows our decision. No span, where spans are made, is a decision, too.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    let context = if !span.is_disabled() {
        span.context()
    } else if super::are_made() {
        Context::new().with_remote_span_context(not_kept())
    } else {
        return;
    };
    TraceContextPropagator::new().inject_context(&context, &mut HeadersMut(headers));
}

/// A span that nobody keeps: an asked program that was told of none would begin a trace.
fn not_kept() -> SpanContext {
    let ids = RandomIdGenerator::default();
    let (trace, span) = (ids.new_trace_id(), ids.new_span_id());
    SpanContext::new(trace, span, TraceFlags::NOT_SAMPLED, false, TraceState::NONE)
}

/// `span`, if it is kept; else none, so that what happens within it costs nothing more. For where
/// no other program is asked.
pub fn sampled(span: Span) -> Span {
    if is_sampled(&span) { span } else { Span::none() }
}

/// `span` as a header's value, if it is kept.
pub fn traceparent(span: &Span) -> Option<String> {
    if !is_sampled(span) {
        return None;
    }
    let mut value = One(None);
    TraceContextPropagator::new().inject_context(&span.context(), &mut value);
    value.0
}

/// Links `span`, which was never entered, to another program's of which this is the
/// `traceparent`.
pub fn link(span: &Span, traceparent: &str) {
    if !span.is_disabled() {
        let context = extract(&One(Some(traceparent.to_owned())));
        span.add_link(context.span().span_context().clone());
    }
}

/// The trace and the span that this thread is in, if they are kept.
pub(crate) fn current() -> Option<(TraceId, SpanId)> {
    Context::map_current(|context| {
        let span = context.span();
        let context = span.span_context();
        context.is_sampled().then(|| (context.trace_id(), context.span_id()))
    })
}

fn is_sampled(span: &Span) -> bool {
    !span.is_disabled() && span.context().span().span_context().is_sampled()
}

fn extract(headers: &dyn Extractor) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), headers)
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        // A trace without a state has an empty one, which says nothing.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

/// A `traceparent` by itself.
struct One(Option<String>);

impl Extractor for One {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.as_deref().filter(|_| key == TRACEPARENT)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

impl Injector for One {
    fn set(&mut self, key: &str, value: String) {
        if key == TRACEPARENT {
            self.0 = Some(value);
        }
    }
}
