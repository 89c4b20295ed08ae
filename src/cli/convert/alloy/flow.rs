//! The way of samples: from each `prometheus.scrape`, through `prometheus.relabel`, to what sends.
//! Rules that all samples of a destination pass are its `write_relabel_configs`, others are
//! `metric_relabel_configs` of the jobs before them.

use std::collections::BTreeMap;

use crate::{
    cli::convert::{
        alloy::{
            evaluate::{Scene, reason},
            fields,
            lexer::Fault,
            syntax::Block,
            value::{Spot, Value},
        },
        tree::Tree,
    },
    config,
    model::{
        labels::Labels,
        relabel::{self, NameValidation},
    },
};

/// More ways through the graph are refused: they can multiply.
const WAYS_MAX: usize = 10_000;

/// From a scrape to a destination.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Way {
    /// The id of the `prometheus.scrape`.
    pub(super) from: String,
    pub(super) to: String,
    /// The ids of the components that relabel, in their order.
    pub(super) through: Vec<String>,
}

/// Every way from `scrape`; one to each destination.
pub(super) fn ways(scene: &mut Scene<'_>, scrape: &Block) -> Result<Vec<Way>, Fault> {
    let mut ways: Vec<Way> = Vec::new();
    follow(scene, scrape, &scrape.id(), &mut Vec::new(), &mut ways)?;
    let mut single: Vec<Way> = Vec::new();
    for way in ways {
        match single.iter().find(|other| other.to == way.to) {
            None => single.push(way),
            Some(other) if *other == way => {}
            Some(_) => scene.lost(
                scrape.place,
                format!("samples of `{}` reach `{}` by more than one way; only the first is carried over", way.from, way.to),
            ),
        }
    }
    Ok(single)
}

/// Of `relabel`, whether a scrape leads to it or not.
pub(super) fn check_circles(scene: &mut Scene<'_>, relabel: &Block) -> Result<(), Fault> {
    let id = relabel.id();
    follow(scene, relabel, &id, &mut vec![id.clone()], &mut Vec::new())
}

fn follow(
    scene: &mut Scene<'_>,
    block: &Block,
    from: &str,
    through: &mut Vec<String>,
    ways: &mut Vec<Way>,
) -> Result<(), Fault> {
    let Some(attribute) = block.attribute("forward_to") else { return Ok(()) };
    let list = scene.value(&attribute.value)?;
    for (spot, id) in receivers(scene, list) {
        scene.spend(1, spot)?;
        let Some(next) = scene.component(&id) else { continue };
        match next.name.as_str() {
            "prometheus.relabel" => {
                if through.contains(&id) {
                    return Err((spot, format!("`{id}` passes samples on to itself")));
                }
                if through.len() >= super::WAY_MAX {
                    let message = format!("more than {} components in a row", super::WAY_MAX);
                    return Err((spot, message));
                }
                through.push(id);
                follow(scene, next, from, through, ways)?;
                through.pop();
            }
            "prometheus.remote_write" | "prometheus.write.queue" => {
                if ways.len() >= WAYS_MAX {
                    return Err((spot, format!("more than {WAYS_MAX} ways from `{from}`")));
                }
                ways.push(Way { from: from.to_owned(), to: id, through: through.clone() });
            }
            _ => scene.lost(
                spot,
                format!(
                    "samples do not go to {}: only what sends by remote write is carried over",
                    next.shown()
                ),
            ),
        }
    }
    Ok(())
}

fn receivers(scene: &mut Scene<'_>, spot: Spot) -> Vec<(config::problem::Place, String)> {
    match spot.value {
        Value::Receiver(id) => vec![(spot.place, id)],
        Value::List(items) => items.into_iter().flat_map(|item| receivers(scene, item)).collect(),
        _ => {
            scene.lost(spot.place, format!("`forward_to`: {}", reason(&spot)));
            Vec::new()
        }
    }
}

/// What ways have in common, and what not.
pub(super) struct Split {
    /// Of each destination: components that all its samples pass last.
    pub(super) before_sending: BTreeMap<String, Vec<String>>,
    /// Of each scrape: components that its samples pass before those.
    pub(super) after_scraping: BTreeMap<String, Vec<String>>,
}

pub(super) fn split(scene: &mut Scene<'_>, ways: &[Way]) -> Split {
    let mut before_sending: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for way in ways {
        before_sending
            .entry(way.to.clone())
            .and_modify(|common| {
                let same = common.iter().rev().zip(way.through.iter().rev());
                let same = same.take_while(|(a, b)| a == b).count();
                common.drain(..common.len() - same);
            })
            .or_insert_with(|| way.through.clone());
    }
    let mut after_scraping: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for way in ways {
        let own = &way.through[..way.through.len() - before_sending[&way.to].len()];
        let common = after_scraping.entry(way.from.clone()).or_insert_with(|| own.to_vec());
        if common == own {
            continue;
        }
        let same = common.iter().zip(own).take_while(|(a, b)| a == b).count();
        let others: Vec<String> = common[same..].iter().chain(&own[same..]).cloned().collect();
        common.truncate(same);
        for id in others {
            let place = scene.component(&id).map_or_else(Default::default, |block| block.place);
            let message = format!(
                "`{id}` changes what `{}` sends to some of its destinations, and a job has one list of rules: put it into `write_relabel_configs` by hand",
                way.from
            );
            scene.lost(place, message);
        }
    }
    Split { before_sending, after_scraping }
}

/// The rules of the components `ids`, in their order.
pub(super) fn rules(scene: &mut Scene<'_>, ids: &[String]) -> Result<Vec<Tree>, Fault> {
    let mut rules = Vec::new();
    for id in ids {
        if let Some(block) = scene.component(id) {
            let own = fields::rules(scene, block)?;
            scene.spend(own.len(), block.place)?;
            rules.extend(own);
        }
    }
    Ok(rules)
}

/// What an agent says of a scrape is not relabelled by the job; in Alloy, it was.
pub(super) fn tell_of_reports(scene: &mut Scene<'_>, ids: &[String]) -> Result<(), Fault> {
    for id in ids {
        let Some(block) = scene.component(id) else { continue };
        let rules = fields::rules(scene, block)?;
        let at = scene.at(block.place);
        let text = Tree::list(&at, rules).to_yaml();
        let Ok(rules) = config::relabel_rules(&text, NameValidation::Legacy) else { continue };
        let is_changed =
            ["up", "scrape_duration_seconds", "scrape_samples_scraped"].iter().any(|name| {
                let labels = [("__name__", *name), ("instance", "host:1"), ("job", "job")];
                let labels = Labels::from_iter(labels);
                relabel::apply(&rules, labels.clone()) != Some(labels)
            });
        if is_changed {
            let message = format!(
                "{} is carried over as `metric_relabel_configs`, which leave `up` and `scrape_*` as they are",
                block.shown()
            );
            scene.differs(block.place, message);
        }
    }
    Ok(())
}
