//! How a destination is spoken to: which version of remote write, packed how. Starts from what is
//! configured, learns from the answers, and forgets again, as destinations are replaced. Pure.

use crate::{
    config::{Destination, WriteCompression, WriteMessage},
    outbox::verdict::{Answer, Verdict},
    wire::remote_write::Counts,
};

/// A destination that did not understand is asked again after so long: with one request, which
/// then goes once more in the form that it does understand.
const ASK_AGAIN_MS: i64 = 3_600_000;

/// The form of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub message: WriteMessage,
    pub packing: Packing,
    /// The records may hold what this version can't say, so they are not sent as they lie there.
    pub rewrites: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    #[default]
    Snappy,
    Zstd,
}

/// A request as far as its answer is judged by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub form: Form,
    pub counts: Counts,
}

/// A change that someone should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It does not understand 2.0.
    FellBack,
    Understands2,
    TakesZstd,
    RefusesZstd,
}

#[derive(Debug)]
pub(super) struct Dialect {
    message: WriteMessage,
    compression: WriteCompression,
    histograms: bool,
    /// It did not understand 2.0; tried again from then on.
    v1_until_ms: Option<i64>,
    zstd: Zstd,
}

/// What is known of the destination and Zstandard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zstd {
    /// It does not look like one that could take it.
    Unknown,
    /// Its answers look like those of one that could.
    Likely,
    Asked,
    Takes,
    Not {
        until_ms: i64,
    },
}

impl Dialect {
    pub(super) fn new(destination: &Destination) -> Self {
        Self {
            message: destination.message,
            compression: destination.compression,
            histograms: destination.send_native_histograms,
            v1_until_ms: None,
            zstd: match destination.compression {
                WriteCompression::Auto | WriteCompression::Snappy => Zstd::Unknown,
                WriteCompression::Zstd => Zstd::Takes,
            },
        }
    }

    /// For the next request.
    pub(super) fn form(&mut self, now_ms: i64) -> Form {
        let message = match (self.message, &mut self.v1_until_ms) {
            (WriteMessage::V2, Some(until_ms)) if now_ms < *until_ms => WriteMessage::V1,
            (WriteMessage::V2, Some(until_ms)) => {
                // This request asks, no other.
                *until_ms = now_ms.saturating_add(ASK_AGAIN_MS);
                WriteMessage::V2
            }
            (message, _) => message,
        };
        Form {
            message,
            packing: self.packing(message, now_ms),
            rewrites: self.histograms || self.message == WriteMessage::V2,
        }
    }

    /// Whether the destination is to be asked now if it takes Zstandard; once.
    pub(super) fn asks(&mut self) -> bool {
        let asks = self.zstd == Zstd::Likely;
        if asks {
            self.zstd = Zstd::Asked;
        }
        asks
    }

    /// The answer to that; `None`: none came.
    pub(super) fn told(&mut self, takes: Option<bool>, now_ms: i64) -> Option<Turn> {
        if self.zstd != Zstd::Asked {
            return None;
        }
        self.zstd = match takes {
            Some(true) => Zstd::Takes,
            Some(false) | None => Zstd::Not { until_ms: now_ms.saturating_add(ASK_AGAIN_MS) },
        };
        (self.zstd == Zstd::Takes).then_some(Turn::TakesZstd)
    }

    pub(super) fn heard(
        &mut self,
        form: Form,
        answer: &Answer,
        verdict: Verdict,
        now_ms: i64,
    ) -> Option<Turn> {
        self.suspect(form, answer);
        let until_ms = now_ms.saturating_add(ASK_AGAIN_MS);
        match (verdict, form.message, form.packing) {
            (Verdict::OtherForm { .. }, WriteMessage::V2, _) => {
                let is_new = self.v1_until_ms.replace(until_ms).is_none();
                is_new.then_some(Turn::FellBack)
            }
            (Verdict::OtherForm { .. }, WriteMessage::V1, _) => {
                let is_new = self.zstd == Zstd::Takes;
                self.zstd = Zstd::Not { until_ms };
                is_new.then_some(Turn::RefusesZstd)
            }
            (Verdict::Stored | Verdict::StoredPartly { .. }, WriteMessage::V2, _) => {
                self.v1_until_ms.take().map(|_| Turn::Understands2)
            }
            _ => None,
        }
    }

    /// Whether it gets what targets say of their metrics in requests of its own.
    pub(super) fn tells_apart(&self) -> bool {
        self.message == WriteMessage::V1 || self.v1_until_ms.is_some()
    }

    /// For a person.
    pub(super) fn shown(&self) -> &'static str {
        let packs = self.zstd == Zstd::Takes;
        match (self.message, self.v1_until_ms) {
            (WriteMessage::V1, _) if packs => "1.0, zstd",
            (WriteMessage::V1, _) => "1.0",
            (WriteMessage::V2, None) => "2.0",
            (WriteMessage::V2, Some(_)) if packs => "1.0 instead of 2.0, zstd",
            (WriteMessage::V2, Some(_)) => "1.0 instead of 2.0",
        }
    }

    fn packing(&mut self, message: WriteMessage, now_ms: i64) -> Packing {
        if let Zstd::Not { until_ms } = self.zstd
            && now_ms >= until_ms
        {
            self.zstd = match self.compression {
                WriteCompression::Auto | WriteCompression::Snappy => Zstd::Unknown,
                WriteCompression::Zstd => Zstd::Takes,
            };
        }
        match message {
            WriteMessage::V1 if self.zstd == Zstd::Takes => Packing::Zstd,
            // 2.0 knows nothing but snappy.
            WriteMessage::V1 | WriteMessage::V2 => Packing::Snappy,
        }
    }

    /// Only who looks like one that could take Zstandard is asked whether it does: others would
    /// have a request in their logs that they know nothing of.
    fn suspect(&mut self, form: Form, answer: &Answer) {
        let may_ask =
            self.compression == WriteCompression::Auto && form.message == WriteMessage::V1;
        if may_ask && self.zstd == Zstd::Unknown && answer.is_of_victoria_metrics() {
            self.zstd = Zstd::Likely;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::verdict::Reply;

    const OTHER: Verdict = Verdict::OtherForm { maybe_stored: false };

    fn dialect(message: WriteMessage, compression: WriteCompression) -> Dialect {
        Dialect {
            message,
            compression,
            ..Dialect::new(&crate::outbox::tests::destination("a", ""))
        }
    }

    fn reply() -> Answer {
        Answer::Status(Reply::of(204))
    }

    #[test]
    fn who_does_not_understand_2_0_gets_1_0_and_is_asked_again() {
        let mut dialect = dialect(WriteMessage::V2, WriteCompression::Auto);
        let v2 = dialect.form(0);
        assert_eq!((v2.message, dialect.shown()), (WriteMessage::V2, "2.0"));
        assert_eq!(dialect.heard(v2, &reply(), OTHER, 0), Some(Turn::FellBack));
        assert_eq!(dialect.heard(v2, &reply(), OTHER, 1), None, "it was on its way already");
        let v1 = dialect.form(ASK_AGAIN_MS);
        assert_eq!((v1.message, dialect.shown()), (WriteMessage::V1, "1.0 instead of 2.0"));
        assert!(v1.rewrites);
        assert_eq!(dialect.heard(v1, &reply(), Verdict::Stored, 2), None);

        let asks = dialect.form(ASK_AGAIN_MS + 1);
        assert_eq!(asks.message, WriteMessage::V2);
        assert_eq!(dialect.form(ASK_AGAIN_MS + 1).message, WriteMessage::V1, "one request asks");
        assert_eq!(dialect.heard(asks, &reply(), OTHER, ASK_AGAIN_MS + 2), None, "as before");
        let asks = dialect.form(2 * ASK_AGAIN_MS + 2);
        let turn = dialect.heard(asks, &reply(), Verdict::Stored, 2 * ASK_AGAIN_MS + 3);
        assert_eq!(turn, Some(Turn::Understands2));
        assert_eq!(dialect.form(2 * ASK_AGAIN_MS + 4).message, WriteMessage::V2);
    }

    #[test]
    fn only_who_looks_like_it_is_asked_for_zstandard() {
        let victoria = Answer::Status(Reply { is_victoria_metrics: true, ..Reply::of(204) });
        for (message, compression, answer, asks) in [
            (WriteMessage::V1, WriteCompression::Auto, &victoria, true),
            (WriteMessage::V1, WriteCompression::Auto, &reply(), false),
            (WriteMessage::V1, WriteCompression::Snappy, &victoria, false),
            (WriteMessage::V2, WriteCompression::Auto, &victoria, false),
        ] {
            let mut dialect = dialect(message, compression);
            let form = dialect.form(0);
            assert_eq!(form.packing, Packing::Snappy);
            dialect.heard(form, answer, Verdict::Stored, 0);
            assert_eq!(dialect.asks(), asks, "{message:?} {compression:?}");
            assert!(!dialect.asks(), "once");
        }
    }

    #[test]
    fn what_was_found_out_holds_until_it_is_refused() {
        let mut dialect = dialect(WriteMessage::V1, WriteCompression::Auto);
        dialect.zstd = Zstd::Asked;
        assert_eq!(dialect.told(Some(true), 0), Some(Turn::TakesZstd));
        assert_eq!(dialect.told(Some(false), 0), None, "it was not asked again");
        let form = dialect.form(i64::MAX / 2);
        assert_eq!((form.packing, dialect.shown()), (Packing::Zstd, "1.0, zstd"));
        assert_eq!(dialect.heard(form, &reply(), OTHER, 0), Some(Turn::RefusesZstd));
        assert_eq!(dialect.heard(form, &reply(), OTHER, 0), None);
        assert_eq!(dialect.form(ASK_AGAIN_MS - 1).packing, Packing::Snappy);
        assert_eq!(dialect.zstd, Zstd::Not { until_ms: ASK_AGAIN_MS });
        assert_eq!(dialect.form(ASK_AGAIN_MS).packing, Packing::Snappy);
        assert_eq!(dialect.zstd, Zstd::Unknown, "it may be asked again");
    }

    #[test]
    fn who_is_said_to_take_it_gets_it_at_once() {
        let destination = Destination {
            compression: WriteCompression::Zstd,
            ..crate::outbox::tests::destination("a", "")
        };
        let mut dialect = Dialect::new(&destination);
        let form = dialect.form(0);
        assert_eq!(form.packing, Packing::Zstd);
        dialect.heard(form, &reply(), OTHER, 0);
        assert_eq!(dialect.form(1).packing, Packing::Snappy);
        assert_eq!(dialect.form(ASK_AGAIN_MS).packing, Packing::Zstd);
    }
}
