use fastwebsockets::OpCode;

/// Frames that hold no trade, each wrong in its own way; the index goes round.
pub(crate) fn frame(index: u64) -> (OpCode, &'static [u8]) {
    GARBAGE[(index % GARBAGE.len() as u64) as usize]
}

const GARBAGE: &[(OpCode, &[u8])] = &[
    (OpCode::Text, b"not json"),
    (OpCode::Text, b""),
    (OpCode::Text, b"{\"data\":[{\"c\":null,\"p\":1.5,\"s\":\"AAPL\",\"t\":16"),
    (OpCode::Text, b"\xff\xfe not UTF-8"),
    (OpCode::Binary, b"\x00\x01\x02\xff"),
    (OpCode::Text, b"[]"),
    (OpCode::Text, b"null"),
    (OpCode::Text, b"{\"type\":\"news\",\"data\":[{\"headline\":\"Markets open\"}]}"),
    (OpCode::Text, b"{\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":{},\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":0,\"s\":\"AAPL\",\"t\":1610064000000,\"v\":1}],\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":-5,\"s\":\"AAPL\",\"t\":1610064000000,\"v\":1}],\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":1e999,\"s\":\"AAPL\",\"t\":1610064000000,\"v\":1}],\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":NaN,\"s\":\"AAPL\",\"t\":1610064000000,\"v\":1}],\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":\"1\",\"s\":\"AAPL\",\"t\":1610064000000,\"v\":1}],\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":1,\"s\":\"\",\"t\":1610064000000,\"v\":1}],\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":1,\"s\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"t\":1610064000000,\"v\":1}],\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":1,\"s\":\"AAPL\",\"t\":99999999999999,\"v\":1}],\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":1,\"s\":\"AAPL\",\"t\":0,\"v\":1}],\"type\":\"trade\"}"),
    (OpCode::Text, b"{\"data\":[{\"p\":1,\"s\":\"AAPL\",\"t\":1610064000000,\"v\":-1}],\"type\":\"trade\"}"),
];
