//! `starling demo`: a flock on this machine. Example targets and a receiving end that checks each
//! sample, in this process; between them agents, each a process that can be killed.

mod agent;
mod event;
mod folder;
mod kills;
mod ledger;
mod receiver;
pub(super) mod server;
mod show;
mod summary;
mod targets;
mod verdict;

use std::{io, process::ExitCode, time::Duration};

use clap::Args;
use futures_util::future::{join_all, select_all};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::{
    cli::{
        demo::{
            agent::{Agent, Common, Departure},
            event::{Event, Events},
            folder::Folder,
            receiver::Receiver,
            show::Show,
            summary::Summary,
            targets::Example,
            verdict::Verdict,
        },
        runtime,
        signals::{self, Signals},
        threads_default,
    },
    runtime::{
        clock,
        log::{self, Format},
        stop::Stop,
    },
};

#[derive(Args)]
pub(super) struct Flags {
    /// So many agents
    #[arg(long, value_name = "NUMBER", default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=AGENTS_MAX))]
    agents: u8,
    /// Seconds between two scrapes of a target
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=INTERVAL_SECONDS_MAX))]
    interval: u8,
    /// End after that many seconds; exit code 1 if a sample was missing, came twice or out of order,
    /// or if a killed agent's targets waited for too long
    #[arg(long)]
    seconds: Option<u64>,
    /// Print events and the summary as one JSON object a line
    #[arg(long)]
    json: bool,
    /// What the agents log, each to its file: error, warn, info, debug or trace
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    level: String,
}

/// More than a small machine carries beside everything else it does.
const AGENTS_MAX: i64 = 9;
/// Longer, and the demo is no longer one to watch.
const INTERVAL_SECONDS_MAX: i64 = 60;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn run(flags: &Flags) -> Result<ExitCode, String> {
    let _floods = log::install("error", Format::Text)?;
    runtime(threads_default())?.block_on(async {
        let signals = signals::listen()?;
        let demo = Demo::start(flags).await.map_err(|e| format!("can't start the demo: {e}"))?;
        let watch = Watch {
            demo,
            show: Show::new(flags.json),
            start: Instant::now(),
            events: Events::default(),
            summary: None,
        };
        watch.show.introduction(&watch.demo).map_err(|e| e.to_string())?;
        watch.run(flags.seconds.map(Duration::from_secs), signals).await
    })
}

/// All that runs, and what it stands on.
struct Demo {
    folder: Folder,
    receiver: Receiver,
    examples: Vec<Example>,
    agents: Vec<Agent>,
    /// Of targets and receiving end; they outlive the agents, which flush when they end.
    stop: Stop,
}

impl Demo {
    async fn start(flags: &Flags) -> io::Result<Self> {
        let count = usize::from(flags.agents);
        let stop = Stop::new();
        let folder = Folder::new()?;
        let interval = Duration::from_secs(flags.interval.into());
        let receiver = Receiver::start(interval, count, &stop).await?;
        let examples = targets::start(&stop).await?;
        folder.write(&examples)?;
        let common = Common {
            agents: count,
            folder: folder.path(),
            receiver: receiver.address(),
            interval,
            log_level: &flags.level,
        };
        let agents = agent::start(&common)?;
        Ok(Self { folder, receiver, examples, agents, stop })
    }

    /// The next agent that ends; for ever where none is left.
    async fn next_gone(&mut self) -> Result<(usize, Departure), String> {
        let living = self.agents.iter_mut().enumerate().filter(|(_, agent)| agent.is_up());
        let ends: Vec<_> = living
            .map(|(index, agent)| Box::pin(async move { (index, agent.gone().await) }))
            .collect();
        if ends.is_empty() {
            return std::future::pending().await;
        }
        let ((index, how), ..) = select_all(ends).await;
        Ok((index, how?))
    }
}

/// The demo, and what was told of it.
struct Watch {
    demo: Demo,
    show: Show,
    start: Instant,
    events: Events,
    summary: Option<Summary>,
}

impl Watch {
    /// Until somebody stops it, the time is over, or no agent is left.
    async fn run(
        mut self,
        length: Option<Duration>,
        mut signals: Signals,
    ) -> Result<ExitCode, String> {
        let until = self.start + length.unwrap_or(YEAR);
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.demo.agents.iter().any(Agent::is_up) {
            tokio::select! {
                () = signals.stop.raised() => break,
                // The terminal is gone.
                Some(()) = signals.hangups.recv() => break,
                () = sleep_until(until) => break,
                gone = self.demo.next_gone() => {
                    let (agent, how) = gone?;
                    self.gone(agent, how).map_err(|e| e.to_string())?;
                }
                _ = ticks.tick() => self.look(false).map_err(|e| e.to_string())?,
            }
        }
        self.stop_agents().await?;
        self.demo.stop.raise();
        let mut ledger = self.demo.receiver.ledger();
        let some_stayed = ledger.kills().departures().contains(&None);
        if some_stayed && ledger.kills().is_calm() {
            for example in &self.demo.examples {
                ledger.close(&example.address, example.scrapes());
            }
        }
        let nothing_arrived = length.is_some() && ledger.totals().samples == 0;
        let verdict = Verdict { ledger: &ledger, nothing_arrived };
        self.show.verdict(&verdict).map_err(|e| e.to_string())?;
        Ok(u8::from(!verdict.is_sound()).into())
    }

    fn gone(&mut self, agent: usize, how: Departure) -> io::Result<()> {
        let targets = self.demo.receiver.ledger().gone(agent, how, clock::now_ms());
        self.tell(&Event::Gone { agent, how, targets })?;
        if !self.demo.agents.iter().any(Agent::is_up) {
            self.tell(&Event::NobodyLeft)?;
        }
        self.look(true)
    }

    fn look(&mut self, mut has_changed: bool) -> io::Result<()> {
        loop {
            let event = self.events.next(&self.demo.receiver.ledger(), self.demo.examples.len());
            let Some(event) = event else { break };
            self.tell(&event)?;
            has_changed = true;
        }
        let elapsed = self.start.elapsed();
        let summary = Summary::of(&mut self.demo.receiver.ledger(), elapsed, self.summary.as_ref());
        self.show.summary(&summary, has_changed)?;
        self.summary = Some(summary);
        Ok(())
    }

    fn tell(&mut self, event: &Event) -> io::Result<()> {
        self.show.event(event, self.start.elapsed().as_secs())
    }

    /// All at once, each in order: their share, then what they have to send.
    async fn stop_agents(&mut self) -> Result<(), String> {
        let living: Vec<&mut Agent> =
            self.demo.agents.iter_mut().filter(|agent| agent.is_up()).collect();
        if living.is_empty() {
            return Ok(());
        }
        for agent in &living {
            agent.terminate();
        }
        self.show
            .event(&Event::Stopping, self.start.elapsed().as_secs())
            .map_err(|e| e.to_string())?;
        for stopped in join_all(living.into_iter().map(Agent::stopped)).await {
            stopped?;
        }
        Ok(())
    }
}
