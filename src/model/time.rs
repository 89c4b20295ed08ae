//! Instants as people and APIs write them.

use time::OffsetDateTime;

/// What Go prints for a time that was never set; readers of Prometheus' API know it as "never".
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// `2026-11-21T10:03:00.123Z`. What lies beyond the year 9999 is `NEVER`: it can only be a mistake.
pub fn rfc3339(ms: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000) else {
        return NEVER.to_owned();
    };
    let (hour, minute, second, milli) = at.to_hms_milli();
    format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_with_milliseconds() {
        let check = |ms, expected: &str| assert_eq!(rfc3339(ms), expected);
        check(0, "1970-01-01T00:00:00.000Z");
        check(1_700_000_000_123, "2023-11-14T22:13:20.123Z");
        check(-1, "1969-12-31T23:59:59.999Z");
        check(i64::MAX, NEVER);
    }
}
