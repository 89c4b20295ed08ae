//! The `admin` section: who may look in, who may give orders, how often, and by which names the API is
//! reached. Passwords and certificates are in the file that `--web.config.file` names.

use std::{io, path::Path, sync::Arc};

use crate::config::{
    Role, Secret, Source, Web,
    decode::{Findings, Section, shown},
    problem::Place,
    tokens::{self, Locked, Unlocked},
    yaml::Node,
    yaml_out::{Shown, list, map, number, text},
};

/// More are refused: each request is compared with all of them.
const TOKENS_MAX: usize = 64;
/// More names than these are nobody's list of readers.
const NAMES_MAX: usize = 1_024;
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
    let unset = AdminSettings::default();
    let Some(mut section) = Section::open(node, "admin", findings) else { return unset };
    let tokens = tokens::list(&mut section, "tokens", TOKENS_MAX, token);
    let settings = AdminSettings {
        tokens: tokens.into_iter().map(|(_, token)| token).collect(),
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

fn token(node: &Node, findings: &mut Findings) -> Option<(Arc<str>, Token)> {
    let mut section = Section::open(node, "tokens entry", findings)?;
    let place = section.place;
    let name = tokens::name(&mut section, "orders given with it are told by it");
    if !section.has("role") {
        section.problem(place, "a token has no `role`: expected `read_only` or `admin`");
    }
    let role = section.word("role", &ROLES);
    let (source, key) = tokens::key(section)?;
    let token = Token { name: name.clone(), role: role?, source, key };
    Some((name, token))
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

/// Fills in the tokens that stand in files, by `read`, and looks at all of them.
pub(super) fn unlock(
    settings: &mut AdminSettings,
    read: impl Fn(&Path) -> io::Result<Secret>,
) -> Unlocked {
    let locked = settings.tokens.iter_mut().map(|token| Locked {
        name: &token.name,
        source: &token.source,
        key: &mut token.key,
    });
    tokens::unlock(locked.collect(), read)
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
pub(super) fn show(settings: &AdminSettings) -> Option<Shown> {
    let unset = AdminSettings::default();
    if *settings == unset {
        return None;
    }
    let tokens = settings.tokens.iter().map(|token| {
        let role = ROLES.iter().find(|(_, role)| *role == token.role);
        map([
            ("name", Some(text(&*token.name))),
            ("role", role.map(|(name, _)| text(*name))),
            tokens::show(&token.source),
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
