//! `openstack_sd_configs`: the instances, hypervisors or load balancers of an OpenStack region.

use crate::{
    config::{
        HttpClient, Secret, TypedUrl,
        decode::{Section, shown},
        discovery::{Provider, port},
        http,
        show::{Field, some_text, url},
        yaml_out::{number, text},
    },
    model::hidden::SECRET,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenStack {
    /// `None`: endpoint and identity are those of the `OS_*` variables of the environment.
    pub identity: Option<OpenStackIdentity>,
    pub role: OpenStackRole,
    pub region: String,
    pub availability: OpenStackAvailability,
    /// Of instances: those of all projects.
    pub all_tenants: bool,
    pub port: u16,
}

/// Who asks Keystone; each field is empty where it is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenStackIdentity {
    pub endpoint: TypedUrl,
    pub username: String,
    pub user_id: String,
    pub password: Option<Secret>,
    /// Only from the environment: a token that was got elsewhere.
    pub token: Option<Secret>,
    pub project_name: String,
    pub project_id: String,
    pub domain_name: String,
    pub domain_id: String,
    pub application_credential_name: String,
    pub application_credential_id: String,
    pub application_credential_secret: Option<Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenStackRole {
    Hypervisor,
    Instance,
    LoadBalancer,
}

impl OpenStackRole {
    pub fn name(self) -> &'static str {
        match self {
            Self::Hypervisor => "hypervisor",
            Self::Instance => "instance",
            Self::LoadBalancer => "loadbalancer",
        }
    }
}

/// Which of a service's endpoints are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenStackAvailability {
    Public,
    Internal,
    Admin,
}

impl OpenStackAvailability {
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

pub(super) fn read(section: &mut Section<'_, '_>) -> Option<(Provider, HttpClient)> {
    let (availability, role) = (availability(section), role(section));
    let region = section.text("region").unwrap_or("").to_owned();
    if region.is_empty() {
        let place = section.place_of("region");
        section.problem(place, "openstack SD configuration requires a region (`region`)");
    }
    let identity = identity(section);
    let all_tenants = section.boolean("all_tenants").unwrap_or(false);
    let port = port(section);
    let tls = section.get("tls_config").and_then(|node| http::tls(node, section.findings));
    let client = HttpClient {
        tls: tls.unwrap_or_default(),
        follow_redirects: true,
        enable_http2: true,
        ..HttpClient::default()
    };
    let (availability, role) = (availability?, role?);
    let openstack = OpenStack { identity, role, region, availability, all_tenants, port };
    Some((Provider::OpenStack(openstack), client))
}

fn role(section: &mut Section<'_, '_>) -> Option<OpenStackRole> {
    const ROLES: [OpenStackRole; 3] =
        [OpenStackRole::Hypervisor, OpenStackRole::Instance, OpenStackRole::LoadBalancer];

    let typed = section.text("role").unwrap_or("");
    let role = ROLES.into_iter().find(|role| role.name() == typed);
    if role.is_none() {
        let place = section.place_of("role");
        let message = if typed.is_empty() {
            "role missing (one of: instance, hypervisor, loadbalancer) (`role`)".to_owned()
        } else {
            format!(
                "unknown OpenStack SD role {:?}; expected `instance`, `hypervisor` or `loadbalancer`",
                shown(typed)
            )
        };
        section.problem(place, message);
    }
    role
}

fn availability(section: &mut Section<'_, '_>) -> Option<OpenStackAvailability> {
    const AVAILABILITIES: [OpenStackAvailability; 3] = [
        OpenStackAvailability::Public,
        OpenStackAvailability::Internal,
        OpenStackAvailability::Admin,
    ];

    let Some(typed) = section.text("availability") else {
        return Some(OpenStackAvailability::Public);
    };
    let found = AVAILABILITIES.into_iter().find(|availability| availability.name() == typed);
    if found.is_none() {
        let place = section.place_of("availability");
        let message = format!(
            "unknown availability {}, must be one of admin, internal or public",
            shown(typed)
        );
        section.problem(place, message);
    }
    found
}

/// Without an endpoint the other keys have no meaning, as in Prometheus; that is told.
fn identity(section: &mut Section<'_, '_>) -> Option<OpenStackIdentity> {
    let mut text = |key| section.text(key).unwrap_or("").to_owned();
    let mut identity = OpenStackIdentity {
        endpoint: TypedUrl::new(text("identity_endpoint")),
        username: text("username"),
        user_id: text("userid"),
        project_name: text("project_name"),
        project_id: text("project_id"),
        domain_name: text("domain_name"),
        domain_id: text("domain_id"),
        application_credential_name: text("application_credential_name"),
        application_credential_id: text("application_credential_id"),
        ..OpenStackIdentity::default()
    };
    identity.password = section.secret("password");
    identity.application_credential_secret = section.secret("application_credential_secret");
    if !identity.endpoint.expose().is_empty() {
        return Some(identity);
    }
    if identity != OpenStackIdentity::default() {
        let place = section.place;
        section.findings.warning(
            place,
            "`openstack_sd_configs`: without `identity_endpoint` the identity is that of the `OS_*` environment variables, what is typed here has no effect",
        );
    }
    None
}

impl OpenStack {
    pub(super) fn fields(&self) -> Vec<Field> {
        let mut fields = self.identity.as_ref().map_or_else(Vec::new, OpenStackIdentity::fields);
        fields.extend([
            ("role", Some(text(self.role.name()))),
            ("region", some_text(&self.region)),
            ("port", Some(number(self.port))),
            ("all_tenants", self.all_tenants.then(|| text("true"))),
            ("availability", Some(text(self.availability.name()))),
        ]);
        fields
    }
}

impl OpenStackIdentity {
    fn fields(&self) -> Vec<Field> {
        let hidden = |secret: &Option<Secret>| secret.as_ref().map(|_| text(SECRET));
        vec![
            ("identity_endpoint", Some(url(self.endpoint.expose()))),
            ("username", some_text(&self.username)),
            ("userid", some_text(&self.user_id)),
            ("password", hidden(&self.password)),
            ("project_name", some_text(&self.project_name)),
            ("project_id", some_text(&self.project_id)),
            ("domain_name", some_text(&self.domain_name)),
            ("domain_id", some_text(&self.domain_id)),
            ("application_credential_name", some_text(&self.application_credential_name)),
            ("application_credential_id", some_text(&self.application_credential_id)),
            ("application_credential_secret", hidden(&self.application_credential_secret)),
        ]
    }
}
