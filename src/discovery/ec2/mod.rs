//! `ec2_sd_configs`: the instances that EC2 tells of, page after page. The requests are signed by the
//! client, as those of a destination are.

mod answer;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use tracing::debug;
use url::Url;

use crate::{
    config::{Ec2 as Settings, HttpClient},
    discovery::{
        api::{Api, Pages},
        bearer::form,
        meta::group,
    },
    model::{hidden, labels::Labels, target::TargetGroup},
    runtime::http::aws::{Environment, Signer},
};

/// Of the API whose answers are understood here.
const API_VERSION: &str = "2016-11-15";
/// As many instances as EC2 puts on a page.
const PAGE_INSTANCES_MAX: &str = "1000";

pub(super) struct Ec2 {
    settings: Settings,
    refresh_interval: Duration,
    client: HttpClient,
    environment: Environment,
    /// `None`: where to ask is not known yet.
    region: Option<Region>,
}

/// Where is asked, and what is known of it.
struct Region {
    name: String,
    url: Url,
    api: Api,
    /// `None`: not known yet, or not all of them. Asking takes a permission that not everybody gives.
    zone_ids: Option<BTreeMap<String, String>>,
}

impl Ec2 {
    pub(super) fn new(settings: Settings, refresh_interval: Duration, client: &HttpClient) -> Self {
        Self::with(settings, refresh_interval, client, Environment::own())
    }

    fn with(
        settings: Settings,
        refresh_interval: Duration,
        client: &HttpClient,
        environment: Environment,
    ) -> Self {
        // Who asks is told by the signature alone.
        let client =
            HttpClient { basic_auth: None, authorization: None, oauth2: None, ..client.clone() };
        Self { settings, refresh_interval, client, environment, region: None }
    }

    pub(super) async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        let known = match self.region.take() {
            Some(region) => region,
            None => self.region().await?,
        };
        let region = self.region.insert(known);
        let targets = region.find(&self.settings).await?;
        Ok(group(&region.name, targets))
    }

    /// The configured one, or that of the environment, of the profile or of the machine.
    async fn region(&self) -> Result<Region, String> {
        let mut sigv4 = self.settings.sigv4.clone();
        let name = match &sigv4.region {
            Some(name) => name.clone(),
            None => Signer::with(&sigv4, self.environment.clone())
                .region()
                .await
                .map_err(|fault| fault.to_string())?,
        };
        sigv4.region = Some(name.clone());
        let endpoint = self.settings.endpoint.as_ref();
        let endpoint = endpoint.map_or_else(|| regional(&name), |typed| typed.expose().to_owned());
        let url = Url::parse(&endpoint).map_err(|e| format!("`endpoint` is no URL: {e}"))?;
        let client = HttpClient { sigv4: Some(Box::new(sigv4)), ..self.client.clone() };
        let api = Api::new(&client, self.refresh_interval);
        Ok(Region { name, url, api, zone_ids: None })
    }
}

impl Region {
    async fn find(&mut self, settings: &Settings) -> Result<Vec<Labels>, String> {
        if self.zone_ids.is_none() {
            self.zone_ids = match self.zone_ids().await {
                Ok(ids) => Some(ids),
                Err(reason) => {
                    debug!(reason, "the ids of the availability zones are not known");
                    None
                }
            };
        }
        let none = BTreeMap::new();
        let zone_ids = self.zone_ids.as_ref().unwrap_or(&none);
        let (mut targets, mut pages) = (Vec::new(), Pages::default());
        let (mut next, mut has_unknown_zone) = (String::new(), false);
        loop {
            let body = self.ask(&describe_instances(settings, &next)).await?;
            let page = answer::instances(&body).map_err(|fault| self.unexpected(&fault))?;
            pages.turn(page.reservations.iter().map(answer::Reservation::instances).sum())?;
            for reservation in &page.reservations {
                targets.extend(reservation.targets(&self.name, settings.port, zone_ids));
                has_unknown_zone |= reservation.zones().any(|zone| !zone_ids.contains_key(zone));
            }
            if page.next_token.is_empty() {
                break;
            }
            next = page.next_token;
        }
        if has_unknown_zone {
            // A new one: the next refresh asks again.
            self.zone_ids = None;
        }
        Ok(targets)
    }

    async fn zone_ids(&self) -> Result<BTreeMap<String, String>, String> {
        let body = self.ask(&parameters("DescribeAvailabilityZones")).await?;
        answer::zone_ids(&body).map_err(|fault| self.unexpected(&fault))
    }

    async fn ask(&self, parameters: &[(String, String)]) -> Result<Vec<u8>, String> {
        let pairs: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = self.api.send(form(self.url.clone(), &pairs)).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let refusal = answer::refusal(&answer.body);
        let fault = answer.good().err().unwrap_or_default();
        Err(refusal.map_or(fault.clone(), |refusal| format!("{fault}: {refusal}")))
    }

    fn unexpected(&self, fault: &str) -> String {
        format!("`{}`: unexpected answer: {fault}", hidden::url(self.url.as_str()))
    }
}

/// Of `DescribeInstances`, as the fuzzer asks for it. The other answers are read along with it.
pub(super) fn decode(body: &[u8]) -> Vec<Labels> {
    let zone_ids = answer::zone_ids(body).unwrap_or_default();
    let told = answer::refusal(body).map(|refusal| refusal.to_string()).unwrap_or_default();
    let page = answer::instances(body);
    let reservations = page.into_iter().flat_map(|page| page.reservations);
    reservations.flat_map(|it| it.targets(&told, 80, &zone_ids).collect::<Vec<_>>()).collect()
}

fn parameters(action: &str) -> Vec<(String, String)> {
    vec![("Action".to_owned(), action.to_owned()), ("Version".to_owned(), API_VERSION.to_owned())]
}

/// `next` is the token of the page, empty for the first.
fn describe_instances(settings: &Settings, next: &str) -> Vec<(String, String)> {
    let mut parameters = parameters("DescribeInstances");
    parameters.push(("MaxResults".to_owned(), PAGE_INSTANCES_MAX.to_owned()));
    for (n, filter) in settings.filters.iter().enumerate() {
        let n = n + 1;
        parameters.push((format!("Filter.{n}.Name"), filter.name.clone()));
        for (m, value) in filter.values.iter().enumerate() {
            parameters.push((format!("Filter.{n}.Value.{}", m + 1), value.clone()));
        }
    }
    if !next.is_empty() {
        parameters.push(("NextToken".to_owned(), next.to_owned()));
    }
    parameters
}

/// Where EC2 is asked about a region: each partition of AWS has a domain of its own.
fn regional(region: &str) -> String {
    const DOMAINS: [(&str, &str); 5] = [
        ("cn-", "amazonaws.com.cn"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("us-iso-", "c2s.ic.gov"),
        ("eusc-", "amazonaws.eu"),
    ];
    let domain = DOMAINS.iter().find(|(prefix, _)| region.starts_with(prefix));
    format!("https://ec2.{region}.{}/", domain.map_or("amazonaws.com", |(_, domain)| domain))
}
