//! Which job's samples go where. An agent sends what it has to every destination; where the converted
//! file sent some to one and some to another, a label tells them apart on the way and is taken off
//! at its end.

use std::collections::BTreeSet;

use crate::cli::convert::tree::{At, Tree};

/// Of a target, and so of all its samples, `up` among them; never sent.
const LABEL: &str = "starling_route";

/// Jobs of one origin, and the ids of the outlets that take what they bring.
pub(super) struct Stream {
    pub(super) jobs: Vec<Tree>,
    pub(super) to: BTreeSet<String>,
}

/// Entries of `remote_write` that take the same.
pub(super) struct Outlet {
    pub(super) id: String,
    pub(super) entries: Vec<Tree>,
}

/// Changes nothing where every outlet takes everything.
pub(super) fn route(streams: &mut [Stream], outlets: &mut [Outlet]) {
    let all: BTreeSet<String> = outlets.iter().map(|outlet| outlet.id.clone()).collect();
    if streams.iter().all(|stream| stream.to == all) {
        return;
    }
    for stream in streams.iter_mut() {
        let name = name_of(&stream.to);
        for job in &mut stream.jobs {
            let at = job.at.clone();
            let rule = [
                ("target_label", Tree::text(&at, LABEL)),
                ("replacement", Tree::text(&at, name.replace('$', "$$"))),
            ];
            job.append("relabel_configs", vec![Tree::map(&at, rule)]);
            keep_label(job);
        }
    }
    for outlet in outlets {
        let taken: BTreeSet<String> = streams
            .iter()
            .filter(|stream| stream.to.contains(&outlet.id))
            .map(|stream| regex::escape(&name_of(&stream.to)))
            .collect();
        let taken: Vec<String> = taken.into_iter().collect();
        for entry in &mut outlet.entries {
            let rules = taking(&entry.at, &taken.join("|"));
            entry.prepend("write_relabel_configs", rules);
        }
    }
}

/// As `rule` is, but that a `labelkeep` keeps what `labels` matches, too.
pub(super) fn keeping(mut rule: Tree, labels: &str) -> Tree {
    let is_keep = rule
        .get("action")
        .and_then(Tree::as_text)
        .is_some_and(|action| action.eq_ignore_ascii_case("labelkeep"));
    if is_keep && let Some(regex) = rule.get("regex").and_then(Tree::as_text) {
        let regex = format!("(?:{regex})|{labels}");
        let at = rule.at.clone();
        rule.set("regex", Tree::text(&at, regex));
    }
    rule
}

fn keep_label(job: &mut Tree) {
    if let Some(rules) = job.take("metric_relabel_configs") {
        let at = rules.at.clone();
        let rules = rules.into_items().into_iter().map(|rule| keeping(rule, LABEL)).collect();
        job.set("metric_relabel_configs", Tree::list(&at, rules));
    }
}

fn taking(at: &At, regex: &str) -> Vec<Tree> {
    let text = |text: &str| Tree::text(at, text);
    let keep = [
        ("source_labels", Tree::list(at, vec![text(LABEL)])),
        ("regex", text(regex)),
        ("action", text("keep")),
    ];
    let drop = [("regex", text(LABEL)), ("action", text("labeldrop"))];
    vec![Tree::map(at, keep), Tree::map(at, drop)]
}

fn name_of(to: &BTreeSet<String>) -> String {
    to.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}
