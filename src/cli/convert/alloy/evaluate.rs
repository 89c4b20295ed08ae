//! Expressions of Alloy's language into values: literals, references to other components, the
//! functions of the standard library that a configuration uses. What is known only while an agent
//! runs is `Unknown`, and told by whoever needs it.

use std::{collections::BTreeMap, path::Path, rc::Rc, sync::Arc};

use crate::{
    cli::convert::{
        World,
        alloy::{
            discovery,
            lexer::Fault,
            syntax::{Block, Body, Expression, What},
            value::{Origin, Source, Spot, Value, decoded},
        },
        told::{Notes, value_lacks, value_stands},
        tree::{At, Tree},
    },
    config::problem::Place,
};

/// Of expressions and of what references bring; more is refused: references can multiply.
const STEPS_MAX: usize = 1_000_000;
/// Of one job; more is refused.
const SOURCES_MAX: usize = 256;
/// More components are refused.
const COMPONENTS_MAX: usize = 10_000;

/// All components, and what was found out about them so far.
pub(super) struct Scene<'a> {
    pub(super) file: Arc<str>,
    pub(super) world: &'a World<'a>,
    pub(super) notes: &'a mut Notes,
    blocks: BTreeMap<String, &'a Block>,
    exports: BTreeMap<String, Vec<Source>>,
    /// Whose targets are being asked for, each by the one before.
    asking: Vec<String>,
    steps: usize,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        file: &Arc<str>,
        body: &'a Body,
        world: &'a World<'a>,
        notes: &'a mut Notes,
    ) -> Result<Self, Fault> {
        let mut blocks = BTreeMap::new();
        for block in body.blocks.iter().filter(|block| block.name.contains('.')) {
            if blocks.insert(block.id(), block).is_some() {
                return Err((block.place, format!("{} is there already", block.shown())));
            }
            if blocks.len() > COMPONENTS_MAX {
                return Err((block.place, format!("more than {COMPONENTS_MAX} components")));
            }
        }
        Ok(Self {
            file: file.clone(),
            world,
            notes,
            blocks,
            exports: BTreeMap::new(),
            asking: Vec::new(),
            steps: 0,
        })
    }

    pub(super) fn at(&self, place: Place) -> At {
        At::of(&self.file, place)
    }

    pub(super) fn lost(&mut self, place: Place, message: impl Into<String>) {
        let at = self.at(place);
        self.notes.lost(&at, message);
    }

    pub(super) fn differs(&mut self, place: Place, message: impl Into<String>) {
        let at = self.at(place);
        self.notes.differs(&at, message);
    }

    pub(super) fn component(&self, id: &str) -> Option<&'a Block> {
        self.blocks.get(id).copied()
    }

    pub(super) fn spend(&mut self, steps: usize, place: Place) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > STEPS_MAX {
            return Err((place, "references bring more than can be carried over".to_owned()));
        }
        Ok(())
    }

    pub(super) fn value(&mut self, expression: &Expression) -> Result<Spot, Fault> {
        let place = expression.place;
        self.spend(1, place)?;
        let value = match &expression.what {
            What::Null => Value::Null,
            What::Bool(is) => Value::Bool(*is),
            What::Number(number) => Value::Number(number.clone()),
            What::Text(text) => Value::Text(text.clone()),
            What::List(items) => Value::List(self.values(items)?),
            What::Object(entries) => {
                let mut object: Vec<(String, Spot)> = Vec::new();
                for (key, value) in entries {
                    let value = self.value(value)?;
                    object.retain(|(own, _)| own != key);
                    object.push((key.clone(), value));
                }
                Value::Object(object)
            }
            What::Name(name) => unknown(format!("`{name}` is nothing that is known here")),
            What::Access(inner, name) => self.access(expression, inner, name)?,
            What::Index(inner, index) => self.index(inner, index)?,
            What::Call(function, arguments) => self.call(function, arguments, place)?,
            What::Not(inner) => match self.value(inner)?.value {
                Value::Bool(is) => Value::Bool(!is),
                _ => unknown("`!` of no boolean"),
            },
            What::Minus(inner) => match self.value(inner)?.value {
                Value::Number(number) => Value::Number(format!("-{number}")),
                _ => unknown("`-` of no number"),
            },
            What::Operation(sign, left, right) => self.operation(sign, left, right)?,
        };
        Ok(Spot::new(place, value))
    }

    fn values(&mut self, items: &[Expression]) -> Result<Vec<Spot>, Fault> {
        items.iter().map(|item| self.value(item)).collect()
    }

    fn access(
        &mut self,
        whole: &Expression,
        inner: &Expression,
        name: &str,
    ) -> Result<Value, Fault> {
        if let Some(path) = whole.dotted() {
            return self.reference(&path, whole.place);
        }
        Ok(member(self.value(inner)?.value, name))
    }

    fn index(&mut self, inner: &Expression, index: &Expression) -> Result<Value, Fault> {
        let index = self.value(index)?.value;
        let inner = self.value(inner)?.value;
        Ok(match (inner, index) {
            (inner, Value::Text(name)) => member(inner, &name),
            (Value::List(mut items), Value::Number(number)) => {
                let n: Option<usize> = number.parse().ok().filter(|n| *n < items.len());
                n.map_or_else(
                    || unknown("an index beyond the list"),
                    |n| items.swap_remove(n).value,
                )
            }
            _ => unknown("an element of what is not known here"),
        })
    }

    /// `discovery.relabel.hosts.output`: the component of the longest name that is there.
    fn reference(&mut self, path: &str, place: Place) -> Result<Value, Fault> {
        match path {
            "constants.hostname" => return Ok(Value::Host),
            "constants.os" => return Ok(Value::Text(std::env::consts::OS.to_owned())),
            "constants.arch" => return Ok(Value::Text(arch().to_owned())),
            _ => {}
        }
        let mut ends: Vec<usize> = path.match_indices('.').map(|(at, _)| at).collect();
        ends.push(path.len());
        let found =
            ends.into_iter().rev().find_map(|end| Some((end, self.component(&path[..end])?)));
        let Some((end, block)) = found else {
            return Ok(unknown(format!("there is no component `{path}`")));
        };
        let export = path[end..].trim_start_matches('.');
        Ok(match (block.name.as_str(), export) {
            ("local.file", "content") => self.file_of(block)?,
            (name, "targets" | "output")
                if name.starts_with("discovery.") || name.starts_with("prometheus.exporter.") =>
            {
                let sources = self.exported(block, place)?;
                self.spend(sources.len(), place)?;
                Value::Targets(sources)
            }
            (_, "receiver" | "input") => Value::Receiver(block.id()),
            _ => unknown(format!("`{path}` is known only while Alloy runs")),
        })
    }

    fn file_of(&mut self, block: &Block) -> Result<Value, Fault> {
        let Some(attribute) = block.attribute("filename") else {
            return Ok(unknown(format!("{} has no `filename`", block.shown())));
        };
        let path = self.value(&attribute.value)?;
        Ok(match self.text(&path) {
            Some(path) => Value::Content(path),
            None => unknown(format!("the `filename` of {} is not known here", block.shown())),
        })
    }

    /// What a component of discovery gives out.
    fn exported(&mut self, block: &'a Block, place: Place) -> Result<Vec<Source>, Fault> {
        let id = block.id();
        if let Some(known) = self.exports.get(&id) {
            return Ok(known.clone());
        }
        if self.asking.contains(&id) {
            let way: Vec<String> = self.asking.iter().map(|id| format!("`{id}`")).collect();
            let message = format!("`{id}` needs its own targets, by way of {}", way.join(", "));
            return Err((place, message));
        }
        if self.asking.len() >= super::WAY_MAX {
            let message = format!("more than {} components in a row", super::WAY_MAX);
            return Err((place, message));
        }
        self.asking.push(id.clone());
        let sources = discovery::sources(self, block)?;
        self.asking.pop();
        self.exports.insert(id, sources.clone());
        Ok(sources)
    }

    /// As targets: what comes of discoveries, or of objects in the file; each source once.
    pub(super) fn sources(&mut self, spot: Spot) -> Result<Vec<Source>, Fault> {
        let mut sources = Vec::new();
        self.add_sources(spot, &mut sources)?;
        Ok(sources)
    }

    fn add_sources(&mut self, spot: Spot, sources: &mut Vec<Source>) -> Result<(), Fault> {
        let place = spot.place;
        match spot.value {
            Value::Targets(more) => {
                for source in more {
                    if !sources.contains(&source) {
                        sources.push(source);
                    }
                }
            }
            Value::List(items) => {
                let mut objects = Vec::new();
                for item in items {
                    match item.value {
                        Value::Object(labels) => objects.push(self.target(labels)),
                        _ => self.add_sources(item, sources)?,
                    }
                }
                if !objects.is_empty() {
                    let origin = Rc::new(Origin::Static(objects));
                    sources.push(Source { origin, rules: Vec::new() });
                }
            }
            Value::Content(path) => match self.content(&path) {
                Ok(text) => self.add_sources(Spot::new(place, decoded(&text, place)), sources)?,
                Err(reason) => self.lost(place, format!("targets in `{path}`: {reason}")),
            },
            Value::Unknown(reason) => self.lost(place, format!("targets: {reason}")),
            _ => self.lost(place, format!("expected targets, found {}", spot_kind(&spot.value))),
        }
        if sources.len() > SOURCES_MAX {
            return Err((place, format!("targets of more than {SOURCES_MAX} sources")));
        }
        Ok(())
    }

    fn target(&mut self, labels: Vec<(String, Spot)>) -> Vec<(String, Tree)> {
        let mut target = Vec::new();
        for (name, spot) in labels {
            let at = self.at(spot.place);
            if let Some(text) = self.text(&spot) {
                target.push((name, Tree::text(&at, text)));
            } else {
                let message = format!("label `{name}` of a target: {}", reason(&spot));
                self.lost(spot.place, message);
            }
        }
        target
    }

    /// A text, a number or a boolean. What stands for this host's own is looked up here, and told.
    pub(super) fn text(&mut self, spot: &Spot) -> Option<String> {
        match &spot.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(is) => Some(is.to_string()),
            Value::Variable(name) => {
                let value = (self.world.environment)(name);
                match &value {
                    Some(_) => self.differs(spot.place, value_stands(name)),
                    None => self.lost(spot.place, value_lacks(name)),
                }
                value
            }
            Value::Content(path) => match self.content(path) {
                Ok(text) => Some(text),
                Err(reason) => {
                    self.lost(spot.place, format!("`{path}`: {reason}"));
                    None
                }
            },
            Value::Host => {
                let host = self.world.host.clone();
                self.differs(
                    spot.place,
                    format!("`constants.hostname` is written as `{host}`, the name of this host: convert on each host, or take `__meta_starling_host` in `relabel_configs`"),
                );
                Some(host)
            }
            Value::Null
            | Value::List(_)
            | Value::Object(_)
            | Value::Targets(_)
            | Value::Receiver(_)
            | Value::Unknown(_) => None,
        }
    }

    fn content(&mut self, path: &str) -> Result<String, String> {
        let folder = Path::new(&*self.file).parent().unwrap_or(Path::new(""));
        (self.world.read)(&folder.join(path))
    }

    fn operation(
        &mut self,
        sign: &str,
        left: &Expression,
        right: &Expression,
    ) -> Result<Value, Fault> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        Ok(match (sign, &left.value, &right.value) {
            ("+", Value::Number(a), Value::Number(b)) => arithmetic(a, b, |a, b| a + b),
            ("-", Value::Number(a), Value::Number(b)) => arithmetic(a, b, |a, b| a - b),
            ("*", Value::Number(a), Value::Number(b)) => arithmetic(a, b, |a, b| a * b),
            ("/", Value::Number(a), Value::Number(b)) => arithmetic(a, b, |a, b| a / b),
            ("+", _, _) => match (self.text(&left), self.text(&right)) {
                (Some(a), Some(b)) => {
                    self.spend(a.len() + b.len(), left.place)?;
                    Value::Text(a + &b)
                }
                _ => unknown("`+` of what is not known here"),
            },
            ("==", a, b) => Value::Bool(a == b),
            ("!=", a, b) => Value::Bool(a != b),
            ("&&", Value::Bool(a), Value::Bool(b)) => Value::Bool(*a && *b),
            ("||", Value::Bool(a), Value::Bool(b)) => Value::Bool(*a || *b),
            ("??", Value::Null, _) => right.value,
            ("??", _, _) => left.value,
            _ => unknown(format!("`{sign}` of these is not worked out here")),
        })
    }

    fn call(
        &mut self,
        function: &Expression,
        arguments: &[Expression],
        place: Place,
    ) -> Result<Value, Fault> {
        let name = function.dotted().unwrap_or_default();
        let mut arguments = self.values(arguments)?;
        Ok(match name.as_str() {
            "sys.env" | "env" => match arguments.first().map(|spot| &spot.value) {
                Some(Value::Text(name)) => Value::Variable(name.clone()),
                _ => unknown("an environment variable of no name"),
            },
            "array.concat" | "concat" => self.concat(arguments)?,
            "coalesce" => self.coalesce(arguments),
            "convert.nonsensitive" | "nonsensitive" if !arguments.is_empty() => {
                arguments.swap_remove(0).value
            }
            "encoding.from_json" | "json_decode" | "encoding.from_yaml" | "yaml_decode" => {
                match arguments.first().and_then(|spot| self.text(spot)) {
                    Some(text) => {
                        self.spend(text.len(), place)?;
                        decoded(&text, place)
                    }
                    None => unknown(format!("`{name}` of what is not known here")),
                }
            }
            _ => {
                let texts: Option<Vec<String>> =
                    arguments.iter().map(|spot| self.text_or_list(spot)).collect();
                let texts = texts.unwrap_or_default();
                self.spend(texts.iter().map(String::len).sum(), place)?;
                let known = super::library::call(&name, &texts);
                known.map_or_else(
                    || unknown(format!("`{name}(…)` is not worked out here")),
                    Value::Text,
                )
            }
        })
    }

    /// A list of texts is one text for those functions that join, with a mark between.
    fn text_or_list(&mut self, spot: &Spot) -> Option<String> {
        let Value::List(items) = &spot.value else { return self.text(spot) };
        let texts: Option<Vec<String>> = items.iter().map(|item| self.text(item)).collect();
        Some(texts?.join(super::library::BETWEEN))
    }

    /// Lists into one; discoveries among them keep what they are.
    fn concat(&mut self, lists: Vec<Spot>) -> Result<Value, Fault> {
        let mut items = Vec::new();
        for list in lists {
            match list.value {
                Value::List(own) => {
                    self.spend(own.len(), list.place)?;
                    items.extend(own);
                }
                _ => items.push(list),
            }
        }
        Ok(Value::List(items))
    }

    /// The first that is neither null nor empty, else the last.
    fn coalesce(&mut self, arguments: Vec<Spot>) -> Value {
        let mut last = Value::Null;
        for spot in arguments {
            let is_empty = match &spot.value {
                Value::Null | Value::Unknown(_) => true,
                Value::Text(text) => text.is_empty(),
                Value::Variable(name) => {
                    (self.world.environment)(name).is_none_or(|value| value.is_empty())
                }
                Value::List(items) => items.is_empty(),
                Value::Object(entries) => entries.is_empty(),
                Value::Bool(_)
                | Value::Number(_)
                | Value::Content(_)
                | Value::Host
                | Value::Targets(_)
                | Value::Receiver(_) => false,
            };
            last = spot.value;
            if !is_empty {
                break;
            }
        }
        last
    }
}

/// Why there is no text.
pub(super) fn reason(spot: &Spot) -> String {
    match &spot.value {
        Value::Unknown(reason) => reason.clone(),
        _ => format!("expected a text, found {}", spot.kind()),
    }
}

fn spot_kind(value: &Value) -> &'static str {
    Spot::new(Place::default(), value.clone()).kind()
}

fn unknown(reason: impl Into<String>) -> Value {
    Value::Unknown(reason.into())
}

fn member(value: Value, name: &str) -> Value {
    match value {
        Value::Object(entries) => entries
            .into_iter()
            .find(|(own, _)| own == name)
            .map_or(Value::Null, |(_, spot)| spot.value),
        _ => unknown(format!("`{name}` of what is not known here")),
    }
}

fn arithmetic(a: &str, b: &str, operate: impl Fn(f64, f64) -> f64) -> Value {
    match (a.parse(), b.parse()) {
        (Ok(a), Ok(b)) => Value::Number(operate(a, b).to_string()),
        _ => unknown("a number that is none"),
    }
}

/// Alloy's names are Go's.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
