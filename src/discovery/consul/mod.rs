//! `consul_sd_configs`: the names of services are watched, and each service that is wanted, by queries
//! that Consul answers when something has changed. What the answers mean is for `watches` to say.

mod answer;
mod watches;

use std::{collections::BTreeMap, future::pending, time::Duration};

use ::http::{HeaderMap, HeaderValue, Request};
use futures_util::{
    StreamExt,
    future::{AbortHandle, BoxFuture, FutureExt, abortable},
    stream::FuturesUnordered,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};
use url::Url;

use crate::{
    config::{Consul as Settings, HttpClient},
    discovery::{
        api::{self, Answer, Api, patience},
        pace::Pace,
        provider::{Round, Rounds},
    },
    runtime::clock,
};

pub(super) use crate::discovery::consul::answer::targets;
use crate::discovery::consul::{
    answer::{Found, datacenter, service_names},
    watches::{Ask, Query, WATCHES_MAX, Watches},
};

const INDEX: &str = "x-consul-index";
const TOKEN: &str = "x-consul-token";
/// What changes within so short a time is told at once.
const COALESCE: Duration = Duration::from_millis(250);
/// An answer that was waited for is still on its way for so long, and no longer.
const LATE_SECONDS_MAX: u64 = 20;

pub(super) async fn run(
    settings: Settings,
    refresh_interval: Duration,
    client: HttpClient,
    seed: u64,
    rounds: Rounds,
) {
    let server = Server {
        api: Api::new(&client, refresh_interval),
        patience: patience(refresh_interval),
        settings,
    };
    let mut pace = Pace::new(refresh_interval, seed);
    let datacenter = loop {
        let began_ms = clock::now_ms();
        match server.datacenter().await {
            Ok(datacenter) => break datacenter,
            Err(fault) => rounds.tell(Round::failed(began_ms, fault)).await,
        }
        sleep(pace.after(false)).await;
    };
    let settings = server.settings.clone();
    let watches = Watches::new(settings, datacenter, refresh_interval, seed, Instant::now());
    watch(&server, watches, &rounds).await;
}

/// One answer, and which it is of those that are waited for.
struct Heard {
    ask: Ask,
    began: Instant,
    began_ms: i64,
    outcome: Result<(Option<u64>, Found), String>,
}

async fn watch(server: &Server, mut watches: Watches, rounds: &Rounds) {
    let doors = Semaphore::new(WATCHES_MAX);
    let mut waiting: FuturesUnordered<BoxFuture<'_, Option<Heard>>> = FuturesUnordered::new();
    let mut handles: BTreeMap<Ask, AbortHandle> = BTreeMap::new();
    let mut due: Option<Instant> = None;
    loop {
        for (ask, query, after) in watches.wanted() {
            let (asking, handle) = abortable(server.ask(ask.clone(), query, after, &doors));
            handles.insert(ask, handle);
            waiting.push(asking.map(Result::ok).boxed());
        }
        let told = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(heard) = waiting.next() => {
                let Some(heard) = heard else { continue };
                let Heard { ask, began, began_ms, outcome } = heard;
                for gone in watches.learn(&ask, began, began_ms, Instant::now(), outcome) {
                    if let Some(handle) = handles.remove(&gone) {
                        handle.abort();
                    }
                }
                due.get_or_insert_with(|| Instant::now() + COALESCE);
            }
            () = told => {
                due = None;
                if let Some(round) = watches.round() {
                    rounds.tell(round).await;
                }
            }
        }
    }
}

struct Server {
    api: Api,
    patience: Duration,
    settings: Settings,
}

impl Server {
    /// That of the settings, or the one that the agent belongs to which is asked.
    async fn datacenter(&self) -> Result<String, String> {
        if !self.settings.datacenter.is_empty() {
            return Ok(self.settings.datacenter.clone());
        }
        let answer = self.api.send(self.request(self.url("/v1/agent/self")?)).await?.good()?;
        datacenter(&answer.body).map_err(|reason| answer.fault(reason))
    }

    /// Waits until `after`, and for one of the `doors`.
    async fn ask(&self, ask: Ask, query: Query, after: Instant, doors: &Semaphore) -> Heard {
        sleep_until(after).await;
        let _door = doors.acquire().await.expect("nobody closes the doors");
        let (began, began_ms) = (Instant::now(), clock::now_ms());
        let outcome = self.query(&ask, query).await;
        Heard { ask, began, began_ms, outcome }
    }

    async fn query(&self, ask: &Ask, query: Query) -> Result<(Option<u64>, Found), String> {
        // Consul adds up to a sixteenth, so that not all watches of a server end at once.
        let patience = query.blocking.map_or(self.patience, |(_, wait)| {
            wait + wait / 16 + Duration::from_secs(LATE_SECONDS_MAX)
        });
        let request = self.request(self.query_url(ask, query)?);
        let answer = self.api.send_within(request, patience).await?.good()?;
        let separator = &self.settings.tag_separator;
        let found = match ask {
            Ask::Catalog => service_names(&answer.body).map(Found::Names),
            Ask::Service(_) => targets(&answer.body, separator).map(Found::Targets),
        };
        Ok((index(&answer), found.map_err(|reason| answer.fault(reason))?))
    }

    fn query_url(&self, ask: &Ask, query: Query) -> Result<Url, String> {
        let settings = &self.settings;
        let (mut url, tags, filter) = match ask {
            Ask::Catalog => (self.url("/v1/catalog/services")?, &[][..], &settings.filter),
            Ask::Service(name) => {
                let mut url = self.url("/v1/health/service")?;
                url.path_segments_mut().expect("an HTTP URL has a path").push(name);
                (url, &settings.tags[..], &settings.health_filter)
            }
        };
        let mut pairs = url.query_pairs_mut();
        for tag in tags {
            pairs.append_pair("tag", tag);
        }
        for (key, value) in &settings.node_meta {
            pairs.append_pair("node-meta", &format!("{key}:{value}"));
        }
        if !filter.is_empty() {
            pairs.append_pair("filter", filter);
        }
        if settings.allow_stale {
            pairs.append_pair("stale", "");
        }
        if let Some((index, wait)) = query.blocking {
            pairs.append_pair("index", &index.to_string());
            pairs.append_pair("wait", &format!("{}ms", wait.as_millis()));
        }
        drop(pairs);
        Ok(url)
    }

    fn url(&self, path: &str) -> Result<Url, String> {
        let settings = &self.settings;
        let base =
            format!("{}://{}{}", settings.scheme, settings.server.expose(), settings.path_prefix);
        let query = [
            ("dc", &*settings.datacenter),
            ("ns", &*settings.namespace),
            ("partition", &*settings.partition),
        ];
        let query: Vec<_> = query.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        api::url(&base, path, &query)
    }

    fn request(&self, url: Url) -> Request<Vec<u8>> {
        let mut request = api::get(url);
        if let Some(token) = &self.settings.token {
            set_token(request.headers_mut(), token.expose());
        }
        request
    }
}

/// A token that no header can carry is no token that Consul knows; it will say so.
fn set_token(headers: &mut HeaderMap, token: &str) {
    if let Ok(mut value) = HeaderValue::from_str(token) {
        value.set_sensitive(true);
        headers.insert(TOKEN, value);
    }
}

fn index(answer: &Answer) -> Option<u64> {
    answer.headers.get(INDEX)?.to_str().ok()?.parse().ok()
}
