//! What the gateway says of itself: the OpenAPI document, and a page on which to try it, which
//! loads nothing from elsewhere.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderName, IF_NONE_MATCH, VARY,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use market::Interval;
use serde_json::Value;
use utoipa::openapi::content::{Content, ContentBuilder};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::info::{Contact, InfoBuilder, License};
use utoipa::openapi::path::PathItem;
use utoipa::openapi::response::{Response as DocumentedResponse, ResponseBuilder};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::tag::Tag;
use utoipa::openapi::{OpenApi, OpenApiBuilder, Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::UtoipaMethodRouter;
use xxhash_rust::xxh3::xxh3_64;

use crate::problem::{Kind, Problem, ProblemBody};

const JSON: &str = "application/json";

/// It changes with the program alone: a browser asks whether it has, and is told 304.
pub(crate) const REVALIDATE: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-cache")];

/// What every operation can come to.
const ALWAYS: &[Kind] =
    &[Kind::BadRequest, Kind::LongBody, Kind::LongUri, Kind::Internal, Kind::Late];

const ABOUT: &str = "\
Live prices, and alerts on them.\n\n\
Every error is `application/problem+json` (RFC 9457): its `type` is one of [the catalogue](/problems) \
and keeps its meaning. Beside those that stand with each operation, a path that is not there is 404, \
a method that a path does not have 405 with `Allow`. 503 and 429 come with `Retry-After`.\n\n\
HEAD is answered wherever GET is. Every answer has an `X-Request-Id`: yours, if you sent one of at \
most 128 letters, digits and `-_.:/+=@`, and it stands in the log.";

/// The document without its paths.
pub(crate) fn about() -> OpenApi {
    let info = InfoBuilder::new()
        .title("GoStocks")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(License::new("MIT")))
        .contact(None::<Contact>)
        .build();
    let tag = |name: &str, about: &str| {
        let mut tag = Tag::new(name);
        tag.description = Some(about.to_owned());
        tag
    };
    let tags = [
        tag("prices", "What was traded last"),
        tag("alerts", "Alerts on prices, and when they fired"),
        tag("probes", "For load balancers and whoever else watches"),
        tag("about", "What describes the rest"),
    ];
    OpenApiBuilder::new().info(info).tags(Some(tags)).build()
}

/// Documents which problems `routes` can answer, beside those that every route can.
pub(crate) fn fails<S>(
    (mut schemas, mut paths, router): UtoipaMethodRouter<S>,
    kinds: &[&[Kind]],
) -> UtoipaMethodRouter<S> {
    schemas.push((ProblemBody::name().into_owned(), ProblemBody::schema()));
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds.iter().copied().flatten().chain(ALWAYS) {
        by_status.entry(kind.status().as_u16()).or_default().push(*kind);
    }
    for operation in paths.paths.values_mut().flat_map(operations_of) {
        for (status, kinds) in &by_status {
            let responses = &mut operation.responses.responses;
            let told = of_problems(kinds);
            match responses.get_mut(&status.to_string()) {
                // A probe answers 503 in a way of its own, too.
                Some(RefOr::T(response)) => response.content.extend(told.content),
                _ => drop(responses.insert(status.to_string(), told.into())),
            }
        }
    }
    (schemas, paths, router)
}

fn of_problems(kinds: &[Kind]) -> DocumentedResponse {
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
    let examples = kinds.iter().map(|kind| {
        let problem = Problem::new(*kind, kind.about());
        let value = serde_json::to_value(problem.body()).unwrap_or_default();
        let example = ExampleBuilder::new().summary(kind.title()).value(Some(value)).build();
        (kind.name().to_owned(), RefOr::T(example))
    });
    let content: Content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ProblemBody::name())))
        .examples_from_iter(examples)
        .build();
    ResponseBuilder::new()
        .description(titles.join(", or: "))
        .content("application/problem+json", content)
        .build()
}

/// Says of the parameters what their types cannot: which intervals are kept, which is a setting, and
/// that what may be absent is not null.
pub(crate) fn tell_parameters(openapi: &mut OpenApi, intervals: &[Interval]) {
    let names: Vec<Value> = intervals.iter().map(|kept| kept.to_string().into()).collect();
    let operations = openapi.paths.paths.values_mut().flat_map(operations_of);
    let parameters = operations.filter_map(|operation| operation.parameters.as_mut()).flatten();
    for parameter in parameters {
        let RefOr::T(parameter) = parameter else { continue };
        let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { continue };
        if let SchemaType::Array(types) = &schema.schema_type
            && let [one, Type::Null] | [Type::Null, one] = &types[..]
        {
            schema.schema_type = SchemaType::Type(one.clone());
        }
        if parameter.name == "interval" && !names.is_empty() {
            schema.enum_values = Some(names.clone());
        }
    }
}

fn operations_of(
    path: &mut PathItem,
) -> impl Iterator<Item = &mut utoipa::openapi::path::Operation> {
    let PathItem { get, put, post, delete, patch, .. } = path;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// All that is served as it stands, made once.
#[derive(Debug)]
pub(crate) struct Document {
    openapi: File,
    files: [(&'static str, File); 3],
}

impl Document {
    pub(crate) fn new(openapi: &OpenApi) -> Self {
        // A document of plain maps and texts: it always has its JSON.
        let json = serde_json::to_vec(openapi).unwrap_or_default();
        Self {
            openapi: File::of(JSON, &json),
            files: [
                ("swagger-ui-bundle.js", File::packed("text/javascript", SWAGGER_UI)),
                ("swagger-ui.css", File::packed("text/css", SWAGGER_UI_STYLE)),
                ("start.js", File::of("text/javascript", START.as_bytes())),
            ],
        }
    }
}

/// As `build.rs` has packed them.
const SWAGGER_UI: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"));
const SWAGGER_UI_STYLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"));

/// A script of its own, for the page may not run any that stands in it.
const START: &str = "SwaggerUIBundle({\n  url: '/openapi.json',\n  dom_id: '#docs',\n  \
                     deepLinking: true,\n  validatorUrl: null,\n});\n";

const PAGE: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>GoStocks API</title>
<meta name=\"viewport\" content=\"width=device-width\">
<link rel=\"icon\" href=\"data:,\">
<link rel=\"stylesheet\" href=\"/docs/swagger-ui.css\">
<div id=\"docs\"></div>
<script src=\"/docs/swagger-ui-bundle.js\"></script>
<script src=\"/docs/start.js\"></script>
</html>
";

/// What that page may do: run and show what this server gives it, and ask this server.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                           img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'";

/// A file in memory, packed.
#[derive(Debug)]
struct File {
    content_type: &'static str,
    packed: Bytes,
    /// Weak: one for both encodings.
    tag: String,
}

impl File {
    fn of(content_type: &'static str, bytes: &[u8]) -> Self {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        // Memory takes all.
        let _ = packer.write_all(bytes);
        Self::new(content_type, packer.finish().unwrap_or_default().into())
    }

    fn packed(content_type: &'static str, packed: &'static [u8]) -> Self {
        Self::new(content_type, Bytes::from_static(packed))
    }

    fn new(content_type: &'static str, packed: Bytes) -> Self {
        let tag = format!("W/\"{:016x}\"", xxh3_64(&packed));
        Self { content_type, packed, tag }
    }

    /// 304 to whoever has it already.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let about = [(ETAG, self.tag.as_str()), (VARY, "accept-encoding")];
        let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let mut known = known.unwrap_or_default().split(',').map(str::trim);
        if known.any(|tag| tag == "*" || tag == self.tag) {
            return (StatusCode::NOT_MODIFIED, REVALIDATE, about).into_response();
        }
        let about = (REVALIDATE, about, [(CONTENT_TYPE, self.content_type)]);
        if takes_gzip(headers) {
            return (about, [(CONTENT_ENCODING, "gzip")], Body::from(self.packed.clone()))
                .into_response();
        }
        let mut plain = Vec::new();
        match GzDecoder::new(&self.packed[..]).read_to_end(&mut plain) {
            Ok(_) => (about, Body::from(plain)).into_response(),
            Err(_) => Problem::new(Kind::Internal, "the file does not unpack").into_response(),
        }
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|codings| codings.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        matches!(name.trim(), "gzip" | "*") && !refused
    })
}

/// This document
///
/// Generated from the code of the gateway that answers.
#[utoipa::path(get, path = "/openapi.json", tag = "about", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"),
    (status = 304, description = "It has not changed")
))]
pub(crate) async fn openapi(State(document): State<Arc<Document>>, headers: HeaderMap) -> Response {
    document.openapi.answer(&headers)
}

/// A page to try it
#[utoipa::path(get, path = "/docs", tag = "about", responses(
    (status = 200, description = "For a browser", body = String, content_type = "text/html")
))]
pub(crate) async fn page() -> Response {
    let headers =
        [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, PAGE_POLICY)];
    (REVALIDATE, headers, PAGE).into_response()
}

/// Where to begin
#[utoipa::path(get, path = "/", tag = "about", responses(
    (status = 307, description = "At the page to try it", headers(
        ("Location" = String, description = "Its path")
    ))
))]
pub(crate) async fn start() -> Redirect {
    Redirect::temporary("/docs")
}

/// What that page loads
#[utoipa::path(get, path = "/docs/{file}", tag = "about",
    params(("file" = inline(FileName), Path)),
    responses(
        (status = 200, description = "A file", content(
            (String = "text/javascript"), (String = "text/css")
        )),
        (status = 304, description = "It has not changed")
    )
)]
pub(crate) async fn file(
    State(document): State<Arc<Document>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = uri.path().strip_prefix("/docs/").unwrap_or_default();
    let file = document.files.iter().find(|(known, _)| *known == name);
    let (_, file) =
        file.ok_or_else(|| Problem::new(Kind::NoSuchPath, "there is nothing at this path"))?;
    Ok(file.answer(&headers))
}

/// The names of those files, for the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "described, not made")]
enum FileName {
    #[schema(rename = "swagger-ui-bundle.js")]
    Script,
    #[schema(rename = "swagger-ui.css")]
    Style,
    #[schema(rename = "start.js")]
    Start,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_gzip_gets_it() {
        let takes = |accepted: &str| {
            let accepted = accepted.parse().expect("a value");
            takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, accepted)]))
        };
        for yes in ["gzip", "br, gzip;q=0.5", "*", "deflate , gzip ; q=1"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "br", "identity", "gzip;q=0", "x-gzip-not", "gzip; q=0.0"] {
            assert!(!takes(no), "{no}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
