//! Numbers as a person reads them, and instants as a person types them.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{config::units::parse_duration, model::time::rfc3339};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// `350ms`, `1.2s`, `3m20s`, `5h02m`, `12d4h`: two figures that matter.
pub(super) fn seconds(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "spans of people, far below 2^63 seconds")]
    let whole = |value: f64| value as i64;
    let s = seconds.max(0.0);
    match s {
        s if s < 0.0005 => "0ms".to_owned(),
        s if s < 0.9995 => format!("{:.0}ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.1}s").replace(".0s", "s"),
        s if s < MINUTE => format!("{}s", whole(s)),
        s if s < HOUR => format!("{}m{:02}s", whole(s / MINUTE), whole(s % MINUTE)),
        s if s < DAY => format!("{}h{:02}m", whole(s / HOUR), whole(s % HOUR / MINUTE)),
        s => format!("{}d{:02}h", whole(s / DAY), whole(s % DAY / HOUR)),
    }
}

/// `512 B`, `1.5 KiB`, `12 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two figures of it are shown")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// `12.3`, and whole from a hundred on.
pub(super) fn rate(value: f64) -> String {
    if value < 99.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

pub(super) fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
}

/// `1 target`, `2 targets`.
pub(super) fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// How long before `now_ms` the instant `at` of an answer was; as it is where it is none.
pub(super) fn ago(at: &str, now_ms: i64) -> String {
    let Some(ms) = instant(at) else { return at.to_owned() };
    #[expect(clippy::cast_precision_loss, reason = "two figures of it are shown")]
    let span = |ms: i64| seconds(ms as f64 / 1000.0);
    match now_ms - ms {
        ahead @ ..=-1000 => format!("in {}", span(-ahead)),
        behind => format!("{} ago", span(behind)),
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn instant(text: &str) -> Option<i64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// An instant as typed: RFC 3339, or how long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum When {
    At(i64),
    Before(i64),
}

impl When {
    /// `2026-11-21T19:30:00Z`, `2026-11-21 19:30` (UTC), `now`, `10m`, `-10m`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "now" {
            return Ok(Self::Before(0));
        }
        if let Some(ms) = instant(&completed(text)) {
            return Ok(Self::At(ms));
        }
        let span = text.strip_prefix('-').unwrap_or(text);
        match parse_duration(span) {
            Ok(span) => Ok(Self::Before(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))),
            Err(_) => Err("expected an instant like `2026-11-21T19:30:00Z` or `2026-11-21 19:30` \
                           (UTC), or how long ago: `10m`, `-1h30m`, `now`"
                .to_owned()),
        }
    }

    /// As the API takes it.
    pub(super) fn rfc3339(&self, now_ms: i64) -> String {
        rfc3339(match self {
            Self::At(ms) => *ms,
            Self::Before(span_ms) => now_ms.saturating_sub(*span_ms),
        })
    }
}

/// What people leave out of RFC 3339: the seconds, the `Z`, the time of the day.
fn completed(text: &str) -> String {
    let text = text.replacen(' ', "T", 1);
    match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        17 if text.ends_with('Z') => format!("{}:00Z", &text[..16]),
        19 => format!("{text}Z"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let check = |value, expected: &str| assert_eq!(seconds(value), expected);
        check(0.0, "0ms");
        check(0.35, "350ms");
        check(1.24, "1.2s");
        check(5.0, "5s");
        check(59.9, "59s");
        check(200.0, "3m20s");
        check(18_120.0, "5h02m");
        check(1_051_200.0, "12d04h");
        let check = |value, expected: &str| assert_eq!(bytes(value), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1536, "1.5 KiB");
        check(12 << 20, "12 MiB");
        check((1 << 20) - 1, "1.0 MiB");
        check(u64::MAX, "16 EiB");
    }

    #[test]
    fn instants_are_typed_in_many_ways() {
        let noon = 1_795_262_400_000;
        assert_eq!(rfc3339(noon), "2026-11-21T12:00:00.000Z");
        let check = |text: &str, expected| {
            assert_eq!(When::parse(text).map(|when| when.rfc3339(noon)), Ok(rfc3339(expected)));
        };
        check("2026-11-21T12:00:00Z", noon);
        check("2026-11-21T13:00:00+01:00", noon);
        check("2026-11-21T12:00:00.000Z", noon);
        check("2026-11-21 12:00", noon);
        check("2026-11-21T12:00Z", noon);
        check("2026-11-21 12:00:01", noon + 1000);
        check("2026-11-21", noon - 43_200_000);
        check("now", noon);
        check("10m", noon - 600_000);
        check("-1h30m", noon - 5_400_000);
        for text in ["", "yesterday", "10", "2026-13-01", "-", "é026-11-21 12:00Z"] {
            let fault = When::parse(text).expect_err(text);
            assert!(fault.contains("expected an instant"), "{fault}");
        }
    }

    #[test]
    fn ages_look_both_ways() {
        let check = |at: &str, expected: &str| assert_eq!(ago(at, 1_795_262_400_000), expected);
        check("2026-11-21T11:58:00.000Z", "2m00s ago");
        check("2026-11-21T12:00:02.500Z", "in 2.5s");
        check("2026-11-21T12:00:00.300Z", "0ms ago");
        check("soon", "soon");
    }
}
