//! Who pushes, and for which tenant: what a request shows is held up against the configuration before its
//! body is read. Pure; a password, which takes long to compare, is handed back to be asked about.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    config::{MetricsGateway, Secret, TenantFrom, Tenants},
    model::tenant::{TENANT_EXPECTED, is_tenant},
    runtime::{
        credentials::{Certificates, Shown, Tokens},
        host,
        http::CertificateNames,
    },
};

/// Who is let in; made from one configuration.
#[derive(Debug)]
pub struct Visitors {
    tokens: Tokens<Token>,
    /// Names and bcrypt hashes.
    users: BTreeMap<Arc<str>, Secret>,
    certificates: Certificates,
    tenants: Tenants,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    name: Arc<str>,
    tenant: Arc<str>,
}

/// Who came, by what it has shown. Displayed for the log; never a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    user: Option<Arc<str>>,
    token: Option<Token>,
    certificate: Option<Arc<str>>,
}

/// What is to be done about a push.
#[derive(Debug, PartialEq, Eq)]
pub enum Check<'r> {
    Enter(Visitor),
    /// This password decides; where `visitor` is `None` it must be checked all the same, so that nobody
    /// learns from the time which names there are.
    Password {
        hash: &'r str,
        visitor: Option<Visitor>,
    },
    Refused(Refusal),
}

/// Whose the series of a push are. An empty name is no tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    Tenant(Arc<str>),
    /// A label says it of each: see `tenant_of_series`.
    EachSeries,
}

/// What is answered instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub reason: String,
}

impl Visitors {
    pub fn of(settings: &MetricsGateway) -> Self {
        let tokens = settings.auth.tokens.iter().map(|token| {
            let tenant = Arc::clone(token.tenant.as_ref().unwrap_or(&token.name));
            let key = token.key.as_ref().map(Secret::expose);
            (key, Token { name: Arc::clone(&token.name), tenant })
        });
        let users = settings.auth.users.iter();
        let users = users.map(|(name, hash)| (name.as_str().into(), hash.clone()));
        Self {
            tokens: Tokens::new(tokens),
            users: users.collect(),
            certificates: Certificates::of(settings.tls.as_ref()),
            tenants: settings.tenants.clone(),
        }
    }

    /// Whether anyone may push.
    pub fn are_open(&self) -> bool {
        !self.ask_credentials() && self.certificates == Certificates::Nothing
    }

    /// `certificate` is what a client has shown, if it has, and counts only where the configuration has
    /// it verified. `draw` picks a number below its argument from the name of an unknown user, the same
    /// each time.
    pub fn check(
        &self,
        shown: &Shown,
        certificate: Option<&CertificateNames>,
        draw: impl FnOnce(&str, usize) -> usize,
    ) -> Check<'_> {
        let certificate = match self.certificates {
            Certificates::Nothing => None,
            Certificates::Enough | Certificates::Needed => certificate,
        };
        if self.certificates == Certificates::Needed && certificate.is_none() {
            return missing("a client certificate is needed");
        }
        let holder = Visitor {
            certificate: certificate.and_then(CertificateNames::first).map(Into::into),
            ..Visitor::default()
        };
        let is_enough = self.certificates == Certificates::Enough && certificate.is_some();
        match shown {
            // A credential counts only where some are configured.
            _ if !self.ask_credentials() && (certificate.is_some() || self.are_open()) => {
                Check::Enter(holder)
            }
            Shown::Nothing if is_enough => Check::Enter(holder),
            Shown::Nothing => missing("credentials are needed"),
            Shown::Unreadable => unknown(),
            Shown::Bearer(token) => match self.tokens.find(token) {
                Some(token) => Check::Enter(Visitor { token: Some(token.clone()), ..holder }),
                None => unknown(),
            },
            Shown::Basic { user, .. } => self.password(user, holder, draw),
        }
    }

    /// Of whom `check` has let in; `header` is what stands in the header that names tenants.
    ///
    /// # Errors
    /// 400 for a name that is none, 401 where one is needed, 403 for one that may not push.
    pub fn tenant_of(&self, visitor: &Visitor, header: Option<&[u8]>) -> Result<Whose, Refusal> {
        let named = match &self.tenants.from {
            TenantFrom::Label(_) => return Ok(Whose::EachSeries),
            TenantFrom::Header(_) => header,
            TenantFrom::User => visitor.user.as_deref().map(str::as_bytes),
            TenantFrom::Token => visitor.token.as_ref().map(|token| token.tenant.as_bytes()),
            TenantFrom::Certificate => visitor.certificate.as_deref().map(str::as_bytes),
        };
        self.tenant(named.unwrap_or_default()).map(|tenant| Whose::Tenant(tenant.into()))
    }

    /// Where a label names the tenant, by its value; an empty one is none.
    ///
    /// # Errors
    /// As `tenant_of`.
    pub fn tenant_of_series<'a>(&'a self, value: &'a str) -> Result<&'a str, Refusal> {
        self.tenant(value.as_bytes())
    }

    fn ask_credentials(&self) -> bool {
        !self.tokens.is_empty() || !self.users.is_empty()
    }

    fn password(
        &self,
        user: &str,
        holder: Visitor,
        draw: impl FnOnce(&str, usize) -> usize,
    ) -> Check<'_> {
        if let Some((name, hash)) = self.users.get_key_value(user) {
            let visitor = Visitor { user: Some(Arc::clone(name)), ..holder };
            return Check::Password { hash: hash.expose(), visitor: Some(visitor) };
        }
        if self.users.is_empty() {
            return unknown();
        }
        // The cost is that of a real one, and for one name always of the same.
        let drawn = draw(user, self.users.len());
        let hash = self.users.values().nth(drawn).map_or("", Secret::expose);
        Check::Password { hash, visitor: None }
    }

    fn tenant<'a>(&'a self, named: &'a [u8]) -> Result<&'a str, Refusal> {
        let Tenants { default, required, allow, .. } = &self.tenants;
        if named.is_empty() {
            return match default {
                Some(default) => Ok(default),
                None if *required => Err(refusal(401, format!("no tenant: {}", self.source()))),
                None => Ok(""),
            };
        }
        let name = std::str::from_utf8(named).ok().filter(|name| is_tenant(name.as_bytes()));
        let Some(name) = name else {
            let reason = format!("{}: expected {TENANT_EXPECTED}", self.source());
            return Err(refusal(400, reason));
        };
        if allow.as_ref().is_some_and(|allow| !allow.contains(name)) {
            return Err(refusal(403, format!("the tenant `{name}` may not push here")));
        }
        Ok(name)
    }

    /// For a message: what names tenants.
    fn source(&self) -> String {
        match &self.tenants.from {
            TenantFrom::Header(header) => format!("the header `{header}` names it"),
            TenantFrom::Label(label) => format!("the label `{label}` of a series names it"),
            TenantFrom::User => "the user of basic authentication names it".to_owned(),
            TenantFrom::Token => "the bearer token names it".to_owned(),
            TenantFrom::Certificate => "the client certificate names it".to_owned(),
        }
    }
}

/// `Some`: a warning, where anyone who reaches the gateway over the network may push.
pub fn open_to_all(settings: &MetricsGateway) -> Option<&'static str> {
    let is_local = host::is_local(&settings.listen_address);
    (!is_local && Visitors::of(settings).are_open()).then_some(OPEN_TO_ALL)
}

const OPEN_TO_ALL: &str = "the gateway listens on more than this host and asks for no credentials: whoever reaches it can push whatever series as any tenant; set `auth` in `gateway.metrics`, or have its `tls` verify client certificates";

impl Refusal {
    /// Also for a password that turned out to be wrong.
    pub fn unknown_credentials() -> Self {
        refusal(401, "these credentials are not known".to_owned())
    }
}

fn missing(reason: &str) -> Check<'static> {
    Check::Refused(refusal(401, reason.to_owned()))
}

fn unknown() -> Check<'static> {
    Check::Refused(Refusal::unknown_credentials())
}

fn refusal(status: u16, reason: String) -> Refusal {
    Refusal { status, reason }
}

impl fmt::Display for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|token| &token.name);
        let shown = [
            ("user", self.user.as_ref()),
            ("token", token),
            ("certificate", self.certificate.as_ref()),
        ];
        let mut between = "";
        for (kind, name) in shown {
            if let Some(name) = name {
                write!(f, "{between}{kind} {name}")?;
                between = ", ";
            }
        }
        if between.is_empty() { f.write_str("anyone") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;
    use crate::config;

    const HASHES: [&str; 2] = [
        "$2y$04$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "$2y$04$bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    ];
    const TOKENS: &str = "bearer_tokens: [{name: one, token: t1}, {name: two, tenant: one, token: t2}, {name: gone, token_file: /nowhere}]";
    const NEEDED: &str = "tls: {cert_file: c, key_file: k, client_ca_file: a, client_auth_type: RequireAndVerifyClientCert}";
    const ENOUGH: &str = "tls: {cert_file: c, key_file: k, client_ca_file: a, client_auth_type: VerifyClientCertIfGiven}";
    const ASKED: &str = "tls: {cert_file: c, key_file: k, client_auth_type: RequestClientCert}";

    fn visitors(fields: &str) -> Visitors {
        Visitors::of(&settings(fields))
    }

    fn settings(fields: &str) -> Arc<MetricsGateway> {
        let text = format!("gateway: {{metrics: {{listen_address: ':1', {fields}}}}}\n");
        let config = config::parse(Path::new(""), &text, &|_| None);
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        config.gateway.metrics.unwrap()
    }

    fn users() -> String {
        let [alice, bob] = HASHES;
        format!("basic_auth_users: {{alice: '{alice}', bob: '{bob}'}}")
    }

    fn tokens() -> String {
        format!("auth: {{{TOKENS}}}")
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(text))
    }

    fn names(certificate: &str) -> CertificateNames {
        let dns = certificate.split(',').map(str::to_owned).collect();
        CertificateNames { dns, common_name: None }
    }

    #[track_caller]
    fn check(visitors: &Visitors, header: &str, certificate: Option<&str>, expected: &str) {
        let shown = Shown::read(Some(header).filter(|text| !text.is_empty()).map(str::as_bytes));
        let certificate = certificate.map(names);
        let told = match visitors.check(&shown, certificate.as_ref(), |_, count| count - 1) {
            Check::Enter(visitor) => visitor.to_string(),
            Check::Password { hash, visitor } => {
                let at = HASHES.iter().position(|own| *own == hash).expect("a known hash");
                let who = visitor.map_or("nobody".to_owned(), |visitor| visitor.to_string());
                format!("hash {at}? {who}")
            }
            Check::Refused(Refusal { status, reason }) => format!("{status} {reason}"),
        };
        assert_eq!(told, expected, "{header} {certificate:?}");
    }

    #[test]
    fn without_credentials_and_certificates_anyone_may_push() {
        for fields in ["", ASKED] {
            let open = visitors(fields);
            assert!(open.are_open());
            assert!(open_to_all(&settings(fields)).is_some());
            for header in ["", "Bearer x", "Digest x", &basic("a:b")] {
                check(&open, header, None, "anyone");
                check(&open, header, Some("a"), "anyone");
            }
        }
    }

    #[test]
    fn a_token_or_a_password_lets_in() {
        let both = visitors(&format!("auth: {{{}, {TOKENS}}}", users()));
        check(&both, "", None, "401 credentials are needed");
        check(&both, "Bearer t1", None, "token one");
        check(&both, "bearer t2", None, "token two");
        check(&both, &basic("alice:x"), None, "hash 0? user alice");
        check(&both, &basic("bob:x"), None, "hash 1? user bob");
        check(&both, &basic("carol:x"), None, "hash 1? nobody");
        for wrong in ["Bearer t", "Bearer", "Bearer t11", "t1", "Basic x"] {
            check(&both, wrong, None, "401 these credentials are not known");
        }
        let tokens = visitors(&tokens());
        check(&tokens, &basic("alice:x"), None, "401 these credentials are not known");
        // A certificate that nobody verified changes nothing.
        check(&tokens, "", Some("a"), "401 credentials are needed");
    }

    #[test]
    fn a_certificate_is_enough_or_needed_beside_the_rest() {
        assert_eq!(open_to_all(&settings(NEEDED)), None);
        let alone = visitors(NEEDED);
        check(&alone, "", None, "401 a client certificate is needed");
        check(&alone, "Bearer x", Some("a,b"), "certificate a");
        let alone = visitors(ENOUGH);
        check(&alone, "", None, "401 credentials are needed");
        check(&alone, "", Some("a"), "certificate a");

        let both = visitors(&format!("{NEEDED}, {}", tokens()));
        check(&both, "Bearer t1", None, "401 a client certificate is needed");
        check(&both, "", Some("a"), "401 credentials are needed");
        check(&both, "Bearer t1", Some("a"), "token one, certificate a");
        let either = visitors(&format!("{ENOUGH}, {}", tokens()));
        check(&either, "", Some("a"), "certificate a");
        check(&either, "Bearer t1", None, "token one");
        check(&either, "Bearer x", Some("a"), "401 these credentials are not known");
    }

    /// Whose a push is that shows a header, or the status of the refusal.
    #[track_caller]
    fn check_tenant(visitors: &Visitors, visitor: &Visitor, header: &str, expected: &str) {
        let header = Some(header.as_bytes()).filter(|header| !header.is_empty());
        let told = match visitors.tenant_of(visitor, header) {
            Ok(Whose::Tenant(tenant)) => tenant.to_string(),
            Ok(Whose::EachSeries) => "each".to_owned(),
            Err(refusal) => refusal.status.to_string(),
        };
        assert_eq!(told, expected, "{visitor} {header:?}");
    }

    #[test]
    fn a_header_names_the_tenant_within_what_is_allowed() {
        let anyone = Visitor::default();
        let of = |tenants: &str| visitors(&format!("tenants: {{{tenants}}}"));
        for (tenants, header, expected) in [
            ("", "a", "a"),
            ("", "", ""),
            ("", "a|b", "400"),
            ("", "..", "400"),
            ("", "é", "400"),
            ("required: true", "", "401"),
            ("required: true", "a", "a"),
            ("default: d", "", "d"),
            ("default: d, required: true", "", "d"),
            ("allow: [a, b]", "b", "b"),
            ("allow: [a, b]", "c", "403"),
            ("allow: [a, b]", "", ""),
            ("allow: []", "a", "403"),
            ("from: label", "a", "each"),
        ] {
            check_tenant(&of(tenants), &anyone, header, expected);
        }
        let refusal = of("").tenant_of(&anyone, Some(b"\xff")).unwrap_err();
        let expected = "the header `X-Scope-OrgID` names it: expected 1 to 150 letters";
        assert!(refusal.reason.contains(expected), "{refusal:?}");
        let each = of("from: label, default: d, allow: [a, d]");
        for (value, expected) in [("a", Ok("a")), ("", Ok("d")), ("b", Err(403)), ("a b", Err(400))]
        {
            let told = each.tenant_of_series(value).map_err(|refusal| refusal.status);
            assert_eq!(told, expected, "{value}");
        }
    }

    #[test]
    fn who_came_names_the_tenant() {
        let token = |name: &str, tenant: &str| Visitor {
            token: Some(Token { name: name.into(), tenant: tenant.into() }),
            ..Visitor::default()
        };
        let tokens = visitors(&format!("{}, tenants: {{from: token, required: true}}", tokens()));
        check_tenant(&tokens, &token("two", "one"), "x", "one");
        check_tenant(&tokens, &Visitor::default(), "x", "401");
        let shown = Shown::Bearer("t2".to_owned());
        assert_eq!(tokens.check(&shown, None, |_, _| 0), Check::Enter(token("two", "one")));

        let certificates = visitors(&format!("{ENOUGH}, tenants: {{from: certificate}}"));
        let holder = |name: &str| Visitor { certificate: Some(name.into()), ..Visitor::default() };
        check_tenant(&certificates, &holder("edge.example"), "x", "edge.example");
        check_tenant(&certificates, &holder("edge 1"), "x", "400");
        check_tenant(&certificates, &Visitor::default(), "x", "");

        let users = visitors(&format!("auth: {{{}}}, tenants: {{from: user}}", users()));
        let user = Visitor { user: Some("bob".into()), ..Visitor::default() };
        check_tenant(&users, &user, "x", "bob");
    }
}
