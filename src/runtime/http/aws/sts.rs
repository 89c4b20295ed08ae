//! A role is taken on: the security token service gives out keys for a time, to who shows keys of its
//! own or a token of a web identity.

use std::time::Duration;

use aws_credential_types::Credentials;
use http::header::CONTENT_TYPE;
use quick_xml::de::from_str;
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::{
    config::{Proxy, ProxyRoute, SigV4, Tls},
    runtime::{
        clock,
        http::{
            aws::{
                Environment, Keys,
                instance::{bounded, life},
                signed,
            },
            line::Line,
            reason_of,
            renewed::{Fresh, Trouble},
        },
    },
};

const VERSION: &str = "2011-06-15";
const ANSWER_SECONDS_MAX: u64 = 30;
const ANSWER_BYTES_MAX: usize = 256 << 10;

pub(super) struct Sts {
    line: Line,
    endpoint: Option<String>,
    use_fips: bool,
}

/// Who is taken on.
pub(super) struct Role<'r> {
    pub(super) arn: &'r str,
    pub(super) session_name: String,
}

impl Sts {
    pub(super) fn new(settings: &SigV4, environment: &Environment) -> Self {
        let proxy = Proxy { route: ProxyRoute::Environment, connect_header: Vec::new() };
        let named = environment.get("AWS_ENDPOINT_URL_STS");
        let endpoint = named.or_else(|| environment.get("AWS_ENDPOINT_URL")).map(str::to_owned);
        Self {
            line: Line::new(&Tls::default(), Some(&proxy), false),
            endpoint,
            use_fips: settings.use_fips_sts_endpoint,
        }
    }

    /// With keys of our own.
    pub(super) async fn assume(
        &self,
        role: &Role<'_>,
        settings: &SigV4,
        own: &Keys,
    ) -> Result<Fresh<Credentials>, Trouble> {
        let mut form = vec![
            ("Action".to_owned(), "AssumeRole".to_owned()),
            ("RoleArn".to_owned(), role.arn.to_owned()),
            ("RoleSessionName".to_owned(), role.session_name.clone()),
        ];
        form.extend(settings.external_id.iter().map(|id| ("ExternalId".to_owned(), id.clone())));
        for (n, (name, value)) in settings.tags.iter().enumerate() {
            form.push((format!("Tags.member.{}.Key", n + 1), name.clone()));
            form.push((format!("Tags.member.{}.Value", n + 1), value.clone()));
        }
        self.ask(form, &own.region, Some(own)).await
    }

    /// With a token that another service has given.
    pub(super) async fn assume_with_token(
        &self,
        role: &Role<'_>,
        token: String,
        region: &str,
    ) -> Result<Fresh<Credentials>, Trouble> {
        let form = vec![
            ("Action".to_owned(), "AssumeRoleWithWebIdentity".to_owned()),
            ("RoleArn".to_owned(), role.arn.to_owned()),
            ("RoleSessionName".to_owned(), role.session_name.clone()),
            ("WebIdentityToken".to_owned(), token),
        ];
        self.ask(form, region, None).await
    }

    async fn ask(
        &self,
        mut form: Vec<(String, String)>,
        region: &str,
        own: Option<&Keys>,
    ) -> Result<Fresh<Credentials>, Trouble> {
        form.push(("Version".to_owned(), VERSION.to_owned()));
        let url = Url::parse(&self.url(region))
            .map_err(|e| Trouble::Lasting(format!("STS: no URL: {e}")))?;
        let client = self.line.client(&url).map_err(Trouble::Lasting)?;
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = client
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .timeout(Duration::from_secs(ANSWER_SECONDS_MAX))
            .body(body)
            .build()
            .map_err(|e| Trouble::Lasting(format!("STS: {}", reason_of(e))))?;
        if let Some(own) = own {
            let headers =
                signed(&request, own, "sts", clock::now_ms()).map_err(Trouble::Lasting)?;
            request.headers_mut().extend(headers);
        }
        let passing = |reason: String| Trouble::Passing(format!("STS: {reason}"));
        let answer = client.execute(request).await.map_err(|e| passing(reason_of(e)))?;
        let status = answer.status();
        let text = bounded(answer, ANSWER_BYTES_MAX).await.map_err(passing)?;
        if status.is_success() {
            return keys_of(&text, clock::now_ms()).map_err(passing);
        }
        let refusal: Option<Refusal> = from_str(&text).ok();
        let code = refusal.map_or_else(String::new, |refusal| format!(": {}", refusal.error.code));
        let reason = format!("STS: server returned HTTP status {status}{code}");
        let passes = status.is_server_error() || status.as_u16() == 429;
        Err(if passes { Trouble::Passing(reason) } else { Trouble::Lasting(reason) })
    }

    fn url(&self, region: &str) -> String {
        if let Some(endpoint) = &self.endpoint {
            return endpoint.clone();
        }
        let kind = if self.use_fips { "sts-fips" } else { "sts" };
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("https://{kind}.{region}.{domain}/")
    }
}

fn keys_of(text: &str, now_ms: i64) -> Result<Fresh<Credentials>, String> {
    let answer: Answer = from_str(text).map_err(|_| "the answer is not understood".to_owned())?;
    let result = answer.assume_role.or(answer.assume_role_with_web_identity);
    let given = result.ok_or("the answer has no keys")?.credentials;
    let credentials = Credentials::new(
        given.access_key_id,
        given.secret_access_key,
        Some(given.session_token),
        None,
        "sts",
    );
    Ok(Fresh { value: credentials, life: life(&given.expiration, now_ms) })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "AssumeRoleResult")]
    assume_role: Option<Outcome>,
    #[serde(rename = "AssumeRoleWithWebIdentityResult")]
    assume_role_with_web_identity: Option<Outcome>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome {
    credentials: Given,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    error: Reason,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reason {
    code: String,
}
