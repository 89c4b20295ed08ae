//! Lists of bearer tokens: each has a name for people, and stands in the file or in one of its own,
//! which is read when the whole configuration is known to be good.

use std::{io, path::Path, sync::Arc};

use crate::config::{
    Secret, Source,
    decode::{Findings, Section, shown},
    show::{Field, source},
    yaml::Node,
};

/// A longer name would fill a line of the log.
const NAME_BYTES_MAX: usize = 64;
/// A shorter one gets a warning.
const TOKEN_BYTES_MIN: usize = 16;
const MAKE_A_TOKEN: &str = "make one: `openssl rand -hex 32`";

/// The entries of the list `key`, each as `read` makes it, and its name. More than `tokens_max` and
/// names that come twice are told.
pub(super) fn list<T>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    tokens_max: usize,
    read: impl Fn(&Node, &mut Findings) -> Option<(Arc<str>, T)>,
) -> Vec<(Arc<str>, T)> {
    let place = section.place_of(key);
    let nodes = section.entries(key, &format!("an entry of `{key}` is empty"));
    if nodes.len() > tokens_max {
        let count = nodes.len();
        section.problem(place, format!("`{key}`: expected at most {tokens_max}, found {count}"));
    }
    let mut tokens: Vec<(Arc<str>, T)> = Vec::new();
    for node in nodes.into_iter().take(tokens_max) {
        let Some((name, token)) = read(node, section.findings) else { continue };
        if tokens.iter().any(|(other, _)| *other == name) {
            let name = shown(&name);
            section.problem(node.place, format!("`{key}`: the name `{name}` comes twice"));
        }
        tokens.push((name, token));
    }
    tokens
}

/// The name of a token; `why` says what it is needed for.
pub(super) fn name(section: &mut Section<'_, '_>, why: &str) -> Arc<str> {
    let place = section.place;
    let name = section.text("name").unwrap_or("");
    if name.is_empty() {
        section.problem(place, format!("a token has no `name`: {why}"));
    } else if name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        let name = shown(name);
        let message =
            format!("`name`: expected at most {NAME_BYTES_MAX} bytes of text, found `{name}`");
        section.problem(place, message);
    }
    name.into()
}

/// Where the token stands, and the token itself where that is in the file. Asked for last, as it closes
/// the entry.
pub(super) fn key(mut section: Section<'_, '_>) -> Option<(Source, Option<Secret>)> {
    let inline = section.secret("token");
    let file = section.file("token_file");
    match (inline, file) {
        (Some(key), None) => {
            section.close();
            Some((Source::Inline(key.clone()), Some(key)))
        }
        (None, Some(file)) => {
            section.close();
            Some((Source::File(file), None))
        }
        (Some(_), Some(_)) | (None, None) => {
            let place = section.place;
            section.problem(place, "a token needs one of `token` and `token_file`");
            section.close();
            None
        }
    }
}

/// A token as `unlock` takes it.
pub(super) struct Locked<'a> {
    pub(super) name: &'a str,
    pub(super) source: &'a Source,
    /// What `source` holds, once it is read.
    pub(super) key: &'a mut Option<Secret>,
}

/// What `unlock` has to tell.
#[derive(Default)]
pub(super) struct Unlocked {
    pub(super) faults: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Fills in the tokens that stand in files, by `read`, and looks at all of them.
pub(super) fn unlock(
    tokens: Vec<Locked<'_>>,
    read: impl Fn(&Path) -> io::Result<Secret>,
) -> Unlocked {
    let mut told = Unlocked::default();
    let mut known: Vec<(Secret, &str)> = Vec::new();
    for token in tokens {
        let name = shown(token.name);
        let outcome = match token.source {
            Source::Inline(key) => Ok(key.clone()),
            Source::File(path) => read(path).map_err(|error| {
                format!("the token `{name}` in `{}` cannot be read: {error}", path.display())
            }),
        };
        *token.key = outcome.and_then(|key| usable(key, &name)).map_or_else(
            |fault| {
                told.faults.push(fault);
                None
            },
            Some,
        );
        let Some(key) = &*token.key else { continue };
        if key.expose().len() < TOKEN_BYTES_MIN {
            told.warnings.push(format!(
                "the token `{name}` is shorter than {TOKEN_BYTES_MIN} bytes and can be guessed: {MAKE_A_TOKEN}"
            ));
        }
        known.push((key.clone(), token.name));
    }
    for (n, (key, name)) in known.iter().enumerate() {
        if let Some((_, first)) = known[..n].iter().find(|(other, _)| other == key) {
            let (name, first) = (shown(name), shown(first));
            told.faults.push(format!(
                "the tokens `{first}` and `{name}` are the same: who has one would be taken for the other"
            ));
        }
    }
    told
}

fn usable(key: Secret, name: &str) -> Result<Secret, String> {
    if key.expose().bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(key);
    }
    Err(format!(
        "the token `{name}` has a blank or a character that no header may have: {MAKE_A_TOKEN}"
    ))
}

/// Where it stands; never the token.
pub(super) fn show(token: &Source) -> Field {
    source(Some(token), ["token", "token_file"]).expect("there is one")
}
