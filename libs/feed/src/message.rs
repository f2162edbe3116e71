use bytes::BytesMut;
use fastwebsockets::{Frame, OpCode, Payload};

use crate::Disconnect;

/// Puts fragmented messages together (RFC 6455, 5.4), within a bound.
///
/// fastwebsockets has a collector of its own, but that one bounds each fragment and not the
/// message, and gives up the connection over text that is not UTF-8.
#[derive(Debug)]
pub(crate) struct Reassembly {
    limit: usize,
    /// What has come so far of a message that began without its end.
    partial: Option<BytesMut>,
}

impl Reassembly {
    /// `limit`: the longest message, in bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, partial: None }
    }

    /// The whole message that `frame` completes. Takes data frames only.
    pub(crate) fn accept(&mut self, frame: Frame<'_>) -> Result<Option<BytesMut>, Disconnect> {
        let is_first = frame.opcode != OpCode::Continuation;
        match (is_first, self.partial.take()) {
            (true, Some(_)) => {
                Err(Disconnect::Protocol("a message began inside another".to_owned()))
            }
            (false, None) => Err(Disconnect::Protocol("a continuation of no message".to_owned())),
            (true, None) => self.keep_or_give(frame.fin, into_bytes(frame.payload)),
            (false, Some(mut partial)) => {
                if partial.len() + frame.payload.len() > self.limit {
                    return Err(Disconnect::TooLong(self.limit));
                }
                partial.extend_from_slice(&frame.payload);
                self.keep_or_give(frame.fin, partial)
            }
        }
    }

    fn keep_or_give(
        &mut self,
        complete: bool,
        message: BytesMut,
    ) -> Result<Option<BytesMut>, Disconnect> {
        if message.len() > self.limit {
            return Err(Disconnect::TooLong(self.limit));
        }
        if complete {
            return Ok(Some(message));
        }
        self.partial = Some(message);
        Ok(None)
    }
}

fn into_bytes(payload: Payload<'_>) -> BytesMut {
    match payload {
        // What the reader gives: the receive buffer itself, without a copy.
        Payload::Bytes(bytes) => bytes,
        other => BytesMut::from(&other[..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: OpCode = OpCode::Text;
    const MORE: OpCode = OpCode::Continuation;

    #[track_caller]
    fn check(frames: &[(OpCode, bool, &str)], expected: Result<&[&str], &str>) {
        let mut reassembly = Reassembly::new(8);
        let mut messages = Vec::new();
        for &(opcode, fin, text) in frames {
            match reassembly.accept(Frame::new(fin, opcode, None, text.as_bytes().into())) {
                Ok(Some(message)) => messages.push(String::from_utf8(message.to_vec()).unwrap()),
                Ok(None) => {}
                Err(disconnect) => {
                    assert_eq!(Err(disconnect.reason().as_str()), expected);
                    return;
                }
            }
        }
        assert_eq!(Ok(messages), expected.map(|all| all.iter().map(|m| (*m).to_owned()).collect()));
    }

    #[test]
    fn messages_are_whole_however_they_were_cut() {
        check(&[(TEXT, true, "one"), (OpCode::Binary, true, "two")], Ok(&["one", "two"]));
        check(&[(TEXT, false, "on"), (MORE, true, "e"), (TEXT, true, "two")], Ok(&["one", "two"]));
        check(&[(TEXT, false, ""), (MORE, false, "a"), (MORE, true, "")], Ok(&["a"]));
        check(&[(TEXT, true, "")], Ok(&[""]));
    }

    #[test]
    fn the_bound_is_on_the_message_not_on_its_fragments() {
        check(&[(TEXT, true, "12345678")], Ok(&["12345678"]));
        check(&[(TEXT, true, "123456789")], Err("too_long"));
        check(&[(TEXT, false, "12345"), (MORE, false, "678"), (MORE, true, "9")], Err("too_long"));
    }

    #[test]
    fn fragments_out_of_order_break_the_protocol() {
        check(&[(MORE, true, "a")], Err("protocol"));
        check(&[(TEXT, false, "a"), (TEXT, true, "b")], Err("protocol"));
    }
}
