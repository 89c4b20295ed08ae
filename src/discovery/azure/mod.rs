//! `azure_sd_configs`: Azure's resource manager lists machines, scale sets and their machines, and
//! tells of each machine's network interfaces, one by one, what address it has.

mod answer;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use ::http::{HeaderName, HeaderValue, Request, StatusCode, header::AUTHORIZATION};
use futures_util::{TryStreamExt, stream::FuturesOrdered};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::warn;
use url::{Url, form_urlencoded::byte_serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::{Azure as Settings, AzureAuthentication, HttpClient},
    discovery::{
        api::{self, Answer, Api, Pages},
        azure::answer::{Interface, Machine, Page, Reach, ScaleSet, name_of, resource_group},
        bearer,
        lent::Lent,
        meta::group,
    },
    model::{labels::Labels, target::TargetGroup},
};

const COMPUTE_VERSION: &str = "2023-09-01";
const NETWORK_VERSION: &str = "2023-09-01";
const SCALE_SET_NETWORK_VERSION: &str = "2018-10-01";
const IDENTITY_VERSION: &str = "2018-02-01";
/// The identity of the machine is given out to whoever can set a header: a mere link can't.
const METADATA: HeaderName = HeaderName::from_static("metadata");
/// Interfaces that are asked about at once.
const LOOKUPS_MAX: usize = 16;
/// Interfaces that are remembered: Azure bounds how often it may be asked. Of those beyond, each
/// refresh asks.
const INTERFACES_MAX: usize = 5_000;
/// An interface is remembered for so many refreshes, and up to so many more: another number for each,
/// so that not all are asked about at once.
const INTERFACE_REFRESHES: u32 = 10;
const INTERFACE_REFRESHES_MORE: u32 = 3;

pub(super) struct Azure {
    api: Api,
    /// For who gives out tokens.
    identity: Api,
    settings: Settings,
    refresh_interval: Duration,
    token: Lent<HeaderValue>,
    interfaces: BTreeMap<String, (Interface, Instant)>,
}

/// A page of machines and one interface, as the fuzzer asks for them.
pub(super) fn decode(body: &[u8]) -> Vec<Labels> {
    let interface: Option<Interface> = serde_json::from_slice(body).ok();
    let reach = interface.map(|interface| interface.reach("vm"));
    let private = match reach {
        Some(Ok(Reach::Addresses { private, .. })) => private,
        Some(Ok(Reach::Unsaid | Reach::Deallocated) | Err(_)) | None => "10.0.0.1".to_owned(),
    };
    let page = serde_json::from_slice::<Page<Machine>>(body);
    let machines = page.into_iter().flat_map(|page| page.value);
    machines.filter_map(|it| it.target(["s", "t", "set"], [&private, ""], 80).ok()).collect()
}

/// A machine, and the name of its scale set; empty where it has none.
type Found = (Machine, String);

impl Azure {
    pub(super) fn new(settings: Settings, refresh_interval: Duration, client: &HttpClient) -> Self {
        // The only credentials are the token, and where a redirect leads, it must not go.
        let client = HttpClient {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            follow_redirects: false,
            ..client.clone()
        };
        // The machine's own identity is given out within it: no proxy gets there.
        let proxy = match settings.authentication {
            AzureAuthentication::OAuth { .. } => client.proxy.clone(),
            AzureAuthentication::ManagedIdentity { .. } => None,
        };
        let identity = HttpClient { proxy, ..client.clone() };
        Self {
            api: Api::new(&client, refresh_interval),
            identity: Api::new(&identity, refresh_interval),
            settings,
            refresh_interval,
            token: Lent::default(),
            interfaces: BTreeMap::new(),
        }
    }

    pub(super) async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        let now = Instant::now();
        if self.token.get(now).is_none() {
            let answer = self.identity.send(self.token_request()?).await?;
            let (token, life) = bearer::granted(answer)?;
            self.token.put(token, life, now);
        }
        let targets = self.find(now).await;
        if targets.is_err() {
            // It may be the reason.
            self.token.throw_away();
        }
        Ok(group("", targets?))
    }

    fn token_request(&self) -> Result<Request<Vec<u8>>, String> {
        let Settings { environment, authentication, tenant_id, .. } = &self.settings;
        match authentication {
            AzureAuthentication::OAuth { client_id, client_secret } => {
                let path = format!("/{}/oauth2/v2.0/token", encoded(tenant_id));
                let scope = format!("{}/.default", environment.audience);
                Ok(bearer::form(
                    api::url(&environment.authority, &path, &[])?,
                    &[
                        ("grant_type", "client_credentials"),
                        ("client_id", client_id),
                        ("client_secret", client_secret.expose()),
                        ("scope", &scope),
                    ],
                ))
            }
            AzureAuthentication::ManagedIdentity { client_id } => {
                let mut query =
                    vec![("api-version", IDENTITY_VERSION), ("resource", &*environment.audience)];
                if !client_id.is_empty() {
                    query.push(("client_id", client_id));
                }
                let path = "/metadata/identity/oauth2/token";
                let mut request = api::get(api::url(&environment.metadata, path, &query)?);
                request.headers_mut().insert(METADATA, HeaderValue::from_static("true"));
                Ok(request)
            }
        }
    }

    async fn find(&mut self, now: Instant) -> Result<Vec<Labels>, String> {
        self.interfaces.retain(|_, (_, until)| now < *until);
        let Some(token) = self.token.get(now) else {
            return Err("Azure gave out a token that has ended".to_owned());
        };
        let manager = Manager { api: &self.api, settings: &self.settings, token };
        let machines = manager.machines().await?;
        let (mut targets, mut learned) = (Vec::new(), Vec::new());
        let (mut waiting, mut asking) = (machines.iter(), FuturesOrdered::new());
        loop {
            while asking.len() < LOOKUPS_MAX
                && let Some(found) = waiting.next()
            {
                asking.push_back(manager.target(found, &self.interfaces));
            }
            let Some((target, interfaces)) = asking.try_next().await? else { break };
            targets.extend(target);
            learned.extend(interfaces);
        }
        drop(asking);
        self.remember(learned, now);
        Ok(targets)
    }

    fn remember(&mut self, learned: Vec<(String, Interface)>, now: Instant) {
        for (id, interface) in learned {
            if self.interfaces.len() >= INTERFACES_MAX {
                return;
            }
            #[expect(clippy::cast_precision_loss, reason = "a share, not a count")]
            let share = xxh3_64(id.as_bytes()) as f64 / u64::MAX as f64;
            let more = self.refresh_interval.mul_f64(share * f64::from(INTERFACE_REFRESHES_MORE));
            let until = now + self.refresh_interval * INTERFACE_REFRESHES + more;
            self.interfaces.insert(id, (interface, until));
        }
    }
}

/// The resource manager, asked with one token.
struct Manager<'m> {
    api: &'m Api,
    settings: &'m Settings,
    token: &'m HeaderValue,
}

impl Manager<'_> {
    /// Those of no scale set first.
    async fn machines(&self) -> Result<Vec<Found>, String> {
        let mut pages = Pages::default();
        let own: Vec<Machine> = self.list(self.all("virtualMachines")?, &mut pages).await?;
        let mut machines: Vec<Found> = own.into_iter().map(|it| (it, String::new())).collect();
        let scale_sets: Vec<ScaleSet> =
            self.list(self.all("virtualMachineScaleSets")?, &mut pages).await?;
        for ScaleSet { id, name } in scale_sets {
            let path = format!(
                "{}/providers/Microsoft.Compute/virtualMachineScaleSets/{}/virtualMachines",
                self.group(resource_group(&id)?),
                encoded(&name),
            );
            let own: Vec<Machine> =
                self.list(self.url(&path, COMPUTE_VERSION)?, &mut pages).await?;
            machines.extend(own.into_iter().map(|it| (it, name.clone())));
        }
        Ok(machines)
    }

    /// `None` for one that can't be scraped, as it is not running. With what was learned of its
    /// interfaces on the way.
    async fn target(
        &self,
        (machine, scale_set): &Found,
        known: &BTreeMap<String, (Interface, Instant)>,
    ) -> Result<(Option<Labels>, Vec<(String, Interface)>), String> {
        let Settings { subscription_id, tenant_id, port, .. } = self.settings;
        let mut learned = Vec::new();
        for id in machine.interfaces() {
            let interface = if let Some((interface, _)) = known.get(id) {
                interface.clone()
            } else {
                let Some(interface) = self.interface(id, machine, scale_set).await? else {
                    warn!(interface = id, "a network interface does not exist");
                    return Ok((None, learned));
                };
                learned.push((id.to_owned(), interface.clone()));
                interface
            };
            match interface.reach(&machine.name)? {
                Reach::Unsaid => {}
                Reach::Deallocated => return Ok((None, learned)),
                Reach::Addresses { private, public } => {
                    let origin = [subscription_id.as_str(), tenant_id, scale_set];
                    let target = machine.target(origin, [&private, &public], *port)?;
                    return Ok((Some(target), learned));
                }
            }
        }
        Ok((None, learned))
    }

    /// `None`: there is no such interface, not any more.
    async fn interface(
        &self,
        id: &str,
        machine: &Machine,
        scale_set: &str,
    ) -> Result<Option<Interface>, String> {
        let (resources, name) = (self.group(resource_group(id)?), encoded(name_of(id)?));
        let mut url = if scale_set.is_empty() {
            let path = format!("{resources}/providers/Microsoft.Network/networkInterfaces/{name}");
            self.url(&path, NETWORK_VERSION)?
        } else {
            let (set, instance) = (encoded(scale_set), encoded(&machine.instance_id));
            let path = format!(
                "{resources}/providers/microsoft.Compute/virtualMachineScaleSets/{set}/virtualMachines/{instance}/networkInterfaces/{name}"
            );
            self.url(&path, SCALE_SET_NETWORK_VERSION)?
        };
        url.query_pairs_mut().append_pair("$expand", "IPConfigurations/PublicIPAddress");
        let answer = self.ask(url).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.good()?.json().map(Some)
    }

    async fn list<T: DeserializeOwned>(
        &self,
        mut url: Url,
        pages: &mut Pages,
    ) -> Result<Vec<T>, String> {
        let mut entries = Vec::new();
        loop {
            let answer = self.ask(url.clone()).await?.good()?;
            let page: Page<T> = answer.json()?;
            pages.turn(page.value.len()).map_err(|fault| answer.fault(fault))?;
            entries.extend(page.value);
            if page.next_link.is_empty() {
                return Ok(entries);
            }
            // The token is for the resource manager alone.
            let next = Url::parse(&page.next_link).ok();
            let next = next.filter(|next| next.origin() == url.origin());
            url = next.ok_or_else(|| answer.fault("the next page is on another host"))?;
        }
    }

    async fn ask(&self, url: Url) -> Result<Answer, String> {
        let mut request = api::get(url);
        request.headers_mut().insert(AUTHORIZATION, self.token.clone());
        self.api.send(request).await
    }

    /// All of a kind that are in the subscription, or in the group.
    fn all(&self, kind: &str) -> Result<Url, String> {
        let Settings { subscription_id, resource_group, .. } = self.settings;
        let scope = if resource_group.is_empty() {
            format!("/subscriptions/{}", encoded(subscription_id))
        } else {
            self.group(resource_group)
        };
        self.url(&format!("{scope}/providers/Microsoft.Compute/{kind}"), COMPUTE_VERSION)
    }

    fn group(&self, name: &str) -> String {
        let subscription = encoded(&self.settings.subscription_id);
        format!("/subscriptions/{subscription}/resourceGroups/{}", encoded(name))
    }

    fn url(&self, path: &str, version: &str) -> Result<Url, String> {
        api::url(&self.settings.environment.endpoint, path, &[("api-version", version)])
    }
}

/// One part of a path.
fn encoded(part: &str) -> String {
    byte_serialize(part.as_bytes()).collect::<String>().replace('+', "%20")
}
