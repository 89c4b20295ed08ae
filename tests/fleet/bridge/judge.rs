//! What an event did: to the targets, by their own log; to what is stored, by a backend that takes
//! nothing out of order; and to what the members show of each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use starling::runtime::clock::now_ms;
use tokio::time::{Instant, sleep};

use super::{
    Timeline,
    backend::Backend,
    farm::{Farm, Scrape},
    lag::Lag,
    ledger::{Account, Window, account, lost, off_ms},
    watch::{FRESH_MS, Members, Watch},
};

/// Longer than a sample may be on its way in calm: an interval of the sender and a request.
pub(crate) const STORED_WITHIN: Duration = Duration::from_secs(4);
const AGREED_WITHIN: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What a killed member had not written yet, and the targets heard of.
const UNWRITTEN_MS: i64 = 2_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) members: usize,
    pub(crate) targets: usize,
    pub(crate) interval: Duration,
}

impl Size {
    pub(crate) fn interval_ms(self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap()
    }
}

pub(crate) struct Judge {
    pub(crate) size: Size,
    watch: Watch,
    farm: Farm,
    backend: Backend,
    lag: Lag,
    timeline: Timeline,
    /// What clocks showed when the timeline began.
    wall_ms: i64,
    /// Where it notes which samples were lost, for whoever looks for the cause.
    directory: PathBuf,
}

/// What it was like from an event on, until the fleet was calm again.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// From the event until all who should saw the fleet as it was; none: never.
    pub(crate) agreed_ms: Option<i64>,
    /// Of the scrapes, as the targets saw them.
    pub(crate) account: Account,
    /// Of the scrapes whose samples are stored.
    pub(crate) stored: Account,
    pub(crate) refused_order: usize,
    pub(crate) refused_duplicate: usize,
    pub(crate) refused_other: Vec<String>,
    pub(crate) lost_of_victims: usize,
    pub(crate) lost: Vec<Scrape>,
    /// The most that a stored time is off from when the target was asked.
    pub(crate) off_ms: i64,
    /// Who showed which healthy member as dead.
    pub(crate) false_deaths: BTreeSet<(usize, usize)>,
    pub(crate) notices: BTreeSet<String>,
    /// The most that this machine was late meanwhile, whoever waited.
    pub(crate) lag_ms: i64,
}

/// An event that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    at_ms: i64,
    mark: usize,
}

/// An event that is over, and what can't be asked for later.
#[derive(Clone, Debug)]
pub(crate) struct Over {
    judged: Judged,
    pub(crate) window: Window,
    pub(crate) mark: usize,
    has_agreed: bool,
    notices: BTreeSet<String>,
}

impl Over {
    /// Of the samples.
    fn looked(&self) -> Window {
        Window { from_ms: self.window.from_ms - UNWRITTEN_MS, to_ms: self.window.to_ms }
    }

    /// Whether it kept whoever made this scrape from telling of it.
    fn befell(&self, scrape: &Scrape) -> bool {
        self.judged.victims.contains(&scrape.member) && self.looked().has(scrape.at_ms)
    }
}

/// How an event is to be judged.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// Whom each observer has to see with a share in the end.
    pub(crate) expected: Expected,
    /// To whom it happened: neither what they see meanwhile nor what they could not tell counts.
    pub(crate) victims: Members,
    /// Looked on for so long after all agreed.
    pub(crate) after: Duration,
}

pub(crate) type Expected = BTreeMap<usize, Members>;

/// Each of them sees all of them.
pub(crate) fn among(members: &Members) -> Expected {
    members.iter().map(|&member| (member, members.clone())).collect()
}

impl Judge {
    /// With targets and a backend of its own; the members come later.
    pub(crate) async fn start(
        size: Size,
        watch: Watch,
        timeline: Timeline,
        directory: &Path,
    ) -> Self {
        let wall_ms = now_ms() - timeline.now_ms();
        let farm = Farm::start(size.targets, timeline).await;
        let backend = Backend::start(directory).await;
        let directory = directory.to_owned();
        let lag = Lag::start(timeline);
        Self { size, watch, farm, backend, lag, timeline, wall_ms, directory }
    }

    /// How much the backend has said so far.
    pub(crate) fn mark(&self) -> usize {
        self.backend.mark()
    }

    pub(crate) fn begin(&self) -> Begun {
        let begun = Begun { at_ms: self.timeline.now_ms(), mark: self.backend.mark() };
        println!("    {:>7} ms: begins", begun.at_ms);
        begun
    }

    /// Waits for agreement and for `after`, and tells what it was like.
    pub(crate) async fn end(&self, begun: Begun, judged: &Judged) -> Outcome {
        let over = self.over(begun, judged).await;
        sleep(STORED_WITHIN).await;
        self.outcome(&over, self.mark(), &[&over]).await
    }

    /// Waits for agreement and for `after`; what it was like is told later, of samples that are still
    /// on their way, too.
    pub(crate) async fn over(&self, begun: Begun, judged: &Judged) -> Over {
        let has_agreed = self.until_calm(&judged.expected).await;
        sleep(judged.after).await;
        Over {
            judged: judged.clone(),
            window: Window { from_ms: begun.at_ms, to_ms: self.timeline.now_ms() },
            mark: begun.mark,
            has_agreed,
            notices: self.notices(judged.expected.keys()),
        }
    }

    /// Not before `STORED_WITHIN` after it was over. What the backend has said up to `mark_end` is its.
    /// What the victims of `all` events could not tell counts nowhere.
    pub(crate) async fn outcome(&self, over: &Over, mark_end: usize, all: &[&Over]) -> Outcome {
        let Over { judged, window, mark, has_agreed, notices } = over;
        let window = *window;
        let log = self.farm.log();
        let seconds = (self.timeline.now_ms() - window.from_ms) / 1000 + 5;
        let stored = self.backend.stored(seconds).await;
        let is_victims = |scrape: &Scrape| all.iter().any(|event| event.befell(scrape));
        let (lost_of_victims, lost) = lost(&log, &stored, is_victims, over.looked());
        let arrived: Vec<Scrape> =
            log.iter().copied().filter(|scrape| stored.contains_key(&scrape.number)).collect();
        let refused = self.backend.refused(*mark..mark_end);
        let agreed = self.watch.agreed_ms(&judged.expected, window);
        let outcome = Outcome {
            agreed_ms: agreed.filter(|_| *has_agreed).map(|at_ms| at_ms - window.from_ms),
            account: self.account(&log, window),
            stored: self.account(&arrived, window),
            refused_order: refused.order.len(),
            refused_duplicate: refused.duplicate.len(),
            refused_other: refused.other,
            lost_of_victims,
            lost,
            off_ms: off_ms(&log, &stored, self.wall_ms),
            false_deaths: self.watch.false_deaths(&judged.expected, &judged.victims, window),
            notices: notices.clone(),
            lag_ms: self.lag.worst_ms(window),
        };
        self.note(&outcome);
        println!("    {:>7} ms: {}", window.to_ms, outcome.line(self.size.interval_ms()));
        outcome
    }

    /// What came later is not of this event.
    fn account(&self, log: &[Scrape], window: Window) -> Account {
        let log: Vec<Scrape> =
            log.iter().copied().filter(|scrape| scrape.at_ms < window.to_ms).collect();
        account(&log, self.size.targets, self.size.interval_ms(), window)
    }

    pub(crate) async fn settled(&self, expected: &Expected) {
        assert!(self.until_calm(expected).await, "no calm");
    }

    /// Until all see exactly those with a share whom they should, and nothing is handed over.
    pub(crate) async fn until_calm(&self, expected: &Expected) -> bool {
        let began = Instant::now();
        while began.elapsed() < AGREED_WITHIN {
            let is_calm = expected.iter().all(|(&observer, sharing)| {
                self.watch.latest(observer).is_some_and(|view| {
                    let is_fresh = self.timeline.now_ms() - view.at_ms < FRESH_MS;
                    is_fresh && view.sharing == *sharing && view.lines == 0
                })
            });
            if is_calm {
                return true;
            }
            sleep(LOOK_AGAIN).await;
        }
        for (&observer, sharing) in expected {
            let view = self.watch.latest(observer);
            println!("    no calm after {AGREED_WITHIN:?}: m{observer} of {sharing:?}: {view:?}");
        }
        false
    }

    fn notices<'o>(&self, observers: impl Iterator<Item = &'o usize>) -> BTreeSet<String> {
        let views = observers.filter_map(|&observer| self.watch.latest(observer));
        views.flat_map(|view| view.notices).collect()
    }

    /// For whoever looks for the cause.
    fn note(&self, outcome: &Outcome) {
        let mut file =
            File::options().create(true).append(true).open(self.directory.join("lost")).unwrap();
        for Scrape { target, member, at_ms, number } in &outcome.lost {
            let wall_ms = self.wall_ms + at_ms;
            writeln!(file, "target {target} by m{member} at {at_ms} = {wall_ms}: {number}")
                .unwrap();
        }
        writeln!(file, "---").unwrap();
    }
}

impl Outcome {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of an hour")]
    fn line(&self, interval_ms: i64) -> String {
        let Account { gap_ms, gap_target, missed, double } = self.account;
        let agreed = self.agreed_ms.map_or("never".to_owned(), |ms| format!("{ms} ms"));
        let intervals = gap_ms as f64 / interval_ms as f64;
        let lost: Vec<_> = self.lost.iter().take(5).collect();
        let deaths = &self.false_deaths;
        format!(
            "agreed {agreed}, gap {gap_ms} ms = {intervals:.2} (target {gap_target}), \
            missed {missed}, double {double}, stored: gap {} ms, missed {}, refused {} {} {:?}, lost {} {lost:?} and {} of \
            victims, times off by {} ms, false deaths {deaths:?}, {:?}; the machine was late by {} ms",
            self.stored.gap_ms,
            self.stored.missed,
            self.refused_order,
            self.refused_duplicate,
            self.refused_other,
            self.lost.len(),
            self.lost_of_victims,
            self.off_ms,
            self.notices,
            self.lag_ms,
        )
    }
}
