//! The `cluster` section, `clustering` of jobs, and the flags over them.

use std::net::IpAddr;

use super::*;

#[test]
fn a_section_is_read_as_a_whole() {
    assert_eq!(read("cluster: {}\n").expect("good").cluster, Cluster::default());
    let text = "cluster:\n  enabled: true\n  name: n\n  node_name: a\n  peers: [10.0.0.1, 'h:1', dns+h, dnssrv+_s._udp.h, '[::1]:2']\n  mdns: true\n  mdns_interfaces: [eth0]\n  listen_address: '[::]:9'\n  advertise_address: 10.0.0.9\n  secret: hunter2\n  wait_for_size: 3\n  wait_timeout: 5s\n  settle: 1s\n  weight: 0\n  zone: z\n  on_partition: minority_stops\n  reload_grace: 0\n  fence_max: 1m\n";
    let config = read(text).expect("good");
    let cluster = &config.cluster;
    assert_eq!(config.warnings, [""; 0]);
    let expected = Cluster {
        enabled: true,
        name: "n".to_owned(),
        node_name: Some("a".to_owned()),
        peers: cluster.peers.clone(),
        mdns: true,
        mdns_interfaces: vec!["eth0".to_owned()],
        listen_address: "[::]:9".parse().expect("an address"),
        advertise_address: Some(AdvertiseAddress { ip: IpAddr::from([10, 0, 0, 9]), port: None }),
        secrets: vec![Source::Inline(Secret::new("hunter2"))],
        keys: Vec::new(),
        insecure: false,
        wait_for_size: 3,
        wait_timeout: Duration::from_secs(5),
        settle: Duration::from_secs(1),
        weight: 0,
        zone: "z".to_owned(),
        on_partition: OnPartition::MinorityStops,
        reload_grace: Duration::ZERO,
        fence_max: Duration::from_secs(60),
    };
    assert_eq!(*cluster, expected);
    let peers: Vec<String> = cluster.peers().iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["10.0.0.1:9", "h:1", "h:9", "dnssrv+_s._udp.h", "[::1]:2"]);
    assert_eq!(cluster.advertise(), Some("10.0.0.9:9".parse().expect("an address")));

    let shown = show::show(&config);
    assert!(shown.contains("secret: <secret>") && !shown.contains("hunter2"), "{shown}");
    assert!(!format!("{cluster:?}").contains("hunter2"), "{cluster:?}");
    let again = read(&shown).expect("what is shown reads back").cluster;
    assert_eq!(again, Cluster { secrets: again.secrets.clone(), ..expected });
    assert!(!show::show(&Config::default()).contains("cluster"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    check(
        "cluster:\n  name: [a]\n  node-name: x\n  peer: [a]\n  peers: [a b, 'h:0', '']\n  listen_address: h:1\n  advertise_address: 0.0.0.0\n  secret: a\n  secret_file: b\n  weight: -1\n  settle: 10ms\n  on_partition: panic\n  wait_for_size: many\n",
        &[
            "2:9: `name`: expected a text, found a list",
            "3:3: unknown key `node-name` in `cluster`; did you mean `node_name`?",
            "4:3: unknown key `peer` in `cluster`; did you mean `peers`?",
            "5:11: `peers`: peer `a b`: expected an address, a host name or `dnssrv+` a name",
            "5:16: `peers`: peer `h:0`: expected a port from 1 to 65535",
            "5:23: `peers`: peer ``: expected an address",
            "6:3: `listen_address`: expected an IP address and a port such as `0.0.0.0:9734` or `[::]:9734`, found `h:1`",
            "7:3: `advertise_address`: expected an IP address at which other hosts reach this one",
            "9:3: at most one of secret, secret_file & secret_files must be configured",
            "10:11: `weight`: expected a whole number from 0 to 10000, found `-1`",
            "11:3: `settle`: expected from 200ms to 1m",
            "12:17: `on_partition`: expected `scrape_all`, `minority_stops`, found `panic`",
            "13:18: `wait_for_size`: expected a whole number from 0 to 1024, found `many`",
        ],
    );
    check("cluster: [a]\n", &["1:10: `cluster`: expected a mapping, found a list"]);
    check(
        "cluster: {name: \"a\\nb\"}\n",
        &["1:11: `name`: expected at most 247 bytes on one line"],
    );
    check("cluster: {secret_files: ['']}\n", &["1:26: `secret_files`: an entry is empty"]);
    check(
        "clusters: {}\n",
        &["1:1: unknown key `clusters` at the top level; did you mean `cluster`?"],
    );
    check(
        "global: {}\ncluster: {enabled: true, mdns: true}\n",
        &[
            "2:1: `cluster` is enabled and has no secret, so any host could join it: make one: `openssl rand -hex 32`",
        ],
    );
    check("cluster: {mdns: true}\n", &[]);
}

#[test]
fn doubtful_clusters_get_a_warning() {
    let check = |fields: &str, expected: &[&str]| {
        check_warnings(&format!("cluster: {{enabled: true, {fields}}}\n"), expected);
    };
    let open = "1:1: `insecure: true` and no secret: whoever reaches the cluster port can join";
    check("mdns: true, insecure: true", &[open]);
    check("mdns: true, insecure: true, secret: s", &[]);
    let lonely = "1:1: `cluster` is enabled and has neither `peers` nor `mdns`";
    let two = "1:1: `on_partition: minority_stops` in a cluster of two";
    check("secret: s, mdns: true", &[]);
    check("secret: s, peers: [a]", &[]);
    check("secret: s, name: x", &[lonely]);
    check("secret: s, peers: [a, b], on_partition: minority_stops", &[two]);
    check("secret: s, mdns: true, wait_for_size: 2, on_partition: minority_stops", &[two]);
    check("secret: s, peers: [a, b], mdns: true, on_partition: minority_stops", &[]);
    check("secret: s, peers: [a, b, c], on_partition: minority_stops", &[]);
    check("secret: s, peers: [a, b]", &[]);
}

#[test]
fn jobs_take_clustering_from_global_key_by_key() {
    let of = |global: &str, job: &str| {
        let text = format!(
            "global: {{clustering: {{{global}}}}}\nscrape_configs: [{{job_name: a, clustering: {{{job}}}}}]\n"
        );
        let config = read(&text).expect("good");
        let again = read(&show::show(&config)).expect("what is shown reads back");
        assert_eq!(again.jobs[0].clustering, config.jobs[0].clustering, "{text}");
        config.jobs[0].clustering.clone()
    };
    let clustering = |enabled, include: &[&str], exclude: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Clustering { enabled, key_include: owned(include), key_exclude: owned(exclude) }
    };
    assert_eq!(of("", ""), Clustering::default());
    assert_eq!(of("enabled: true", ""), clustering(true, &[], &[]));
    assert_eq!(
        of("enabled: true, key_include: [x]", "enabled: false"),
        clustering(false, &["x"], &[])
    );
    assert_eq!(
        of("key_include: [x]", "enabled: true, key_include: [], key_exclude: [__param_sig]"),
        clustering(true, &[], &["__param_sig"])
    );
    check(
        "scrape_configs:\n- job_name: a\n  clustering: {enable: true, key_include: [__meta_x, ''], key_exclude: [instance, __param_, __address__]}\n",
        &[
            "3:16: unknown key `enable` in `clustering`; did you mean `enabled`?",
            "3:44: `key_include`: expected a label that a target has after relabelling, found `__meta_x`",
            "3:54: `key_include`: expected a label that a target has after relabelling, found ``",
            "3:73: `key_exclude`: expected `__scheme__`, `__address__`, `__metrics_path__` or a `__param_<name>`, as nothing else counts, found `instance`",
            "3:83: `key_exclude`: expected",
        ],
    );
}

#[test]
fn only_what_the_fleet_was_started_with_needs_a_restart() {
    let with = |fields: &str| read(&format!("cluster: {{{fields}}}\n")).expect("good").cluster;
    let check = |new: &str, expected: &[&str]| {
        let old = with("secret: a, weight: 5");
        assert_eq!(cluster_keys_that_need_a_restart(&old, &with(new)), expected, "{new}");
    };
    check("secret: a, weight: 5", &[]);
    check("secret: b, weight: 5, reload_grace: 5s, insecure: true", &[]);
    check("name: x", &["name", "weight"]);
    check("weight: 5, peers: [a], zone: z, mdns: true", &["peers", "mdns", "zone"]);
}

/// A folder with `a.yml`, which holds `text`, and a long secret in `new` and a short one in `old`.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in
        [("a.yml", text), ("new", "0123456789abcdef\n"), ("old", "hunter2"), ("empty", " \n")]
    {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

#[test]
fn secrets_are_read_where_the_cluster_is_enabled() {
    let unlocked = |fields: &str| {
        let folder = folder(&format!("cluster: {{mdns: true, {fields}}}\n"));
        let path = folder.path().join("a.yml");
        let mut config = load(&path, &TypedCluster::default(), &|_| None).expect("good");
        let outcome = unlock(&mut config);
        let keys: Vec<&str> = config.cluster.keys.iter().map(Secret::expose).collect();
        let files: Vec<String> =
            config.files.iter().map(|file| file.display().to_string()).collect();
        let told = outcome.err().into_iter().chain(config.warnings.clone());
        [keys.join(" "), files.join(" "), told.collect::<Vec<_>>().join("\n")]
            .map(|text| text.replace(&format!("{}/", folder.path().display()), ""))
    };
    let check = |fields: &str, keys: &str, files: &str, told: &str| {
        assert_eq!(unlocked(fields), [keys, files, told], "{fields}");
    };
    let long = "0123456789abcdef";
    check("enabled: true, secret_file: new", long, "a.yml new", "");
    check("enabled: false, secret_file: new", "", "a.yml new", "");
    check(
        "enabled: true, insecure: true",
        "insecure",
        "a.yml",
        "a.yml:1:1: `insecure: true` and no secret: whoever reaches the cluster port can join, and be given targets and unsent samples; where that is not a network of your own, make one: `openssl rand -hex 32`, and set `secret_file` on every member",
    );
    check(
        "enabled: true, secret_files: [new, old]",
        "0123456789abcdef hunter2",
        "a.yml new old",
        "the cluster's secret in `old` is shorter than 16 bytes and can be guessed from one datagram: make one: `openssl rand -hex 32`",
    );
    check(
        "enabled: true, secret_files: [empty, none, new]",
        long,
        "a.yml empty none new",
        "the cluster's secret in `empty` cannot be read: it is empty; make one: `openssl rand -hex 32`\nthe cluster's secret in `none` cannot be read: No such file or directory (os error 2)",
    );
}

#[test]
fn flags_lie_over_the_file() {
    let folder = folder("cluster: {name: x, zone: z, secret_file: old}\n");
    let new = folder.path().join("new");
    let flags = TypedCluster {
        enabled: Some(true),
        name: Some("y".to_owned()),
        peers: Some(vec!["a".to_owned()]),
        secrets: Some(vec![Source::File(new.clone())]),
        ..TypedCluster::default()
    };
    let path = folder.path().join("a.yml");
    let mut config = load(&path, &flags, &|_| None).expect("good");
    unlock(&mut config).expect("the file is there");
    let Cluster { name, zone, peers, keys, .. } = &config.cluster;
    assert_eq!((name.as_str(), zone.as_str(), peers.as_slice()), ("y", "z", &["a".to_owned()][..]));
    assert_eq!(*keys, [Secret::new("0123456789abcdef")]);
    assert!(config.files.contains(&new), "a rotated secret is a reload: {:?}", config.files);
    let no_secret = TypedCluster { enabled: Some(true), ..TypedCluster::default() };
    fs::write(&path, "cluster: {mdns: true}\n").expect("written");
    let problems = load(&path, &no_secret, &|_| None).expect_err("no secret").to_string();
    assert!(problems.contains("a.yml:1:1: `cluster` is enabled and has no secret"), "{problems}");
    fs::write(&path, "").expect("written");
    let problems = load(&path, &no_secret, &|_| None).expect_err("no secret").to_string();
    assert!(problems.contains("a.yml: `cluster` is enabled and has no secret"), "{problems}");
}

#[test]
fn a_credential_is_the_secret_where_nothing_else_is() {
    let folder = folder("cluster: {enabled: true, mdns: true}\n");
    let path = folder.path().join("a.yml");
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).expect("made");
    let given =
        |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| credentials.display().to_string());
    let check = |expected: &str| {
        let mut config = load(&path, &TypedCluster::default(), &given).expect("good");
        unlock(&mut config).expect("the secret is there");
        assert_eq!(config.cluster.keys, [Secret::new(expected)]);
        let file = config.cluster.secret_files().next().expect("it is a file");
        assert!(config.files.contains(file), "one that changes is a reload: {:?}", config.files);
    };
    let empty = load(&path, &TypedCluster::default(), &given).expect_err("no secret").to_string();
    assert!(empty.contains("as the credential `starling.cluster-secret`"), "{empty}");
    for (name, secret) in [
        ("starling.cluster-secret-encrypted", "an encrypted one, which is"),
        ("starling.cluster-secret", "a plain one, which comes first"),
    ] {
        fs::write(credentials.join(name), format!("{secret}\n")).expect("written");
        check(secret);
    }
    fs::write(&path, "cluster: {enabled: true, mdns: true, secret: the file says it itself}\n")
        .expect("written");
    let config = load(&path, &TypedCluster::default(), &given).expect("good");
    let own = Source::Inline(Secret::new("the file says it itself"));
    assert_eq!(config.cluster.secrets, [own]);
}

#[test]
fn the_example_is_accepted() {
    let config = read(include_str!("../../../examples/cluster.yml")).expect("good");
    assert_eq!(config.warnings, [""; 0]);
    let divided: Vec<bool> = config.jobs.iter().map(|job| job.clustering.enabled).collect();
    assert_eq!(divided, [true, false]);
}
