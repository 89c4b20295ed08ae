//! vmagent's command line and the files that it names into a configuration.

mod destinations;
mod flags;
mod relabel;
mod scrapes;
mod selector;
mod words;

use std::{path::Path, sync::Arc};

use crate::{
    cli::convert::{
        World, has_key, plain,
        told::{Notes, Weight},
        tree::{At, Tree},
        vmagent::flags::Flags,
    },
    config::{
        problem::{Place, Problem},
        units,
    },
};

/// Where `starling setup` keeps the secret that members share.
const SECRET_FILE: &str = "/etc/starling/cluster.secret";

/// By the beginning of a flag's name, the first that fits: what is done instead. A flag of none of
/// these has no counterpart.
const ELSEWHERE: [(&str, Weight, &str); 32] = [
    ("httpListenAddr", Weight::Differs, "set `--web.listen-address` of the service instead"),
    (
        "httpAuth.",
        Weight::Lost,
        "users are in the file of `--web.config.file`, and tokens in `admin`",
    ),
    ("tls", Weight::Lost, "TLS of the API is in the file of `--web.config.file`"),
    ("logger", Weight::Differs, "set `--log.level` and `--log.format` of the service instead"),
    ("memory.", Weight::Differs, "set `MemoryHigh` and `MemoryMax` of the unit instead"),
    ("envflag.", Weight::Differs, "flags of the service are taken from `STARLING_…` variables"),
    ("enableTCP6", Weight::Differs, "IPv6 is always spoken"),
    ("version", Weight::Differs, "`starling version` tells it"),
    ("promscrape.config.strictParse", Weight::Differs, "keys that are unknown are always refused"),
    ("promscrape.config.dryRun", Weight::Differs, "`starling check` does that"),
    ("promscrape.configCheckInterval", Weight::Differs, "a changed file is loaded again at once"),
    ("promscrape.suppress", Weight::Differs, "the log tells a failing target once"),
    ("promscrape.dropOriginalLabels", Weight::Differs, "set `keep_dropped_targets` instead"),
    ("promscrape.maxDroppedTargets", Weight::Differs, "set `keep_dropped_targets` instead"),
    ("promscrape.streamParse", Weight::Differs, "it is the way that targets are read"),
    (
        "promscrape.minResponseSizeForStreamParse",
        Weight::Differs,
        "it is the way that targets are read",
    ),
    ("promscrape.disableKeepAlive", Weight::Differs, "connections are kept"),
    ("promscrape.noStaleMarkers", Weight::Lost, "series that end are marked as stale"),
    (
        "promscrape.disableCompression",
        Weight::Differs,
        "set `enable_compression: false` in the jobs instead",
    ),
    ("promscrape.cluster.", Weight::Differs, "the members divide the targets by themselves"),
    ("promscrape.discovery.", Weight::Differs, "discoveries are bounded by themselves"),
    ("promscrape.", Weight::Differs, "there is nothing of it to set"),
    (
        "remoteWrite.tmpDataPath",
        Weight::Differs,
        "set `--storage.path` of the service instead; what waits there is vmagent's, and must be sent by it",
    ),
    ("remoteWrite.showURL", Weight::Differs, "URLs are shown, passwords in them never"),
    ("remoteWrite.force", Weight::Differs, "`protobuf_message` says what is sent"),
    (
        "remoteWrite.maxBlockSize",
        Weight::Differs,
        "set `max_samples_per_send` in `queue_config` instead",
    ),
    ("remoteWrite.inmemoryQueues", Weight::Differs, "all that waits is on disk"),
    ("remoteWrite.vmProtoCompressLevel", Weight::Differs, "there is nothing of it to set"),
    (
        "remoteWrite.keepDanglingQueues",
        Weight::Differs,
        "what waits for a destination is kept by its name",
    ),
    ("remoteWrite.disableOnDiskQueue", Weight::Differs, "all that waits is on disk"),
    ("remoteWrite.", Weight::Lost, "the agent has nothing like it"),
    ("", Weight::Lost, "the agent has nothing like it"),
];

/// Whether `text` has vmagent's flags in it.
pub(super) fn is_one(text: &str) -> bool {
    ["-remoteWrite.url", "-promscrape.config", "remoteWrite_url="]
        .iter()
        .any(|own| text.contains(own))
}

/// # Errors
/// Where there is no flag at all, or the file of `-promscrape.config` cannot be understood.
pub(super) fn convert(
    file: &Arc<str>,
    text: &str,
    world: &World<'_>,
    notes: &mut Notes,
) -> Result<Tree, Problem> {
    let whole = Place::default();
    if has_key(text, &["scrape_configs", "scrape_config_files"]) {
        return scrapes::of_text(Path::new(&**file), text, &mut Flags::default(), world, notes);
    }
    let parted = words::part(file, text, world);
    for (at, reason) in &parted.unread {
        notes.lost(at, reason);
    }
    let mut flags = Flags::read(&parted.words);
    if flags.is_empty() {
        let message = "no flags of vmagent, such as `-remoteWrite.url=…`".to_owned();
        return Err(Problem { file: file.clone(), place: whole, message });
    }
    let at = At::of(file, whole);
    let mut tree = match flags.one("promscrape.config") {
        None => Tree::map(&at, [("global", Tree::map::<String>(&at, []))]),
        Some((path, at)) if path.contains("://") => {
            notes.lost(&at, "`-promscrape.config` is a URL: fetch the file, and name that");
            Tree::map(&at, [("global", Tree::map::<String>(&at, []))])
        }
        Some((path, at)) => {
            let folder = Path::new(&*at.file).parent().unwrap_or(Path::new(""));
            scrapes::read(&folder.join(path), &at, &mut flags, world, notes)?
        }
    };
    let mut global = tree.take("global").unwrap_or_else(|| Tree::map::<String>(&at, []));
    labels(&mut flags, &mut global, world, notes);
    limits(&mut flags, &mut global, &mut tree);
    let cluster = cluster(&mut flags, &mut global, notes);
    tree.set_first("global", global);
    let entries = destinations::entries(&mut flags, world, notes);
    tree.append("remote_write", entries);
    if let Some(outbox) = destinations::outbox(&mut flags, notes) {
        tree.set("outbox", outbox);
    }
    if let Some(cluster) = cluster {
        tree.set("cluster", cluster);
    }
    tell_of_others(&flags, notes);
    Ok(tree)
}

/// `-remoteWrite.label`, over the file's own.
fn labels(flags: &mut Flags, global: &mut Tree, world: &World<'_>, notes: &mut Notes) {
    let given = flags.many("remoteWrite.label");
    let Some((_, at)) = given.first().cloned() else { return };
    let mut labels = global.take("external_labels").unwrap_or_else(|| Tree::map::<String>(&at, []));
    for (text, at) in given {
        let text = scrapes::expanded(&text, &at, world, notes);
        if let Some((name, value)) = text.split_once('=') {
            labels.set(name, Tree::text(&at, value.replace('$', "$$")));
        }
    }
    notes.differs(&at, "`-remoteWrite.label`: a sample that has such a label keeps its own");
    global.set("external_labels", labels);
}

fn limits(flags: &mut Flags, global: &mut Tree, tree: &mut Tree) {
    if let Some((text, at)) = flags.one("promscrape.maxScrapeSize")
        && let Some(bytes) = plain::size(&text).filter(|bytes| *bytes > 0)
    {
        global.set("body_size_limit", Tree::text(&at, units::print_bytes(bytes)));
    }
    if let Some((text, at)) = flags.one("promscrape.seriesLimitPerTarget").filter(|(n, _)| n != "0")
    {
        let jobs = tree.take("scrape_configs");
        let Some(jobs) = jobs else { return };
        let all = jobs.at.clone();
        let mut jobs = jobs.into_items();
        for job in jobs.iter_mut().filter(|job| !job.has("x_series_limit")) {
            job.set("x_series_limit", Tree::word(&at, text.clone()));
        }
        tree.set("scrape_configs", Tree::list(&all, jobs));
    }
}

/// Members that divide targets find each other here, and need no numbers.
fn cluster(flags: &mut Flags, global: &mut Tree, notes: &mut Notes) -> Option<Tree> {
    let name = flags.one("promscrape.cluster.name");
    flags.one("promscrape.cluster.memberNum");
    let replicas = flags.one("promscrape.cluster.replicationFactor");
    let (count, at) =
        flags.one("promscrape.cluster.membersCount").filter(|(n, _)| n != "0" && n != "1")?;
    if let Some((_, at)) = replicas.filter(|(n, _)| n != "1") {
        notes.lost(&at, "`-promscrape.cluster.replicationFactor`: each target has one owner, and another at once when that one dies");
    }
    notes.differs(&at, "`-promscrape.cluster.*`: the members find each other and divide the targets by themselves: run `starling setup` on each host, with `--mdns` or with `--peers`, which makes the secret, too");
    global.set("clustering", Tree::map(&at, [("enabled", Tree::word(&at, true))]));
    let mut fields = vec![
        ("enabled", Tree::word(&at, true)),
        ("secret_file", Tree::text(&at, SECRET_FILE)),
        ("wait_for_size", Tree::word(&at, count)),
    ];
    if let Some((name, at)) = name {
        fields.push(("name", Tree::text(&at, name)));
    }
    Some(Tree::map(&at, fields))
}

fn tell_of_others(flags: &Flags, notes: &mut Notes) {
    for (name, at) in flags.others() {
        let known = ELSEWHERE.iter().find(|(begin, ..)| name.starts_with(begin));
        let Some((_, weight, why)) = known else { continue };
        let message = format!("`-{name}`: {why}");
        match weight {
            Weight::Lost => notes.lost(at, message),
            Weight::Differs => notes.differs(at, message),
        }
    }
}
