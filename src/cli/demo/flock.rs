//! All agents of a demo: who runs, who has gone, and who is started again.

use std::{collections::VecDeque, io, time::Duration};

use futures_util::future::{join_all, select_all};
use tokio::time::{Instant, sleep_until};

use crate::cli::demo::{
    agent::{self, Agent, Common, Departure},
    folder::Folder,
};

pub(super) struct Flock {
    pub(super) folder: Folder,
    pub(super) agents: Vec<Agent>,
    /// So long after it was killed an agent is started again, where it is at all.
    return_after: Option<Duration>,
    /// The earliest first.
    returns: VecDeque<(Instant, usize)>,
}

/// What has become of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Gone { agent: usize, how: Departure },
    Returned { agent: usize },
}

impl Flock {
    pub(super) fn start(
        folder: Folder,
        common: &Common<'_>,
        return_after: Option<Duration>,
    ) -> io::Result<Self> {
        let agents = agent::start(folder.path(), common)?;
        Ok(Self { folder, agents, return_after, returns: VecDeque::new() })
    }

    /// Nobody is here, and nobody will be.
    pub(super) fn is_over(&self) -> bool {
        self.returns.is_empty() && !self.agents.iter().any(Agent::is_up)
    }

    /// For ever, where it is over.
    pub(super) async fn next_change(&mut self) -> Result<Change, String> {
        let due = self.returns.front().copied();
        tokio::select! {
            gone = next_gone(&mut self.agents) => {
                let (agent, how) = gone?;
                if let (Departure::Killed, Some(wait)) = (how, self.return_after) {
                    self.returns.push_back((Instant::now() + wait, agent));
                }
                Ok(Change::Gone { agent, how })
            }
            agent = wait_for(due) => {
                self.returns.pop_front();
                self.agents[agent].start_again().map_err(|e| e.to_string())?;
                Ok(Change::Returned { agent })
            }
        }
    }

    /// Whether there is anybody to be stopped.
    pub(super) fn terminate(&mut self) -> bool {
        self.returns.clear();
        self.agents.iter().filter(|agent| agent.is_up()).for_each(Agent::terminate);
        self.agents.iter().any(Agent::is_up)
    }

    /// All at once, each in order: their share, then what they have to send.
    pub(super) async fn stopped(&mut self) -> Result<(), String> {
        let living = self.agents.iter_mut().filter(|agent| agent.is_up());
        for stopped in join_all(living.map(Agent::stopped)).await {
            stopped?;
        }
        Ok(())
    }
}

async fn next_gone(agents: &mut [Agent]) -> Result<(usize, Departure), String> {
    let living = agents.iter_mut().enumerate().filter(|(_, agent)| agent.is_up());
    let ends: Vec<_> =
        living.map(|(index, agent)| Box::pin(async move { (index, agent.gone().await) })).collect();
    if ends.is_empty() {
        return std::future::pending().await;
    }
    let ((index, how), ..) = select_all(ends).await;
    Ok((index, how?))
}

async fn wait_for(due: Option<(Instant, usize)>) -> usize {
    match due {
        Some((at, agent)) => {
            sleep_until(at).await;
            agent
        }
        None => std::future::pending().await,
    }
}
