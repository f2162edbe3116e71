use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// An OpenTelemetry collector that keeps the spans it gets: OTLP over gRPC, on loopback.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<ExportedSpan>>>,
    /// It answers for as long as this lives.
    _runtime: Runtime,
}

/// A span as a collector gets it. Ids are in lower-case hex; that of a parent is empty where
/// there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedSpan {
    /// The program: `service.name` of its resource.
    pub service: String,
    pub name: String,
    pub kind: SpanKind,
    pub trace_id: String,
    pub span_id: String,
    pub parent_id: String,
    /// Trace and span.
    pub links: Vec<(String, String)>,
    /// As text, whatever they are.
    pub attributes: BTreeMap<String, String>,
    pub failed: bool,
}

impl ExportedSpan {
    /// An attribute's text, empty where it is absent.
    pub fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }
}

impl Collector {
    pub fn start() -> Self {
        Self::new(true)
    }

    /// It takes what it is sent, and never answers.
    pub fn start_silent() -> Self {
        Self::new(false)
    }

    fn new(answers: bool) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let spans = Arc::<Mutex<Vec<ExportedSpan>>>::default();
        let service = Service { spans: Arc::clone(&spans), answers };
        let address = runtime.block_on(async {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let incoming = TcpIncoming::bind(any).expect("a free port on 127.0.0.1");
            let address = incoming.local_addr().expect("its address");
            let server = Server::builder().add_service(TraceServiceServer::new(service));
            tokio::spawn(server.serve_with_incoming(incoming));
            address
        });
        Self { address, spans, _runtime: runtime }
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that has arrived.
    pub fn spans(&self) -> Vec<ExportedSpan> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Service {
    spans: Arc<Mutex<Vec<ExportedSpan>>>,
    answers: bool,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
            let service = resource.get("service.name").cloned().unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| exported(&service, span));
            self.spans.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
        }
        if !self.answers {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn exported(service: &str, span: Span) -> ExportedSpan {
    ExportedSpan {
        service: service.to_owned(),
        kind: span.kind(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        failed: span.status.is_some_and(|status| status.code() == StatusCode::Error),
        name: span.name,
        attributes: attributes(span.attributes),
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
