//! Spans to an OpenTelemetry collector, where `OTEL_EXPORTER_OTLP_ENDPOINT` names one.
//!
//! ```text
//! span!(target: "otel") ──▶ tracing-opentelemetry ──▶ sampling ──▶ queue ──▶ thread ──OTLP──▶ collector
//! ```
//! Programs and adapters make spans with the `tracing` crate under [`TARGET`]; this module alone
//! knows OpenTelemetry. Without an endpoint such a span is off where it stands: one comparison, and
//! none of its fields is looked at. With one, nothing waits for the collector: a queue with a bound
//! lies between, and what does not fit is dropped and counted.
//!
//! Traces go from program to program as W3C Trace Context has it, in the headers `traceparent` and
//! `tracestate`, of HTTP and gRPC requests and of records on the log alike.

mod export;
mod propagation;
mod queue;
mod sampling;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Layer, Registry};

use crate::{Settings, parse};

pub(crate) use export::Export;
pub(crate) use propagation::current;
pub use propagation::{TRACEPARENT, adopt, inject, link, sampled, traceparent};

use queue::Queue;
use sampling::{Ratios, Sampling};

/// The target of every span that is meant for a collector. It is neither in the log nor decided
/// over by `LOG`.
pub const TARGET: &str = "otel";

/// Whether spans are made at all: for work that would only serve them.
pub fn are_made() -> bool {
    tracing::span_enabled!(target: TARGET, tracing::Level::INFO)
}

/// Where spans go, and how many of them.
#[derive(Clone, Debug)]
pub(crate) struct TraceSettings {
    /// `http://host:port`. `None`: no span is made.
    endpoint: Option<String>,
    ratios: Ratios,
}

impl TraceSettings {
    /// The first two names are OpenTelemetry's, from its specification of environment variables;
    /// the sampler is always the one that it calls `parentbased_traceidratio`. Batches are many
    /// and alike, so they have a ratio of their own. What else the specification names, such as
    /// `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_EXPORTER_OTLP_HEADERS`, is for the SDK to read: it
    /// looks into the process environment alone, and is no judge of it.
    pub(crate) fn read(settings: &mut Settings) -> Option<Self> {
        let endpoint = settings.optional("OTEL_EXPORTER_OTLP_ENDPOINT", parse::collector);
        let requests = settings.read("OTEL_TRACES_SAMPLER_ARG", Some("1"), parse::ratio);
        let batches = settings.read("TRACES_BATCH_RATIO", Some("0.01"), parse::ratio);
        let ratios = Ratios { requests: requests?, batches: batches? };
        Some(Self { endpoint: endpoint?, ratios })
    }

    #[cfg(test)]
    pub(crate) fn at(endpoint: Option<&str>) -> Self {
        let ratios = Ratios { requests: 1.0, batches: 1.0 };
        Self { endpoint: endpoint.map(str::to_owned), ratios }
    }
}

/// What turns spans into OpenTelemetry's, and where they wait until they are sent.
pub(crate) fn layer(
    service: &'static str,
    settings: &TraceSettings,
) -> Option<(impl Layer<Registry> + Send + Sync + use<>, Export)> {
    let endpoint = settings.endpoint.clone()?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.namespace", "gostocks"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build();
    let (queue, waiting) = Queue::new();
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampling::new(settings.ratios))
        .with_resource(resource.clone())
        .with_span_processor(queue)
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("gostocks"))
        .with_location(false)
        .with_target(false)
        .with_level(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO));
    Some((layer, Export::new(endpoint, resource, waiting)))
}
