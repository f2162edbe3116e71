use std::io::{self, Read, Write};

use crate::http::connect;

const METADATA: i16 = 3;
/// The oldest version whose empty list of topics means none; every broker since 0.10 answers it.
const METADATA_VERSION: i16 = 1;

/// Whether the broker takes clients: it answers, and lists itself among the brokers that are
/// alive. A port that accepts says less: it opens before the broker has its metadata.
pub fn is_ready(address: &str) -> bool {
    brokers(address).is_ok_and(|count| count > 0)
}

/// How many brokers the one at `address` knows to be alive.
///
/// A request: length, API key, version, correlation id, client id (none), the list of topics
/// (empty). An answer: length, correlation id, then the list of brokers, which begins with its
/// length (<https://kafka.apache.org/protocol>).
fn brokers(address: &str) -> io::Result<i32> {
    let mut request = Vec::new();
    request.extend(METADATA.to_be_bytes());
    request.extend(METADATA_VERSION.to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    let length = i32::try_from(request.len()).map_err(io::Error::other)?;

    let mut stream = connect(address)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&request)?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let [.., a, b, c, d] = head;
    Ok(i32::from_be_bytes([a, b, c, d]))
}
