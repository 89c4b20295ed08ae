//! What it costs that gateways are killed: pushes that waited, samples that came after newer ones or
//! twice, as they lay on a disk meanwhile. Pure.

use serde_json::{Value, json};

use crate::cli::demo::agent::{self, Departure};

/// What was acknowledged longer before a kill has been sent by then: the receiving end is always up.
const UNSENT_MS_MAX: i64 = 10_000;
/// Within that a gateway that is back sends what it had, or hands it to the present owners; from anew
/// where meanwhile another goes or comes, for which all that return may have to wait.
const RETURN_MS_MAX: i64 = 15_000;

#[derive(Clone, Debug)]
pub(super) struct Kills {
    /// By gateway.
    departures: Vec<Option<Departure>>,
    /// When a gateway went or was started, the last time.
    changed_ms: i64,
    all: Vec<Kill>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) gateway: usize,
    pub(super) at_ms: i64,
    /// When it was started again.
    returned_ms: Option<i64>,
    /// It has acknowledged a push since.
    pub(super) is_back: bool,
    /// Of the pushes that were under way, or begun soon after.
    pub(super) longest_wait_ms: i64,
    /// Samples that came after newer ones of their series.
    pub(super) late: u64,
    /// Samples that came again.
    pub(super) repeated: u64,
}

/// When a push was brought in: from the first try until it was acknowledged, or until now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

/// Whether a sample that is not stored may lie on the disk of a gateway that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    No,
    /// And the gateway is about to send it.
    Returning,
    Yes,
}

impl Kill {
    pub(super) fn json(&self) -> Value {
        json!({
            "gateway": agent::name_of(self.gateway), "is_back": self.is_back,
            "longest_wait_ms": self.longest_wait_ms, "late": self.late, "repeated": self.repeated,
        })
    }

    /// Whether some of a push may have been on its disk alone.
    pub(super) fn may_hold(&self, push: Span) -> bool {
        push.from_ms <= self.at_ms && push.to_ms >= self.at_ms - UNSENT_MS_MAX
    }
}

impl Kills {
    pub(super) fn new(gateways: usize) -> Self {
        Self { departures: vec![None; gateways], changed_ms: 0, all: Vec::new() }
    }

    pub(super) fn gone(&mut self, gateway: usize, how: Departure, now_ms: i64) {
        self.departures[gateway] = Some(how);
        self.changed_ms = now_ms;
        match how {
            Departure::Left => {}
            Departure::Killed => self.all.push(Kill {
                gateway,
                at_ms: now_ms,
                returned_ms: None,
                is_back: false,
                longest_wait_ms: 0,
                late: 0,
                repeated: 0,
            }),
        }
    }

    pub(super) fn returned(&mut self, gateway: usize, now_ms: i64) {
        self.departures[gateway] = None;
        self.changed_ms = now_ms;
        for kill in self.all.iter_mut().filter(|kill| kill.gateway == gateway) {
            kill.returned_ms.get_or_insert(now_ms);
        }
    }

    pub(super) fn acknowledged(&mut self, gateway: usize, push: Span) {
        for kill in &mut self.all {
            kill.is_back |= kill.gateway == gateway && kill.returned_ms.is_some();
            if push.from_ms <= kill.at_ms + UNSENT_MS_MAX && push.to_ms >= kill.at_ms {
                kill.longest_wait_ms = kill.longest_wait_ms.max(push.to_ms - push.from_ms);
            }
        }
    }

    /// The kill that is a reason for a sample of such a push to come late, or again.
    pub(super) fn reason_for(&mut self, push: Span) -> Option<&mut Kill> {
        self.all.iter_mut().rev().find(|kill| kill.may_hold(push))
    }

    pub(super) fn held(&self, push: Span, now_ms: i64) -> Held {
        let reasons = self.all.iter().filter(|kill| kill.may_hold(push));
        let held = reasons.map(|kill| match kill.returned_ms {
            None => Held::Yes,
            Some(_) if now_ms - self.changed_ms < RETURN_MS_MAX => Held::Returning,
            Some(_) => Held::No,
        });
        held.fold(Held::No, |before, held| match (before, held) {
            (Held::Yes, _) | (_, Held::Yes) => Held::Yes,
            (Held::Returning, _) | (_, Held::Returning) => Held::Returning,
            (Held::No, Held::No) => Held::No,
        })
    }

    /// In their order.
    pub(super) fn all(&self) -> &[Kill] {
        &self.all
    }

    pub(super) fn departures(&self) -> &[Option<Departure>] {
        &self.departures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED_MS: i64 = 50_000;

    fn kills(returned_ms: Option<i64>) -> Kills {
        let mut kills = Kills::new(2);
        kills.gone(0, Departure::Left, 1);
        kills.gone(1, Departure::Killed, KILLED_MS);
        if let Some(returned_ms) = returned_ms {
            kills.returned(1, returned_ms);
        }
        kills
    }

    #[test]
    fn what_was_pushed_before_a_kill_may_be_on_its_disk() {
        let check = |from_ms, to_ms, returned_ms, now_ms, expected| {
            let push = Span { from_ms, to_ms };
            let held = kills(returned_ms).held(push, now_ms);
            assert_eq!(held, expected, "{push:?} {returned_ms:?} {now_ms}");
        };
        check(49_990, 49_995, None, 99_000, Held::Yes);
        check(49_990, 53_000, None, 99_000, Held::Yes);
        check(40_000, 40_010, None, 99_000, Held::Yes);
        check(39_000, 39_010, None, 99_000, Held::No);
        check(50_001, 50_010, None, 99_000, Held::No);
        check(49_990, 49_995, Some(60_000), 61_000, Held::Returning);
        check(49_990, 49_995, Some(60_000), 75_000, Held::No);

        let mut kills = kills(Some(60_000));
        kills.gone(0, Departure::Killed, 70_000);
        let push = Span { from_ms: 49_990, to_ms: 49_995 };
        assert_eq!(kills.held(push, 75_000), Held::Returning, "another has gone meanwhile");
    }

    #[test]
    fn a_kill_costs_the_longest_wait_around_it() {
        let mut kills = kills(Some(60_000));
        for (gateway, from_ms, to_ms) in
            [(0, 40_000, 49_000), (0, 49_900, 52_900), (0, 51_000, 53_000), (0, 70_000, 79_000)]
        {
            kills.acknowledged(gateway, Span { from_ms, to_ms });
        }
        assert_eq!((kills.all()[0].longest_wait_ms, kills.all()[0].is_back), (3_000, false));
        kills.acknowledged(1, Span { from_ms: 80_000, to_ms: 80_001 });
        assert!(kills.all()[0].is_back);
    }
}
