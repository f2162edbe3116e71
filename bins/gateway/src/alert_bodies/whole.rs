use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A whole number as JSON has it: `5000.0` is one, too, as in JSON Schema. Past 2^53 only one
/// without a point or exponent is, for there a double may be another number than was meant.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Whole(pub(crate) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(WholeVisitor).map(Self)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
        let wrong = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
        i64::try_from(number).map_err(wrong)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<i64, E> {
        const MOST: f64 = (1_i64 << 53) as f64;
        if number.fract() == 0.0 && number.abs() <= MOST {
            return Ok(number as i64);
        }
        Err(E::invalid_type(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let read =
            |text: &str| serde_json::from_str::<Whole>(text).ok().map(|Whole(number)| number);
        assert_eq!(read("9223372036854775807"), Some(i64::MAX));
        assert_eq!(read("-3"), Some(-3));
        assert_eq!((read("5000.0"), read("5e3")), (Some(5_000), Some(5_000)));
        for bad in ["1.5", "9223372036854775808", "1e18", "1e999", "\"1\"", "null", "true", "[]"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
