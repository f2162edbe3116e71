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
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
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
    let lines = if std::io::stdout().is_terminal() { Lines::People } else { Lines::Json };
    let (dispatch, export) = dispatch(service, lines, filter, traces, std::io::stdout);
    if let Err(error) = dispatch.try_init() {
        tracing::warn!("logs go where they went before: {error}");
    }
    export
}

#[derive(Clone, Copy)]
enum Lines {
    People,
    Json,
}

/// The log has a filter of its own only beside the spans, for it has its price: whether a line is
/// wanted is then asked each time, and not once for each place in the program.
fn dispatch<W>(
    service: &'static str,
    lines: Lines,
    filter: Targets,
    traces: &TraceSettings,
    writer: W,
) -> (Dispatch, Option<Export>)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = filter.with_target(traces::TARGET, LevelFilter::OFF);
    match traces::layer(service, traces) {
        None => {
            let lines = layer(service, lines, writer);
            (tracing_subscriber::registry().with(filter).with(lines).into(), None)
        }
        Some((spans, export)) => {
            let lines = layer(service, lines, writer).with_filter(filter);
            (tracing_subscriber::registry().with(spans).with(lines).into(), Some(export))
        }
    }
}

fn layer<S, W>(
    service: &'static str,
    lines: Lines,
    writer: W,
) -> Box<dyn Layer<S> + Send + Sync + 'static>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // The layer would report a broken stdout on stderr, and panic where that is broken too.
    let layer = tracing_subscriber::fmt::layer().log_internal_errors(false).with_writer(writer);
    match lines {
        Lines::People => layer.boxed(),
        Lines::Json => layer.event_format(JsonLines { service }).boxed(),
    }
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

    /// What is logged while `speak` does.
    fn text(lines: Lines, traces: &TraceSettings, speak: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let filter = Targets::new().with_default(LevelFilter::INFO);
        let (dispatch, _export) = dispatch("echo", lines, filter, traces, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, speak);
        let bytes = sink.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    fn lines(traces: &TraceSettings, speak: impl FnOnce()) -> Vec<Value> {
        let text = text(Lines::Json, traces, speak);
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn traced() -> TraceSettings {
        TraceSettings::at(Some("http://127.0.0.1:9"))
    }

    #[test]
    fn no_line_is_lost_to_a_span_nor_to_a_question() {
        for (traces, are_made) in [(TraceSettings::at(None), false), (traced(), true)] {
            let speak = || {
                for number in 0..3 {
                    assert_eq!(traces::are_made(), are_made);
                    tracing::info!(number, "after a question");
                    let span =
                        tracing::info_span!(target: traces::TARGET, "r", otel.kind = "server");
                    assert_eq!(span.is_disabled(), !are_made);
                    tracing::info!(number, "after a span");
                    span.in_scope(|| tracing::info!(number, "within it"));
                    tracing::debug!("not wanted");
                    assert!(!tracing::enabled!(tracing::Level::DEBUG));
                    tracing::info!(number, "after another question");
                }
            };
            assert_eq!(lines(&traces, speak).len(), 12, "{are_made}");
            let people = text(Lines::People, &traces, speak);
            assert_eq!(people.lines().count(), 12, "{people}");
            // That is where a span would stand.
            assert!(!people.contains("r{"), "{people}");
        }
    }

    #[test]
    fn a_line_names_the_span_that_is_kept_and_no_other() {
        let mut expected = None;
        let lines = lines(&traced(), || {
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
            assert!(traces::sampled(other).is_disabled());
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
        let text = text(Lines::Json, &TraceSettings::at(None), || {
            tracing::info!(count = 3, price = 1.5, up = true, level = "x", text = ?"a\nb", "two\n\"{}\"", 2);
        });
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
