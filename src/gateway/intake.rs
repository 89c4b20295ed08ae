//! The owner's side: takes parcels, its own and those of other members, puts what is new of them into
//! the outbox and answers when it is on disk. Many that wait are taken together, so that one sync of
//! the disk serves them all. A shell: `taking` and `ledger` decide.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Duration, MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

use crate::{
    config::Replicas,
    fleet::channel::{self, Topic},
    gateway::{
        copier::Copier,
        ledger::{Bounds, Ledger},
        loads::PushedLoads,
        meters::Meters,
        parcel::{Answer, Message, Parcel, Promise, Refusal},
        replicas::Election,
        taking::{Memory, Taken, Terms, by_batch, part_of, take},
    },
    model::{
        member::NodeId,
        slot::{SLOTS, Slot},
    },
    outbox::{self, KeptSeries, NotKept, Press, PushOrigin},
    ownership::{balance::Loads, orders::Report, shares::Shares},
    runtime::{clock::FleetTime, config_state::ConfigState, lease::Lease, stop::Stop},
};

/// Parcels that wait to be taken, of all members; one more is refused.
pub(super) const ORDERS_MAX: usize = 128;
/// Bytes of parcels that are taken together.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// How often a part of the series is looked through for those that are silent.
const SWEEP: Duration = Duration::from_secs(1);
/// How often is looked how busy the slots are.
const WEIGH: Duration = Duration::from_secs(10);
/// All slots have their turn once a minute.
const SWEPT_SLOTS: u16 = SLOTS / 60 + 1;

/// A parcel, and who is to be told what became of it.
pub(super) struct Order {
    pub(super) parcel: Parcel,
    /// Nobody waits for the answer from then on (fleet time).
    pub(super) until_ms: i64,
    pub(super) reply: Reply,
}

pub(super) enum Reply {
    /// Who asked may have gone away.
    Here(oneshot::Sender<Answer>),
    Peer {
        to: NodeId,
        number: u64,
    },
}

/// What the intake hangs on.
pub(super) struct Links {
    pub(super) time: FleetTime,
    pub(super) lease: Lease,
    pub(super) shares: watch::Receiver<Shares>,
    pub(super) config: watch::Receiver<Arc<ConfigState>>,
    pub(super) outbox: outbox::Handle,
    pub(super) channel: Option<channel::Handle>,
    pub(super) seals: mpsc::Receiver<Vec<Slot>>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) loads: watch::Sender<Arc<Loads>>,
    pub(super) copier: Copier,
}

pub(super) struct Intake {
    links: Links,
    orders: mpsc::Receiver<Order>,
    memory: Memory,
    loads: PushedLoads,
    meters: Meters,
    /// Where the next look for silent series begins.
    next_slot: u16,
    /// It was told that there is nobody to keep copies.
    is_alone: bool,
}

impl Intake {
    pub(super) fn new(links: Links, meters: Meters) -> (mpsc::Sender<Order>, Self) {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let loads = PushedLoads::new(links.time.now_ms());
        let election = Election::new(Replicas::default().failover);
        let memory = Memory { ledger: Ledger::default(), election };
        (sender, Self { links, orders, memory, loads, meters, next_slot: 0, is_alone: false })
    }

    /// Until told to stop; what was taken by then is answered.
    pub(super) async fn run(mut self, stop: Stop) {
        let mut weighing = interval(WEIGH);
        weighing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_raised() {
            tokio::select! {
                // A slot that another waits for comes before what may be refused by then.
                biased;
                () = stop.raised() => {}
                Some(slots) = self.links.seals.recv() => self.seal(slots).await,
                Some(first) = self.orders.recv() => stop.during(self.take_group(first)).await,
                _ = sweeps.tick() => self.sweep(),
                _ = weighing.tick() => self.weigh(),
            }
        }
    }

    /// Nothing is on its way: what was taken before is in the outbox, and shares say already that the
    /// slot is another's.
    async fn seal(&mut self, slots: Vec<Slot>) {
        for slot in slots {
            self.memory.ledger.forget(slot);
            self.loads.forget(slot);
            // Nobody listens only when the agent ends.
            let _ = self.links.reports.send(Report::Sealed { slot }).await;
        }
    }

    fn sweep(&mut self) {
        let now_ms = self.links.time.now_ms();
        for _ in 0..SWEPT_SLOTS {
            let slot = Slot::new(self.next_slot).expect("it is below SLOTS");
            self.next_slot = (self.next_slot + 1) % SLOTS;
            self.memory.ledger.sweep(slot, now_ms);
        }
        self.meters.series.set(i64::try_from(self.memory.ledger.series()).unwrap_or(i64::MAX));
    }

    fn weigh(&mut self) {
        let loads = self.loads.look(self.links.time.now_ms());
        self.links.loads.send_replace(Arc::new(loads));
    }

    async fn take_group(&mut self, first: Order) {
        let mut bytes = first.parcel.fields.len();
        let mut orders = vec![first];
        while bytes < GROUP_BYTES_MAX
            && let Ok(order) = self.orders.try_recv()
        {
            bytes += order.parcel.fields.len();
            orders.push(order);
        }
        let answers = self.answer(&orders).await;
        for (order, answer) in orders.into_iter().zip(answers) {
            self.reply(order.reply, answer);
        }
    }

    async fn answer(&mut self, orders: &[Order]) -> Vec<Answer> {
        if !self.links.lease.is_valid() {
            return vec![Answer::Refused(Refusal::NotNow); orders.len()];
        }
        let mut taken = Vec::new();
        let mut answers = self.judge(orders, &mut taken);
        if taken.is_empty() {
            self.memory.ledger.settle();
            return answers;
        }
        for one in &taken {
            self.loads.add(one.stream.slot());
        }
        let packed = self.press(orders, &taken);
        let promise = orders.iter().map(|order| order.parcel.promise).max().unwrap_or_default();
        let kept = match promise {
            Promise::Memory => self.links.outbox.queue(packed).await,
            Promise::Durable => self.links.outbox.keep(packed).await,
            Promise::Replicated => self.keep_twice(packed).await,
        };
        let refusal = match kept {
            Ok(()) => {
                self.memory.ledger.settle();
                return answers;
            }
            Err(NotKept::Full) => Refusal::Full,
            Err(NotKept::Disk(error)) => {
                debug!(error, "pushed samples can't be kept on disk");
                Refusal::Disk
            }
            // A tenant's name is looked at where it comes in.
            Err(NotKept::Ended | NotKept::BadTenant) => Refusal::NotNow,
        };
        self.memory.ledger.take_back();
        answers.fill(Answer::Refused(refusal));
        answers
    }

    /// While the disk here is busy, so is another member's.
    async fn keep_twice(&mut self, packed: outbox::Packed) -> Result<(), NotKept> {
        let mut under_way = self.links.outbox.begin_to_keep(packed).await?;
        let records = std::mem::take(&mut under_way.records);
        let (kept, copied) = tokio::join!(under_way.kept(), self.links.copier.copy(records));
        self.look_for_company(copied?);
        kept
    }

    fn look_for_company(&mut self, alone: u64) {
        self.meters.unreplicated(alone);
        if alone > 0 && !self.is_alone {
            warn!("there is nobody else who could keep what is pushed, it is on one disk alone");
        } else if alone == 0 && self.is_alone {
            info!("what is pushed is on two disks again");
        }
        self.is_alone = alone > 0;
    }

    fn judge(&mut self, orders: &[Order], taken: &mut Vec<Taken>) -> Vec<Answer> {
        let shares = self.links.shares.borrow().clone();
        let config = Arc::clone(&self.links.config.borrow().config);
        let replicas = config.gateway.metrics.as_ref().and_then(|own| own.replicas.as_ref());
        if let Some(replicas) = replicas {
            self.memory.election.set_failover(replicas.failover);
        }
        let now_ms = self.links.time.now_ms();
        let (pipeline, late_ms_max) = (super::pipeline_of(&config), super::late_ms_max(&config));
        let judge = |(number, order): (u32, &Order)| {
            let tenant = &order.parcel.tenant;
            let limits = config.gateway.metrics.as_ref().map(|own| own.limits.of(tenant));
            let series_max = limits.map_or(0, |limits| limits.active_series_max);
            let series_max = part_of(series_max, tenant, &shares, now_ms);
            let bounds = Bounds { late_ms_max, series_max };
            let until_ms = order.until_ms;
            let terms = Terms { shares: &shares, pipeline, bounds, until_ms, now_ms };
            let (mark, before) = (self.memory.ledger.mark(), taken.len());
            match take(&order.parcel, number, &terms, &mut self.memory, taken) {
                Ok((exceptions, passed_over)) => {
                    self.meters.repeated(passed_over.repeats);
                    self.meters.of_other_replicas(passed_over.of_other_replicas);
                    Answer::Kept(exceptions)
                }
                Err(refusal) => {
                    self.memory.ledger.take_back_to(mark);
                    taken.truncate(before);
                    Answer::Refused(refusal)
                }
            }
        };
        (0..).zip(orders).map(judge).collect()
    }

    fn press(&self, orders: &[Order], taken: &[Taken]) -> outbox::Packed {
        let shapings = Arc::clone(&self.links.outbox.shapings().borrow());
        let mut press = Press::new(shapings);
        let mut before: Option<(&Taken, &Arc<str>)> = None;
        for one in by_batch(taken) {
            let parcel = &orders[one.parcel as usize].parcel;
            let is_same = before.is_some_and(|(other, tenant)| {
                (other.stream, other.round) == (one.stream, one.round) && **tenant == *parcel.tenant
            });
            if !is_same {
                press.begin(PushOrigin {
                    tenant: Arc::clone(&parcel.tenant),
                    stream: one.stream,
                    round: one.round,
                    since_ms: Some(one.since_ms),
                });
            }
            before = Some((one, &parcel.tenant));
            let start = one.start as usize;
            press.add(KeptSeries {
                field: &parcel.fields[start..start + one.bytes as usize],
                timestamp_ms: one.timestamp_ms,
                is_plain: one.is_plain,
            });
        }
        press.finish()
    }

    fn reply(&self, reply: Reply, answer: Answer) {
        match reply {
            Reply::Here(asked) => {
                let _ = asked.send(answer);
            }
            Reply::Peer { to, number } => {
                if let Some(channel) = &self.links.channel {
                    // Who hears nothing asks again.
                    channel.send(to, Topic::Push, Message::answer(number, answer));
                }
            }
        }
    }
}
