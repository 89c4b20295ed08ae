//! The demo of the gateway: edges that push, agents that take it, and books on what was acknowledged
//! and what arrived.

mod edge;
mod event;
mod kills;
mod ledger;
mod summary;
mod verdict;

use std::{io, net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    cli::demo::{
        Flags, Story,
        agent::{Agent, Common, Work},
        flock::{Change, Flock},
        folder::Folder,
        introduction::Surroundings,
        pushing::{
            edge::{Edge, SERIES},
            event::{Event, Events},
            ledger::{Ledger, Outstanding},
            summary::Summary,
            verdict::Verdict,
        },
        rates::Rates,
        receiver::{self, Shared},
        show::Told,
    },
    runtime::{clock, stop::Stop, tasks},
};

/// Enough that one of them waits does not hold up all.
const EDGES: u32 = 5;
/// Longer than it takes to notice a death, so that the others are seen to do without.
const RETURN_AFTER: Duration = Duration::from_secs(10);
/// So long what is under way is waited for at the end.
const REST_MAX: Duration = Duration::from_secs(20);

pub(super) struct Pushing {
    ledger: Shared<Ledger>,
    receiver: SocketAddr,
    interval: Duration,
    edges: Vec<JoinHandle<Option<()>>>,
    /// Of the edges.
    enough: Stop,
    events: Events,
    rates: Option<Rates>,
}

impl Story for Pushing {
    async fn start(flags: &Flags, stop: &Stop) -> io::Result<(Self, Flock)> {
        let agents = usize::from(flags.agents);
        let interval = Duration::from_secs(flags.interval.into());
        let folder = Folder::new()?;
        let ledger = Shared::new(Ledger::new(EDGES as usize, agents));
        let receiver = receiver::start(&ledger, agents, stop).await?;
        let common = Common { agents, receiver, work: Work::TakePushes, log_level: &flags.level };
        let flock = Flock::start(folder, &common, Some(RETURN_AFTER))?;
        let gateways: Vec<String> = flock.agents.iter().map(Agent::push_url).collect();
        let enough = stop.child();
        let edge = |(number, delay): (usize, Duration)| {
            let edge = Edge::new(number, interval, gateways.clone(), ledger.clone());
            tasks::spawn("demo edge", edge.run(delay, enough.clone()))
        };
        let delays = (0..EDGES).map(|number| interval * number / EDGES);
        let edges = delays.enumerate().map(edge).collect();
        let events = Events::default();
        Ok((Self { ledger, receiver, interval, edges, enough, events, rates: None }, flock))
    }

    fn surroundings(&self, flock: &Flock) -> Surroundings {
        let push_urls: Vec<String> = flock.agents.iter().map(Agent::push_url).collect();
        Surroundings {
            agents_are: "gateways",
            text: self.text(),
            after_a_crash: "pushes go on by the others",
            after_leaving: "hands over first, and stays away",
            pages: vec![
                ("/api/v1/fleet", "who is here, who has what"),
                ("/api/v1/queues", "what has not left yet"),
                ("/metrics", "starling_gateway_…: what was taken, refused and why"),
            ],
            json: json!({ "edges": EDGES, "series": EDGES as usize * SERIES, "push_urls": push_urls }),
        }
    }

    fn changed(&mut self, change: Change, flock: &Flock) -> Box<dyn Told> {
        let (mut ledger, now_ms) = (self.ledger.lock(), clock::now_ms());
        Box::new(match change {
            Change::Gone { agent, how } => {
                ledger.gone(agent, how, now_ms);
                Event::Gone { gateway: agent, how }
            }
            Change::Returned { agent } => {
                ledger.returned(agent, now_ms);
                Event::Returned { gateway: agent, pid: flock.agents[agent].pid }
            }
        })
    }

    fn next_event(&mut self) -> Option<Box<dyn Told>> {
        let event = self.events.next(&self.ledger.lock())?;
        Some(Box::new(event))
    }

    fn summary(&mut self, elapsed: Duration) -> Box<dyn Told> {
        let mut ledger = self.ledger.lock();
        let sent: Vec<u64> = ledger.gateways().iter().map(|gateway| gateway.sent).collect();
        let rates = Rates::of(&sent, elapsed, self.rates.as_ref());
        let summary = Summary::of(&mut ledger, elapsed, &rates, clock::now_ms());
        self.rates = Some(rates);
        Box::new(summary)
    }

    /// No edge pushes any more, and what is on its way arrives.
    async fn rest(&mut self) {
        self.enough.raise();
        for edge in self.edges.drain(..) {
            // A panic was told where it happened.
            let _ = edge.await;
        }
        let until = Instant::now() + REST_MAX;
        while self.outstanding().under_way > 0 && Instant::now() < until {
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn verdict(self, time_enough: bool) -> (bool, Box<dyn Told>) {
        let ledger = self.ledger.lock().clone();
        let outstanding = ledger.outstanding(clock::now_ms());
        let nothing_arrived = time_enough && ledger.totals().stored == 0;
        let verdict = Verdict { ledger, outstanding, nothing_arrived };
        (verdict.is_sound(), Box::new(verdict))
    }
}

impl Pushing {
    fn outstanding(&self) -> Outstanding {
        self.ledger.lock().outstanding(clock::now_ms())
    }

    fn text(&self) -> String {
        let often = match self.interval.as_secs() {
            1 => "second".to_owned(),
            seconds => format!("{seconds} s"),
        };
        format!(
            "{EDGES} edges push a sample of each of their {SERIES} series every {often}, to one \
             gateway after the
other; what is not acknowledged is pushed again, to the next one

a receiving end at {} holds what was acknowledged against
what arrives: all of it, in order and once

A gateway that is killed is started again after {} s, as by a service manager. What it
had acknowledged and not sent lay on its disk and nowhere else. It comes then, after
newer samples of the same series; that the receiving end takes it is what
`out_of_order_window` says.
",
            self.receiver,
            RETURN_AFTER.as_secs()
        )
    }
}
