//! The command line: what can be typed, and which part does it.

mod ask;
pub mod check;
mod cluster;
pub mod compatibility;
pub mod convert;
pub mod debug_parse;
pub mod debug_relabel;
mod demo;
mod setup;
mod signals;

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::{
    app,
    cli::{check::Asked, cluster::ClusterFlags},
    reload,
    runtime::{
        build,
        log::{self, Format},
        service::Inherited,
    },
};

/// Scrapes Prometheus targets and sends what they say by remote write, losing nothing.
#[derive(Parser)]
#[command(name = "starling", version, propagate_version = true)]
struct Line<C: Subcommand = Command> {
    #[command(subcommand)]
    command: C,
}

/// What a service says. Clap makes all that it could be asked of what it is given: for the one who
/// stays, that would be half a megabyte of memory for commands that are not his.
#[derive(Subcommand)]
enum Agent {
    /// Run the agent until SIGTERM or SIGINT; SIGHUP loads the configuration again
    Run(Run),
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent until SIGTERM or SIGINT; SIGHUP loads the configuration again
    Run(Run),
    /// Name every problem of configuration files, with line and column
    Check {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Fail on warnings as well
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        web: WebFlags,
        #[command(flatten)]
        cluster: ClusterFlags,
    },
    /// Make a configuration of vmagent's, Grafana Agent's, Alloy's or Prometheus' own
    Convert(convert::Flags),
    /// Show it all on this machine: agents that share example targets, a receiver that checks each
    /// sample; kill one and watch
    Demo(demo::Flags),
    /// Make this host a member of a fleet: the secret, and a `cluster` section in its configuration
    Setup(setup::Flags),
    #[command(flatten)]
    Ask(ask::Command),
    /// Run one step of the agent on JSON lines from standard input
    #[command(subcommand)]
    Debug(Debug),
    /// Print what this binary is
    Version,
    /// Print a completion script for a shell
    Completions { shell: Shell },
    /// Print the manual page
    Man {
        /// Write one page a command into this folder instead
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Run {
    /// The configuration: a prometheus.yml
    #[arg(
        long = "config.file",
        env = "STARLING_CONFIG_FILE",
        value_name = "FILE",
        default_value = "/etc/starling/starling.yml"
    )]
    config_file: PathBuf,
    /// Where what could not be sent is kept
    #[arg(
        long = "storage.path",
        env = "STARLING_STORAGE_PATH",
        value_name = "FOLDER",
        default_value = "/var/lib/starling"
    )]
    storage_path: PathBuf,
    #[command(flatten)]
    web: WebFlags,
    /// Let `POST /-/quit` end the agent
    #[arg(long = "web.enable-lifecycle", env = "STARLING_WEB_ENABLE_LIFECYCLE")]
    enable_lifecycle: bool,
    #[command(flatten)]
    log: LogFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Threads that scrape and send; as many as there are cores, at most 4, where not given
    #[arg(long = "runtime.threads", env = "STARLING_RUNTIME_THREADS", value_name = "NUMBER",
        value_parser = clap::value_parser!(u16).range(1..=THREADS_MAX))]
    threads: Option<u16>,
    /// The process that started this one, and whose end ends it
    #[arg(long = "end-with-parent", value_name = "PID", hide = true,
        value_parser = clap::value_parser!(i32).range(1..))]
    parent: Option<i32>,
}

#[derive(Args)]
struct WebFlags {
    /// Host and port of the API and the status page; `:9733` is every address
    #[arg(
        id = "web.listen-address",
        long = "web.listen-address",
        env = "STARLING_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9733"
    )]
    listen_address: String,
    /// TLS, users and headers of the API, in the format of Prometheus and its exporters
    #[arg(
        id = "web.config.file",
        long = "web.config.file",
        env = "STARLING_WEB_CONFIG_FILE",
        value_name = "FILE"
    )]
    config_file: Option<PathBuf>,
}

#[derive(Args)]
struct LogFlags {
    /// error, warn, info, debug or trace, also by module: `info,starling::scrape=debug`
    #[arg(
        long = "log.level",
        env = "STARLING_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    level: String,
    /// auto, json or text; auto is the journal when systemd started the agent, else text
    #[arg(
        long = "log.format",
        env = "STARLING_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto"
    )]
    format: Format,
}

#[derive(Subcommand)]
enum Debug {
    /// Relabel label sets
    Relabel,
    /// Parse what a target exposes
    Parse,
    /// Tell what becomes of each field of Prometheus' configuration
    Compatibility,
}

/// More threads than any machine has use for.
const THREADS_MAX: i64 = 256;
/// A scrape is microseconds of work between waits: four threads carry tens of thousands of targets,
/// and a larger machine's cores are its owner's, not the agent's.
const THREADS_DEFAULT_MAX: usize = 4;

/// Does what the command line says. Exit code 1 is a failure, 2 a command line that says nothing.
pub fn main() -> ExitCode {
    let command = if env::args_os().nth(1).is_some_and(|word| word == "run") {
        let Agent::Run(flags) = Line::<Agent>::parse().command;
        Command::Run(flags)
    } else {
        Line::<Command>::parse().command
    };
    let outcome = match command {
        Command::Run(flags) => flags.run().map(|()| ExitCode::SUCCESS),
        Command::Check { files, strict, web, cluster } => cluster.typed().and_then(|cluster| {
            let WebFlags { listen_address, config_file } = web;
            let asked = Asked { files, web_config_file: config_file, listen_address, cluster };
            on_output(|out| check::check(&asked, strict, out))
        }),
        Command::Convert(flags) => Ok(convert::run(&flags)),
        Command::Demo(flags) => demo::run(&flags),
        Command::Setup(flags) => setup::run(&flags),
        Command::Ask(command) => Ok(command.run()),
        Command::Debug(Debug::Relabel) => {
            on_output(|out| debug_relabel::run(io::stdin().lock(), out).map(|()| 0))
        }
        Command::Debug(Debug::Parse) => {
            on_output(|out| debug_parse::run(io::stdin().lock(), out).map(|()| 0))
        }
        Command::Debug(Debug::Compatibility) => {
            on_output(|out| write!(out, "{}", compatibility::page()).map(|()| 0))
        }
        Command::Version => on_output(|out| {
            writeln!(out, "starling {} ({})", build::VERSION, build::REVISION)?;
            Ok(0)
        }),
        Command::Completions { shell } => on_output(|out| {
            clap_complete::generate(shell, &mut Line::<Command>::command(), "starling", out);
            Ok(0)
        }),
        Command::Man { dir: None } => on_output(|out| {
            clap_mangen::Man::new(Line::<Command>::command()).render(out).map(|()| 0)
        }),
        Command::Man { dir: Some(dir) } => man_pages(&dir).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|reason| {
        // Nobody is left to be told that this could not be told.
        let _ = writeln!(io::stderr(), "starling: {reason}");
        ExitCode::FAILURE
    })
}

impl Run {
    fn run(self) -> Result<(), String> {
        if let Some(parent) = self.parent.and_then(Pid::from_raw) {
            signals::end_with(parent)?;
        }
        let floods = log::install(&self.log.level, self.log.format)?;
        // There is one thread still.
        let inherited = Inherited::take();
        if let Err(reason) = raise_open_files() {
            warn!(error = reason, "the system's limit of open files stays as it is");
        }
        let threads = self.threads.map_or_else(threads_default, usize::from);
        let settings = app::Settings {
            flags: self.flags(threads),
            sources: reload::Sources {
                config_file: self.config_file,
                web_config_file: self.web.config_file,
                cluster: self.cluster.typed()?,
            },
            storage_path: self.storage_path,
            listen_address: self.web.listen_address,
            enable_lifecycle: self.enable_lifecycle,
        };
        runtime(threads)?.block_on(async {
            let signals = signals::listen()?;
            let running = app::run(settings, inherited, signals.hangups, signals.stop);
            tokio::select! {
                ended = Box::pin(running) => ended,
                never = floods.watch() => match never {},
            }
        })
    }

    /// As they are in force, for those who ask the API.
    fn flags(&self, threads: usize) -> BTreeMap<String, String> {
        let web_config_file = self.web.config_file.as_deref().unwrap_or(Path::new(""));
        let web_config_file = web_config_file.display().to_string();
        [
            ("config.file", self.config_file.display().to_string()),
            ("storage.path", self.storage_path.display().to_string()),
            ("web.listen-address", self.web.listen_address.clone()),
            ("web.config.file", web_config_file),
            ("web.enable-lifecycle", self.enable_lifecycle.to_string()),
            ("log.level", self.log.level.clone()),
            ("log.format", self.log.format.name().to_owned()),
            ("runtime.threads", threads.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .chain(self.cluster.shown())
        .collect()
    }
}

/// A target is a connection. A shell or systemd allows 1,024 at first, for the sake of programs that
/// use `select`, and as many as `LimitNOFILE` says to those that ask.
fn raise_open_files() -> Result<(), String> {
    let allowed = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: allowed.maximum, maximum: allowed.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| format!("more open files: {error}"))
}

fn threads_default() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_DEFAULT_MAX))
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("starling")
        .enable_all()
        .build()
        .map_err(|error| format!("can't start {threads} threads: {error}"))
}

/// Writes to standard output; who closes it early, as `head` does, has seen enough.
fn on_output(
    write: impl FnOnce(&mut BufWriter<io::StdoutLock<'static>>) -> io::Result<u8>,
) -> Result<ExitCode, String> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write(&mut out).and_then(|code| out.flush().map(|()| code));
    match written {
        Ok(code) => Ok(code.into()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.to_string()),
    }
}

fn man_pages(dir: &Path) -> Result<(), String> {
    let write = || {
        fs::create_dir_all(dir)?;
        clap_mangen::generate_to(Line::<Command>::command(), dir)
    };
    write().map_err(|error| format!("can't write manual pages to `{}`: {error}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Line::<Command>::command().debug_assert();
    }

    /// Whichever of the two reads it.
    #[test]
    fn the_agent_says_the_same_alone_as_among_all_commands() {
        let check = |words: &[&str]| {
            let line = || ["starling", "run"].iter().chain(words);
            let among = Line::<Command>::try_parse_from(line()).err().map(|e| e.to_string());
            let alone = Line::<Agent>::try_parse_from(line()).err().map(|e| e.to_string());
            assert!(among.is_some(), "{words:?} is neither help nor a fault");
            assert_eq!(alone, among, "{words:?}");
        };
        check(&["--help"]);
        check(&["-h"]);
        check(&["--version"]);
        check(&["--runtime.threads=0"]);
        check(&["--log.levels=info"]);
        check(&["more"]);
    }

    /// Manual pages are named after commands; a command without one would be missed by packages.
    #[test]
    fn each_command_has_a_manual_page_and_is_completed() {
        let folder = tempfile::tempdir().unwrap();
        man_pages(folder.path()).unwrap();
        let mut script = Vec::new();
        clap_complete::generate(
            Shell::Bash,
            &mut Line::<Command>::command(),
            "starling",
            &mut script,
        );
        let script = String::from_utf8(script).unwrap();
        for command in Line::<Command>::command().get_subcommands().map(clap::Command::get_name) {
            let page = folder.path().join(format!("starling-{command}.1"));
            assert!(page.is_file(), "{}", page.display());
            assert!(script.contains(&format!("starling__subcmd__{command})")), "{command}");
        }
        let page = fs::read_to_string(folder.path().join("starling-verify.1")).unwrap();
        assert!(page.contains("exactly one owner") && page.contains("Exit codes"), "{page}");
        // What a flag can be is completed, too.
        assert!(script.contains("up down unknown"), "values of --health");
        assert!(script.contains("member moves target health config"), "values of --kind");
    }

    #[test]
    fn open_files_are_raised_to_what_is_allowed() {
        let allowed = getrlimit(Resource::Nofile).maximum;
        // Low enough to tell, and enough for the tests beside this one.
        let low = Rlimit { current: Some(allowed.unwrap_or(1 << 20) - 1), maximum: allowed };
        setrlimit(Resource::Nofile, low).unwrap();
        raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, allowed);
    }

    #[test]
    fn flags_are_told_as_they_are_in_force() {
        let line = Line::<Command>::parse_from([
            "starling",
            "run",
            "--log.format=json",
            "--config.file",
            "a.yml",
        ]);
        let Command::Run(run) = line.command else { panic!("`run` is `run`") };
        let flags = run.flags(3);
        let check = |name: &str, expected: &str| assert_eq!(flags[name], expected, "{name}");
        check("config.file", "a.yml");
        check("log.format", "json");
        check("runtime.threads", "3");
        check("web.enable-lifecycle", "false");
        check("cluster.name", "");
    }
}
