//! Durations and sizes as Prometheus reads and prints them.

use std::time::Duration;

/// Largest first, as they must come in a text. A year has 365 days. `true`: printed only where
/// nothing is left over (`1w`, but `10d`, not `1w3d`).
const DURATION_UNITS: [(&str, u64, bool); 7] = [
    ("y", 365 * 24 * 3_600_000, true),
    ("w", 7 * 24 * 3_600_000, true),
    ("d", 24 * 3_600_000, false),
    ("h", 3_600_000, false),
    ("m", 60_000, false),
    ("s", 1_000, false),
    ("ms", 1, false),
];

/// What Go's 64 bits of nanoseconds hold: 292 years.
const DURATION_MS_MAX: u64 = (i64::MAX / 1_000_000).unsigned_abs();

const SIZE_UNITS: [(&str, u64); 6] = [
    ("E", 1 << 60),
    ("P", 1 << 50),
    ("T", 1 << 40),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
];

/// `1h30m`, `15s`, `0`: each unit once, in order.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err("empty duration string".into());
    }
    let invalid = || format!("not a valid duration string: {text:?}");
    let too_long = || "duration out of range".to_owned();
    let mut total: u64 = 0;
    let mut units = DURATION_UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| c.is_ascii_digit());
        if digits.is_empty() {
            return Err(invalid());
        }
        if !unit.is_empty() && !DURATION_UNITS.iter().any(|(name, ..)| *name == unit) {
            return Err(format!("unknown unit {unit:?} in duration {text:?}"));
        }
        let (_, factor, _) = units.find(|(name, ..)| *name == unit).ok_or_else(invalid)?;
        let count: u64 = digits.parse().map_err(|_| too_long())?;
        total = count
            .checked_mul(*factor)
            .and_then(|milliseconds| total.checked_add(milliseconds))
            .filter(|total| *total <= DURATION_MS_MAX)
            .ok_or_else(too_long)?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// As Prometheus prints it; what is below a millisecond is cut off.
pub fn print_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, factor, exact) in DURATION_UNITS {
        if left >= factor && (!exact || left.is_multiple_of(factor)) {
            text += &(left / factor).to_string();
            text += unit;
            left %= factor;
        }
    }
    text
}

/// `15MB` and `15MiB` are both 15 × 1024² bytes; `1.5GB` and `1GB512MB` are fine; a bare number is
/// none, but `0` is.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() || text.starts_with(['-', '+']) {
        return Err(format!("units: invalid {text}"));
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_where(after, |c| c.is_ascii_digit() || c == '.');
        if !digits.contains(|c: char| c.is_ascii_digit()) {
            return Err(format!("units: invalid {text}"));
        }
        let factor =
            size_unit(unit).ok_or_else(|| format!("units: unknown unit {unit} in {text}"))?;
        let out_of_range = || format!("units: {text} is out of range");
        let bytes = times(digits, factor).ok_or_else(out_of_range)?;
        total = total.checked_add(bytes).filter(|&t| t <= 1 << 63).ok_or_else(out_of_range)?;
        rest = after;
    }
    Ok(total)
}

/// As Prometheus prints it: `15MiB`, `1GiB512MiB`, `100B`.
pub fn print_bytes(bytes: u64) -> String {
    let mut left = bytes;
    let mut text = String::new();
    for (unit, factor) in SIZE_UNITS {
        if left >= factor {
            text += &(left / factor).to_string();
            text += unit;
            text += "iB";
            left %= factor;
        }
    }
    if left > 0 || text.is_empty() {
        text += &left.to_string();
        text.push('B');
    }
    text
}

fn size_unit(unit: &str) -> Option<u64> {
    if unit == "B" {
        return Some(1);
    }
    let letter = unit.strip_suffix("iB").or_else(|| unit.strip_suffix('B'))?;
    SIZE_UNITS.iter().find(|(name, _)| *name == letter).map(|(_, factor)| *factor)
}

/// `digits` with at most one dot, times `factor`; what is below a byte is cut off.
fn times(digits: &str, factor: u64) -> Option<u64> {
    /// More digits than these change no byte.
    const FRACTION_DIGITS_MAX: usize = 18;

    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS_MAX)];
    let scale = 10u128.pow(u32::try_from(fraction.len()).expect("at most 18"));
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = u64::try_from(part * u128::from(factor) / scale).expect("less than the factor");
    whole.checked_mul(factor)?.checked_add(part)
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_prometheus_own() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("1h30m", Ok(5_400_000)),
            ("1y2w3d4h5m6s7ms", Ok(33_019_506_007)),
            ("100ms", Ok(100)),
            ("", Err("empty duration string")),
            ("1m1h", Err("not a valid duration string: \"1m1h\"")),
            ("1s1s", Err("not a valid duration string: \"1s1s\"")),
            ("-1h", Err("not a valid duration string: \"-1h\"")),
            ("1.5h", Err("unknown unit \".\" in duration \"1.5h\"")),
            ("1x", Err("unknown unit \"x\" in duration \"1x\"")),
            ("10", Err("not a valid duration string: \"10\"")),
            ("300y", Err("duration out of range")),
            ("99999999999999999999s", Err("duration out of range")),
        ] {
            let expected = expected.map(Duration::from_millis).map_err(str::to_owned);
            assert_eq!(parse_duration(text), expected, "{text}");
        }
        for (milliseconds, expected) in [
            (0, "0s"),
            (60_000, "1m"),
            (5_400_000, "1h30m"),
            (7 * 86_400_000, "1w"),
            (10 * 86_400_000, "10d"),
            (365 * 86_400_000, "1y"),
            (1_500, "1s500ms"),
        ] {
            assert_eq!(print_duration(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn sizes_are_prometheus_own() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("100B", Ok(100)),
            ("15MB", Ok(15 << 20)),
            ("15MiB", Ok(15 << 20)),
            ("1.5GiB", Ok(3 << 29)),
            ("1GiB512MiB", Ok(3 << 29)),
            (".5KB", Ok(512)),
            ("100", Err("units: unknown unit  in 100")),
            ("1XB", Err("units: unknown unit XB in 1XB")),
            ("1kb", Err("units: unknown unit kb in 1kb")),
            ("MB", Err("units: invalid MB")),
            ("-1MB", Err("units: invalid -1MB")),
            ("", Err("units: invalid ")),
            ("9EB", Err("units: 9EB is out of range")),
            ("1.2.3MB", Err("units: 1.2.3MB is out of range")),
        ] {
            assert_eq!(parse_bytes(text), expected.map_err(str::to_owned), "{text}");
        }
        for (bytes, expected) in
            [(0, "0B"), (15 << 20, "15MiB"), (3 << 29, "1GiB512MiB"), (1025, "1KiB1B")]
        {
            assert_eq!(print_bytes(bytes), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn durations_and_sizes_print_as_they_read(milliseconds in 0..9_000_000_000_000_u64, bytes: u64) {
            let duration = Duration::from_millis(milliseconds);
            proptest::prop_assert_eq!(parse_duration(&print_duration(duration)), Ok(duration));
            let bytes = bytes >> 1;
            proptest::prop_assert_eq!(parse_bytes(&print_bytes(bytes)), Ok(bytes));
        }
    }
}
