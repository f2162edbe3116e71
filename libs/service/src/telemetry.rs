//! Logs, to stdout: for people on a terminal, one JSON object a line elsewhere.
//!
//! The fields of a JSON line, in their order; their names and meanings are stable:
//!
//! | field | what it is |
//! |---|---|
//! | `timestamp` | RFC 3339, UTC, microseconds |
//! | `level` | `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE` |
//! | `service` | the program: `ingestor`, `processor`, `alert`, `gateway` |
//! | `target` | the module that speaks, or `access` for a line a request; what `LOG` filters by |
//! | `message` | a sentence for people |
//! | `trace_id`, `span_id` | lower-case hex, as in W3C Trace Context: only within a span that is sent to a collector |
//!
//! Then come the event's own fields, each under its name; one that has a name of the table stands
//! as `field_` and that name. Spans leave no other mark on a line, and `LOG` none on spans.

use std::fmt;
use std::io::IsTerminal;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::traces::{self, Export, TraceSettings};

/// Begins to log what `filter` lets through, and to gather the spans that are to be exported.
pub(crate) fn start(
    service: &'static str,
    filter: Targets,
    traces: &TraceSettings,
) -> Option<Export> {
    let (spans, export) = traces::layer(service, traces).unzip();
    let filter = filter.with_target(traces::TARGET, LevelFilter::OFF);
    // The layer would report a broken stdout on stderr, and panic where that is broken too.
    let layer = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(spans);
    let started = if std::io::stdout().is_terminal() {
        registry.with(layer.with_filter(filter)).try_init()
    } else {
        registry.with(layer.event_format(JsonLines { service }).with_filter(filter)).try_init()
    };
    if let Err(error) = started {
        tracing::warn!("logs go where they went before: {error}");
    }
    export
}

/// Writes the line that the module's documentation describes.
///
/// tracing-subscriber's own JSON has no place for a field that all lines share.
struct JsonLines {
    service: &'static str,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let target = fields.log_target.as_deref().unwrap_or(metadata.target());
        write!(
            writer,
            r#"{{"timestamp":"{timestamp}","level":"{}","service":"{}","target":{},"message":{}"#,
            metadata.level(),
            self.service,
            Value::from(target),
            Value::from(fields.message),
        )?;
        if let Some((trace_id, span_id)) = traces::current() {
            write!(writer, r#","trace_id":"{trace_id}","span_id":"{span_id}""#)?;
        }
        for (name, value) in fields.others {
            write!(writer, ",{}:{value}", Value::from(name))?;
        }
        writer.write_str("}\n")
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    /// Where the event came through the `log` crate (librdkafka's do).
    log_target: Option<String>,
    others: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match field.name() {
            // Never twice in one object.
            name @ ("timestamp" | "level" | "service" | "target" | "message" | "trace_id"
            | "span_id") => {
                self.others.insert(format!("field_{name}"), value);
            }
            name => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "log.target" => self.log_target = Some(value.to_owned()),
            name if name.starts_with("log.") => {}
            _ => self.add(field, value.into()),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name if name.starts_with("log.") => {}
            _ => self.add(field, format!("{value:?}").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `speak` gives where spans go to a collector that is away.
    fn lines(speak: impl FnOnce()) -> Vec<Value> {
        let sink = Sink::default();
        let writer = sink.clone();
        let (spans, _export) =
            traces::layer("echo", &TraceSettings::at("http://127.0.0.1:9")).expect("an endpoint");
        let layer = tracing_subscriber::fmt::layer()
            .event_format(JsonLines { service: "echo" })
            .with_writer(move || writer.clone())
            .with_filter(Targets::new().with_default(LevelFilter::INFO));
        let subscriber = tracing_subscriber::registry().with(spans).with(layer);
        tracing::subscriber::with_default(subscriber, speak);
        let bytes = sink.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn a_line_names_the_span_that_is_kept_and_no_other() {
        let mut expected = None;
        let lines = lines(|| {
            tracing::info!("before");
            let request = || tracing::info_span!(target: traces::TARGET, "r", otel.kind = "server");
            let kept = request();
            expected = traces::traceparent(&kept);
            kept.in_scope(|| tracing::info!(trace_id = 7, "within"));
            let other = request();
            let mut headers = axum::http::HeaderMap::new();
            let parent = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-00";
            headers.insert(traces::TRACEPARENT, parent.parse().expect("a value"));
            traces::adopt(&other, &headers);
            other.in_scope(|| tracing::info!("within one that is not kept"));
            assert!(traces::sampled(other).is_none());
            // Of another library, say: not for the collector.
            tracing::info_span!("other").in_scope(|| tracing::info!("after"));
        });
        let [before, within, unkept, after] = &lines[..] else { panic!("{lines:?}") };
        for line in [before, unkept, after] {
            assert!(line.get("trace_id").is_none() && line.get("span_id").is_none(), "{line}");
        }
        let ids = [&within["trace_id"], &within["span_id"]].map(|id| id.as_str().expect("text"));
        assert_eq!(expected, Some(format!("00-{}-{}-01", ids[0], ids[1])));
        assert_eq!(within["field_trace_id"], 7);
    }

    #[test]
    fn a_line_is_one_json_object_with_stable_fields() {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(JsonLines { service: "echo" })
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(count = 3, price = 1.5, up = true, level = "x", text = ?"a\nb", "two\n\"{}\"", 2);
        });
        let bytes = sink.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["service"], "echo");
        assert_eq!(line["target"], "service::telemetry::tests");
        assert_eq!(line["message"], "two\n\"2\"");
        assert_eq!(line["count"], 3);
        assert_eq!(line["price"], 1.5);
        assert_eq!(line["up"], true);
        assert_eq!(line["field_level"], "x");
        assert_eq!(line["text"], "\"a\\nb\"");
        let timestamp = line["timestamp"].as_str().expect("a time");
        assert!(timestamp.ends_with('Z') && timestamp.len() > 20, "{timestamp}");
    }
}
