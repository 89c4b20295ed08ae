//! One member's pool of scrapes: the real schedule of each target, on the host's own clock, and what
//! becomes of a target that moves, ends, or comes back. Stands for `scrape::{loops, target_loop}`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::RngExt;
use starling::{
    model::{
        slot::Slot,
        target::{Target, TargetName},
    },
    ownership::{
        assign::Ending,
        orders::{Knowledge, Report, Task},
        shares::Duties,
    },
    scrape::{
        duties::{self, next_since_ms},
        past::Past,
        schedule::{Grid, Schedule, Turn},
        seals::Seals,
    },
};

use crate::flock::{
    STEP_MS,
    air::{Air, Marker, Point, Scraped},
};

const TOLERANCE: Duration = Duration::from_millis(2);
const SCRAPE_MS_MAX: i64 = 300;
const LEASE_PAUSE_US: i64 = 50_000;

/// A sample for the outbox, and what it is filed under.
pub(crate) type Sample = (Point, i64);

#[derive(Default)]
pub(crate) struct Pool {
    running: BTreeMap<u64, Running>,
    active: BTreeMap<usize, u64>,
    /// By target: the last that leaves.
    leaving: BTreeMap<usize, u64>,
    wakes: BTreeSet<(i64, u64)>,
    seals: Seals,
    past: Past,
    on_hold: bool,
    stepped_us: i64,
    next_number: u64,
    reports: Vec<Report>,
    samples: Vec<Sample>,
    markers: Vec<Marker>,
}

struct Running {
    target: Arc<Target>,
    schedule: Schedule,
    course: Course,
    slot: Slot,
    /// The series of the last scrape, and when that was.
    seen: Option<(u64, i64)>,
    /// A former owner's, that were not seen here since.
    owed: Vec<(u64, i64)>,
    under_way: Option<UnderWay>,
    /// What its last sample was filed under.
    since_ms: Option<i64>,
    wake_us: i64,
}

struct UnderWay {
    ends_us: i64,
    timestamp_ms: i64,
    since_ms: i64,
    series: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    Scrape,
    Leave(Ending),
}

impl Running {
    fn file_under(&mut self, instant_ms: i64) -> i64 {
        self.since_ms = next_since_ms(self.schedule.duties(), instant_ms, self.since_ms);
        self.since_ms.unwrap_or(instant_ms)
    }
}

/// What a step of the pool has to do with.
pub(crate) struct Moment<'a> {
    pub(crate) me: usize,
    /// By the clock of the fleet, as this member has it.
    pub(crate) fleet_us: i64,
    pub(crate) may_scrape: bool,
    pub(crate) air: &'a mut Air,
}

fn index(target: &Target) -> usize {
    usize::try_from(target.id.0).unwrap()
}

fn name_of(target: &Target) -> TargetName {
    (target.id, Arc::clone(&target.job))
}

impl Pool {
    pub(crate) fn obey(&mut self, tasks: Vec<Task>, moment: &mut Moment<'_>) {
        let mut seals = BTreeMap::new();
        for task in tasks {
            match task {
                Task::Run { target, duties } => self.run(target, duties, moment),
                Task::Stop { target, ending } => {
                    let target = usize::try_from(target.0.0).unwrap();
                    if let Some(number) = self.active.remove(&target) {
                        self.leave(number, ending, moment);
                    }
                }
                Task::CatchUp { target, at_ms } => {
                    let number = self.active.get(&usize::try_from(target.0.0).unwrap()).copied();
                    if let Some(number) = number {
                        let running = self.running.get_mut(&number).unwrap();
                        running.schedule.set_catch_up(Some(at_ms));
                        self.wake_at(number, 0);
                    }
                }
                Task::Hold(on_hold) => self.hold(on_hold),
                Task::Seal { slot, until_ms } => drop(seals.insert(slot, until_ms)),
                Task::Adopt(knowledge) => {
                    if !self.adopt(&knowledge, moment) {
                        self.reports.push(Report::Left(Arc::unwrap_or_clone(knowledge)));
                    }
                }
                Task::End(knowledge) => self.end(&knowledge, moment),
                Task::Grant(_) => {}
            }
        }
        for (slot, until_ms) in seals {
            for number in self.seals.leaving(slot).collect::<Vec<_>>() {
                if let Some(running) = self.running.get_mut(&number) {
                    let before = duties::before(running.schedule.duties(), until_ms);
                    running.schedule.set_duties(before);
                    self.wake_at(number, 0);
                }
            }
            if self.seals.ask(slot) {
                self.reports.push(Report::Sealed { slot });
            }
        }
    }

    fn run(&mut self, target: Arc<Target>, duties: Duties, moment: &mut Moment<'_>) {
        let n = index(&target);
        let now_ms = moment.fleet_us.div_euclid(1000);
        if let Some(&number) = self.active.get(&n) {
            let running = self.running.get_mut(&number).unwrap();
            if !duties::is_return(running.schedule.duties(), &duties, now_ms) {
                running.schedule.set_duties(duties);
                self.wake_at(number, 0);
                return;
            }
            self.active.remove(&n);
            self.leave(number, Ending::Moved, moment);
        }
        self.next_number += 1;
        let number = self.next_number;
        let schedule = Schedule::new(Grid::of(&target), TOLERANCE, duties, now_ms);
        let running = Running {
            slot: target.key.slot(),
            target,
            schedule,
            course: Course::Scrape,
            seen: None,
            owed: Vec::new(),
            under_way: None,
            since_ms: None,
            wake_us: i64::MAX,
        };
        self.running.insert(number, running);
        self.active.insert(n, number);
        self.wake_at(number, 0);
    }

    fn leave(&mut self, number: u64, ending: Ending, moment: &mut Moment<'_>) {
        let running = self.running.get_mut(&number).unwrap();
        running.course = Course::Leave(ending);
        running.schedule.set_catch_up(None);
        if ending == Ending::Moved {
            let now_ms = moment.fleet_us.div_euclid(1000);
            let ended = duties::ended(running.schedule.duties(), now_ms);
            running.schedule.set_duties(ended);
        }
        let (n, slot) = (index(&running.target), running.slot);
        self.seals.begin(slot, number);
        self.leaving.insert(n, number);
        self.wake_at(number, 0);
    }

    fn hold(&mut self, on_hold: bool) {
        let schedules = self.running.values_mut().map(|running| &mut running.schedule);
        schedules.for_each(if on_hold { Schedule::hold } else { Schedule::resume });
        self.on_hold = on_hold;
        for number in self.running.keys().copied().collect::<Vec<_>>() {
            self.wake_at(number, 0);
        }
    }

    fn adopt(&mut self, knowledge: &Knowledge, moment: &mut Moment<'_>) -> bool {
        let n = index(&knowledge.target);
        let Some(number) = self.active.get(&n).or_else(|| self.leaving.get(&n)).copied() else {
            return false;
        };
        moment.air.tally.adopted += 1;
        let running = self.running.get_mut(&number).unwrap();
        if let Some(last_ms) = knowledge.last_tick_ms {
            running.schedule.pass(last_ms);
        }
        let (seen, mut missed) = (running.seen, Vec::new());
        for (series, at_ms) in series_of(knowledge) {
            let is_known = seen.is_some_and(|(seen, _)| seen == series);
            match seen {
                // What the last scrape here lacked has ended with it.
                Some((_, seen_ms)) if !is_known && knowledge.last_tick_ms < Some(seen_ms) => {
                    missed.extend((at_ms <= seen_ms).then_some((series, seen_ms)));
                }
                Some(_) | None if is_known => {}
                Some(_) | None => {
                    if !running.owed.iter().any(|(owed, _)| *owed == series) {
                        running.owed.push((series, at_ms));
                    }
                }
            }
        }
        for (series, seen_ms) in missed {
            self.mark(n, series, seen_ms, moment);
        }
        self.wake_at(number, 0);
        true
    }

    /// As `scrape::{loops, handover}` do.
    fn end(&mut self, knowledge: &Knowledge, moment: &mut Moment<'_>) {
        let (target, now_ms) = (&knowledge.target, moment.fleet_us.div_euclid(1000));
        let last_ms = knowledge.last_tick_ms.unwrap_or(i64::MIN);
        if self.adopt(knowledge, moment) || self.past.has_ended_after(&name_of(target), last_ms) {
            return;
        }
        self.past.add(name_of(target), last_ms.saturating_add(1), now_ms);
        if knowledge.last_tick_ms.is_none() {
            return;
        }
        let at_ms = Grid::of(target).first_after(last_ms);
        let series = series_of(knowledge);
        if !series.is_empty() {
            self.samples.push(((target.key, at_ms), last_ms + 1));
        }
        for (series, _) in series {
            self.mark(index(target), series, at_ms, moment);
        }
    }

    fn mark(&mut self, target: usize, series: u64, timestamp_ms: i64, moment: &Moment<'_>) {
        let (by, written_ms) = (moment.me, moment.air.now_ms);
        self.markers.push(Marker { target, series, timestamp_ms, written_ms, by });
    }

    fn wake_at(&mut self, number: u64, at_us: i64) {
        let Some(running) = self.running.get_mut(&number) else { return };
        self.wakes.remove(&(running.wake_us, number));
        running.wake_us = at_us;
        self.wakes.insert((at_us, number));
    }

    pub(crate) fn step(&mut self, moment: &mut Moment<'_>) {
        // A process that stood still sees the time that it is; any other wakes as it asked to.
        let step_us = STEP_MS as i64 * 1000;
        let floor_us = moment.fleet_us - step_us;
        let floor_us = if self.stepped_us < floor_us { moment.fleet_us } else { floor_us };
        self.stepped_us = moment.fleet_us;
        while let Some(&(at_us, number)) = self.wakes.first() {
            if at_us > moment.fleet_us {
                break;
            }
            self.wakes.pop_first();
            let now_us = at_us.clamp(floor_us, moment.fleet_us);
            // Orders come at the end of a step.
            let now_us = if at_us == 0 { moment.fleet_us } else { now_us };
            self.turn(number, now_us, moment);
        }
    }

    fn turn(&mut self, number: u64, now_us: i64, moment: &mut Moment<'_>) {
        let running = self.running.get_mut(&number).unwrap();
        if let Some(under_way) = &running.under_way {
            if under_way.ends_us > now_us {
                let ends_us = under_way.ends_us;
                self.wake_at(number, ends_us);
                return;
            }
            self.scraped(number, moment);
        }
        if !moment.may_scrape {
            self.wake_at(number, now_us + LEASE_PAUSE_US);
            return;
        }
        let running = self.running.get_mut(&number).unwrap();
        match running.course {
            Course::Scrape if self.on_hold => {}
            Course::Scrape => match running.schedule.turn(now_us) {
                Turn::Sleep(wait) => self.sleep(number, now_us, wait),
                Turn::Take(tick) => self.scrape(number, now_us, Some(tick.due_ms), moment),
                Turn::CatchUp => self.scrape(number, now_us, None, moment),
                Turn::Idle => {}
            },
            Course::Leave(Ending::Moved) if self.on_hold => self.depart(number),
            Course::Leave(Ending::Moved) => match running.schedule.turn(now_us) {
                Turn::Sleep(wait) => self.sleep(number, now_us, wait),
                Turn::Take(tick) => self.scrape(number, now_us, Some(tick.due_ms), moment),
                Turn::CatchUp | Turn::Idle => self.depart(number),
            },
            Course::Leave(Ending::Gone) => {
                let at_ms = running.schedule.end_ms();
                if running.schedule.is_mine(running.schedule.first_missed_ms())
                    && let Turn::Sleep(wait) = running.schedule.turn(now_us)
                {
                    self.sleep(number, now_us, wait);
                    return;
                }
                self.end_series(number, at_ms, moment);
            }
        }
    }

    fn sleep(&mut self, number: u64, now_us: i64, wait: Duration) {
        self.wake_at(number, now_us + i64::try_from(wait.as_micros()).unwrap());
    }

    fn scrape(&mut self, number: u64, now_us: i64, due_ms: Option<i64>, moment: &mut Moment<'_>) {
        let running = self.running.get_mut(&number).unwrap();
        let air = &mut *moment.air;
        let n = index(&running.target);
        // How far this step's end, by which the world's time is told, is ahead of the waking.
        let at_ms = air.now_ms - (moment.fleet_us - now_us) / 1000;
        let clock_ms = now_us.div_euclid(1000);
        let timestamp_ms =
            due_ms.map_or(clock_ms, |due_ms| running.schedule.timestamp_ms(due_ms, now_us));
        let since_ms = running.file_under(due_ms.unwrap_or(clock_ms));
        air.tally.scraped += 1;
        air.tally.catch_ups += usize::from(due_ms.is_none());
        air.scrapes[n].push(Scraped { due_ms, at_ms, by: moment.me });
        let series = air.truths[n].series_at(at_ms);
        let interval_ms = i64::try_from(running.target.interval.as_millis()).unwrap();
        let took_ms = air.rng.random_range(2..SCRAPE_MS_MAX.min(interval_ms / 3));
        let ends_us = now_us + took_ms * 1000;
        running.under_way = Some(UnderWay { ends_us, timestamp_ms, since_ms, series });
        self.wake_at(number, ends_us);
    }

    fn scraped(&mut self, number: u64, moment: &Moment<'_>) {
        let running = self.running.get_mut(&number).unwrap();
        let Some(UnderWay { timestamp_ms, since_ms, series, .. }) = running.under_way.take() else {
            return;
        };
        self.samples.push(((running.target.key, timestamp_ms), since_ms));
        let before = running.seen.replace((series, timestamp_ms));
        let owed = std::mem::take(&mut running.owed);
        let n = index(&running.target);
        for (ended, last_ms) in before.into_iter().chain(owed) {
            if ended != series && last_ms <= timestamp_ms {
                self.mark(n, ended, timestamp_ms, moment);
            }
        }
    }

    fn depart(&mut self, number: u64) {
        let running = self.let_go(number);
        let last_tick_ms = running.schedule.last_ms();
        let series = running
            .seen
            .into_iter()
            .chain(running.owed)
            .flat_map(|(series, at_ms)| [series.to_le_bytes(), at_ms.to_le_bytes()].concat());
        let series: Vec<u8> = series.collect();
        let target = Arc::clone(&running.target);
        self.reports.push(Report::Left(Knowledge { target, last_tick_ms, series: series.into() }));
        self.sealed_by(running.slot, number);
    }

    fn end_series(&mut self, number: u64, at_ms: i64, moment: &Moment<'_>) {
        let now_ms = moment.fleet_us.div_euclid(1000);
        let mut running = self.let_go(number);
        let since_ms = running.file_under(at_ms);
        if running.seen.is_some() || !running.owed.is_empty() {
            self.samples.push(((running.target.key, at_ms), since_ms));
            self.past.add(name_of(&running.target), at_ms, now_ms);
        }
        let n = index(&running.target);
        for (series, _) in running.seen.into_iter().chain(running.owed) {
            self.mark(n, series, at_ms, moment);
        }
        self.sealed_by(running.slot, number);
    }

    fn let_go(&mut self, number: u64) -> Running {
        let running = self.running.remove(&number).unwrap();
        self.wakes.remove(&(running.wake_us, number));
        let n = index(&running.target);
        if self.leaving.get(&n) == Some(&number) {
            self.leaving.remove(&n);
        }
        running
    }

    fn sealed_by(&mut self, slot: Slot, number: u64) {
        if self.seals.end(slot, number) {
            self.reports.push(Report::Sealed { slot });
        }
    }

    pub(crate) fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    pub(crate) fn take_samples(&mut self, air: &mut Air) -> Vec<Sample> {
        air.markers.append(&mut self.markers);
        std::mem::take(&mut self.samples)
    }
}

fn series_of(knowledge: &Knowledge) -> Vec<(u64, i64)> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let chunks = knowledge.series.chunks_exact(16);
    chunks.map(|one| (number(&one[..8]), number(&one[8..]).cast_signed())).collect()
}
