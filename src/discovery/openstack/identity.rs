//! How one proves to Keystone who one is, and what it answers: a token, and where the services are.
//! Version 3 of its API. Pure.

use serde::Deserialize;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    config::{OpenStackAvailability, OpenStackIdentity, Secret, TypedUrl},
    model::hidden,
};

/// The URL of version 3, whatever part of it was typed.
pub(super) fn base(endpoint: &str) -> Result<String, String> {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with("/v2.0") {
        let shown = hidden::url(endpoint);
        return Err(format!("`{shown}`: version 2 of the identity API is not supported"));
    }
    let base = endpoint.strip_suffix("/v3").unwrap_or(endpoint);
    Ok(format!("{base}/v3"))
}

/// The identity that OpenStack's own tools would take from the environment.
pub(super) fn from_environment(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<OpenStackIdentity, String> {
    let text = |name: &str| variable(name).unwrap_or_default();
    let either = |name: &str, old: &str| {
        let text = text(name);
        if text.is_empty() { variable(old).unwrap_or_default() } else { text }
    };
    let secret = |name: &str| variable(name).filter(|it| !it.is_empty()).map(Secret::new);
    let identity = OpenStackIdentity {
        endpoint: TypedUrl::new(text("OS_AUTH_URL")),
        username: text("OS_USERNAME"),
        user_id: either("OS_USERID", "OS_USER_ID"),
        password: secret("OS_PASSWORD"),
        token: secret("OS_TOKEN"),
        project_name: either("OS_PROJECT_NAME", "OS_TENANT_NAME"),
        project_id: either("OS_PROJECT_ID", "OS_TENANT_ID"),
        domain_name: either("OS_DOMAIN_NAME", "OS_USER_DOMAIN_NAME"),
        domain_id: either("OS_DOMAIN_ID", "OS_USER_DOMAIN_ID"),
        application_credential_name: text("OS_APPLICATION_CREDENTIAL_NAME"),
        application_credential_id: text("OS_APPLICATION_CREDENTIAL_ID"),
        application_credential_secret: secret("OS_APPLICATION_CREDENTIAL_SECRET"),
    };
    if identity.endpoint.expose().is_empty() {
        return Err(
            "neither `identity_endpoint` nor the environment variable `OS_AUTH_URL` is set".into(),
        );
    }
    Ok(identity)
}

/// The body of the request for a token.
pub(super) fn request(identity: &OpenStackIdentity) -> Result<Value, String> {
    let has_application = !(identity.application_credential_id.is_empty()
        && identity.application_credential_name.is_empty());
    // A password comes first, as it does where Prometheus asks.
    let (method, proof) = if let Some(password) = &identity.password {
        let mut user = user(identity)?;
        user["password"] = password.expose().into();
        ("password", json!({ "user": user }))
    } else if has_application {
        ("application_credential", application_credential(identity)?)
    } else if let Some(token) = &identity.token {
        ("token", json!({ "id": token.expose() }))
    } else {
        return Err("neither a password nor an application credential is set".to_owned());
    };
    let mut auth = json!({ "identity": { "methods": [method], method: proof } });
    // An application credential is of one project already.
    if method != "application_credential"
        && let Some(scope) = scope(identity)?
    {
        auth["scope"] = scope;
    }
    Ok(json!({ "auth": auth }))
}

fn application_credential(identity: &OpenStackIdentity) -> Result<Value, String> {
    let Some(secret) = &identity.application_credential_secret else {
        return Err("an application credential needs its secret".to_owned());
    };
    let secret = secret.expose();
    if !identity.application_credential_id.is_empty() {
        return Ok(json!({ "id": identity.application_credential_id, "secret": secret }));
    }
    let name = &identity.application_credential_name;
    Ok(json!({ "name": name, "secret": secret, "user": user(identity)? }))
}

fn user(identity: &OpenStackIdentity) -> Result<Value, String> {
    match (identity.user_id.as_str(), identity.username.as_str()) {
        ("", "") => Err("neither a user's id nor a user's name is set".to_owned()),
        (id, "") => Ok(json!({ "id": id })),
        ("", name) => match domain(identity) {
            Some(domain) => Ok(json!({ "name": name, "domain": domain })),
            None => Err("a user's name needs the name or the id of its domain".to_owned()),
        },
        (_, _) => Err("both a user's id and a user's name are set".to_owned()),
    }
}

/// `None`: that of the user's own project.
fn scope(identity: &OpenStackIdentity) -> Result<Option<Value>, String> {
    if !identity.project_id.is_empty() {
        return Ok(Some(json!({ "project": { "id": identity.project_id } })));
    }
    if identity.project_name.is_empty() {
        return Ok(None);
    }
    match domain(identity) {
        Some(domain) => {
            Ok(Some(json!({ "project": { "name": identity.project_name, "domain": domain } })))
        }
        None => Err("a project's name needs the name or the id of its domain".to_owned()),
    }
}

fn domain(identity: &OpenStackIdentity) -> Option<Value> {
    match (identity.domain_id.as_str(), identity.domain_name.as_str()) {
        ("", "") => None,
        ("", name) => Some(json!({ "name": name })),
        (id, _) => Some(json!({ "id": id })),
    }
}

/// What Keystone gave out beside the token itself.
#[derive(Deserialize)]
pub(super) struct Granted {
    token: GrantedToken,
}

#[derive(Deserialize)]
struct GrantedToken {
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    catalog: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    region_id: Option<String>,
    url: String,
}

impl Granted {
    /// When the token ends, in milliseconds since the Unix epoch. `None` where it is not said.
    pub(super) fn expires_ms(&self) -> Option<i64> {
        let expires = OffsetDateTime::parse(self.token.expires_at.as_deref()?, &Rfc3339).ok()?;
        Some(expires.unix_timestamp().saturating_mul(1_000))
    }

    /// Where a kind of service is, without a slash at the end.
    pub(super) fn endpoint(
        &self,
        kind: &str,
        region: &str,
        availability: OpenStackAvailability,
    ) -> Result<String, String> {
        let interface = availability.name();
        let services = self.token.catalog.iter().filter(|service| service.kind == kind);
        let mut endpoints = services.flat_map(|service| &service.endpoints);
        let is_here = |own: &Option<String>| own.as_deref() == Some(region);
        let found = endpoints.find(|it| {
            it.interface == interface && (is_here(&it.region_id) || is_here(&it.region))
        });
        match found {
            Some(endpoint) => Ok(endpoint.url.trim_end_matches('/').to_owned()),
            None => Err(format!(
                "the catalog has no {interface} endpoint of a `{kind}` service in region `{region}`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_version_3() {
        for (typed, expected) in [
            ("https://k:5000", "https://k:5000/v3"),
            ("https://k:5000/", "https://k:5000/v3"),
            ("https://k:5000/v3/", "https://k:5000/v3"),
            ("https://k/identity", "https://k/identity/v3"),
            ("https://k/identity/v3", "https://k/identity/v3"),
        ] {
            assert_eq!(base(typed).as_deref(), Ok(expected), "{typed}");
        }
        let fault = base("https://user:hunter2@k:5000/v2.0/").unwrap_err();
        assert!(fault.contains("version 2") && !fault.contains("hunter2"), "{fault}");
    }

    /// An identity of `field=value` pairs.
    fn identity(fields: &str) -> OpenStackIdentity {
        let pairs: Vec<(&str, &str)> =
            fields.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        let with = |name: &str| {
            let found = pairs.iter().find(|(own, _)| *own == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let with_url =
            |name: &str| if name == "OS_AUTH_URL" { Some("https://k".into()) } else { with(name) };
        from_environment(with_url).unwrap()
    }

    #[test]
    fn an_identity_makes_a_request() {
        let check = |fields: &str, expected: Value| {
            assert_eq!(request(&identity(fields)), Ok(json!({ "auth": expected })), "{fields}");
        };
        check(
            "OS_USERNAME=me OS_PASSWORD=p OS_DOMAIN_NAME=d OS_PROJECT_NAME=x",
            json!({
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": "me", "password": "p", "domain": {"name": "d"}}},
                },
                "scope": {"project": {"name": "x", "domain": {"name": "d"}}},
            }),
        );
        check(
            "OS_USERID=7 OS_PASSWORD=p OS_TENANT_ID=9 OS_PROJECT_NAME=x",
            json!({
                "identity": {"methods": ["password"], "password": {"user": {"id": "7", "password": "p"}}},
                "scope": {"project": {"id": "9"}},
            }),
        );
        check(
            "OS_USERNAME=me OS_PASSWORD=p OS_DOMAIN_ID=1 OS_DOMAIN_NAME=d",
            json!({"identity": {
                "methods": ["password"],
                "password": {"user": {"name": "me", "password": "p", "domain": {"id": "1"}}},
            }}),
        );
        check(
            "OS_APPLICATION_CREDENTIAL_ID=a OS_APPLICATION_CREDENTIAL_SECRET=s OS_PROJECT_ID=9",
            json!({"identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": "a", "secret": "s"},
            }}),
        );
        check(
            "OS_APPLICATION_CREDENTIAL_NAME=a OS_APPLICATION_CREDENTIAL_SECRET=s OS_USERID=7",
            json!({"identity": {
                "methods": ["application_credential"],
                "application_credential": {"name": "a", "secret": "s", "user": {"id": "7"}},
            }}),
        );
        check(
            "OS_TOKEN=t OS_PROJECT_ID=9",
            json!({
                "identity": {"methods": ["token"], "token": {"id": "t"}},
                "scope": {"project": {"id": "9"}},
            }),
        );
    }

    #[test]
    fn what_is_missing_is_named_and_no_secret_is() {
        for (fields, expected) in [
            ("OS_USERNAME=me OS_PASSWORD=hunter2", "a user's name needs"),
            ("OS_PASSWORD=hunter2", "neither a user's id nor"),
            ("OS_PASSWORD=hunter2 OS_USERNAME=a OS_USERID=1", "both a user's id"),
            ("OS_PASSWORD=hunter2 OS_USERID=1 OS_PROJECT_NAME=x", "a project's name needs"),
            ("OS_APPLICATION_CREDENTIAL_ID=a", "needs its secret"),
            ("OS_USERNAME=me", "neither a password nor"),
        ] {
            let fault = request(&identity(fields)).unwrap_err();
            assert!(fault.contains(expected) && !fault.contains("hunter2"), "{fields}: {fault}");
        }
        assert!(from_environment(|_| None).unwrap_err().contains("OS_AUTH_URL"));
        let shown = format!("{:?}", identity("OS_PASSWORD=hunter2 OS_TOKEN=hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_service_is_found_by_region_and_availability() {
        let granted: Granted = serde_json::from_value(json!({"token": {
            "expires_at": "2026-11-22T03:00:00.000000Z",
            "catalog": [
                {"type": "identity", "endpoints": []},
                {"type": "compute", "name": "nova", "endpoints": [
                    {"interface": "internal", "region_id": "one", "url": "http://in/v2.1/"},
                    {"interface": "public", "region": "two", "region_id": "two", "url": "http://two/v2.1"},
                    {"interface": "public", "region": "one", "region_id": null, "url": "http://one/v2.1/"},
                ]},
            ],
        }}))
        .unwrap();
        assert_eq!(granted.expires_ms(), Some(1_795_316_400_000));
        let find = |kind, region, availability| granted.endpoint(kind, region, availability);
        let public = OpenStackAvailability::Public;
        assert_eq!(find("compute", "one", public).as_deref(), Ok("http://one/v2.1"));
        assert_eq!(find("compute", "two", public).as_deref(), Ok("http://two/v2.1"));
        let internal = OpenStackAvailability::Internal;
        assert_eq!(find("compute", "one", internal).as_deref(), Ok("http://in/v2.1"));
        for (kind, region) in [("compute", "three"), ("network", "one")] {
            let fault = find(kind, region, public).unwrap_err();
            assert!(fault.contains(kind) && fault.contains(region), "{fault}");
        }
    }
}
