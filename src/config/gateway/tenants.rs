//! `tenants` of the gateway: what names the tenant of a push, and which ones may push.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config::{
        ClientAuth, WebTls,
        decode::{Findings, Section, shown},
        gateway::{PushAuth, label},
        yaml::Node,
    },
    model::{
        relabel::NameValidation,
        tenant::{TENANT_EXPECTED, is_tenant},
    },
};

/// More are refused: this is no directory of tenants.
const ALLOWED_MAX: usize = 10_000;
/// A longer one is no header that anyone sends.
const HEADER_BYTES_MAX: usize = 128;
pub(super) const HEADER: &str = "X-Scope-OrgID";
pub(super) const LABEL: &str = "tenant";

/// Whose a push is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenants {
    pub from: TenantFrom,
    /// Of pushes that name none; `None`: they have no tenant.
    pub default: Option<Arc<str>>,
    /// A push that names none is refused.
    pub required: bool,
    /// `None`: any.
    pub allow: Option<BTreeSet<Arc<str>>>,
}

/// What names a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantFrom {
    Header(String),
    /// A label of each series, which is removed.
    Label(String),
    /// Who has shown a password.
    User,
    Token,
    /// The first DNS name of a client's certificate, else its common name.
    Certificate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Label,
    User,
    Token,
    Certificate,
}

pub(super) const KINDS: [(&str, Kind); 5] = [
    ("header", Kind::Header),
    ("label", Kind::Label),
    ("user", Kind::User),
    ("token", Kind::Token),
    ("certificate", Kind::Certificate),
];

impl Default for Tenants {
    fn default() -> Self {
        let from = TenantFrom::Header(HEADER.to_owned());
        Self { from, default: None, required: false, allow: None }
    }
}

impl TenantFrom {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Header(_) => Kind::Header,
            Self::Label(_) => Kind::Label,
            Self::User => Kind::User,
            Self::Token => Kind::Token,
            Self::Certificate => Kind::Certificate,
        }
    }
}

pub(super) fn tenants(node: &Node, validation: NameValidation, findings: &mut Findings) -> Tenants {
    let Some(mut section) = Section::open(node, "tenants", findings) else {
        return Tenants::default();
    };
    let from = from(&mut section, validation);
    let default = tenant(&mut section, "default");
    let required = section.boolean("required").unwrap_or(false);
    let allow = allow(&mut section);
    if required && default.is_some() {
        let place = section.place_of("required");
        let message = "`required` has no effect beside `default`: every push has a tenant";
        section.findings.warning(place, message);
    }
    if let (Some(default), Some(allow)) = (&default, &allow)
        && !allow.contains(default)
    {
        let place = section.place_of("default");
        let message = format!("`default`: `{default}` is not in `allow`");
        section.problem(place, message);
    }
    section.close();
    Tenants { from, default, required, allow }
}

fn from(section: &mut Section<'_, '_>, validation: NameValidation) -> TenantFrom {
    let kind = section.word("from", &KINDS).unwrap_or(Kind::Header);
    let header = header(section).unwrap_or_else(|| HEADER.to_owned());
    let label = label(section, "label", validation).unwrap_or_else(|| LABEL.to_owned());
    for (key, own) in [("header", Kind::Header), ("label", Kind::Label)] {
        if section.has(key) && kind != own {
            let place = section.place_of(key);
            let message = format!("`{key}` has no effect without `from: {key}`");
            section.findings.warning(place, message);
        }
    }
    match kind {
        Kind::Header => TenantFrom::Header(header),
        Kind::Label => TenantFrom::Label(label),
        Kind::User => TenantFrom::User,
        Kind::Token => TenantFrom::Token,
        Kind::Certificate => TenantFrom::Certificate,
    }
}

fn header(section: &mut Section<'_, '_>) -> Option<String> {
    let text = section.text("header")?;
    let is_token = (1..=HEADER_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if is_token && !text.eq_ignore_ascii_case("authorization") {
        return Some(text.to_owned());
    }
    let place = section.place_of("header");
    let message =
        format!("`header`: expected a header such as `{HEADER}`, found `{}`", shown(text));
    section.problem(place, message);
    None
}

/// An empty one is none.
pub(super) fn tenant(section: &mut Section<'_, '_>, key: &'static str) -> Option<Arc<str>> {
    let text = section.text(key).filter(|text| !text.is_empty())?;
    if is_tenant(text.as_bytes()) {
        return Some(text.into());
    }
    let place = section.place_of(key);
    let message = format!("`{key}`: expected {TENANT_EXPECTED}, found `{}`", shown(text));
    section.problem(place, message);
    None
}

fn allow(section: &mut Section<'_, '_>) -> Option<BTreeSet<Arc<str>>> {
    let found = section.texts("allow");
    if found.len() > ALLOWED_MAX {
        let (place, count) = (section.place_of("allow"), found.len());
        section.problem(place, format!("`allow`: expected at most {ALLOWED_MAX}, found {count}"));
        return None;
    }
    for (name, place) in found.iter().filter(|(name, _)| !is_tenant(name.as_bytes())) {
        let message = format!("`allow`: expected {TENANT_EXPECTED}, found `{}`", shown(name));
        section.problem(*place, message);
    }
    section.has("allow").then(|| found.into_iter().map(|(name, _)| name.into()).collect())
}

/// What is to name tenants must be asked for.
pub(super) fn check_source(
    from: &TenantFrom,
    auth: &PushAuth,
    tls: Option<&WebTls>,
) -> Result<(), &'static str> {
    let verifies = tls.is_some_and(|tls| match tls.client_auth {
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => true,
        ClientAuth::None | ClientAuth::Request | ClientAuth::RequireAny => false,
    });
    let (is_asked, message) = match from {
        TenantFrom::Header(_) | TenantFrom::Label(_) => return Ok(()),
        TenantFrom::User => (
            !auth.users.is_empty(),
            "`from: user` needs `basic_auth_users` in `auth`: nobody would have a name",
        ),
        TenantFrom::Token => (
            !auth.tokens.is_empty(),
            "`from: token` needs `bearer_tokens` in `auth`: nobody would have a name",
        ),
        TenantFrom::Certificate => (
            verifies,
            "`from: certificate` needs a `client_auth_type` in `tls` that verifies: `RequireAndVerifyClientCert` or `VerifyClientCertIfGiven`",
        ),
    };
    if is_asked { Ok(()) } else { Err(message) }
}
