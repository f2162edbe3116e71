//! A page for each kind of problem, at the address that is its `type`.

use std::fmt::Write;

use axum::http::Uri;
use axum::response::{Html, IntoResponse, Response};

use super::{Kind, Problem};
use crate::documentation::REVALIDATE;

/// All kinds of problems
///
/// A page for people: every `type` that a problem can have, with its status and meaning.
#[utoipa::path(
    get, path = "/problems", tag = "about", operation_id = "list_problems",
    responses((status = 200, description = "The catalogue", body = String, content_type = "text/html"))
)]
pub(crate) async fn of_all() -> Response {
    let mut list = String::new();
    for kind in Kind::ALL {
        let (path, title) = (kind.path(), kind.title());
        // A String takes all that is written to it.
        let _ =
            write!(list, "<li><a href=\"{path}\">{path}</a> ({}): {title}", kind.status().as_u16());
    }
    page("Problems", &format!("<ul>{list}</ul>"))
}

/// A kind of problem
///
/// A page for people: what a problem of this `type` means, and what to do.
#[utoipa::path(
    get, path = "/problems/{name}", tag = "about", operation_id = "get_problem",
    params(("name" = inline(ProblemName), Path, description = "The last part of a problem's type")),
    responses((status = 200, description = "What it means", body = String, content_type = "text/html"))
)]
pub(crate) async fn of_one(uri: Uri) -> Result<Response, Problem> {
    let kind = Kind::ALL.iter().find(|kind| kind.path() == uri.path());
    let kind = kind.ok_or_else(|| Problem::new(Kind::NoSuchPath, "there is no such problem"))?;
    let about = format!(
        "<p>{}<p>Status {}. <a href=\"/problems\">All problems</a>, <a href=\"/docs\">all paths</a>.",
        kind.about(),
        kind.status(),
    );
    Ok(page(kind.title(), &about))
}

fn page(title: &str, body: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <h1>{title}</h1>{body}</html>\n"
    );
    (REVALIDATE, Html(page)).into_response()
}

/// The names of all kinds, for the document.
struct ProblemName;

impl utoipa::ToSchema for ProblemName {}

impl utoipa::PartialSchema for ProblemName {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        let names = Kind::ALL.iter().map(|kind| kind.name());
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build().into()
    }
}
