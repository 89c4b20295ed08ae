//! `starling demo`: everything on this machine, in this process. Example targets, an agent that is
//! run from a file as `starling run` would, and a receiving end that checks each sample.

mod ledger;
mod receiver;
mod server;
mod summary;
mod targets;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io::{self, IsTerminal, Write},
    net::TcpListener,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use serde_json::json;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    app,
    cli::{
        demo::{receiver::Receiver, summary::Summary, targets::Example},
        runtime, signals, threads_default,
    },
    config::TypedCluster,
    runtime::{
        log::{self, Format},
        stop::Stop,
        tasks,
    },
};

#[derive(Args)]
pub(super) struct Flags {
    /// End after that many seconds; exit code 1 if a sample was missing, came twice or out of order
    #[arg(long)]
    seconds: Option<u64>,
    /// Print the summary as one JSON object a line
    #[arg(long)]
    json: bool,
    /// What the agent logs to standard error: error, warn, info, debug or trace
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "error")]
    level: String,
}

/// How often the demo's targets are scraped.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often the summary line is written where it can't be written over.
const PLAIN_LINE_SECONDS: u64 = 5;
/// Where `starling run` listens too; any other port if that one is taken.
const PORT: u16 = 9733;

pub(super) fn run(flags: &Flags) -> Result<ExitCode, String> {
    log::install(&flags.level, Format::Auto)?;
    let deadline = flags.seconds.map(Duration::from_secs);
    runtime(threads_default())?.block_on(async {
        let stop = signals::listen()?.stop;
        let demo = Demo::start().await?;
        let show = Show::of(flags);
        show.introduction(&demo).map_err(|e| e.to_string())?;
        demo.watch(&show, deadline, stop).await
    })
}

struct Demo {
    folder: Folder,
    receiver: Receiver,
    examples: Vec<Example>,
    agents: Vec<Agent>,
    /// Of targets and receiving end; they outlive the agents, which flush when they end.
    stop: Stop,
}

impl Demo {
    async fn start() -> Result<Self, String> {
        let stop = Stop::new();
        let folder = Folder::new().map_err(|e| format!("can't make a temporary folder: {e}"))?;
        let receiver = Receiver::start(INTERVAL, &stop).await.map_err(|e| e.to_string())?;
        let examples = targets::start(&stop).await.map_err(|e| e.to_string())?;
        let agent = Agent::start("starling-1", &folder.0, &examples, &receiver)
            .map_err(|e| format!("can't prepare an agent: {e}"))?;
        Ok(Self { folder, receiver, examples, agents: vec![agent], stop })
    }

    /// Until somebody stops it, or the time is over.
    async fn watch(
        mut self,
        show: &Show,
        length: Option<Duration>,
        stop: Stop,
    ) -> Result<ExitCode, String> {
        let start = Instant::now();
        let until = start + length.unwrap_or(Duration::from_secs(365 * 24 * 3600));
        let mut summary = Summary::new(self.agents.iter().map(Agent::url).collect());
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.raised() => break,
                () = sleep_until(until) => break,
                ended = first_to_end(&mut self.agents) => return Err(ended),
                _ = ticks.tick() => {
                    summary.ask(&self.receiver.ledger(), start.elapsed()).await;
                    show.summary(&summary).map_err(|e| e.to_string())?;
                }
            }
        }
        for agent in self.agents {
            agent.stop().await?;
        }
        self.stop.raise();
        let ledger = self.receiver.ledger();
        let nothing_arrived = length.is_some() && ledger.totals().samples == 0;
        show.verdict(&ledger, nothing_arrived).map_err(|e| e.to_string())?;
        Ok(u8::from(!ledger.is_sound() || nothing_arrived).into())
    }
}

/// Why the agent that ended first did; none ends unless it can't go on.
async fn first_to_end(agents: &mut [Agent]) -> String {
    let ends = agents.iter_mut().map(|agent| Box::pin(agent.ended()));
    futures_util::future::select_all(ends).await.0
}

/// One agent, in this process.
struct Agent {
    name: &'static str,
    address: String,
    config_file: PathBuf,
    stop: Stop,
    task: JoinHandle<Option<Result<(), String>>>,
    /// Kept, as the agent would take its end for a fault.
    _hangups: mpsc::Sender<()>,
}

impl Agent {
    fn start(
        name: &'static str,
        folder: &Path,
        examples: &[Example],
        receiver: &Receiver,
    ) -> io::Result<Self> {
        let home = folder.join(name);
        fs::create_dir(&home)?;
        let targets_file = home.join("targets.json");
        fs::write(&targets_file, targets_json(examples))?;
        let config_file = home.join("starling.yml");
        fs::write(&config_file, config_text(&targets_file, receiver))?;

        let address = free_address()?;
        let (sender, hangups) = mpsc::channel(1);
        let stop = Stop::new();
        let settings = app::Settings {
            config_file: config_file.clone(),
            storage_path: home.join("storage"),
            listen_address: address.clone(),
            enable_lifecycle: false,
            cluster: TypedCluster::default(),
            flags: BTreeMap::from([("web.listen-address".to_owned(), address.clone())]),
        };
        let task = tasks::spawn("agent", app::run(settings, hangups, stop.clone()));
        Ok(Self { name, address, config_file, stop, task, _hangups: sender })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn ended(&mut self) -> String {
        match (&mut self.task).await {
            Ok(Some(Err(reason))) => reason,
            Ok(Some(Ok(())) | None) | Err(_) => format!("`{}` ended on its own", self.name),
        }
    }

    async fn stop(self) -> Result<(), String> {
        self.stop.raise();
        self.task.await.ok().flatten().unwrap_or_else(|| Err(format!("`{}` panicked", self.name)))
    }
}

/// As a `file_sd` file: change it while the demo runs, and see the targets change.
fn targets_json(examples: &[Example]) -> String {
    let groups: Vec<_> = examples
        .iter()
        .map(|example| json!({ "targets": [example.address], "labels": { "app": example.app } }))
        .collect();
    format!("{:#}\n", json!(groups))
}

fn config_text(targets_file: &Path, receiver: &Receiver) -> String {
    format!(
        "global:\n  scrape_interval: {}s\nscrape_configs:\n  - job_name: examples\n    \
         file_sd_configs:\n      - files: ['{}']\nremote_write:\n  - name: receiver\n    \
         url: {}\n",
        INTERVAL.as_secs(),
        targets_file.display(),
        receiver.url(),
    )
}

fn free_address() -> io::Result<String> {
    let found =
        TcpListener::bind(("127.0.0.1", PORT)).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    found?.local_addr().map(|address| address.to_string())
}

/// For the demo's files; removed with all that is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!(
            "starling-demo-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        ));
        // Fails where somebody made it already: a folder of another is not to be trusted.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is left to the system's cleaning of temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How the demo speaks: to a person at a terminal, to a file, or to a program.
enum Show {
    Terminal,
    Plain,
    Json,
}

impl Show {
    fn of(flags: &Flags) -> Self {
        match (flags.json, io::stdout().is_terminal()) {
            (true, _) => Self::Json,
            (false, true) => Self::Terminal,
            (false, false) => Self::Plain,
        }
    }

    fn introduction(&self, demo: &Demo) -> io::Result<()> {
        if matches!(self, Self::Json) {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        writeln!(out, "starling demo: nothing leaves this machine; Ctrl-C ends it\n")?;
        for agent in &demo.agents {
            writeln!(out, "{} runs from {}:\n", agent.name, agent.config_file.display())?;
            for line in fs::read_to_string(&agent.config_file)?.lines() {
                writeln!(out, "    {line}")?;
            }
        }
        writeln!(out, "\nexample targets:\n")?;
        for example in &demo.examples {
            writeln!(out, "    http://{}/metrics  {}", example.address, example.about)?;
        }
        writeln!(
            out,
            "\nreceiving end: {} checks every series for gaps, duplicates and order",
            demo.receiver.url()
        )?;
        for agent in &demo.agents {
            let url = agent.url();
            writeln!(out, "\nlook at {url}/ in a browser, or:\n")?;
            writeln!(
                out,
                "    curl -s {url}/api/v1/targets     # targets, their health and labels"
            )?;
            writeln!(out, "    curl -s {url}/api/v1/queues      # what has not left yet")?;
            writeln!(out, "    curl -s {url}/metrics            # its own metrics")?;
            writeln!(out, "    curl -s -X POST {url}/-/reload   # after a change of the file\n")?;
        }
        debug_assert!(demo.folder.0.is_dir(), "the folder lasts as long as the demo");
        Ok(())
    }

    fn summary(&self, summary: &Summary) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            // Over the line before, and what it was longer by erased.
            Self::Terminal => write!(out, "\r{summary}\x1b[K")?,
            Self::Plain if !summary.seconds().is_multiple_of(PLAIN_LINE_SECONDS) => {}
            Self::Plain => writeln!(out, "{summary}")?,
            Self::Json => writeln!(out, "{}", summary.json())?,
        }
        out.flush()
    }

    fn verdict(&self, ledger: &ledger::Ledger, nothing_arrived: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if matches!(self, Self::Json) {
            return writeln!(out, "{}", ledger.json());
        }
        if nothing_arrived {
            return writeln!(out, "\nno sample arrived");
        }
        writeln!(out, "\n{ledger}")?;
        for fault in ledger.faults() {
            writeln!(out, "  {fault}")?;
        }
        Ok(())
    }
}
