//! `gce_sd_configs`: the instances that Google's Compute Engine has in one zone, page after page.

mod answer;
mod credentials;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ::http::{HeaderValue, header::AUTHORIZATION};
use tokio::time::Instant;
use url::{Url, form_urlencoded::byte_serialize};

use crate::{
    config::{Gce as Settings, HttpClient},
    discovery::{
        api::{self, Api, Pages},
        bearer,
        gce::{
            answer::Page,
            credentials::{Credentials, Places},
        },
        lent::Lent,
        meta::group,
    },
    model::{labels::Labels, target::TargetGroup},
    runtime::clock,
};

pub(super) struct Gce {
    api: Api,
    settings: Settings,
    places: Places,
    token: Lent<HeaderValue>,
}

/// A page of instances, as the fuzzer asks for it.
pub(super) fn decode(body: &[u8]) -> Vec<Labels> {
    let page = serde_json::from_slice::<Page>(body);
    page.into_iter().flat_map(|it| it.items).filter_map(|it| it.target("p", ",", 80)).collect()
}

impl Gce {
    pub(super) fn new(settings: Settings, refresh: Duration, client: &HttpClient) -> Self {
        Self::with(settings, refresh, client, Places::of(|name| std::env::var(name).ok()))
    }

    fn with(settings: Settings, refresh: Duration, client: &HttpClient, places: Places) -> Self {
        // Where a redirect leads, the token must not go.
        let client = HttpClient { follow_redirects: false, ..client.clone() };
        Self { api: Api::new(&client, refresh), settings, places, token: Lent::default() }
    }

    pub(super) async fn refresh(&mut self) -> Result<Vec<TargetGroup>, String> {
        let now = Instant::now();
        if self.token.get(now).is_none() {
            let request = Credentials::find(&self.places)?.request(clock::now_ms())?;
            let (token, life) = bearer::granted(self.api.send(request).await?)?;
            self.token.put(token, life, now);
        }
        let targets = self.find(now).await;
        if targets.is_err() {
            // It may be the reason.
            self.token.throw_away();
        }
        let source = format!("GCE_{}_{}", self.settings.project, self.settings.zone);
        Ok(group(&source, targets?))
    }

    async fn find(&self, now: Instant) -> Result<Vec<Labels>, String> {
        let Some(token) = self.token.get(now) else {
            return Err("Google gave out a token that has ended".to_owned());
        };
        let Settings { project, tag_separator, port, .. } = &self.settings;
        let (mut targets, mut pages) = (Vec::new(), Pages::default());
        let mut next = String::new();
        loop {
            let mut request = api::get(self.url(&next)?);
            request.headers_mut().insert(AUTHORIZATION, token.clone());
            let answer = self.api.send(request).await?.good()?;
            let page: Page = answer.json()?;
            pages.turn(page.items.len()).map_err(|fault| answer.fault(fault))?;
            targets.extend(
                page.items.iter().filter_map(|it| it.target(project, tag_separator, *port)),
            );
            if page.next_page_token.is_empty() {
                return Ok(targets);
            }
            next = page.next_page_token;
        }
    }

    fn url(&self, next: &str) -> Result<Url, String> {
        let Settings { project, zone, filter, endpoint, .. } = &self.settings;
        let encoded =
            |part: &str| byte_serialize(part.as_bytes()).collect::<String>().replace('+', "%20");
        let path =
            format!("/compute/v1/projects/{}/zones/{}/instances", encoded(project), encoded(zone));
        let query: Vec<(&str, &str)> = [("filter", &**filter), ("pageToken", next)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        api::url(endpoint, &path, &query)
    }
}
