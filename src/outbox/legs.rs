//! A request that goes to several members at once, each with the series that it owns: which answers of
//! a member stand, and what all of them say together. Pure; `requests` sends the legs.

use crate::outbox::{
    dialect::Sent,
    verdict::{Answer, Reply, Verdict, Written, judge},
};

/// Whether a member has said what is to be said of its series. Otherwise it can't be reached from here,
/// or does not take us for one that may push: they go the way that is configured.
pub(super) fn stands(answer: &Answer, sent: &Sent) -> bool {
    match judge(answer, sent, 0) {
        Verdict::Stored | Verdict::StoredPartly { .. } | Verdict::TooLarge | Verdict::Rejected => {
            true
        }
        Verdict::Retry { .. } => matches!(answer, Answer::Status(_)),
        Verdict::OtherForm { .. } | Verdict::Hold | Verdict::Refused => false,
    }
}

/// As if one had answered: with the worst where not all is stored, so that it is sent again or halved as
/// a whole. Those that have their part already take it again and store nothing twice.
pub(super) fn joined(legs: Vec<(Answer, Sent)>) -> (Answer, Sent) {
    let worst = legs.iter().map(|(answer, sent)| rank(judge(answer, sent, 0))).max();
    if let Some(worst) = worst.filter(|worst| *worst > 0) {
        let is_it = |(answer, sent): &(Answer, Sent)| rank(judge(answer, sent, 0)) == worst;
        return legs.into_iter().find(is_it).expect("it was among them");
    }
    let mut together = Sent::default();
    let mut reply: Option<Reply> = None;
    for (answer, sent) in legs {
        together.form = sent.form;
        together.counts.samples += sent.counts.samples;
        together.counts.histograms += sent.counts.histograms;
        together.counts.exemplars += sent.counts.exemplars;
        together.counts.unsendable += sent.counts.unsendable;
        let Answer::Status(next) = answer else { continue };
        reply = Some(match reply {
            None => next,
            Some(known) => {
                let written = add(known.written, next.written);
                // A 400 says what of it is not written.
                let other = if next.code > known.code { next } else { known };
                Reply { written, ..other }
            }
        });
    }
    (reply.map_or(Answer::Unsaid, Answer::Status), together)
}

fn add(one: Option<Written>, other: Option<Written>) -> Option<Written> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    Some(Written {
        samples: one.samples.saturating_add(other.samples),
        histograms: one.histograms.saturating_add(other.histograms),
    })
}

/// What is to be decided first comes last.
fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Stored | Verdict::StoredPartly { .. } => 0,
        Verdict::Rejected => 1,
        Verdict::TooLarge => 2,
        Verdict::Refused => 3,
        Verdict::OtherForm { .. } => 4,
        Verdict::Retry { .. } => 5,
        Verdict::Hold => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::WriteMessage, outbox::dialect::Form, wire::remote_write::Counts};

    fn status(code: u16) -> Answer {
        Answer::Status(Reply::of(code))
    }

    fn sent(samples: u32) -> Sent {
        Sent { counts: Counts { samples, ..Counts::default() }, ..Sent::default() }
    }

    #[test]
    fn only_what_a_gateway_says_of_the_samples_stands() {
        let check = |answer: &Answer, expected| {
            assert_eq!(stands(answer, &sent(1)), expected, "{answer:?}");
        };
        for code in [200, 204, 400, 408, 413, 422, 429, 500, 503] {
            check(&status(code), true);
        }
        for code in [301, 401, 403, 404, 405, 415] {
            check(&status(code), false);
        }
        check(&Answer::Unsaid, true);
        check(&Answer::Timeout, false);
        for broken in [Answer::Unreachable, Answer::Broken, Answer::Unready] {
            check(&broken("why".to_owned()), false);
        }
    }

    #[test]
    fn the_worst_answer_is_that_of_all() {
        let check = |codes: &[u16], expected: u16| {
            let legs = codes.iter().map(|code| (status(*code), sent(3))).collect();
            let (answer, _) = joined(legs);
            assert_eq!(answer, status(expected), "{codes:?}");
        };
        check(&[204, 204], 204);
        check(&[204, 400, 204], 400);
        check(&[400, 413, 204], 413);
        check(&[413, 503, 400], 503);
        check(&[429, 204], 429);
        check(&[503, 401, 204], 401);
        let gone = Answer::Unreachable("why".to_owned());
        assert_eq!(joined(vec![(status(204), sent(1)), (gone.clone(), sent(1))]).0, gone);
    }

    #[test]
    fn what_was_written_adds_up() {
        let form = Form { message: WriteMessage::V2, ..Form::default() };
        let leg = |code, samples, written| {
            let counts = Counts { samples, histograms: 1, ..Counts::default() };
            let written = Some(Written { samples: written, histograms: 1 });
            (Answer::Status(Reply { written, ..Reply::of(code) }), Sent { form, counts })
        };
        let check = |legs: Vec<(Answer, Sent)>, expected| {
            let (answer, sent) = joined(legs);
            assert_eq!(judge(&answer, &sent, 0), expected);
        };
        check(vec![leg(204, 5, 5), leg(204, 6, 6)], Verdict::Stored);
        let partly = |refused| Verdict::StoredPartly { refused, unsendable: 0 };
        check(vec![leg(204, 5, 5), leg(400, 6, 4), leg(204, 1, 1)], partly(2));
        let none = Written::default();
        let rejected = Answer::Status(Reply { written: Some(none), ..Reply::of(400) });
        let (_, own) = leg(400, 6, 0);
        check(vec![leg(204, 5, 5), (rejected, own)], Verdict::Rejected);
        let unsendable = Counts { unsendable: 2, ..Counts::default() };
        let unsaid = (Answer::Unsaid, Sent { form, counts: unsendable });
        assert_eq!(joined(vec![unsaid.clone()]).0, Answer::Unsaid);
        let (answer, sent) = joined(vec![unsaid, leg(204, 5, 5)]);
        assert_eq!(judge(&answer, &sent, 0), Verdict::StoredPartly { refused: 0, unsendable: 2 });
    }
}
