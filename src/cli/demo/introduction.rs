//! The first words of any demo: which agents run, from what, what is around them, and what to try.

use std::{fmt, fs, io};

use serde_json::{Value, json};

use crate::cli::demo::{agent::Agent, flock::Flock, show::Told};

/// What is around the agents, and differs from demo to demo.
pub(super) struct Surroundings {
    /// What the agents are called here, in the plural.
    pub(super) agents_are: &'static str,
    /// Whole lines.
    pub(super) text: String,
    pub(super) after_a_crash: &'static str,
    pub(super) after_leaving: &'static str,
    /// Paths of an agent's API, and what is found there.
    pub(super) pages: Vec<(&'static str, &'static str)>,
    /// An object.
    pub(super) json: Value,
}

pub(super) struct Introduction<'a> {
    agents: &'a [Agent],
    /// Of the first agent.
    config: String,
    around: Surroundings,
}

impl<'a> Introduction<'a> {
    pub(super) fn new(flock: &'a Flock, around: Surroundings) -> io::Result<Self> {
        let config = fs::read_to_string(flock.agents[0].config_file())?;
        Ok(Self { agents: &flock.agents, config, around })
    }

    /// Commands, and what they show.
    fn hints(&self) -> Vec<(String, String)> {
        let first = &self.agents[0];
        let victim = self.agents.get(1).unwrap_or(first);
        let (crash, leaving) = (self.around.after_a_crash, self.around.after_leaving);
        let mut hints = vec![
            (format!("kill -9 {}", victim.pid), format!("{} crashes; {crash}", victim.name)),
            (format!("kill {}", victim.pid), format!("or leaves: {leaving}")),
            (format!("tail -f {}", first.log_file().display()), "what an agent says".to_owned()),
        ];
        let pages = self.around.pages.iter();
        hints
            .extend(pages.map(|(path, what)| {
                (format!("curl -s {}{path}", first.url()), (*what).to_owned())
            }));
        hints
    }
}

impl Told for Introduction<'_> {
    fn json(&self) -> Value {
        let agents = self.agents.iter().map(|agent| {
            json!({
                "name": agent.name, "pid": agent.pid, "url": agent.url(),
                "config_file": agent.config_file(), "log": agent.log_file(),
            })
        });
        let mut told = self.around.json.clone();
        told["agents"] = agents.collect();
        told
    }
}

impl fmt::Display for Introduction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "starling demo: nothing leaves this machine; Ctrl-C ends it\n")?;
        writeln!(f, "{}:\n", self.around.agents_are)?;
        for agent in self.agents {
            writeln!(f, "    {}  pid {}  {}/", agent.name, agent.pid, agent.url())?;
        }
        let first = &self.agents[0];
        writeln!(f, "\n{} runs from {}:\n", first.name, first.config_file().display())?;
        for line in self.config.lines() {
            writeln!(f, "    {line}")?;
        }
        write!(f, "\n{}\nin another terminal:\n\n", self.around.text)?;
        let hints = self.hints();
        let width = hints.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        for (command, what) in hints {
            writeln!(f, "    {command:<width$}  # {what}")?;
        }
        writeln!(f)
    }
}
