//! Reading the fields of a mapping: what is wrong is noted with its place and reading goes on, so
//! that one run tells every problem of a file. What a field is asked for is what its section knows.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::config::{
    Secret, Source,
    problem::{Place, Problem},
    units,
    yaml::{Key, Node, Value},
};

/// What was found on the way through one file.
#[derive(Debug)]
pub(super) struct Findings {
    /// As the user named it.
    pub(super) file: Arc<str>,
    /// What relative paths are relative to.
    pub(super) directory: PathBuf,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    pub(super) named_files: Vec<NamedFile>,
}

/// A file that a field names: a change of it means a reload.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NamedFile {
    pub(super) path: PathBuf,
    pub(super) field: String,
    pub(super) file: Arc<str>,
    pub(super) place: Place,
}

impl Findings {
    pub(super) fn of(path: &Path) -> Self {
        Self {
            file: path.display().to_string().into(),
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            problems: Vec::new(),
            warnings: Vec::new(),
            named_files: Vec::new(),
        }
    }

    pub(super) fn problem(&mut self, place: Place, message: impl Into<String>) {
        let file = self.file.clone();
        self.problems.push(Problem { file, place, message: message.into() });
    }

    pub(super) fn warning(&mut self, place: Place, message: impl Into<String>) {
        let file = self.file.clone();
        self.warnings.push(Problem { file, place, message: message.into() });
    }

    /// `path`, from the directory of the file that names it; `..` is resolved as written.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        let joined = self.directory.join(path);
        let mut clean = PathBuf::new();
        for part in joined.components() {
            let below = clean.components().next_back();
            match (part, below) {
                (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
                (Component::ParentDir, Some(Component::Normal(_))) => {
                    clean.pop();
                }
                _ => clean.push(part),
            }
        }
        clean
    }
}

/// A mapping that is being read.
pub(super) struct Section<'n, 'f> {
    /// As a message calls it, `global` say; empty for the file itself.
    name: &'static str,
    pub(super) place: Place,
    entries: &'n [(Key, Node)],
    asked: Vec<&'static str>,
    /// Keys whose trouble was told by who read them.
    told: Vec<&'n str>,
    pub(super) findings: &'f mut Findings,
}

impl<'n, 'f> Section<'n, 'f> {
    /// An empty value is an empty mapping; anything else but a mapping is told and gives `None`.
    pub(super) fn open(
        node: &'n Node,
        name: &'static str,
        findings: &'f mut Findings,
    ) -> Option<Self> {
        let entries = match node.as_map() {
            Some(entries) => entries,
            None if node.is_null() => &[],
            None => {
                let message = format!("{}expected a mapping, found {}", named(name), node.kind());
                findings.problem(node.place, message);
                return None;
            }
        };
        Some(Self {
            name,
            place: node.place,
            entries,
            asked: Vec::new(),
            told: Vec::new(),
            findings,
        })
    }

    /// Whatever nobody asked for is unknown.
    pub(super) fn close(self) {
        let unknown: Vec<_> = self.others().map(|(key, _)| key).collect();
        let place = match self.name {
            "" => "at the top level".to_owned(),
            name => format!("in `{name}`"),
        };
        for key in unknown {
            let near = nearest(&key.text, &self.asked);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let message = format!("unknown key `{}` {place}{hint}", shown(&key.text));
            self.findings.problem(key.place, message);
        }
    }

    /// The keys that no field asked for yet.
    pub(super) fn others(&self) -> impl Iterator<Item = &'n (Key, Node)> {
        self.entries.iter().filter(|(key, _)| {
            !self.asked.contains(&key.text.as_str()) && !self.told.contains(&key.text.as_str())
        })
    }

    /// `key` is no longer unknown, but nothing a typing error could have meant.
    pub(super) fn told(&mut self, key: &'n str) {
        self.told.push(key);
    }

    /// Makes `key` known. `None` where it is absent; an empty value is given out.
    pub(super) fn typed(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        self.entries.iter().find(|(own, _)| own.text == key).map(|(_, node)| node)
    }

    /// As `typed`; an empty value counts as absent.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'n Node> {
        self.typed(key).filter(|node| !node.is_null())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(own, node)| own.text == key && !node.is_null())
    }

    pub(super) fn place_of(&self, key: &str) -> Place {
        self.entries
            .iter()
            .find(|(own, _)| own.text == key)
            .map_or(self.place, |(own, _)| own.place)
    }

    pub(super) fn problem(&mut self, place: Place, message: impl Into<String>) {
        self.findings.problem(place, message);
    }

    fn mismatch(&mut self, key: &str, node: &Node, expected: &str) {
        self.findings
            .problem(node.place, format!("`{key}`: expected {expected}, found {}", node.kind()));
    }

    /// Not for secrets: the text may come back in a message.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'n str> {
        let node = self.get(key)?;
        let text = node.as_str();
        if text.is_none() {
            self.mismatch(key, node, "a text");
        }
        text
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        let boolean = node.as_bool();
        if boolean.is_none() {
            self.wrong(key, node, "true or false");
        }
        boolean
    }

    /// A whole number within `range`.
    pub(super) fn number<T: TryFrom<i128>>(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i128>,
    ) -> Option<T> {
        let node = self.get(key)?;
        let number = node.as_integer().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            let expected = if *most >= i128::from(u32::MAX) {
                format!("a whole number from {least}")
            } else {
                format!("a whole number from {least} to {most}")
            };
            self.wrong(key, node, &expected);
        }
        number
    }

    pub(super) fn float(&mut self, key: &'static str) -> Option<f64> {
        let node = self.get(key)?;
        let float = node.as_float();
        if float.is_none() {
            self.wrong(key, node, "a number");
        }
        float
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let node = self.get(key)?;
        let Some(text) = node.as_str() else {
            self.mismatch(key, node, "a duration such as `30s`");
            return None;
        };
        match units::parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(reason) => {
                let message = format!(
                    "`{key}`: {reason}; expected numbers with y, w, d, h, m, s or ms, largest first, such as `30s` or `1h30m`"
                );
                self.problem(node.place, message);
                None
            }
        }
    }

    pub(super) fn bytes(&mut self, key: &'static str) -> Option<u64> {
        let node = self.get(key)?;
        let Some(text) = node.as_str() else {
            self.mismatch(key, node, "a size such as `100MB`");
            return None;
        };
        match units::parse_bytes(text) {
            Ok(bytes) => Some(bytes),
            Err(reason) => {
                let message = format!(
                    "`{key}`: {reason}; expected a number with B, KB, MB, GB or TB, such as `100MB`"
                );
                self.problem(node.place, message);
                None
            }
        }
    }

    /// One of a closed set of words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let expected: Vec<String> = words.iter().map(|(w, _)| format!("`{w}`")).collect();
            let node = self.get(key)?;
            let message =
                format!("`{key}`: expected {}, found `{}`", expected.join(", "), shown(text));
            self.problem(node.place, message);
        }
        found
    }

    /// The nodes of a list; empty where the key is absent.
    pub(super) fn list(&mut self, key: &'static str) -> &'n [Node] {
        let Some(node) = self.get(key) else { return &[] };
        if node.as_seq().is_none() {
            self.mismatch(key, node, "a list");
        }
        node.as_seq().unwrap_or(&[])
    }

    /// As `list`, for a key that is read elsewhere: what is wrong with it is told there.
    pub(super) fn peek(&self, key: &str) -> &'n [Node] {
        let node = self.entries.iter().find(|(own, _)| own.text == key);
        node.and_then(|(_, node)| node.as_seq()).unwrap_or(&[])
    }

    /// A list of texts; an empty entry is an empty text.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<(&'n str, Place)> {
        let nodes = self.list(key);
        self.all_texts(key, nodes)
    }

    pub(super) fn all_texts(&mut self, key: &str, nodes: &'n [Node]) -> Vec<(&'n str, Place)> {
        let mut texts = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.as_str() {
                Some(text) => texts.push((text, node.place)),
                None if node.is_null() => texts.push(("", node.place)),
                None => self.mismatch(key, node, "a text in the list"),
            }
        }
        texts
    }

    /// The entries of a mapping; empty where the key is absent.
    pub(super) fn mapping(&mut self, key: &'static str) -> &'n [(Key, Node)] {
        let Some(node) = self.get(key) else { return &[] };
        if node.as_map().is_none() {
            self.mismatch(key, node, "a mapping");
        }
        node.as_map().unwrap_or(&[])
    }

    /// The sections of a list of mappings; an entry that is empty is told as `empty`.
    pub(super) fn entries(&mut self, key: &'static str, empty: &str) -> Vec<&'n Node> {
        let nodes = self.list(key);
        let mut full = Vec::with_capacity(nodes.len());
        for node in nodes {
            if node.is_null() {
                self.problem(node.place, empty);
            } else {
                full.push(node);
            }
        }
        full
    }

    /// A text that no message repeats.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let node = self.get(key)?;
        if node.as_str().is_none() {
            self.mismatch(key, node, "a text");
        }
        node.as_str().filter(|text| !text.is_empty()).map(Secret::new)
    }

    /// A path, relative to this file; noted as one to watch.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key).filter(|text| !text.is_empty())?;
        let place = self.get(key)?.place;
        Some(self.name_file(key, text, place))
    }

    pub(super) fn name_file(&mut self, field: &str, text: &str, place: Place) -> PathBuf {
        let path = self.findings.path(text);
        let file = self.findings.file.clone();
        let named = NamedFile { path: path.clone(), field: field.to_owned(), file, place };
        self.findings.named_files.push(named);
        path
    }

    /// `key` holds the value, `key_file` a path to it; `key_ref` names a secret manager, which
    /// nothing here has. Both at once is told as `both`.
    pub(super) fn source(&mut self, keys: [&'static str; 3], both: &str) -> Option<Source> {
        let [inline, file, reference] = keys;
        let place = self.place_of(file);
        self.unsupported(reference);
        let value = self.secret(inline).map(Source::Inline);
        let path = self.file(file).map(Source::File);
        if value.is_some() && path.is_some() {
            self.problem(place, both);
        }
        value.or(path)
    }

    /// A key of Prometheus that has no meaning here yet: true where it is set to something.
    pub(super) fn unsupported(&mut self, key: &'static str) -> bool {
        let Some(node) = self.get(key) else { return false };
        let nothing = match &node.value {
            Value::Scalar { text, .. } => text.is_empty() || node.as_bool() == Some(false),
            Value::Sequence(nodes) => nodes.is_empty(),
            Value::Binary(_) | Value::Mapping(_) => false,
        };
        if nothing {
            return false;
        }
        let place = self.place_of(key);
        self.problem(place, format!("`{key}` is not supported yet"));
        true
    }

    /// For values that are no secret: says what was found, too.
    fn wrong(&mut self, key: &str, node: &Node, expected: &str) {
        match node.as_str() {
            Some(text) => {
                let message = format!("`{key}`: expected {expected}, found `{}`", shown(text));
                self.problem(node.place, message);
            }
            None => self.mismatch(key, node, expected),
        }
    }
}

fn named(section: &str) -> String {
    if section.is_empty() { String::new() } else { format!("`{section}`: ") }
}

/// The known key that `typed` was probably meant to be.
pub(super) fn nearest<'k>(typed: &str, known: &[&'k str]) -> Option<&'k str> {
    /// Longer keys are nobody's typing error, and comparing them costs the square.
    const KEY_BYTES_MAX: usize = 64;

    if typed.len() > KEY_BYTES_MAX {
        return None;
    }
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let (distance, near) = known.iter().map(|key| (distance(&typed, key), *key)).min()?;
    (distance <= 1 + typed.len() / 5).then_some(near)
}

/// Insertions, deletions and replacements that make `from` into `to`.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (n, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = n + 1;
        for (m, b) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[m + 1];
            row[m + 1] = replaced.min(diagonal + 1).min(row[m] + 1);
        }
    }
    row[to.len()]
}

/// A text of the file for a message: on one line, and not long.
pub(super) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 120;

    let mut escaped: String = text.chars().take(CHARS_MAX).collect();
    if escaped.len() < text.len() {
        escaped.push('…');
    }
    if escaped.contains(char::is_control) { escaped.escape_debug().to_string() } else { escaped }
}
