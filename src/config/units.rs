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
            text += &format!("{}{unit}", left / factor);
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
            text += &format!("{}{unit}iB", left / factor);
            left %= factor;
        }
    }
    if left > 0 || text.is_empty() {
        text += &format!("{left}B");
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
