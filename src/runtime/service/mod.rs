//! What the service manager is told: that the agent is ready, how it fares, that it lives, and that
//! it needs more time. This file is the loop around the rules, which decides nothing; without a
//! service manager it still watches the parts.

mod inherited;
mod manager;
mod rules;
pub mod sockets;
mod words;

use std::{
    mem::{Discriminant, discriminant},
    sync::Arc,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{info, warn};

pub use self::{
    inherited::Inherited,
    manager::{Manager, keep},
    rules::{Left, Patience},
    words::{Facts, QueueFacts},
};
use self::{
    rules::{EXTENSION, Extension, Feeding, WatchdogRule},
    words::status,
};
use crate::runtime::{pulse::Pulses, stop::Stop};

/// How often the facts are looked at; a status goes out no more often, save when the stage changes.
const LOOK: Duration = Duration::from_secs(3);
/// Within the limit of the watchdog the parts are looked at so often.
const LOOKS_A_LIMIT: u32 = 20;
/// The limit where no service manager has one: what hangs is told all the same.
const LIMIT_DEFAULT: Duration = Duration::from_secs(20);
/// Reloads that nobody has been told of; the next one waits.
const ORDERS_MAX: usize = 4;

/// How far the agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Starting {
        /// What it does, as in "starting: opens the queues".
        does: &'static str,
        /// `false`: it waits for an operator, and the service manager need not wait with it.
        goes_on: bool,
    },
    Ready,
    /// It gives its share to the others.
    Leaving(Left),
    Stopping,
}

/// How the agent fares at this moment.
pub type Look = Box<dyn Fn() -> Facts + Send + Sync>;

enum Order {
    Look(Look),
    Reloading,
    Reloaded,
}

#[derive(Clone)]
pub struct Handle {
    stage: Arc<watch::Sender<Stage>>,
    orders: mpsc::Sender<Order>,
}

impl Handle {
    pub fn stage(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// What the status is made of from now on.
    pub async fn look(&self, look: Look) {
        self.order(Order::Look(look)).await;
    }

    pub async fn reloading(&self) {
        self.order(Order::Reloading).await;
    }

    pub async fn reloaded(&self) {
        self.order(Order::Reloaded).await;
    }

    async fn order(&self, order: Order) {
        // Nobody listens only when the agent ends.
        let _ = self.orders.send(order).await;
    }
}

pub struct Service {
    manager: Manager,
    pulses: Pulses,
    stage: watch::Receiver<Stage>,
    /// The kind of stage that was told last, and since when it lasts.
    told: Option<Discriminant<Stage>>,
    stage_since: Instant,
    orders: mpsc::Receiver<Order>,
    look: Option<Look>,
    facts: Option<Facts>,
    looked_at: Instant,
    watchdog: WatchdogRule,
    limit: Duration,
    /// Those of whom was told that they do not answer.
    silent: Vec<Arc<str>>,
    extension: Extension,
    is_ready_told: bool,
    last_status: String,
}

impl Service {
    pub fn new(manager: Manager, limit: Option<Duration>, pulses: Pulses) -> (Handle, Self) {
        let first = Stage::Starting { does: "reads its configuration", goes_on: true };
        let (stage, seen) = watch::channel(first);
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        let now = Instant::now();
        let part = Self {
            manager,
            pulses,
            stage: seen,
            told: None,
            stage_since: now,
            orders,
            look: None,
            facts: None,
            looked_at: now,
            watchdog: WatchdogRule::new(limit, now),
            limit,
            silent: Vec::new(),
            extension: Extension::default(),
            is_ready_told: false,
            last_status: String::new(),
        };
        (Handle { stage: Arc::new(stage), orders: sender }, part)
    }

    /// Tells until it is told to stop, which is the last thing that the agent does.
    pub async fn run(mut self, stop: Stop) {
        let mut ticks = interval((self.limit / LOOKS_A_LIMIT).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.pulses.raise();
        self.stage.mark_changed();
        loop {
            tokio::select! {
                // What was ordered before the stage changed is part of it.
                biased;
                () = stop.raised() => return,
                Some(order) = self.orders.recv() => self.obey(order).await,
                Ok(()) = self.stage.changed() => self.stage_changed().await,
                _ = ticks.tick() => self.time_passed().await,
            }
        }
    }

    async fn stage_changed(&mut self) {
        let stage = *self.stage.borrow_and_update();
        let is_starting = matches!(stage, Stage::Starting { .. });
        // How far it is within a stage is told in time; each step of a start at once.
        if self.told.replace(discriminant(&stage)) == Some(discriminant(&stage)) && !is_starting {
            return;
        }
        self.stage_since = Instant::now();
        self.look_again();
        match stage {
            Stage::Ready if !self.is_ready_told => {
                self.is_ready_told = true;
                // Before READY, so that whoever waits for it finds more than its beginning.
                self.tell_status(stage).await;
                self.manager.tell(&[NotifyState::Ready]).await;
            }
            Stage::Leaving(_) | Stage::Stopping => {
                self.manager.tell(&[NotifyState::Stopping]).await;
                self.tell_status(stage).await;
            }
            Stage::Ready | Stage::Starting { .. } => self.tell_status(stage).await,
        }
        self.extend(stage).await;
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Look(look) => {
                self.look = Some(look);
                self.look_again();
            }
            Order::Reloading if self.is_ready_told => {
                // Systemd 253 and newer compare the time with the moment at which they asked.
                let now = NotifyState::monotonic_usec_now();
                let now = now.unwrap_or(NotifyState::MonotonicUsec(0));
                self.manager.tell(&[NotifyState::Reloading, now]).await;
            }
            Order::Reloaded if self.is_ready_told => {
                self.manager.tell(&[NotifyState::Ready]).await;
            }
            Order::Reloading | Order::Reloaded => {}
        }
    }

    async fn time_passed(&mut self) {
        let stage = *self.stage.borrow();
        self.watch(stage).await;
        if self.looked_at.elapsed() >= LOOK {
            self.look_again();
            self.tell_status(stage).await;
        }
        self.extend(stage).await;
    }

    async fn watch(&mut self, stage: Stage) {
        let silent = self.pulses.silent();
        match self.watchdog.look(Instant::now(), silent.is_empty()) {
            Feeding::NotYet => {}
            Feeding::Due => {
                self.manager.tell(&[NotifyState::Watchdog]).await;
                self.pulses.raise();
                if !std::mem::take(&mut self.silent).is_empty() {
                    info!("all parts answer again");
                    self.tell_status(stage).await;
                }
            }
            Feeding::Late => {
                let (parts, seconds) = (silent.join(", "), self.limit.as_secs());
                warn!(
                    parts,
                    seconds,
                    "parts of the agent do not answer; a service manager with a watchdog restarts it when that goes on for so long"
                );
                self.silent = silent;
                self.tell_status(stage).await;
            }
        }
    }

    fn look_again(&mut self) {
        self.looked_at = Instant::now();
        self.facts = self.look.as_ref().map(|look| look());
    }

    async fn tell_status(&mut self, stage: Stage) {
        let status = status(stage, self.facts.as_ref(), &self.silent);
        if status != self.last_status {
            self.manager.tell(&[NotifyState::Status(&status)]).await;
            self.last_status = status;
        }
    }

    async fn extend(&mut self, stage: Stage) {
        if self.extension.is_due(stage, self.stage_since, Instant::now()) {
            let microseconds = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
            self.manager.tell(&[NotifyState::ExtendTimeoutUsec(microseconds)]).await;
        }
    }
}

#[cfg(test)]
mod tests;
