use super::FrameError;
use super::ahead::Ahead;
use super::number::{self, Number};

/// How many arrays and objects may be open at once, as in serde_json.
const MAX_DEPTH: u32 = 127;

/// Where a string is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    start: usize,
    end: usize,
    source: Source,
}

/// As large as the places, so that a text is moved as three words: what would be left of the third
/// one is moved in pieces, and a processor waits before it puts them together again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Source {
    /// The string stands there as it is.
    Frame,
    /// It had escapes, or was in lower case.
    Scratch,
}

impl Text {
    #[inline]
    pub(super) fn in_frame(start: usize, end: usize) -> Self {
        Self { start, end, source: Source::Frame }
    }

    #[inline]
    pub(super) fn get<'t>(self, frame: &'t str, scratch: &'t str) -> &'t str {
        let text = match self.source {
            Source::Frame => frame,
            Source::Scratch => scratch,
        };
        &text[self.start..self.end]
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        self.end - self.start
    }
}

/// Reads a frame from its first byte to its last.
///
/// Accepts what RFC 8259 calls JSON, with two bounds: nesting, and that escapes spell Unicode (a
/// lone surrogate is refused). Numbers may be of any size.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    frame: &'a str,
    at: usize,
    scratch: &'a mut String,
    depth: u32,
}

impl<'a> Scanner<'a> {
    /// Strings with escapes go into `scratch`, behind what it holds.
    pub(super) fn new(frame: &'a str, scratch: &'a mut String) -> Self {
        Self { frame, at: 0, scratch, depth: 0 }
    }

    #[inline]
    pub(super) fn ahead(&self) -> Ahead<'a> {
        Ahead::new(self.frame, self.at)
    }

    /// Goes on from there.
    #[inline]
    pub(super) fn catch_up(&mut self, ahead: &Ahead<'a>) {
        self.at = ahead.at();
    }

    #[inline]
    pub(super) fn get(&self, text: Text) -> &str {
        text.get(self.frame, self.scratch)
    }

    /// The one letter that `text` is; 0 where it is anything else.
    #[inline]
    pub(super) fn letter(&self, text: Text) -> u8 {
        let source = match text.source {
            Source::Frame => self.frame,
            Source::Scratch => &*self.scratch,
        };
        if text.len() == 1 { source.as_bytes()[text.start] } else { 0 }
    }

    /// Keeps a string that the frame does not have.
    #[cold]
    pub(super) fn keep(&mut self, text: &str) -> Text {
        let start = self.scratch.len();
        self.scratch.push_str(text);
        Text { start, end: self.scratch.len(), source: Source::Scratch }
    }

    /// The next byte, whatever it is; 0, which JSON has nowhere, at the end.
    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.frame.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.frame.as_bytes().get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn whitespace(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    #[cold]
    fn invalid(&self) -> FrameError {
        FrameError::Json { at: self.at }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), FrameError> {
        if self.peek() == byte {
            self.at += 1;
            Ok(())
        } else {
            Err(self.invalid())
        }
    }

    /// Nothing but whitespace may be left.
    pub(super) fn finish(&mut self) -> Result<(), FrameError> {
        self.whitespace();
        if self.at == self.frame.len() { Ok(()) } else { Err(self.invalid()) }
    }

    #[inline]
    fn open(&mut self) -> Result<(), FrameError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(FrameError::TooDeep) } else { Ok(()) }
    }

    #[inline]
    fn close(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    /// Reads the object that begins here: `member` gets each key and reads its value, which the
    /// scanner stands before.
    #[inline]
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Text) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        self.open()?;
        self.whitespace();
        if self.peek() != b'}' {
            loop {
                let key = self.key()?;
                self.whitespace();
                member(self, key)?;
                self.whitespace();
                if self.peek() != b',' {
                    break;
                }
                self.at += 1;
                self.whitespace();
            }
        }
        if self.peek() != b'}' {
            return Err(self.invalid());
        }
        self.close();
        Ok(())
    }

    /// Reads a key and the colon behind it.
    #[inline(always)]
    fn key(&mut self) -> Result<Text, FrameError> {
        // A trade's keys are of one letter, and each step of its own would cost as much as this.
        let start = self.at + 1;
        if let Some(&[b'"', letter, b'"', b':']) = self.rest().first_chunk()
            && letter.is_ascii_alphanumeric()
        {
            self.at += 4;
            return Ok(Text::in_frame(start, start + 1));
        }
        self.long_key()
    }

    #[inline(never)]
    fn long_key(&mut self) -> Result<Text, FrameError> {
        let key = self.string()?;
        self.whitespace();
        self.expect(b':')?;
        Ok(key)
    }

    /// Reads the array that begins here: `element` reads each of its values, which the scanner
    /// stands before.
    #[inline]
    pub(super) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        self.open()?;
        self.whitespace();
        if self.peek() != b']' {
            loop {
                element(self)?;
                self.whitespace();
                if self.peek() != b',' {
                    break;
                }
                self.at += 1;
                self.whitespace();
            }
        }
        if self.peek() != b']' {
            return Err(self.invalid());
        }
        self.close();
        Ok(())
    }

    /// Reads the number that must begin here.
    #[inline]
    pub(super) fn value(&mut self) -> Result<f64, FrameError> {
        let (value, end) = number::read_value(self.frame, self.at).ok_or_else(|| self.invalid())?;
        self.at = end;
        Ok(value)
    }

    /// Reads the number that must begin here, and that should be an integer.
    #[inline]
    pub(super) fn integer(&mut self) -> Result<Number, FrameError> {
        let (number, end) =
            number::read_integer(self.frame, self.at).ok_or_else(|| self.invalid())?;
        self.at = end;
        Ok(number)
    }

    /// Reads the string that must begin here.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text, FrameError> {
        if self.peek() != b'"' {
            return Err(self.invalid());
        }
        let start = self.at + 1;
        let end = plain_end(self.frame.as_bytes(), start);
        if self.frame.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            Ok(Text::in_frame(start, end))
        } else {
            self.at = end;
            self.escaped_string(start)
        }
    }

    /// Reads on where a string that began at `start` has its first byte that is not plain.
    #[cold]
    fn escaped_string(&mut self, start: usize) -> Result<Text, FrameError> {
        let kept = self.scratch.len();
        let mut plain = start;
        loop {
            self.scratch.push_str(&self.frame[plain..self.at]);
            match self.peek() {
                b'"' => break,
                b'\\' => {
                    self.at += 1;
                    let char = self.escape()?;
                    self.scratch.push(char);
                }
                _ => return Err(self.invalid()),
            }
            plain = self.at;
            self.at = plain_end(self.frame.as_bytes(), plain);
        }
        self.at += 1;
        Ok(Text { start: kept, end: self.scratch.len(), source: Source::Scratch })
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<char, FrameError> {
        let char = match self.peek() {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.invalid()),
        };
        self.at += 1;
        Ok(char)
    }

    fn unicode_escape(&mut self) -> Result<char, FrameError> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.invalid());
        }
        self.expect(b'\\')?;
        self.expect(b'u')?;
        let second = self.hex()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(self.invalid());
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00));
        char::from_u32(code).ok_or_else(|| self.invalid())
    }

    fn hex(&mut self) -> Result<u32, FrameError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = char::from(self.peek()).to_digit(16).ok_or_else(|| self.invalid())?;
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    /// Passes over the value that must begin here.
    pub(super) fn skip(&mut self) -> Result<(), FrameError> {
        match self.peek() {
            b'{' => self.object(|scanner, _| scanner.skip()),
            b'[' => self.array(Self::skip),
            b'"' => {
                let kept = self.scratch.len();
                self.string()?;
                self.scratch.truncate(kept);
                Ok(())
            }
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => {
                let (_, end) = number::read(self.frame, self.at).ok_or_else(|| self.invalid())?;
                self.at = end;
                Ok(())
            }
        }
    }

    #[inline]
    fn literal(&mut self, literal: &str) -> Result<(), FrameError> {
        if self.rest().starts_with(literal.as_bytes()) {
            self.at += literal.len();
            Ok(())
        } else {
            Err(self.invalid())
        }
    }
}

/// Finds the first byte from `at` on that is a quote, a backslash or a control character, eight
/// bytes at a time; the end where there is none.
#[inline]
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*eight);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // A byte's high bit is set where the byte is found; above the first one found a borrow
        // may set others, which no one looks at. Sean Anderson, "Bit
        // Twiddling Hacks": determine if a word has a byte less than n.
        let found = (quote.wrapping_sub(ONES) & !quote
            | backslash.wrapping_sub(ONES) & !backslash
            | word.wrapping_sub(ONES * 0x20) & !word)
            & HIGHS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}
