//! `X-Request-Id`: the client's where it is one, else ours. It stands in the answer and in the log.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const LONGEST: usize = 128;

/// Makes ids: which life of the program, and which of its requests.
#[derive(Debug)]
pub(crate) struct RequestIds {
    life: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        // The standard library's own source of a random number.
        Self { life: RandomState::new().build_hasher().finish(), next: AtomicU64::new(0) }
    }

    /// A client's id is taken where it can do no harm in a log, nor in whatever reads it there.
    pub(crate) fn of(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(X_REQUEST_ID) {
            Some(given) if is_sane(given.as_bytes()) => given.clone(),
            _ => self.make(),
        }
    }

    fn make(&self) -> HeaderValue {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let number = u128::from(self.life) << 64 | u128::from(next);
        let digit = |at: usize| b"0123456789abcdef"[(number >> (4 * (31 - at))) as usize & 0xf];
        let text: [u8; 32] = std::array::from_fn(digit);
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("none"))
    }
}

fn is_sane(id: &[u8]) -> bool {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(sane)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let ids = RequestIds::new();
        let of = |given: &str| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, given.parse().expect("a value"))]);
            ids.of(&headers).to_str().expect("text").to_owned()
        };
        let longest = "x".repeat(LONGEST);
        for kept in ["a", "0192-ab_c.d", "Root=1-67891233-abcdef", &longest] {
            assert_eq!(of(kept), kept);
        }
        for replaced in ["", "a b", "a\"b", "{}", "a,b", "<script>", &"x".repeat(LONGEST + 1)] {
            assert_eq!(of(replaced).len(), 32, "{replaced}");
        }
        assert_ne!(of(""), of(""));
    }
}
