//! Docker: `/containers/json` and `/networks`, over TCP and over a socket.

use super::{
    Running, addresses, check,
    fake_api::{FakeApi, Reply},
    settings, targets,
};

const CONTAINERS: &str = r#"[
    {"Id": "c1", "Names": ["/web", "/alias"], "Image": "nginx", "ImageID": "sha256:1", "Command": "x", "Created": 1,
     "Ports": [{"PrivatePort": 8080, "PublicPort": 80, "Type": "tcp", "IP": "0.0.0.0"},
               {"PrivatePort": 9100, "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"}],
     "Labels": {"com.docker.compose.project": "shop", "a-b": "c"}, "State": "running", "Status": "Up",
     "HostConfig": {"NetworkMode": "shop_default"},
     "NetworkSettings": {"Networks": {
        "zoo": {"IPAddress": "172.20.0.9", "NetworkID": "n9"},
        "shop_default": {"IPAMConfig": null, "Links": null, "Aliases": null, "NetworkID": "n1", "Gateway": "172.19.0.1",
                         "IPAddress": "172.19.0.3", "IPPrefixLen": 16}}}, "Mounts": []},
    {"Id": "c2", "Names": ["/sidecar"], "Ports": [], "Labels": null,
     "HostConfig": {"NetworkMode": "container:c3"}, "NetworkSettings": {"Networks": {}}},
    {"Id": "c3", "Names": ["/shared"], "Ports": [], "Labels": {},
     "HostConfig": {"NetworkMode": "container:c1"}, "NetworkSettings": {"Networks": null}},
    {"Id": "c4", "Names": ["/host"], "Ports": [], "Labels": {},
     "HostConfig": {"NetworkMode": "host"}, "NetworkSettings": {"Networks": {"host": {"NetworkID": "n2", "IPAddress": ""}}}},
    {"Id": "c5", "Names": ["/around"], "HostConfig": {"NetworkMode": "container:c6"}, "NetworkSettings": {"Networks": {}}},
    {"Id": "c6", "Names": ["/again"], "HostConfig": {"NetworkMode": "container:c5"}, "NetworkSettings": {"Networks": {"gone": null}}},
    {"Id": "c7", "Names": [], "HostConfig": {"NetworkMode": "host"}, "NetworkSettings": {"Networks": {"host": {"NetworkID": "n2", "IPAddress": ""}}}}]"#;

const NETWORKS: &str = r#"[
    {"Name": "shop_default", "Id": "n1", "Created": "2026-01-01T00:00:00Z", "Scope": "local", "Driver": "bridge",
     "EnableIPv6": false, "Internal": false, "Attachable": true, "Ingress": false, "Labels": {"com.docker.compose.network": "default"}},
    {"Name": "host", "Id": "n2", "Scope": "local", "Internal": true, "Ingress": true, "Labels": null}]"#;

async fn docker() -> FakeApi {
    let api = FakeApi::start().await;
    api.reply("/containers/json", Reply::json(CONTAINERS));
    api.reply("/networks", Reply::json(NETWORKS));
    api
}

#[tokio::test]
async fn each_port_in_each_network_is_a_target() {
    let api = docker().await;
    let host = api.address();
    let text = format!(
        "docker_sd_configs: [{{host: 'tcp://{host}', port: 1234, host_networking_host: 'vm:99', filters: [{{name: label, values: [a, b]}}, {{name: status, values: [running]}}]}}]"
    );
    let found = targets(settings(&text)).await;
    assert_eq!(
        addresses(&found),
        ["172.19.0.3:8080", "172.19.0.3:9100", "172.19.0.3:1234", "172.19.0.3:1234", "vm:99"]
    );
    check(
        &found[0],
        &[
            ("__address__", "172.19.0.3:8080"),
            ("__meta_docker_container_id", "c1"),
            ("__meta_docker_container_label_a_b", "c"),
            ("__meta_docker_container_label_com_docker_compose_project", "shop"),
            ("__meta_docker_container_name", "/web"),
            ("__meta_docker_container_network_mode", "shop_default"),
            ("__meta_docker_network_id", "n1"),
            ("__meta_docker_network_ingress", "false"),
            ("__meta_docker_network_internal", "false"),
            ("__meta_docker_network_ip", "172.19.0.3"),
            ("__meta_docker_network_label_com_docker_compose_network", "default"),
            ("__meta_docker_network_name", "shop_default"),
            ("__meta_docker_network_scope", "local"),
            ("__meta_docker_port_private", "8080"),
            ("__meta_docker_port_public", "80"),
            ("__meta_docker_port_public_ip", "0.0.0.0"),
        ],
    );
    assert!(!found[1].contains("__meta_docker_port_public"));
    assert_eq!(found[2].get("__meta_docker_container_name"), "/sidecar");
    let query = &api.asked()[0].target;
    let decoded: Vec<(String, String)> =
        url::Url::parse(&format!("http://h{query}")).unwrap().query_pairs().into_owned().collect();
    let filters = r#"{"label":["a","b"],"status":["running"]}"#;
    assert_eq!(decoded, [("filters".to_owned(), filters.to_owned())]);

    let text =
        format!("docker_sd_configs: [{{host: 'http://{host}/', match_first_network: false}}]");
    let all = targets(settings(&text)).await;
    let of_web = all.iter().filter(|target| target.get("__meta_docker_container_name") == "/web");
    assert_eq!(of_web.count(), 4, "two ports in two networks");
    assert_eq!(api.asked()[2].target, "/containers/json");
}

#[tokio::test]
async fn a_daemon_is_asked_over_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let api = FakeApi::on_socket(&path);
    api.reply("/containers/json", Reply::json(CONTAINERS));
    api.reply("/networks", Reply::json(NETWORKS));
    let text = format!("docker_sd_configs: [{{host: 'unix://{}'}}]", path.display());
    assert_eq!(targets(settings(&text)).await.len(), 5);

    let text = format!("docker_sd_configs: [{{host: 'unix://{}.gone'}}]", path.display());
    let round = Running::start(settings(&text)).round().await;
    let expected = format!("`{}.gone`: error while listing containers: ", path.display());
    assert!(round.faults[0].starts_with(&expected), "{round:?}");
    assert_eq!(round.groups, None);
}
