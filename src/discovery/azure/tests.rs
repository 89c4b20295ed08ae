//! Azure's identity service, its resource manager and the metadata service of a machine as one fake.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use super::*;
use crate::{
    config::{AzureEnvironment, Secret},
    discovery::fake_cloud::{Asked, FakeCloud, Reply, reply},
    model::target::ADDRESS,
};

#[derive(Default)]
struct Behaviour {
    tokens: AtomicUsize,
    refuses_secret: AtomicBool,
    /// The next page of the machines is said to be elsewhere.
    leads_away: AtomicBool,
}

const COMPUTE: &str = "/subscriptions/sub/providers/Microsoft.Compute";
const GROUP: &str = "/subscriptions/sub/resourceGroups/rg/providers";

fn machine(name: &str, nic: &str) -> Value {
    json!({
        "id": format!("{GROUP}/Microsoft.Compute/virtualMachines/{name}"),
        "name": name, "location": "westeurope", "instanceId": "0",
        "properties": {"networkProfile": {"networkInterfaces": [
            {"id": format!("{GROUP}/Microsoft.Network/networkInterfaces/{nic}")},
        ]}},
    })
}

fn interface(address: &str) -> Reply {
    let public = json!({"properties": {"ipAddress": "20.1.2.3"}});
    let first = json!({"properties": {"privateIPAddress": address, "publicIPAddress": public}});
    reply(200, json!({"properties": {"primary": true, "ipConfigurations": [first]}}))
}

fn grant(asked: &Asked, behaviour: &Behaviour) -> Reply {
    if behaviour.refuses_secret.load(Ordering::SeqCst) {
        let told = "AADSTS7000215: Invalid client secret provided: hunter2";
        return reply(401, json!({"error": "invalid_client", "error_description": told}));
    }
    if asked.method == "POST" {
        let form: Vec<(String, String)> =
            url::form_urlencoded::parse(asked.body.as_bytes()).into_owned().collect();
        let expected = [
            ("grant_type", "client_credentials"),
            ("client_id", "me"),
            ("client_secret", "hunter2"),
            ("scope", "https://management.core.windows.net//.default"),
        ];
        assert_eq!(form, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    } else {
        assert_eq!(asked.header("metadata"), "true");
    }
    let number = behaviour.tokens.fetch_add(1, Ordering::SeqCst) + 1;
    let token = format!("token{number}");
    reply(200, json!({"token_type": "Bearer", "expires_in": "3599", "access_token": token}))
}

fn answer(asked: &Asked, behaviour: &Behaviour) -> Reply {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    if path == "/tenant/oauth2/v2.0/token" || path == "/metadata/identity/oauth2/token" {
        return grant(asked, behaviour);
    }
    let token = format!("Bearer token{}", behaviour.tokens.load(Ordering::SeqCst));
    if asked.header("authorization") != token {
        return reply(
            401,
            json!({"error": {"code": "ExpiredAuthenticationToken", "message": "m"}}),
        );
    }
    let scale_set = format!("{GROUP}/Microsoft.Compute/virtualMachineScaleSets/set");
    let host = asked.header("host");
    let relative = path.strip_prefix(GROUP).unwrap_or(path);
    match relative {
        _ if path == format!("{COMPUTE}/virtualMachines") && !query.contains("skip") => {
            let host = if behaviour.leads_away.load(Ordering::SeqCst) { "evil:1" } else { host };
            let next = format!("http://{host}{path}?{query}&$skiptoken=2");
            reply(200, json!({"value": [machine("vm1", "nic1")], "nextLink": next}))
        }
        _ if path == format!("{COMPUTE}/virtualMachines") => reply(
            200,
            json!({"value": [machine("vm2", "gone"), machine("vm3", "idle")], "nextLink": null}),
        ),
        _ if path == format!("{COMPUTE}/virtualMachineScaleSets") => {
            reply(200, json!({"value": [{"id": scale_set, "name": "set"}]}))
        }
        "/Microsoft.Compute/virtualMachines" => {
            reply(200, json!({"value": [machine("vm1", "nic1")]}))
        }
        "/Microsoft.Compute/virtualMachineScaleSets" => reply(200, json!({"value": []})),
        "/Microsoft.Compute/virtualMachineScaleSets/set/virtualMachines" => {
            reply(200, json!({"value": [machine("set_0", "nic")]}))
        }
        "/Microsoft.Network/networkInterfaces/nic1" => interface("10.0.0.1"),
        "/Microsoft.Network/networkInterfaces/idle" => reply(200, json!({"properties": {}})),
        "/microsoft.Compute/virtualMachineScaleSets/set/virtualMachines/0/networkInterfaces/nic" => {
            assert!(query.contains("api-version=2018-10-01"), "{query}");
            interface("10.0.0.9")
        }
        _ => reply(404, json!({"error": {"code": "ResourceNotFound", "message": path}})),
    }
}

struct Cloud {
    api: FakeCloud,
    behaviour: Arc<Behaviour>,
    source: Azure,
}

impl Cloud {
    async fn new(authentication: AzureAuthentication, resource_group: &str) -> Self {
        let behaviour = Arc::new(Behaviour::default());
        let own = Arc::clone(&behaviour);
        let api = FakeCloud::start(move |asked| answer(asked, &own)).await;
        let source = source(&api.url, authentication, resource_group);
        Self { api, behaviour, source }
    }

    /// The addresses, each with its scale set.
    async fn refresh(&mut self) -> Result<Vec<String>, String> {
        let groups = self.source.refresh().await?;
        assert_eq!(groups.len(), 1);
        let set = "__meta_azure_machine_scale_set";
        let targets = groups[0].targets.iter();
        Ok(targets.map(|it| format!("{} {}", it.get(ADDRESS), it.get(set))).collect())
    }
}

fn oauth() -> AzureAuthentication {
    AzureAuthentication::OAuth { client_id: "me".into(), client_secret: Secret::new("hunter2") }
}

fn source(url: &str, authentication: AzureAuthentication, resource_group: &str) -> Azure {
    let environment = AzureEnvironment {
        name: "AzurePublicCloud".into(),
        authority: url.to_owned(),
        endpoint: url.to_owned(),
        audience: "https://management.core.windows.net/".into(),
        metadata: url.to_owned(),
    };
    let settings = Settings {
        environment,
        authentication,
        subscription_id: "sub".into(),
        tenant_id: "tenant".into(),
        resource_group: resource_group.to_owned(),
        port: 9100,
    };
    let client = HttpClient { follow_redirects: true, ..HttpClient::default() };
    Azure::new(settings, Duration::from_secs(300), &client)
}

#[tokio::test]
async fn machines_and_those_of_scale_sets_are_found() {
    let mut cloud = Cloud::new(oauth(), "").await;
    let expected = ["10.0.0.1:9100 ", "10.0.0.9:9100 set"];
    assert_eq!(cloud.refresh().await.unwrap(), expected);
    let asked = cloud.api.asked();
    let expanded =
        asked.iter().filter(|it| it.path.contains("%24expand=IPConfigurations%2FPublicIPAddress"));
    assert_eq!(expanded.count(), 4);
    // Interfaces are remembered, but for one that is not there.
    assert_eq!(cloud.refresh().await.unwrap(), expected);
    let asked = cloud.api.asked();
    let interfaces = asked.iter().filter(|it| it.path.contains("networkInterfaces/"));
    let names: Vec<&str> =
        interfaces.filter_map(|it| it.path.rsplit('/').find(|p| p.starts_with("gone"))).collect();
    assert_eq!(names.len(), 1);
    assert_eq!(asked.len(), 5);
    assert_eq!(cloud.behaviour.tokens.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_group_is_asked_for_as_the_machine_itself() {
    for (client_id, query) in [("", false), ("that one", true)] {
        let identity = AzureAuthentication::ManagedIdentity { client_id: client_id.to_owned() };
        let mut cloud = Cloud::new(identity, "rg").await;
        assert_eq!(cloud.refresh().await.unwrap(), ["10.0.0.1:9100 "]);
        let asked = cloud.api.asked();
        let first = &asked[0].path;
        assert!(first.contains("api-version=2018-02-01"), "{first}");
        assert!(first.contains("resource=https%3A%2F%2Fmanagement.core.windows.net%2F"), "{first}");
        assert_eq!(first.contains("client_id=that+one"), query, "{first}");
    }
}

#[tokio::test]
async fn a_refused_token_is_asked_for_anew() {
    let mut cloud = Cloud::new(oauth(), "rg").await;
    cloud.refresh().await.unwrap();
    cloud.behaviour.tokens.fetch_add(1, Ordering::SeqCst);
    let fault = cloud.refresh().await.unwrap_err();
    assert!(fault.contains("401"), "{fault}");
    cloud.refresh().await.unwrap();
    assert_eq!(cloud.behaviour.tokens.load(Ordering::SeqCst), 3);

    let mut cloud = Cloud::new(oauth(), "rg").await;
    cloud.behaviour.refuses_secret.store(true, Ordering::SeqCst);
    let fault = cloud.refresh().await.unwrap_err();
    assert!(fault.contains("401") && fault.ends_with(": invalid_client"), "{fault}");
    assert!(!fault.contains("hunter2"), "{fault}");
}

#[tokio::test]
async fn the_token_goes_nowhere_else() {
    let mut cloud = Cloud::new(oauth(), "").await;
    cloud.behaviour.leads_away.store(true, Ordering::SeqCst);
    let fault = cloud.refresh().await.unwrap_err();
    assert!(fault.contains("the next page is on another host"), "{fault}");
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_a_fault() {
    for (status, body, expected) in [
        (200, "<html>Sign in</html>", "unexpected answer"),
        (200, "{}", "missing field `value`"),
        (200, r#"{"value": [{"id": "x"}]}"#, "missing field `name`"),
        (403, r#"{"error": {"code": "AuthorizationFailed"}}"#, "403"),
        (429, "", "429"),
        (302, "", "302"),
    ] {
        let behaviour = Behaviour::default();
        let api = FakeCloud::start(move |asked| {
            if asked.path.contains("/token") {
                grant(asked, &behaviour)
            } else {
                reply(status, body)
            }
        })
        .await;
        let fault = source(&api.url, oauth(), "").refresh().await.unwrap_err();
        assert!(fault.contains(expected), "{body}: {fault}");
    }
}
