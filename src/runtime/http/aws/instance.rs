//! What the machine itself gives out: keys and region of an instance (its metadata service, version 2),
//! and the keys of a container.

use std::time::Duration;

use http::{HeaderName, StatusCode};
use reqwest::Client;
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use url::Url;

use crate::{
    config::{Source, Tls},
    runtime::{
        clock,
        http::{aws::Environment, line::Line, read, reason_of, renewed::Trouble},
    },
};

const METADATA: &str = "http://169.254.169.254";
const CONTAINER: &str = "http://169.254.170.2";
/// Nobody answers from further away than this machine; where nobody answers, it is no instance.
const ANSWER_SECONDS_MAX: u64 = 5;
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Asked for with each round of keys.
const TOKEN_SECONDS: &str = "300";

/// Keys as both tell them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Given {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) token: Option<String>,
    expiration: Option<String>,
}

impl Given {
    pub(super) fn life(&self) -> Option<Duration> {
        life(self.expiration.as_deref()?, clock::now_ms())
    }
}

/// Until the instant `at` in RFC 3339.
pub(super) fn life(at: &str, now_ms: i64) -> Option<Duration> {
    let at = OffsetDateTime::parse(at, &Rfc3339).ok()?;
    let ms = at.unix_timestamp().saturating_mul(1000).saturating_sub(now_ms);
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// The metadata service of an instance.
pub(super) struct Instance {
    line: Line,
    base: String,
    is_off: bool,
}

impl Instance {
    pub(super) fn new(environment: &Environment) -> Self {
        let base = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(METADATA);
        let off = environment.get("AWS_EC2_METADATA_DISABLED");
        Self {
            // Straight: it is within the machine.
            line: Line::new(&Tls::default(), None, false),
            base: base.trim_end_matches('/').to_owned(),
            is_off: off.is_some_and(|text| text.eq_ignore_ascii_case("true")),
        }
    }

    pub(super) async fn keys(&self) -> Result<Given, Trouble> {
        let client = self.client()?;
        let token = self.token(&client).await?;
        let list = "latest/meta-data/iam/security-credentials/";
        let role = self.ask(&client, &token, list).await?;
        let role = role.lines().next().unwrap_or("").trim();
        if role.is_empty() {
            return Err(Trouble::Lasting("no role is attached to this instance".to_owned()));
        }
        given(&self.ask(&client, &token, &format!("{list}{role}")).await?)
    }

    pub(super) async fn region(&self) -> Result<String, Trouble> {
        let client = self.client()?;
        let token = self.token(&client).await?;
        let region = self.ask(&client, &token, "latest/meta-data/placement/region").await?;
        Ok(region.trim().to_owned())
    }

    fn client(&self) -> Result<Client, Trouble> {
        if self.is_off {
            let reason = "no keys are configured, and AWS_EC2_METADATA_DISABLED is set";
            return Err(Trouble::Lasting(reason.to_owned()));
        }
        let url = Url::parse(&self.base);
        let url = url.map_err(|e| Trouble::Lasting(format!("metadata service: no URL: {e}")))?;
        self.line.client(&url).map_err(Trouble::Lasting)
    }

    async fn token(&self, client: &Client) -> Result<String, Trouble> {
        let request = client
            .put(format!("{}/latest/api/token", self.base))
            .header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
        text_of(request, "metadata service").await
    }

    async fn ask(&self, client: &Client, token: &str, path: &str) -> Result<String, Trouble> {
        let request =
            client.get(format!("{}/{path}", self.base)).header("x-aws-ec2-metadata-token", token);
        text_of(request, "metadata service").await
    }
}

/// `None` where this is no container.
pub(super) async fn container(environment: &Environment) -> Option<Result<Given, Trouble>> {
    let full = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(str::to_owned);
    let relative = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let url = relative.map(|path| format!("{CONTAINER}{path}")).or(full)?;
    Some(from_container(&url, environment).await)
}

async fn from_container(url: &str, environment: &Environment) -> Result<Given, Trouble> {
    let line = Line::new(&Tls::default(), None, false);
    let parsed = Url::parse(url);
    let parsed = parsed.map_err(|e| Trouble::Lasting(format!("container's keys: no URL: {e}")))?;
    let mut request = line.client(&parsed).map_err(Trouble::Lasting)?.get(parsed);
    let file = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let token = match file {
        Some(path) => Some(read(&Source::File(path.into())).map_err(Trouble::Passing)?),
        None => environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(str::to_owned),
    };
    if let Some(token) = token {
        request = request.header(HeaderName::from_static("authorization"), token);
    }
    given(&text_of(request, "container's keys").await?)
}

fn given(text: &str) -> Result<Given, Trouble> {
    serde_json::from_str(text).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        Trouble::Passing(format!("the keys are not understood, at line {line} column {column}"))
    })
}

async fn text_of(request: reqwest::RequestBuilder, whom: &str) -> Result<String, Trouble> {
    let passing = |reason: String| Trouble::Passing(format!("{whom}: {reason}"));
    let request = request.timeout(Duration::from_secs(ANSWER_SECONDS_MAX));
    let answer = request.send().await.map_err(|e| passing(reason_of(e)))?;
    let status = answer.status();
    let text = bounded(answer, ANSWER_BYTES_MAX).await.map_err(passing)?;
    if status != StatusCode::OK {
        return Err(passing(format!("server returned HTTP status {status}")));
    }
    Ok(text)
}

pub(super) async fn bounded(
    mut answer: reqwest::Response,
    bytes_max: usize,
) -> Result<String, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reason_of)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("the answer is larger than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| "the answer is not UTF-8 text".to_owned())
}
