//! OpenStack's services in one fake: Keystone, Nova, Neutron, Octavia.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::json;

use super::*;
use crate::{
    config::{OpenStackAvailability, OpenStackIdentity, Secret},
    discovery::fake_cloud::{Asked, FakeCloud, Reply, reply},
    model::target::ADDRESS,
};

/// What the fake does besides answering.
#[derive(Default)]
struct Behaviour {
    /// Tokens given out so far; the last one is the one that is taken.
    tokens: AtomicUsize,
    refuses_password: AtomicBool,
    /// How long a token lives, in seconds.
    life: AtomicUsize,
    is_old: AtomicBool,
}

fn keystone(asked: &Asked, behaviour: &Behaviour) -> Reply {
    if behaviour.refuses_password.load(Ordering::SeqCst) {
        return reply(
            401,
            json!({"error": {"code": 401, "message": "hunter2", "title": "Unauthorized"}}),
        );
    }
    assert_eq!(asked.method, "POST");
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(body["auth"]["identity"]["password"]["user"]["password"], "hunter2");
    let number = behaviour.tokens.fetch_add(1, Ordering::SeqCst) + 1;
    let life = i64::try_from(behaviour.life.load(Ordering::SeqCst)).unwrap();
    let ends = clock::now_ms() / 1_000 + life;
    let ends = time::OffsetDateTime::from_unix_timestamp(ends).unwrap();
    let ends = ends.format(&time::format_description::well_known::Rfc3339).unwrap();
    let host = asked.header("host");
    let service = |kind: &str, path: &str| {
        json!({"type": kind, "endpoints": [
            {"interface": "admin", "region_id": "one", "url": "http://127.0.0.1:1"},
            {"interface": "public", "region_id": "one", "url": format!("http://{host}{path}")},
        ]})
    };
    let catalog = [
        service("compute", "/compute/v2.1/"),
        service("network", "/network"),
        service("load-balancer", "/lb/v2.0"),
    ];
    reply(201, json!({"token": {"expires_at": ends, "catalog": catalog}}))
        .with("x-subject-token", &format!("token{number}"))
}

fn answer(asked: &Asked, behaviour: &Behaviour) -> Reply {
    if asked.path == "/v3/auth/tokens" {
        return keystone(asked, behaviour);
    }
    let token = format!("token{}", behaviour.tokens.load(Ordering::SeqCst));
    if asked.header("x-auth-token") != token {
        return reply(401, "");
    }
    let is_old = behaviour.is_old.load(Ordering::SeqCst);
    if is_old && !asked.header("x-openstack-nova-api-version").is_empty() {
        return reply(406, json!({"computeFault": {"message": "Version 2.47 is not supported"}}));
    }
    let flavor = if is_old { json!({"id": "1"}) } else { json!({"original_name": "m1.small"}) };
    let server = |id: &str, address: &str| json!({"id": id, "flavor": flavor, "addresses": {"pool": [{"addr": address}]}});
    match asked.path.as_str() {
        "/compute/v2.1/os-hypervisors/detail" => {
            reply(200, json!({"hypervisors": [{"id": 1, "host_ip": "172.16.70.14"}]}))
        }
        "/network/v2.0/ports?fields=id&fields=device_id" => {
            reply(200, json!({"ports": [{"id": "p1", "device_id": "s1"}]}))
        }
        "/network/v2.0/floatingips" => reply(
            200,
            json!({"floatingips": [
                {"floating_ip_address": "203.0.113.5", "port_id": "p1", "fixed_ip_address": "10.0.0.1"},
            ]}),
        ),
        "/compute/v2.1/servers/detail?all_tenants=true" => reply(
            200,
            json!({"servers": [server("s1", "10.0.0.1")], "servers_links": [
                {"rel": "next", "href": "http://127.0.0.1:1/servers/detail?all_tenants=true&marker=s1"},
            ]}),
        ),
        "/compute/v2.1/servers/detail?all_tenants=true&marker=s1" => {
            reply(200, json!({"servers": [server("s2", "10.0.0.2")]}))
        }
        "/lb/v2.0/lbaas/loadbalancers" => reply(
            200,
            json!({"loadbalancers": [{"id": "lb", "vip_address": "10.0.0.32", "vip_port_id": "p1"}]}),
        ),
        "/lb/v2.0/lbaas/listeners" => reply(
            200,
            json!({"listeners": [
                {"protocol": "PROMETHEUS", "protocol_port": 8088, "loadbalancers": [{"id": "lb"}]},
            ]}),
        ),
        other => reply(404, format!("no {other}")),
    }
}

struct Cloud {
    api: FakeCloud,
    behaviour: Arc<Behaviour>,
    source: OpenStack,
}

impl Cloud {
    async fn new(role: OpenStackRole) -> Self {
        let behaviour = Arc::new(Behaviour::default());
        behaviour.life.store(3_600, Ordering::SeqCst);
        let own = Arc::clone(&behaviour);
        let api = FakeCloud::start(move |asked| answer(asked, &own)).await;
        let identity = OpenStackIdentity {
            endpoint: crate::config::TypedUrl::new(&*api.url),
            user_id: "me".into(),
            password: Some(Secret::new("hunter2")),
            ..OpenStackIdentity::default()
        };
        let settings = Settings {
            identity: Some(identity),
            role,
            region: "one".into(),
            availability: OpenStackAvailability::Public,
            all_tenants: true,
            port: 9100,
        };
        let client = HttpClient { follow_redirects: true, ..HttpClient::default() };
        let source = OpenStack::new(settings, Duration::from_secs(60), &client);
        Self { api, behaviour, source }
    }

    /// The addresses of all targets, with one label of each.
    async fn refresh(&mut self, label: &str) -> Result<Vec<String>, String> {
        let groups = self.source.refresh().await?;
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].source, "OS_one");
        let targets = groups[0].targets.iter();
        Ok(targets.map(|it| format!("{} {}", it.get(ADDRESS), it.get(label))).collect())
    }

    fn tokens(&self) -> usize {
        self.behaviour.tokens.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn each_role_asks_its_services_with_one_token() {
    for (role, label, expected) in [
        (OpenStackRole::Hypervisor, "__meta_openstack_hypervisor_id", &["172.16.70.14:9100 1"][..]),
        (
            OpenStackRole::Instance,
            "__meta_openstack_public_ip",
            &["10.0.0.1:9100 203.0.113.5", "10.0.0.2:9100 "],
        ),
        (
            OpenStackRole::LoadBalancer,
            "__meta_openstack_loadbalancer_floating_ip",
            &["10.0.0.32:8088 203.0.113.5"],
        ),
    ] {
        let mut cloud = Cloud::new(role).await;
        for _ in 0..2 {
            let found = cloud.refresh(label).await;
            assert_eq!(
                found.as_deref(),
                Ok(&expected.iter().map(|&it| it.to_owned()).collect::<Vec<_>>()[..])
            );
        }
        assert_eq!(cloud.tokens(), 1, "{role:?}");
    }
}

#[tokio::test]
async fn the_name_of_a_flavor_is_asked_for_where_it_can_be() {
    let mut cloud = Cloud::new(OpenStackRole::Instance).await;
    for (is_old, flavor) in [(false, "m1.small"), (true, "1")] {
        cloud.behaviour.is_old.store(is_old, Ordering::SeqCst);
        let found = cloud.refresh("__meta_openstack_instance_flavor").await.unwrap();
        assert_eq!(found, [format!("10.0.0.1:9100 {flavor}"), format!("10.0.0.2:9100 {flavor}")]);
    }
}

#[tokio::test]
async fn a_token_that_is_taken_back_or_has_ended_is_asked_for_anew() {
    let mut cloud = Cloud::new(OpenStackRole::Hypervisor).await;
    let label = "__meta_openstack_hypervisor_id";
    cloud.refresh(label).await.unwrap();
    // Another agent's login: the old token is not taken any more.
    cloud.behaviour.tokens.fetch_add(1, Ordering::SeqCst);
    cloud.refresh(label).await.unwrap();
    assert_eq!(cloud.tokens(), 3);

    cloud.behaviour.tokens.fetch_add(1, Ordering::SeqCst);
    cloud.behaviour.refuses_password.store(true, Ordering::SeqCst);
    let fault = cloud.refresh(label).await.unwrap_err();
    assert!(fault.contains("/v3/auth/tokens") && fault.contains("401"), "{fault}");
    assert!(!fault.contains("hunter2"), "{fault}");
    cloud.behaviour.refuses_password.store(false, Ordering::SeqCst);

    // One that is as good as over is used for nothing.
    cloud.behaviour.life.store(0, Ordering::SeqCst);
    let fault = cloud.refresh(label).await.unwrap_err();
    assert!(fault.contains("has ended"), "{fault}");
    cloud.behaviour.life.store(3_600, Ordering::SeqCst);
    cloud.refresh(label).await.unwrap();
    let asked = cloud.api.asked();
    assert!(
        asked.iter().all(|it| it.path != "/v3/auth/tokens" || it.header("x-auth-token").is_empty())
    );
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_a_fault() {
    for (status, body, expected) in [
        (200, "<html>Sign in</html>", "unexpected answer"),
        (200, "{}", "no `hypervisors`"),
        (200, r#"{"hypervisors": [{"host_ip": "1"}]}"#, "missing field `id`"),
        (403, "hunter2", "403"),
        (500, "", "500"),
    ] {
        let behaviour = Behaviour { life: 3_600.into(), ..Behaviour::default() };
        let api = FakeCloud::start(move |asked| {
            if asked.path == "/v3/auth/tokens" {
                keystone(asked, &behaviour)
            } else {
                reply(status, body)
            }
        })
        .await;
        let mut cloud = Cloud::new(OpenStackRole::Hypervisor).await;
        let identity = cloud.source.settings.identity.as_mut().unwrap();
        identity.endpoint = crate::config::TypedUrl::new(&*api.url);
        let fault = cloud.refresh("").await.unwrap_err();
        assert!(fault.contains(expected) && !fault.contains("hunter2"), "{body}: {fault}");
    }
}
