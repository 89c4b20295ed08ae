//! The `admin` section: who may look in, who may give orders, how often, and by which names the API is
//! reached. Passwords and certificates are in the file that `--web.config.file` names.

use std::{io, path::Path, sync::Arc};

use crate::config::{
    Role, Secret, Source, Web,
    decode::{Findings, Section, shown},
    problem::Place,
    yaml::Node,
    yaml_out::{Shown, list, map, number, text},
};

/// More are refused: each request is compared with all of them.
const TOKENS_MAX: usize = 64;
/// A shorter one gets a warning.
const TOKEN_BYTES_MIN: usize = 16;
const MAKE_A_TOKEN: &str = "make one: `openssl rand -hex 32`";
/// More names than these are nobody's list of readers.
const NAMES_MAX: usize = 1_024;
/// A longer name would fill a line of the log.
const NAME_BYTES_MAX: usize = 64;
const REQUESTS_PER_SECOND_MAX: i128 = 1_000_000;
const ROLES: [(&str, Role); 2] = [("read_only", Role::ReadOnly), ("admin", Role::Admin)];

/// The `admin` section.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminSettings {
    pub tokens: Vec<Token>,
    /// Who of `basic_auth_users` may only look.
    pub read_only_users: Vec<String>,
    /// Whose certificate lets them only look: by a DNS name in it.
    pub read_only_clients: Vec<String>,
    /// Names by which the API is reached beside `localhost`, addresses and the name of the host.
    pub hosts: Vec<String>,
    /// Of one client address; more are answered 429.
    pub requests_per_second: u32,
    /// What a client that was quiet may ask at once.
    pub burst: u32,
}

/// Who has it may do what its role may.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// For the log: who gave an order.
    pub name: Arc<str>,
    pub role: Role,
    pub source: Source,
    /// What `source` holds; of a file `None` until `unlock` has read it.
    pub key: Option<Secret>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            read_only_users: Vec::new(),
            read_only_clients: Vec::new(),
            hosts: Vec::new(),
            requests_per_second: 100,
            burst: 200,
        }
    }
}

pub(super) fn admin(node: &Node, findings: &mut Findings) -> AdminSettings {
    const EMPTY: &str = "an entry of `tokens` is empty";

    let unset = AdminSettings::default();
    let Some(mut section) = Section::open(node, "admin", findings) else { return unset };
    let place = section.place_of("tokens");
    let nodes = section.entries("tokens", EMPTY);
    if nodes.len() > TOKENS_MAX {
        let count = nodes.len();
        section.problem(place, format!("`tokens`: expected at most {TOKENS_MAX}, found {count}"));
    }
    let mut tokens: Vec<Token> = Vec::new();
    for node in nodes.into_iter().take(TOKENS_MAX) {
        let Some(token) = token(node, section.findings) else { continue };
        if tokens.iter().any(|other| other.name == token.name) {
            let name = shown(&token.name);
            section.problem(node.place, format!("`tokens`: the name `{name}` comes twice"));
        }
        tokens.push(token);
    }
    let settings = AdminSettings {
        tokens,
        read_only_users: names(&mut section, "read_only_users"),
        read_only_clients: names(&mut section, "read_only_clients"),
        hosts: hosts(&mut section),
        requests_per_second: section
            .number("requests_per_second", 1..=REQUESTS_PER_SECOND_MAX)
            .unwrap_or(unset.requests_per_second),
        burst: section.number("burst", 1..=REQUESTS_PER_SECOND_MAX).unwrap_or(unset.burst),
    };
    section.close();
    settings
}

fn token(node: &Node, findings: &mut Findings) -> Option<Token> {
    let mut section = Section::open(node, "tokens entry", findings)?;
    let place = section.place;
    let name = section.text("name").unwrap_or("");
    if name.is_empty() {
        section.problem(place, "a token has no `name`: orders given with it are told by it");
    } else if name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        let name = shown(name);
        let message =
            format!("`name`: expected at most {NAME_BYTES_MAX} bytes of text, found `{name}`");
        section.problem(place, message);
    }
    if !section.has("role") {
        section.problem(place, "a token has no `role`: expected `read_only` or `admin`");
    }
    let role = section.word("role", &ROLES);
    let inline = section.secret("token");
    let file = section.file("token_file");
    section.close();
    let (source, key) = match (inline, file) {
        (Some(key), None) => (Source::Inline(key.clone()), Some(key)),
        (None, Some(file)) => (Source::File(file), None),
        (Some(_), Some(_)) | (None, None) => {
            findings.problem(place, "a token needs one of `token` and `token_file`");
            return None;
        }
    };
    Some(Token { name: name.into(), role: role?, source, key })
}

fn names(section: &mut Section<'_, '_>, key: &'static str) -> Vec<String> {
    bounded(section, key).into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// In lower case, as host names are the same in any.
fn hosts(section: &mut Section<'_, '_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for (host, place) in bounded(section, "hosts") {
        let is_name =
            host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if is_name {
            hosts.push(host.to_ascii_lowercase());
        } else {
            let message =
                format!("`hosts`: expected a host name without a port, found `{}`", shown(host));
            section.problem(place, message);
        }
    }
    hosts
}

fn bounded<'n>(section: &mut Section<'n, '_>, key: &'static str) -> Vec<(&'n str, Place)> {
    let names = section.texts(key);
    if names.len() > NAMES_MAX {
        let (place, count) = (section.place_of(key), names.len());
        section.problem(place, format!("`{key}`: expected at most {NAMES_MAX}, found {count}"));
        return Vec::new();
    }
    for (_, place) in names.iter().filter(|(name, _)| name.is_empty()) {
        section.problem(*place, format!("`{key}`: an entry is empty"));
    }
    names
}

/// What `unlock` has to tell.
#[derive(Default)]
pub(super) struct Unlocked {
    pub(super) faults: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Fills in the tokens that stand in files, by `read`, and looks at all of them.
pub(super) fn unlock(
    settings: &mut AdminSettings,
    read: impl Fn(&Path) -> io::Result<Secret>,
) -> Unlocked {
    let mut told = Unlocked::default();
    for token in &mut settings.tokens {
        let name = shown(&token.name);
        let key = match &token.source {
            Source::Inline(key) => Ok(key.clone()),
            Source::File(path) => read(path).map_err(|error| {
                format!("the token `{name}` in `{}` cannot be read: {error}", path.display())
            }),
        };
        token.key = match key {
            Ok(key) if !key.expose().bytes().all(|b| b.is_ascii_graphic()) => {
                told.faults.push(format!(
                    "the token `{name}` has a blank or a character that no header may have: {MAKE_A_TOKEN}"
                ));
                None
            }
            Ok(key) => {
                if key.expose().len() < TOKEN_BYTES_MIN {
                    told.warnings.push(format!(
                        "the token `{name}` is shorter than {TOKEN_BYTES_MIN} bytes and can be guessed: {MAKE_A_TOKEN}"
                    ));
                }
                Some(key)
            }
            Err(fault) => {
                told.faults.push(fault);
                None
            }
        };
    }
    for (n, token) in settings.tokens.iter().enumerate() {
        let is_same = |other: &&Token| token.key.is_some() && other.key == token.key;
        if let Some(first) = settings.tokens[..n].iter().find(is_same) {
            let (name, first) = (shown(&token.name), shown(&first.name));
            told.faults.push(format!(
                "the tokens `{first}` and `{name}` are the same: who has one would be taken for the other"
            ));
        }
    }
    told
}

/// Names that restrict nobody, as nobody has them.
pub(super) fn unknown_names(settings: &AdminSettings, web: &Web) -> Vec<String> {
    let unknown = settings.read_only_users.iter().filter(|name| !web.users.contains_key(*name));
    let mut warnings: Vec<String> = unknown
        .map(|name| {
            let name = shown(name);
            format!("`read_only_users` names `{name}`, whom `basic_auth_users` of --web.config.file does not know")
        })
        .collect();
    let has_ca = web.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if !settings.read_only_clients.is_empty() && !has_ca {
        warnings.push(
            "`read_only_clients` has no effect: no `client_ca_file` in --web.config.file"
                .to_owned(),
        );
    }
    warnings
}

/// Where something is set; no token is shown.
pub(super) fn show(settings: &AdminSettings, secret: &'static str) -> Option<Shown> {
    let unset = AdminSettings::default();
    if *settings == unset {
        return None;
    }
    let tokens = settings.tokens.iter().map(|token| {
        let role = ROLES.iter().find(|(_, role)| *role == token.role);
        let source = match &token.source {
            Source::Inline(_) => ("token", Some(text(secret))),
            Source::File(path) => ("token_file", Some(text(path.display().to_string()))),
        };
        map([
            ("name", Some(text(&*token.name))),
            ("role", role.map(|(name, _)| text(*name))),
            source,
        ])
    });
    let some = |names: &[String]| {
        (!names.is_empty()).then(|| list(names.iter().map(|name| text(&**name))))
    };
    Some(map([
        ("tokens", (!settings.tokens.is_empty()).then(|| list(tokens))),
        ("read_only_users", some(&settings.read_only_users)),
        ("read_only_clients", some(&settings.read_only_clients)),
        ("hosts", some(&settings.hosts)),
        ("requests_per_second", Some(number(settings.requests_per_second))),
        ("burst", Some(number(settings.burst))),
    ]))
}
