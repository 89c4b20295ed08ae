//! Alloy's `config.alloy` into a configuration: the language is parsed, its expressions are worked
//! out as far as they can be without an agent, and the graph of components becomes jobs and
//! destinations.

mod destinations;
mod discovery;
mod elsewhere;
mod evaluate;
mod fields;
mod flow;
mod jobs;
mod lexer;
mod library;
mod syntax;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    cli::convert::{
        World,
        alloy::{evaluate::Scene, lexer::Fault, syntax::Block},
        routes::{Outlet, Stream, route},
        told::Notes,
        tree::{At, Tree},
    },
    config::problem::{Place, Problem},
};

/// Components that samples pass one after the other; a longer way is refused, as it is followed by
/// recursion.
const WAY_MAX: usize = 100;

/// # Errors
/// What is no Alloy, with its place.
pub(super) fn convert(
    file: &Arc<str>,
    text: &str,
    world: &World<'_>,
    notes: &mut Notes,
) -> Result<Tree, Problem> {
    let faulty = |(place, message)| Problem { file: file.clone(), place, message };
    let body = syntax::parse(text).map_err(faulty)?;
    for attribute in &body.attributes {
        let message = format!("`{}`: expected a block, found an attribute", attribute.name);
        notes.lost(&At::of(file, attribute.place), message);
    }
    let mut scene = Scene::new(file, &body, world, notes).map_err(faulty)?;
    graph(&mut scene, &body.blocks).map_err(faulty)
}

/// Whether a component begins somewhere in `text`.
pub(super) fn is_one(text: &str) -> bool {
    const NAMES: [&str; 5] = ["prometheus.", "discovery.", "loki.", "otelcol.", "local."];

    text.lines().any(|line| NAMES.iter().any(|name| line.starts_with(name)) && line.contains('{'))
}

fn graph(scene: &mut Scene<'_>, blocks: &[Block]) -> Result<Tree, Fault> {
    for block in blocks.iter().filter(|block| !elsewhere::is_carried(block)) {
        elsewhere::tell(scene, block);
    }
    let mut all = Vec::new();
    for scrape in blocks.iter().filter(|block| block.name == "prometheus.scrape") {
        all.extend(flow::ways(scene, scrape)?);
    }
    check_circles(scene, blocks)?;
    let split = flow::split(scene, &all);
    let mut streams = Vec::new();
    for scrape in blocks.iter().filter(|block| block.name == "prometheus.scrape") {
        streams.extend(stream(scene, scrape, &all, &split)?);
    }
    let reached: BTreeSet<&str> = all.iter().map(|way| way.to.as_str()).collect();
    let senders: Vec<&Block> = blocks
        .iter()
        .filter(|block| {
            ["prometheus.remote_write", "prometheus.write.queue"].contains(&block.name.as_str())
        })
        .filter(|block| is_reached(scene, block, &reached, blocks))
        .collect();
    let (external, mut outlets) = outlets(scene, &senders, &split)?;
    route(&mut streams, &mut outlets);
    let at = scene.at(Place::default());
    let mut global = vec![("metric_name_validation_scheme", Tree::text(&at, "legacy"))];
    if !external.is_empty() {
        global.push(("external_labels", Tree::map(&at, external)));
    }
    let jobs: Vec<Tree> = streams.into_iter().flat_map(|stream| stream.jobs).collect();
    let entries: Vec<Tree> = outlets.into_iter().flat_map(|outlet| outlet.entries).collect();
    tell_of_clustering(scene, &jobs);
    let top = [
        ("global", Tree::map(&at, global)),
        ("scrape_configs", Tree::list(&at, jobs)),
        ("remote_write", Tree::list(&at, entries)),
    ];
    Ok(Tree::map(
        &at,
        top.into_iter().filter(|(key, tree)| *key == "global" || !tree.items().is_empty()),
    ))
}

/// Circles among what relabels and no scrape leads to; the others are found on the way.
fn check_circles(scene: &mut Scene<'_>, blocks: &[Block]) -> Result<(), Fault> {
    for block in blocks {
        match (block.name.as_str(), block.attribute("targets")) {
            ("discovery.relabel", Some(targets)) => drop(scene.value(&targets.value)?),
            ("prometheus.relabel", _) => flow::check_circles(scene, block)?,
            _ => {}
        }
    }
    Ok(())
}

/// The jobs of `scrape`; `None` where nothing takes or brings its samples.
fn stream(
    scene: &mut Scene<'_>,
    scrape: &Block,
    all: &[flow::Way],
    split: &flow::Split,
) -> Result<Option<Stream>, Fault> {
    let id = scrape.id();
    let to: BTreeSet<String> =
        all.iter().filter(|way| way.from == id).map(|way| outlet(&way.to)).collect();
    if to.is_empty() {
        let message = format!("{}: nothing that is carried over takes its samples", scrape.shown());
        scene.lost(scrape.place, message);
        return Ok(None);
    }
    let mut jobs = jobs::jobs(scene, scrape)?;
    if jobs.is_empty() {
        let message = format!("{}: it has no targets that are carried over", scrape.shown());
        scene.lost(scrape.place, message);
        return Ok(None);
    }
    let after = split.after_scraping.get(&id).cloned().unwrap_or_default();
    let rules = flow::rules(scene, &after)?;
    flow::tell_of_reports(scene, &after)?;
    for job in &mut jobs {
        job.append("metric_relabel_configs", rules.clone());
    }
    Ok(Some(Stream { jobs, to }))
}

fn is_reached(
    scene: &mut Scene<'_>,
    block: &Block,
    reached: &BTreeSet<&str>,
    blocks: &[Block],
) -> bool {
    // A file without a scrape is part of something; its destinations are of use by themselves.
    let has_scrapes = blocks.iter().any(|block| block.name == "prometheus.scrape");
    let is_reached = reached.contains(block.id().as_str()) || !has_scrapes;
    if !is_reached {
        let message = format!("{}: nothing that is carried over sends there", block.shown());
        scene.lost(block.place, message);
    }
    is_reached
}

type ExternalLabels = Vec<(String, Tree)>;

/// What `global` says of labels, and who sends what.
fn outlets(
    scene: &mut Scene<'_>,
    senders: &[&Block],
    split: &flow::Split,
) -> Result<(ExternalLabels, Vec<Outlet>), Fault> {
    let mut all = Vec::new();
    for block in senders {
        let labels = destinations::external_labels(scene, block)?;
        let ids = split.before_sending.get(&block.id()).cloned().unwrap_or_default();
        let rules = flow::rules(scene, &ids)?;
        all.push((*block, labels, rules));
    }
    let same = |labels: &[(String, Tree)]| -> BTreeMap<String, String> {
        let text = |tree: &Tree| tree.as_text().unwrap_or_default().to_owned();
        labels.iter().map(|(name, tree)| (name.clone(), text(tree))).collect()
    };
    let first = all.first().map(|(_, labels, _)| same(labels)).unwrap_or_default();
    let is_global = all
        .iter()
        .all(|(_, labels, rules)| same(labels) == first && !destinations::see(rules, labels));
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut outlets = Vec::new();
    for (block, labels, mut rules) in all.iter().cloned() {
        let at = scene.at(block.place);
        if !is_global {
            rules.extend(destinations::as_rules(scene, &at, &labels));
        }
        let mut entries = destinations::entries(scene, block)?;
        for entry in &mut entries {
            entry.prepend("write_relabel_configs", rules.clone());
            rename(entry, &mut names);
            scene.spend(entry.size(), block.place)?;
        }
        outlets.push(Outlet { id: outlet(&block.id()), entries });
    }
    let external = if is_global { all.into_iter().next().map(|(_, own, _)| own) } else { None };
    Ok((external.unwrap_or_default(), outlets))
}

/// What a component that sends is called in the output.
fn outlet(id: &str) -> String {
    id.strip_prefix("prometheus.remote_write.").unwrap_or(id).to_owned()
}

/// A destination's name is its own.
fn rename(entry: &mut Tree, names: &mut BTreeSet<String>) {
    let Some(name) = entry.get("name").and_then(Tree::as_text).map(str::to_owned) else { return };
    let mut new = name.clone();
    let mut n = 1;
    while !names.insert(new.clone()) {
        n += 1;
        new = format!("{name}-{n}");
    }
    let at = entry.at.clone();
    entry.set("name", Tree::text(&at, new));
}

fn tell_of_clustering(scene: &mut Scene<'_>, jobs: &[Tree]) {
    let clustered = jobs
        .iter()
        .filter_map(|job| job.get("clustering"))
        .find(|clustering| clustering.get("enabled").is_some_and(Tree::is_true));
    if let Some(clustering) = clustered {
        let place = clustering.at.place;
        scene.differs(place, "`clustering`: Alloy's `--cluster.*` flags are a `cluster` section here, which `starling setup` adds on each host; until then each agent scrapes all");
    }
}
