//! YAML into a tree of nodes that know their place. Types are decided by whoever reads a node, as
//! Go's YAML does: a plain `10` read as a text is "10". Pure, and bounded: no text, however
//! nested or self-referring, makes a tree much larger than itself.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::config::{
    decode::shown,
    problem::{Place, Problem},
};

/// Deeper nesting is a problem: nobody writes it, and a tree is dropped recursively.
const DEPTH_MAX: usize = 100;
/// What the copies that aliases make may take together; more is a problem (an alias bomb).
const ALIAS_BYTES_MAX: usize = 32 << 20;
/// More problems than these are not collected: the text is not a YAML configuration at all.
const PROBLEMS_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Scalar {
        text: String,
        /// Neither quoted nor tagged as text: may be a number, a boolean or null.
        plain: bool,
    },
    /// `!!binary` that holds no UTF-8 text.
    Binary(Vec<u8>),
    Sequence(Vec<Node>),
    /// Keys are unlike each other, in the order of the text; `<<` is merged already.
    Mapping(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub place: Place,
    pub text: String,
}

/// The one document of `text`; the first problem where there are some.
pub fn parse(text: &str) -> Result<Node, Problem> {
    match read(text) {
        (Some(node), problems) if problems.is_empty() => Ok(node),
        (_, problems) => {
            Err(problems.into_iter().next().expect("a text without a node has a problem"))
        }
    }
}

/// The one document of `text` and all that is wrong with it: some problems (a key that comes
/// twice) leave a tree that is worth reading on.
pub(super) fn read(text: &str) -> (Option<Node>, Vec<Problem>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let outcome = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(syntax(&error)),
        };
        if let Err(problem) = outcome {
            builder.problems.push(problem);
            return (None, builder.problems);
        }
        if builder.problems.len() > PROBLEMS_MAX {
            return (None, builder.problems);
        }
    }
    (
        Some(builder.root.unwrap_or_else(|| Node::null(Place { line: 1, column: 1 }))),
        builder.problems,
    )
}

impl Node {
    fn null(place: Place) -> Self {
        Self { place, value: Value::Scalar { text: String::new(), plain: true } }
    }

    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain } => {
                *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            Value::Binary(_) | Value::Sequence(_) | Value::Mapping(_) => false,
        }
    }

    /// Any scalar but null, as written.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            Value::Scalar { .. } | Value::Binary(_) | Value::Sequence(_) | Value::Mapping(_) => {
                None
            }
        }
    }

    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(nodes) => Some(nodes),
            Value::Scalar { .. } | Value::Binary(_) | Value::Mapping(_) => None,
        }
    }

    pub fn as_map(&self) -> Option<&[(Key, Node)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            Value::Scalar { .. } | Value::Binary(_) | Value::Sequence(_) => None,
        }
    }

    /// The words of YAML 1.1, as Go's YAML takes them; never a quoted one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_plain()? {
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                Some(true)
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => Some(false),
            _ => None,
        }
    }

    /// A whole number: decimal, `0x`, `0o`, `0b`, a leading-zero octal, or a float without a
    /// fraction (`1e6`); `_` may part the digits.
    pub fn as_integer(&self) -> Option<i128> {
        let text = self.as_plain()?.replace('_', "");
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(&text)),
        };
        if digits.starts_with(['-', '+']) {
            return None;
        }
        let parsed = match digits.get(..2) {
            Some("0x") => u64::from_str_radix(&digits[2..], 16),
            Some("0b") => u64::from_str_radix(&digits[2..], 2),
            Some("0o") => u64::from_str_radix(&digits[2..], 8),
            Some(_) if digits.starts_with('0') => u64::from_str_radix(digits, 8),
            _ => digits.parse(),
        };
        let size = match parsed {
            Ok(size) => i128::from(size),
            Err(_) => whole(self.as_float()?.abs())?,
        };
        Some(if negative { -size } else { size })
    }

    pub fn as_float(&self) -> Option<f64> {
        let text = self.as_plain()?;
        match text.trim_start_matches(['+', '-']) {
            ".inf" | ".Inf" | ".INF" => {
                Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY })
            }
            ".nan" | ".NaN" | ".NAN" => Some(f64::NAN),
            digits if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
                text.replace('_', "").parse().ok()
            }
            _ => None,
        }
    }

    /// For a message: what kind of thing this is, never its content.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::Binary(_) => "binary data",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    fn as_plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            Value::Scalar { .. } | Value::Binary(_) | Value::Sequence(_) | Value::Mapping(_) => {
                None
            }
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match &self.value {
                Value::Scalar { text, .. } => text.len(),
                Value::Binary(bytes) => bytes.len(),
                Value::Sequence(nodes) => nodes.iter().map(Node::bytes).sum(),
                Value::Mapping(entries) => entries
                    .iter()
                    .map(|(key, node)| size_of::<Key>() + key.text.len() + node.bytes())
                    .sum(),
            }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
fn whole(float: f64) -> Option<i128> {
    (float.fract() == 0.0 && float <= 2f64.powi(64)).then_some(float as i128)
}

/// Makes nodes of events. Holds what is begun and not yet ended.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    /// `None`: begun, not ended.
    anchors: BTreeMap<usize, Option<Anchored>>,
    alias_bytes: usize,
    problems: Vec<Problem>,
}

struct Anchored {
    node: Node,
    /// What a copy takes.
    bytes: usize,
}

struct Open {
    place: Place,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    Sequence(Vec<Node>),
    Mapping(MappingParts),
}

#[derive(Default)]
struct MappingParts {
    entries: Vec<(Key, Node)>,
    merges: Vec<Node>,
    key: Option<PendingKey>,
}

enum PendingKey {
    Text(Key),
    Merge,
    /// Told already; its value is skipped.
    Unusable,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let place = place(span);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(problem(place, "a second document begins; a file holds one"))
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(place, text, style, tag.as_deref());
                self.finish(node, anchor, style == ScalarStyle::Plain);
                Ok(())
            }
            Event::Alias(anchor) => {
                let node = self.alias(anchor, place)?;
                self.add(node, false);
                Ok(())
            }
            Event::SequenceStart(anchor, _) => {
                self.begin(place, anchor, Inside::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, _) => {
                self.begin(place, anchor, Inside::Mapping(MappingParts::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop().expect("the parser ends only what it began");
                let value = match open.inside {
                    Inside::Sequence(nodes) => Value::Sequence(nodes),
                    Inside::Mapping(parts) => Value::Mapping(self.merged(parts)),
                };
                self.finish(Node { place: open.place, value }, open.anchor, false);
                Ok(())
            }
        }
    }

    fn begin(&mut self, place: Place, anchor: usize, inside: Inside) -> Result<(), Problem> {
        if self.open.len() >= DEPTH_MAX {
            return Err(problem(place, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open { place, anchor, inside });
        Ok(())
    }

    fn finish(&mut self, node: Node, anchor: usize, plain: bool) {
        if anchor > 0 {
            let bytes = node.bytes();
            self.anchors.insert(anchor, Some(Anchored { node: node.clone(), bytes }));
        }
        self.add(node, plain);
    }

    fn add(&mut self, mut node: Node, plain: bool) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        let parts = match &mut open.inside {
            Inside::Sequence(nodes) => {
                nodes.push(node);
                return;
            }
            Inside::Mapping(parts) => parts,
        };
        let told = match parts.key.take() {
            None => {
                let (key, told) = key_of(&node, plain);
                parts.key = Some(key);
                told
            }
            Some(PendingKey::Text(key)) => {
                if matches!(&node.value, Value::Scalar { text, plain: true } if text.is_empty()) {
                    // The parser places a missing value at whatever comes next.
                    node.place = key.place;
                }
                parts.entries.push((key, node));
                None
            }
            Some(PendingKey::Merge) => parts.merge(node),
            Some(PendingKey::Unusable) => None,
        };
        self.problems.extend(told);
    }

    fn scalar(
        &mut self,
        place: Place,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
    ) -> Node {
        let text = text.into_owned();
        let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
        let value = match core {
            Some("binary") => self.binary(place, &text),
            Some("str") => Value::Scalar { text, plain: false },
            Some("null") => Value::Scalar { text: String::new(), plain: true },
            Some("int" | "float" | "bool") => Value::Scalar { text, plain: true },
            Some(_) | None => Value::Scalar { text, plain: style == ScalarStyle::Plain },
        };
        Node { place, value }
    }

    fn binary(&mut self, place: Place, text: &str) -> Value {
        let digits: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let Ok(bytes) = BASE64.decode(digits) else {
            self.problems.push(problem(place, "!!binary value contains invalid base64 data"));
            return Value::Scalar { text: text.to_owned(), plain: false };
        };
        match String::from_utf8(bytes) {
            Ok(text) => Value::Scalar { text, plain: false },
            Err(error) => Value::Binary(error.into_bytes()),
        }
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Node, Problem> {
        let Some(Some(Anchored { node, bytes })) = self.anchors.get(&anchor) else {
            return Err(problem(place, "an alias stands within what it stands for"));
        };
        self.alias_bytes += bytes;
        if self.alias_bytes > ALIAS_BYTES_MAX {
            let message = format!("aliases make more than {} MiB of text", ALIAS_BYTES_MAX >> 20);
            return Err(problem(place, message));
        }
        let depth = node.depth();
        if self.open.len() + depth > DEPTH_MAX {
            return Err(problem(place, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        // Problems inside are told where the text stands; the alias itself has its own place.
        Ok(Node { place, value: node.value.clone() })
    }

    /// Own keys win over merged ones, earlier merges over later ones.
    fn merged(&mut self, parts: MappingParts) -> Vec<(Key, Node)> {
        let MappingParts { mut entries, merges, key: _ } = parts;
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        let mut problems = Vec::new();
        entries.retain(|(key, _)| {
            let first = seen.entry(key.text.clone()).or_insert(key.place);
            if *first != key.place {
                let message = format!(
                    "key `{}` appears twice, first in line {}",
                    shown(&key.text),
                    first.line
                );
                problems.push(problem(key.place, message));
            }
            *first == key.place
        });
        self.problems.append(&mut problems);
        for merge in merges {
            let Value::Mapping(merged) = merge.value else { continue };
            for (key, node) in merged {
                if !seen.contains_key(&key.text) {
                    seen.insert(key.text.clone(), key.place);
                    entries.push((key, node));
                }
            }
        }
        entries
    }
}

impl MappingParts {
    fn merge(&mut self, node: Node) -> Option<Problem> {
        let place = node.place;
        let maps = match node.value {
            Value::Mapping(_) => vec![node],
            Value::Sequence(nodes) => nodes,
            Value::Scalar { .. } | Value::Binary(_) => Vec::new(),
        };
        if maps.is_empty() || maps.iter().any(|map| map.as_map().is_none()) {
            let message = "map merge requires map or sequence of maps as the value";
            return Some(problem(place, message));
        }
        self.merges.extend(maps);
        None
    }
}

impl Node {
    fn depth(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } | Value::Binary(_) => 1,
            Value::Sequence(nodes) => 1 + nodes.iter().map(Node::depth).max().unwrap_or(0),
            Value::Mapping(entries) => {
                1 + entries.iter().map(|(_, node)| node.depth()).max().unwrap_or(0)
            }
        }
    }
}

fn key_of(node: &Node, plain: bool) -> (PendingKey, Option<Problem>) {
    match &node.value {
        Value::Scalar { text, .. } if text == "<<" && plain => (PendingKey::Merge, None),
        Value::Scalar { text, .. } => {
            (PendingKey::Text(Key { place: node.place, text: text.clone() }), None)
        }
        Value::Binary(_) | Value::Sequence(_) | Value::Mapping(_) => {
            let message = format!("expected a text as key, found {}", node.kind());
            (PendingKey::Unusable, Some(problem(node.place, message)))
        }
    }
}

fn syntax(error: &ScanError) -> Problem {
    // The parser's own words hold no content of the file but, at most, one character.
    let mark = error.marker();
    let place = Place { line: number(mark.line()), column: number(mark.col() + 1) };
    problem(place, format!("yaml: {}", error.info()))
}

fn place(span: Span) -> Place {
    Place { line: number(span.start.line()), column: number(span.start.col() + 1) }
}

fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn problem(place: Place, message: impl Into<String>) -> Problem {
    Problem { file: Arc::from(""), place, message: message.into() }
}
