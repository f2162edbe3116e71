//! Parsers of settings. Each gives its value or a sentence that begins with `expected`; the
//! variable's name is added by `Settings`.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// How much of a user's value a sentence repeats.
const LONGEST_QUOTE: usize = 80;

fn expected<T>(what: &str, found: &str) -> Result<T, String> {
    let quoted: String = found.chars().take(LONGEST_QUOTE).collect();
    let more = if quoted.len() < found.len() { "…" } else { "" };
    Err(format!("expected {what}, found {quoted:?}{more}"))
}

/// Any text that is not empty.
///
/// # Errors
/// None: emptiness is found by `Settings` before a parser is asked.
pub fn text(value: &str) -> Result<String, String> {
    Ok(value.to_owned())
}

/// A TCP port to listen on.
///
/// # Errors
/// Says what a port is.
pub fn port(value: &str) -> Result<u16, String> {
    match plain_number::<u16>(value) {
        Some(port) if port > 0 => Ok(port),
        _ => expected("a port from 1 to 65535", value),
    }
}

/// An address to listen on: `127.0.0.1:9101`, `[::1]:9101` or `localhost:9101`. Port 0 takes any
/// that is free.
///
/// # Errors
/// Says what an address is.
pub fn socket_addr(value: &str) -> Result<SocketAddr, String> {
    if let Ok(addr) = value.parse() {
        return Ok(addr);
    }
    match value.strip_prefix("localhost:").and_then(plain_number) {
        Some(port) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        None => expected("an address and port to listen on, such as 127.0.0.1:9101", value),
    }
}

/// An interface to listen on: an IP address or `localhost`.
///
/// # Errors
/// Says what an interface is.
pub fn host(value: &str) -> Result<IpAddr, String> {
    match value {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        _ => value.parse().or_else(|_| {
            expected("an IP address to listen on, such as 127.0.0.1 or 0.0.0.0", value)
        }),
    }
}

/// Kafka's bootstrap list, `host:port` separated by commas, as librdkafka wants it: without spaces.
///
/// # Errors
/// Names the entry that is not `host:port`.
pub fn brokers(value: &str) -> Result<String, String> {
    let brokers: Vec<&str> = value.split(',').map(str::trim).collect();
    match brokers.iter().find(|broker| host_and_port(broker).is_none()) {
        Some(bad) => expected("host:port[,host:port…]", bad),
        None => Ok(brokers.join(",")),
    }
}

/// A Redis server: `host:port`, or a `redis://` URL. Of a cluster some nodes, separated by commas:
/// `host:port,host:port`, or a `redis-cluster://` URL, which one node is enough for.
///
/// # Errors
/// Says what is accepted; a URL is not repeated, for it may hold a password.
pub fn redis_addr(value: &str) -> Result<String, String> {
    const WHAT: &str = "host:port, or a redis:// URL; for a cluster host:port,host:port, or a \
                        redis-cluster:// URL";
    let is_node = |node: &str| host_and_port(node.trim()).is_some();
    let Some((scheme, rest)) = value.split_once("://") else {
        return match value.split(',').all(is_node) {
            true => Ok(value.to_owned()),
            false if value.contains('@') => Err(format!("expected {WHAT}")),
            false => expected(WHAT, value),
        };
    };
    let is_cluster = match scheme {
        "redis" => false,
        "redis-cluster" => true,
        "rediss" => return Err(format!("expected {WHAT}; TLS to Redis is not supported")),
        _ => return Err(format!("expected {WHAT}; the URL's scheme is another")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let is_right = if is_cluster {
        address.split(',').all(is_node)
    } else {
        // Redis has a default port, so a URL may leave it out.
        is_node(address) || is_node(&format!("{address}:6379"))
    };
    if is_right {
        Ok(value.to_owned())
    } else {
        Err(format!("expected {WHAT}; the URL's host or port is wrong"))
    }
}

/// Another program's address, to connect to: `localhost:50051`.
///
/// # Errors
/// Says what an address is.
pub fn address(value: &str) -> Result<String, String> {
    match host_and_port(value) {
        Some(_) => Ok(value.to_owned()),
        None => expected("host:port, such as localhost:50051", value),
    }
}

/// An OpenTelemetry collector that takes OTLP over gRPC: `http://localhost:4317`.
///
/// # Errors
/// Says what is accepted; a value with an `@` is not repeated, for it may hold a password.
pub(crate) fn collector(value: &str) -> Result<String, String> {
    const WHAT: &str = "http://host:port (OTLP over gRPC), such as http://localhost:4317";
    if value.contains('@') {
        return Err(format!("expected {WHAT}"));
    }
    if value.starts_with("https://") {
        return Err(format!("expected {WHAT}; TLS to a collector is not supported"));
    }
    let address = value.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    match address.and_then(host_and_port) {
        Some(_) => Ok(value.to_owned()),
        None => expected(WHAT, value),
    }
}

/// Origins of web pages, as browsers send them, separated by commas: `https://desk.example`, or `*`
/// for any.
///
/// # Errors
/// Names the entry that is no origin.
pub fn origins(value: &str) -> Result<Vec<String>, String> {
    let is_origin = |origin: &str| {
        let (scheme, rest) = origin.split_once("://").unwrap_or_default();
        let with_port =
            host_and_port(rest).is_some() || host_and_port(&format!("{rest}:1")).is_some();
        matches!(scheme, "http" | "https") && with_port
    };
    let origins: Vec<&str> = value.split(',').map(str::trim).collect();
    match origins.iter().find(|origin| **origin != "*" && !is_origin(origin)) {
        Some(bad) => {
            expected("* or origins such as https://desk.example, separated by commas", bad)
        }
        None => Ok(origins.into_iter().map(str::to_ascii_lowercase).collect()),
    }
}

/// A part of all: 0 is none, 1 is all.
///
/// # Errors
/// Says what is accepted.
pub(crate) fn ratio(value: &str) -> Result<f64, String> {
    match value.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => expected("a number from 0 to 1", value),
    }
}

/// Symbols separated by commas, spelled as given, without repetitions. Whether each is a symbol
/// that the feed knows is the feed's to say.
///
/// # Errors
/// Says that an entry is empty, over-long or has control characters.
pub fn symbols(value: &str) -> Result<Vec<String>, String> {
    let mut symbols: Vec<String> = Vec::new();
    for symbol in value.split(',').map(str::trim) {
        // The bound of `market::Symbol`.
        if symbol.is_empty() || symbol.len() > 64 || symbol.chars().any(char::is_control) {
            let what = "symbols separated by commas, each of 1 to 64 bytes, such as AAPL,MSFT";
            return expected(what, symbol);
        }
        if !symbols.iter().any(|known| known == symbol) {
            symbols.push(symbol.to_owned());
        }
    }
    Ok(symbols)
}

/// A length of time, in `ms`, `s`, `m` or `h`: `250ms`, `5s`, `1m`.
///
/// # Errors
/// Says how a duration is written.
pub fn duration(value: &str) -> Result<Duration, String> {
    let unit_at = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (count, unit) = value.split_at(unit_at);
    let milliseconds = match unit.trim_start() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    plain_number::<u64>(count)
        .zip(milliseconds)
        .and_then(|(count, unit)| count.checked_mul(unit))
        // A century: beyond it, sums with the clock overflow.
        .filter(|milliseconds| *milliseconds <= 3_155_760_000_000)
        .map_or_else(
            || expected("a duration such as 250ms, 5s or 1m", value),
            |milliseconds| Ok(Duration::from_millis(milliseconds)),
        )
}

/// A duration within `range`.
///
/// # Errors
/// Says how a duration is written, or what its bounds are.
pub fn duration_in(
    range: RangeInclusive<Duration>,
) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |value| match duration(value)? {
        duration if range.contains(&duration) => Ok(duration),
        _ => expected(&format!("from {:?} to {:?}", range.start(), range.end()), value),
    }
}

/// A whole number within `range`.
///
/// # Errors
/// Says what the range is.
pub fn number<T>(range: RangeInclusive<T>) -> impl FnOnce(&str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    move |value| match plain_number(value) {
        Some(number) if range.contains(&number) => Ok(number),
        _ => expected(&format!("a whole number from {} to {}", range.start(), range.end()), value),
    }
}

/// A topic's name by Kafka's rule (`org.apache.kafka.common.internals.Topic`).
///
/// # Errors
/// Says what the rule is.
pub fn topic(value: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if value.len() <= 249 && !matches!(value, "" | "." | "..") && value.chars().all(legal) {
        return Ok(value.to_owned());
    }
    expected("a topic name of 1 to 249 letters, digits, '.', '_' and '-'", value)
}

/// `info`, or `info,rdkafka=debug`: a level for all, and levels for what begins with a name.
pub(crate) fn log_filter(value: &str) -> Result<Targets, String> {
    // `Targets` takes a bare word for a target to be traced, which would silence all others: a
    // misspelt level must not do that.
    let known = value.split(',').all(|part| {
        let part = part.trim();
        part.contains('=') || (!part.is_empty() && part.parse::<LevelFilter>().is_ok())
    });
    match value.parse() {
        Ok(targets) if known => Ok(targets),
        _ => expected(
            "error, warn, info, debug, trace or off, and target=level pairs, separated by commas",
            value,
        ),
    }
}

/// Digits only: `FromStr` takes a `+` as well.
fn plain_number<T: FromStr>(value: &str) -> Option<T> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().ok()).flatten()
}

/// `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
fn host_and_port(value: &str) -> Option<(&str, u16)> {
    let (host, port) = value.rsplit_once(':')?;
    let port = plain_number::<u16>(port).filter(|port| *port > 0)?;
    let legal = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let legal = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
            !host.is_empty() && host.chars().all(legal)
        }
    };
    legal.then_some((host, port))
}
