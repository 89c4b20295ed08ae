//! The relabelling of vmagent into that of Prometheus: its own actions and its `if` become
//! rules that do the same, or are told.

use crate::cli::convert::{
    told::Notes,
    tree::{At, Tree},
    vmagent::selector::{self, Matcher},
};

/// What a condition leaves on a target or a sample until its rule is done.
const MARK: &str = "__tmp_if";

/// What Prometheus has by the same name.
const SAME: [&str; 11] = [
    "replace",
    "keep",
    "drop",
    "keepequal",
    "dropequal",
    "hashmod",
    "labelmap",
    "labeldrop",
    "labelkeep",
    "lowercase",
    "uppercase",
];

/// All rules of a list; those that cannot be said are told and left out.
pub(super) fn rules(list: Tree, notes: &mut Notes) -> Vec<Tree> {
    list.into_items().into_iter().flat_map(|rule| converted(rule, notes)).collect()
}

fn converted(mut rule: Tree, notes: &mut Notes) -> Vec<Tree> {
    let at = rule.at.clone();
    let condition = rule.take("if").map(Tree::into_items);
    let action = rule.get("action").and_then(Tree::as_text).unwrap_or("replace").to_lowercase();
    if let Some(regex) = rule.get("regex").filter(|regex| !regex.items().is_empty()) {
        let all: Vec<&str> = regex.items().iter().filter_map(Tree::as_text).collect();
        let joined = Tree::text(&regex.at, all.join("|"));
        rule.set("regex", joined);
    }
    if rule.get("replacement").and_then(Tree::as_text).is_some_and(|text| text.contains("{{")) {
        notes.lost(&at, "a rule whose `replacement` has `{{…}}` in it: take the labels into `source_labels`, and `$1` of a `regex`");
        return Vec::new();
    }
    let plain = match plain(&action, rule, notes) {
        Ok(rules) => rules,
        Err(why) => {
            notes.lost(&at, format!("a rule of action `{action}`: {why}"));
            return Vec::new();
        }
    };
    let Some(condition) = condition else { return plain };
    let selectors: Vec<&str> = condition.iter().filter_map(Tree::as_text).collect();
    let conditional = match &plain[..] {
        [rule] => conditional(&at, &selectors, rule),
        _ => Err("such a rule takes no condition here".to_owned()),
    };
    conditional.unwrap_or_else(|why| {
        notes.lost(&at, format!("a rule with `if`: {why}"));
        Vec::new()
    })
}

/// Without its condition.
fn plain(action: &str, mut rule: Tree, notes: &mut Notes) -> Result<Vec<Tree>, &'static str> {
    let at = rule.at.clone();
    let text = |text: &str| Tree::text(&at, text);
    let sources: Vec<Tree> =
        rule.get("source_labels").cloned().map(Tree::into_items).unwrap_or_default();
    match action {
        "keep_metrics" | "drop_metrics" => {
            rule.set("action", text(action.trim_end_matches("_metrics")));
            if rule.has("regex") {
                rule.set("source_labels", Tree::list(&at, vec![text("__name__")]));
            }
            Ok(vec![rule])
        }
        "keep_if_equal" if sources.len() >= 2 => Ok(sources
            .windows(2)
            .map(|pair| {
                let own = [
                    ("source_labels", Tree::list(&at, vec![pair[0].clone()])),
                    ("target_label", pair[1].clone()),
                    ("action", text("keepequal")),
                ];
                Tree::map(&at, own)
            })
            .collect()),
        "drop_if_equal" => match &sources[..] {
            [one, other] => Ok(vec![Tree::map(
                &at,
                [
                    ("source_labels", Tree::list(&at, vec![one.clone()])),
                    ("target_label", other.clone()),
                    ("action", text("dropequal")),
                ],
            )]),
            _ => Err("Prometheus compares two labels, not more"),
        },
        "hashmod" => {
            notes.differs(
                &at,
                "`hashmod`: Prometheus' hash is another one: targets fall to other shards, once",
            );
            Ok(vec![rule])
        }
        action if SAME.contains(&action) => Ok(vec![rule]),
        _ => Err("Prometheus has nothing like it"),
    }
}

/// `rule` for what one of `selectors` matches: the condition becomes a label first.
fn conditional(at: &At, selectors: &[&str], rule: &Tree) -> Result<Vec<Tree>, String> {
    let mut rules = Vec::new();
    let mut alternatives = Vec::new();
    for text in selectors {
        alternatives.extend(selector::parse(text)?);
    }
    if alternatives.is_empty() {
        return Err("it has no selector".to_owned());
    }
    for (n, matchers) in alternatives.iter().enumerate() {
        marks(at, &format!("{MARK}_{n}"), matchers, &mut rules);
    }
    rules.push(marked(at, rule)?);
    let names = format!("{MARK}.*");
    rules.push(made(at, &[("action", "labeldrop"), ("regex", &names)], &[]));
    Ok(rules)
}

/// Rules that set `MARK` where all `matchers` match.
fn marks(at: &At, name: &str, matchers: &[Matcher], rules: &mut Vec<Tree>) {
    let mut before: Option<String> = None;
    for (n, matcher) in matchers.iter().enumerate() {
        let mark = format!("{name}_{n}");
        let so_far: Vec<&str> = before.as_deref().into_iter().collect();
        if matcher.is_negative {
            let regex = if before.is_some() { "1" } else { "" };
            rules.push(made(
                at,
                &[("regex", regex), ("target_label", &mark), ("replacement", "1")],
                &so_far,
            ));
            let clear =
                [("regex", matcher.regex.as_str()), ("target_label", &mark), ("replacement", "")];
            rules.push(made(at, &clear, &[&matcher.label]));
        } else {
            let regex = match before {
                Some(_) => format!("1;(?:{})", matcher.regex),
                None => matcher.regex.clone(),
            };
            let sources: Vec<&str> = so_far.into_iter().chain([matcher.label.as_str()]).collect();
            let set = [("regex", regex.as_str()), ("target_label", &mark), ("replacement", "1")];
            rules.push(made(at, &set, &sources));
        }
        before = Some(mark);
    }
    let last: Vec<&str> = before.as_deref().into_iter().collect();
    let regex = if last.is_empty() { "" } else { "1" };
    rules.push(made(at, &[("regex", regex), ("target_label", MARK), ("replacement", "1")], &last));
}

/// `rule`, where the mark is set.
fn marked(at: &At, rule: &Tree) -> Result<Tree, String> {
    let mut rule = rule.clone();
    let text_of = |key: &str| rule.get(key).and_then(Tree::as_text).map(str::to_owned);
    let action = text_of("action").unwrap_or_else(|| "replace".to_owned()).to_lowercase();
    let separator = regex::escape(&text_of("separator").unwrap_or_else(|| ";".to_owned()));
    let regex = text_of("regex").unwrap_or_else(|| "(.*)".to_owned());
    let sources = rule.get("source_labels").cloned().map(Tree::into_items).unwrap_or_default();
    let regex = match (action.as_str(), sources.is_empty()) {
        ("keep" | "drop", true) => "1".to_owned(),
        // What it would match is empty, and so is all that it captures.
        ("replace", true) if regex == "(.*)" => "1()".to_owned(),
        ("replace", true) => format!("1(?:{regex})"),
        ("replace" | "drop", false) => format!("1{separator}(?:{regex})"),
        ("keep", false) => format!("1{separator}(?:{regex})|{separator}.*"),
        _ => return Err(format!("action `{action}` takes no condition in Prometheus")),
    };
    let mut all = vec![Tree::text(at, MARK)];
    all.extend(sources);
    rule.set("source_labels", Tree::list(at, all));
    rule.set("regex", Tree::text(at, regex));
    Ok(rule)
}

fn made(at: &At, fields: &[(&str, &str)], sources: &[&str]) -> Tree {
    let mut rule = Tree::map::<String>(at, []);
    if !sources.is_empty() {
        let names = sources.iter().map(|name| Tree::text(at, *name)).collect();
        rule.set("source_labels", Tree::list(at, names));
    }
    for (key, text) in fields {
        rule.set(key, Tree::text(at, *text));
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, yaml},
        model::{
            labels::Labels,
            relabel::{NameValidation, apply},
        },
    };

    /// What `rule` makes of labels written as `a=1 b=2`; `None` is dropped.
    fn relabelled(rule: &str, labels: &str) -> Option<String> {
        let mut notes = Notes::default();
        let tree = Tree::of(&yaml::parse(rule).unwrap(), &"f".into());
        let rules = rules(tree, &mut notes);
        assert!(!rules.is_empty(), "{rule}: {:?}", notes.into_told());
        let at = rules[0].at.clone();
        let text = Tree::list(&at, rules).to_yaml();
        let rules = config::relabel_rules(&text, NameValidation::Utf8).unwrap();
        let labels: Labels = labels.split(' ').filter_map(|pair| pair.split_once('=')).collect();
        let labels = apply(&rules, labels)?;
        let shown = labels.iter().map(|(name, value)| format!("{name}={value}"));
        Some(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn rules_do_what_they_did() {
        let keep_if = "- {action: keep, if: '{a=\"1\", b!=\"2\"}'}";
        let either = "- {action: drop, if: ['{a=\"1\"}', '{b=\"2\" or c=~\"3|4\"}']}";
        let replace = "- {if: '{a=\"1\"}', source_labels: [b, c], separator: '.', regex: '(.)\\.(.)', target_label: d, replacement: '$2$1'}";
        let set = "- {if: '{a=\"1\"}', target_label: d, replacement: x}";
        let kept_values = "- {action: keep, if: '{a=\"1\"}', source_labels: [b], regex: '2|3'}";
        let dropped_values = "- {action: drop, if: '{a=\"1\"}', source_labels: [b], regex: '2|3'}";
        let all = "- {action: keep, if: '{}'}";
        for (rule, labels, expected) in [
            (
                "- {action: keep_metrics, regex: [up, 'go_.*']}",
                "__name__=go_x",
                Some("__name__=go_x"),
            ),
            ("- {action: keep_metrics, regex: [up, 'go_.*']}", "__name__=x", None),
            ("- {action: drop_metrics, if: 'up{a=\"1\"}'}", "__name__=up a=1", None),
            (
                "- {action: drop_metrics, if: 'up{a=\"1\"}'}",
                "__name__=up a=2",
                Some("__name__=up a=2"),
            ),
            (
                "- {action: keep_if_equal, source_labels: [a, b, c]}",
                "a=1 b=1 c=1",
                Some("a=1 b=1 c=1"),
            ),
            ("- {action: keep_if_equal, source_labels: [a, b, c]}", "a=1 b=1 c=2", None),
            ("- {action: drop_if_equal, source_labels: [a, b]}", "a=1 b=1", None),
            (keep_if, "a=1", Some("a=1")),
            (keep_if, "a=1 b=2", None),
            (keep_if, "b=3", None),
            (either, "a=1", None),
            (either, "b=2", None),
            (either, "c=4", None),
            (either, "a=2 b=1 c=5", Some("a=2 b=1 c=5")),
            (replace, "a=1 b=x c=y", Some("a=1 b=x c=y d=yx")),
            (replace, "a=2 b=x c=y", Some("a=2 b=x c=y")),
            (set, "a=1", Some("a=1 d=x")),
            (set, "a=2", Some("a=2")),
            (kept_values, "a=1 b=2", Some("a=1 b=2")),
            (kept_values, "a=1 b=4", None),
            (kept_values, "a=2 b=4", Some("a=2 b=4")),
            (dropped_values, "a=1 b=2", None),
            (dropped_values, "a=1 b=4", Some("a=1 b=4")),
            (dropped_values, "a=2 b=2", Some("a=2 b=2")),
            (all, "a=1", Some("a=1")),
        ] {
            assert_eq!(relabelled(rule, labels).as_deref(), expected, "{rule} on {labels}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_told() {
        for rule in [
            "- {action: replace_all, source_labels: [a], regex: b}",
            "- {action: labelmap, regex: 'a(.*)', if: '{a=\"1\"}'}",
            "- {action: drop_if_equal, source_labels: [a, b, c]}",
            "- {action: drop, if: '{a'}",
            "- {action: keep_if_equal, source_labels: [a]}",
            "- {target_label: a, replacement: '{{b}}'}",
        ] {
            let mut notes = Notes::default();
            let tree = Tree::of(&yaml::parse(rule).unwrap(), &"f".into());
            assert_eq!(rules(tree, &mut notes), Vec::new(), "{rule}");
            let told = notes.into_told();
            assert!(
                told.len() == 1 && told[0].weight == crate::cli::convert::Weight::Lost,
                "{rule}: {told:?}"
            );
        }
    }
}
