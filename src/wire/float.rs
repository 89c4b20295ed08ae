//! Numbers as Go reads and writes them: what is a valid value, and how `le` and `quantile` are put.

/// The longest number that `bytes` begins with, and its length. Go's `ParseFloat` without hex
/// digits and underscores; a number too large for 64 bits is none.
#[inline]
pub fn read(bytes: &[u8]) -> Option<(f64, usize)> {
    let signed = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    match bytes.get(signed)? {
        b'0'..=b'9' | b'.' => {
            let (value, length) = fast_float2::parse_partial::<f64, _>(bytes).ok()?;
            value.is_finite().then_some((value, length))
        }
        _ => read_special(bytes, signed),
    }
}

/// The whole of `text` as a number.
pub fn parse(text: &str) -> Option<f64> {
    let (value, length) = read(text.as_bytes())?;
    (length == text.len()).then_some(value)
}

/// The shortest decimal that reads as `value` again, as Go's format `g` puts it: with an exponent
/// of two digits below 1e-04 and from 1e+06.
pub fn shortest(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes the exponent as an integer");
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// As `le` and `quantile` are stored, however they were exposed: `1` is `1.0`.
pub fn canonical(value: f64) -> String {
    let mut text = shortest(value);
    if value.is_finite() && !text.contains(['e', '.']) {
        text.push_str(".0");
    }
    text
}

#[cold]
fn read_special(bytes: &[u8], signed: usize) -> Option<(f64, usize)> {
    let word = &bytes[signed..];
    let begins = |text: &str| {
        word.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()))
    };
    if begins("nan") && signed == 0 {
        return Some((f64::NAN, 3));
    }
    let length = if begins("infinity") {
        8
    } else if begins("inf") {
        3
    } else {
        return None;
    };
    let value = if bytes[0] == b'-' { f64::NEG_INFINITY } else { f64::INFINITY };
    Some((value, signed + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let check = |text: &str, expected: Option<f64>| {
            let found = parse(text);
            assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits), "{text}");
        };
        for (text, value) in [
            ("1", 1.0),
            ("+1", 1.0),
            ("-1.", -1.0),
            (".5", 0.5),
            ("-.5e-3", -0.0005),
            ("1E+06", 1e6),
            ("-0", -0.0),
            ("1e-400", 0.0),
            ("0e99999999999", 0.0),
            ("00000000000000000000000000000000001", 1.0),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            ("7.424100000000001e-05", 7.424_100_000_000_001e-5),
            ("179769313486231570814527423731704356798070e267", f64::MAX),
            ("Inf", f64::INFINITY),
            ("+infinity", f64::INFINITY),
            ("-iNF", f64::NEG_INFINITY),
            ("nan", f64::NAN),
            ("NaN", f64::NAN),
        ] {
            check(text, Some(value));
        }
        for text in [
            "", "+", "-", ".", "-.", "e5", "1e", "1e+", "1.2.3", "0x1p-3", "0x10", "1_2", "true",
            "+nan", "-NaN", "infi", "infinit", "nano", "1e400", "-1e999", "1 ", "--1", "+-1", "1f",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn writes_what_go_writes() {
        for (value, plain, label) in [
            (0.0, "0", "0.0"),
            (1.0, "1", "1.0"),
            (-1.0, "-1", "-1.0"),
            (0.25, "0.25", "0.25"),
            (1e-4, "0.0001", "0.0001"),
            (1e-5, "1e-05", "1e-05"),
            (123_456.0, "123456", "123456.0"),
            (1e6, "1e+06", "1e+06"),
            (10_000_000.0, "1e+07", "1e+07"),
            (277_779_100.0, "2.777791e+08", "2.777791e+08"),
            (1_234_567.0, "1.234567e+06", "1.234567e+06"),
            (1e100, "1e+100", "1e+100"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN"),
        ] {
            assert_eq!(shortest(value), plain);
            assert_eq!(canonical(value), label);
        }
    }
}
