//! The demo of what Starling collects: example targets, agents that share them, and books on what
//! arrives.

mod event;
mod kills;
mod ledger;
mod summary;
mod targets;
mod verdict;

use std::{fmt::Write, fs, io, net::SocketAddr, time::Duration};

use serde_json::json;

use crate::{
    cli::demo::{
        Flags, Story,
        agent::{Common, Work},
        flock::{Change, Flock},
        folder::Folder,
        introduction::Surroundings,
        rates::Rates,
        receiver::{self, Shared},
        scraping::{
            event::{Event, Events},
            ledger::Ledger,
            summary::Summary,
            targets::Example,
            verdict::Verdict,
        },
        show::Told,
    },
    runtime::{clock, stop::Stop},
};

pub(super) struct Scraping {
    examples: Vec<Example>,
    ledger: Shared<Ledger>,
    receiver: SocketAddr,
    events: Events,
    rates: Option<Rates>,
}

impl Story for Scraping {
    async fn start(flags: &Flags, stop: &Stop) -> io::Result<(Self, Flock)> {
        let agents = usize::from(flags.agents);
        let interval = Duration::from_secs(flags.interval.into());
        let folder = Folder::new()?;
        let ledger = Shared::new(Ledger::new(interval, agents));
        let receiver = receiver::start(&ledger, agents, stop).await?;
        let examples = targets::start(stop).await?;
        fs::write(folder.targets_file(), targets::targets_json(&examples))?;
        let work = Work::Scrape { interval };
        let common = Common { agents, receiver, work, log_level: &flags.level };
        let flock = Flock::start(folder, &common, None)?;
        let events = Events::default();
        Ok((Self { examples, ledger, receiver, events, rates: None }, flock))
    }

    fn surroundings(&self, flock: &Flock) -> Surroundings {
        let addresses: Vec<&str> = self.examples.iter().map(|example| &*example.address).collect();
        Surroundings {
            agents_are: "agents",
            text: self.text(flock),
            after_a_crash: "see who takes over",
            after_leaving: "hands over first, without a gap",
            pages: vec![
                ("/api/v1/fleet", "who is here, who has what"),
                ("/api/v1/targets", "the targets of this agent"),
                ("/api/v1/queues", "what has not left yet"),
            ],
            json: json!({ "targets": addresses }),
        }
    }

    fn changed(&mut self, change: Change, _: &Flock) -> Box<dyn Told> {
        match change {
            Change::Gone { agent, how } => {
                let targets = self.ledger.lock().gone(agent, how, clock::now_ms());
                Box::new(Event::Gone { agent, how, targets })
            }
            Change::Returned { .. } => unreachable!("nobody is started again here"),
        }
    }

    fn next_event(&mut self) -> Option<Box<dyn Told>> {
        let event = self.events.next(&self.ledger.lock(), self.examples.len())?;
        Some(Box::new(event))
    }

    fn summary(&mut self, elapsed: Duration) -> Box<dyn Told> {
        let mut ledger = self.ledger.lock();
        let rates = Rates::of(ledger.samples(), elapsed, self.rates.as_ref());
        let summary = Summary::of(&mut ledger, elapsed, &rates);
        self.rates = Some(rates);
        Box::new(summary)
    }

    async fn rest(&mut self) {}

    fn verdict(self, time_enough: bool) -> (bool, Box<dyn Told>) {
        let mut ledger = self.ledger.lock().clone();
        let some_stayed = ledger.kills().departures().contains(&None);
        if some_stayed && ledger.kills().is_calm() {
            for example in &self.examples {
                ledger.close(&example.address, example.scrapes());
            }
        }
        let nothing_arrived = time_enough && ledger.totals().samples == 0;
        let verdict = Verdict { ledger, nothing_arrived };
        (verdict.is_sound(), Box::new(verdict))
    }
}

impl Scraping {
    fn text(&self, flock: &Flock) -> String {
        let list = flock.folder.targets_file();
        let mut text = format!("{} targets, in {}:\n\n", self.examples.len(), list.display());
        for group in self.examples.chunk_by(|one, other| one.app == other.app) {
            let Example { app, about, address, .. } = &group[0];
            let count = group.len();
            writeln!(text, "    {count:>2} {app}: {about}; http://{address}/metrics")
                .expect("a string takes everything");
        }
        writeln!(
            text,
            "\na receiving end at {} checks every series for gaps, duplicates and order",
            self.receiver
        )
        .expect("a string takes everything");
        text
    }
}
