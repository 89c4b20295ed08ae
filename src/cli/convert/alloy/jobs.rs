//! `prometheus.scrape` into jobs. Its targets may come by several ways, each relabelled otherwise: a
//! job has one list of rules, so each way is a job, and all keep the name that Alloy gave them.

use crate::cli::convert::{
    alloy::{
        evaluate::Scene,
        fields,
        lexer::Fault,
        syntax::Block,
        value::{Origin, Source, Target},
    },
    routes::keeping,
    tree::{At, Tree},
};

/// What a job is made of besides the arguments that it shares with others.
const BUT: [&str; 6] = [
    "targets",
    "forward_to",
    "job_name",
    "honor_metadata",
    "enable_protobuf_negotiation",
    "clustering",
];

/// Labels that Prometheus puts on a target before relabelling and Alloy after it: a `labelkeep`
/// must not take them away.
const LATER: &str =
    "job|__scheme__|__metrics_path__|__scrape_interval__|__scrape_timeout__|__param_.*";

/// The jobs of one `prometheus.scrape`; none where it has no targets that are carried over.
pub(super) fn jobs(scene: &mut Scene<'_>, block: &Block) -> Result<Vec<Tree>, Fault> {
    let shared = shared(scene, block)?;
    let name = name(scene, block)?;
    let Some(attribute) = block.attribute("targets") else { return Ok(Vec::new()) };
    let targets = scene.value(&attribute.value)?;
    let sources = scene.sources(targets)?;
    let mut ways: Vec<Vec<Source>> = Vec::new();
    for source in sources.into_iter().filter(|source| *source.origin != Origin::Lost) {
        match ways.iter_mut().find(|way| way[0].has_rules_of(&source)) {
            Some(way) => way.push(source),
            None => ways.push(vec![source]),
        }
    }
    let mut jobs = Vec::new();
    for (n, way) in ways.into_iter().enumerate() {
        let own = if n == 0 { name.clone() } else { format!("{name}-{}", n + 1) };
        let mut job = shared.clone();
        let at = job.at.clone();
        job.set_first("job_name", Tree::text(&at, &*own));
        if n > 0 {
            job.append("relabel_configs", vec![renaming(&at, &own, &name)]);
        }
        for rule in way[0].rules.iter().flat_map(|rules| rules.iter()) {
            job.append("relabel_configs", vec![keeping(rule.clone(), LATER)]);
        }
        for source in &way {
            add(scene, &mut job, source);
        }
        scene.spend(job.size(), block.place)?;
        jobs.push(job);
    }
    Ok(jobs)
}

fn name(scene: &mut Scene<'_>, block: &Block) -> Result<String, Fault> {
    let Some(attribute) = block.attribute("job_name") else { return Ok(block.id()) };
    let spot = scene.value(&attribute.value)?;
    Ok(scene.text(&spot).filter(|name| !name.is_empty()).unwrap_or_else(|| block.id()))
}

fn shared(scene: &mut Scene<'_>, block: &Block) -> Result<Tree, Fault> {
    let mut job = fields::fields(scene, block, &BUT)?;
    let at = job.at.clone();
    if let Some(clustering) = block.blocks("clustering").next() {
        let own = fields::fields(scene, clustering, &[])?;
        job.set("clustering", own);
    }
    if !job.has("fallback_scrape_protocol") {
        // What Alloy does where it is not told, and Prometheus does not.
        job.set("fallback_scrape_protocol", Tree::text(&at, "PrometheusText0.0.4"));
    } else if let Some(protocol) = job.get("fallback_scrape_protocol").and_then(Tree::as_text) {
        let plain = protocol.replace('_', ".");
        job.set("fallback_scrape_protocol", Tree::text(&at, plain));
    }
    if let Some(attribute) = block.attribute("enable_protobuf_negotiation") {
        let at = scene.at(attribute.place);
        let spot = scene.value(&attribute.value)?;
        if scene.text(&spot).as_deref() == Some("true") && !job.has("scrape_protocols") {
            let names = [
                "PrometheusProto",
                "OpenMetricsText1.0.0",
                "OpenMetricsText0.0.1",
                "PrometheusText0.0.4",
            ];
            let names = names.map(|name| Tree::text(&at, name)).into();
            job.set("scrape_protocols", Tree::list(&at, names));
        }
    }
    Ok(job)
}

/// The name of a job is its label, unless a target brings one of its own.
fn renaming(at: &At, from: &str, to: &str) -> Tree {
    let text = |text: &str| Tree::text(at, text);
    Tree::map(
        at,
        [
            ("source_labels", Tree::list(at, vec![text("job")])),
            ("regex", text(&regex::escape(from))),
            ("target_label", text("job")),
            ("replacement", text(&to.replace('$', "$$"))),
        ],
    )
}

fn add(scene: &mut Scene<'_>, job: &mut Tree, source: &Source) {
    match &*source.origin {
        Origin::Lost => {}
        Origin::Discovery { key, entry } => job.append(key, vec![entry.clone()]),
        Origin::Static(targets) => {
            for (address, labels) in groups(scene, targets) {
                let at = address[0].at.clone();
                let mut group = Tree::map(&at, [("targets", Tree::list(&at, address))]);
                if !labels.is_empty() {
                    group.set("labels", Tree::map(&at, labels));
                }
                job.append("static_configs", vec![group]);
            }
        }
    }
}

/// Neighbours of the same labels share a group.
fn groups(scene: &mut Scene<'_>, targets: &[Target]) -> Vec<(Vec<Tree>, Target)> {
    let mut groups: Vec<(Vec<Tree>, Target)> = Vec::new();
    for target in targets {
        let mut labels = target.clone();
        let address = labels.iter().position(|(name, _)| name == "__address__");
        let Some(address) = address.map(|n| labels.remove(n).1) else {
            let place = target.first().map_or_else(Default::default, |(_, tree)| tree.at.place);
            scene.lost(place, "a target without `__address__` is none");
            continue;
        };
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        match groups.last_mut().filter(|(_, own)| is_same(own, &labels)) {
            Some((addresses, _)) => addresses.push(address),
            None => groups.push((vec![address], labels)),
        }
    }
    groups
}

fn is_same(a: &Target, b: &Target) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.value == b.1.value)
}
