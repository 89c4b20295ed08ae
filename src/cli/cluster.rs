//! The flags of the cluster: each key of the `cluster` section, also as an environment variable.
//! They are read by what reads the section, and lie over it.

use clap::Args;

use crate::config::TypedCluster;

const SECRET: &str = "<secret>";

/// As typed; what is absent or empty is left to the file.
#[derive(Args, Default)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterFlags {
    /// Find the other members and divide the targets of jobs with `clustering: {enabled: true}`
    #[arg(long = "cluster.enabled", env = "STARLING_CLUSTER_ENABLED", value_name = "BOOLEAN",
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enabled: Option<String>,
    /// Keeps clusters on one network apart [default: default]
    #[arg(long = "cluster.name", env = "STARLING_CLUSTER_NAME", value_name = "NAME")]
    name: Option<String>,
    /// This member among the others [default: the name of the host]
    #[arg(long = "cluster.node-name", env = "STARLING_CLUSTER_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Where other members may be: IP, host, host:port, dns+name or dnssrv+name; the list may name
    /// this member as well
    #[arg(
        long = "cluster.peers",
        env = "STARLING_CLUSTER_PEERS",
        value_name = "PEER",
        value_delimiter = ','
    )]
    peers: Vec<String>,
    /// Look for the others on this network by multicast DNS, too
    #[arg(long = "cluster.mdns", env = "STARLING_CLUSTER_MDNS", value_name = "BOOLEAN",
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    mdns: Option<String>,
    /// Interfaces for multicast DNS [default: all but the loopback]
    #[arg(
        long = "cluster.mdns-interfaces",
        env = "STARLING_CLUSTER_MDNS_INTERFACES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    mdns_interfaces: Vec<String>,
    /// UDP and TCP address for the other members [default: 0.0.0.0:9734]
    #[arg(
        id = "cluster.listen-address",
        long = "cluster.listen-address",
        env = "STARLING_CLUSTER_LISTEN_ADDRESS",
        value_name = "ADDRESS"
    )]
    listen_address: Option<String>,
    /// Where the others reach this member [default: the address that a route to a peer would use]
    #[arg(
        long = "cluster.advertise-address",
        env = "STARLING_CLUSTER_ADVERTISE_ADDRESS",
        value_name = "ADDRESS"
    )]
    advertise_address: Option<String>,
    /// The secret that all members share; a file is better, as all users of a host see its command
    /// lines
    #[arg(
        long = "cluster.secret",
        env = "STARLING_CLUSTER_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    secret: Option<String>,
    /// A file with the secret that all members share; of several the first seals and all open
    #[arg(
        long = "cluster.secret-file",
        env = "STARLING_CLUSTER_SECRET_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    secret_file: Vec<String>,
    /// Go without a secret: any host that reaches this one can join
    #[arg(long = "cluster.insecure", env = "STARLING_CLUSTER_INSECURE", value_name = "BOOLEAN",
        num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure: Option<String>,
    /// When it starts, wait for so many members before scraping [default: 0]
    #[arg(
        long = "cluster.wait-for-size",
        env = "STARLING_CLUSTER_WAIT_FOR_SIZE",
        value_name = "NUMBER"
    )]
    wait_for_size: Option<String>,
    /// And at most for so long [default: 1m]
    #[arg(
        long = "cluster.wait-timeout",
        env = "STARLING_CLUSTER_WAIT_TIMEOUT",
        value_name = "DURATION"
    )]
    wait_timeout: Option<String>,
    /// How far ahead joins and leaves are announced [default: 2s]
    #[arg(long = "cluster.settle", env = "STARLING_CLUSTER_SETTLE", value_name = "DURATION")]
    settle: Option<String>,
    /// This member's share beside the others'; 0 takes none [default: 100]
    #[arg(long = "cluster.weight", env = "STARLING_CLUSTER_WEIGHT", value_name = "NUMBER")]
    weight: Option<String>,
    /// Where this member stands, for people
    #[arg(long = "cluster.zone", env = "STARLING_CLUSTER_ZONE", value_name = "NAME")]
    zone: Option<String>,
    /// `scrape_all` or `minority_stops` [default: `scrape_all`]
    #[arg(
        long = "cluster.on-partition",
        env = "STARLING_CLUSTER_ON_PARTITION",
        value_name = "WHAT"
    )]
    on_partition: Option<String>,
    /// How long a changed job waits for the others to have it [default: 1m]
    #[arg(
        long = "cluster.reload-grace",
        env = "STARLING_CLUSTER_RELOAD_GRACE",
        value_name = "DURATION"
    )]
    reload_grace: Option<String>,
    /// How long a new owner waits for the former one's word [default: 5m]
    #[arg(long = "cluster.fence-max", env = "STARLING_CLUSTER_FENCE_MAX", value_name = "DURATION")]
    fence_max: Option<String>,
}

impl ClusterFlags {
    /// # Errors
    /// Every flag that says nothing that the section could, one a line.
    pub(super) fn typed(&self) -> Result<TypedCluster, String> {
        let fields = self.fields().into_iter().map(|(key, texts)| (section_key(key), texts));
        let said = fields.filter(|(_, texts)| !texts.is_empty());
        TypedCluster::read(said.collect()).map_err(|problems| problems.to_string())
    }

    /// Flag by flag, empty where the file decides.
    pub(super) fn shown(&self) -> impl Iterator<Item = (String, String)> {
        self.fields().into_iter().map(|(key, texts)| {
            let shown = if key == "secret" && !texts.is_empty() {
                SECRET.to_owned()
            } else {
                texts.join(",")
            };
            (format!("cluster.{}", key.replace('_', "-")), shown)
        })
    }

    fn fields(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |text: &Option<String>| text.clone().into_iter().collect::<Vec<_>>();
        let mut fields = vec![
            ("enabled", one(&self.enabled)),
            ("name", one(&self.name)),
            ("node_name", one(&self.node_name)),
            ("peers", self.peers.clone()),
            ("mdns", one(&self.mdns)),
            ("mdns_interfaces", self.mdns_interfaces.clone()),
            ("listen_address", one(&self.listen_address)),
            ("advertise_address", one(&self.advertise_address)),
            ("secret", one(&self.secret)),
            ("secret_file", self.secret_file.clone()),
            ("insecure", one(&self.insecure)),
            ("wait_for_size", one(&self.wait_for_size)),
            ("wait_timeout", one(&self.wait_timeout)),
            ("settle", one(&self.settle)),
            ("weight", one(&self.weight)),
            ("zone", one(&self.zone)),
            ("on_partition", one(&self.on_partition)),
            ("reload_grace", one(&self.reload_grace)),
            ("fence_max", one(&self.fence_max)),
        ];
        for (_, texts) in &mut fields {
            texts.retain(|text| !text.trim().is_empty());
        }
        fields
    }
}

/// The flag may be given again and again, for which the section has a key of its own.
fn section_key(key: &'static str) -> &'static str {
    if key == "secret_file" { "secret_files" } else { key }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::config::{Cluster, OnPartition, Source};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: ClusterFlags,
    }

    fn flags(line: &[&str]) -> ClusterFlags {
        let flags = line.iter().map(|flag| format!("--cluster.{flag}"));
        Line::parse_from(std::iter::once("starling".to_owned()).chain(flags)).flags
    }

    #[track_caller]
    fn check(line: &[&str], expected: &Cluster) {
        assert_eq!(Cluster::default().with(flags(line).typed().expect("sound")), *expected);
    }

    #[test]
    fn flags_say_what_the_section_says() {
        let unset = Cluster::default();
        check(&[], &unset);
        check(&["name=", "peers=", "settle="], &unset);
        check(&["enabled", "mdns=false"], &Cluster { enabled: true, ..unset.clone() });
        let peers = ["a", "b:1", "dns+c"].map(str::to_owned).to_vec();
        check(&["peers=a, b:1,", "peers=dns+c"], &Cluster { peers, ..unset.clone() });
        let secrets = ["old", "/new"].map(|path| Source::File(path.into())).to_vec();
        check(&["secret-file=old", "secret-file=/new"], &Cluster { secrets, ..unset.clone() });
        let expected = Cluster {
            name: "null".to_owned(),
            node_name: Some("12".to_owned()),
            mdns: true,
            mdns_interfaces: vec!["eth0".to_owned()],
            listen_address: "[::]:1".parse().unwrap(),
            insecure: true,
            wait_for_size: 3,
            wait_timeout: Duration::from_secs(90),
            settle: Duration::from_millis(1500),
            weight: 50,
            zone: "z".to_owned(),
            on_partition: OnPartition::MinorityStops,
            reload_grace: Duration::ZERO,
            fence_max: Duration::from_secs(60),
            ..unset
        };
        check(
            &[
                "name=null",
                "node-name=12",
                "mdns",
                "mdns-interfaces=eth0",
                "listen-address=[::]:1",
                "insecure=yes",
                "wait-for-size=3",
                "wait-timeout=1m30s",
                "settle=1s500ms",
                "weight=50",
                "zone=z",
                "on-partition=minority_stops",
                "reload-grace=0",
                "fence-max=1m",
            ],
            &expected,
        );
    }

    #[test]
    fn advertised_is_what_is_typed_or_where_it_listens() {
        let advertised = |line: &[&str]| {
            Cluster::default().with(flags(line).typed().expect("sound")).advertise()
        };
        assert_eq!(advertised(&["listen-address=:7"]), None);
        let own = Some("10.0.0.1:7".parse().unwrap());
        assert_eq!(advertised(&["listen-address=:7", "advertise-address=10.0.0.1"]), own);
        assert_eq!(advertised(&["advertise-address=10.0.0.1:7"]), own);
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let line = ["enabled=perhaps", "peers=a b", "weight=-1", "secret=hunter2", "secret-file=f"];
        let faults = flags(&line).typed().expect_err("all wrong");
        assert_eq!(
            faults,
            "`--cluster.*`: `enabled`: expected true or false, found `perhaps`\n\
             `--cluster.*`: `peers`: peer `a b`: expected an address, a host name or `dnssrv+` a name\n\
             `--cluster.*`: at most one of secret, secret_file & secret_files must be configured\n\
             `--cluster.*`: `weight`: expected a whole number from 0 to 10000, found `-1`"
        );
    }

    #[test]
    fn flags_are_shown_without_secrets() {
        let shown: Vec<(String, String)> =
            flags(&["secret=hunter2", "peers=a,b", "enabled"]).shown().collect();
        let of = |name: &str| {
            let found = shown.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| value.as_str()).expect("every flag is shown")
        };
        assert_eq!(of("cluster.secret"), "<secret>");
        assert_eq!(of("cluster.peers"), "a,b");
        assert_eq!(of("cluster.enabled"), "true");
        assert_eq!(of("cluster.wait-for-size"), "");
    }

    /// So that none is forgotten in `fields`: what a flag is called follows from its key.
    #[test]
    fn each_flag_is_a_key_and_a_variable() {
        let command = <Line as clap::CommandFactory>::command();
        let mut flags: Vec<String> = Vec::new();
        for flag in command.get_arguments() {
            let Some(long) = flag.get_long().filter(|long| long.starts_with("cluster.")) else {
                continue;
            };
            let variable = format!("STARLING_{}", long.to_uppercase().replace(['.', '-'], "_"));
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(&*variable));
            flags.push(long.to_owned());
        }
        let shown: Vec<String> = ClusterFlags::default().shown().map(|(name, _)| name).collect();
        assert_eq!(shown, flags);
    }
}
