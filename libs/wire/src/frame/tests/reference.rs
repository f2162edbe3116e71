//! The same rules over a `serde_json::Value`, without any cleverness.

use market::{Price, Symbol, Volume};
use serde_json::Value;

use super::super::*;

/// Symbol, price, volume, timestamp and conditions.
pub(super) type SaidTrade = (String, f64, f64, i64, Vec<String>);

/// What a frame says, with nothing borrowed.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Trades(Vec<SaidTrade>, Rejections),
    Ping,
    Error(String),
    Other(String),
}

pub(super) fn say(
    decoder: &mut FrameDecoder,
    frame: &[u8],
    now_ms: i64,
) -> Result<Said, FrameError> {
    Ok(match decoder.decode(frame, now_ms)? {
        Frame::Trades(trades) => {
            let rejected = *trades.rejected();
            let trades = trades.map(|trade| {
                let conditions = trade.conditions.map(String::from).collect();
                let (price, volume) = (trade.price.get(), trade.volume.get());
                (trade.symbol.to_owned(), price, volume, trade.timestamp, conditions)
            });
            Said::Trades(trades.collect(), rejected)
        }
        Frame::Ping => Said::Ping,
        Frame::Error { message } => Said::Error(message.to_owned()),
        Frame::Other { kind } => Said::Other(kind.to_owned()),
    })
}

/// Holds the decoder to the reference: both refuse the frame for the same reason, or both find
/// the same in it.
pub(super) fn check(decoder: &mut FrameDecoder, frame: &[u8], now_ms: i64) {
    let found = say(decoder, frame, now_ms).map_err(FrameError::as_str);
    if let Some(expected) = reference(frame, now_ms) {
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(frame));
    }
}

/// `None` where serde_json has no say: it refuses numbers beyond a double's range, which JSON
/// allows and which here cost one trade, not the frame.
fn reference(frame: &[u8], now_ms: i64) -> Option<Result<Said, &'static str>> {
    let Ok(frame) = std::str::from_utf8(frame) else { return Some(Err("not_utf8")) };
    let value: Value = match serde_json::from_str(frame) {
        Ok(value) => value,
        Err(error) if error.to_string().starts_with("number out of range") => return None,
        Err(error) if error.to_string().starts_with("recursion limit") => {
            return Some(Err("too_deep"));
        }
        Err(_) => return Some(Err("json")),
    };
    Some(frame_of(&value, now_ms))
}

fn frame_of(value: &Value, now_ms: i64) -> Result<Said, &'static str> {
    let object = value.as_object().ok_or("not_object")?;
    let kind = object.get("type").and_then(Value::as_str).ok_or("no_type")?;
    Ok(match kind {
        "trade" => {
            let data = object.get("data").and_then(Value::as_array).ok_or("no_data")?;
            let mut trades = vec![];
            let mut rejected = Rejections::default();
            for element in data {
                match trade_of(element, now_ms) {
                    Ok(trade) => trades.push(trade),
                    Err(reason) => rejected[reason as usize] += 1,
                }
            }
            Said::Trades(trades, rejected)
        }
        "ping" => Said::Ping,
        "error" => Said::Error(object.get("msg").and_then(Value::as_str).unwrap_or("").into()),
        kind => Said::Other(kind.into()),
    })
}

fn trade_of(element: &Value, now_ms: i64) -> Result<SaidTrade, TradeRejection> {
    let object = element.as_object().ok_or(TradeRejection::Shape)?;
    let conditions = conditions_of(object.get("c")).ok_or(TradeRejection::Shape)?;
    let symbol = object.get("s").and_then(Value::as_str).and_then(|text| Symbol::new(text).ok());
    let symbol = symbol.ok_or(TradeRejection::Symbol)?.to_string();
    let price = object.get("p").and_then(Value::as_f64).and_then(Price::new);
    let price = price.ok_or(TradeRejection::Price)?.get();
    let volume = match object.get("v") {
        None | Some(Value::Null) => Some(Volume::ZERO),
        Some(value) => value.as_f64().and_then(Volume::new),
    };
    let volume = volume.ok_or(TradeRejection::Volume)?.get();
    let timestamp = object.get("t").and_then(milliseconds_of).ok_or(TradeRejection::Timestamp)?;
    if timestamp > now_ms.saturating_add(60_000) {
        return Err(TradeRejection::TimestampAhead);
    }
    Ok((symbol, price, volume, timestamp, conditions))
}

fn milliseconds_of(value: &Value) -> Option<i64> {
    let integer = value.as_i64();
    let float = value.as_f64().filter(|value| value.fract() == 0.0);
    integer.or(float.map(|value| value as i64)).filter(|&time| time > 0)
}

fn conditions_of(value: Option<&Value>) -> Option<Vec<String>> {
    match value {
        None | Some(Value::Null) => Some(vec![]),
        Some(Value::Array(values)) if values.len() <= 32 => values
            .iter()
            .map(|value| value.as_str().filter(|text| text.len() <= 64).map(String::from))
            .collect(),
        Some(_) => None,
    }
}
