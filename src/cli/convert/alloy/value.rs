//! What an expression of Alloy's language comes to before the agent runs.

use std::rc::Rc;

use crate::{
    cli::convert::tree::Tree,
    config::{
        problem::Place,
        yaml::{self, Key, Node},
    },
};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spot {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Spot>),
    Object(Vec<(String, Spot)>),
    /// Of the file with this path.
    Content(String),
    /// Of the environment.
    Variable(String),
    /// The name of the host that the agent runs on.
    Host,
    Targets(Vec<Source>),
    /// What takes samples: the component with this id.
    Receiver(String),
    /// Why it is not known; a sentence's end.
    Unknown(String),
}

/// Targets of one origin, and what relabels them on their way.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) origin: Rc<Origin>,
    /// Of one component after the other.
    pub(super) rules: Vec<Rc<Vec<Tree>>>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Origin {
    /// Targets in the file: the labels of each.
    Static(Vec<Target>),
    /// An entry of the list `key` of a job.
    Discovery { key: String, entry: Tree },
    /// Told already.
    Lost,
}

/// Labels, in their order.
pub(super) type Target = Vec<(String, Tree)>;

/// The same place and the same way: Alloy, too, takes such targets once.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.origin, &other.origin) && self.has_rules_of(other)
    }
}

impl Source {
    pub(super) fn has_rules_of(&self, other: &Self) -> bool {
        let pairs = || self.rules.iter().zip(&other.rules);
        self.rules.len() == other.rules.len() && pairs().all(|(a, b)| Rc::ptr_eq(a, b))
    }
}

impl Spot {
    pub(super) fn new(place: Place, value: Value) -> Self {
        Self { place, value }
    }

    /// For a message: never what it holds.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) | Value::Content(_) | Value::Variable(_) | Value::Host => "a text",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
            Value::Targets(_) => "targets",
            Value::Receiver(_) => "a receiver",
            Value::Unknown(_) => "a value that is not known here",
        }
    }
}

/// JSON, and YAML of which it is a part.
pub(super) fn decoded(text: &str, place: Place) -> Value {
    match yaml::parse(text) {
        Ok(node) => of_node(&node, place),
        Err(_) => Value::Unknown("a text that is neither JSON nor YAML".to_owned()),
    }
}

fn of_node(node: &Node, place: Place) -> Value {
    if let Some(nodes) = node.as_seq() {
        return Value::List(nodes.iter().map(|n| Spot::new(place, of_node(n, place))).collect());
    }
    if let Some(entries) = node.as_map() {
        let entry =
            |(key, node): &(Key, _)| (key.text.clone(), Spot::new(place, of_node(node, place)));
        return Value::Object(entries.iter().map(entry).collect());
    }
    match (node.as_str(), node.as_bool(), node.as_float()) {
        (Some(_), Some(is), _) => Value::Bool(is),
        (Some(text), None, Some(_)) => Value::Number(text.to_owned()),
        (Some(text), None, None) => Value::Text(text.to_owned()),
        (None, _, _) => Value::Null,
    }
}
