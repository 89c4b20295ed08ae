//! `DigitalOcean`: `/v2/droplets`, page by page.

use super::{
    Running, addresses, check,
    fake_api::{FakeApi, Reply},
    settings_at, targets,
};

const FIRST: &str = r#"{"droplets": [
    {"id": 3164444, "name": "web-1", "memory": 1024, "vcpus": 1, "disk": 25, "locked": false,
     "status": "active", "created_at": "2026-07-21T18:37:44Z", "kernel": null,
     "features": ["backups", "private_networking"], "backup_ids": [53893572], "snapshot_ids": [],
     "image": {"id": 63663980, "name": "20.04 (LTS) x64", "distribution": "Ubuntu", "slug": "ubuntu-20-04-x64", "public": true},
     "size": {"slug": "s-1vcpu-1gb"}, "size_slug": "s-1vcpu-1gb",
     "networks": {"v4": [
        {"ip_address": "10.128.192.124", "netmask": "255.255.0.0", "gateway": "nil", "type": "private"},
        {"ip_address": "192.241.165.154", "netmask": "255.255.255.0", "gateway": "192.241.165.1", "type": "public"}],
       "v6": [{"ip_address": "2604:a880:0:1010::18a:a001", "netmask": 64, "gateway": "2604:a880:0:1010::1", "type": "public"}]},
     "region": {"name": "New York 3", "slug": "nyc3", "features": ["metadata"], "available": true, "sizes": []},
     "tags": ["web", "env:prod"], "volume_ids": [], "vpc_uuid": "760e09ef-dc84-11e8-981e-3cfdfeaae000"},
    {"id": 2, "name": "new", "status": "new", "image": {"name": "own", "slug": null}, "size_slug": "x",
     "networks": {"v4": [], "v6": []}, "region": {"slug": "ams3"}, "features": [], "tags": []}],
  "links": {"pages": {"last": "https://api.digitalocean.com/v2/droplets?page=2", "next": "https://elsewhere.example/v2/droplets?page=2"}},
  "meta": {"total": 3}}"#;

const SECOND: &str = r#"{"droplets": [
    {"id": 3, "name": "db", "status": "off", "image": {"name": "own", "slug": null}, "size_slug": "x",
     "networks": {"v4": [{"ip_address": "192.0.2.3", "type": "public"}], "v6": null}, "region": {"slug": "ams3"}, "features": null, "tags": []}],
  "links": {}, "meta": {"total": 3}}"#;

const SETTINGS: &str = "digitalocean_sd_configs: [{port: 9100, authorization: {credentials: t}, refresh_interval: 1h}]";

#[tokio::test]
async fn each_droplet_with_an_address_is_a_target() {
    let api = FakeApi::start().await;
    api.reply("/v2/droplets?page=1&per_page=200", Reply::json(FIRST));
    api.reply("/v2/droplets?page=2&per_page=200", Reply::json(SECOND));
    let targets = targets(settings_at(api.url(), SETTINGS)).await;
    assert_eq!(addresses(&targets), ["192.241.165.154:9100", "192.0.2.3:9100"]);
    check(
        &targets[0],
        &[
            ("__address__", "192.241.165.154:9100"),
            ("__meta_digitalocean_droplet_id", "3164444"),
            ("__meta_digitalocean_droplet_name", "web-1"),
            ("__meta_digitalocean_features", ",backups,private_networking,"),
            ("__meta_digitalocean_image", "ubuntu-20-04-x64"),
            ("__meta_digitalocean_image_name", "20.04 (LTS) x64"),
            ("__meta_digitalocean_private_ipv4", "10.128.192.124"),
            ("__meta_digitalocean_public_ipv4", "192.241.165.154"),
            ("__meta_digitalocean_public_ipv6", "2604:a880:0:1010::18a:a001"),
            ("__meta_digitalocean_region", "nyc3"),
            ("__meta_digitalocean_size", "s-1vcpu-1gb"),
            ("__meta_digitalocean_status", "active"),
            ("__meta_digitalocean_tags", ",web,env:prod,"),
            ("__meta_digitalocean_vpc", "760e09ef-dc84-11e8-981e-3cfdfeaae000"),
        ],
    );
    check(
        &targets[1],
        &[
            ("__address__", "192.0.2.3:9100"),
            ("__meta_digitalocean_droplet_id", "3"),
            ("__meta_digitalocean_droplet_name", "db"),
            ("__meta_digitalocean_image_name", "own"),
            ("__meta_digitalocean_public_ipv4", "192.0.2.3"),
            ("__meta_digitalocean_region", "ams3"),
            ("__meta_digitalocean_size", "x"),
            ("__meta_digitalocean_status", "off"),
        ],
    );
    assert!(api.asked().iter().all(|asked| asked.head.contains("authorization: bearer t\r\n")));
}

#[tokio::test]
async fn pages_without_end_are_refused() {
    let api = FakeApi::start().await;
    let next = r#"{"droplets": [], "links": {"pages": {"next": "https://x/"}}}"#;
    api.reply("/v2/droplets", Reply::json(next));
    let round = Running::start(settings_at(api.url(), SETTINGS)).round().await;
    assert_eq!(round.faults, ["a list of more than 1000 pages"]);
    assert_eq!(api.asked().len(), 1_001);
}

#[tokio::test]
async fn what_is_no_answer_keeps_what_was_found() {
    let api = FakeApi::start().await;
    api.reply("/v2/droplets", Reply::json(SECOND));
    let mut provider = Running::start(settings_at(api.url(), &SETTINGS.replace("1h", "300ms")));
    assert_eq!(provider.groups().await[0].targets.len(), 1);
    for (reply, expected) in [
        (Reply::status(401), "server returned HTTP status 401 Unauthorized"),
        (Reply::status(429), "server returned HTTP status 429 Too Many Requests"),
        (Reply::json("<html>"), "unexpected answer: expected value at line 1 column 1"),
        (Reply::json("{}"), "unexpected answer: missing field `droplets`"),
        (Reply::json(r#"{"droplets": [{"id": "x"}]}"#), "unexpected answer: invalid type: string"),
    ] {
        api.reply("/v2/droplets", reply);
        let mut round = provider.round().await;
        // That of the reply before may have been under way.
        for _ in 0..3 {
            if !round.faults.iter().any(|fault| fault.contains(expected)) {
                round = provider.round().await;
            }
        }
        let fault = &round.faults[0];
        assert!(fault.contains(expected), "{expected} in {fault}");
        assert!(fault.starts_with(&format!("`{}/v2/droplets`: ", api.url())), "{fault}");
        assert_eq!(round.groups, None);
    }
    api.reply("/v2/droplets", Reply::json(SECOND));
    assert_eq!(provider.groups().await[0].targets.len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let api = FakeApi::start().await;
    api.reply("/v2/droplets", Reply::json(vec![b' '; (64 << 20) + 1]));
    let round = Running::start(settings_at(api.url(), SETTINGS)).round().await;
    assert!(round.faults[0].contains("the answer is larger than 67108864 bytes"), "{round:?}");
}
