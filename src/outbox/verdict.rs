//! What an answer means for the bytes it answers: pure rules from a status to what becomes of the
//! batch. Between `sender`, which brings the answer, and `lane`, which obeys the verdict.

use crate::{
    config::WriteMessage,
    outbox::{
        dialect::{Packing, Sent},
        loss::Reason,
    },
    wire::remote_write::Counts,
};

/// A longer `Retry-After` is taken for a mistake and cut to this.
pub const RETRY_AFTER_MS_MAX: i64 = 3_600_000;

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Status(Reply),
    /// Nothing of it can be said in the version that the destination speaks: no request was made.
    Unsaid,
    /// The request may have arrived.
    Timeout,
    /// No connection was made: nothing has arrived.
    Unreachable(String),
    /// The connection broke: the request may have arrived.
    Broken(String),
    /// The request could not be made: credentials or certificates that can't be read.
    Unready(String),
}

/// What the destination said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// The header, as sent.
    pub retry_after: Option<String>,
    /// The beginning of the body, for a person.
    pub text: String,
    /// `None` where it does not say: then it is no receiver of 2.0.
    pub written: Option<Written>,
    pub is_victoria_metrics: bool,
    /// A gateway that has sent some of it on to other members.
    pub has_forwarded: bool,
}

/// The headers `X-Prometheus-Remote-Write-*-Written`: how much of each kind was stored. What is not
/// said is 0; what can't be read is taken for all there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub samples: u64,
    pub histograms: u64,
}

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Stored,
    /// Stored, but for some of the samples, which are gone.
    StoredPartly {
        /// The destination did not take them, and said so.
        refused: u32,
        /// They were not in the request, as it had no way to say them.
        unsendable: u32,
    },
    /// At once in another form: the destination did not understand this one.
    OtherForm {
        maybe_stored: bool,
    },
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

impl Verdict {
    /// It is about some of the samples, and does not say which.
    pub(super) fn is_of_some(self) -> bool {
        match self {
            Self::TooLarge | Self::Rejected | Self::Refused => true,
            Self::Stored
            | Self::StoredPartly { .. }
            | Self::OtherForm { .. }
            | Self::Retry { .. }
            | Self::Hold => false,
        }
    }

    /// What it says of the others, when so many samples of some are counted as lost by it.
    pub(super) fn of_the_rest(self, lost: &[(Reason, u32)]) -> Self {
        let Self::StoredPartly { refused, unsendable } = self else { return self };
        let counted = |reason: Reason| -> u32 {
            lost.iter().filter(|(other, _)| *other == reason).map(|(_, samples)| samples).sum()
        };
        Self::StoredPartly {
            refused: refused.saturating_sub(counted(Reason::NotWritten)),
            unsendable: unsendable.saturating_sub(counted(Reason::Unsendable)),
        }
    }
}

/// 429 is retried although Prometheus by default drops it: it asks for patience, not for loss.
/// 408 is a timeout that a proxy has told us of. What holds tells of the account, the address or
/// the way, not of these samples: the next would fare the same.
pub fn judge(answer: &Answer, sent: &Sent, now_ms: i64) -> Verdict {
    let reply = match answer {
        Answer::Status(reply) => reply,
        Answer::Unsaid => return stored(&sent.counts, 0),
        Answer::Timeout | Answer::Broken(_) => {
            return Verdict::Retry { wait_ms: None, maybe_stored: true };
        }
        Answer::Unreachable(_) => return Verdict::Retry { wait_ms: None, maybe_stored: false },
        Answer::Unready(_) => return Verdict::Hold,
    };
    if let Some(verdict) = judge_form(reply, sent) {
        return verdict;
    }
    let retry_after = reply.retry_after.as_deref();
    let wait_ms = retry_after.and_then(|text| retry_after_ms(text, now_ms));
    match reply.code {
        200..=299 => stored(&sent.counts, 0),
        429 => Verdict::Retry { wait_ms, maybe_stored: false },
        408 | 500..=599 => Verdict::Retry { wait_ms, maybe_stored: true },
        413 => Verdict::TooLarge,
        400 | 409 | 422 => Verdict::Rejected,
        401..=405 | 407 | 410 | 415 | 421 | 451 => Verdict::Hold,
        _ => Verdict::Refused,
    }
}

/// What an answer means only because of the form of the request.
fn judge_form(reply: &Reply, sent: &Sent) -> Option<Verdict> {
    let is_success = (200..300).contains(&reply.code);
    match (sent.form.message, sent.form.packing) {
        (WriteMessage::V2, _) => match reply.written {
            // One of 1.0 that does not look at what it is sent: it has read an empty request.
            None if is_success => Some(Verdict::OtherForm { maybe_stored: true }),
            // It has told the good from the bad itself.
            Some(written) if is_success || matches!(reply.code, 400 | 409 | 422) => {
                let refused = written.missing_of(&sent.counts);
                let is_known = is_success || refused < sent.counts.samples + sent.counts.histograms;
                is_known.then(|| stored(&sent.counts, refused))
            }
            Some(_) | None => {
                (reply.code == 415).then_some(Verdict::OtherForm { maybe_stored: false })
            }
        },
        // Which of the two it is that it takes offence at, the next answer shows.
        (WriteMessage::V1, Packing::Zstd) => {
            matches!(reply.code, 400 | 415).then_some(Verdict::OtherForm { maybe_stored: false })
        }
        (WriteMessage::V1, Packing::Snappy) => None,
    }
}

fn stored(counts: &Counts, refused: u32) -> Verdict {
    match counts.unsendable {
        0 if refused == 0 => Verdict::Stored,
        unsendable => Verdict::StoredPartly { refused, unsendable },
    }
}

impl Written {
    /// From the values of the headers for samples, histograms and exemplars.
    pub fn read(headers: [Option<&str>; 3]) -> Option<Self> {
        headers.iter().any(Option::is_some).then(|| {
            let [samples, histograms, _] = headers
                .map(|header| header.map_or(0, |text| text.trim().parse().unwrap_or(u64::MAX)));
            Self { samples, histograms }
        })
    }

    fn missing_of(self, counts: &Counts) -> u32 {
        let missing = |sent: u32, written: u64| {
            u32::try_from(u64::from(sent).saturating_sub(written)).expect("no more than was sent")
        };
        missing(counts.samples, self.samples) + missing(counts.histograms, self.histograms)
    }
}

impl Reply {
    #[cfg(test)]
    pub fn of(code: u16) -> Self {
        Self { code, ..Self::default() }
    }
}

impl Answer {
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Status(reply) if (200..300).contains(&reply.code))
    }

    /// `VictoriaMetrics` and its agent say in each answer which host gave it.
    pub fn is_of_victoria_metrics(&self) -> bool {
        matches!(self, Self::Status(reply) if reply.is_victoria_metrics)
    }

    /// The label `code` of a metric.
    pub fn code(&self) -> String {
        match self {
            Self::Status(reply) => reply.code.to_string(),
            Self::Unsaid => "unsaid".to_owned(),
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
            Self::Status(Reply { code, text, .. }) if text.is_empty() => {
                write!(f, "HTTP status {code}")
            }
            Self::Status(Reply { code, text, .. }) => write!(f, "HTTP status {code}: {text}"),
            Self::Unsaid => f.write_str("remote write 1.0 has no way to say these samples"),
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
    use crate::outbox::dialect::Form;

    /// 2026-11-21 10:00:00 UTC.
    const NOW_MS: i64 = 1_795_255_200_000;

    fn status(code: u16, retry_after: &str) -> Verdict {
        let retry_after = (!retry_after.is_empty()).then(|| retry_after.to_owned());
        judge(&Answer::Status(Reply { retry_after, ..Reply::of(code) }), &Sent::default(), NOW_MS)
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
            assert_eq!(judge(&answer, &Sent::default(), NOW_MS), expected, "{answer:?}");
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

    /// Ten samples and two histograms, of which `written` says how many are stored.
    #[track_caller]
    fn check(
        form: (WriteMessage, Packing),
        code: u16,
        written: [&'static str; 2],
        expected: Verdict,
    ) {
        let (message, packing) = form;
        let form = Form { message, packing, ..Form::default() };
        let counts = Counts { samples: 10, histograms: 2, ..Counts::default() };
        let header = |text: &'static str| (!text.is_empty()).then_some(text);
        let written = Written::read([header(written[0]), header(written[1]), None]);
        let answer = Answer::Status(Reply { written, ..Reply::of(code) });
        assert_eq!(judge(&answer, &Sent { form, counts }, NOW_MS), expected, "{code} {written:?}");
    }

    #[test]
    fn an_answer_to_2_0_tells_what_was_written() {
        let v2 = (WriteMessage::V2, Packing::Snappy);
        let partly = |refused| Verdict::StoredPartly { refused, unsendable: 0 };
        check(v2, 204, ["10", "2"], Verdict::Stored);
        check(v2, 204, ["100", " 2 "], Verdict::Stored);
        check(v2, 200, ["7", "1"], partly(4));
        check(v2, 200, ["0", "0"], partly(12));
        check(v2, 200, ["10", ""], partly(2));
        check(v2, 200, ["a lot", "-2"], Verdict::Stored);
        check(v2, 200, ["", ""], Verdict::OtherForm { maybe_stored: true });
        check(v2, 400, ["9", "2"], partly(1));
        check(v2, 400, ["0", "0"], Verdict::Rejected);
        check(v2, 400, ["", ""], Verdict::Rejected);
        check(v2, 415, ["", ""], Verdict::OtherForm { maybe_stored: false });
        check(v2, 415, ["0", "0"], Verdict::OtherForm { maybe_stored: false });
        check(v2, 500, ["10", "2"], Verdict::Retry { wait_ms: None, maybe_stored: true });
        check(v2, 413, ["0", "0"], Verdict::TooLarge);
    }

    #[test]
    fn to_1_0_these_headers_say_nothing() {
        let (snappy, zstd) =
            ((WriteMessage::V1, Packing::Snappy), (WriteMessage::V1, Packing::Zstd));
        for written in [["", ""], ["0", "0"]] {
            check(snappy, 204, written, Verdict::Stored);
            check(snappy, 415, written, Verdict::Hold);
            check(zstd, 204, written, Verdict::Stored);
            check(zstd, 415, written, Verdict::OtherForm { maybe_stored: false });
            check(zstd, 400, written, Verdict::OtherForm { maybe_stored: false });
            check(zstd, 413, written, Verdict::TooLarge);
        }
    }

    #[test]
    fn what_could_not_be_said_is_told() {
        let counts = Counts { samples: 3, unsendable: 2, ..Counts::default() };
        let sent = Sent { counts, ..Sent::default() };
        let expected = Verdict::StoredPartly { refused: 0, unsendable: 2 };
        assert_eq!(judge(&Answer::Unsaid, &sent, 0), expected);
        assert_eq!(judge(&Answer::Status(Reply::of(204)), &sent, 0), expected);
    }
}
