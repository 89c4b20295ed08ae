//! `http_sd_configs`: groups in JSON from a server that is asked every refresh interval. While it
//! does not answer, or answers nonsense, its last good list stays.

use std::time::Duration;

use ::http::{
    StatusCode,
    header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use reqwest::Method;
use tokio::time::{MissedTickBehavior, interval};
use url::Url;

use crate::{
    config::HttpClient,
    discovery::{
        api::{body, patience},
        group,
        provider::{Round, Rounds},
    },
    model::target::TargetGroup,
    runtime::{clock, http::Caller},
};

const URL: &str = "__meta_url";
const REFRESH_INTERVAL: &str = "x-prometheus-refresh-interval-seconds";

pub(super) async fn run(
    url: String,
    refresh_interval: Duration,
    client: HttpClient,
    rounds: Rounds,
) {
    let mut server = Server {
        caller: Caller::new(&client),
        shown: without_password(&url),
        url,
        refresh_interval,
        etag: None,
    };
    let mut due = interval(refresh_interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        rounds.tell(server.refresh().await).await;
    }
}

struct Server {
    caller: Caller,
    url: String,
    /// For people: in labels and messages.
    shown: String,
    refresh_interval: Duration,
    /// Of the last good list.
    etag: Option<String>,
}

impl Server {
    async fn refresh(&mut self) -> Round {
        let began_ms = clock::now_ms();
        match self.ask().await {
            Ok(groups) => Round { began_ms, groups, faults: Vec::new() },
            Err(fault) => {
                Round::failed(began_ms, format!("`{}`: {fault}", without_query(&self.shown)))
            }
        }
    }

    /// `None`: the list is as it was.
    async fn ask(&mut self) -> Result<Option<Vec<TargetGroup>>, String> {
        let mut request = self
            .caller
            .request(Method::GET, &self.url)?
            .timeout(patience(self.refresh_interval))
            .header(ACCEPT, "application/json")
            .header(REFRESH_INTERVAL, self.refresh_interval.as_secs_f64().to_string());
        if let Some(etag) = &self.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = request.send().await.map_err(|fault| fault.to_string())?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && self.etag.is_some() {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(format!("server returned HTTP status {status}"));
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = header(CONTENT_TYPE).unwrap_or_default();
        if !is_json(content_type) {
            return Err(format!("unsupported content type {content_type:?}"));
        }
        let etag = header(ETAG).map(str::to_owned);
        let groups = groups_of(&body(response).await?, &self.shown)?;
        self.etag = etag;
        Ok(Some(groups))
    }
}

/// A group is known by its place in the list.
fn groups_of(body: &[u8], url: &str) -> Result<Vec<TargetGroup>, String> {
    let mut groups = group::from_json(body)?;
    for (n, group) in groups.iter_mut().enumerate() {
        group.source = format!("{url}:{n}");
        group.labels.set(URL, url);
    }
    Ok(groups)
}

/// `application/json`, with at most a charset of UTF-8 behind it.
fn is_json(content_type: &str) -> bool {
    let content_type = content_type.trim().to_ascii_lowercase();
    content_type.strip_prefix("application/json").is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix(';')
                .and_then(|parameter| parameter.trim_start().strip_prefix("charset="))
                .is_some_and(|charset| matches!(charset, "utf-8" | "\"utf-8\""))
    })
}

/// A query may hold a token: labels show it, as Prometheus' do, but the log goes further than they.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

fn without_password(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            // Only an URL without a host refuses, and such a one has no password.
            let _ = parsed.set_password(None);
            parsed.to_string()
        }
        Ok(_) | Err(_) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_no_query() {
        for (url, expected) in [
            ("http://h:1/sd?token=hunter2", "http://h:1/sd"),
            ("http://h/#hunter2", "http://h/"),
            ("http://h/sd", "http://h/sd"),
        ] {
            assert_eq!(without_query(url), expected);
        }
    }

    #[test]
    fn only_json_in_utf8_is_taken() {
        for (content_type, expected) in [
            ("application/json", true),
            (" Application/JSON; Charset=\"UTF-8\" ", true),
            ("application/json;charset=utf-8", true),
            ("application/json;", false),
            ("application/json;charset=\"utf-8", false),
            ("application/json; charset=latin1", false),
            ("application/jsonx", false),
            ("text/json", false),
            ("", false),
        ] {
            assert_eq!(is_json(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_password("http://me:x@a:1/sd?b"), "http://me@a:1/sd?b");
        assert_eq!(without_password("http://a:1"), "http://a:1");
    }
}
