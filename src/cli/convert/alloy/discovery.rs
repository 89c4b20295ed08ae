//! Components that give out targets: `discovery.*` is a `*_sd_configs` entry of the same name,
//! `discovery.relabel` adds its rules to what it passes on, and what exported metrics within Alloy is
//! a target beside the agent from now on.

use std::rc::Rc;

use crate::{
    cli::convert::{
        alloy::{
            evaluate::Scene,
            fields,
            lexer::Fault,
            syntax::Block,
            value::{Origin, Source},
        },
        exporters::{EXPORTERS, Exporter, OWN_ADDRESS},
        tree::Tree,
    },
    model::target::HOST,
};

/// Alloy's own, which Prometheus knows nothing of.
const ALLOYS_OWN: [(&str, &str); 3] = [
    (
        "process",
        "processes are not discovered; scrape them by `static_configs` or `file_sd_configs`",
    ),
    ("kubelet", "Kubernetes is not discovered; use `http_sd_configs`"),
    (
        "consulagent",
        "an agent's own services are not discovered; use `consul_sd_configs` with its `filter`",
    ),
];

/// What `block` gives out.
pub(super) fn sources<'a>(scene: &mut Scene<'a>, block: &'a Block) -> Result<Vec<Source>, Fault> {
    if block.name == "discovery.relabel" {
        return relabelled(scene, block);
    }
    if let Some(kind) = block.name.strip_prefix("prometheus.exporter.") {
        return Ok(vec![exporter(scene, block, kind)]);
    }
    let kind = block.name.trim_start_matches("discovery.");
    if let Some((_, instead)) = ALLOYS_OWN.iter().find(|(own, _)| *own == kind) {
        scene.lost(block.place, format!("{}: {instead}", block.shown()));
        return Ok(vec![Source { origin: Rc::new(Origin::Lost), rules: Vec::new() }]);
    }
    let mut entry = fields::fields(scene, block, &[])?;
    if kind == "azure" {
        azure(&mut entry);
    }
    let origin = Origin::Discovery { key: format!("{kind}_sd_configs"), entry };
    Ok(vec![Source { origin: Rc::new(origin), rules: Vec::new() }])
}

fn relabelled<'a>(scene: &mut Scene<'a>, block: &'a Block) -> Result<Vec<Source>, Fault> {
    let mut sources = match block.attribute("targets") {
        Some(attribute) => {
            let targets = scene.value(&attribute.value)?;
            scene.sources(targets)?
        }
        None => Vec::new(),
    };
    let mut rules = Vec::new();
    for rule in block.blocks("rule") {
        rules.push(with_host(scene, rule)?);
    }
    let rules = Rc::new(rules);
    for source in sources.iter_mut().filter(|_| !rules.is_empty()) {
        source.rules.push(rules.clone());
    }
    Ok(sources)
}

/// `replacement = constants.hostname`, which is on top of most examples, is a label here.
fn with_host(scene: &mut Scene<'_>, rule: &Block) -> Result<Tree, Fault> {
    let is_host = |name: &str| {
        let value = &rule.attribute(name)?.value;
        (value.dotted().as_deref() == Some("constants.hostname")).then_some(value.place)
    };
    let has_source =
        ["source_labels", "regex", "action"].iter().any(|n| rule.attribute(n).is_some());
    let Some(place) = is_host("replacement").filter(|_| !has_source) else {
        return fields::fields(scene, rule, &[]);
    };
    let mut tree = fields::fields(scene, rule, &["replacement"])?;
    let at = scene.at(place);
    let host = Tree::text(&at, HOST);
    tree.set_first("source_labels", Tree::list(&at, vec![host]));
    Ok(tree)
}

/// Blocks in Alloy, one flat section in Prometheus.
fn azure(entry: &mut Tree) {
    for (block, method) in
        [("oauth", "OAuth"), ("managed_identity", "ManagedIdentity"), ("sdk", "SDK")]
    {
        if let Some(inner) = entry.take(block) {
            entry.set("authentication_method", Tree::text(&inner.at, method));
            for (key, value) in inner.entries() {
                entry.set(key, value.clone());
            }
        }
    }
}

fn exporter(scene: &mut Scene<'_>, block: &Block, kind: &str) -> Source {
    let at = scene.at(block.place);
    let known = EXPORTERS.iter().find(|exporter| exporter.alloy == kind);
    let (job, address, is_of_host) = match known {
        _ if kind == "self" => {
            scene.differs(
                block.place,
                format!(
                    "{}: the agent's own metrics take the place of Alloy's, at `{OWN_ADDRESS}`",
                    block.shown()
                ),
            );
            ("agent", OWN_ADDRESS, true)
        }
        Some(Exporter { alloy, program, address, is_of_host, .. }) => {
            scene.lost(
                block.place,
                format!(
                    "{}: nothing is exported within the agent; run {program}; the job scrapes it at `{address}`",
                    block.shown()
                ),
            );
            (*alloy, *address, *is_of_host)
        }
        None => {
            scene.lost(
                block.place,
                format!(
                    "{}: nothing is exported within the agent; run the exporter beside it, and scrape that",
                    block.shown()
                ),
            );
            return Source { origin: Rc::new(Origin::Lost), rules: Vec::new() };
        }
    };
    let target = vec![
        ("__address__".to_owned(), Tree::text(&at, address)),
        ("job".to_owned(), Tree::text(&at, format!("integrations/{job}"))),
    ];
    let mut rules = Vec::new();
    if is_of_host {
        let host = Tree::list(&at, vec![Tree::text(&at, HOST)]);
        let rule = [("source_labels", host), ("target_label", Tree::text(&at, "instance"))];
        rules.push(Rc::new(vec![Tree::map(&at, rule)]));
    }
    Source { origin: Rc::new(Origin::Static(vec![target])), rules }
}
