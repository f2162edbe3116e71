use fastwebsockets::{Role, WebSocket};
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE, USER_AGENT};
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Disconnect, FeedUrl};

pub(crate) type Socket = WebSocket<TokioIo<Upgraded>>;

/// TCP, then TLS where `tls` is given, then the WebSocket handshake.
///
/// Dropping the future closes whatever was open by then.
pub(crate) async fn connect(
    url: &FeedUrl,
    tls: Option<&TlsConnector>,
) -> Result<Socket, Disconnect> {
    let host = url.host();
    let tcp = TcpStream::connect((host.as_str(), url.port())).await;
    let tcp = tcp.map_err(Disconnect::Unreachable)?;
    // What we send is small and urgent: subscriptions and pongs.
    tcp.set_nodelay(true).map_err(Disconnect::Unreachable)?;
    let Some(tls) = tls else {
        return handshake(url, tcp).await;
    };
    let name = ServerName::try_from(host)
        .map_err(|error| Disconnect::Tls(std::io::Error::other(error)))?;
    let stream = tls.connect(name, tcp).await.map_err(Disconnect::Tls)?;
    handshake(url, stream).await
}

/// RFC 6455, 4.1, over hyper.
///
/// Not by `fastwebsockets::handshake::client`: that one prints to stderr and does not compare
/// the accept key, by which a cache that answers in the feed's place is found out.
async fn handshake<S>(url: &FeedUrl, stream: S) -> Result<Socket, Disconnect>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let lost = |error: hyper::Error| Disconnect::Lost(error.to_string());
    let key = fastwebsockets::handshake::generate_key();
    let request = Request::get(url.request_target())
        .header(HOST, url.authority())
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key)
        .header(USER_AGENT, concat!("gostocks/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| Disconnect::BadHandshake(error.to_string()))?;

    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let mut connection = std::pin::pin!(connection.with_upgrades());
    let exchange = async {
        let mut response = sender.send_request(request).await.map_err(lost)?;
        check(response.status(), response.headers(), &key)?;
        hyper::upgrade::on(&mut response).await.map_err(lost)
    };
    let mut exchange = std::pin::pin!(exchange);
    // The connection ends when it is upgraded or broken; either way the exchange then ends too.
    let upgraded = tokio::select! {
        upgraded = &mut exchange => upgraded?,
        _ = &mut connection => exchange.await?,
    };
    Ok(WebSocket::after_handshake(TokioIo::new(upgraded), Role::Client))
}

fn check(status: StatusCode, headers: &HeaderMap, key: &str) -> Result<(), Disconnect> {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Disconnect::Refused(status));
    }
    let wrong = |what: &str| Disconnect::BadHandshake(what.to_owned());
    if !has_token(headers, &UPGRADE, "websocket") {
        return Err(wrong("no Upgrade: websocket"));
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(wrong("no Connection: Upgrade"));
    }
    let accept = headers.get(SEC_WEBSOCKET_ACCEPT).ok_or_else(|| wrong("no accept key"))?;
    if accept.as_bytes() != accept_key(key)?.as_bytes() {
        return Err(wrong("another accept key than ours"));
    }
    Ok(())
}

/// Whether a header that is a list of tokens holds this one.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|list| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
    })
}

/// What a server must answer to `key` (RFC 6455, 4.2.2): asked of fastwebsockets' server side,
/// so that no second SHA-1 is needed.
fn accept_key(key: &str) -> Result<http::HeaderValue, Disconnect> {
    let wrong = |what: String| Disconnect::BadHandshake(what);
    let mut request = Request::get("/")
        .header(SEC_WEBSOCKET_KEY, key)
        .header(SEC_WEBSOCKET_VERSION, "13")
        .body(())
        .map_err(|error| wrong(error.to_string()))?;
    let (response, _) =
        fastwebsockets::upgrade::upgrade(&mut request).map_err(|error| wrong(error.to_string()))?;
    let accept = response.headers().get(SEC_WEBSOCKET_ACCEPT).cloned();
    accept.ok_or_else(|| wrong("no accept key can be made".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    #[track_caller]
    fn answer(status: u16, headers: &[(&'static str, &'static str)], expected: Option<&str>) {
        let mut map = HeaderMap::new();
        for &(name, value) in headers {
            map.append(name, http::HeaderValue::from_static(value));
        }
        let found = check(StatusCode::from_u16(status).unwrap(), &map, KEY);
        assert_eq!(found.err().map(|d| d.to_string()).as_deref(), expected);
    }

    /// The sample of RFC 6455, 1.3.
    #[test]
    fn the_accept_key_is_the_standards() {
        assert_eq!(accept_key(KEY).unwrap(), ACCEPT);
    }

    #[test]
    fn only_a_true_upgrade_is_accepted() {
        let good =
            [("upgrade", "WebSocket"), ("connection", "Upgrade"), ("sec-websocket-accept", ACCEPT)];
        answer(101, &good, None);
        let list = [("upgrade", "websocket"), ("connection", "keep-alive, upgrade"), good[2]];
        answer(101, &list, None);
        answer(200, &good, Some("the WebSocket handshake was answered with HTTP 200"));
        answer(401, &[], Some("the WebSocket handshake was answered with HTTP 401"));
        let wrong = "the answer to the WebSocket handshake is wrong: ";
        answer(101, &good[1..], Some(&format!("{wrong}no Upgrade: websocket")));
        answer(101, &[good[0], good[2]], Some(&format!("{wrong}no Connection: Upgrade")));
        answer(101, &good[..2], Some(&format!("{wrong}no accept key")));
        let stale = [good[0], good[1], ("sec-websocket-accept", "AAAA")];
        answer(101, &stale, Some(&format!("{wrong}another accept key than ours")));
    }
}
