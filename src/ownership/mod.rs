//! Who does what: slots have owners, targets and streams follow their slots, and when an owner
//! changes the old one hands over to the new one. The rules are pure (`assign`, `handoff` and what
//! they stand on); this file is the loop around them, which decides nothing.

pub mod assign;
pub mod balance;
mod borders;
pub mod differences;
mod division;
mod exchange;
mod forms;
mod handle;
pub mod handoff;
mod inheritance;
pub mod kept;
pub mod key;
mod leaving;
pub mod letter;
pub mod meters;
pub mod moves;
pub mod orders;
pub mod placement;
pub mod plan;
pub mod quorum;
mod saving;
mod scales;
mod sealing;
pub mod shares;
mod showing;
mod standing;
pub mod succession;
pub mod verify;
pub mod view;
mod weighing;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Duration, Instant, sleep_until},
};
use tracing::warn;

pub use crate::ownership::handle::Handle;
use crate::{
    config::OnPartition,
    discovery::Snapshot,
    fleet::{
        self,
        channel::{self, Topic},
        membership::{Description, Order},
        notice::Minority,
    },
    model::{
        member::{NodeId, Roster},
        slot::Slot,
    },
    outbox,
    ownership::{
        balance::Loads,
        borders::GivenUp,
        differences::Differences,
        division::Division,
        exchange::{Answer, Exchange, Present},
        forms::Forms,
        handoff::{Handoff, Line, Saved},
        inheritance::{Death, Inheritance},
        kept::Kept,
        leaving::Will,
        letter::Letter,
        orders::{Orders, Report},
        quorum::Base,
        saving::loaded,
        scales::Scales,
        sealing::Sealing,
        showing::{Condition, Showing, Shown},
        succession::Succession,
        view::{Drain, Quorum},
    },
    runtime::{clock::FleetTime, config_state::ConfigState, stop::Stop},
};

/// How often the rules are asked what time alone has brought about.
const TICK: Duration = Duration::from_millis(250);
/// By so long after its death a member is declared dead at the latest.
const DETECTION_MS: i64 = 5_000;
/// Of a part of a hand-over; it must fit a message of the peer channel with room to spare.
const PART_BYTES_MAX: u64 = 1 << 20;
const PART_RECORDS_MAX: usize = 1_000;
/// So long is waited for the overrides that others show, before anything is divided without them.
const OVERRIDES_WAIT: Duration = Duration::from_secs(3);
/// Of those who want something of this member's share; more wait.
const WILLS_MAX: usize = 4;

#[derive(Clone, Debug)]
pub struct Settings {
    pub me: NodeId,
    /// Where it keeps its files.
    pub folder: PathBuf,
    pub fence_max: Duration,
    pub on_partition: OnPartition,
    /// How long a changed job waits for the other members to have it, too.
    pub reload_grace: Duration,
}

/// What ownership hangs on.
pub struct Links {
    pub roster: watch::Receiver<Arc<Roster>>,
    pub status: watch::Receiver<Arc<fleet::Status>>,
    pub time: FleetTime,
    /// `None` for a member that is alone.
    pub fleet: Option<fleet::Handle>,
    pub peers: Option<(channel::Handle, channel::Inbox)>,
    pub found: watch::Receiver<Arc<Snapshot>>,
    pub config: watch::Receiver<Arc<ConfigState>>,
    pub outbox: outbox::Handle,
    pub pool: mpsc::Sender<Orders>,
    pub reports: mpsc::Receiver<Report>,
    /// How busy the slots are, as the pool has measured it.
    pub loads: watch::Receiver<Arc<Loads>>,
    /// The same of what is pushed, as who takes it has measured it.
    pub pushed: watch::Receiver<Arc<Loads>>,
    /// To who takes pushes: nothing of these slots is to be on its way to the outbox any more, then
    /// say `Report::Sealed` of each. `None` where nobody does.
    pub intake: Option<mpsc::Sender<Vec<Slot>>>,
}

pub struct Ownership {
    settings: Settings,
    links: Links,
    division: Division,
    forms: Forms,
    config_digest: u64,
    described: Option<Description>,
    exchange: Exchange,
    succession: Succession,
    differences: Differences,
    /// What the fleet is to be told when there is time.
    news: Vec<Order>,
    showing: Showing,
    base: Base,
    base_file: Kept,
    lines_file: Kept,
    deaths_file: Kept,
    scales: Scales,
    overrides_file: Kept,
    given_up: GivenUp,
    sealing: Sealing,
    wills: mpsc::Receiver<Will>,
    leaving: Option<oneshot::Sender<usize>>,
    drain: Drain,
    /// The fleet was met, or given up on: before that nothing is divided.
    is_met: bool,
    /// Since when others show overrides that are not here.
    behind_since: Option<Instant>,
    on_hold: bool,
    /// What the fleet was last told of the quorum.
    minority: Option<Minority>,
    /// The generation of the lease that the pool was last told of.
    granted: u64,
    next_tick: Instant,
}

impl Ownership {
    pub fn new(settings: Settings, links: Links, registry: &mut Registry) -> (Handle, Self) {
        let me = settings.me;
        let (shown, showing) = Showing::new(me, registry);
        let base_file = Kept::new(&settings.folder, "base");
        let lines_file = Kept::new(&settings.folder, "lines");
        let overrides_file = Kept::new(&settings.folder, "overrides");
        let deaths_file = Kept::new(&settings.folder, "deaths");
        let deaths: Vec<Death> = loaded(&deaths_file);
        let saved: Vec<(Line, Saved)> = loaded(&lines_file);
        let rules = Handoff::new(
            &handoff::Settings {
                me: settings.me,
                fence_ms_max: i64::try_from(settings.fence_max.as_millis()).unwrap_or(i64::MAX),
                part_records_max: PART_RECORDS_MAX,
                part_bytes_max: PART_BYTES_MAX,
            },
            links.outbox.destinations(),
            saved.into_iter().collect(),
        );
        let assign = assign::Settings { me: settings.me, detection_ms: DETECTION_MS };
        let (sender, wills) = mpsc::channel(WILLS_MAX);
        let part = Self {
            division: Division::new(assign),
            forms: Forms::default(),
            config_digest: 0,
            described: None,
            exchange: Exchange::new(rules, Inheritance::new(deaths), links.outbox.clone()),
            succession: Succession::default(),
            differences: Differences::default(),
            news: Vec::new(),
            showing,
            base: loaded(&base_file),
            base_file,
            lines_file,
            deaths_file,
            scales: Scales::new(me, loaded(&overrides_file)),
            overrides_file,
            given_up: GivenUp::default(),
            sealing: Sealing::default(),
            wills,
            leaving: None,
            drain: Drain::Working,
            is_met: false,
            behind_since: None,
            on_hold: false,
            minority: None,
            granted: 0,
            next_tick: Instant::now(),
            settings,
            links,
        };
        let Shown { view, owners, shares, moves } = shown;
        (Handle { wills: sender, view, owners, shares, moves }, part)
    }

    pub async fn run(mut self, stop: Stop) {
        let pool = self.links.pool.clone();
        let intake = self.links.intake.clone();
        self.links.roster.mark_changed();
        self.links.status.mark_changed();
        self.links.found.mark_changed();
        self.links.config.mark_changed();
        while !stop.is_raised() {
            let wake = self.wake_at();
            let has_orders = self.division.has_orders();
            tokio::select! {
                Ok(()) = self.links.status.changed() => self.status_changed(),
                Ok(()) = self.links.roster.changed() => self.roster_changed(),
                Ok(()) = self.links.found.changed() => self.found_changed().await,
                Ok(()) = self.links.config.changed() => self.config_changed().await,
                Ok(permit) = pool.reserve(), if has_orders => {
                    permit.send(self.division.take_orders());
                }
                Some(permit) = room(intake.as_ref()), if self.sealing.has_orders() => {
                    permit.send(self.sealing.take_orders());
                }
                Some(report) = self.links.reports.recv() => self.reported(report),
                answer = self.exchange.answered() => self.answered(answer),
                Some((from, bundle)) = receive(&mut self.links.peers) => self.read(from, &bundle),
                () = self.links.outbox.destinations_changed() => self.destinations_changed(),
                Ok(()) = self.links.loads.changed() => self.measured(),
                Ok(()) = self.links.pushed.changed() => self.measured(),
                Some(will) = self.wills.recv() => self.will(will).await,
                () = sleep_until(wake) => self.time_passed(),
                () = stop.raised() => break,
            }
            self.settle(&stop).await;
        }
    }

    fn now_ms(&self) -> i64 {
        self.links.time.now_ms()
    }

    fn wake_at(&self) -> Instant {
        let now_ms = self.now_ms();
        let border_ms = self.division.next_wake_ms(now_ms).filter(|_| self.is_met);
        let Some(border_ms) = border_ms else { return self.next_tick };
        let wait = Duration::from_millis((border_ms - now_ms).max(0).unsigned_abs());
        (Instant::now() + wait).min(self.next_tick)
    }

    fn present(&mut self) -> Present {
        let now_ms = self.now_ms();
        self.division.present(now_ms)
    }

    async fn found_changed(&mut self) {
        let found = Arc::clone(&self.links.found.borrow_and_update());
        self.forms.found(found);
        self.divide_found();
        self.describe().await;
    }

    fn divide_found(&mut self) {
        let now_ms = self.now_ms();
        let grace_ms = i64::try_from(self.settings.reload_grace.as_millis()).unwrap_or(i64::MAX);
        let is_agreed = self.is_agreed(now_ms);
        let found = self.forms.running(is_agreed, grace_ms, now_ms);
        let offset_ms = self.links.status.borrow().fleet_offset_ms;
        self.division.found(found, offset_ms);
    }

    fn time_passed(&mut self) {
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + TICK;
            let present = self.present();
            self.exchange.tick(&present);
            self.weigh();
            if self.behind_since.is_some() {
                self.status_changed();
            }
            self.base.observe(&present.roster, present.now_ms);
            self.look_at_hold();
            if self.forms.is_waiting() {
                self.divide_found();
            }
            self.ask_what_differs(present.now_ms);
            self.show(&present);
        }
    }

    fn show(&mut self, present: &Present) {
        let quorum = match self.settings.on_partition {
            OnPartition::ScrapeAll => None,
            OnPartition::MinorityStops => Some(Quorum::of(&self.base, &present.roster)),
        };
        let facts = &self.links.status.borrow().facts;
        let condition = Condition {
            on_hold: self.on_hold,
            drain: self.drain,
            quorum,
            told: self.scales.told(facts),
            overrides: self.scales.overrides(),
            override_conflicts: self.scales.conflicts(),
            passing: self.succession.len(),
        };
        self.showing.publish(&self.exchange, present, condition);
    }

    fn reported(&mut self, report: Report) {
        let present = self.present();
        match report {
            Report::Sealed { slot } => {
                if self.sealing.sealed(slot) {
                    self.exchange.sealed(slot, &present);
                }
            }
            Report::Left(knowledge) if knowledge.is_nothing() => {}
            Report::Left(knowledge) => {
                let slot = knowledge.target.key.slot();
                let fence_ms = self.given_up.until_ms(slot).unwrap_or(present.now_ms);
                self.succession.add(knowledge, fence_ms, present.now_ms);
            }
            Report::Gap { ms } => self.showing.gap(ms),
        }
    }

    fn answered(&mut self, answer: Answer) {
        let present = self.present();
        self.exchange.take_in(answer, self.settings.me, &present);
    }

    fn destinations_changed(&mut self) {
        let present = self.present();
        let mine = self.division.mine(present.now_ms);
        self.exchange.set_destinations(&mine, &present);
        self.exchange.hold(self.on_hold);
    }

    fn read(&mut self, from: NodeId, bundle: &[u8]) {
        match letter::unpack(bundle) {
            Ok(letters) => letters.into_iter().for_each(|letter| self.heard(from, letter)),
            Err(error) => {
                warn!(member_id = %from, %error, "a member sent what is no letter; is it of another version?");
            }
        }
    }

    fn heard(&mut self, from: NodeId, letter: Letter) {
        let present = self.present();
        match letter {
            Letter::Handoff { message, batches } => {
                self.exchange.heard(from, message, batches, &present);
            }
            Letter::Knowledge { number, fence_ms, knowledge } => {
                let slot = knowledge.target.key.slot();
                // Who is behind with the news is told again.
                if present.table.owner(slot) == Some(self.settings.me) {
                    self.division.adopt(knowledge, fence_ms);
                    self.send(from, Letter::Noted { number });
                }
            }
            Letter::Noted { number } => self.succession.noted(number),
            Letter::AskLoads => self.scales.asked_for_loads(from),
            Letter::Loads { version, vector } => self.scales.heard_loads(from, version, vector),
            Letter::AskOverrides => self.scales.asked_for_overrides(from),
            Letter::Overrides(overrides) => self.heard_overrides(from, overrides),
            Letter::AskDifference { job, targets } => self.asked_what_differs(from, job, &targets),
            Letter::Difference { job, first } => self.heard_what_differs(from, &job, first),
        }
    }

    /// What one event has brought about goes out.
    async fn settle(&mut self, stop: &Stop) {
        self.tell_fleet().await;
        self.tell_loads().await;
        let present = self.present();
        // An instant has passed whatever woke the loop. Were it noticed by the timer alone, another
        // event just behind the end of this member's share would find nothing to be handed over yet,
        // and a member that leaves would be gone with all of it.
        if self.is_met {
            self.division.passed(present.now_ms);
        }
        self.showing.moved(self.division.take_moves(), present.now_ms);
        if self.is_met {
            self.showing.owners(&present);
            self.showing.shares(self.division.shares());
        }
        self.division.take_gaps_ms().into_iter().for_each(|ms| self.showing.gap(ms));
        self.cross_borders(&present);
        let seals = self.exchange.take_seals();
        self.sealing.ask(&seals, self.links.intake.is_some());
        self.division.seal(seals);
        self.showing.exchanged(self.exchange.take_tally(), present.now_ms);
        self.keep();
        // A destination whose disk is slow takes its orders late.
        stop.during(self.exchange.flush()).await;
        let mut letters = self.exchange.take_letters();
        letters.extend(self.scales.take_letters());
        letters.extend(self.succession.take_due(|slot| present.table.owner(slot), present.now_ms));
        self.send_all(letters);
        let given_up = self.succession.take_given_up();
        if given_up > 0 {
            warn!(
                targets = given_up,
                "nobody took what is known of targets that have moved, series that end with the move end without a marker"
            );
        }
        self.look_at_leaving(&present);
    }

    fn send(&mut self, to: NodeId, letter: Letter) {
        self.send_all(vec![(to, letter)]);
    }

    fn send_all(&mut self, letters: Vec<(NodeId, Letter)>) {
        let mut by_peer: BTreeMap<NodeId, Vec<Letter>> = BTreeMap::new();
        for (to, letter) in letters {
            by_peer.entry(to).or_default().push(letter);
        }
        // What is this member's again by now needs no channel.
        for letter in by_peer.remove(&self.settings.me).into_iter().flatten() {
            self.heard(self.settings.me, letter);
        }
        let Some((channel, _)) = &self.links.peers else { return };
        for (to, letters) in by_peer {
            for bundle in letter::pack(letters) {
                // What does not get through is repeated by the rules.
                channel.send(to, Topic::Ownership, bundle);
            }
        }
    }
}

async fn receive(peers: &mut Option<(channel::Handle, channel::Inbox)>) -> Option<(NodeId, Bytes)> {
    match peers {
        Some((_, inbox)) => inbox.receive().await,
        None => std::future::pending().await,
    }
}

/// `None` where nobody takes pushes, or not any more.
async fn room(intake: Option<&mpsc::Sender<Vec<Slot>>>) -> Option<mpsc::Permit<'_, Vec<Slot>>> {
    match intake {
        Some(intake) => intake.reserve().await.ok(),
        None => None,
    }
}

#[cfg(test)]
mod tests;
