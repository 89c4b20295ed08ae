//! What an answer means for the bytes it answers: pure rules from a status to what becomes of the
//! batch. Between `sender`, which brings the answer, and `lane`, which obeys the verdict.

/// A longer `Retry-After` is taken for a mistake and cut to this.
pub(super) const RETRY_AFTER_MS_MAX: i64 = 3_600_000;

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Status {
        code: u16,
        /// The header, as sent.
        retry_after: Option<String>,
        /// The beginning of the body, for a person.
        text: String,
    },
    /// The request may have arrived.
    Timeout,
    /// No connection was made: nothing has arrived.
    Unreachable(String),
    /// The connection broke: the request may have arrived.
    Broken(String),
    /// The request could not be made: credentials or certificates that can't be read.
    Unready(String),
}

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stored,
    /// The same bytes again, after `wait_ms` or else the lane's own backoff.
    Retry {
        wait_ms: Option<i64>,
        /// Nobody knows whether they were stored.
        maybe_stored: bool,
    },
    /// In smaller pieces.
    TooLarge,
    /// Something within is bad: find it.
    Rejected,
    /// The destination refuses whoever asks, not what is sent: keep all, ask again slowly.
    Hold,
    /// Not to be had with these bytes, and not to be narrowed down: they are given up.
    Refused,
}

/// 429 is retried although Prometheus by default drops it: it asks for patience, not for loss.
/// 408 is a timeout that a proxy has told us of. What holds tells of the account, the address or
/// the way, not of these samples: the next would fare the same.
pub(super) fn judge(answer: &Answer, now_ms: i64) -> Verdict {
    let (code, retry_after) = match answer {
        Answer::Status { code, retry_after, .. } => (*code, retry_after.as_deref()),
        Answer::Timeout | Answer::Broken(_) => {
            return Verdict::Retry { wait_ms: None, maybe_stored: true };
        }
        Answer::Unreachable(_) => return Verdict::Retry { wait_ms: None, maybe_stored: false },
        Answer::Unready(_) => return Verdict::Hold,
    };
    let wait_ms = retry_after.and_then(|text| retry_after_ms(text, now_ms));
    match code {
        200..=299 => Verdict::Stored,
        429 => Verdict::Retry { wait_ms, maybe_stored: false },
        408 | 500..=599 => Verdict::Retry { wait_ms, maybe_stored: true },
        413 => Verdict::TooLarge,
        400 | 409 | 422 => Verdict::Rejected,
        401..=405 | 407 | 410 | 415 | 421 | 451 => Verdict::Hold,
        _ => Verdict::Refused,
    }
}

impl Answer {
    /// The label `code` of a metric.
    pub(super) fn code(&self) -> String {
        match self {
            Self::Status { code, .. } => code.to_string(),
            Self::Timeout => "timeout".to_owned(),
            Self::Unreachable(_) => "unreachable".to_owned(),
            Self::Broken(_) => "broken".to_owned(),
            Self::Unready(_) => "unready".to_owned(),
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { code, text, .. } if text.is_empty() => write!(f, "HTTP status {code}"),
            Self::Status { code, text, .. } => write!(f, "HTTP status {code}: {text}"),
            Self::Timeout => f.write_str("no answer within the timeout"),
            Self::Unreachable(reason) | Self::Broken(reason) | Self::Unready(reason) => {
                f.write_str(reason)
            }
        }
    }
}

/// `Retry-After` is seconds or an HTTP date. `None` where it says nothing: unreadable, or past.
fn retry_after_ms(text: &str, now_ms: i64) -> Option<i64> {
    let text = text.trim();
    let wait_ms = if let Ok(seconds) = text.parse::<u32>() {
        i64::from(seconds) * 1000
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        let since_epoch = at.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since_epoch.as_millis()).ok()?.saturating_sub(now_ms)
    };
    (wait_ms > 0).then(|| wait_ms.min(RETRY_AFTER_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 10:00:00 UTC.
    const NOW_MS: i64 = 1_795_255_200_000;

    fn status(code: u16, retry_after: &str) -> Verdict {
        let retry_after = (!retry_after.is_empty()).then(|| retry_after.to_owned());
        judge(&Answer::Status { code, retry_after, text: String::new() }, NOW_MS)
    }

    #[test]
    fn every_status_has_its_verdict() {
        let retry = |maybe_stored| Verdict::Retry { wait_ms: None, maybe_stored };
        let cases: &[(&[u16], Verdict)] = &[
            (&[200, 202, 204, 299], Verdict::Stored),
            (&[500, 502, 503, 504, 599, 408], retry(true)),
            (&[429], retry(false)),
            (&[413], Verdict::TooLarge),
            (&[400, 409, 422], Verdict::Rejected),
            (&[401, 402, 403, 404, 405, 407, 410, 415, 421, 451], Verdict::Hold),
            (&[300, 301, 304, 307, 406, 411, 418, 431, 600, 101], Verdict::Refused),
        ];
        for (codes, expected) in cases {
            for code in *codes {
                assert_eq!(status(*code, ""), *expected, "{code}");
            }
        }
    }

    #[test]
    fn without_a_status_the_outcome_is_known_only_if_nothing_left() {
        let text = || "x".to_owned();
        let cases = [
            (Answer::Timeout, Verdict::Retry { wait_ms: None, maybe_stored: true }),
            (Answer::Broken(text()), Verdict::Retry { wait_ms: None, maybe_stored: true }),
            (Answer::Unreachable(text()), Verdict::Retry { wait_ms: None, maybe_stored: false }),
            (Answer::Unready(text()), Verdict::Hold),
        ];
        for (answer, expected) in cases {
            assert_eq!(judge(&answer, NOW_MS), expected, "{answer:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let cases = [
            ("5", Some(5000)),
            (" 5 ", Some(5000)),
            ("0", None),
            ("-3", None),
            ("1.5", None),
            ("soon", None),
            ("99999999999", None),
            ("100000", Some(RETRY_AFTER_MS_MAX)),
            ("Sat, 21 Nov 2026 10:00:07 GMT", Some(7000)),
            ("Sat, 21 Nov 2026 09:59:00 GMT", None),
            ("Mon, 02 Jan 2006 15:04:05 MST", None),
        ];
        for (text, expected) in cases {
            for (code, maybe_stored) in [(503, true), (429, false)] {
                let expected = Verdict::Retry { wait_ms: expected, maybe_stored };
                assert_eq!(status(code, text), expected, "{code} with `{text}`");
            }
        }
    }
}
