//! `starling convert`: the configuration of vmagent, Grafana Agent, Alloy or Prometheus into one for
//! this agent, and a list of what could not be carried over, each with its place. Here files are read
//! and written; the rest of the folder is pure, but for what it asks a `World`.

mod agent_static;
mod alloy;
mod exporters;
mod output;
mod plain;
mod prometheus;
mod routes;
mod settle;
#[cfg(test)]
mod tests;
mod told;
mod tree;
mod vmagent;

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, ValueEnum};

pub use crate::cli::convert::told::{Told, Weight};
use crate::{
    cli::convert::{plain::Folders, told::Notes},
    config::{
        Environment,
        problem::{Place, Problem},
    },
    runtime::host,
};

/// A larger file is no configuration that a person keeps.
const FILE_BYTES_MAX: u64 = 16 << 20;
const STDIN: &str = "-";

const EXIT_CODES: &str = "Exit codes: 0 all of it is carried over; 3 some of it is not, and each \
                          thing is named with its place, on standard error and at the head of the \
                          output; 2 nothing is written: the input cannot be read or understood, or \
                          the output not written, or a wrong command line.";

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Flags {
    /// What the input is of; by its content, where it is not told
    #[arg(long, value_name = "KIND")]
    from: Option<Kind>,
    /// The configuration; of vmagent, its command line, systemd unit or file of the environment;
    /// `-` is standard input
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// Write there, for the owner's eyes only, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the output where it is there already
    #[arg(long, requires = "output")]
    force: bool,
}

/// What is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A command line of `VictoriaMetrics`' vmagent
    Vmagent,
    /// Grafana Agent in static mode
    AgentStatic,
    /// Grafana Alloy, and Grafana Agent in flow mode
    Alloy,
    /// A `prometheus.yml`
    Prometheus,
}

pub type ReadFile<'r> = dyn Fn(&Path) -> Result<String, String> + 'r;

/// What a conversion may ask of the machine.
pub struct World<'w> {
    /// Reads a file that the input names.
    pub read: &'w ReadFile<'w>,
    pub environment: Environment<'w>,
    /// The name of this host.
    pub host: String,
    /// The folder of this process.
    pub current: PathBuf,
    /// Where the output is going to stand; `None` is beside the input.
    pub output: Option<PathBuf>,
}

#[derive(Debug)]
pub struct Converted {
    /// With a head that names what is not carried over.
    pub yaml: String,
    pub told: Vec<Told>,
}

impl Converted {
    pub fn is_whole(&self) -> bool {
        self.told.iter().all(|told| told.weight == Weight::Differs)
    }
}

/// # Errors
/// What cannot be understood of `text`, with its place. Holds no secret.
pub fn convert(
    kind: Option<Kind>,
    path: &Path,
    text: &str,
    world: &World<'_>,
) -> Result<Converted, Problem> {
    let file: Arc<str> = path.display().to_string().into();
    let whole = |message| Problem { file: file.clone(), place: Place::default(), message };
    let kind = kind.or_else(|| guess(path, text)).ok_or_else(|| {
        whole("this looks like nothing that is known; say what it is by `--from`".to_owned())
    })?;
    let mut notes = Notes::default();
    let mut tree = match kind {
        Kind::Vmagent => vmagent::convert(&file, text, world, &mut notes),
        Kind::AgentStatic => agent_static::convert(&file, text, world, &mut notes),
        Kind::Alloy => alloy::convert(&file, text, world, &mut notes),
        Kind::Prometheus => prometheus::convert(&file, text),
    }?;
    let beside = || path.parent().unwrap_or(Path::new("")).to_owned();
    let folders = Folders {
        current: world.current.clone(),
        output: world.output.clone().unwrap_or_else(beside),
    };
    plain::make_plain(&mut tree, &folders);
    let yaml = settle::settle(tree, world.environment, &mut notes).map_err(whole)?;
    let told = notes.into_told();
    Ok(Converted { yaml: output::with_head(&yaml, path, kind, &told), told })
}

/// By what only one of them has. Looks at lines, so that what is wrong with a file is told as what is
/// wrong with a file of its kind.
fn guess(path: &Path, text: &str) -> Option<Kind> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    if matches!(extension, Some("alloy" | "river")) {
        return Some(Kind::Alloy);
    }
    if vmagent::is_one(text) {
        return Some(Kind::Vmagent);
    }
    if has_key(text, &["metrics", "integrations", "logs", "traces", "server", "prometheus"]) {
        return Some(Kind::AgentStatic);
    }
    let keys = ["scrape_configs", "global", "remote_write", "scrape_config_files", "rule_files"];
    if has_key(text, &keys) {
        return Some(Kind::Prometheus);
    }
    alloy::is_one(text).then_some(Kind::Alloy)
}

/// Whether one of `keys` stands at the top of what may be YAML.
fn has_key(text: &str, keys: &[&str]) -> bool {
    text.lines().any(|line| line.split_once(':').is_some_and(|(key, _)| keys.contains(&key)))
}

/// # Errors
/// None: what cannot be done is told, and gives an exit code of its own.
pub(super) fn run(flags: &Flags) -> ExitCode {
    // Nobody is left to be told that this could not be told.
    let tell = |text: &str| drop(io::stderr().write_all(text.as_bytes()));
    match converted(flags) {
        Ok(converted) => {
            for told in &converted.told {
                let weight = match told.weight {
                    Weight::Lost => "not carried over",
                    Weight::Differs => "differs",
                };
                tell(&format!("{told} ({weight})\n"));
            }
            ExitCode::from(if converted.is_whole() { 0 } else { 3 })
        }
        Err(reason) => {
            tell(&format!("starling: {reason}\n"));
            ExitCode::from(2)
        }
    }
}

fn converted(flags: &Flags) -> Result<Converted, String> {
    let text = if flags.input == Path::new(STDIN) {
        text_of(io::stdin().lock()).map_err(|error| format!("standard input: {error}"))?
    } else {
        read(&flags.input).map_err(|reason| format!("`{}`: {reason}", flags.input.display()))?
    };
    let current = std::env::current_dir().map_err(|error| format!("this folder: {error}"))?;
    let world = World {
        read: &read,
        environment: &|name| std::env::var(name).ok(),
        host: host::name(),
        current,
        output: flags.output.as_ref().and_then(|path| Some(path.parent()?.to_owned())),
    };
    let converted =
        convert(flags.from, &flags.input, &text, &world).map_err(|problem| problem.to_string())?;
    match &flags.output {
        Some(path) => output::write(path, &converted.yaml, flags.force)
            .map_err(|error| format!("`{}`: {error}", path.display()))?,
        None => io::stdout()
            .write_all(converted.yaml.as_bytes())
            .map_err(|error| format!("standard output: {error}"))?,
    }
    Ok(converted)
}

fn read(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err("expected a file, found a folder".to_owned());
    }
    text_of(file).map_err(|error| error.to_string())
}

fn text_of(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    input.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    Ok(text)
}
