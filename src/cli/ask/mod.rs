//! The commands that talk to a running agent's admin API: a question each, an answer as a table for
//! a person or as JSON for a program, and an exit code that a script can branch on.

mod agent;
mod answer;
mod drain;
mod explain;
mod find;
mod history;
mod measure;
mod peers;
mod plan;
mod queues;
mod reload;
mod sheet;
mod status;
mod targets;
mod text;
mod verify;
mod watch;

use std::{
    future::Future,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use crate::{
    cli::{
        ask::{
            agent::{Agent, Fault, Kind, Reach},
            sheet::Sheet,
            text::harmless_lines,
        },
        runtime,
    },
    runtime::clock,
};

/// At the end of each command's help and manual page.
const EXIT_CODES: &str = "Exit codes: 0 fine; 1 the answer is no (there is no such target, the \
                          reload is refused, not in time); 2 could not ask (nobody answers, wrong \
                          credentials, a wrong command line).";
const VERIFY_EXIT_CODES: &str = "Exit codes: 0 each divided target has exactly one owner, and all \
                                 members agree; 1 not so; 2 could not ask, or not all members.";

#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Show on one screen whether the flock is well
    #[command(after_help = EXIT_CODES)]
    Status(Look<status::Status>),
    /// List the members: state, share, load, clocks, who differs
    #[command(after_help = EXIT_CODES)]
    Peers(Look<peers::Peers>),
    /// List the targets of all members: health, owner, last error
    #[command(after_help = EXIT_CODES)]
    Targets(Look<targets::Targets>),
    /// Tell what happened, or who had what at an instant
    #[command(after_help = EXIT_CODES)]
    History(Look<history::History>),
    /// Explain one target: each relabelling step, who has it and why, when it is due
    #[command(after_help = EXIT_CODES)]
    Explain(Look<explain::Explain>),
    /// Ask all members whether each target has exactly one owner
    #[command(after_help = VERIFY_EXIT_CODES)]
    Verify(Look<verify::Verify>),
    /// Tell what would move if members came, left or changed their weight
    #[command(after_help = EXIT_CODES)]
    Plan(Look<plan::Plan>),
    /// Show what has not been sent yet, and why
    #[command(after_help = EXIT_CODES)]
    Queues(Look<queues::Queues>),
    /// Let the agent hand over what it has, and stay up
    #[command(after_help = EXIT_CODES)]
    Drain(Order<drain::Drain>),
    /// Let a drained agent take its share again
    #[command(after_help = EXIT_CODES)]
    Undrain(Order<drain::Undrain>),
    /// Let the agent load its configuration again
    #[command(after_help = EXIT_CODES)]
    Reload(Order<reload::Reload>),
}

/// A question, and how its answer is shown.
#[derive(Args)]
pub(in crate::cli) struct Look<Q: Args> {
    #[command(flatten)]
    question: Q,
    /// Print the API's answer as it is; the pages of a list are joined
    #[arg(long)]
    json: bool,
    /// Ask again every so many seconds, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        default_missing_value = "2", value_parser = clap::value_parser!(u16).range(1..))]
    watch: Option<u16>,
    #[command(flatten)]
    reach: Reach,
}

/// What is done once.
#[derive(Args)]
pub(in crate::cli) struct Order<Q: Args> {
    #[command(flatten)]
    question: Q,
    /// Print the API's answer as it is
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

trait Question {
    fn ask(&self, agent: &Agent, now_ms: i64) -> impl Future<Output = Result<Told, Fault>>;
}

/// An answer, ready to be printed.
struct Told {
    /// As the API gave it.
    json: String,
    sheet: Sheet,
    code: Code,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Fine = 0,
    No = 1,
    Unknown = 2,
}

impl Command {
    pub(in crate::cli) fn run(&self) -> ExitCode {
        let code = match self {
            Self::Status(question) => look(question),
            Self::Peers(question) => look(question),
            Self::Targets(question) => look(question),
            Self::History(question) => look(question),
            Self::Explain(question) => look(question),
            Self::Verify(question) => look(question),
            Self::Plan(question) => look(question),
            Self::Queues(question) => look(question),
            Self::Drain(order) => carry_out(order),
            Self::Undrain(order) => carry_out(order),
            Self::Reload(order) => carry_out(order),
        };
        ExitCode::from(code as u8)
    }
}

fn look<Q: Args + Question>(look: &Look<Q>) -> Code {
    with_agent(&look.reach, async |agent| match look.watch {
        Some(seconds) => watch::watch(&look.question, &agent, look.json, seconds).await,
        None => once(&look.question, &agent, look.json).await,
    })
}

fn carry_out<Q: Args + Question>(order: &Order<Q>) -> Code {
    with_agent(&order.reach, async |agent| once(&order.question, &agent, order.json).await)
}

fn with_agent(reach: &Reach, ask: impl AsyncFnOnce(Agent) -> Code) -> Code {
    let agent = Agent::new(reach);
    // One thread: it waits for one answer at a time.
    match (agent, runtime(1)) {
        (Ok(agent), Ok(runtime)) => runtime.block_on(Box::pin(ask(agent))),
        (Err(fault), _) => complain(&fault),
        (_, Err(reason)) => complain(&Fault::new(Kind::Hopeless, reason)),
    }
}

async fn once(question: &impl Question, agent: &Agent, as_json: bool) -> Code {
    let told = match question.ask(agent, clock::now_ms()).await {
        Ok(told) => told,
        Err(fault) => return complain(&fault),
    };
    let text = told.drawn(as_json, watch::look());
    // Who closes the output early, as `head` does, has seen enough; the code stays what it is.
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&Fault::new(Kind::Hopeless, format!("can't write the answer: {error}")))
        }
        _ => told.code,
    }
}

fn complain(fault: &Fault) -> Code {
    // Nobody is left to be told that this could not be told.
    let _ = writeln!(io::stderr(), "starling: {}", harmless_lines(&fault.reason));
    fault.code()
}

impl Fault {
    fn code(&self) -> Code {
        match self.kind {
            Kind::No => Code::No,
            Kind::NotYet | Kind::Hopeless => Code::Unknown,
        }
    }
}

impl Told {
    fn new(json: String, sheet: Sheet, code: Code) -> Self {
        Self { json, sheet, code }
    }

    fn drawn(&self, as_json: bool, look: sheet::Look) -> String {
        if as_json { format!("{}\n", self.json.trim_end()) } else { self.sheet.draw(look) }
    }
}

#[cfg(test)]
mod tests;
