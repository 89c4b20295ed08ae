//! Google's token service, its Compute Engine and the metadata server of a machine as one fake.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::{
    discovery::fake_cloud::{Asked, FakeCloud, Reply, reply},
    model::target::ADDRESS,
};

#[derive(Default)]
struct Behaviour {
    tokens: AtomicUsize,
    refuses: AtomicBool,
}

fn grant(behaviour: &Behaviour) -> Reply {
    if behaviour.refuses.load(Ordering::SeqCst) {
        return reply(400, json!({"error": "invalid_grant", "error_description": "hunter2"}));
    }
    let number = behaviour.tokens.fetch_add(1, Ordering::SeqCst) + 1;
    let token = format!("token{number}");
    reply(200, json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}))
}

fn answer(asked: &Asked, behaviour: &Behaviour) -> Reply {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    match path {
        "/token" => return grant(behaviour),
        "/computeMetadata/v1/instance/service-accounts/default/token" => {
            assert_eq!(asked.header("metadata-flavor"), "Google");
            return grant(behaviour);
        }
        _ => {}
    }
    let token = format!("Bearer token{}", behaviour.tokens.load(Ordering::SeqCst));
    if asked.header("authorization") != token {
        return reply(401, json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}}));
    }
    assert_eq!(path, "/compute/v1/projects/my%3Aproject/zones/us-east1-b/instances");
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(query[0], ("filter".to_owned(), "labels.env = \"prod\"".to_owned()));
    let (address, next) = match query.get(1) {
        None => ("10.0.0.1", "a+b="),
        Some((name, value)) => {
            assert_eq!((name.as_str(), value.as_str()), ("pageToken", "a+b="));
            ("10.0.0.2", "")
        }
    };
    let instance = json!({"id": "1", "name": "a", "networkInterfaces": [{"networkIP": address}]});
    reply(200, json!({"kind": "compute#instanceList", "items": [instance], "nextPageToken": next}))
}

struct Cloud {
    api: FakeCloud,
    behaviour: Arc<Behaviour>,
    source: Gce,
}

impl Cloud {
    async fn new(named: Option<std::path::PathBuf>) -> Self {
        let behaviour = Arc::new(Behaviour::default());
        let own = Arc::clone(&behaviour);
        let api = FakeCloud::start(move |asked| answer(asked, &own)).await;
        let source = source(&api.url, named);
        Self { api, behaviour, source }
    }

    async fn refresh(&mut self) -> Result<Vec<String>, String> {
        let groups = self.source.refresh().await?;
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].source, "GCE_my:project_us-east1-b");
        Ok(groups[0].targets.iter().map(|it| it.get(ADDRESS).to_owned()).collect())
    }
}

fn source(url: &str, named: Option<std::path::PathBuf>) -> Gce {
    let settings = Settings {
        project: "my:project".into(),
        zone: "us-east1-b".into(),
        filter: "labels.env = \"prod\"".into(),
        tag_separator: ",".into(),
        port: 9100,
        endpoint: url.to_owned(),
    };
    let client = HttpClient { follow_redirects: true, ..HttpClient::default() };
    let places = Places { named, usual: None, metadata: url.to_owned() };
    Gce::with(settings, Duration::from_secs(60), &client, places)
}

const BOTH: [&str; 2] = ["10.0.0.1:9100", "10.0.0.2:9100"];

#[tokio::test]
async fn all_pages_are_asked_for_as_the_machine() {
    let mut cloud = Cloud::new(None).await;
    for requests in [3, 2] {
        assert_eq!(cloud.refresh().await.unwrap(), BOTH);
        assert_eq!(cloud.api.asked().len(), requests, "the token is kept");
    }
}

#[tokio::test]
async fn a_service_account_signs_for_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("account.json");
    let mut cloud = Cloud::new(Some(path.clone())).await;
    // No library here makes RSA keys.
    let openssl = std::process::Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output();
    let key = openssl.unwrap();
    assert!(key.status.success(), "{key:?}");
    let account = |key: &str| {
        let account = json!({
            "type": "service_account", "project_id": "p", "private_key_id": "kid",
            "private_key": key, "client_email": "agent@p.iam.gserviceaccount.com",
            "token_uri": format!("{}/token", cloud.api.url),
        });
        std::fs::write(&path, account.to_string()).unwrap();
    };
    account(&String::from_utf8(key.stdout).unwrap());
    assert_eq!(cloud.refresh().await.unwrap(), BOTH);
    let asked = cloud.api.asked();
    let form: Vec<(String, String)> =
        url::form_urlencoded::parse(asked[0].body.as_bytes()).into_owned().collect();
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let parts: Vec<Value> = form[1]
        .1
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    assert_eq!((&parts[0]["alg"], &parts[0]["kid"]), (&json!("RS256"), &json!("kid")));
    let claims = &parts[1];
    assert_eq!(claims["iss"], "agent@p.iam.gserviceaccount.com");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/compute.readonly");
    assert_eq!(claims["aud"], format!("{}/token", cloud.api.url));
    let seconds = |name: &str| claims[name].as_i64().unwrap();
    assert_eq!(seconds("exp") - seconds("iat"), 3_600);
    assert!((seconds("iat") - clock::now_ms() / 1_000).abs() < 60);
    assert!(claims.get("sub").is_none(), "it asks for nobody else");
}

#[tokio::test]
async fn a_user_refreshes_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("user.json");
    let mut cloud = Cloud::new(Some(path.clone())).await;
    let user = json!({
        "type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r",
        "token_uri": format!("{}/token", cloud.api.url),
    });
    std::fs::write(&path, user.to_string()).unwrap();
    assert_eq!(cloud.refresh().await.unwrap(), BOTH);
    let expected = "grant_type=refresh_token&client_id=i&client_secret=s&refresh_token=r";
    assert_eq!(cloud.api.asked()[0].body, expected);
}

#[tokio::test]
async fn a_refused_token_is_asked_for_anew() {
    let mut cloud = Cloud::new(None).await;
    cloud.refresh().await.unwrap();
    cloud.behaviour.tokens.fetch_add(1, Ordering::SeqCst);
    let fault = cloud.refresh().await.unwrap_err();
    assert!(fault.contains("401"), "{fault}");
    assert_eq!(cloud.refresh().await.unwrap(), BOTH);

    let mut cloud = Cloud::new(None).await;
    cloud.behaviour.refuses.store(true, Ordering::SeqCst);
    let fault = cloud.refresh().await.unwrap_err();
    assert!(fault.ends_with(": invalid_grant") && !fault.contains("hunter2"), "{fault}");
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_a_fault() {
    for (status, body, expected) in [
        (200, "<html>Sign in</html>", "unexpected answer"),
        (200, "{}", "missing field `kind`"),
        (403, r#"{"error": {"code": 403}}"#, "403"),
        (302, "", "302"),
    ] {
        let behaviour = Behaviour::default();
        let api = FakeCloud::start(move |asked| {
            if asked.path.contains("/token") { grant(&behaviour) } else { reply(status, body) }
        })
        .await;
        let fault = source(&api.url, None).refresh().await.unwrap_err();
        assert!(fault.contains(expected), "{body}: {fault}");
    }
}
