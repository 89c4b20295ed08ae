//! What a converter makes: the YAML to come, each part of which knows the place that it comes from.

use std::{fmt::Display, sync::Arc};

use crate::config::{
    problem::Place,
    yaml::{Node, Value as Read},
    yaml_out::Shown,
};

/// A place in one of the files that are converted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// As the user named it.
    pub(super) file: Arc<str>,
    pub(super) place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tree {
    /// Of an entry's key, where it has one.
    pub(super) at: At,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Quoted where it would read as something else.
    Text(String),
    /// A number or a boolean, or whatever was typed without quotes.
    Word(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

impl At {
    pub(super) fn of(file: &Arc<str>, place: Place) -> Self {
        Self { file: file.clone(), place }
    }
}

impl Tree {
    pub(super) fn text(at: &At, text: impl Into<String>) -> Self {
        Self { at: at.clone(), value: Value::Text(text.into()) }
    }

    pub(super) fn word(at: &At, word: impl Display) -> Self {
        Self { at: at.clone(), value: Value::Word(format!("{word}")) }
    }

    pub(super) fn list(at: &At, entries: Vec<Tree>) -> Self {
        Self { at: at.clone(), value: Value::List(entries) }
    }

    pub(super) fn map<K: Into<String>>(
        at: &At,
        entries: impl IntoIterator<Item = (K, Tree)>,
    ) -> Self {
        let entries = entries.into_iter().map(|(key, tree)| (key.into(), tree)).collect();
        Self { at: at.clone(), value: Value::Map(entries) }
    }

    /// What was read of `file`.
    pub(super) fn of(node: &Node, file: &Arc<str>) -> Self {
        let at = At::of(file, node.place);
        let value = match &node.value {
            Read::Scalar { .. } if node.is_null() => Value::Word("null".to_owned()),
            Read::Scalar { text, plain: true } => Value::Word(text.clone()),
            Read::Scalar { text, plain: false } => Value::Text(text.clone()),
            // No field takes bytes that are no text.
            Read::Binary(_) => Value::Word("null".to_owned()),
            Read::Sequence(nodes) => {
                Value::List(nodes.iter().map(|node| Self::of(node, file)).collect())
            }
            Read::Mapping(entries) => {
                let entry = |(key, node): &(crate::config::yaml::Key, Node)| {
                    let tree = Self { at: At::of(file, key.place), ..Self::of(node, file) };
                    (key.text.clone(), tree)
                };
                Value::Map(entries.iter().map(entry).collect())
            }
        };
        Self { at, value }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Word(word) if word == "null")
    }

    /// A text or a word.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Word(word) if word != "null" => Some(word),
            Value::Word(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    pub(super) fn is_true(&self) -> bool {
        self.as_text().is_some_and(|text| ["true", "yes", "on"].contains(&text))
    }

    pub(super) fn entries(&self) -> &[(String, Tree)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Text(_) | Value::Word(_) | Value::List(_) => &[],
        }
    }

    pub(super) fn entries_mut(&mut self) -> Option<&mut Vec<(String, Tree)>> {
        match &mut self.value {
            Value::Map(entries) => Some(entries),
            Value::Text(_) | Value::Word(_) | Value::List(_) => None,
        }
    }

    pub(super) fn items(&self) -> &[Tree] {
        match &self.value {
            Value::List(items) => items,
            Value::Text(_) | Value::Word(_) | Value::Map(_) => &[],
        }
    }

    /// The entries of a list; what is none is one of one.
    pub(super) fn into_items(self) -> Vec<Tree> {
        match self.value {
            Value::List(items) => items,
            Value::Word(_) if self.is_null() => Vec::new(),
            Value::Text(_) | Value::Word(_) | Value::Map(_) => vec![self],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Tree> {
        self.entries().iter().find(|(own, _)| own == key).map(|(_, tree)| tree)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Tree> {
        let entries = self.entries_mut()?;
        let at = entries.iter().position(|(own, _)| own == key)?;
        Some(entries.remove(at).1)
    }

    /// In the place of what was there.
    pub(super) fn set(&mut self, key: &str, tree: Tree) {
        let Some(entries) = self.entries_mut() else { return };
        match entries.iter_mut().find(|(own, _)| own == key) {
            Some((_, own)) => *own = tree,
            None => entries.push((key.to_owned(), tree)),
        }
    }

    pub(super) fn set_first(&mut self, key: &str, tree: Tree) {
        self.take(key);
        if let Some(entries) = self.entries_mut() {
            entries.insert(0, (key.to_owned(), tree));
        }
    }

    pub(super) fn rename(&mut self, key: &str, new: &str) {
        let entries = self.entries_mut().into_iter().flatten();
        if let Some((own, _)) = entries.into_iter().find(|(own, _)| own == key) {
            new.clone_into(own);
        }
    }

    /// At the end of the list under `key`, which is made where there is none.
    pub(super) fn append(&mut self, key: &str, more: Vec<Tree>) {
        if more.is_empty() {
            return;
        }
        let mut items = self.get(key).cloned().map(Tree::into_items).unwrap_or_default();
        let at = more[0].at.clone();
        items.extend(more);
        self.set(key, Tree::list(&at, items));
    }

    /// Before all others in the list under `key`.
    pub(super) fn prepend(&mut self, key: &str, mut more: Vec<Tree>) {
        if more.is_empty() {
            return;
        }
        let at = more[0].at.clone();
        more.extend(self.take(key).map(Tree::into_items).unwrap_or_default());
        self.set(key, Tree::list(&at, more));
    }

    pub(super) fn to_yaml(&self) -> String {
        self.shown().to_yaml()
    }

    fn shown(&self) -> Shown {
        match &self.value {
            Value::Text(text) => Shown::Text(text.clone()),
            Value::Word(word) => Shown::Word(word.clone()),
            Value::List(items) => Shown::List(items.iter().map(Tree::shown).collect()),
            Value::Map(entries) => {
                Shown::Map(entries.iter().map(|(key, tree)| (key.clone(), tree.shown())).collect())
            }
        }
    }

    /// How many parts it has: what printing it costs.
    pub(super) fn size(&self) -> usize {
        1 + match &self.value {
            Value::Text(_) | Value::Word(_) => 0,
            Value::List(items) => items.iter().map(Tree::size).sum(),
            Value::Map(entries) => entries.iter().map(|(_, tree)| tree.size()).sum(),
        }
    }
}
