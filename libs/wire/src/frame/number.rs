/// A JSON number: its nearest double, and its value where it is written as an integer of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    /// Infinite where the number is too large for a double.
    pub(super) value: f64,
    pub(super) integer: Option<i64>,
}

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// As many decimal digits as a `u64` holds, whatever they are.
const EXACT_DIGITS: usize = 19;

/// Reads the value of the number that `text` has at `start`; `None` where there is none.
///
/// Gives the value and where the number ends. What may follow it is the caller's to check.
#[inline(always)]
pub(super) fn read_value(text: &str, start: usize) -> Option<(f64, usize)> {
    if let Some(found) = short_value(text.as_bytes(), start) {
        return Some(found);
    }
    read(text, start).map(|(number, end)| (number.value, end))
}

/// As [`read`], for what is an integer mostly.
#[inline(always)]
pub(super) fn read_integer(text: &str, start: usize) -> Option<(Number, usize)> {
    if let Some((integer, end)) = short_integer(text.as_bytes(), start) {
        return Some((Number { value: integer as f64, integer: Some(integer) }, end));
    }
    read(text, start)
}

/// A price or a volume as feeds write them: up to seven digits, and up to seven after a point. All
/// of it is in sixteen bytes, and no loop goes over it.
#[inline(always)]
pub(super) fn short_value(bytes: &[u8], start: usize) -> Option<(f64, usize)> {
    let near = bytes.get(start..)?.first_chunk::<16>()?;
    let word = u128::from_le_bytes(*near);
    let (whole, count) = leading_digits(word as u64);
    if count == 0 || count == 8 || (count > 1 && near[0] == b'0') {
        return None;
    }
    let next = near[count];
    if next != b'.' {
        return (next | 0x20 != b'e').then_some((whole as f64, start + count));
    }
    let (fraction, places) = leading_digits((word >> (8 * (count + 1))) as u64);
    if places == 0 || places == 8 {
        return None;
    }
    let length = count + 1 + places;
    let mantissa = whole * SHIFTS[places] + fraction;
    (near[length] | 0x20 != b'e').then_some((mantissa as f64 / POWERS[places], start + length))
}

/// An integer of up to fifteen digits.
#[inline(always)]
pub(super) fn short_integer(bytes: &[u8], start: usize) -> Option<(i64, usize)> {
    let near = bytes.get(start..)?.first_chunk::<16>()?;
    let word = u128::from_le_bytes(*near);
    let (mut value, mut count) = leading_digits(word as u64);
    if count == 8 {
        let (more, further) = leading_digits((word >> 64) as u64);
        value = value * SHIFTS[further] + more;
        count += further;
    }
    let is_one = count > 0 && count < 16 && (count == 1 || near[0] != b'0');
    let is_whole = || near[count] != b'.' && near[count] | 0x20 != b'e';
    (is_one && is_whole()).then_some((value.cast_signed(), start + count))
}

/// Reads the number that `text` has at `start`; `None` where there is none.
///
/// Gives the number and where it ends. What may follow it is the caller's to check.
///
/// The value is exact where mantissa and power of ten are exact doubles, since one operation on
/// them rounds once (Clinger, "How to read floating point numbers accurately", 1990); feeds write
/// hardly anything else. The standard library reads the rest.
#[inline(never)]
pub(super) fn read(text: &str, start: usize) -> Option<(Number, usize)> {
    let bytes = text.as_bytes();
    let negative = bytes.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let (mut mantissa, mut end) = digits(bytes, first, 0);
    // A number has a digit, and a zero in front only where it is the only one.
    if end == first || (end > first + 1 && bytes[first] == b'0') {
        return None;
    }
    let mut length = end - first;
    let mut exponent = 0_i32;
    let mut integral = true;
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        (mantissa, end) = digits(bytes, fraction, mantissa);
        if end == fraction {
            return None;
        }
        length += end - fraction;
        exponent = -i32::try_from(end - fraction).unwrap_or(i32::MAX);
        integral = false;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let (power, power_end) = read_exponent(bytes, end + 1)?;
        exponent = exponent.saturating_add(power);
        end = power_end;
        integral = false;
    }
    let exact = length <= EXACT_DIGITS;
    let value = match POWERS.get(exponent.unsigned_abs() as usize) {
        Some(&power) if exact && mantissa <= 1 << f64::MANTISSA_DIGITS => {
            let mantissa = mantissa as f64;
            let value = if exponent < 0 { mantissa / power } else { mantissa * power };
            if negative { -value } else { value }
        }
        _ => text[start..end].parse().ok()?,
    };
    let integer = if integral && exact {
        i64::try_from(mantissa).ok().map(|value| if negative { -value } else { value })
    } else {
        None
    };
    Some((Number { value, integer }, end))
}

/// Reads digits from `at` on, behind those that `value` has already. The value is right while
/// there are no more than [`EXACT_DIGITS`] in all.
///
/// Takes up to eight at a time without a branch on how many there are: lengths vary from number
/// to number, and a processor cannot guess them.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let (digits, count) = leading_digits(u64::from_le_bytes(*eight));
        value = value.wrapping_mul(SHIFTS[count]).wrapping_add(digits);
        at += count;
        if count < 8 {
            return (value, at);
        }
    }
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    (value, at)
}

/// By how much digits move to make room for up to eight more.
const SHIFTS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number that a word's leading digits spell, its first character in the lowest byte, and how
/// many they are.
///
/// The sums of neighbours are those of `parse_eight_digits_unrolled` in Daniel Lemire's
/// fast_float.
#[inline]
fn leading_digits(word: u64) -> (u64, usize) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    // Digits become 0 to 9. What is more gets its high bit set; a carry reaches only bytes behind
    // the first such one.
    let values = word ^ (ONES * 0x30);
    let others = (values | values.wrapping_add(ONES * 0x76)) & (ONES << 7);
    let bits = others.trailing_zeros() & !7;
    // Zeros move in from the front in place of what follows the digits. Twice, since a shift by
    // 64 is none.
    let values = values << ((64 - bits) / 2) << ((64 - bits) / 2);
    let tens = values.wrapping_mul(10).wrapping_add(values >> 8);
    let upper = (tens & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let lower = (tens >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    (upper.wrapping_add(lower) >> 32, bits as usize / 8)
}

/// A signed power of ten, saturated where it is far out of a double's range.
fn read_exponent(bytes: &[u8], start: usize) -> Option<(i32, usize)> {
    let signed = matches!(bytes.get(start), Some(b'+' | b'-'));
    let first = start + usize::from(signed);
    let mut at = first;
    let mut power = 0_i32;
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        power = power.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
        at += 1;
    }
    let power = if bytes.get(start) == Some(&b'-') { -power } else { power };
    (at > first).then_some((power, at))
}
