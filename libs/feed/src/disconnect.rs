use std::io;

use fastwebsockets::WebSocketError;
use http::StatusCode;

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
pub enum Disconnect {
    #[error("the feed cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    #[error("no answer to the connect within its timeout")]
    TimedOut,
    #[error("the WebSocket handshake was answered with HTTP {}", .0.as_u16())]
    Refused(StatusCode),
    #[error("the answer to the WebSocket handshake is wrong: {0}")]
    BadHandshake(String),
    #[error("the feed closed the connection ({})", describe_close(*.code, .reason))]
    Closed { code: Option<u16>, reason: String },
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("no message for too long")]
    Silent,
    #[error("a message was longer than the bound of {0} bytes")]
    TooLong(usize),
    #[error("the feed broke the WebSocket protocol: {0}")]
    Protocol(String),
    #[error("stopped")]
    Stopped,
}

/// The label of a [`Disconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    Unreachable,
    Tls,
    TimedOut,
    Refused,
    BadHandshake,
    Closed,
    Lost,
    Silent,
    TooLong,
    Protocol,
    Stopped,
}

impl DisconnectReason {
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Tls,
        Self::TimedOut,
        Self::Refused,
        Self::BadHandshake,
        Self::Closed,
        Self::Lost,
        Self::Silent,
        Self::TooLong,
        Self::Protocol,
        Self::Stopped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::TimedOut => "timed_out",
            Self::Refused => "refused",
            Self::BadHandshake => "bad_handshake",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::TooLong => "too_long",
            Self::Protocol => "protocol",
            Self::Stopped => "stopped",
        }
    }
}

impl Disconnect {
    pub fn reason(&self) -> DisconnectReason {
        match self {
            Self::Unreachable(_) => DisconnectReason::Unreachable,
            Self::Tls(_) => DisconnectReason::Tls,
            Self::TimedOut => DisconnectReason::TimedOut,
            Self::Refused(_) => DisconnectReason::Refused,
            Self::BadHandshake(_) => DisconnectReason::BadHandshake,
            Self::Closed { .. } => DisconnectReason::Closed,
            Self::Lost(_) => DisconnectReason::Lost,
            Self::Silent => DisconnectReason::Silent,
            Self::TooLong(_) => DisconnectReason::TooLong,
            Self::Protocol(_) => DisconnectReason::Protocol,
            Self::Stopped => DisconnectReason::Stopped,
        }
    }

    /// What a refusal of this kind usually means, and what to do about it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::Refused(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                "the key is wrong, expired, or not allowed to stream: check FINNHUB_API_KEY or \
                 the token in FEED_URL"
            }
            Self::Refused(StatusCode::TOO_MANY_REQUESTS) => {
                "the plan's limit is reached: too many connections or connects for this key"
            }
            Self::Refused(StatusCode::OK) => {
                "the address answers HTTP but not WebSocket, or the key is already in use: check \
                 FEED_URL, and that nothing else is connected with this key"
            }
            Self::Refused(status) if status.is_redirection() => {
                "the feed has moved: set FEED_URL to where it is now"
            }
            Self::Refused(status) if status.is_server_error() => "the feed itself is in trouble",
            Self::Refused(_) | Self::BadHandshake(_) => {
                "the address is not a feed's, or the key is wrong: check FEED_URL"
            }
            _ => {
                "dropped right after opening: usually the key is in use elsewhere (one connection \
                 a key, and a second drops both), the key is wrong, or the plan's limit is reached"
            }
        }
    }

    /// What to tell the peer before hanging up, where there is anything to tell (RFC 6455, 7.4.1).
    pub(crate) fn close_code(&self) -> Option<u16> {
        match self {
            Self::Stopped => Some(1000),
            Self::Silent => Some(1001),
            Self::Protocol(_) => Some(1002),
            Self::TooLong(_) => Some(1009),
            _ => None,
        }
    }

    /// `limit` is the bound on a message, for the sentence.
    pub(crate) fn from_read(error: WebSocketError, limit: usize) -> Self {
        match error {
            WebSocketError::UnexpectedEOF => Self::Lost("it ended without a close".to_owned()),
            WebSocketError::ConnectionClosed => Self::Lost("it is closed".to_owned()),
            WebSocketError::IoError(error) => Self::Lost(error.to_string()),
            WebSocketError::SendError(error) => Self::Lost(error.to_string()),
            WebSocketError::FrameTooLarge => Self::TooLong(limit),
            error => Self::Protocol(error.to_string()),
        }
    }
}

fn describe_close(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, _) => "no code given".to_owned(),
        (Some(code), "") => format!("code {code}"),
        // Quoted: the text is the peer's own.
        (Some(code), reason) => format!("code {code}, {reason:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_are_in_the_order_of_their_numbers() {
        for (index, reason) in DisconnectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.as_str());
        }
    }

    #[test]
    fn a_refusal_says_what_it_usually_means() {
        let advice = |status| Disconnect::Refused(status).advice();
        assert!(advice(StatusCode::UNAUTHORIZED).contains("FINNHUB_API_KEY"));
        assert!(advice(StatusCode::TOO_MANY_REQUESTS).contains("plan"));
        assert!(advice(StatusCode::OK).contains("FEED_URL"));
        assert!(advice(StatusCode::BAD_GATEWAY).contains("trouble"));
        assert!(advice(StatusCode::FOUND).contains("moved"));
        let closed = Disconnect::Closed { code: Some(1008), reason: "in use".to_owned() };
        assert!(closed.advice().contains("in use elsewhere"));
        assert_eq!(closed.to_string(), "the feed closed the connection (code 1008, \"in use\")");
    }
}
