//! A command line, a systemd unit, a file of the environment or a list of arguments into words with
//! their places, as a shell would part them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    cli::convert::{World, tree::At},
    config::problem::Place,
};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: At,
}

/// The words of the command, and what each variable of the environment is, with its place.
#[derive(Debug, Default)]
pub(super) struct Parted {
    pub(super) words: Vec<Word>,
    pub(super) variables: BTreeMap<String, Word>,
    /// Files of the environment that cannot be read: their place, and why.
    pub(super) unread: Vec<(At, String)>,
}

pub(super) fn part(file: &Arc<str>, text: &str, world: &World<'_>) -> Parted {
    let mut parted = Parted::default();
    if text.lines().any(|line| line.trim() == "[Service]") {
        unit(file, text, world, &mut parted);
    } else if is_environment(text) {
        environment(file, text, &mut parted);
        of_variables(&mut parted);
    } else {
        let mut reader = Reader::new(file, text);
        // Of a JSON array, as a container's `command` is.
        reader.is_json = text.trim_start().starts_with('[');
        while let Some(word) = reader.word(&BTreeMap::new()) {
            parted.words.push(word);
        }
    }
    parted
}

/// `ExecStart`, with the variables that the unit sets.
fn unit(file: &Arc<str>, text: &str, world: &World<'_>, parted: &mut Parted) {
    let none = BTreeMap::new();
    let folder = Path::new(&**file).parent().unwrap_or(Path::new(""));
    let mut commands = Vec::new();
    let mut reader = Reader::new(file, text);
    while let Some((key, at)) = reader.key() {
        match key.as_str() {
            "Environment" => {
                while let Some(word) = reader.word_of_line(&none) {
                    let set = word.text.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
                    if let Some((name, value)) = set {
                        parted.variables.insert(name, Word { text: value, at: word.at });
                    }
                }
            }
            "EnvironmentFile" => {
                let named = reader.word_of_line(&none).map(|named| named.text).unwrap_or_default();
                // A `-` before it: it may be absent.
                let path = folder.join(named.strip_prefix('-').unwrap_or(&named));
                let name: Arc<str> = path.display().to_string().into();
                match (world.read)(&path) {
                    Ok(text) => environment(&name, &text, parted),
                    Err(reason) => {
                        let message = format!("`EnvironmentFile`: `{name}`: {reason}");
                        parted.unread.push((at, message));
                    }
                }
            }
            "ExecStart" => commands.push(reader.clone()),
            _ => {}
        }
        reader.skip_line();
    }
    // What is set below a command counts for it as well.
    for mut command in commands {
        loop {
            if let Some((value, at)) = command.bare_variable(&parted.variables) {
                let mut reader = Reader::new(file, &value);
                while let Some(word) = reader.word(&none) {
                    parted.words.push(Word { text: word.text, at: at.clone() });
                }
                continue;
            }
            let Some(next) = command.word_of_line(&parted.variables) else { break };
            parted.words.push(next);
        }
    }
}

fn is_environment(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| variable_of(line).is_some())
}

fn variable_of(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some(name)
}

fn environment(file: &Arc<str>, text: &str, parted: &mut Parted) {
    let mut reader = Reader::new(file, text);
    while let Some((name, at)) = reader.key() {
        let mut value = String::new();
        while let Some(word) = reader.word_of_line(&parted.variables) {
            // Quotes are gone, and so are the blanks of several words without them.
            if !value.is_empty() {
                value.push(' ');
            }
            value += &word.text;
        }
        let name = name.strip_prefix("export ").unwrap_or(&name).trim().to_owned();
        parted.variables.insert(name, Word { text: value, at });
        reader.skip_line();
    }
}

/// A file of the environment alone: the variables whose value is a part of a command line, and those
/// that `-envflag.enable` takes for flags.
fn of_variables(parted: &mut Parted) {
    let variables: Vec<(String, Word)> =
        parted.variables.iter().map(|(name, word)| (name.clone(), word.clone())).collect();
    for (name, Word { text, at }) in variables {
        let flag = name.trim_start_matches("VM_");
        if flag.starts_with("remoteWrite_") || flag.starts_with("promscrape_") {
            let text = format!("-{}={text}", flag.replace('_', "."));
            parted.words.push(Word { text, at });
        } else if text.trim_start().starts_with('-') {
            let mut reader = Reader::new(&at.file, &text);
            while let Some(word) = reader.word(&BTreeMap::new()) {
                parted.words.push(Word { text: word.text, at: at.clone() });
            }
        }
    }
}

#[derive(Clone)]
struct Reader<'t> {
    file: Arc<str>,
    rest: &'t str,
    place: Place,
    is_json: bool,
}

impl<'t> Reader<'t> {
    fn new(file: &Arc<str>, text: &'t str) -> Self {
        let place = Place { line: 1, column: 1 };
        Self { file: file.clone(), rest: text, place, is_json: false }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.place.line = self.place.line.saturating_add(1);
            self.place.column = 1;
        } else {
            self.place.column = self.place.column.saturating_add(1);
        }
        Some(c)
    }

    fn at(&self) -> At {
        At::of(&self.file, self.place)
    }

    /// The next `key=` at the beginning of a line; stands behind it then.
    fn key(&mut self) -> Option<(String, At)> {
        loop {
            while self.peek().is_some_and(char::is_whitespace) {
                self.next();
            }
            let line = self.rest.lines().next().filter(|line| !line.is_empty())?;
            let is_comment = line.starts_with(['#', ';', '[']);
            if let Some((key, _)) = line.split_once('=').filter(|_| !is_comment) {
                let at = self.at();
                for _ in 0..=key.chars().count() {
                    self.next();
                }
                return Some((key.trim().to_owned(), at));
            }
            self.skip_line();
        }
    }

    /// To the end of the line, where one that ends in `\` goes on.
    fn skip_line(&mut self) {
        while let Some(c) = self.next() {
            if c == '\\' {
                self.next();
            } else if c == '\n' {
                return;
            }
        }
    }

    fn word_of_line(&mut self, variables: &BTreeMap<String, Word>) -> Option<Word> {
        self.skip_blanks(false);
        if self.peek()? == '\n' { None } else { Some(self.read(variables)) }
    }

    fn word(&mut self, variables: &BTreeMap<String, Word>) -> Option<Word> {
        loop {
            self.skip_blanks(true);
            if self.peek()? != '#' {
                return Some(self.read(variables));
            }
            while self.peek().is_some_and(|c| c != '\n') {
                self.next();
            }
        }
    }

    fn is_blank(&self, c: char, lines: bool) -> bool {
        (c.is_whitespace() && (lines || c != '\n'))
            || (self.is_json && matches!(c, ',' | '[' | ']'))
    }

    fn skip_blanks(&mut self, lines: bool) {
        loop {
            if self.rest.starts_with("\\\n") || self.rest.starts_with("\\\r\n") {
                while self.next().is_some_and(|c| c != '\n') {}
            } else if self.peek().is_some_and(|c| self.is_blank(c, lines)) {
                self.next();
            } else {
                return;
            }
        }
    }

    /// The value of a word that is `$NAME` and nothing else: as many words as it has.
    fn bare_variable(&mut self, variables: &BTreeMap<String, Word>) -> Option<(String, At)> {
        self.skip_blanks(false);
        let name = self.rest.strip_prefix('$')?;
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
        let (name, after) = name.split_at(end);
        if name.is_empty() || after.chars().next().is_some_and(|c| !c.is_whitespace()) {
            return None;
        }
        let value = variables.get(name)?.text.clone();
        let at = self.at();
        for _ in 0..=name.len() {
            self.next();
        }
        Some((value, at))
    }

    fn read(&mut self, variables: &BTreeMap<String, Word>) -> Word {
        let at = self.at();
        let mut text = String::new();
        let mut quote = None;
        while let Some(c) = self.peek() {
            match (c, quote) {
                (c, None) if self.is_blank(c, true) => break,
                ('\'' | '"', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                ('\\', None | Some('"')) => {
                    self.next();
                    match self.peek() {
                        Some('\n') | None => {}
                        // Within quotes only these lose their backslash.
                        Some(c) if quote.is_none() || matches!(c, '"' | '\\' | '$' | '`') => {
                            text.push(c);
                        }
                        Some(c) => text.extend(['\\', c]),
                    }
                }
                ('$', None | Some('"')) => {
                    text += &self.variable(variables);
                    continue;
                }
                (c, _) => text.push(c),
            }
            self.next();
        }
        Word { text, at }
    }

    /// The value of `$NAME` or `${NAME}`; the text itself where there is no such variable.
    fn variable(&mut self, variables: &BTreeMap<String, Word>) -> String {
        let mut typed = String::from('$');
        self.next();
        let braced = self.peek() == Some('{');
        if braced {
            typed.extend(self.next());
        }
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
            self.next();
        }
        typed += &name;
        if braced && self.peek() == Some('}') {
            typed.extend(self.next());
        }
        variables.get(&name).map_or(typed, |word| word.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let read = |path: &std::path::Path| match path.to_str() {
            Some("/etc/default/vmagent") => Ok("ARGS=\"-a=1 -b='2 3'\"\n".to_owned()),
            _ => Err("no such file".to_owned()),
        };
        let world = crate::cli::convert::tests::world(&read);
        let parted = part(&"f".into(), text, &world);
        let words: Vec<&str> = parted.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(words, expected, "{text}");
    }

    #[test]
    fn words_are_parted_as_a_shell_does() {
        check(
            "vmagent -a=1 \\\n  -b='x y' \"-c=\\\"z\\\"\" # rest\n",
            &["vmagent", "-a=1", "-b=x y", "-c=\"z\""],
        );
        check("command:\n  - '--a=1'\n  - --b=2\n", &["command:", "-", "--a=1", "-", "--b=2"]);
        check("[\"-a=1\", \"-b=2,3\"]", &["-a=1", "-b=2,3"]);
        check("-a=$HOME '-b=$X'", &["-a=$HOME", "-b=$X"]);
        check("# only\n", &[]);
        check("-a='open", &["-a=open"]);
        check("-a=\\", &["-a="]);
    }

    #[test]
    fn units_and_their_files() {
        let unit = "[Unit]\nDescription=x = y\n[Service]\nEnvironment=\"U=http://h/w\" V=1\nExecStart=/usr/bin/vmagent \\\n  -remoteWrite.url=${U} -v=$V\nRestart=always\n";
        check(unit, &["/usr/bin/vmagent", "-remoteWrite.url=http://h/w", "-v=1"]);
        check(
            "[Service]\nEnvironmentFile=-/etc/default/vmagent\nExecStart=/usr/bin/vmagent $ARGS\n",
            &["/usr/bin/vmagent", "-a=1", "-b=2 3"],
        );
        check("ARGS=\"-a=1 -b=2\"\nOTHER=3\n", &["-a=1", "-b=2"]);
        check("export VM_remoteWrite_url=http://h/w\n", &["-remoteWrite.url=http://h/w"]);
    }

    #[test]
    fn places_are_those_of_the_file() {
        let read = |_: &std::path::Path| Err(String::new());
        let world = crate::cli::convert::tests::world(&read);
        let parted = part(&"f".into(), "vmagent \\\n  -a=1\n", &world);
        assert_eq!(parted.words[1].at.place, Place { line: 2, column: 3 });
    }
}
