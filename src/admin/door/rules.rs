//! Who may do what, as the configuration says it. Pure but for no comparison of a secret ending early.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    admin::door::rate::Rate,
    config::{Config, Role, Secret},
    runtime::credentials::{Certificates, Shown, Tokens},
};

/// Made from one configuration.
pub(super) struct Rules {
    tokens: Tokens<(Arc<str>, Role)>,
    users: BTreeMap<String, User>,
    certificates: Certificates,
    read_only_clients: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) rate: Rate,
    /// Set on every answer.
    pub(super) headers: Vec<(String, String)>,
}

pub(super) struct User {
    /// A bcrypt hash.
    pub(super) hash: String,
    pub(super) role: Role,
}

/// Who came, by what it has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visitor {
    /// For the log; never a credential.
    pub(super) who: String,
    pub(super) role: Role,
}

/// The DNS names in a certificate that the TLS layer has verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) names: Vec<String>,
}

/// What is to be done about a request.
pub(super) enum Verdict<'r> {
    Enter(Visitor),
    /// This password decides; where `user` is `None` it must be checked all the same, so that nobody
    /// learns from the time which names there are.
    Ask {
        hash: &'r str,
        user: Option<Visitor>,
    },
    /// Nothing was shown.
    Missing,
    Wrong,
}

impl Rules {
    pub(super) fn of(config: &Config) -> Self {
        let admin = &config.admin;
        let tokens = admin.tokens.iter().map(|token| {
            let key = token.key.as_ref().map(Secret::expose);
            (key, (Arc::clone(&token.name), token.role))
        });
        let users = config.web.users.iter().map(|(name, hash)| {
            let is_reader = admin.read_only_users.contains(name);
            let role = if is_reader { Role::ReadOnly } else { Role::Admin };
            (name.clone(), User { hash: hash.expose().to_owned(), role })
        });
        let certificates = Certificates::of(config.web.tls.as_ref());
        let clients = admin.read_only_clients.iter().map(|name| name.to_ascii_lowercase());
        Self {
            tokens: Tokens::new(tokens),
            users: users.collect(),
            certificates,
            read_only_clients: clients.collect(),
            hosts: admin.hosts.clone(),
            rate: Rate { per_second: admin.requests_per_second, burst: admin.burst },
            headers: config.web.headers.clone(),
        }
    }

    /// Whether anyone may come in and do everything.
    pub(super) fn are_open(&self) -> bool {
        !self.ask_credentials() && self.certificates == Certificates::Nothing
    }

    fn ask_credentials(&self) -> bool {
        !self.tokens.is_empty() || !self.users.is_empty()
    }

    /// `draw` picks a number below its argument from the name of an unknown user, the same each time.
    pub(super) fn judge(
        &self,
        shown: &Shown,
        certificate: Option<&Certificate>,
        draw: impl FnOnce(&str, usize) -> usize,
    ) -> Verdict<'_> {
        if self.are_open() {
            return Verdict::Enter(Visitor { who: "anyone".to_owned(), role: Role::Admin });
        }
        let holder = match self.certificates {
            Certificates::Nothing => None,
            Certificates::Enough | Certificates::Needed => certificate.map(|own| self.holder(own)),
        };
        if self.certificates == Certificates::Needed && holder.is_none() {
            return Verdict::Missing;
        }
        match (shown, holder) {
            // A credential counts only where some are configured.
            (_, Some(holder)) if !self.ask_credentials() => Verdict::Enter(holder),
            (Shown::Nothing, Some(holder)) if self.certificates == Certificates::Enough => {
                Verdict::Enter(holder)
            }
            (Shown::Nothing, _) => Verdict::Missing,
            (Shown::Unreadable, _) => Verdict::Wrong,
            (Shown::Bearer(token), holder) => match self.bearer(token) {
                Some(bearer) => Verdict::Enter(bearer.beside(holder)),
                None => Verdict::Wrong,
            },
            (Shown::Basic { user, password }, holder) => {
                // Also as a password, for a browser asks for nothing else.
                if let Some(bearer) = self.bearer(password) {
                    return Verdict::Enter(bearer.beside(holder));
                }
                if let Some(found) = self.users.get(user) {
                    let visitor = Visitor { who: format!("user {user}"), role: found.role };
                    return Verdict::Ask { hash: &found.hash, user: Some(visitor.beside(holder)) };
                }
                if self.users.is_empty() {
                    return Verdict::Wrong;
                }
                // The cost is that of a real one, and for one name always of the same.
                let drawn = draw(user, self.users.len());
                let hash = self.users.values().nth(drawn).map_or("", |user| &user.hash);
                Verdict::Ask { hash, user: None }
            }
        }
    }

    fn bearer(&self, token: &str) -> Option<Visitor> {
        let (name, role) = self.tokens.find(token)?;
        Some(Visitor { who: format!("token {name}"), role: *role })
    }

    fn holder(&self, certificate: &Certificate) -> Visitor {
        let names = &certificate.names;
        let is_listed = names.iter().any(|name| self.read_only_clients.contains(name));
        // One without a name can't be told from those that may only look.
        let is_unknown = names.is_empty() && !self.read_only_clients.is_empty();
        let role = if is_listed || is_unknown { Role::ReadOnly } else { Role::Admin };
        let name = names.first().map_or("without a name", String::as_str);
        Visitor { who: format!("certificate {name}"), role }
    }
}

impl Visitor {
    /// Who shows two things may do what both allow.
    fn beside(self, holder: Option<Self>) -> Self {
        match holder {
            Some(holder) => Self {
                who: format!("{}, {}", self.who, holder.who),
                role: self.role.min(holder.role),
            },
            None => self,
        }
    }
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::ReadOnly => "read_only",
        Role::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;
    use crate::config::{self, ClientAuth, Source, WebTls};

    const TOKENS: &str = "admin:\n  tokens:\n  - {name: boss, role: admin, token: boss-token}\n  - {name: eye, role: read_only, token: eye-token}\n  - {name: gone, role: admin, token_file: /nowhere}\n";

    fn rules(text: &str, users: &[&str], client_auth: ClientAuth) -> Rules {
        let mut config = config::parse(Path::new("a.yml"), text, &|_| None).unwrap();
        for name in users {
            config.web.users.insert((*name).to_owned(), Secret::new(format!("hash of {name}")));
        }
        config.web.tls = (client_auth != ClientAuth::None).then(|| WebTls {
            cert: Source::File("cert".into()),
            key: Source::File("key".into()),
            client_ca: None,
            client_auth,
            client_allowed_sans: Vec::new(),
            cipher_suites: Vec::new(),
            curves: Vec::new(),
            prefer_server_cipher_suites: true,
            min_version: None,
            max_version: None,
        });
        Rules::of(&config)
    }

    /// `authorization` and the names in a certificate, and what is made of them in one line.
    #[track_caller]
    fn check(rules: &Rules, authorization: &str, names: Option<&[&str]>, expected: &str) {
        let shown = Shown::read((!authorization.is_empty()).then_some(authorization.as_bytes()));
        let certificate = names.map(|names| Certificate {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        });
        let verdict = rules.judge(&shown, certificate.as_ref(), |_, count| count - 1);
        let told = |visitor: &Visitor| format!("{} as {}", visitor.who, role_name(visitor.role));
        let found = match verdict {
            Verdict::Enter(visitor) => told(&visitor),
            Verdict::Ask { hash, user } => {
                format!("{hash}? {}", user.map_or("nobody".to_owned(), |user| told(&user)))
            }
            Verdict::Missing => "missing".to_owned(),
            Verdict::Wrong => "wrong".to_owned(),
        };
        assert_eq!(found, expected, "{authorization} {names:?}");
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(text))
    }

    #[test]
    fn without_credentials_configured_anyone_may_do_everything() {
        let open = rules("", &[], ClientAuth::None);
        check(&open, "", None, "anyone as admin");
        check(&open, "Bearer whatever", None, "anyone as admin");
        for proves_nothing in [ClientAuth::Request, ClientAuth::RequireAny] {
            let open = rules("", &[], proves_nothing);
            check(&open, "", Some(&["a.example"]), "anyone as admin");
        }
    }

    #[test]
    fn a_token_is_taken_as_it_is_or_as_a_password() {
        let rules = rules(TOKENS, &[], ClientAuth::None);
        check(&rules, "", None, "missing");
        check(&rules, "Bearer boss-token", None, "token boss as admin");
        check(&rules, "BEARER  eye-token ", None, "token eye as read_only");
        check(&rules, &basic("any:boss-token"), None, "token boss as admin");
        check(&rules, &basic(":eye-token"), None, "token eye as read_only");
        for wrong in ["Bearer boss-toke", "Bearer boss-token2", "Bearer", "Bearer ", "boss-token"] {
            check(&rules, wrong, None, "wrong");
        }
        for wrong in ["boss-token", "boss-token:", "a:b"] {
            check(&rules, &basic(wrong), None, "wrong");
        }
        // A certificate that nobody verified changes nothing.
        check(&rules, "", Some(&["a.example"]), "missing");
    }

    #[test]
    fn of_an_unknown_user_a_password_is_checked_all_the_same() {
        let text = format!("{TOKENS}  read_only_users: [bob]\n");
        let rules = rules(&text, &["alice", "bob"], ClientAuth::None);
        check(&rules, &basic("alice:x"), None, "hash of alice? user alice as admin");
        check(&rules, &basic("bob:y:z"), None, "hash of bob? user bob as read_only");
        check(&rules, &basic("carol:x"), None, "hash of bob? nobody");
        check(&rules, &basic("carol:boss-token"), None, "token boss as admin");
        check(&rules, "Bearer x", None, "wrong");
    }

    #[test]
    fn a_certificate_is_enough_or_needed_beside_the_rest() {
        let readers = "admin: {read_only_clients: [Eye.example]}\n";
        let alone = rules(readers, &[], ClientAuth::RequireAndVerify);
        check(&alone, "", None, "missing");
        check(&alone, "", Some(&["a.example"]), "certificate a.example as admin");
        check(&alone, "", Some(&["a", "eye.example"]), "certificate a as read_only");
        check(&alone, "", Some(&[]), "certificate without a name as read_only");
        check(&alone, "Bearer x", Some(&["a"]), "certificate a as admin");

        let both = rules(TOKENS, &[], ClientAuth::RequireAndVerify);
        check(&both, "", Some(&["a"]), "missing");
        check(&both, "Bearer boss-token", None, "missing");
        check(&both, "Bearer boss-token", Some(&["a"]), "token boss, certificate a as admin");
        check(&both, "Bearer eye-token", Some(&["a"]), "token eye, certificate a as read_only");

        let text = format!("{TOKENS}  read_only_clients: [a]\n");
        let either = rules(&text, &["alice"], ClientAuth::VerifyIfGiven);
        check(&either, "", None, "missing");
        check(&either, "", Some(&["b"]), "certificate b as admin");
        check(&either, "Bearer boss-token", None, "token boss as admin");
        check(&either, "Bearer boss-token", Some(&["a"]), "token boss, certificate a as read_only");
        check(&either, "Bearer x", Some(&["b"]), "wrong");
        let asked = "hash of alice? user alice, certificate a as read_only";
        check(&either, &basic("alice:x"), Some(&["a"]), asked);
    }
}
