//! Makes sure that the agent takes what was converted: asks its own loader, takes out what that
//! refuses, names it with the place that it came from, and asks again. What a later version takes is
//! so carried over without a change here.

use std::path;

use crate::{
    cli::convert::{
        told::Notes,
        tree::{Tree, Value},
    },
    config::{
        self, Environment,
        problem::{Place, Problem},
        yaml::{self, Node},
    },
};

/// The name that the loader gives back with each problem.
const NAME: &str = "starling.yml";
/// Each round takes out at least one part; more rounds than these are a tree that nothing can save.
const ROUNDS_MAX: usize = 200;
/// What the loader says of sections that stay and that a server alone acts on.
const SERVERS_WORK: &str = "is not an agent's work";
/// Whose removal would let through what they keep out, or the other way round: the whole entry goes.
const WHOLE: [&str; 4] =
    ["relabel_configs", "metric_relabel_configs", "write_relabel_configs", "alert_relabel_configs"];

/// The number of each child on the way to a part.
type Path = Vec<usize>;

/// # Errors
/// What the loader refuses and cannot be taken out.
pub(super) fn settle(
    mut tree: Tree,
    environment: Environment<'_>,
    notes: &mut Notes,
) -> Result<String, String> {
    for _ in 0..ROUNDS_MAX {
        let text = tree.to_yaml();
        let root = yaml::parse(&text).map_err(|problem| problem.to_string())?;
        let problems = match config::parse(path::Path::new(NAME), &text, environment) {
            Ok(config) => {
                for warning in &config.warnings {
                    warned(&tree, &root, warning, notes);
                }
                return Ok(text);
            }
            Err(problems) => problems,
        };
        let mut cut: Vec<(Path, String)> = Vec::new();
        for problem in problems.0 {
            let path = path_of(&root, &problem)
                .map(|path| whole(&tree, path))
                .filter(|path| !path.is_empty())
                .ok_or_else(|| problem.to_string())?;
            if !cut.iter().any(|(other, _)| path.starts_with(other)) {
                cut.retain(|(other, _)| !other.starts_with(&path));
                cut.push((path, problem.message));
            }
        }
        // From the end, as what is taken out moves what comes after it.
        cut.sort();
        for (path, message) in cut.into_iter().rev() {
            if let Some(removed) = remove(&mut tree, &path) {
                notes.lost(&removed.at, message);
            }
        }
    }
    Err("the converted configuration has too many problems to be of use".to_owned())
}

/// The loader's warnings are texts with a place in what it read.
fn warned(tree: &Tree, root: &Node, warning: &str, notes: &mut Notes) {
    let placed = warning.strip_prefix(NAME).and_then(|rest| {
        let mut parts = rest.strip_prefix(':')?.splitn(3, ':');
        let place =
            Place { line: parts.next()?.parse().ok()?, column: parts.next()?.parse().ok()? };
        Some((place, parts.next()?.trim_start().to_owned()))
    });
    let (place, message) = placed.unwrap_or((Place::default(), warning.to_owned()));
    let problem = Problem { file: NAME.into(), place, message };
    let path = path_of(root, &problem).unwrap_or_default();
    let at = &part(tree, &path).at;
    if problem.message.contains(SERVERS_WORK) {
        notes.lost(at, problem.message);
    } else {
        notes.differs(at, problem.message);
    }
}

fn part<'t>(tree: &'t Tree, path: &[usize]) -> &'t Tree {
    let Some((first, rest)) = path.split_first() else { return tree };
    match &tree.value {
        Value::List(items) => part(&items[*first], rest),
        Value::Map(entries) => part(&entries[*first].1, rest),
        Value::Text(_) | Value::Word(_) => tree,
    }
}

/// Where the part is that `problem` is about. A mapping begins where its first key does: that is
/// meant only where the message names it.
fn path_of(root: &Node, problem: &Problem) -> Option<Path> {
    let mut found = Vec::new();
    find(root, problem.place, &mut Vec::new(), &mut found);
    let named = |path: &&Path| {
        key_at(root, path).is_some_and(|key| problem.message.contains(&format!("`{key}`")))
    };
    let chosen = found.iter().rev().find(named).or_else(|| found.first())?;
    Some(chosen.clone())
}

/// All paths of what stands at `place`, the outermost first; never that of the whole.
fn find(node: &Node, place: Place, path: &mut Path, found: &mut Vec<Path>) {
    if node.place == place && !path.is_empty() && found.last() != Some(path) {
        found.push(path.clone());
    }
    for (n, child) in node.as_seq().unwrap_or(&[]).iter().enumerate() {
        path.push(n);
        find(child, place, path, found);
        path.pop();
    }
    for (n, (key, child)) in node.as_map().unwrap_or(&[]).iter().enumerate() {
        path.push(n);
        if key.place == place {
            found.push(path.clone());
        }
        find(child, place, path, found);
        path.pop();
    }
}

fn key_at<'n>(root: &'n Node, path: &[usize]) -> Option<&'n str> {
    let (last, before) = path.split_last()?;
    let mut node = root;
    for step in before {
        node = match (node.as_seq(), node.as_map()) {
            (Some(nodes), _) => nodes.get(*step)?,
            (None, entries) => &entries?.get(*step)?.1,
        };
    }
    Some(node.as_map()?.get(*last)?.0.text.as_str())
}

/// What must go with the part at `path`: the whole rule.
fn whole(tree: &Tree, path: Path) -> Path {
    let mut tree = tree;
    for (n, step) in path.iter().enumerate() {
        tree = match &tree.value {
            Value::List(items) => &items[*step],
            Value::Map(entries) => {
                let (key, below) = &entries[*step];
                if WHOLE.contains(&key.as_str()) && path.len() > n + 1 {
                    return path[..n + 2].to_vec();
                }
                below
            }
            Value::Text(_) | Value::Word(_) => break,
        };
    }
    path
}

/// Lists and mappings that are empty then go as well.
fn remove(tree: &mut Tree, path: &[usize]) -> Option<Tree> {
    let (step, rest) = path.split_first()?;
    let child = match &mut tree.value {
        Value::List(items) => items.get_mut(*step),
        Value::Map(entries) => entries.get_mut(*step).map(|(_, child)| child),
        Value::Text(_) | Value::Word(_) => None,
    }?;
    let removed = if rest.is_empty() { child.clone() } else { remove(child, rest)? };
    let is_gone = rest.is_empty()
        || match &child.value {
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Text(_) | Value::Word(_) => false,
        };
    if is_gone {
        match &mut tree.value {
            Value::List(items) => drop(items.remove(*step)),
            Value::Map(entries) => drop(entries.remove(*step)),
            Value::Text(_) | Value::Word(_) => {}
        }
    }
    Some(removed)
}
