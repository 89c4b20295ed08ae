//! How the demo speaks: to a person at a terminal, to a file, or to a program.

use std::{
    fs,
    io::{self, IsTerminal, Write},
};

use serde_json::{Value, json};

use crate::cli::demo::{
    Demo, agent::Agent, event::Event, folder::TARGETS_FILE, summary::Summary, verdict::Verdict,
};

/// How often the summary is written where it can't be written over.
const PLAIN_SUMMARY_SECONDS: u64 = 5;

pub(super) struct Show {
    manner: Manner,
    /// The last summary, at the bottom of the terminal; the next words go over it.
    drawn: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Terminal,
    Plain,
    Json,
}

impl Show {
    pub(super) fn new(is_json: bool) -> Self {
        let manner = match (is_json, io::stdout().is_terminal()) {
            (true, _) => Manner::Json,
            (false, true) => Manner::Terminal,
            (false, false) => Manner::Plain,
        };
        Self { manner, drawn: String::new() }
    }

    pub(super) fn introduction(&self, demo: &Demo) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.manner {
            Manner::Json => writeln!(out, "{}", introduction_json(demo))?,
            Manner::Terminal | Manner::Plain => introduction_text(demo, &mut out)?,
        }
        out.flush()
    }

    pub(super) fn summary(&mut self, summary: &Summary, has_changed: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.manner {
            Manner::Terminal => {
                self.erase(&mut out)?;
                self.drawn = summary.to_string();
                write!(out, "{}", self.drawn)?;
            }
            Manner::Plain => {
                if has_changed || summary.seconds().is_multiple_of(PLAIN_SUMMARY_SECONDS) {
                    write!(out, "{summary}")?;
                }
            }
            Manner::Json => writeln!(out, "{}", summary.json())?,
        }
        out.flush()
    }

    pub(super) fn event(&mut self, event: &Event, seconds: u64) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.manner {
            Manner::Terminal => {
                self.erase(&mut out)?;
                // In bold, as the only lines that stay.
                writeln!(out, "\x1b[1m{seconds:>4} s  {event}\x1b[0m")?;
                write!(out, "{}", self.drawn)?;
            }
            Manner::Plain => writeln!(out, "{seconds:>4} s  {event}")?,
            Manner::Json => writeln!(out, "{}", event.json())?,
        }
        out.flush()
    }

    pub(super) fn verdict(&self, verdict: &Verdict<'_>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.manner {
            Manner::Terminal | Manner::Plain => write!(out, "{verdict}")?,
            Manner::Json => writeln!(out, "{}", verdict.json())?,
        }
        out.flush()
    }

    fn erase(&self, out: &mut impl Write) -> io::Result<()> {
        match self.drawn.lines().count() {
            0 => Ok(()),
            // From the first column: a terminal writes `^C` where the cursor is.
            lines => write!(out, "\r\x1b[{lines}A\x1b[J"),
        }
    }
}

fn introduction_json(demo: &Demo) -> Value {
    let agents = demo.agents.iter().map(|agent| {
        json!({
            "name": agent.name, "pid": agent.pid, "url": agent.url(),
            "config_file": agent.config_file(), "log": agent.log_file(),
        })
    });
    let targets: Vec<&str> = demo.examples.iter().map(|example| &*example.address).collect();
    json!({ "agents": agents.collect::<Vec<_>>(), "targets": targets })
}

fn introduction_text(demo: &Demo, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "starling demo: nothing leaves this machine; Ctrl-C ends it\n")?;
    writeln!(out, "agents:\n")?;
    for agent in &demo.agents {
        writeln!(out, "    {}  pid {}  {}/", agent.name, agent.pid, agent.url())?;
    }
    let first = &demo.agents[0];
    writeln!(out, "\n{} runs from {}:\n", first.name, first.config_file().display())?;
    for line in fs::read_to_string(first.config_file())?.lines() {
        writeln!(out, "    {line}")?;
    }
    let list = demo.folder.path().join(TARGETS_FILE);
    writeln!(out, "\n{} targets, in {}:\n", demo.examples.len(), list.display())?;
    for group in demo.examples.chunk_by(|one, other| one.app == other.app) {
        let (app, about) = (group[0].app, group[0].about);
        writeln!(
            out,
            "    {:>2} {app}: {about}; http://{}/metrics",
            group.len(),
            group[0].address
        )?;
    }
    writeln!(
        out,
        "\na receiving end at {} checks every series for gaps, duplicates and order\n",
        demo.receiver.address()
    )?;
    hints(demo, out)
}

fn hints(demo: &Demo, out: &mut impl Write) -> io::Result<()> {
    let first = &demo.agents[0];
    let victim = demo.agents.get(1).unwrap_or(first);
    let url = Agent::url(first);
    let lines = [
        (format!("kill -9 {}", victim.pid), format!("{} crashes; see who takes over", victim.name)),
        (format!("kill {}", victim.pid), "or leaves: hands over first, without a gap".to_owned()),
        (format!("tail -f {}", first.log_file().display()), "what an agent says".to_owned()),
        (format!("curl -s {url}/api/v1/fleet"), "who is here, who has what".to_owned()),
        (format!("curl -s {url}/api/v1/targets"), "the targets of this agent".to_owned()),
        (format!("curl -s {url}/api/v1/queues"), "what has not left yet".to_owned()),
    ];
    writeln!(out, "in another terminal:\n")?;
    let width = lines.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, what) in lines {
        writeln!(out, "    {command:<width$}  # {what}")?;
    }
    writeln!(out)
}
