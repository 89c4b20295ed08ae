//! What Alloy and Grafana Agent export from within: each is a program of its own here, which is scraped
//! where it listens by default.

pub(super) struct Exporter {
    /// In `prometheus.exporter.*`.
    pub(super) alloy: &'static str,
    /// In `integrations`.
    pub(super) agent: &'static str,
    pub(super) program: &'static str,
    pub(super) address: &'static str,
    /// It tells of the host, whose name was the `instance`.
    pub(super) is_of_host: bool,
}

/// The agent's own metrics, in place of theirs.
pub(super) const OWN_ADDRESS: &str = "localhost:9733";

const fn exporter(names: [&'static str; 3], address: &'static str, is_of_host: bool) -> Exporter {
    let [alloy, agent, program] = names;
    Exporter { alloy, agent, program, address, is_of_host }
}

pub(super) const EXPORTERS: [Exporter; 16] = [
    exporter(["unix", "node_exporter", "node_exporter"], "localhost:9100", true),
    exporter(["windows", "windows_exporter", "windows_exporter"], "localhost:9182", true),
    exporter(["process", "process_exporter", "process-exporter"], "localhost:9256", true),
    exporter(["cadvisor", "cadvisor", "cadvisor"], "localhost:8080", true),
    exporter(["mysql", "mysqld_exporter", "mysqld_exporter"], "localhost:9104", false),
    exporter(["postgres", "postgres_exporter", "postgres_exporter"], "localhost:9187", false),
    exporter(["redis", "redis_exporter", "redis_exporter"], "localhost:9121", false),
    exporter(["memcached", "memcached_exporter", "memcached_exporter"], "localhost:9150", false),
    exporter(["mongodb", "mongodb_exporter", "mongodb_exporter"], "localhost:9216", false),
    exporter(["apache", "apache_http", "apache_exporter"], "localhost:9117", false),
    exporter(
        ["elasticsearch", "elasticsearch_exporter", "elasticsearch_exporter"],
        "localhost:9114",
        false,
    ),
    exporter(["kafka", "kafka_exporter", "kafka_exporter"], "localhost:9308", false),
    exporter(["consul", "consul_exporter", "consul_exporter"], "localhost:9107", false),
    exporter(["statsd", "statsd_exporter", "statsd_exporter"], "localhost:9102", false),
    exporter(["dnsmasq", "dnsmasq_exporter", "dnsmasq_exporter"], "localhost:9153", false),
    exporter(["squid", "squid_exporter", "squid-exporter"], "localhost:9301", false),
];
