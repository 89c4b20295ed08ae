//! Hetzner: the cloud's `/servers` and `/networks`, and the robot's `/server`.

use super::{
    Running, addresses, check,
    fake_api::{FakeApi, Reply},
    settings_at, targets,
};

const SERVERS: &str = r#"{"servers": [
    {"id": 42, "name": "my-server", "status": "running", "created": "2026-01-30T23:55:00+00:00",
     "public_net": {"ipv4": {"ip": "203.0.113.7", "blocked": false, "dns_ptr": "x.example"},
                    "ipv6": {"ip": "2001:db8::/64", "blocked": false, "dns_ptr": []}, "floating_ips": []},
     "private_net": [{"network": 4711, "ip": "10.0.0.2", "alias_ips": [], "mac_address": "86:00:ff:2a:7d:e1"},
                     {"network": 1, "ip": "10.9.0.2"}],
     "server_type": {"id": 1, "name": "cx22", "description": "CX22", "cores": 2, "memory": 3.9, "disk": 40,
                     "deprecated": false, "prices": [], "storage_type": "local", "cpu_type": "shared"},
     "datacenter": {"id": 1, "name": "fsn1-dc14", "description": "Falkenstein 1 DC14",
                    "location": {"id": 1, "name": "fsn1", "country": "DE", "network_zone": "eu-central"}},
     "image": {"id": 4711, "type": "system", "name": "debian-13", "description": "Debian 13",
               "image_size": 2.3, "os_flavor": "debian", "os_version": "13"},
     "iso": null, "rescue_enabled": false, "locked": false, "backup_window": null,
     "labels": {"my.env/name": "prod", "flag": ""}, "volumes": []}],
  "meta": {"pagination": {"page": 1, "per_page": 50, "previous_page": null, "next_page": 2, "last_page": 2, "total_entries": 2}}}"#;

const MORE_SERVERS: &str = r#"{"servers": [
    {"id": 43, "name": "inner", "status": "off",
     "public_net": {"ipv4": null, "ipv6": null, "floating_ips": []},
     "private_net": [{"network": 4711, "ip": "10.0.0.3"}],
     "server_type": {"name": "cax11", "cores": 2, "memory": 4, "disk": 40, "cpu_type": "shared"},
     "location": {"id": 3, "name": "hel1", "network_zone": "eu-central"},
     "image": null, "labels": {}}],
  "meta": {"pagination": {"page": 2, "next_page": null}}}"#;

const NETWORKS: &str = r#"{"networks": [{"id": 4711, "name": "my-net", "ip_range": "10.0.0.0/16",
    "subnets": [], "routes": [], "servers": [42], "labels": {}}], "meta": {"pagination": {"next_page": null}}}"#;

#[tokio::test]
async fn each_server_of_the_cloud_is_a_target() {
    let api = FakeApi::start().await;
    let selected = "per_page=50&label_selector=env%3D%3Dprod";
    api.reply(&format!("/servers?page=1&{selected}"), Reply::json(SERVERS));
    api.reply(&format!("/servers?page=2&{selected}"), Reply::json(MORE_SERVERS));
    api.reply("/networks?page=1&per_page=50", Reply::json(NETWORKS));
    let text = "hetzner_sd_configs: [{role: hcloud, label_selector: env==prod, authorization: {credentials: t}}]";
    let targets = targets(settings_at(api.url(), text)).await;
    assert_eq!(addresses(&targets), ["203.0.113.7:80", "10.0.0.3:80"]);
    check(
        &targets[0],
        &[
            ("__address__", "203.0.113.7:80"),
            ("__meta_hetzner_datacenter", "fsn1-dc14"),
            ("__meta_hetzner_hcloud_cpu_cores", "2"),
            ("__meta_hetzner_hcloud_cpu_type", "shared"),
            ("__meta_hetzner_hcloud_datacenter_location", "fsn1"),
            ("__meta_hetzner_hcloud_datacenter_location_network_zone", "eu-central"),
            ("__meta_hetzner_hcloud_disk_size_gb", "40"),
            ("__meta_hetzner_hcloud_image_description", "Debian 13"),
            ("__meta_hetzner_hcloud_image_name", "debian-13"),
            ("__meta_hetzner_hcloud_image_os_flavor", "debian"),
            ("__meta_hetzner_hcloud_image_os_version", "13"),
            ("__meta_hetzner_hcloud_label_my_env_name", "prod"),
            ("__meta_hetzner_hcloud_labelpresent_flag", "true"),
            ("__meta_hetzner_hcloud_labelpresent_my_env_name", "true"),
            ("__meta_hetzner_hcloud_location", "fsn1"),
            ("__meta_hetzner_hcloud_location_network_zone", "eu-central"),
            ("__meta_hetzner_hcloud_memory_size_gb", "3"),
            ("__meta_hetzner_hcloud_private_ipv4_my_net", "10.0.0.2"),
            ("__meta_hetzner_hcloud_server_type", "cx22"),
            ("__meta_hetzner_public_ipv4", "203.0.113.7"),
            ("__meta_hetzner_public_ipv6_network", "2001:db8::/64"),
            ("__meta_hetzner_role", "hcloud"),
            ("__meta_hetzner_server_id", "42"),
            ("__meta_hetzner_server_name", "my-server"),
            ("__meta_hetzner_server_status", "running"),
        ],
    );
    let location = |name: &str| targets[1].get(&format!("__meta_hetzner_hcloud_{name}")).to_owned();
    assert_eq!(
        (location("location"), location("datacenter_location")),
        ("hel1".into(), "hel1".into())
    );
    assert_eq!(location("private_ipv4_my_net"), "10.0.0.3");
}

const ROBOT: &str = r#"[
    {"server": {"server_ip": "198.51.100.22", "server_ipv6_net": "2a01:4f8:111:4221::", "server_number": 321,
     "server_name": "server1", "product": "DS 3000", "dc": "NBG1-DC1", "traffic": "5 TB", "status": "ready",
     "cancelled": true, "paid_until": "2026-09-02", "ip": ["198.51.100.22"],
     "subnet": [{"ip": "198.51.100.64", "mask": "29"}, {"ip": "2a01:4f8:111:4221::", "mask": "64"}]}},
    {"server": {"server_ip": "198.51.100.23", "server_number": 421, "server_name": "server2",
     "product": "X5", "dc": "FSN1-DC10", "status": "in process", "cancelled": false, "subnet": null}}]"#;

#[tokio::test]
async fn each_dedicated_server_is_a_target() {
    let api = FakeApi::start().await;
    api.reply("/server", Reply::json(ROBOT));
    let text =
        "hetzner_sd_configs: [{role: robot, port: 9100, basic_auth: {username: u, password: p}}]";
    let targets = targets(settings_at(api.url(), text)).await;
    check(
        &targets[0],
        &[
            ("__address__", "198.51.100.22:9100"),
            ("__meta_hetzner_datacenter", "nbg1-dc1"),
            ("__meta_hetzner_public_ipv4", "198.51.100.22"),
            ("__meta_hetzner_public_ipv6_network", "2a01:4f8:111:4221::/64"),
            ("__meta_hetzner_robot_cancelled", "true"),
            ("__meta_hetzner_robot_datacenter", "nbg1-dc1"),
            ("__meta_hetzner_robot_product", "DS 3000"),
            ("__meta_hetzner_role", "robot"),
            ("__meta_hetzner_server_id", "321"),
            ("__meta_hetzner_server_name", "server1"),
            ("__meta_hetzner_server_status", "ready"),
        ],
    );
    assert_eq!(targets[1].get("__meta_hetzner_robot_cancelled"), "false");
    assert!(!targets[1].contains("__meta_hetzner_public_ipv6_network"));
    assert!(api.asked()[0].head.contains("authorization: basic dtpw\r\n"));
}

#[tokio::test]
async fn an_answer_without_its_list_is_none() {
    let api = FakeApi::start().await;
    api.reply("/servers", Reply::json(r#"{"error": {"code": "unauthorized"}}"#));
    let text = "hetzner_sd_configs: [{role: hcloud}]";
    let round = Running::start(settings_at(api.url(), text)).round().await;
    assert!(round.faults[0].contains("unexpected answer"), "{round:?}");
}
