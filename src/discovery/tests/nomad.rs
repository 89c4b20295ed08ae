//! Nomad: `/v1/services` names the services, `/v1/service/:name` their instances.

use super::{
    Running, addresses, check,
    fake_api::{FakeApi, Reply},
    settings, targets,
};

const SERVICES: &str = r#"[{"Namespace": "shop", "Services": [
    {"ServiceName": "web", "Tags": ["v2"]}, {"ServiceName": "a/b c", "Tags": null}]}]"#;

const WEB: &str = r#"[
    {"Address": "10.1.0.4", "AllocID": "a1", "CreateIndex": 7, "Datacenter": "dc1",
     "ID": "_nomad-task-a1-web", "JobID": "shop", "ModifyIndex": 7, "Namespace": "shop",
     "NodeID": "n-17", "Port": 28080, "ServiceName": "web", "Tags": ["v2", "canary"]},
    {"Address": "fd00::4", "Datacenter": "dc2", "ID": "b", "Namespace": "shop", "NodeID": "n-18",
     "Port": 9100, "ServiceName": "web", "Tags": null}]"#;

async fn nomad() -> FakeApi {
    let api = FakeApi::start().await;
    api.reply("/v1/services", Reply::json(SERVICES));
    api.reply("/v1/service/web", Reply::json(WEB));
    api.reply("/v1/service/a%2Fb%20c", Reply::json("[]"));
    api
}

#[tokio::test]
async fn each_instance_is_a_target() {
    let api = nomad().await;
    let text = format!(
        "nomad_sd_configs: [{{server: '{}', namespace: shop, region: eu, tag_separator: '|'}}]",
        api.url()
    );
    let targets = targets(settings(&text)).await;
    assert_eq!(addresses(&targets), ["10.1.0.4:28080", "[fd00::4]:9100"]);
    check(
        &targets[0],
        &[
            ("__address__", "10.1.0.4:28080"),
            ("__meta_nomad_address", "10.1.0.4"),
            ("__meta_nomad_dc", "dc1"),
            ("__meta_nomad_namespace", "shop"),
            ("__meta_nomad_node_id", "n-17"),
            ("__meta_nomad_service", "web"),
            ("__meta_nomad_service_address", "10.1.0.4"),
            ("__meta_nomad_service_id", "_nomad-task-a1-web"),
            ("__meta_nomad_service_port", "28080"),
            ("__meta_nomad_tags", "|v2|canary|"),
        ],
    );
    assert!(!targets[1].contains("__meta_nomad_tags"));
    let asked = api.asked();
    for asked in &asked {
        assert!(asked.target.ends_with("?region=eu&namespace=shop&stale="), "{}", asked.target);
    }
    assert_eq!(asked.len(), 3);
}

#[tokio::test]
async fn of_all_namespaces_each_service_is_asked_for_in_its_own() {
    let api = nomad().await;
    let text = format!(
        "nomad_sd_configs: [{{server: '{}', namespace: '*', allow_stale: false, authorization: {{credentials: t}}}}]",
        api.url()
    );
    assert_eq!(targets(settings(&text)).await.len(), 2);
    let queries = api.asked();
    assert!(queries[0].target.ends_with("?region=global&namespace=*"), "{queries:?}");
    for asked in &queries[1..] {
        assert!(asked.target.ends_with("?region=global&namespace=shop"), "{}", asked.target);
        assert!(asked.head.contains("authorization: bearer t\r\n"));
    }
}

#[tokio::test]
async fn a_service_that_can_not_be_asked_for_fails_the_round() {
    let api = nomad().await;
    api.reply("/v1/service/web", Reply::status(403));
    let text = format!("nomad_sd_configs: [{{server: '{}', refresh_interval: 1h}}]", api.url());
    let round = Running::start(settings(&text)).round().await;
    assert_eq!(round.groups, None);
    let expected =
        format!("`{}/v1/service/web`: server returned HTTP status 403 Forbidden", api.url());
    assert_eq!(round.faults, [expected]);
}
