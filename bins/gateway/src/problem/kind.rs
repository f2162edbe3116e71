use axum::http::StatusCode;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, Type};

/// Each line makes a kind, with its path, status, title, and a sentence for its page.
macro_rules! catalogue {
    ($($kind:ident $path:literal $status:ident $title:literal $about:literal;)*) => {
        /// Every problem that an answer can tell of. A path once given keeps its meaning; what a
        /// client did not know before gets a new one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind {
            $(#[doc = $about] $kind,)*
        }

        impl Kind {
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),*];

            /// The problem's `type`: where its page is.
            pub(crate) fn path(self) -> &'static str {
                match self { $(Self::$kind => concat!("/problems/", $path),)* }
            }

            /// The last part of its path.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$kind => $path,)* }
            }

            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            pub(crate) fn about(self) -> &'static str {
                match self { $(Self::$kind => $about,)* }
            }
        }
    };
}

catalogue! {
    BadRequest "bad-request" BAD_REQUEST "The request is malformed"
        "It breaks a rule of HTTP itself: no Host, two of them, or a body that has two lengths.";
    BadSymbol "bad-symbol" BAD_REQUEST "This is no symbol"
        "A symbol is 1 to 64 bytes of UTF-8 without control characters, percent-encoded in a path.";
    BadId "bad-id" BAD_REQUEST "This is no id"
        "The id of an alert is a positive whole number.";
    BadQuery "bad-query" BAD_REQUEST "A parameter of the query is wrong"
        "The detail names it and says what it takes.";
    BadHeader "bad-header" BAD_REQUEST "A header is wrong"
        "The detail names it and says what it takes.";
    BadBody "bad-body" BAD_REQUEST "The body is not what this path takes"
        "It is no JSON, lacks a field, or a field has the wrong type or value.";
    Refused "refused" BAD_REQUEST "The alert service does not take this"
        "The request can be read, but no alert can be like that: the detail names each field and why.";
    Unauthorized "unauthorized" UNAUTHORIZED "Who asks is not known"
        "The backend wants to know who asks.";
    Forbidden "forbidden" FORBIDDEN "This is not allowed"
        "The backend knows who asks, and does not allow it.";
    NoSuchPath "no-such-path" NOT_FOUND "There is nothing at this path"
        "/docs shows the paths that there are.";
    UnknownSymbol "unknown-symbol" NOT_FOUND "The symbol is not known"
        "No trade of it has been seen. It is known from its first trade on.";
    UnknownAlert "unknown-alert" NOT_FOUND "There is no such alert"
        "It was never made, was deleted, or is another user's than user_id says.";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The path does not answer this method"
        "The Allow header has those that it answers.";
    SlowBody "body-too-slow" REQUEST_TIMEOUT "The body came too slowly"
        "A body must be there within two seconds of its head.";
    Conflict "conflict" CONFLICT "The alert is in another state"
        "What was asked for cannot be done to the alert as it is now: read it, and decide again.";
    OtherVersion "another-version" PRECONDITION_FAILED "The alert has changed"
        "It is at another version than If-Match says: read it, and decide again.";
    LongBody "body-too-long" PAYLOAD_TOO_LARGE "The body is too long"
        "A body has at most 65,536 bytes.";
    LongUri "uri-too-long" URI_TOO_LONG "The path and query are too long"
        "Together they have at most 8,192 bytes.";
    UnsupportedBody "unsupported-body" UNSUPPORTED_MEDIA_TYPE "The body is of another type"
        "It must be JSON, by its Content-Type too, and not compressed.";
    TooMany "too-many" TOO_MANY_REQUESTS "Too many"
        "Too many requests at once, connections, or alerts of one user: the detail says which. Try again after Retry-After.";
    Internal "internal" INTERNAL_SERVER_ERROR "A mistake of the server's"
        "It has been logged under the answer's X-Request-Id.";
    DamagedPrice "damaged-price" INTERNAL_SERVER_ERROR "What is stored of the symbol is damaged"
        "Redis holds something that GoStocks did not write. It has been logged.";
    AlertsFailed "alert-service-failed" INTERNAL_SERVER_ERROR "The alert service failed"
        "It did answer, but with a mistake of its own. Where the detail says so, the change may have been made.";
    AlertsOld "alert-service-too-old" NOT_IMPLEMENTED "The alert service does not know this call"
        "It is an older one than this gateway.";
    PricesAway "prices-away" SERVICE_UNAVAILABLE "The store of prices is away"
        "Redis does not answer; /readyz says so too. Try again after Retry-After.";
    AlertsAway "alert-service-away" SERVICE_UNAVAILABLE "The alert service is away"
        "It, or what it needs, does not answer; /readyz says so too. Try again after Retry-After. Where the detail says so, the change may have been made.";
    Late "too-late" SERVICE_UNAVAILABLE "The request took too long"
        "It was given up. Try again after Retry-After.";
    AlertsLate "alert-service-too-late" GATEWAY_TIMEOUT "The alert service did not answer in time"
        "It is there, and too slow. Where the detail says so, the change may have been made.";
}

/// The types of all problems, for the document.
pub(crate) fn paths() -> RefOr<Schema> {
    let paths = Kind::ALL.iter().map(|kind| kind.path());
    let object: Object = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(utoipa::openapi::SchemaFormat::Custom("uri-reference".to_owned())))
        .enum_values(Some(paths))
        .build();
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn paths_are_unique_and_read_well() {
        let mut paths = BTreeSet::new();
        for kind in Kind::ALL {
            assert!(paths.insert(kind.path()), "{kind:?} has the path of another");
            assert!(kind.name().chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{kind:?}");
            assert!(kind.status().is_client_error() || kind.status().is_server_error(), "{kind:?}");
            assert!(!kind.title().ends_with('.') && kind.about().ends_with('.'), "{kind:?}");
        }
    }
}
