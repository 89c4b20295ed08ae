//! Members that scrape: a tick belongs to who has its slot then, and is scraped once.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use rand::{RngExt, rngs::StdRng};

use crate::{
    config::Clustering,
    model::{
        labels::Labels,
        member::NodeId,
        slot::{Slot, StreamKey},
        target::{Target, TargetId},
    },
    ownership::{
        assign::{self, Ending, JobShare},
        handoff::simulation::{
            air::{Air, Point},
            feed::{Feed, Made, Moment},
        },
        shares::Duties,
    },
};

const SLOTS_USED: u16 = 4;
const STREAMS: u64 = 2;
const INTERVAL_MS: i64 = 1_000;
/// Longer than this takes no scrape.
const SCRAPE_MS_MAX: i64 = 600;

#[derive(Debug, Default)]
pub(super) struct Scrapes {
    started_ms: i64,
    duties: BTreeMap<StreamKey, Duties>,
    catch_ups: Vec<(i64, StreamKey)>,
    under_way: Vec<Scrape>,
}

#[derive(Debug)]
struct Scrape {
    ends_ms: i64,
    stream: StreamKey,
    at_ms: i64,
    /// When the ownership began that it was made in.
    since_ms: i64,
}

impl Scrape {
    fn point(&self) -> Point {
        (self.stream.0, self.at_ms)
    }
}

impl Feed for Scrapes {
    type Outside = ();

    const STEP_MS: i64 = 100;
    const SKEW_MS_MAX: i64 = 0;
    const IS_PUSHED: bool = false;
    const REQUEST_MS: Range<i64> = 50..400;

    fn outside(_: &[NodeId], _: &mut StdRng) {}

    fn step_outside(_: &mut Air<()>, _: &dyn Fn(NodeId) -> bool) {}

    fn is_done((): &()) -> bool {
        true
    }

    fn is_used(slot: Slot) -> bool {
        slot.number().is_multiple_of(97) && slot.number() / 97 < SLOTS_USED
    }

    /// A target a stream.
    fn jobs() -> Vec<JobShare> {
        let name: Arc<str> = "j".into();
        let target = |key: StreamKey| Target {
            job: Arc::clone(&name),
            labels: Labels::new(),
            discovered: Labels::new(),
            id: TargetId(key.0),
            key,
            url: String::new(),
            interval: Duration::from_millis(INTERVAL_MS.unsigned_abs()),
            timeout: Duration::from_millis(SCRAPE_MS_MAX.unsigned_abs()),
        };
        let targets = streams().map(target).map(Arc::new).collect();
        let clustering = Clustering { enabled: true, ..Clustering::default() };
        vec![JobShare { name, clustering, targets, refreshed_ms: 0 }]
    }

    fn begin(&mut self, now_ms: i64, _: &mut Air<()>) {
        self.started_ms = now_ms;
    }

    fn divide(&mut self, effect: assign::Effect) -> Option<assign::Effect> {
        match effect {
            assign::Effect::Run { target, duties } => {
                self.duties.insert(target.key, duties);
            }
            assign::Effect::Stop { target: (id, _), ending } => {
                assert_eq!(ending, Ending::Moved);
                self.duties.remove(&StreamKey(id.0));
            }
            assign::Effect::CatchUp { target: (id, _), at_ms } => {
                self.catch_ups.push((at_ms, StreamKey(id.0)));
            }
            assign::Effect::Gained { .. }
            | assign::Effect::Lost { .. }
            | assign::Effect::Hold(_)
            | assign::Effect::Gap { .. }
            | assign::Effect::Moved(_) => return Some(effect),
        }
        None
    }

    fn step(&mut self, moment: Moment<'_>, air: &mut Air<()>) -> Vec<Made> {
        let now_ms = moment.now_ms;
        self.begin_scrapes(now_ms, air);
        let done = self.under_way.extract_if(.., |scrape| scrape.ends_ms <= now_ms);
        let made = done.map(|scrape| Made {
            stream: scrape.stream,
            since_ms: scrape.since_ms,
            round: scrape.at_ms,
            points: vec![scrape.point()],
        });
        made.collect()
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn is_writing(&self) -> bool {
        false
    }

    fn is_done_with(&mut self, slot: Slot, until_ms: i64) -> bool {
        let is_of_it = |one: &Scrape| one.stream.slot() == slot && one.since_ms < until_ms;
        !self.under_way.iter().any(is_of_it)
    }

    /// Ticks whose scrape died with it were never samples.
    fn crashed(self, air: &mut Air<()>) {
        for scrape in self.under_way {
            air.expected.remove(&scrape.point());
        }
    }
}

impl Scrapes {
    /// Those that are due. A tick that two would do, each by what it knows, is done once.
    fn begin_scrapes(&mut self, now_ms: i64, air: &mut Air<()>) {
        let after_ms = (now_ms - Self::STEP_MS).max(self.started_ms);
        let samples_ms = air.times.samples_ms;
        for (&stream, duties) in self.duties.iter().filter(|_| now_ms <= samples_ms) {
            let phase_ms = (stream.0 % INTERVAL_MS.unsigned_abs()).cast_signed();
            let tick_ms = now_ms - (now_ms - phase_ms).rem_euclid(INTERVAL_MS);
            let is_busy = self.under_way.iter().any(|scrape| scrape.stream == stream);
            let next_ms = tick_ms + INTERVAL_MS;
            let may_catch_up = !is_busy && tick_ms <= after_ms && next_ms - now_ms > SCRAPE_MS_MAX;
            let catch_ups = &mut self.catch_ups;
            let is_missed =
                catch_ups.extract_if(.., |(at_ms, of)| *of == stream && *at_ms <= now_ms).count()
                    > 0;
            let at_ms = match (tick_ms > after_ms, is_missed && may_catch_up) {
                (true, _) => tick_ms,
                (false, true) => now_ms,
                (false, false) => continue,
            };
            let Some(duty) = duties.iter().find(|duty| duty.contains(at_ms)) else { continue };
            if air.expected.insert((stream.0, at_ms)) {
                let ends_ms = now_ms + air.rng.random_range(0..SCRAPE_MS_MAX);
                self.under_way.push(Scrape { ends_ms, stream, at_ms, since_ms: duty.from_ms });
            }
        }
    }
}

/// Of a few slots, a few each; with phases that are spread over the interval.
fn streams() -> impl Iterator<Item = StreamKey> {
    let of_slot = |slot: u16| (0..STREAMS).map(move |n| (u64::from(slot * 97) << 52) + n * 130);
    (0..SLOTS_USED).flat_map(of_slot).map(StreamKey)
}
