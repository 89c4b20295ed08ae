//! Where targets come from, as it is typed.

use super::*;

#[test]
fn discoveries_are_checked() {
    check(
        "scrape_configs:\n- job_name: a\n  file_sd_configs: [{}, {files: [a.txt, 'a/*/b.json', 'a/*.yml']}, null]\n  http_sd_configs:\n  - url: example.com/x\n  - url: http://h/\n    refresh_interval: 0s\n  dns_sd_configs:\n  - names: [a]\n    type: A\n  - names: []\n    type: TXT\n  linode_sd_configs: [{port: 1}, null]\n  vultr_sd_configs: []\n",
        &[
            "3:21: file service discovery config must contain at least one path name",
            "3:34: path name \"a.txt\" is not valid for file discovery",
            "3:41: path name \"a/*/b.json\" is not valid for file discovery",
            "3:68: empty or null section in file_sd_configs",
            "5:5: `url`: URL scheme must be 'http' or 'https'",
            "7:5: `refresh_interval` must be more than 0",
            "9:5: a port is required in DNS-SD configs for all record types except SRV",
            "11:5: DNS-SD config must contain at least one SRV record name",
            "12:5: invalid DNS-SD records type TXT",
            "13:3: `linode_sd_configs` is not supported yet",
            "13:34: empty or null section in linode_sd_configs",
        ],
    );
    let job = job("  dns_sd_configs:\n  - names: [a.b]\n    type: aaaa\n    port: 9\n");
    let Discovery::Dns { record, port, refresh_interval, .. } = &job.discovery[0] else {
        panic!("not dns: {:?}", job.discovery)
    };
    assert_eq!((*record, *port, refresh_interval.as_secs()), (DnsRecord::Aaaa, 9, 30));
}

#[test]
fn discoveries_that_ask_an_api_are_checked() {
    check(
        "scrape_configs:\n- job_name: a\n  consul_sd_configs:\n  - {server: ' ', scheme: ftp}\n  - {server: 'a b', username: u, basic_auth: {username: v}}\n  - {token: t, authorization: {credentials: c}}\n  - {services: x, filters: y}\n  nomad_sd_configs:\n  - server: ''\n  - server: nomad:4646\n  docker_sd_configs:\n  - {}\n  - host: npipe:////./pipe/docker\n  - {host: 'unix:///a', filters: [{values: [b]}]}\n  digitalocean_sd_configs: [{port: 70000, refresh_interval: 0s}, null]\n  hetzner_sd_configs: [{}, {role: cloud}]\n",
        &[
            "4:6: consul SD configuration requires a server address",
            "4:19: `scheme`: expected `http` or `https`, found `ftp`",
            "5:6: `server`: expected `host:port`",
            "5:34: at most one of consul SD configuration username and password and basic auth",
            "6:6: at most one of consul SD token, authorization, or oauth2 can be configured",
            "7:16: `services`: expected a list, found a single value",
            "7:19: unknown key `filters` in `consul_sd_configs`; did you mean `filter`?",
            "9:5: nomad SD configuration requires a server address",
            "10:5: `server`: URL scheme must be 'http' or 'https'",
            "12:5: host missing",
            "13:5: `host`: expected `unix:///path/of/the.sock`, `tcp://host:port` or an HTTP URL",
            "14:35: a filter needs a name",
            "15:36: `port`: expected a whole number from 0 to 65535",
            "15:43: `refresh_interval` must be more than 0",
            "15:66: empty or null section in digitalocean_sd_configs",
            "16:24: role missing (one of: robot, hcloud)",
            "16:29: unknown role \"cloud\"",
        ],
    );
}

#[test]
fn discoveries_that_ask_an_api_are_shown_without_secrets() {
    let keys = "  consul_sd_configs: [{server: 'https://u:hush@c:8500', token: hush, username: v, password: hush, services: [a], node_meta: {x: y}}]\n  docker_sd_configs: [{host: 'tcp://u:hush@d:2375'}]\n  hetzner_sd_configs: [{role: robot, label_selector: l, authorization: {credentials: hush}}]\n  nomad_sd_configs: [{server: 'http://u:hush@n'}]\n  digitalocean_sd_configs: [{}]\n";
    let text = format!("scrape_configs:\n- job_name: a\n{keys}");
    let shown = show::show(&read(&text).expect("good"));
    assert!(!shown.contains("hush"), "{shown}");
    for expected in [
        "  - server: xxxxx@c:8500\n    token: <secret>\n",
        "    scheme: https\n    allow_stale: true\n    services:\n    - a\n    node_meta:\n      x: \"y\"\n    refresh_interval: 30s\n    basic_auth:\n      username: v\n      password: <secret>\n",
        "  digitalocean_sd_configs:\n  - port: 80\n    refresh_interval: 1m\n    follow_redirects: true\n",
        "    host_networking_host: localhost\n    match_first_network: true\n",
        "  - role: robot\n    port: 80\n    label_selector: l\n",
        "  - server: http://xxxxx@n\n    region: global\n    namespace: default\n    allow_stale: true\n",
    ] {
        assert!(shown.contains(expected), "{expected} in\n{shown}");
    }
}

#[test]
fn static_targets_are_addresses_unless_relabelled() {
    let target =
        "  static_configs:\n  - targets: ['http://user:hunter2@bad/']\n    labels: {a: 1}\n";
    check(
        &format!("scrape_configs:\n- job_name: a\n{target}"),
        &["4:15: \"http://xxxxx@bad/\" is not a valid hostname"],
    );
    let relabelled = format!("{target}  relabel_configs:\n  - target_label: b\n");
    let job = job(&relabelled);
    let Discovery::Static(groups) = &job.discovery[0] else { panic!("not static") };
    assert_eq!(groups[0].targets[0].get("__address__"), "http://user:hunter2@bad/");
    assert_eq!(groups[0].labels.to_string(), r#"{a="1"}"#);
}
