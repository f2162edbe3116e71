use super::number;
use super::scan::{Text, plain_end};

/// A look at what comes, from where a scanner is. Sees only what is spelled in the plainest way, and
/// after a `None` it is of no more use.
#[derive(Debug)]
pub(super) struct Ahead<'a> {
    frame: &'a str,
    at: usize,
}

impl<'a> Ahead<'a> {
    #[inline]
    pub(super) fn new(frame: &'a str, at: usize) -> Self {
        Self { frame, at }
    }

    /// Where what it has read ends.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Passes over these bytes.
    #[inline(always)]
    pub(super) fn pass<const N: usize>(&mut self, bytes: &[u8; N]) -> Option<()> {
        let next: &[u8; N] = self.frame.as_bytes().get(self.at..)?.first_chunk()?;
        (next == bytes).then(|| self.at += N)
    }

    #[inline(always)]
    pub(super) fn value(&mut self) -> Option<f64> {
        let (value, end) = number::short_value(self.frame.as_bytes(), self.at)?;
        self.at = end;
        Some(value)
    }

    #[inline(always)]
    pub(super) fn integer(&mut self) -> Option<i64> {
        let (integer, end) = number::short_integer(self.frame.as_bytes(), self.at)?;
        self.at = end;
        Some(integer)
    }

    #[inline(always)]
    pub(super) fn text(&mut self) -> Option<Text> {
        self.pass(b"\"")?;
        let start = self.at;
        self.at = plain_end(self.frame.as_bytes(), start);
        let text = Text::in_frame(start, self.at);
        self.pass(b"\"")?;
        Some(text)
    }
}
