//! `starling check FILE...`: what is wrong with the files, what has no effect, and what would run.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{
    admin,
    config::{
        self, ClientAuth, Cluster, Config, Discovery, Job, LoadedWeb, Problems, TypedCluster, Web,
        WebTls,
    },
    discovery::resolve,
    gateway::visitor,
    runtime::host,
};

/// What is checked, and the flags that the agent would be started with.
pub struct Asked {
    pub files: Vec<PathBuf>,
    pub web_config_file: Option<PathBuf>,
    pub listen_address: String,
    /// What flags say over the files' `cluster` section.
    pub cluster: TypedCluster,
}

/// Writes every problem, then every warning, then a summary of each file; gives the exit code: 1
/// where a file has a problem, 0 otherwise.
///
/// A warning is something that the agent accepts and that a person may not have meant: a server's
/// section, a key without effect, a password or certificate file that is not there (yet: such files
/// are read again whenever they are needed). Where `strict`, warnings count as problems.
pub fn check(asked: &Asked, strict: bool, out: &mut impl Write) -> io::Result<u8> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut code = 0;
    let mut web = Web::default();
    if let Some(path) = &asked.web_config_file {
        match config::load_web(path) {
            Ok(loaded) => {
                code |= accepted_web(path, &loaded, strict, out)?;
                web = loaded.web;
            }
            Err(problems) => {
                refused(path, &problems, out)?;
                code = 1;
            }
        }
    }
    for path in &asked.files {
        match config::load(path, &asked.cluster, &environment) {
            Ok(mut config) => {
                config.web = web.clone();
                // The file may be checked on a host that has not got them.
                if let Err(reason) = config::unlock(&mut config) {
                    config.warnings.extend(reason.lines().map(str::to_owned));
                }
                config.warnings.extend(admin::open_to_all(&config, &asked.listen_address));
                let open = config.gateway.metrics.as_deref().and_then(visitor::open_to_all);
                config.warnings.extend(open.map(str::to_owned));
                let faults: Vec<String> =
                    config.jobs.iter().flat_map(|job| static_faults(job)).collect();
                let warned = strict && !config.warnings.is_empty();
                for line in &faults {
                    writeln!(out, "{}: {line}", path.display())?;
                }
                accepted(path, &config, faults.len(), warned, out)?;
                code |= u8::from(warned || !faults.is_empty());
            }
            Err(problems) => {
                refused(path, &problems, out)?;
                code = 1;
            }
        }
    }
    Ok(code)
}

fn refused(path: &Path, problems: &Problems, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{problems}")?;
    let count = counted(problems.0.len(), "problem", "problems");
    writeln!(out, "{}: refused: {count}", path.display())
}

fn accepted_web(
    path: &Path,
    loaded: &LoadedWeb,
    strict: bool,
    out: &mut impl Write,
) -> io::Result<u8> {
    for warning in &loaded.warnings {
        writeln!(out, "{warning} (warning)")?;
    }
    let path = path.display();
    let warnings = counted(loaded.warnings.len(), "warning", "warnings");
    if strict && !loaded.warnings.is_empty() {
        writeln!(out, "{path}: refused, as warnings count: {warnings}")?;
        return Ok(1);
    }
    let users = counted(loaded.web.users.len(), "user", "users");
    let spoken = match &loaded.web.tls {
        None => "plain HTTP",
        Some(WebTls { client_auth: ClientAuth::VerifyIfGiven, .. }) => {
            "TLS, client certificates taken"
        }
        Some(WebTls { client_auth: ClientAuth::RequireAndVerify, .. }) => {
            "TLS, client certificates required"
        }
        Some(WebTls {
            client_auth: ClientAuth::None | ClientAuth::Request | ClientAuth::RequireAny,
            ..
        }) => "TLS",
    };
    writeln!(out, "{path}: accepted: {spoken}, {users}, {warnings}")?;
    Ok(0)
}

/// What relabelling makes of the targets in the file itself: one that can't be scraped is a slip,
/// though an agent runs on without it.
fn static_faults(job: &Job) -> Vec<String> {
    let host = host::name();
    let mut faults = Vec::new();
    for discovery in &job.discovery {
        let Discovery::Static(groups) = discovery else { continue };
        for (n, group) in groups.iter().enumerate() {
            for (m, target) in group.targets.iter().enumerate() {
                let discovered = resolve::discovered_labels(job, &host, target, &group.labels);
                let outcome = resolve::populate(job, discovered);
                if let Some(error) = outcome.err().and_then(|dropped| dropped.error) {
                    let name = &job.job_name;
                    faults.push(format!("job `{name}`: instance {m} in group {n}: {error}"));
                }
            }
        }
    }
    faults
}

fn accepted(
    path: &Path,
    config: &Config,
    faults: usize,
    warned: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    for warning in &config.warnings {
        writeln!(out, "{warning} (warning)")?;
    }
    let warnings = counted(config.warnings.len(), "warning", "warnings");
    let path = path.display();
    if faults > 0 {
        let count = counted(faults, "problem", "problems");
        return writeln!(out, "{path}: refused: {count}, {warnings}");
    }
    if warned {
        return writeln!(out, "{path}: refused, as warnings count: {warnings}");
    }
    let jobs = counted(config.jobs.len(), "job", "jobs");
    let destinations = counted(config.destinations.len(), "destination", "destinations");
    writeln!(out, "{path}: accepted: {jobs}, {destinations}, {warnings}")?;
    for job in &config.jobs {
        let divided = if job.clustering.enabled { ", divided among the members" } else { "" };
        writeln!(out, "  job `{}`: {}{divided}", job.job_name, sources(job))?;
    }
    for destination in &config.destinations {
        writeln!(out, "  destination `{}`: {}", destination.name, destination.shown_url())?;
    }
    if config.cluster.enabled {
        writeln!(out, "  cluster `{}`: {}", config.cluster.name, company(&config.cluster))?;
    }
    if let Some(metrics) = &config.gateway.metrics {
        writeln!(out, "  gateway: metrics are taken at `{}`", metrics.listen_address)?;
    }
    if config.destinations.is_empty() {
        writeln!(out, "  no `remote_write`: what is scraped goes nowhere")?;
    }
    Ok(())
}

/// Where the targets of `job` come from, in few words.
fn sources(job: &Job) -> String {
    let sources: Vec<String> = job
        .discovery
        .iter()
        .map(|discovery| match discovery {
            Discovery::Static(groups) => {
                let count = groups.iter().map(|group| group.targets.len()).sum();
                counted(count, "static target", "static targets")
            }
            Discovery::File { .. } => "file_sd".into(),
            Discovery::Http { .. } => "http_sd".into(),
            Discovery::Dns { .. } => "dns_sd".into(),
            Discovery::Polled(polled) => format!("{}_sd", polled.provider.kind()),
        })
        .collect();
    if sources.is_empty() { "no targets".into() } else { sources.join(", ") }
}

/// How `cluster` finds its members, and whom it keeps out.
fn company(cluster: &Cluster) -> String {
    let mut ways = Vec::new();
    if !cluster.peers.is_empty() {
        ways.push(counted(cluster.peers.len(), "peer", "peers"));
    }
    if cluster.mdns {
        ways.push("multicast DNS".to_owned());
    }
    if ways.is_empty() {
        ways.push("found by others only".to_owned());
    }
    ways.push(match cluster.secrets.len() {
        0 => "no secret: any host may join".to_owned(),
        count => counted(count, "secret", "secrets"),
    });
    ways.join(", ")
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(text: &str, strict: bool, code: u8, expected: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yml");
        std::fs::write(&path, text).expect("written");
        let mut out = Vec::new();
        let asked = Asked {
            files: vec![path],
            web_config_file: None,
            listen_address: "127.0.0.1:9733".to_owned(),
            cluster: TypedCluster::default(),
        };
        assert_eq!(check(&asked, strict, &mut out).expect("written"), code, "{text}");
        let out = String::from_utf8(out).expect("text");
        assert_eq!(out.replace(&format!("{}/", folder.path().display()), ""), expected);
    }

    #[test]
    fn says_what_would_run() {
        check_text(
            "scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['h:1', 'h:2']}]\nremote_write:\n- {name: b, url: 'http://u:p@h/'}\n",
            true,
            0,
            "a.yml: accepted: 1 job, 1 destination, 0 warnings\n  job `a`: 2 static targets\n  destination `b`: http://xxxxx@h/\n",
        );
    }

    #[test]
    fn warnings_fail_only_where_strict() {
        let text = "rule_files: [a]\n";
        let warning = "a.yml:1:1: `rule_files` is not an agent's work: rules are evaluated by a server; it has no effect (warning)\n";
        let nowhere = "  no `remote_write`: what is scraped goes nowhere\n";
        let accepted = "a.yml: accepted: 0 jobs, 0 destinations, 1 warning\n";
        check_text(text, false, 0, &format!("{warning}{accepted}{nowhere}"));
        let refused = "a.yml: refused, as warnings count: 1 warning\n";
        check_text(text, true, 1, &format!("{warning}{refused}"));
    }

    #[test]
    fn a_cluster_is_told_with_its_jobs() {
        let cluster = "cluster: {enabled: true, peers: [a, b], mdns: true, secret_file: none}\n";
        let text =
            format!("{cluster}scrape_configs: [{{job_name: a, clustering: {{enabled: true}}}}]\n");
        check_text(
            &text,
            false,
            0,
            "the cluster's secret in `none` cannot be read: No such file or directory (os error 2) (warning)\na.yml: accepted: 1 job, 0 destinations, 1 warning\n  job `a`: no targets, divided among the members\n  cluster `default`: 2 peers, multicast DNS, 1 secret\n  no `remote_write`: what is scraped goes nowhere\n",
        );
        check_text(
            "cluster: {enabled: true, insecure: true, mdns: true}\n",
            false,
            0,
            "a.yml:1:1: `insecure: true` and no secret: whoever reaches the cluster port can join, and be given targets and unsent samples; where that is not a network of your own, make one: `openssl rand -hex 32`, and set `secret_file` on every member (warning)\na.yml: accepted: 0 jobs, 0 destinations, 1 warning\n  cluster `default`: multicast DNS, no secret: any host may join\n  no `remote_write`: what is scraped goes nowhere\n",
        );
    }

    #[test]
    fn problems_come_one_a_line() {
        check_text(
            "a: 1\nscrape_configs: [{}]\n",
            false,
            1,
            "a.yml:1:1: unknown key `a` at the top level\na.yml:2:18: job_name is empty\na.yml: refused: 2 problems\n",
        );
    }
}
