//! A `prometheus.yml` is what the agent reads: it stays as it is, without what only a server does or
//! is not supported, which the loader names.

use std::sync::Arc;

use crate::{
    cli::convert::tree::{At, Tree, Value},
    config::{
        problem::{Place, Problem},
        yaml,
    },
};

pub(super) fn convert(file: &Arc<str>, text: &str) -> Result<Tree, Problem> {
    document(file, text)
}

/// A YAML file whose top is a mapping; an empty one is an empty mapping.
pub(super) fn document(file: &Arc<str>, text: &str) -> Result<Tree, Problem> {
    let named = |problem: Problem| Problem { file: file.clone(), ..problem };
    let node = yaml::parse(text).map_err(named)?;
    let at = At::of(file, Place { line: 1, column: 1 });
    if node.is_null() {
        return Ok(Tree::map::<String>(&at, []));
    }
    let tree = Tree::of(&node, file);
    match tree.value {
        Value::Map(_) => Ok(tree),
        Value::Text(_) | Value::Word(_) | Value::List(_) => Err(Problem {
            file: file.clone(),
            place: node.place,
            message: format!("expected a mapping, found {}", node.kind()),
        }),
    }
}
