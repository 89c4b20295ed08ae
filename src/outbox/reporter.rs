//! What a destination's loop tells: metrics at once, the view twice a second, and in the log one
//! line an event, or a burst of losses.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{
    model::batch::Batch,
    outbox::{
        dialect::{Dialect, Turn},
        disk::{Change, Disk, Done},
        entry::LaneKey,
        lane::Lane,
        loss::{Loss, Losses, Reason},
        meters::DestinationMeters,
        placing::Routing,
        queue::{Answered, Queue, Totals},
        requests::{Failed, Posted, Straight, Told},
        verdict::Verdict,
        view::{LaneState, LaneView, QueueView},
    },
    runtime::clock,
};

/// Losses of so long are one line.
const LOSSES_TOLD_MS: i64 = 10_000;
/// A queue that is emptied is at its bound again and again: room is told when it lasts.
const ROOM_TOLD_MS: i64 = 10_000;

pub(super) struct Reporter {
    name: Arc<str>,
    view: watch::Sender<Arc<QueueView>>,
    meters: DestinationMeters,
    dropped: BTreeMap<Cow<'static, str>, u64>,
    sent_samples: u64,
    last_answer: Option<(String, i64)>,
    /// The last one that makes a lane wait.
    last_failure: String,
    /// The last one that cost samples.
    last_refusal: String,
    /// The last one that holds a tenant.
    last_hold: String,
    untold: Losses,
    tell_losses_ms: i64,
    is_failing: bool,
    /// The last round of metadata failed.
    metadata_fails: bool,
    /// When the queue last had no room, and was told to push back.
    full_ms: Option<i64>,
}

impl Reporter {
    pub(super) fn new(
        name: Arc<str>,
        view: watch::Sender<Arc<QueueView>>,
        meters: DestinationMeters,
    ) -> Self {
        Self {
            name,
            view,
            meters,
            dropped: BTreeMap::new(),
            sent_samples: 0,
            last_answer: None,
            last_failure: String::new(),
            last_refusal: String::new(),
            last_hold: String::new(),
            untold: Losses::default(),
            tell_losses_ms: i64::MIN,
            is_failing: false,
            metadata_fails: false,
            full_ms: None,
        }
    }

    pub(super) fn appended(&self, batch: &Batch) {
        self.meters.appended.inc_by(u64::from(batch.samples));
    }

    /// So many samples were pushed and taken.
    pub(super) fn pushed(&self, samples: u64) {
        self.meters.appended.inc_by(samples);
    }

    pub(super) fn answered(&mut self, posted: &Posted, verdict: Verdict, answered: &Answered) {
        self.meters.request(posted.answer.code());
        self.meters.request_seconds.observe(posted.took.as_secs_f64());
        self.meters.retries.inc_by(u64::from(posted.repeat > 0));
        if let Some(Straight { members, .. }) = &posted.straight {
            self.meters.straight.inc_by(members.iter().filter(|(_, well)| *well).count() as u64);
            self.meters.whole.inc_by(u64::from(members.is_empty()));
        }
        self.meters.sent.inc_by(answered.sent_samples);
        self.sent_samples += answered.sent_samples;
        let text = posted.answer.to_string();
        match verdict {
            Verdict::Stored | Verdict::OtherForm { .. } => {}
            Verdict::Retry { .. } => self.last_failure.clone_from(&text),
            Verdict::Hold => self.last_hold.clone_from(&text),
            Verdict::StoredPartly { .. }
            | Verdict::TooLarge
            | Verdict::Rejected
            | Verdict::Refused => {
                self.last_refusal.clone_from(&text);
            }
        }
        match answered.held {
            Some(true) => warn!(
                destination = %self.name,
                answer = %text,
                "destination refuses us, everything is kept until it does not"
            ),
            Some(false) => {
                info!(destination = %self.name, "destination no longer refuses us");
            }
            None => {}
        }
        self.last_answer = Some((text, clock::now_ms()));
    }

    /// How the destination is spoken to from now on.
    pub(super) fn turned(&self, turn: Option<Turn>) {
        let destination = &self.name;
        match turn {
            Some(Turn::FellBack) => warn!(
                %destination,
                "destination does not understand remote write 2.0, it gets 1.0 for an hour"
            ),
            Some(Turn::Understands2) => {
                info!(%destination, "destination understands remote write 2.0 again");
            }
            Some(Turn::TakesZstd) => info!(%destination, "destination takes zstd, it gets that"),
            Some(Turn::RefusesZstd) => {
                info!(%destination, "destination takes no zstd, it gets snappy");
            }
            None => {}
        }
    }

    /// Whether its series go to their owners at once from now on.
    pub(super) fn placed(&self, change: Option<Routing>) {
        let destination = &self.name;
        match change {
            Some(Routing::Straight) => {
                info!(%destination, "destination tells who owns what, series go there at once");
            }
            Some(Routing::NotStraight(reason)) => {
                let answer = reason;
                info!(%destination, answer, "series go where it is configured, not to their owners");
            }
            None => {}
        }
    }

    /// A round of metadata is over.
    pub(super) fn told(&mut self, told: &Told) {
        self.meters.metadata.inc_by(told.families as u64);
        let fails = told.failure.is_some();
        if let Some(answer) = &told.failure {
            self.meters.metadata_failures.inc();
            if !self.metadata_fails {
                let destination = &self.name;
                warn!(%destination, %answer, "destination does not take metadata, samples go on");
            }
        } else if self.metadata_fails {
            info!(destination = %self.name, "destination takes metadata again");
        }
        self.metadata_fails = fails;
    }

    pub(super) fn unreadable(&self, failed: &Failed) {
        self.meters.corrupt(failed.lost.len());
        if let Some(reason) = &failed.not_now {
            warn!(destination = %self.name, error = reason, "unsent records can't be read for now");
        }
    }

    pub(super) fn job_done(&self, done: &Done, change: Option<&Change>) {
        let failures = u64::from(matches!(done.written, Some(Err(_))))
            + u64::from(matches!(done.stored, Some(Err(_))));
        self.meters.disk_errors.inc_by(failures + u64::from(done.fault.is_some()));
        self.disk_changed(change);
    }

    pub(super) fn disk_changed(&self, change: Option<&Change>) {
        match change {
            Some(Change::Broke(fault)) => warn!(
                destination = %self.name,
                error = %fault,
                "outbox can't be written, unsent samples live in memory until it can"
            ),
            Some(Change::Works) => info!(destination = %self.name, "outbox can be written again"),
            None => {}
        }
    }

    /// Twice a second.
    pub(super) fn tick(&mut self, queue: &mut Queue, disk: &Disk, dialect: &Dialect, now_ms: i64) {
        for loss in queue.take_losses() {
            self.lose(loss);
        }
        let handed = queue.take_handed();
        self.meters.taken.inc_by(handed.taken);
        self.meters.given.inc_by(handed.given);
        if now_ms >= self.tell_losses_ms && self.tell_losses() {
            self.tell_losses_ms = now_ms + LOSSES_TOLD_MS;
        }
        self.tell_failing(queue, now_ms);
        self.tell_full(queue, now_ms);
        self.publish(queue, disk, dialect, now_ms);
    }

    /// The loop has ended.
    pub(super) fn closed(&mut self, unsent: Totals, unwritten_samples: u64) {
        let at_ms = clock::now_ms();
        if unwritten_samples > 0 {
            let reason = Reason::Stopped;
            self.lose(Loss { reason, samples: unwritten_samples, first_ms: at_ms, last_ms: at_ms });
        }
        self.tell_losses();
        let kept = unsent.samples - unwritten_samples.min(unsent.samples);
        if kept > 0 {
            info!(destination = %self.name, samples = kept, "unsent samples stay on disk");
        }
    }

    fn lose(&mut self, loss: Loss) {
        self.meters.dropped(loss.reason).inc_by(loss.samples);
        *self.dropped.entry(loss.reason.name().into()).or_default() += loss.samples;
        self.untold.merge(loss);
    }

    fn tell_losses(&mut self) -> bool {
        let losses = self.untold.take();
        for loss in &losses {
            let Loss { reason, samples, first_ms, last_ms } = *loss;
            let (destination, reason_name) = (&self.name, reason.name());
            match reason {
                Reason::MaybeStored => warn!(
                    %destination, reason = reason_name, samples, first_ms, last_ms,
                    answer = %self.last_refusal,
                    "samples rejected that an earlier attempt may have stored"
                ),
                Reason::Rejected
                | Reason::RejectedUnresolved
                | Reason::Refused
                | Reason::TooLarge
                | Reason::NotWritten
                | Reason::Unsendable => {
                    error!(
                        %destination, reason = reason_name, samples, first_ms, last_ms,
                        answer = %self.last_refusal,
                        "samples lost, the destination does not take them"
                    );
                }
                Reason::Bytes
                | Reason::Records
                | Reason::Age
                | Reason::SampleAge
                | Reason::DiskFull
                | Reason::Memory
                | Reason::Corrupt
                | Reason::Late
                | Reason::Stopped => error!(
                    %destination, reason = reason_name, samples, first_ms, last_ms,
                    "samples lost before they could be sent"
                ),
            }
        }
        !losses.is_empty()
    }

    fn tell_failing(&mut self, queue: &Queue, now_ms: i64) {
        // A lane that is trying again has not succeeded yet, however long that takes.
        let fails = |lane: &Lane| lane.is_backing_off(now_ms) || lane.is_repeating();
        let failing = queue.lanes().any(|(_, lane)| fails(lane));
        if failing && !self.is_failing {
            warn!(
                destination = %self.name,
                answer = %self.last_failure,
                "destination does not take samples, they are kept and sent again"
            );
            self.is_failing = true;
        } else if !failing && self.is_failing {
            info!(destination = %self.name, "destination takes samples again");
            self.is_failing = false;
        }
    }

    /// Pushing back loses scrapes where dropping loses samples: neither goes without a word.
    fn tell_full(&mut self, queue: &Queue, now_ms: i64) {
        let is_full = !queue.has_room();
        self.meters.full.set(i64::from(is_full));
        if is_full {
            if self.full_ms.replace(now_ms).is_none() {
                warn!(destination = %self.name, "outbox is full, scrapes wait until there is room");
            }
        } else if self.full_ms.is_some_and(|full_ms| now_ms - full_ms >= ROOM_TOLD_MS) {
            self.full_ms = None;
            info!(destination = %self.name, "outbox has room again");
        }
    }

    fn publish(&self, queue: &Queue, disk: &Disk, dialect: &Dialect, now_ms: i64) {
        let unsent = queue.unsent();
        let oldest_age_ms = queue.oldest_ms().map(|oldest_ms| (now_ms - oldest_ms).max(0));
        self.meters.bytes.set(gauge(unsent.bytes));
        self.meters.max_bytes.set(gauge(queue.bytes_max()));
        self.meters.refused.set(i64::from(queue.is_refused()));
        self.meters.samples.set(gauge(unsent.samples));
        self.meters.records.set(gauge(unsent.records as u64));
        self.meters.held_records.set(gauge(queue.held_records() as u64));
        self.meters.held_bytes.set(gauge(queue.held_bytes()));
        self.meters.oldest_seconds.set(oldest_age_ms.unwrap_or_default() / 1000);
        self.meters.in_flight.set(gauge(queue.in_flight() as u64));
        self.meters.disk_bytes.set(gauge(disk.view().bytes));
        self.meters.disk_works.set(i64::from(!disk.is_broken()));
        let view = QueueView {
            name: Arc::clone(&self.name),
            protocol: dialect.shown().into(),
            bytes: unsent.bytes,
            samples: unsent.samples,
            records: unsent.records as u64,
            held_records: queue.held_records() as u64,
            held_bytes: queue.held_bytes(),
            oldest_age_ms,
            in_flight: queue.in_flight(),
            accepts: !self.is_failing && !queue.is_refused(),
            last_answer: self.last_answer.as_ref().map(|(text, _)| text.clone()),
            last_answer_ms: self.last_answer.as_ref().map(|(_, at_ms)| *at_ms),
            dropped_samples: self.dropped.clone(),
            sent_samples: self.sent_samples,
            lanes: self.lane_views(queue, now_ms),
            disk: disk.view().clone(),
        };
        self.view.send_if_modified(|old| {
            let changed = **old != view;
            if changed {
                *old = Arc::new(view);
            }
            changed
        });
    }

    fn lane_views(&self, queue: &Queue, now_ms: i64) -> Vec<LaneView> {
        let view = |(key, lane): (&LaneKey, &Lane)| {
            let state = if queue.is_held(key) {
                LaneState::Held(self.last_hold.clone())
            } else if lane.is_in_flight() {
                LaneState::InFlight
            } else if lane.is_backing_off(now_ms) {
                LaneState::BackingOff
            } else {
                LaneState::Idle
            };
            LaneView {
                tenant: Arc::clone(&key.tenant),
                number: key.number,
                position: lane.position(),
                records: lane.len(),
                state,
            }
        };
        queue.lanes().map(view).collect()
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::outbox::{
        dialect::Sent,
        meters::Meters,
        verdict::{Answer, Reply, judge},
    };

    #[test]
    fn what_fails_is_told_by_its_own_answer() {
        let name: Arc<str> = "x".into();
        let meters = Meters::new(&mut Registry::default()).of(&name);
        let mut reporter = Reporter::new(name, watch::channel(Arc::default()).0, meters);
        let stored = Answer::Status(Reply::of(204));
        for answer in [Answer::Timeout, stored] {
            let sent = Sent::default();
            let verdict = judge(&answer, &sent, 0);
            let (ticket, repeat, request_bytes, took) = (0, 0, 0, Duration::ZERO);
            let straight = None;
            let posted = Posted { ticket, repeat, answer, sent, request_bytes, took, straight };
            reporter.answered(&posted, verdict, &Answered::default());
        }
        assert_eq!(reporter.last_failure, Answer::Timeout.to_string());
    }
}
