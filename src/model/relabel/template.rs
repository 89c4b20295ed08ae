//! What a match is rewritten to: Go's `Expand` (`$1`, `${1}`, `$name`, `$$`).

use crate::model::relabel::pattern::{Groups, Pattern};

#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Template {
    /// A variable takes in all letters, digits and underscores that follow: `$1x` is the group
    /// named "1x". One that names no group is empty; a `$` that starts no variable is itself.
    pub(super) fn compile(text: &str, pattern: &Pattern) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            push_text(&mut pieces, before);
            if let Some(after) = after.strip_prefix('$') {
                push_text(&mut pieces, "$");
                rest = after;
            } else if let Some((name, after)) = variable(after) {
                pieces.extend(pattern.group(name).map(Piece::Group));
                rest = after;
            } else {
                push_text(&mut pieces, "$");
                rest = after;
            }
        }
        push_text(&mut pieces, rest);
        Self(pieces)
    }

    pub(super) fn needs_groups(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Group(1..)))
    }

    pub(super) fn expand(&self, groups: &Groups<'_>) -> String {
        let mut expanded = String::new();
        for piece in &self.0 {
            expanded.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Group(number) => groups.get(*number),
            });
        }
        expanded
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(text),
        Some(Piece::Group(_)) | None => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// The variable's name and what follows it.
fn variable(text: &str) -> Option<(&str, &str)> {
    let (text, close) = match text.strip_prefix('{') {
        Some(inner) => (inner, "}"),
        None => (text, ""),
    };
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if end == 0 {
        return None;
    }
    Some((&text[..end], text[end..].strip_prefix(close)?))
}
