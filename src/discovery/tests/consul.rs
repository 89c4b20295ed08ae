//! Consul: `/v1/catalog/services` and `/v1/health/service/:name`, held until something changes.

use super::{
    Running, addresses, check,
    fake_api::{FakeApi, Reply},
    settings,
};
use crate::model::target::TargetGroup;

const WEB: &str = r#"[
    {"Node": {"ID": "40e4", "Node": "vm-1", "Address": "10.1.10.12", "Datacenter": "dc1",
              "TaggedAddresses": {"lan": "10.1.10.12", "wan-v4": "198.51.100.1"},
              "Meta": {"rack-id": "r7"}, "CreateIndex": 1, "ModifyIndex": 2},
     "Service": {"ID": "web-1", "Service": "web", "Tags": ["v1", "canary"], "Address": "10.9.0.1",
                 "TaggedAddresses": {"lan": {"address": "10.9.0.1", "port": 8000}},
                 "Meta": {"version.full": "4.2"}, "Port": 8000, "Weights": {"Passing": 10, "Warning": 1},
                 "EnableTagOverride": false, "Namespace": "team", "Partition": "east"},
     "Checks": [{"Node": "vm-1", "CheckID": "serfHealth", "Name": "Serf", "Status": "passing"},
                {"Node": "vm-1", "CheckID": "service:web", "Status": "warning"}]},
    {"Node": {"Node": "vm-2", "Address": "fd00::2", "TaggedAddresses": null, "Meta": null},
     "Service": {"ID": "web-2", "Service": "web", "Tags": [], "Address": "", "Port": 8001, "Meta": {}},
     "Checks": [{"CheckID": "_service_maintenance:web-2", "Status": "critical"}]}]"#;

fn one(address: &str) -> String {
    format!(
        r#"[{{"Node": {{"Node": "n", "Address": "{address}"}}, "Service": {{"ID": "s", "Tags": null, "Port": 1}}, "Checks": []}}]"#
    )
}

const MYSELF: &str = r#"{"Config": {"Datacenter": "dc1", "NodeName": "foobar"}, "Member": {}}"#;

fn start(api: &FakeApi, more: &str) -> Running {
    let text = format!(
        "consul_sd_configs: [{{server: '{}', refresh_interval: 50ms{more}}}]",
        api.address()
    );
    Running::start(settings(&text))
}

/// `service: address address`, service by service.
fn shown(groups: &[TargetGroup]) -> Vec<String> {
    let line = |group: &TargetGroup| {
        format!(
            "{}: {}",
            group.labels.get("__meta_consul_service"),
            addresses(&group.targets).join(" ")
        )
    };
    groups.iter().map(line).collect()
}

#[tokio::test]
async fn each_instance_of_a_service_is_a_target() {
    let api = FakeApi::start().await;
    api.reply("/x/v1/agent/self", Reply::json(MYSELF));
    api.reply("/x/v1/health/service/we%20b", Reply::json(WEB).at(7));
    let mut provider = start(
        &api,
        ", path_prefix: x/, services: [we b], tag_separator: '::', token: hush, namespace: team, partition: east, node_meta: {rack: r7}, health_filter: 'Checks.Status != critical', username: u, password: p",
    );
    let groups = provider.groups().await;
    assert_eq!(shown(&groups), ["we b: 10.9.0.1:8000 [fd00::2]:8001"]);
    assert_eq!(groups[0].labels.get("__meta_consul_dc"), "dc1");
    check(
        &groups[0].targets[0],
        &[
            ("__address__", "10.9.0.1:8000"),
            ("__meta_consul_address", "10.1.10.12"),
            ("__meta_consul_health", "warning"),
            ("__meta_consul_metadata_rack_id", "r7"),
            ("__meta_consul_namespace", "team"),
            ("__meta_consul_node", "vm-1"),
            ("__meta_consul_partition", "east"),
            ("__meta_consul_service_address", "10.9.0.1"),
            ("__meta_consul_service_id", "web-1"),
            ("__meta_consul_service_metadata_version_full", "4.2"),
            ("__meta_consul_service_port", "8000"),
            ("__meta_consul_tagged_address_lan", "10.1.10.12"),
            ("__meta_consul_tagged_address_wan_v4", "198.51.100.1"),
            ("__meta_consul_tags", "::v1::canary::"),
        ],
    );
    check(
        &groups[0].targets[1],
        &[
            ("__address__", "[fd00::2]:8001"),
            ("__meta_consul_address", "fd00::2"),
            ("__meta_consul_health", "maintenance"),
            ("__meta_consul_node", "vm-2"),
            ("__meta_consul_service_id", "web-2"),
            ("__meta_consul_service_port", "8001"),
            ("__meta_consul_tags", "::"),
        ],
    );
    let held = api.asked_for(|asked| asked.target.contains("index=7")).await;
    assert_eq!(
        held.target,
        "/x/v1/health/service/we%20b?ns=team&partition=east&node-meta=rack%3Ar7&filter=Checks.Status+%21%3D+critical&stale=&index=7&wait=10000ms"
    );
    assert!(held.head.contains("x-consul-token: hush\r\n"), "{}", held.head);
    assert!(held.head.contains("authorization: basic dtpw\r\n"), "{}", held.head);
}

#[tokio::test]
async fn services_come_and_go_with_the_catalog() {
    let api = FakeApi::start().await;
    let catalog = |index: u64, text: &str| {
        api.reply("/v1/catalog/services", Reply::json(text).at(index));
    };
    catalog(5, r#"{"consul": [], "web": ["a", "b"], "db": ["a"], "other": null}"#);
    for name in ["web", "db", "new"] {
        let reply = Reply::json(one(&format!("{name}.example"))).at(3);
        api.reply(&format!("/v1/health/service/{name}"), reply);
    }
    let mut provider = start(&api, ", datacenter: dc2, tags: [a], filter: 'x == y'");
    assert_eq!(shown(&provider.groups().await), ["db: db.example:1", "web: web.example:1"]);
    catalog(6, r#"{"web": ["b"], "db": ["a"], "new": ["a"]}"#);
    assert_eq!(shown(&provider.groups().await), ["db: db.example:1", "new: new.example:1"]);
    api.reply("/v1/health/service/db", Reply::json("[]").at(4));
    assert_eq!(shown(&provider.groups().await), ["db: ", "new: new.example:1"]);

    assert!(api.asked().iter().all(|asked| asked.target != "/v1/agent/self"));
    let first = &api.asked()[0].target;
    assert_eq!(first, "/v1/catalog/services?dc=dc2&filter=x+%3D%3D+y&stale=");
    let of_db = api.asked_for(|asked| asked.target.contains("/db?")).await;
    assert_eq!(of_db.target, "/v1/health/service/db?dc=dc2&tag=a&stale=");
}

#[tokio::test]
async fn an_index_that_goes_back_is_not_waited_for() {
    let api = FakeApi::start().await;
    let reply = |index, address: &str| {
        api.reply("/v1/health/service/web", Reply::json(one(address)).at(index));
    };
    reply(90, "a");
    let mut provider = start(&api, ", datacenter: d, services: [web], allow_stale: false");
    assert_eq!(shown(&provider.groups().await), ["web: a:1"]);
    api.asked_for(|asked| asked.target.contains("index=90")).await;
    reply(4, "b");
    assert_eq!(shown(&provider.groups().await), ["web: b:1"]);
    api.asked_for(|asked| asked.target.contains("index=4&")).await;
    let targets: Vec<String> = api.asked().into_iter().map(|asked| asked.target).collect();
    let back = targets.iter().position(|target| target.contains("index=90")).unwrap();
    assert_eq!(targets[back + 1], "/v1/health/service/web?dc=d", "{targets:?}");
    assert!(targets[back + 2].contains("index=4&wait=10000ms"), "{targets:?}");
}

#[tokio::test]
async fn one_service_that_fails_keeps_what_it_had() {
    let api = FakeApi::start().await;
    api.reply("/v1/health/service/a", Reply::json(one("a")).at(1));
    api.reply("/v1/health/service/b", Reply::json(one("b")).at(1));
    let mut provider = start(&api, ", datacenter: d, services: [a, b]");
    assert_eq!(shown(&provider.groups().await), ["a: a:1", "b: b:1"]);
    api.reply("/v1/health/service/a", Reply::status(500));
    let expected = format!(
        "`{}/v1/health/service/a`: server returned HTTP status 500 Internal Server Error",
        api.url()
    );
    assert_eq!(provider.fault("").await, expected);
    api.reply("/v1/health/service/b", Reply::json(one("c")).at(2));
    let round = provider.round_where(|round| round.groups.is_some()).await;
    assert_eq!(shown(&round.groups.unwrap()), ["a: a:1", "b: c:1"]);
    assert_eq!(round.faults.len(), 1);
    api.reply("/v1/health/service/a", Reply::json(one("z")).at(3));
    assert_eq!(shown(&provider.groups().await), ["a: z:1", "b: c:1"]);
}

#[tokio::test]
async fn nothing_is_told_as_found_while_nothing_is_known() {
    let api = FakeApi::start().await;
    api.reply("/v1/agent/self", Reply::status(403));
    let mut provider = start(&api, ", services: [a]");
    let round = provider.round().await;
    assert_eq!(round.groups, None);
    assert!(round.faults[0].contains("/v1/agent/self`: server returned HTTP status 403"));
    api.reply("/v1/agent/self", Reply::json(MYSELF));
    provider.fault("/v1/health/service/a`: server returned HTTP status 404").await;
    api.reply("/v1/health/service/a", Reply::json("{").at(1));
    provider.fault("/v1/health/service/a`: unexpected answer").await;
    api.reply("/v1/health/service/a", Reply::json(one("a")));
    assert_eq!(shown(&provider.groups().await), ["a: a:1"]);
}

#[tokio::test]
async fn more_services_than_connections_are_asked_in_turn() {
    let api = FakeApi::start().await;
    let names: Vec<String> = (0..150).map(|n| format!("\"s{n:03}\": []")).collect();
    let catalog = format!("{{{}}}", names.join(", "));
    api.reply("/v1/catalog/services", Reply::json(catalog).at(5));
    for n in 0..150 {
        api.reply(&format!("/v1/health/service/s{n:03}"), Reply::json(one("a")).at(2));
    }
    let mut provider = start(&api, ", datacenter: d");
    assert_eq!(provider.groups().await.len(), 150);
    api.reply("/v1/health/service/s149", Reply::json(one("b")).at(3));
    assert_eq!(shown(&provider.groups().await)[149], "s149: b:1");
    assert!(!api.asked().iter().any(|asked| asked.target.contains("index=")));
}
