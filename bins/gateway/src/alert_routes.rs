use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use rpc::alert::v1::{Alert, GetAlertsRequest, GetFiringsRequest, UpdateAlertRequest};
use serde::Serialize;
use tonic::Code;
use utoipa::ToSchema;

use crate::Alerts;
use crate::alert_bodies::{AlertBody, CreatedBody, FiringBody, NewAlertBody, PatchBody, status_of};
use crate::alert_schemas::{AlertId, AlertPatch, IfMatch, NewAlert, OfUser, Page, Which};
use crate::alerts::{Refusal, Target};
use crate::body::Whole;
use crate::problem::{Kind, Problem};
use crate::query::{Query, bad_query};
use crate::routes::NO_STORE;

/// Times that a patch is tried on an alert that changes meanwhile, where its client does not say
/// which version it means.
const PATCH_ATTEMPTS: usize = 5;

/// Make an alert
///
/// Answers once it is durable: it sees every trade that comes after the answer.
#[utoipa::path(
    post, path = "/alerts", tag = "alerts", operation_id = "create_alert",
    request_body(content = NewAlert, content_type = "application/json"),
    responses((status = 201, description = "It is made", body = CreatedBody, headers(
        ("Location" = String, description = "Its path")
    ), links(
        ("get" = (operation_id = "get_alert", parameters(("id" = "$response.body#/alert_id")))),
        ("delete" = (operation_id = "delete_alert", parameters(("id" = "$response.body#/alert_id"))))
    )))
)]
pub(crate) async fn create(
    State(alerts): State<Arc<Alerts>>,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<impl IntoResponse, Problem> {
    must_be_json(&headers, &["application/json"])?;
    let body: NewAlertBody = read(&body)?;
    let created = alerts
        .create(body.check()?)
        .await
        .map_err(|refusal| refusal.of_an_effect("the alert may have been made"))?;
    let alert = created.alert.unwrap_or_default();
    let location = [(LOCATION, format!("/alerts/{}", alert.id))];
    Ok((StatusCode::CREATED, location, Json(CreatedBody::from(alert))))
}

pub(crate) fn bad_body(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadBody, detail)
}

fn read<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| bad_body(format!("the body is not what this path takes: {error}")))
}

/// A body without a type is taken for what this path takes: the original asked for none.
fn must_be_json(headers: &HeaderMap, types: &[&str]) -> Result<(), Problem> {
    let unsupported = |detail: String| Problem::new(Kind::UnsupportedBody, detail);
    if let Some(content_type) = headers.get(CONTENT_TYPE) {
        let media_type = content_type.to_str().unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !types.iter().any(|taken| media_type.eq_ignore_ascii_case(taken)) {
            let types = types.join(" or ");
            return Err(unsupported(format!("the body must be {types}: set Content-Type")));
        }
    }
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(unsupported("the body must not be compressed".to_owned()))
        }
        _ => Ok(()),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = AlertList)]
pub(crate) struct AlertsBody {
    alerts: Vec<AlertBody>,
    count: usize,
    /// Where more follows.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    next_cursor: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FiringList)]
pub(crate) struct FiringsBody {
    firings: Vec<FiringBody>,
    count: usize,
    /// Where more follows.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    next_cursor: String,
}

/// List alerts
///
/// In the order in which they were made.
#[utoipa::path(
    get, path = "/alerts", tag = "alerts", operation_id = "list_alerts",
    params(OfUser, Which, Page),
    responses((status = 200, description = "A page of them", body = AlertsBody))
)]
pub(crate) async fn list(
    State(alerts): State<Arc<Alerts>>,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    let query = Query::of(&uri);
    let status = query.value("status");
    let statuses = status.split(',').filter(|text| !text.is_empty());
    let statuses: Result<Vec<i32>, Problem> =
        statuses.map(|text| Ok(status_of(text)?.into())).collect();
    let filter = GetAlertsRequest {
        user_id: query.user_id()?,
        // Anything else is not true, as in the original.
        active_only: matches!(&*query.value("active_only"), "true" | "1"),
        page_size: query.limit()?,
        page_token: query.value("cursor"),
        symbol: query.value("symbol"),
        statuses: statuses?,
    };
    let has_cursor = !filter.page_token.is_empty();
    let page = alerts.list(filter).await.map_err(|refusal| not_listed(refusal, has_cursor))?;
    let alerts: Vec<AlertBody> = page.alerts.into_iter().map(AlertBody::from).collect();
    let body = AlertsBody { count: alerts.len(), alerts, next_cursor: page.next_page_token };
    Ok((NO_STORE, Json(body)))
}

/// All but the cursor and what it says of itself was checked.
fn not_listed(refusal: Refusal, has_cursor: bool) -> Problem {
    match refusal.code {
        Code::InvalidArgument if has_cursor && refusal.is_about("page_token") => {
            bad_query("cursor must be the next_cursor of an answer before")
        }
        _ => refusal.into(),
    }
}

/// List firings
///
/// The newest first.
#[utoipa::path(
    get, path = "/firings", tag = "alerts", operation_id = "list_firings",
    params(OfUser, Page),
    responses((status = 200, description = "A page of them", body = FiringsBody))
)]
pub(crate) async fn firings(
    State(alerts): State<Arc<Alerts>>,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    list_firings(&alerts, &uri, 0).await
}

/// List the firings of an alert
///
/// The newest first.
#[utoipa::path(
    get, path = "/alerts/{id}/firings", tag = "alerts", operation_id = "list_firings_of_alert",
    params(AlertId, OfUser, Page),
    responses((status = 200, description = "A page of them", body = FiringsBody))
)]
pub(crate) async fn firings_of_alert(
    State(alerts): State<Arc<Alerts>>,
    uri: Uri,
) -> Result<impl IntoResponse, Problem> {
    list_firings(&alerts, &uri, id_of(&uri)?).await
}

async fn list_firings(
    alerts: &Alerts,
    uri: &Uri,
    alert_id: i64,
) -> Result<impl IntoResponse + use<>, Problem> {
    let query = Query::of(uri);
    let request = GetFiringsRequest {
        alert_id,
        user_id: query.user_id()?,
        page_size: query.limit()?,
        page_token: query.value("cursor"),
    };
    let has_cursor = !request.page_token.is_empty();
    let page = alerts.firings(request).await.map_err(|refusal| not_listed(refusal, has_cursor))?;
    let firings: Vec<FiringBody> = page.firings.into_iter().map(FiringBody::from).collect();
    let body = FiringsBody { count: firings.len(), firings, next_cursor: page.next_page_token };
    Ok((NO_STORE, Json(body)))
}

/// Read an alert
#[utoipa::path(
    get, path = "/alerts/{id}", tag = "alerts", operation_id = "get_alert",
    params(AlertId, OfUser),
    responses((status = 200, description = "The alert", body = AlertBody,
        headers(("etag" = String, description = "Its version, for If-Match"))))
)]
pub(crate) async fn get(State(alerts): State<Arc<Alerts>>, uri: Uri) -> Result<Response, Problem> {
    let alert = alerts.get(id_of(&uri)?, Query::of(&uri).user_id()?).await?;
    Ok(answer(alert))
}

/// Change an alert
///
/// Any change but that of a note begins a new generation, which sees what comes from then on.
#[utoipa::path(
    patch, path = "/alerts/{id}", tag = "alerts", operation_id = "change_alert",
    params(AlertId, OfUser, IfMatch),
    request_body(content(
        (AlertPatch = "application/merge-patch+json"), (AlertPatch = "application/json")
    )),
    responses((status = 200, description = "The alert as it is now", body = AlertBody,
        headers(("etag" = String, description = "Its version, for If-Match"))))
)]
pub(crate) async fn patch(
    State(alerts): State<Arc<Alerts>>,
    uri: Uri,
    headers: HeaderMap,
    Whole(body): Whole,
) -> Result<Response, Problem> {
    must_be_json(&headers, &["application/merge-patch+json", "application/json"])?;
    let (id, user_id) = (id_of(&uri)?, Query::of(&uri).user_id()?);
    let wanted = version_of(&headers)?;
    let mut attempts = 0..PATCH_ATTEMPTS;
    loop {
        attempts.next();
        let body: PatchBody = read(&body)?;
        let mut alert = alerts.get(id, user_id).await?;
        let version = alert.version;
        if wanted.is_some_and(|wanted| wanted != version) {
            let detail = format!("alert {id} is at version {version} by now");
            return Err(Problem::new(Kind::OtherVersion, detail));
        }
        let paths = body.apply(&mut alert)?;
        let request = UpdateAlertRequest {
            alert: Some(alert),
            update_mask: Some(rpc::FieldMask { paths }),
            user_id,
            expected_version: Some(version),
        };
        match alerts.update(request).await {
            Ok(alert) => return Ok(answer(alert)),
            // It was fired, or changed by somebody else, since it was read.
            Err(refusal)
                if refusal.code == Code::Aborted && wanted.is_none() && !attempts.is_empty() => {}
            Err(refusal) => return Err(refusal.of_a_change(wanted)),
        }
    }
}

/// The version that a client means, by the entity tag that it was told.
fn version_of(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let mut tags = headers.get_all(IF_MATCH).iter();
    let Some(tag) = tags.next() else { return Ok(None) };
    let tag = tag.to_str().unwrap_or_default().trim();
    let version = tag.trim_matches('"').parse().ok().filter(|version| tag_of(*version) == tag);
    match (tag, version, tags.next()) {
        ("*", _, None) => Ok(None),
        (_, Some(version), None) => Ok(Some(version)),
        _ => {
            let detail = "If-Match must be one ETag of the alert, or *";
            Err(Problem::new(Kind::BadHeader, detail))
        }
    }
}

fn tag_of(version: i64) -> String {
    format!("\"{version}\"")
}

/// Pause an alert
///
/// It sees nothing until it is resumed, and then what comes from then on
#[utoipa::path(
    post, path = "/alerts/{id}/pause", tag = "alerts", operation_id = "pause_alert",
    params(AlertId, OfUser, IfMatch),
    responses((status = 200, description = "The alert as it is now", body = AlertBody,
        headers(("etag" = String, description = "Its version, for If-Match"))))
)]
pub(crate) async fn pause(
    State(alerts): State<Arc<Alerts>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let target = target(&uri, &headers)?;
    let paused = alerts.pause(target).await;
    paused.map(answer).map_err(|refusal| refusal.of_a_change(target.expected_version))
}

/// Resume an alert that is paused
#[utoipa::path(
    post, path = "/alerts/{id}/resume", tag = "alerts", operation_id = "resume_alert",
    params(AlertId, OfUser, IfMatch),
    responses((status = 200, description = "The alert as it is now", body = AlertBody,
        headers(("etag" = String, description = "Its version, for If-Match"))))
)]
pub(crate) async fn resume(
    State(alerts): State<Arc<Alerts>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let target = target(&uri, &headers)?;
    let resumed = alerts.resume(target).await;
    resumed.map(answer).map_err(|refusal| refusal.of_a_change(target.expected_version))
}

/// Make an alert that has fired active again
#[utoipa::path(
    post, path = "/alerts/{id}/rearm", tag = "alerts", operation_id = "rearm_alert",
    params(AlertId, OfUser, IfMatch),
    responses((status = 200, description = "The alert as it is now", body = AlertBody,
        headers(("etag" = String, description = "Its version, for If-Match"))))
)]
pub(crate) async fn rearm(
    State(alerts): State<Arc<Alerts>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let target = target(&uri, &headers)?;
    let rearmed = alerts.rearm(target).await;
    rearmed.map(answer).map_err(|refusal| refusal.of_a_change(target.expected_version))
}

/// Delete an alert
#[utoipa::path(
    delete, path = "/alerts/{id}", tag = "alerts", operation_id = "delete_alert",
    params(AlertId, OfUser, IfMatch),
    responses((status = 204, description = "It is gone"))
)]
pub(crate) async fn delete(
    State(alerts): State<Arc<Alerts>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let target = target(&uri, &headers)?;
    let deleted = alerts.delete(target).await;
    deleted
        .map(|()| StatusCode::NO_CONTENT)
        .map_err(|refusal| refusal.of_a_change(target.expected_version))
}

fn target(uri: &Uri, headers: &HeaderMap) -> Result<Target, Problem> {
    let (id, user_id) = (id_of(uri)?, Query::of(uri).user_id()?);
    Ok(Target { id, user_id, expected_version: version_of(headers)? })
}

fn answer(alert: Alert) -> Response {
    let tag: [(HeaderName, String); 1] = [(ETAG, tag_of(alert.version))];
    (NO_STORE, tag, Json(AlertBody::from(alert))).into_response()
}

/// The id in `/alerts/{id}…`.
fn id_of(uri: &Uri) -> Result<i64, Problem> {
    let text = uri.path().split('/').nth(2).unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let id = text.parse().ok().filter(|id| is_number && *id > 0);
    let detail = "the id of an alert is a positive whole number";
    id.ok_or_else(|| Problem::new(Kind::BadId, detail))
}
