//! `starling check FILE...`: what is wrong with the files, what has no effect, and what would run.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::config::{self, Config};

/// Writes every problem, then every warning, then a summary of each file; gives the exit code: 1
/// where a file has a problem, 0 otherwise.
///
/// A warning is something that the agent accepts and that a person may not have meant: a server's
/// section, a key without effect, a password or certificate file that is not there (yet: such files
/// are read again whenever they are needed). Where `strict`, warnings count as problems.
pub fn check(paths: &[PathBuf], strict: bool, out: &mut impl Write) -> io::Result<u8> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut code = 0;
    for path in paths {
        match config::load(path, &environment) {
            Ok(config) => {
                let fails = strict && !config.warnings.is_empty();
                accepted(path, &config, fails, out)?;
                code |= u8::from(fails);
            }
            Err(problems) => {
                writeln!(out, "{problems}")?;
                let count = counted(problems.0.len(), "problem", "problems");
                writeln!(out, "{}: refused: {count}", path.display())?;
                code = 1;
            }
        }
    }
    Ok(code)
}

fn accepted(path: &Path, config: &Config, fails: bool, out: &mut impl Write) -> io::Result<()> {
    for warning in &config.warnings {
        writeln!(out, "{warning} (warning)")?;
    }
    let verdict = if fails { "refused (strict)" } else { "accepted" };
    let jobs = counted(config.jobs.len(), "job", "jobs");
    let destinations = counted(config.destinations.len(), "destination", "destinations");
    let warnings = match config.warnings.len() {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning", "warnings")),
    };
    writeln!(out, "{}: {verdict}: {jobs}, {destinations}{warnings}", path.display())?;
    if config.destinations.is_empty() {
        writeln!(out, "  no `remote_write`: what is scraped goes nowhere")?;
    }
    Ok(())
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
