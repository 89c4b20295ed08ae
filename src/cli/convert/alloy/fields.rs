//! The arguments of a component into the keys of a section: most have one name in Alloy and in
//! Prometheus; those that have not stand in the tables here.

use crate::{
    cli::convert::{
        alloy::{
            evaluate::{Scene, reason},
            lexer::Fault,
            syntax::{Attribute, Block},
            value::{Spot, Value},
        },
        tree::Tree,
    },
    config::units,
};

const RENAMED: [(&str, &str); 7] = [
    ("ca_pem", "ca"),
    ("cert_pem", "cert"),
    ("key_pem", "key"),
    ("extra_metrics", "extra_scrape_metrics"),
    ("scrape_classic_histograms", "always_scrape_classic_histograms"),
    ("scrape_fallback_protocol", "fallback_scrape_protocol"),
    ("oauth_token_url", "token_url"),
];

/// What may come from a file that is read again when it changes, and the key that says so.
const FROM_FILE: [(&str, &str); 8] = [
    ("username", "username_file"),
    ("password", "password_file"),
    ("bearer_token", "bearer_token_file"),
    ("credentials", "credentials_file"),
    ("client_secret", "client_secret_file"),
    ("ca_pem", "ca_file"),
    ("cert_pem", "cert_file"),
    ("key_pem", "key_file"),
];

/// Blocks of which there may be several.
const LISTS: [(&str, &str); 4] = [
    ("filter", "filters"),
    ("rule", "relabel_configs"),
    ("write_relabel_config", "write_relabel_configs"),
    ("selectors", "selectors"),
];

/// In bytes, which Prometheus writes with a unit.
const SIZES: [&str; 1] = ["body_size_limit"];

/// All of `block` but the arguments and blocks named in `but`.
pub(super) fn fields(scene: &mut Scene<'_>, block: &Block, but: &[&str]) -> Result<Tree, Fault> {
    let at = scene.at(block.place);
    let mut tree = Tree::map::<String>(&at, []);
    for attribute in &block.body.attributes {
        if !but.contains(&attribute.name.as_str())
            && let Some((key, value)) = field(scene, attribute)?
        {
            tree.set(&key, value);
        }
    }
    for inner in &block.body.blocks {
        if but.contains(&inner.name.as_str()) {
            continue;
        }
        let own = fields(scene, inner, &[])?;
        match LISTS.iter().find(|(name, _)| *name == inner.name) {
            Some((_, key)) => tree.append(key, vec![own]),
            None => tree.set(&inner.name, own),
        }
    }
    Ok(tree)
}

type Entry = (String, Tree);

/// `None`: null, or told.
fn field(scene: &mut Scene<'_>, attribute: &Attribute) -> Result<Option<Entry>, Fault> {
    let name = attribute.name.as_str();
    let spot = scene.value(&attribute.value)?;
    let at = scene.at(attribute.place);
    if let Value::Content(path) = &spot.value
        && let Some((_, key)) = FROM_FILE.iter().find(|(own, _)| *own == name)
    {
        return Ok(Some(((*key).to_owned(), Tree::text(&at, path.clone()))));
    }
    let key = RENAMED.iter().find(|(own, _)| *own == name).map_or(name, |(_, key)| *key);
    let value = match (name, &spot.value) {
        ("http_headers", Value::Object(headers)) => {
            Some(Tree { at, value: header_values(scene, headers).value })
        }
        (_, Value::Number(number)) if SIZES.contains(&name) => {
            Some(Tree::text(&at, number.parse().map_or(number.clone(), units::print_bytes)))
        }
        _ => tree(scene, name, &spot).map(|tree| Tree { at, ..tree }),
    };
    Ok(value.map(|value| (key.to_owned(), value)))
}

/// Alloy takes all values of a header for secrets.
fn header_values(scene: &mut Scene<'_>, headers: &[(String, Spot)]) -> Tree {
    let entries: Vec<_> = headers
        .iter()
        .filter_map(|(name, spot)| {
            let at = scene.at(spot.place);
            let values = tree(scene, name, spot)?.into_items();
            Some((name.clone(), Tree::map(&at, [("secrets", Tree::list(&at, values))])))
        })
        .collect();
    let at = scene.at(headers.first().map_or_else(Default::default, |(_, spot)| spot.place));
    Tree::map(&at, entries)
}

/// `None`: null, or told.
pub(super) fn tree(scene: &mut Scene<'_>, name: &str, spot: &Spot) -> Option<Tree> {
    let at = scene.at(spot.place);
    match &spot.value {
        Value::Null => None,
        Value::Bool(is) => Some(Tree::word(&at, is)),
        Value::Number(number) => Some(Tree::word(&at, number)),
        Value::List(items) => {
            let items = items.iter().filter_map(|item| tree(scene, name, item)).collect();
            Some(Tree::list(&at, items))
        }
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .filter_map(|(key, spot)| Some((key.clone(), tree(scene, key, spot)?)))
                .collect();
            Some(Tree::map(&at, entries))
        }
        Value::Text(_) | Value::Content(_) | Value::Variable(_) | Value::Host => {
            scene.text(spot).map(|text| Tree::text(&at, text))
        }
        Value::Targets(_) | Value::Receiver(_) | Value::Unknown(_) => {
            scene.lost(spot.place, format!("`{name}`: {}", reason(spot)));
            None
        }
    }
}

/// The `rule` blocks of a component that relabels.
pub(super) fn rules(scene: &mut Scene<'_>, block: &Block) -> Result<Vec<Tree>, Fault> {
    block.blocks("rule").map(|rule| fields(scene, rule, &[])).collect()
}
