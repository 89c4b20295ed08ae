//! What of an Alloy file is not carried over, and why, or what to do instead.

use crate::cli::convert::{alloy::evaluate::Scene, alloy::syntax::Block, told::Weight};

const LOGS: &str = "logs are not collected yet; keep Alloy, or run another agent, for them";
const OTHERS: &str = "only metrics are collected; keep Alloy, or run another agent, for the rest";
const MODULES: &str =
    "modules are not read: convert the file that it stands for, and join the outputs";

/// By the beginning of a block's name; the first that fits counts.
const BLOCKS: [(&str, Weight, &str); 27] = [
    ("logging", Weight::Differs, "set `--log.level` and `--log.format` of the service instead"),
    ("livedebugging", Weight::Differs, "`starling explain` shows what becomes of a target"),
    ("tracing", Weight::Lost, "no traces of its own are sent"),
    (
        "http",
        Weight::Lost,
        "TLS, users and tokens of the API are in the file of `--web.config.file` and in `admin`",
    ),
    (
        "remotecfg",
        Weight::Lost,
        "a configuration is a file; bring it to the hosts, and `starling reload`",
    ),
    ("import.", Weight::Lost, MODULES),
    ("declare", Weight::Lost, MODULES),
    ("argument", Weight::Lost, MODULES),
    ("export", Weight::Lost, MODULES),
    ("foreach", Weight::Lost, "loops are not unrolled: write a job for each turn"),
    ("loki.", Weight::Lost, LOGS),
    ("otelcol.", Weight::Lost, OTHERS),
    ("pyroscope.", Weight::Lost, OTHERS),
    ("faro.", Weight::Lost, OTHERS),
    ("beyla.", Weight::Lost, OTHERS),
    ("database_observability.", Weight::Lost, OTHERS),
    (
        "prometheus.receive_http",
        Weight::Lost,
        "pushed samples are not received yet; let senders write to the destination",
    ),
    ("prometheus.operator.", Weight::Lost, "Kubernetes is not watched: agents run on plain hosts"),
    (
        "prometheus.mapping",
        Weight::Lost,
        "a mapping is a `replace` rule for each value in `metric_relabel_configs`",
    ),
    (
        "prometheus.enrich",
        Weight::Lost,
        "labels are added by `relabel_configs`, or by `http_sd_configs`",
    ),
    ("prometheus.echo", Weight::Differs, "`starling targets` shows what was scraped"),
    ("mimir.", Weight::Lost, "rules are brought to a server by `mimirtool`"),
    (
        "remote.",
        Weight::Lost,
        "secrets and texts come from files that are read again when they change; have them written by what fetches them",
    ),
    ("local.file_match", Weight::Lost, LOGS),
    ("stage.", Weight::Lost, LOGS),
    ("prometheus.", Weight::Lost, "the agent has nothing like it"),
    ("", Weight::Lost, "the agent has nothing like it"),
];

/// Whether `block` is one that others read.
pub(super) fn is_carried(block: &Block) -> bool {
    const NAMES: [&str; 5] = [
        "prometheus.scrape",
        "prometheus.relabel",
        "prometheus.remote_write",
        "prometheus.write.queue",
        "local.file",
    ];

    NAMES.contains(&block.name.as_str())
        || block.name.starts_with("discovery.")
        || block.name.starts_with("prometheus.exporter.")
}

pub(super) fn tell(scene: &mut Scene<'_>, block: &Block) {
    let known = BLOCKS.iter().find(|(begin, ..)| block.name.starts_with(begin));
    let Some((_, weight, why)) = known else { return };
    let message = format!("{}: {why}", block.shown());
    match weight {
        Weight::Lost => scene.lost(block.place, message),
        Weight::Differs => scene.differs(block.place, message),
    }
}
