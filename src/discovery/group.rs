//! Target groups as files and HTTP servers write them: a list of `targets` with common `labels`, in
//! JSON or YAML. Strict: an unknown field or an empty group refuses the whole list. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    config::yaml::{self, Node},
    model::{
        labels::Labels,
        target::{ADDRESS, TargetGroup},
    },
};

/// What these labels and the place in the list are is for the provider to say.
pub fn from_json(text: &[u8]) -> Result<Vec<TargetGroup>, String> {
    let groups: Option<Vec<Option<Written>>> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    groups
        .unwrap_or_default()
        .into_iter()
        .map(|group| group.ok_or_else(no_group)?.checked())
        .collect()
}

pub fn from_yaml(text: &str) -> Result<Vec<TargetGroup>, String> {
    let root = yaml::parse(text).map_err(|problem| problem.to_string())?;
    if root.is_null() {
        return Ok(Vec::new());
    }
    let groups = root.as_seq().ok_or_else(|| unexpected(&root, "a list of groups"))?;
    groups.iter().map(|group| Written::from_yaml(group)?.checked()).collect()
}

/// `null` is as good as nothing everywhere but in place of a group.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    targets: Option<Vec<Option<String>>>,
    labels: Option<BTreeMap<String, Option<String>>>,
}

impl Written {
    fn from_yaml(node: &Node) -> Result<Self, String> {
        if node.is_null() {
            return Err(no_group());
        }
        let mut written = Self { targets: None, labels: None };
        for (key, value) in node.as_map().ok_or_else(|| unexpected(node, "a group"))? {
            match key.text.as_str() {
                "targets" | "labels" if value.is_null() => {}
                "targets" => {
                    let targets =
                        value.as_seq().ok_or_else(|| unexpected(value, "a list of targets"))?;
                    written.targets = Some(targets.iter().map(text).collect::<Result<_, _>>()?);
                }
                "labels" => {
                    let labels = value.as_map().ok_or_else(|| unexpected(value, "labels"))?;
                    let pairs =
                        labels.iter().map(|(name, value)| Ok((name.text.clone(), text(value)?)));
                    written.labels = Some(pairs.collect::<Result<_, String>>()?);
                }
                other => {
                    let line = key.place.line;
                    return Err(format!(
                        "line {line}: unknown field `{other}`, expected `targets` or `labels`"
                    ));
                }
            }
        }
        Ok(written)
    }

    fn checked(self) -> Result<TargetGroup, String> {
        let labels = self.labels.unwrap_or_default();
        if labels.contains_key("") {
            return Err("\"\" is not a valid label name".to_owned());
        }
        let targets = self.targets.unwrap_or_default();
        Ok(TargetGroup {
            source: String::new(),
            targets: targets
                .into_iter()
                .map(|address| [(ADDRESS, address.unwrap_or_default())].into_iter().collect())
                .collect(),
            labels: labels
                .into_iter()
                .map(|(name, value)| (name, value.unwrap_or_default()))
                .collect::<Labels>(),
        })
    }
}

fn text(node: &Node) -> Result<Option<String>, String> {
    match node.as_str() {
        None if !node.is_null() => Err(unexpected(node, "a text")),
        text => Ok(text.map(str::to_owned)),
    }
}

fn no_group() -> String {
    "nil target group item found".to_owned()
}

fn unexpected(node: &Node, expected: &str) -> String {
    format!("line {}: expected {expected}, found {}", node.place.line, node.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `addresses {labels}`, group by group.
    fn shown(groups: Result<Vec<TargetGroup>, String>) -> Result<String, String> {
        let groups = groups?;
        let shown = groups.iter().map(|group| {
            let addresses: Vec<&str> = group.targets.iter().map(|t| t.get(ADDRESS)).collect();
            format!("{} {}", addresses.join(","), group.labels)
        });
        Ok(shown.collect::<Vec<String>>().join("; "))
    }

    #[test]
    fn reads_both_forms_alike() {
        for (json, yaml, expected) in [
            (r"[]", "[]", ""),
            (r"null", "", ""),
            (
                r#"[{"targets":["a:1","b"],"labels":{"x":"1"}},{"targets":["c"]}]"#,
                "- targets: ['a:1', b]\n  labels: {x: 1}\n- targets: [c]",
                r#"a:1,b {x="1"}; c {}"#,
            ),
            (r#"[{"targets":null,"labels":null}]"#, "- targets:\n  labels:", " {}"),
            (
                r#"[{"labels":{"x":null,"y":"2"},"targets":[]}]"#,
                "- labels: {x: , y: '2'}\n  targets: []",
                r#" {y="2"}"#,
            ),
        ] {
            assert_eq!(shown(from_json(json.as_bytes())).as_deref(), Ok(expected), "{json}");
            assert_eq!(shown(from_yaml(yaml)).as_deref(), Ok(expected), "{yaml}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_list_of_groups() {
        for (json, expected) in [
            ("[{},null]", "nil target group item found"),
            ("[{\"label\":{}}]", "unknown field `label`"),
            ("[{\"targets\":\"a\"}]", "invalid type: string \"a\""),
            ("[{\"targets\":[1]}]", "invalid type: integer `1`"),
            ("[{\"labels\":{\"\":\"x\"}}]", "\"\" is not a valid label name"),
            ("{}", "invalid type: map"),
            ("[] x", "trailing characters"),
            ("", "EOF"),
            ("[\"\u{1}", "control character"),
        ] {
            let error = shown(from_json(json.as_bytes())).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
        assert!(from_json(b"[{\"targets\":[\"\xff\"]}]").is_err());
        for (yaml, expected) in [
            ("- targets: [a]\n-", "nil target group item found"),
            ("- target: [a]", "line 1: unknown field `target`"),
            ("- targets:\n    'a'", "line 2: expected a list of targets, found a single value"),
            ("- targets: [[a]]", "line 1: expected a text, found a list"),
            ("- labels: {'': x}", "\"\" is not a valid label name"),
            ("targets: [a]", "line 1: expected a list of groups, found a mapping"),
            ("]gibberish\n][", "1:1:"),
        ] {
            let error = shown(from_yaml(yaml)).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
