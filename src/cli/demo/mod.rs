//! `starling demo`: a flock on this machine. In this process those that have something to say and a
//! receiving end that checks each sample; between them agents, each a process that can be killed.

mod agent;
mod event;
mod flock;
mod folder;
mod introduction;
mod pushing;
mod rates;
mod receiver;
mod scraping;
pub(super) mod server;
mod show;
mod watch;

use std::{io, process::ExitCode, time::Duration};

use clap::Args;

use crate::{
    cli::{
        demo::{
            flock::{Change, Flock},
            introduction::Surroundings,
            pushing::Pushing,
            scraping::Scraping,
            show::Told,
            watch::Watch,
        },
        runtime, signals, threads_default,
    },
    runtime::{
        log::{self, Format},
        stop::Stop,
    },
};

#[derive(Args)]
pub(super) struct Flags {
    /// Show the gateway: agents that are pushed to, by edges that take them in turn
    #[arg(long)]
    gateway: bool,
    /// So many agents
    #[arg(long, value_name = "NUMBER", default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=AGENTS_MAX))]
    agents: u8,
    /// Seconds between two scrapes of a target, or two pushes of an edge
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

/// One of the demos: what is around the agents, and what is made of it. The rest is alike.
trait Story: Sized {
    /// `stop` ends all that is around the agents; it outlives them, as they flush when they end.
    async fn start(flags: &Flags, stop: &Stop) -> io::Result<(Self, Flock)>;

    fn surroundings(&self, flock: &Flock) -> Surroundings;

    fn changed(&mut self, change: Change, flock: &Flock) -> Box<dyn Told>;

    /// What has come to pass and was not told yet.
    fn next_event(&mut self) -> Option<Box<dyn Told>>;

    fn summary(&mut self, elapsed: Duration) -> Box<dyn Told>;

    /// Nothing new is begun, and the agents are to be stopped.
    async fn rest(&mut self);

    /// When all have ended: whether all was as promised, and the last word. To hear nothing is no good
    /// sign where there was `time_enough`.
    fn verdict(self, time_enough: bool) -> (bool, Box<dyn Told>);
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode, String> {
    let _floods = log::install("error", Format::Text)?;
    let runtime = runtime(threads_default())?;
    if flags.gateway {
        runtime.block_on(tell::<Pushing>(flags))
    } else {
        runtime.block_on(tell::<Scraping>(flags))
    }
}

async fn tell<S: Story>(flags: &Flags) -> Result<ExitCode, String> {
    let signals = signals::listen()?;
    let stop = Stop::new();
    let started = S::start(flags, &stop).await;
    let (story, flock) = started.map_err(|e| format!("can't start the demo: {e}"))?;
    let watch = Watch::new(story, flock, stop, flags.json);
    let is_sound = watch.run(flags.seconds.map(Duration::from_secs), signals).await?;
    Ok(u8::from(!is_sound).into())
}
