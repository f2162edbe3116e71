use std::borrow::{Borrow, Cow};
use std::fmt;

/// The longest symbol accepted, in bytes of UTF-8.
pub const MAX_SYMBOL_BYTES: usize = 64;

/// An instrument as its feed spells it, upper-cased: `AAPL`, `BINANCE:BTCUSDT`, `IC MARKETS:1`.
///
/// 1 to 64 bytes of UTF-8 without control characters. Only ASCII letters are upper-cased, so that
/// every edge (feed, topic, REST, gRPC) agrees without a table of Unicode cases.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolError {
    #[error("a symbol must not be empty")]
    Empty,
    #[error("a symbol must not be longer than {MAX_SYMBOL_BYTES} bytes")]
    TooLong,
    #[error("a symbol must not contain control characters")]
    ControlCharacter,
}

impl Symbol {
    pub fn new(text: &str) -> Result<Self, SymbolError> {
        Ok(Self(Self::normalize(text)?.into()))
    }

    /// Checks `text` and upper-cases it, without a copy where it is upper-case already.
    #[inline]
    pub fn normalize(text: &str) -> Result<Cow<'_, str>, SymbolError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(SymbolError::Empty);
        }
        if bytes.len() > MAX_SYMBOL_BYTES {
            return Err(SymbolError::TooLong);
        }
        if is_plain(bytes) {
            return Ok(Cow::Borrowed(text));
        }
        // DEL and C0 are one byte each, C1 (U+0080 to U+009F) two: `char` knows them all.
        if text.chars().any(char::is_control) {
            return Err(SymbolError::ControlCharacter);
        }
        if bytes.iter().any(u8::is_ascii_lowercase) {
            return Ok(Cow::Owned(text.to_ascii_uppercase()));
        }
        Ok(Cow::Borrowed(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether all bytes are printable ASCII and none is a letter in lower case: mostly they are. Eight
/// at a time, the last ones twice where the length is no multiple of it.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk() {
        let (eights, _) = bytes.as_chunks();
        return eights.iter().chain([last]).all(|eight| are_plain(u64::from_le_bytes(*eight)));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return are_plain(u64::from(first) << 32 | u64::from(last));
    }
    bytes.iter().all(|byte| are_plain(u64::from(*byte) * ONES))
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// What is added moves the bytes from a bound on to where their high bit is set. Only one that is
/// not ASCII carries into its neighbour, and then all are not plain.
#[inline]
fn are_plain(word: u64) -> bool {
    let from = |byte: u8| word.wrapping_add(ONES * u64::from(0x80 - byte));
    let others = word | !from(b' ') | from(b'a') & !from(b'{') | from(0x7f);
    others & (ONES << 7) == 0
}

impl Borrow<str> for Symbol {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, SymbolError>) {
        let found = Symbol::new(text);
        assert_eq!(found.as_ref().map(Symbol::as_str), expected.as_ref().map(|s| *s), "{text:?}");
    }

    #[test]
    fn a_symbol_is_plain_where_each_of_its_bytes_is() {
        for length in 1..=17 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'A'; length];
                    bytes[place] = byte;
                    let expected = matches!(byte, 0x20..=0x60 | b'{'..=b'~');
                    assert_eq!(is_plain(&bytes), expected, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn symbols_are_bounded_upper_case_and_printable() {
        check("AAPL", Ok("AAPL"));
        check("aapl", Ok("AAPL"));
        check("Binance:btcusdt", Ok("BINANCE:BTCUSDT"));
        check("IC MARKETS:1", Ok("IC MARKETS:1"));
        check("BRK/B", Ok("BRK/B"));
        check("{AAPL}", Ok("{AAPL}"));
        check("überé", Ok("üBERé"));
        check(&"X".repeat(64), Ok(&"X".repeat(64)));
        check("", Err(SymbolError::Empty));
        check(&"X".repeat(65), Err(SymbolError::TooLong));
        check(&"é".repeat(33), Err(SymbolError::TooLong));
        check("A\nB", Err(SymbolError::ControlCharacter));
        check("A\0", Err(SymbolError::ControlCharacter));
        check("A\u{7f}", Err(SymbolError::ControlCharacter));
        check("A\u{85}", Err(SymbolError::ControlCharacter));
    }
}
