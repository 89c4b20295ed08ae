//! As who Google is asked: a service account, a user, or the machine itself, looked for where Google's
//! own tools look. Pure, but for reading the file.

use std::path::{Path, PathBuf};

use ::http::{HeaderName, HeaderValue, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::{
    config::{Secret, SignatureAlgorithm, Source},
    discovery::{
        api::{self, get},
        bearer,
    },
    runtime::http::{jwt, read},
};

const SCOPE: &str = "https://www.googleapis.com/auth/compute.readonly";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// `metadata.google.internal`, also where its name can't be asked for.
const METADATA_HOST: &str = "169.254.169.254";
/// As long as Google believes an assertion.
const ASSERTION_SECONDS: i64 = 3_600;
/// The identity of the machine is given out to whoever can set a header: a mere link can't.
const METADATA_FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

/// Where they are looked for, in this order.
pub(super) struct Places {
    /// Named by the environment: it must be there.
    pub(super) named: Option<PathBuf>,
    /// Where Google's tools leave a user's.
    pub(super) usual: Option<PathBuf>,
    /// The URL of the machine's metadata server.
    pub(super) metadata: String,
}

impl Places {
    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let usual = ".config/gcloud/application_default_credentials.json";
        let host = variable("GCE_METADATA_HOST");
        Self {
            named: variable("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
            usual: variable("HOME").map(|home| Path::new(&home).join(usual)),
            metadata: format!("http://{}", host.as_deref().unwrap_or(METADATA_HOST)),
        }
    }
}

#[derive(Debug)]
pub(super) enum Credentials {
    ServiceAccount { email: String, key: Source, key_id: String, token_url: String },
    User { client_id: String, client_secret: Secret, refresh_token: Secret, token_url: String },
    Machine { metadata: String },
}

impl Credentials {
    pub(super) fn find(places: &Places) -> Result<Self, String> {
        let usual = places.usual.as_ref().filter(|path| path.exists());
        let Some(path) = places.named.as_ref().or(usual) else {
            return Ok(Self::Machine { metadata: places.metadata.clone() });
        };
        let text = read(&Source::File(path.clone()))?;
        Self::from_json(&text).map_err(|fault| format!("`{}`: {fault}", path.display()))
    }

    fn from_json(text: &str) -> Result<Self, String> {
        // What a message of the parser quotes may be secret.
        let file: File = serde_json::from_str(text)
            .map_err(|e| format!("not understood at line {} column {}", e.line(), e.column()))?;
        let token_url = file.token_uri.unwrap_or_else(|| TOKEN_URL.to_owned());
        let missing = |field: &str| format!("`{field}` is missing");
        match file.kind.as_str() {
            "service_account" => Ok(Self::ServiceAccount {
                email: file.client_email.ok_or_else(|| missing("client_email"))?,
                key: Source::Inline(Secret::new(
                    file.private_key.ok_or_else(|| missing("private_key"))?,
                )),
                key_id: file.private_key_id.unwrap_or_default(),
                token_url,
            }),
            "authorized_user" => Ok(Self::User {
                client_id: file.client_id.ok_or_else(|| missing("client_id"))?,
                client_secret: Secret::new(
                    file.client_secret.ok_or_else(|| missing("client_secret"))?,
                ),
                refresh_token: Secret::new(
                    file.refresh_token.ok_or_else(|| missing("refresh_token"))?,
                ),
                token_url,
            }),
            other => Err(format!(
                "credentials of type {other:?} are not supported; expected `service_account` or `authorized_user`"
            )),
        }
    }

    /// The request for a token.
    pub(super) fn request(&self, now_ms: i64) -> Result<Request<Vec<u8>>, String> {
        let parse = |url: &str| Url::parse(url).map_err(|e| format!("`token_uri` is no URL: {e}"));
        match self {
            Self::ServiceAccount { email, key, key_id, token_url } => {
                let issued = now_ms / 1_000;
                let claims = json!({
                    "iss": email, "scope": SCOPE, "aud": token_url,
                    "iat": issued, "exp": issued + ASSERTION_SECONDS,
                });
                let Value::Object(claims) = claims else {
                    unreachable!("it was written as an object")
                };
                let key_id = Some(key_id.as_str()).filter(|id| !id.is_empty());
                let assertion = jwt::sign(key, SignatureAlgorithm::Rs256, key_id, &claims)?;
                let fields = [("grant_type", GRANT), ("assertion", &assertion)];
                Ok(bearer::form(parse(token_url)?, &fields))
            }
            Self::User { client_id, client_secret, refresh_token, token_url } => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("client_id", client_id),
                    ("client_secret", client_secret.expose()),
                    ("refresh_token", refresh_token.expose()),
                ];
                Ok(bearer::form(parse(token_url)?, &fields))
            }
            Self::Machine { metadata } => {
                let path = "/computeMetadata/v1/instance/service-accounts/default/token";
                let mut request = get(api::url(metadata, path, &[("scopes", SCOPE)])?);
                let google = HeaderValue::from_static("Google");
                request.headers_mut().insert(METADATA_FLAVOR, google);
                Ok(request)
            }
        }
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "type", default)]
    kind: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    token_uri: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_makes_no_credentials_says_why() {
        for (text, expected) in [
            ("{", "not understood at line 1 column 1"),
            (r#"{"type": "hunter2", "private_key": 7}"#, "not understood"),
            (r#"{"type": "external_account"}"#, "not supported"),
            ("{}", "not supported"),
            (
                r#"{"type": "service_account", "private_key": "hunter2"}"#,
                "`client_email` is missing",
            ),
            (
                r#"{"type": "authorized_user", "client_id": "a", "client_secret": "hunter2"}"#,
                "`refresh_token` is missing",
            ),
        ] {
            let fault = Credentials::from_json(text).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
            assert!(!fault.contains("hunter2") || text.contains(r#""type": "hunter2""#), "{fault}");
        }
        let key = r#"{"type": "service_account", "client_email": "a@b", "private_key": "hunter2"}"#;
        let credentials = Credentials::from_json(key).unwrap();
        let fault = credentials.request(0).unwrap_err();
        assert!(
            !fault.contains("hunter2") && !format!("{credentials:?}").contains("hunter2"),
            "{fault}"
        );
    }

    #[test]
    fn they_are_looked_for_where_googles_tools_do() {
        let folder = tempfile::tempdir().unwrap();
        let user = |id: &str| {
            format!(
                r#"{{"type": "authorized_user", "client_id": "{id}", "client_secret": "s", "refresh_token": "r"}}"#
            )
        };
        let home = folder.path().join(".config/gcloud");
        std::fs::create_dir_all(&home).unwrap();
        let named = folder.path().join("named.json");
        let find = |names: &[&str]| {
            let places = Places::of(|name| match name {
                "HOME" if names.contains(&name) => Some(folder.path().display().to_string()),
                "GOOGLE_APPLICATION_CREDENTIALS" if names.contains(&name) => {
                    Some(named.display().to_string())
                }
                "GCE_METADATA_HOST" if names.contains(&name) => Some("10.0.0.1:80".to_owned()),
                _ => None,
            });
            match Credentials::find(&places)? {
                Credentials::User { client_id, .. } => Ok(client_id),
                Credentials::Machine { metadata } => Ok(metadata),
                Credentials::ServiceAccount { email, .. } => Err::<_, String>(email),
            }
        };
        let machine = Ok("http://169.254.169.254".to_owned());
        assert_eq!(find(&[]), machine);
        assert_eq!(find(&["HOME"]), machine, "nobody has logged in");
        assert_eq!(find(&["GCE_METADATA_HOST"]), Ok("http://10.0.0.1:80".to_owned()));
        std::fs::write(home.join("application_default_credentials.json"), user("usual")).unwrap();
        assert_eq!(find(&["HOME"]), Ok("usual".to_owned()));
        let all = ["HOME", "GOOGLE_APPLICATION_CREDENTIALS"];
        assert!(find(&all).is_err_and(|fault| fault.contains("named.json")), "it is not there");
        std::fs::write(&named, user("named")).unwrap();
        assert_eq!(find(&all), Ok("named".to_owned()));
    }
}
