/// Appends `number` in decimal.
pub(crate) fn push_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `units` of 10^-`decimals`: 12345 with two decimals is `123.45`.
pub(crate) fn push_decimal(out: &mut Vec<u8>, units: u64, decimals: u32) {
    let scale = 10_u64.pow(decimals);
    push_u64(out, units / scale);
    if decimals > 0 {
        out.push(b'.');
        let mut rest = units % scale;
        let start = out.len();
        out.resize(start + decimals as usize, b'0');
        for digit in out[start..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(units: u64, decimals: u32, expected: &str) {
        let mut out = Vec::new();
        push_decimal(&mut out, units, decimals);
        assert_eq!(out, expected.as_bytes());
    }

    #[test]
    fn decimals_are_written_out() {
        check(12_345, 2, "123.45");
        check(5, 2, "0.05");
        check(0, 0, "0");
        check(100, 2, "1.00");
        check(u64::MAX, 0, "18446744073709551615");
        check(263, 6, "0.000263");
    }
}
