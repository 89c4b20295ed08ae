//! `openstack_sd_configs`: Keystone gives out a token and tells where the services are; those tell of
//! hypervisors, instances or load balancers.

mod answer;
mod identity;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ::http::{HeaderName, HeaderValue, Request, StatusCode, header::CONTENT_TYPE};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    config::{HttpClient, OpenStack as Settings, OpenStackRole},
    discovery::{
        api::{self, Api, Pages},
        lent::Lent,
        meta::group,
        openstack::{
            answer::{
                FloatingIp, FloatingIps, Hypervisor, Listener, LoadBalancer, Port, Server, page,
            },
            identity::Granted,
        },
    },
    model::{labels::Labels, target::TargetGroup},
    runtime::clock,
};

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const TOKEN_GIVEN: HeaderName = HeaderName::from_static("x-subject-token");
const COMPUTE_VERSION: HeaderName = HeaderName::from_static("x-openstack-nova-api-version");
/// The first with the name of an instance's flavor; without a version it is the first of all.
const FLAVOR_NAMES_VERSION: HeaderValue = HeaderValue::from_static("2.47");
/// A token of which Keystone does not say when it ends.
const TOKEN_SECONDS_UNSAID: i64 = 300;

pub(super) struct OpenStack {
    api: Api,
    settings: Settings,
    session: Lent<Session>,
}

struct Session {
    token: HeaderValue,
    granted: Granted,
}

enum Fault {
    /// The token is not taken, or not any more.
    Unauthorized(String),
    Other(String),
}

impl From<String> for Fault {
    fn from(fault: String) -> Self {
        Self::Other(fault)
    }
}

impl OpenStack {
    pub(super) fn new(settings: Settings, refresh: Duration, client: &HttpClient) -> Self {
        Self { api: Api::new(client, refresh), settings, session: Lent::default() }
    }

    pub(super) async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        let had_token = self.session.get(Instant::now()).is_some();
        let targets = match self.find().await {
            // Tokens are taken back when a password changes, long before their end.
            Err(Fault::Unauthorized(_)) if had_token => {
                self.session.throw_away();
                self.find().await
            }
            outcome => outcome,
        };
        match targets {
            Ok(targets) => Ok(group(&format!("OS_{}", self.settings.region), targets)),
            Err(Fault::Unauthorized(fault)) => {
                self.session.throw_away();
                Err(fault)
            }
            Err(Fault::Other(fault)) => Err(fault),
        }
    }

    async fn find(&mut self) -> Result<Vec<Labels>, Fault> {
        let now = Instant::now();
        if self.session.get(now).is_none() {
            let (session, life) = self.authenticate().await?;
            self.session.put(session, life, now);
        }
        let Some(session) = self.session.get(now) else {
            return Err(Fault::Other("Keystone gave out a token that has ended".to_owned()));
        };
        let services = Services { api: &self.api, settings: &self.settings, session };
        match self.settings.role {
            OpenStackRole::Hypervisor => services.hypervisors().await,
            OpenStackRole::Instance => services.instances().await,
            OpenStackRole::LoadBalancer => services.load_balancers().await,
        }
    }

    async fn authenticate(&self) -> Result<(Session, Duration), String> {
        let of_environment;
        let identity = if let Some(identity) = &self.settings.identity {
            identity
        } else {
            of_environment = identity::from_environment(|name| std::env::var(name).ok())?;
            &of_environment
        };
        let url = api::url(&identity::base(identity.endpoint.expose())?, "/auth/tokens", &[])?;
        let body = identity::request(identity)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(String::from(url))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .expect("a URL is a URI");
        let answer = self.api.send(request).await?.good()?;
        let granted: Granted = answer.json()?;
        let Some(token) = answer.headers.get(TOKEN_GIVEN) else {
            return Err(answer.fault("unexpected answer: no token"));
        };
        let mut token = token.clone();
        token.set_sensitive(true);
        let seconds = granted
            .expires_ms()
            .map_or(TOKEN_SECONDS_UNSAID, |ends_ms| (ends_ms - clock::now_ms()) / 1_000);
        let life = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok((Session { token, granted }, life))
    }
}

/// A page of each list, all of them in one answer, as the fuzzer asks for them.
pub(super) fn decode(body: &[u8]) -> Vec<Labels> {
    let Ok(mut content) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let (ports, addresses): (Vec<Port>, Vec<FloatingIp>) =
        (entries(&mut content, "ports"), entries(&mut content, "floatingips"));
    let floating = FloatingIps::new(&ports, &addresses);
    let hypervisors: Vec<Hypervisor> = entries(&mut content, "hypervisors");
    let servers: Vec<Server> = entries(&mut content, "servers");
    let listeners: Vec<Listener> = entries(&mut content, "listeners");
    let balancers: Vec<LoadBalancer> = entries(&mut content, "loadbalancers");
    let mut targets: Vec<Labels> = hypervisors.iter().map(|it| it.target(80)).collect();
    targets.extend(servers.iter().flat_map(|it| it.targets(80, &floating)));
    targets.extend(balancers.iter().filter_map(|it| it.target(&listeners, &addresses)));
    targets
}

fn entries<T: DeserializeOwned>(content: &mut Value, list: &str) -> Vec<T> {
    page(content, list).map_or_else(|_| Vec::new(), |page| page.entries)
}

/// Where all are asked with one token.
struct Services<'s> {
    api: &'s Api,
    settings: &'s Settings,
    session: &'s Session,
}

impl Services<'_> {
    async fn hypervisors(&self) -> Result<Vec<Labels>, Fault> {
        let compute = self.endpoint("compute")?;
        let found: Vec<Hypervisor> =
            self.list(&format!("{compute}/os-hypervisors/detail"), "", "hypervisors", None).await?;
        Ok(found.iter().map(|it| it.target(self.settings.port)).collect())
    }

    async fn instances(&self) -> Result<Vec<Labels>, Fault> {
        let compute = self.endpoint("compute")?;
        let network = versioned(&self.endpoint("network")?);
        let ports: Vec<Port> = self
            .list(&format!("{network}/ports"), "fields=id&fields=device_id", "ports", None)
            .await?;
        let addresses: Vec<FloatingIp> =
            self.list(&format!("{network}/floatingips"), "", "floatingips", None).await?;
        let floating = FloatingIps::new(&ports, &addresses);
        let query = if self.settings.all_tenants { "all_tenants=true" } else { "" };
        let url = format!("{compute}/servers/detail");
        let servers: Vec<Server> =
            self.list(&url, query, "servers", Some(FLAVOR_NAMES_VERSION)).await?;
        Ok(servers.iter().flat_map(|it| it.targets(self.settings.port, &floating)).collect())
    }

    async fn load_balancers(&self) -> Result<Vec<Labels>, Fault> {
        let octavia = versioned(&self.endpoint("load-balancer")?);
        let network = versioned(&self.endpoint("network")?);
        let balancers: Vec<LoadBalancer> =
            self.list(&format!("{octavia}/lbaas/loadbalancers"), "", "loadbalancers", None).await?;
        let listeners: Vec<Listener> =
            self.list(&format!("{octavia}/lbaas/listeners"), "", "listeners", None).await?;
        let addresses: Vec<FloatingIp> =
            self.list(&format!("{network}/floatingips"), "", "floatingips", None).await?;
        Ok(balancers.iter().filter_map(|it| it.target(&listeners, &addresses)).collect())
    }

    fn endpoint(&self, kind: &str) -> Result<String, Fault> {
        let Settings { region, availability, .. } = self.settings;
        Ok(self.session.granted.endpoint(kind, region, *availability)?)
    }

    /// All pages of the list called `name`. An API that is older than `version` is asked without it.
    async fn list<T: DeserializeOwned>(
        &self,
        base: &str,
        query: &str,
        name: &str,
        mut version: Option<HeaderValue>,
    ) -> Result<Vec<T>, Fault> {
        let (mut entries, mut pages) = (Vec::new(), Pages::default());
        let mut query = query.to_owned();
        loop {
            let mut url = api::url(base, "", &[])?;
            url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
            let mut request = api::get(url);
            request.headers_mut().insert(TOKEN, self.session.token.clone());
            if let Some(version) = &version {
                request.headers_mut().insert(COMPUTE_VERSION, version.clone());
            }
            let answer = self.api.send(request).await?;
            if answer.status == StatusCode::NOT_ACCEPTABLE && version.take().is_some() {
                continue;
            }
            if answer.status == StatusCode::UNAUTHORIZED {
                let fault = answer.good().err().unwrap_or_default();
                return Err(Fault::Unauthorized(fault));
            }
            let answer = answer.good()?;
            let mut content: Value = answer.json()?;
            let page = page(&mut content, name)
                .map_err(|fault| answer.fault(format!("unexpected answer: {fault}")))?;
            pages.turn(page.entries.len()).map_err(|fault| answer.fault(fault))?;
            entries.extend(page.entries);
            match page.next_query {
                None => return Ok(entries),
                Some(next) => query = next,
            }
        }
    }
}

/// The catalog names these with and without their version.
fn versioned(endpoint: &str) -> String {
    format!("{}/v2.0", endpoint.trim_end_matches("/v2.0").trim_end_matches('/'))
}
