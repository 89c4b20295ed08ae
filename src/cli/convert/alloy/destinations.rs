//! `prometheus.remote_write` and `prometheus.write.queue` into entries of `remote_write`.

use crate::cli::convert::{
    alloy::{
        evaluate::Scene,
        fields,
        lexer::Fault,
        syntax::Block,
        value::{Target, Value},
    },
    tree::{At, Tree},
};

/// Of `prometheus.write.queue`, where Prometheus has the thing under another name.
const QUEUE_RENAMED: [(&str, &str); 1] = [("write_timeout", "remote_timeout")];
/// And where it is part of `queue_config`.
const QUEUE_CONFIG: [(&str, &str); 3] = [
    ("batch_count", "max_samples_per_send"),
    ("flush_interval", "batch_send_deadline"),
    ("retry_backoff", "min_backoff"),
];
const QUEUE_WITHOUT: [(&str, &str); 3] = [
    ("max_retry_attempts", "what can be sent later is tried until it is sent"),
    ("parallelism", "set `outbox.lanes` and `outbox.max_in_flight` instead"),
    ("enable_round_robin", "connections follow the addresses of the host name"),
];

/// The entries of `block`, without what stands for its external labels.
pub(super) fn entries(scene: &mut Scene<'_>, block: &Block) -> Result<Vec<Tree>, Fault> {
    let label = block.label.clone().unwrap_or_else(|| "default".to_owned());
    let mut entries = Vec::new();
    for endpoint in block.blocks("endpoint") {
        let at = scene.at(endpoint.place);
        let mut entry = fields::fields(scene, endpoint, &[])?;
        if block.name == "prometheus.write.queue" {
            queue(scene, endpoint, &mut entry);
        }
        // Alloy sends them where it is not told.
        if !entry.has("send_exemplars") {
            entry.set("send_exemplars", Tree::word(&at, true));
        }
        let typed = entry
            .take("name")
            .or_else(|| endpoint.label.as_ref().map(|label| Tree::text(&at, label.clone())));
        let url = entry.take("url");
        let n = entries.len();
        let name = if n == 0 { label.clone() } else { format!("{label}-{}", n + 1) };
        entry.set_first("name", typed.unwrap_or_else(|| Tree::text(&at, name)));
        let Some(url) = url else {
            scene.lost(endpoint.place, format!("an endpoint of {} has no `url`", block.shown()));
            continue;
        };
        entry.set_first("url", url);
        entries.push(entry);
    }
    tell_of_others(scene, block);
    Ok(entries)
}

fn queue(scene: &mut Scene<'_>, endpoint: &Block, entry: &mut Tree) {
    for (own, key) in QUEUE_RENAMED {
        entry.rename(own, key);
    }
    let mut config = Tree::map::<String>(&entry.at.clone(), []);
    for (own, key) in QUEUE_CONFIG {
        if let Some(value) = entry.take(own) {
            config.set(key, value);
        }
    }
    if !config.entries().is_empty() {
        entry.set("queue_config", config);
    }
    for (own, why) in QUEUE_WITHOUT {
        if let Some(value) = entry.take(own) {
            scene.differs(value.at.place, format!("`{own}`: {why}"));
        }
    }
    if entry.take("external_labels").is_some() {
        scene.lost(
            endpoint.place,
            "`external_labels` of one endpoint: add them by `write_relabel_configs`",
        );
    }
}

fn tell_of_others(scene: &mut Scene<'_>, block: &Block) {
    for wal in block.blocks("wal") {
        scene.differs(wal.place, "`wal`: unsent samples wait in the `outbox`, up to `outbox.max_bytes` and `outbox.max_age`");
    }
    for persistence in block.blocks("persistence") {
        scene.differs(persistence.place, "`persistence`: unsent samples wait in the `outbox`, up to `outbox.max_bytes` and `outbox.max_age`");
    }
    if let Some(ttl) = block.attribute("ttl") {
        scene.differs(ttl.place, "`ttl`: set `outbox.max_age` instead");
    }
    let known = ["external_labels", "ttl"];
    for attribute in block.body.attributes.iter().filter(|a| !known.contains(&a.name.as_str())) {
        scene.lost(attribute.place, format!("`{}` has no counterpart", attribute.name));
    }
    let known = ["endpoint", "wal", "persistence"];
    for inner in block.body.blocks.iter().filter(|b| !known.contains(&b.name.as_str())) {
        scene.lost(inner.place, format!("`{}` has no counterpart", inner.name));
    }
}

/// The labels that all that `block` sends gets; as `global` has them, in which a variable of the
/// environment stays one.
pub(super) fn external_labels(scene: &mut Scene<'_>, block: &Block) -> Result<Target, Fault> {
    let Some(attribute) = block.attribute("external_labels") else { return Ok(Vec::new()) };
    let spot = scene.value(&attribute.value)?;
    let Value::Object(entries) = &spot.value else {
        scene.lost(
            attribute.place,
            format!("`external_labels`: expected an object, found {}", spot.kind()),
        );
        return Ok(Vec::new());
    };
    let mut labels = Vec::new();
    for (name, spot) in entries {
        let at = scene.at(spot.place);
        let text = match &spot.value {
            Value::Variable(variable) => Some(format!("${{{variable}}}")),
            Value::Null => None,
            _ => fields::tree(scene, name, spot)
                .and_then(|tree| tree.as_text().map(|text| text.replace('$', "$$"))),
        };
        labels.extend(text.map(|text| (name.clone(), Tree::text(&at, text))));
    }
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(labels)
}

/// The same as rules: each label is set where there is none of its name.
pub(super) fn as_rules(scene: &Scene<'_>, at: &At, labels: &[(String, Tree)]) -> Vec<Tree> {
    labels
        .iter()
        .filter_map(|(name, tree)| {
            let text = tree.as_text()?;
            let variable = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let value = match variable {
                Some(variable) => (scene.world.environment)(variable).unwrap_or_default(),
                None => text.replace("$$", "$"),
            };
            let text = |text: &str| Tree::text(at, text);
            Some(Tree::map(
                at,
                [
                    ("source_labels", Tree::list(at, vec![text(name)])),
                    ("regex", text("")),
                    ("target_label", text(name)),
                    ("replacement", text(&value.replace('$', "$$"))),
                ],
            ))
        })
        .collect()
}

/// Whether `rules` could tell labels that are there already from such as are added later.
pub(super) fn see(rules: &[Tree], labels: &[(String, Tree)]) -> bool {
    let is_label = |tree: &Tree| labels.iter().any(|(name, _)| tree.as_text() == Some(name));
    rules.iter().any(|rule| {
        let action = rule.get("action").and_then(Tree::as_text).unwrap_or("replace");
        action.to_ascii_lowercase().starts_with("label")
            || rule.get("target_label").is_some_and(is_label)
            || rule.get("source_labels").is_some_and(|names| names.items().iter().any(is_label))
    })
}
