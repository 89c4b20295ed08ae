//! Grafana Agent in static mode: each of its metrics instances is jobs and destinations of its own;
//! what its integrations exported is a target beside the agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    cli::convert::{
        World,
        exporters::{EXPORTERS, Exporter, OWN_ADDRESS},
        prometheus::document,
        routes::{Outlet, Stream, route},
        told::{Notes, value_lacks, value_stands},
        tree::{At, Tree, Value},
    },
    config::problem::{Place, Problem},
    model::target::HOST,
};

/// Of `integrations` itself; the others are integrations.
const OF_ALL: [&str; 6] = [
    "scrape_integrations",
    "replace_instance_label",
    "integration_restarts",
    "integration_restart_backoff",
    "use_hostname_label",
    "metrics",
];

/// What of an instance the outbox does in its own way.
const OF_WAL: [&str; 5] = [
    "wal_truncate_frequency",
    "min_wal_time",
    "max_wal_time",
    "remote_flush_deadline",
    "write_stale_on_shutdown",
];

/// # Errors
/// What is no YAML, with its place.
pub(super) fn convert(
    file: &Arc<str>,
    text: &str,
    world: &World<'_>,
    notes: &mut Notes,
) -> Result<Tree, Problem> {
    let mut root = document(file, text)?;
    expand(&mut root, "", world, notes);
    let mut metrics = root
        .take("metrics")
        .or_else(|| root.take("prometheus"))
        .unwrap_or_else(|| Tree::map::<String>(&root.at, []));
    let none = Tree::map::<String>(&root.at, []);
    let mut global = metrics.take("global").filter(|tree| !tree.is_null()).unwrap_or(none);
    let shared = global.take("remote_write").map(Tree::into_items).unwrap_or_default();
    let mut agent = Agent { shared, ..Agent::default() };
    for instance in metrics.take("configs").map(Tree::into_items).unwrap_or_default() {
        agent.instance(instance, notes);
    }
    if let Some(integrations) = root.take("integrations").filter(|tree| !tree.is_null()) {
        agent.integrations(integrations, notes);
    }
    for key in ["wal_directory", "wal_cleanup_age", "wal_cleanup_period"] {
        if let Some(tree) = metrics.take(key) {
            notes.differs(
                &tree.at,
                format!("`{key}`: unsent samples wait in the `outbox`, below `--storage.path`"),
            );
        }
    }
    for (key, tree) in metrics.entries() {
        let why = match key.as_str() {
            "scraping_service" | "scraping_service_client" => {
                "members divide the targets of jobs with `clustering`: run `starling setup` on each host"
            }
            _ => "the agent has nothing like it",
        };
        notes.lost(&tree.at, format!("`metrics.{key}`: {why}"));
    }
    for (key, tree) in root.entries().iter().filter(|(_, tree)| !tree.is_null()) {
        elsewhere(key, tree, notes);
    }
    Ok(agent.into_tree(&At::of(file, Place::default()), global))
}

fn elsewhere(key: &str, tree: &Tree, notes: &mut Notes) {
    match key {
        "server" => notes.differs(&tree.at, "`server`: flags of the service (`--web.listen-address`, `--log.level`) and the file of `--web.config.file` are instead"),
        "logs" | "loki" => notes.lost(&tree.at, format!("`{key}`: logs are not collected yet; run another agent for them")),
        "traces" | "tempo" => notes.lost(&tree.at, format!("`{key}`: only metrics are collected; run another agent for traces")),
        _ => notes.lost(&tree.at, format!("`{key}`: the agent has nothing like it")),
    }
}

#[derive(Default)]
struct Agent {
    /// Of instances that have none of their own.
    shared: Vec<Tree>,
    streams: Vec<Stream>,
    outlets: Vec<Outlet>,
    /// Names of jobs that are taken.
    names: BTreeSet<String>,
    /// What each set of destinations is called.
    outlet_ids: BTreeMap<String, String>,
}

impl Agent {
    fn instance(&mut self, mut instance: Tree, notes: &mut Notes) {
        let name = instance.take("name").and_then(|tree| tree.as_text().map(str::to_owned));
        let name = name.unwrap_or_else(|| "default".to_owned());
        let own = instance.take("remote_write").map(Tree::into_items).unwrap_or_default();
        let entries = if own.is_empty() { self.shared.clone() } else { own };
        if let Some(tree) = instance.take("host_filter").filter(Tree::is_true) {
            notes.lost(&tree.at, "`host_filter`: a `keep` of `__meta_starling_host` in `relabel_configs` does that, or `clustering` with all hosts");
        }
        if let Some(tree) = instance.take("host_filter_relabel_configs") {
            notes.lost(&tree.at, "`host_filter_relabel_configs`: goes with `host_filter`");
        }
        for key in OF_WAL {
            if let Some(tree) = instance.take(key) {
                notes.differs(&tree.at, format!("`{key}`: the `outbox` keeps what is not sent"));
            }
        }
        let jobs = instance.take("scrape_configs").map(Tree::into_items).unwrap_or_default();
        for (key, tree) in instance.entries() {
            notes.lost(
                &tree.at,
                format!("`{key}` of instance `{name}`: the agent has nothing like it"),
            );
        }
        let jobs: Vec<Tree> = jobs.into_iter().map(|job| self.named(job, &name, notes)).collect();
        self.stream(&name, jobs, entries);
    }

    /// The names of jobs are the file's own, and here one file has them all.
    fn named(&mut self, mut job: Tree, instance: &str, notes: &mut Notes) -> Tree {
        let Some(name) = job.get("job_name").and_then(Tree::as_text).map(str::to_owned) else {
            return job;
        };
        if self.names.insert(name.clone()) {
            return job;
        }
        let mut new = format!("{instance}/{name}");
        while !self.names.insert(new.clone()) {
            new.push('\'');
        }
        let at = job.at.clone();
        notes.differs(&at, format!("job `{name}` is there already: it is called `{new}`, and its targets keep the label `job={name}`"));
        job.set("job_name", Tree::text(&at, &*new));
        let rule = [
            ("source_labels", Tree::list(&at, vec![Tree::text(&at, "job")])),
            ("regex", Tree::text(&at, regex::escape(&new))),
            ("target_label", Tree::text(&at, "job")),
            ("replacement", Tree::text(&at, name.replace('$', "$$"))),
        ];
        job.prepend("relabel_configs", vec![Tree::map(&at, rule)]);
        job
    }

    fn stream(&mut self, name: &str, jobs: Vec<Tree>, entries: Vec<Tree>) {
        if jobs.is_empty() {
            return;
        }
        let mut to = BTreeSet::new();
        if !entries.is_empty() {
            let what = entries.iter().map(Tree::to_yaml).collect::<String>();
            let known = self.outlet_ids.get(&what).cloned();
            let id = known.unwrap_or_else(|| {
                let mut id = name.to_owned();
                while self.outlets.iter().any(|outlet| outlet.id == id) {
                    id.push('\'');
                }
                self.outlets.push(Outlet { id: id.clone(), entries });
                self.outlet_ids.insert(what, id.clone());
                id
            });
            to.insert(id);
        }
        self.streams.push(Stream { jobs, to });
    }

    fn integrations(&mut self, mut all: Tree, notes: &mut Notes) {
        let own = all.take("prometheus_remote_write").map(Tree::into_items).unwrap_or_default();
        let entries = if own.is_empty() { self.shared.clone() } else { own };
        let mut jobs = Vec::new();
        for (key, tree) in all.entries() {
            if key == "metrics" || OF_ALL.contains(&key.as_str()) {
                continue;
            }
            let is_on = tree.get("enabled").is_some_and(Tree::is_true) || key.ends_with("_configs");
            if !is_on {
                continue;
            }
            jobs.extend(integration(key, tree, notes));
        }
        let jobs = jobs.into_iter().map(|job| self.named(job, "integrations", notes)).collect();
        self.stream("integrations", jobs, entries);
    }

    fn into_tree(mut self, at: &At, global: Tree) -> Tree {
        if self.outlets.is_empty() && !self.shared.is_empty() {
            self.outlets.push(Outlet { id: "default".to_owned(), entries: self.shared });
        }
        route(&mut self.streams, &mut self.outlets);
        let jobs: Vec<Tree> = self.streams.into_iter().flat_map(|stream| stream.jobs).collect();
        let entries: Vec<Tree> = self.outlets.into_iter().flat_map(|o| o.entries).collect();
        let mut tree = Tree::map::<String>(at, []);
        if !global.entries().is_empty() {
            tree.set("global", global);
        }
        tree.append("scrape_configs", jobs);
        tree.append("remote_write", entries);
        tree
    }
}

/// The job that takes the place of what ran inside.
fn integration(key: &str, tree: &Tree, notes: &mut Notes) -> Option<Tree> {
    let known = EXPORTERS.iter().find(|exporter| exporter.agent == key);
    let address = match known {
        _ if key == "agent" => {
            notes.differs(&tree.at, format!("integration `agent`: the agent's own metrics take the place of Grafana Agent's, at `{OWN_ADDRESS}`"));
            OWN_ADDRESS
        }
        Some(Exporter { program, address, .. }) => {
            notes.lost(&tree.at, format!("integration `{key}`: nothing is exported within the agent; run {program}; the job scrapes it at `{address}`"));
            address
        }
        None => {
            notes.lost(&tree.at, format!("integration `{key}`: nothing is exported within the agent; run the exporter beside it, and scrape that"));
            return None;
        }
    };
    let at = &tree.at;
    let text = |text: &str| Tree::text(at, text);
    let group = Tree::map(at, [("targets", Tree::list(at, vec![text(address)]))]);
    let instance =
        [("source_labels", Tree::list(at, vec![text(HOST)])), ("target_label", text("instance"))];
    let mut job = Tree::map(at, [("job_name", text(&format!("integrations/{key}")))]);
    job.set("static_configs", Tree::list(at, vec![group]));
    job.append("relabel_configs", vec![Tree::map(at, instance)]);
    for key in ["scrape_interval", "scrape_timeout", "metric_relabel_configs"] {
        if let Some(own) = tree.get(key) {
            job.set(key, own.clone());
        }
    }
    for rule in tree.get("relabel_configs").map(|list| list.items().to_vec()).unwrap_or_default() {
        job.append("relabel_configs", vec![rule]);
    }
    if let Some(own) = tree.get("instance") {
        let rule = [("target_label", text("instance")), ("replacement", own.clone())];
        job.append("relabel_configs", vec![Tree::map(at, rule)]);
    }
    Some(job)
}

/// `${NAME}`, which `-config.expand-env` replaces; in external labels the agent does so itself.
fn expand(tree: &mut Tree, key: &str, world: &World<'_>, notes: &mut Notes) {
    let at = tree.at.clone();
    match &mut tree.value {
        Value::Text(text) | Value::Word(text) => {
            for name in variables(text) {
                if let Some(value) = (world.environment)(&name) {
                    *text = text.replace(&format!("${{{name}}}"), &value);
                    notes.differs(&at, format!("`{key}`: {}", value_stands(&name)));
                } else {
                    notes.lost(&at, format!("`{key}`: {}", value_lacks(&name)));
                }
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| expand(item, key, world, notes)),
        Value::Map(entries) => {
            for (key, below) in entries.iter_mut().filter(|(key, _)| key != "external_labels") {
                expand(below, key, world, notes);
            }
        }
    }
}

/// The names in capitals, as variables have; `${1}` is a group of a rule.
fn variables(text: &str) -> Vec<String> {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let names = text.split("${").skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    names.filter(|name| is_name(name)).map(str::to_owned).collect()
}
