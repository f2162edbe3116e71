use std::fmt;

use url::{Host, Url};

/// Where a feed is: a `ws://` or `wss://` URL whose query is a secret.
///
/// Shown (`Display`, `Debug`) without its query, which carries the token.
#[derive(Clone, PartialEq, Eq)]
pub struct FeedUrl {
    url: Url,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedUrlError {
    #[error("expected a ws:// or wss:// URL ({0})")]
    NotAUrl(url::ParseError),
    #[error("expected a ws:// or wss:// URL, found one of scheme {0:?}")]
    Scheme(String),
    #[error("expected a ws:// or wss:// URL with a host")]
    NoHost,
    #[error(
        "expected a ws:// or wss:// URL without a user name or password; feeds take a token as query"
    )]
    UserInfo,
}

impl FeedUrl {
    pub fn parse(text: &str) -> Result<Self, FeedUrlError> {
        let url = Url::parse(text).map_err(FeedUrlError::NotAUrl)?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return Err(FeedUrlError::Scheme(url.scheme().to_owned()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(FeedUrlError::NoHost);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FeedUrlError::UserInfo);
        }
        Ok(Self { url })
    }

    /// Finnhub's own feed, for the holder of `key`.
    pub fn finnhub(key: &str) -> Self {
        let mut url = Url::parse("wss://ws.finnhub.io/").expect("a constant URL is valid");
        url.query_pairs_mut().append_pair("token", key);
        Self { url }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "wss"
    }

    /// A name or an address to connect to, without the brackets of an IPv6 literal.
    pub(crate) fn host(&self) -> String {
        match self.url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        // `url` knows the default ports of ws and wss.
        self.url.port_or_known_default().unwrap_or(443)
    }

    /// The `Host` header: the port only where it is not the scheme's own (RFC 9110, 7.2).
    pub(crate) fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Path and query, as they stand in the request line. Holds the token: never log it.
    pub(crate) fn request_target(&self) -> &str {
        &self.url[url::Position::BeforePath..url::Position::AfterQuery]
    }
}

impl fmt::Display for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url[..url::Position::AfterPath])
    }
}

impl fmt::Debug for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_url_is_shown_without_its_token() {
        let url = FeedUrl::parse("wss://feed.example:8443/v1?token=SECRET#SECRET").unwrap();
        assert_eq!(url.to_string(), "wss://feed.example:8443/v1");
        assert_eq!(format!("{url:?}"), "\"wss://feed.example:8443/v1\"");
        assert_eq!(url.request_target(), "/v1?token=SECRET");
        assert!(
            !format!("{}{:?}", FeedUrl::finnhub("SECRET"), FeedUrl::finnhub("S&E")).contains('S')
        );
    }

    #[test]
    fn finnhubs_url_escapes_the_key() {
        assert_eq!(FeedUrl::finnhub("abc").request_target(), "/?token=abc");
        assert_eq!(FeedUrl::finnhub("a b&c").request_target(), "/?token=a+b%26c");
        assert!(FeedUrl::finnhub("abc").is_tls());
    }

    #[track_caller]
    fn check(text: &str, host: &str, port: u16, authority: &str) {
        let url = FeedUrl::parse(text).unwrap();
        assert_eq!((url.host().as_str(), url.port()), (host, port));
        assert_eq!(url.authority(), authority);
    }

    #[test]
    fn hosts_and_ports_are_found() {
        check("ws://127.0.0.1:7878", "127.0.0.1", 7878, "127.0.0.1:7878");
        check("ws://localhost", "localhost", 80, "localhost");
        check("wss://ws.finnhub.io?token=x", "ws.finnhub.io", 443, "ws.finnhub.io");
        check("ws://[::1]:7878/", "::1", 7878, "[::1]:7878");
    }

    #[test]
    fn what_is_not_a_feed_url_gets_a_sentence() {
        let sentence = |text| FeedUrl::parse(text).unwrap_err().to_string();
        assert!(sentence("").starts_with("expected a ws:// or wss:// URL"));
        assert!(sentence("127.0.0.1:7878").starts_with("expected a ws:// or wss:// URL"));
        assert!(sentence("localhost:7878").contains("scheme \"localhost\""));
        assert!(sentence("https://ws.finnhub.io").contains("scheme \"https\""));
        assert!(sentence("ws://").starts_with("expected a ws:// or wss:// URL"));
        assert!(sentence("ws://me:secret@host").contains("user name or password"));
        assert!(!sentence("ws://me:secret@host").contains("secret"));
    }
}
