//! A whole file, and the files it includes, into a `Config`. Pure: whoever calls has read them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::config::{
    Config, Global, Job, TypedCluster, admin, cluster,
    decode::{Findings, NamedFile, Section, shown},
    gateway,
    global::{self, Environment},
    history, outbox,
    problem::{Place, Problem, Problems},
    remote_write, scrape, server_only, yaml,
    yaml::Node,
};

/// A file whose YAML is read, and nothing more.
pub(super) struct Document {
    root: Option<Node>,
    findings: Findings,
}

/// One pattern of `scrape_config_files`, its path made absolute to the file that names it.
pub(super) struct Include {
    pub(super) pattern: std::path::PathBuf,
    pub(super) place: Place,
}

/// A configuration and what the loader still looks after.
pub(super) struct Decoded {
    pub(super) config: Config,
    pub(super) named_files: Vec<NamedFile>,
}

impl Document {
    pub(super) fn read(path: &Path, text: &str) -> Self {
        let mut findings = Findings::of(path);
        let (root, problems) = yaml::read(text);
        let file = findings.file.clone();
        let named = problems.into_iter().map(|problem| Problem { file: file.clone(), ..problem });
        findings.problems.extend(named);
        Self { root, findings }
    }

    /// The legal patterns of `scrape_config_files`; the others are told when decoding.
    pub(super) fn includes(&self) -> Vec<Include> {
        let entries = self.root.as_ref().and_then(Node::as_map).unwrap_or(&[]);
        let list = entries.iter().find(|(key, _)| key.text == "scrape_config_files");
        let nodes = list.and_then(|(_, node)| node.as_seq()).unwrap_or(&[]);
        let patterns = nodes.iter().filter_map(|node| Some((node.as_str()?, node.place)));
        patterns
            .filter(|(pattern, _)| server_only::is_pattern(pattern))
            .map(|(pattern, place)| Include { pattern: self.findings.path(pattern), place })
            .collect()
    }

    pub(super) fn problem(&mut self, place: Place, message: impl Into<String>) {
        self.findings.problem(place, message);
    }

    pub(super) fn warning(&mut self, place: Place, message: impl Into<String>) {
        self.findings.warning(place, message);
    }
}

/// `included` are the files that the patterns of `main` match, in their order; `flags` lie over the
/// `cluster` section.
pub(super) fn decode(
    mut main: Document,
    included: Vec<Document>,
    flags: &TypedCluster,
    environment: Environment<'_>,
) -> Result<Decoded, Problems> {
    let mut jobs = Jobs::default();
    let mut config = Config::default();
    if let Some(root) = main.root.take() {
        top(&root, &mut config, &mut jobs, flags, environment, &mut main.findings);
    }
    let mut all = vec![main.findings];
    for mut document in included {
        if let Some(root) = document.root.take() {
            included_top(&root, &config.global, &mut jobs, &mut document.findings);
        }
        all.push(document.findings);
    }
    config.jobs = jobs.jobs.into_iter().map(Arc::new).collect();
    collect(config, all)
}

/// Problems and warnings in the order of the files and of their lines.
fn collect(mut config: Config, all: Vec<Findings>) -> Result<Decoded, Problems> {
    let mut problems = Vec::new();
    let mut named_files = Vec::new();
    for mut findings in all {
        findings.problems.sort_by_key(|problem| problem.place);
        findings.warnings.sort_by_key(|warning| warning.place);
        problems.append(&mut findings.problems);
        config.warnings.extend(findings.warnings.iter().map(ToString::to_string));
        named_files.append(&mut findings.named_files);
    }
    if problems.is_empty() { Ok(Decoded { config, named_files }) } else { Err(Problems(problems)) }
}

/// The jobs so far, and where their names were first taken.
#[derive(Default)]
struct Jobs {
    jobs: Vec<Job>,
    names: BTreeMap<Arc<str>, Taken>,
}

struct Taken {
    file: Arc<str>,
    place: Place,
}

impl Jobs {
    fn read(&mut self, section: &mut Section<'_, '_>, global: &Global) {
        let nodes = section.entries("scrape_configs", "empty or null scrape config section");
        for node in nodes {
            let Some(job) = scrape::job(node, global, section.findings) else { continue };
            self.add(job, node.place, section.findings);
        }
    }

    fn add(&mut self, job: Job, place: Place, findings: &mut Findings) {
        if let Some(Taken { file, place: first }) = self.names.get(&job.job_name) {
            let name = shown(&job.job_name);
            let message = format!(
                "found multiple scrape configs with job name {name:?}, first found in {file}:{}:{}",
                first.line, first.column
            );
            findings.problem(place, message);
            return;
        }
        if !job.job_name.is_empty() {
            let file = findings.file.clone();
            self.names.insert(job.job_name.clone(), Taken { file, place });
        }
        self.jobs.push(job);
    }
}

fn top(
    root: &Node,
    config: &mut Config,
    jobs: &mut Jobs,
    flags: &TypedCluster,
    environment: Environment<'_>,
    findings: &mut Findings,
) {
    let Some(mut section) = Section::open(root, "", findings) else { return };
    if let Some(node) = section.get("global") {
        config.global = global::global(node, environment, section.findings);
    }
    for (pattern, place) in section.texts("scrape_config_files") {
        if !server_only::is_pattern(pattern) {
            let pattern = shown(pattern);
            let message =
                format!("invalid scrape config file path {pattern:?}; `*` only in its last part");
            section.problem(place, message);
        }
    }
    jobs.read(&mut section, &config.global);
    config.destinations = remote_write::destinations(&mut section, &config.global);
    if let Some(node) = section.get("outbox") {
        config.outbox = outbox::outbox(node, section.findings);
    }
    if let Some(node) = section.get("history") {
        config.history = history::history(node, section.findings);
    }
    config.cluster = cluster::cluster(&mut section, flags);
    if let Some(node) = section.get("admin") {
        config.admin = admin::admin(node, section.findings);
    }
    if let Some(node) = section.get("gateway") {
        let validation = config.global.metric_name_validation;
        let has_destinations = !config.destinations.is_empty();
        config.gateway = gateway::gateway(node, validation, has_destinations, section.findings);
    }
    server_only::sections(&mut section, config.global.metric_name_validation);
    section.close();
}

fn included_top(root: &Node, global: &Global, jobs: &mut Jobs, findings: &mut Findings) {
    let Some(mut section) = Section::open(root, "", findings) else { return };
    jobs.read(&mut section, global);
    section.close();
}
