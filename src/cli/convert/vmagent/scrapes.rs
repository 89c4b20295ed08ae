//! The file of `-promscrape.config`: jobs as Prometheus has them, with what vmagent added.

use std::{path::Path, sync::Arc};

use crate::{
    cli::convert::{
        World, plain,
        prometheus::document,
        told::{Notes, value_lacks, value_stands},
        tree::{At, Tree, Value},
        vmagent::{flags::Flags, relabel},
    },
    config::{problem::Problem, units, yaml},
};

const RENAMED: [(&str, &str); 3] = [
    ("series_limit", "x_series_limit"),
    ("scrape_offset", "x_scrape_offset"),
    ("scrape_align_interval", "x_scrape_align_interval"),
];

/// What is set at its value and asks for nothing that the agent does not do anyway.
const NEEDLESS: [&str; 3] = ["stream_parse", "relabel_debug", "metric_relabel_debug"];

/// What `-promscrape.*CheckInterval` is for each kind of discovery.
const INTERVALS: [(&str, &str); 11] = [
    ("file_sd_configs", "promscrape.fileSDCheckInterval"),
    ("http_sd_configs", "promscrape.httpSDCheckInterval"),
    ("dns_sd_configs", "promscrape.dnsSDCheckInterval"),
    ("consul_sd_configs", "promscrape.consulSDCheckInterval"),
    ("ec2_sd_configs", "promscrape.ec2SDCheckInterval"),
    ("gce_sd_configs", "promscrape.gceSDCheckInterval"),
    ("azure_sd_configs", "promscrape.azureSDCheckInterval"),
    ("digitalocean_sd_configs", "promscrape.digitaloceanSDCheckInterval"),
    ("docker_sd_configs", "promscrape.dockerSDCheckInterval"),
    ("hetzner_sd_configs", "promscrape.hetznerSDCheckInterval"),
    ("openstack_sd_configs", "promscrape.openstackSDCheckInterval"),
];

/// The whole file, converted; the flags that are about it lie over it.
pub(super) fn read(
    path: &Path,
    at: &At,
    flags: &mut Flags,
    world: &World<'_>,
    notes: &mut Notes,
) -> Result<Tree, Problem> {
    let text = (world.read)(path).map_err(|reason| Problem {
        file: at.file.clone(),
        place: at.place,
        message: format!("`-promscrape.config`: `{}`: {reason}", path.display()),
    })?;
    of_text(path, &text, flags, world, notes)
}

/// As `read`, of a file that is read already.
pub(super) fn of_text(
    path: &Path,
    text: &str,
    flags: &mut Flags,
    world: &World<'_>,
    notes: &mut Notes,
) -> Result<Tree, Problem> {
    let file: Arc<str> = path.display().to_string().into();
    let mut tree = document(&file, text)?;
    let at = tree.at.clone();
    expand(&mut tree, world, notes);
    let mut jobs = tree.take("scrape_configs").map(Tree::into_items).unwrap_or_default();
    for pattern in tree.take("scrape_config_files").map(Tree::into_items).unwrap_or_default() {
        jobs.extend(included(path, &pattern, world, notes)?);
    }
    let mut global = tree.take("global").unwrap_or_else(|| Tree::map::<String>(&at, []));
    let mut shared = |key: &str| {
        let own = global.take(key);
        own.map(|list| relabel::rules(list, notes)).unwrap_or_default()
    };
    let (before, metrics) = (shared("relabel_configs"), shared("metric_relabel_configs"));
    for job in &mut jobs {
        scrape(job, flags, notes);
        job.prepend("relabel_configs", before.clone());
        job.prepend("metric_relabel_configs", metrics.clone());
    }
    let at = global.at.clone();
    tree.set_first("scrape_configs", Tree::list(&at, jobs));
    tree.set_first("global", global);
    Ok(tree)
}

/// A file of `scrape_config_files` is a bare list of jobs.
fn included(
    by: &Path,
    pattern: &Tree,
    world: &World<'_>,
    notes: &mut Notes,
) -> Result<Vec<Tree>, Problem> {
    let Some(text) = pattern.as_text() else { return Ok(Vec::new()) };
    let path = by.parent().unwrap_or(Path::new("")).join(text);
    let why = if text.contains(['*', '?', '[']) {
        "a pattern".to_owned()
    } else {
        match (world.read)(&path) {
            Ok(text) => {
                let file: Arc<str> = path.display().to_string().into();
                let node = yaml::parse(&text)
                    .map_err(|problem| Problem { file: file.clone(), ..problem })?;
                let mut tree = Tree::of(&node, &file);
                expand(&mut tree, world, notes);
                return Ok(tree.into_items());
            }
            Err(reason) => reason,
        }
    };
    notes.lost(&pattern.at, format!("`scrape_config_files`: `{text}`: {why}: convert each file by itself, or put `scrape_configs:` before its list and name it by `scrape_config_files`"));
    Ok(Vec::new())
}

fn scrape(job: &mut Tree, flags: &mut Flags, notes: &mut Notes) {
    let at = job.at.clone();
    for (own, key) in RENAMED {
        job.rename(own, key);
    }
    for key in NEEDLESS {
        job.take(key);
    }
    if let Some(limit) = job.take("max_scrape_size") {
        let bytes = limit.as_text().and_then(plain::size).map(units::print_bytes);
        let bytes = bytes.or_else(|| limit.as_text().map(str::to_owned)).unwrap_or_default();
        job.set("body_size_limit", Tree::text(&limit.at, bytes));
    }
    if job.take("disable_compression").is_some_and(|tree| tree.is_true()) {
        job.set("enable_compression", Tree::word(&at, false));
    }
    if let Some(tree) = job.take("disable_keepalive").filter(Tree::is_true) {
        notes.differs(&tree.at, "`disable_keepalive`: connections are kept");
    }
    if let Some(tree) = job.take("no_stale_markers").filter(Tree::is_true) {
        notes.lost(&tree.at, "`no_stale_markers`: series that end are marked as stale");
    }
    if !job.has("honor_timestamps") {
        // What vmagent does where it is not told, and Prometheus does not.
        job.set("honor_timestamps", Tree::word(&at, false));
    }
    if !job.has("fallback_scrape_protocol") {
        // vmagent reads whatever comes as this.
        job.set("fallback_scrape_protocol", Tree::text(&at, "PrometheusText0.0.4"));
    }
    for key in ["relabel_configs", "metric_relabel_configs"] {
        if let Some(list) = job.take(key) {
            let rules = relabel::rules(list, notes);
            job.append(key, rules);
        }
    }
    headers(job);
    let Some(entries) = job.entries_mut() else { return };
    for (key, list) in entries.iter_mut().filter(|(key, _)| key.ends_with("_sd_configs")) {
        let interval = INTERVALS.iter().find(|(own, _)| own == key);
        let interval = interval.and_then(|(_, flag)| flags.one(flag));
        let Value::List(discoveries) = &mut list.value else { continue };
        for discovery in discoveries {
            headers(discovery);
            if let Some((text, at)) = &interval
                && !discovery.has("refresh_interval")
            {
                discovery.set("refresh_interval", Tree::text(at, text.clone()));
            }
        }
    }
}

/// `headers: ["Name: value"]` are `http_headers`.
fn headers(section: &mut Tree) {
    let Some(list) = section.take("headers") else { return };
    let at = list.at.clone();
    let mut headers = Tree::map::<String>(&at, []);
    for header in list.into_items() {
        let Some((name, value)) = header.as_text().and_then(|text| text.split_once(':')) else {
            continue;
        };
        let value = Tree::list(&at, vec![Tree::text(&at, value.trim())]);
        headers.set(name.trim(), Tree::map(&at, [("secrets", value)]));
    }
    section.set("http_headers", headers);
}

/// `%{NAME}` is a variable of the environment.
pub(super) fn expand(tree: &mut Tree, world: &World<'_>, notes: &mut Notes) {
    let at = tree.at.clone();
    match &mut tree.value {
        Value::Text(text) | Value::Word(text) => *text = expanded(text, &at, world, notes),
        Value::List(items) => items.iter_mut().for_each(|item| expand(item, world, notes)),
        Value::Map(entries) => {
            for (_, below) in entries {
                expand(below, world, notes);
            }
        }
    }
}

pub(super) fn expanded(text: &str, at: &At, world: &World<'_>, notes: &mut Notes) -> String {
    let mut new = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("%{") {
        let Some((name, after)) = after.split_once('}') else { break };
        new += before;
        if let Some(value) = (world.environment)(name) {
            notes.differs(at, value_stands(name));
            new += &value;
        } else {
            notes.lost(at, value_lacks(name));
            new.extend(["%{", name, "}"]);
        }
        rest = after;
    }
    new + rest
}
