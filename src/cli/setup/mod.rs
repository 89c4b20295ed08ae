//! `starling setup`: makes this host a member of a fleet. What to do is decided by `section` (the
//! configuration) and `secret`; here both are asked, done in that order that leaves no half, and told.

mod files;
mod secret;
mod section;
mod told;

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use crate::{
    cli::setup::{
        files::Found,
        secret::Step,
        section::{Added, Asked},
    },
    config::{SECRET_BYTES_MAX, Secret},
    fleet::node_id::chance,
    runtime::host,
};

/// Where the packages' unit and documents expect it.
const SECRET_FILE: &str = "/etc/starling/cluster.secret";

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 this host is set up, or was already; 1 it is not, and nothing \
    was changed but what is told. Run it again at any time: what is there stays."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Flags {
    /// Find the other members on this network by multicast DNS
    #[arg(long)]
    mdns: bool,
    /// Where other members may be: IP, host, host:port, dns+name or dnssrv+name; the same list for
    /// all hosts will do
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    peers: Vec<String>,
    /// This member among the others [default: the name of the host]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Keeps clusters on one network apart [default: default]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Send what is scraped there, by remote write
    #[arg(long = "remote-write", value_name = "URL")]
    remote_write: Option<String>,
    /// The configuration that is added to
    #[arg(
        long = "config.file",
        env = "STARLING_CONFIG_FILE",
        value_name = "FILE",
        default_value = "/etc/starling/starling.yml"
    )]
    config_file: PathBuf,
    /// Where the secret that all members share is kept, and made where there is none
    /// [default: /etc/starling/cluster.secret]
    #[arg(long = "secret-file", value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Take the secret of another member from standard input
    #[arg(long = "secret-stdin")]
    secret_stdin: bool,
    /// Print the secret to standard output, and what is done to standard error
    #[arg(long = "print-secret", conflicts_with = "dry_run")]
    print_secret: bool,
    /// The group that the agent runs as, and that may read the secret
    #[arg(long, value_name = "GROUP", default_value = "starling")]
    group: String,
    /// Tell what would be done, and do nothing
    #[arg(long = "dry-run")]
    dry_run: bool,
}

/// # Errors
/// Why this host is not set up: one sentence, or one line a problem.
pub(super) fn run(flags: &Flags) -> Result<ExitCode, String> {
    if !flags.dry_run && !rustix::process::geteuid().is_root() {
        return Err("setup writes below `/etc`: run it as root, as by `sudo`, or look what it would do by `--dry-run`".to_owned());
    }
    let group = files::group(&flags.group)?;
    let given = if flags.secret_stdin { Some(given(io::stdin().lock())?) } else { None };
    let config_file = absolute(&flags.config_file)?;
    let asked = flags.asked()?;

    let text = files::read_config(&config_file)?;
    let added = section::add(&config_file, &text, &asked)?;
    let found = added.secret_file.as_deref().map_or(Ok(None), files::read_secret)?;
    let owner = files::Owner { uid: 0, gid: group };
    let step = secret::decide(&added, found.as_ref(), given, owner, chance())?;

    if !flags.dry_run {
        if let Some(path) = &added.secret_file {
            files::keep_secret(path, &step, owner)?;
        }
        // Last, as it is what makes a member of this host.
        if let Some(text) = &added.text {
            files::replace(&config_file, text)?;
        }
    }
    tell(flags, &config_file, &added, &step).map_err(|error| error.to_string())?;
    if flags.print_secret {
        let secret = match &step {
            Step::Make(secret) | Step::Take(secret) => Some(secret),
            Step::Keep | Step::Permit => found.as_ref().map(|Found { secret, .. }| secret),
        };
        let Some(secret) = secret else {
            return Err("the configuration names its secret in a way that setup does not read; there is none to print".to_owned());
        };
        writeln!(io::stdout(), "{}", secret.expose()).map_err(|error| error.to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Flags {
    fn asked(&self) -> Result<Asked, String> {
        Ok(Asked {
            mdns: self.mdns,
            peers: self.peers.clone(),
            name: self.name.clone(),
            cluster: self.cluster.clone(),
            remote_write: self.remote_write.clone(),
            secret_file: self.secret_file.as_deref().map(absolute).transpose()?,
            secret_file_default: SECRET_FILE.into(),
        })
    }
}

/// A relative path in the file would be taken from the file's folder.
fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("`{}`: {error}", path.display()))
}

fn given(input: impl Read) -> Result<Secret, String> {
    let mut text = String::new();
    input
        .take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("the secret on standard input: {error}"))?;
    secret::given(&text)
}

fn tell(flags: &Flags, config_file: &Path, added: &Added, step: &Step) -> io::Result<()> {
    let told = told::told(flags, config_file, added, step, &host::name());
    if flags.print_secret {
        io::stderr().write_all(told.as_bytes())
    } else {
        io::stdout().write_all(told.as_bytes())
    }
}

#[cfg(test)]
mod tests;
