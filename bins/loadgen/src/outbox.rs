use fastwebsockets::{Frame, OpCode};

use crate::cli::Faults;
use crate::garbage;

/// What the faults have made of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Open,
    /// To be held open in silence.
    Stalled,
    /// To be cut, once what is in the outbox has been written.
    Dropped,
}

/// WebSocket frames on their way to one client, many to a write.
///
/// Does no I/O. Here the faults happen, so that a synthetic market and a replay misbehave alike.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    faults: Faults,
    /// Frames of trades so far, not counting repetitions.
    frames: u64,
    garbage: u64,
    line: Line,
}

impl Outbox {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { bytes: Vec::new(), faults, frames: 0, garbage: 0, line: Line::Open }
    }

    /// A frame of trades, which the faults may multiply, follow by garbage, or make the last.
    /// Nothing happens where it would come after the last.
    pub(crate) fn trades(&mut self, text: &[u8]) -> Line {
        if self.line != Line::Open {
            return self.line;
        }
        for _ in 0..if self.faults.triplicate { 3 } else { 1 } {
            self.push(OpCode::Text, text);
        }
        self.frames += 1;
        if self.faults.garbage_every.is_some_and(|every| self.frames.is_multiple_of(every.get())) {
            let (opcode, payload) = garbage::frame(self.garbage);
            self.garbage += 1;
            self.push(opcode, payload);
        }
        if self.faults.stall_after.is_some_and(|after| self.frames == after.get()) {
            self.line = Line::Stalled;
        }
        if self.faults.drop_every.is_some_and(|every| self.frames == every.get()) {
            self.line = Line::Dropped;
        }
        self.line
    }

    /// Any other frame, as it is.
    pub(crate) fn push(&mut self, opcode: OpCode, payload: &[u8]) {
        let mut head = [0; 16];
        let size = Frame::new(true, opcode, None, payload.into()).fmt_head(&mut head);
        self.bytes.extend_from_slice(&head[..size]);
        self.bytes.extend_from_slice(payload);
    }

    pub(crate) fn line(&self) -> Line {
        self.line
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    /// Each letter is a frame of trades; what is in the outbox afterwards.
    fn sent(faults: Faults, frames: &str) -> (String, Line) {
        let mut outbox = Outbox::new(faults);
        for frame in frames.chars() {
            outbox.trades(frame.to_string().as_bytes());
        }
        let mut payloads = String::new();
        let mut bytes = outbox.bytes();
        while let [_, length, rest @ ..] = bytes {
            let (payload, rest) = rest.split_at(usize::from(*length));
            payloads.push_str(&String::from_utf8_lossy(payload));
            bytes = rest;
        }
        (payloads, outbox.line())
    }

    fn every(frames: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(frames)
    }

    #[test]
    fn faults_happen_where_they_were_asked_for() {
        let check = |faults, expected: &str, line| {
            assert_eq!(sent(faults, "abcd"), (expected.to_owned(), line), "{faults:?}");
        };
        let none = Faults::default();
        check(none, "abcd", Line::Open);
        check(Faults { drop_every: every(3), ..none }, "abc", Line::Dropped);
        check(Faults { stall_after: every(2), ..none }, "ab", Line::Stalled);
        check(Faults { triplicate: true, ..none }, "aaabbbcccddd", Line::Open);
        check(Faults { garbage_every: every(2), ..none }, "abnot jsoncd", Line::Open);
    }

    #[test]
    fn frames_have_the_header_of_their_length() {
        for (length, head) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (70_000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
        ] {
            let mut outbox = Outbox::new(Faults::default());
            outbox.trades(&vec![b'x'; length]);
            assert_eq!(outbox.bytes().len(), head.len() + length);
            assert!(outbox.bytes().starts_with(head));
        }
    }
}
