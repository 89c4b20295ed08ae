//! What is added to a configuration, given its text and what was asked: sections that are not there,
//! at its end, and nothing else. Pure.

use std::{
    iter,
    path::{Path, PathBuf},
};

use url::Url;

use crate::{
    config::{
        self, Cluster, Config, Source,
        cluster::PORT,
        problem::Place,
        yaml::{self, Node},
        yaml_out::quoted,
    },
    model::peer::Peer,
};

/// What members of a fleet call the destination among themselves.
const DESTINATION: &str = "default";

#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) mdns: bool,
    pub(super) peers: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) cluster: Option<String>,
    pub(super) remote_write: Option<String>,
    /// All paths are absolute.
    pub(super) secret_file: Option<PathBuf>,
    pub(super) secret_file_default: PathBuf,
}

#[derive(Debug)]
pub(super) struct Added {
    /// The whole new text; `None` where all that was asked is there.
    pub(super) text: Option<String>,
    /// What is new of it.
    pub(super) addition: String,
    /// Where the cluster's secret belongs; `None` where the file says it otherwise.
    pub(super) secret_file: Option<PathBuf>,
    /// Whether the members have anything to share.
    pub(super) divides: bool,
}

/// # Errors
/// What is wrong with the file or with what was asked, or where they differ.
pub(super) fn add(path: &Path, text: &str, asked: &Asked) -> Result<Added, String> {
    check_asked(asked)?;
    let before = config::parse(path, text, &no_environment).map_err(|problems| {
        format!(
            "setup adds nothing to a configuration that has problems; `starling check` tells them all:\n{problems}"
        )
    })?;
    let root = yaml::parse(text).map_err(|problem| problem.to_string())?;
    let place = |key| place_of(&root, key).map(|place| shown(path, place));

    let mut addition = String::new();
    let mut secret_file = None;
    if let Some(place) = place("cluster") {
        compare_cluster(&place, &before.cluster, asked)?;
        if let [Source::File(path)] = &before.cluster.secrets[..] {
            secret_file = Some(path.clone());
        }
    } else {
        let path = asked.secret_file.as_ref().unwrap_or(&asked.secret_file_default);
        addition += &cluster_section(path, asked)?;
        secret_file = Some(path.clone());
    }
    match (&asked.remote_write, place("remote_write")) {
        (Some(url), Some(place)) => compare_destinations(&place, &before, url)?,
        (Some(url), None) => {
            if !addition.is_empty() {
                addition.push('\n');
            }
            addition += &destination_section(url);
        }
        (None, _) => {}
    }
    let divides = before.jobs.iter().any(|job| job.clustering.enabled);
    let text = if addition.is_empty() {
        None
    } else {
        Some(appended(path, text, &addition, &before, asked)?)
    };
    Ok(Added { text, addition, secret_file, divides })
}

/// It is for external labels alone, which are none of what is compared here.
fn no_environment(_: &str) -> Option<String> {
    None
}

fn place_of(root: &Node, key: &str) -> Option<Place> {
    let found = root.as_map()?.iter().find(|(found, _)| found.text == key);
    found.map(|(key, _)| key.place)
}

fn shown(path: &Path, place: Place) -> String {
    format!("{}:{}:{}", path.display(), place.line, place.column)
}

fn check_asked(asked: &Asked) -> Result<(), String> {
    for peer in &asked.peers {
        Peer::parse(peer, PORT).map_err(|reason| format!("`--peers`: {reason}"))?;
    }
    let Some(url) = &asked.remote_write else { return Ok(()) };
    let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(parsed) = parsed else {
        return Err("`--remote-write`: expected an http or https URL, such as `https://metrics.example.com/api/v1/write`".to_owned());
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("`--remote-write`: credentials on a command line can be read by every user of the host; leave them out, and add `basic_auth` with a `password_file` to the configuration".to_owned());
    }
    Ok(())
}

fn compare_cluster(place: &str, found: &Cluster, asked: &Asked) -> Result<(), String> {
    let mut differences = Vec::new();
    let mut differs = |key: &str, found: String, asked: String| {
        if found != asked {
            differences.push(format!("`{key}` is {found}, and asked was {asked}"));
        }
    };
    let word = |word: bool| format!("`{word}`");
    differs("enabled", word(found.enabled), word(true));
    if asked.mdns {
        differs("mdns", word(found.mdns), word(true));
    }
    if !asked.peers.is_empty() {
        differs("peers", sorted(&found.peers), sorted(&asked.peers));
    }
    let text = |text: &str| format!("`{text}`");
    if let Some(name) = &asked.name {
        let found = found.node_name.as_deref().map_or("the name of the host".to_owned(), text);
        differs("node_name", found, text(name));
    }
    if let Some(name) = &asked.cluster {
        differs("name", text(&found.name), text(name));
    }
    if let Some(path) = &asked.secret_file {
        let found = match &found.secrets[..] {
            [] => "absent".to_owned(),
            [Source::File(found)] => text(&found.display().to_string()),
            [Source::Inline(_)] => "absent, as `secret` is there".to_owned(),
            _ => "absent, as `secret_files` is there".to_owned(),
        };
        differs("secret_file", found, text(&path.display().to_string()));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let differences = differences.join("; ");
    Err(format!(
        "{place}: there is a `cluster` section that differs from what was asked: {differences}; setup changes nothing that is there: change it by hand"
    ))
}

/// Their order means nothing.
fn sorted(peers: &[String]) -> String {
    let mut peers: Vec<&str> = peers.iter().map(|peer| peer.trim()).collect();
    peers.sort_unstable();
    peers.dedup();
    format!("`[{}]`", peers.join(", "))
}

fn compare_destinations(place: &str, found: &Config, url: &str) -> Result<(), String> {
    if found.destinations.iter().any(|destination| destination.url.expose() == url) {
        return Ok(());
    }
    let urls: Vec<String> = found
        .destinations
        .iter()
        .map(|destination| format!("`{}`", destination.shown_url()))
        .collect();
    let urls = if urls.is_empty() { "nowhere".to_owned() } else { urls.join(" and ") };
    Err(format!(
        "{place}: there is a `remote_write` section that sends to {urls}, and not to what was asked; setup changes nothing that is there: add it by hand"
    ))
}

fn cluster_section(secret_file: &Path, asked: &Asked) -> Result<String, String> {
    if !asked.mdns && asked.peers.is_empty() {
        return Err("how do the members find each other? Say `--mdns` where they are on one network, or `--peers vm1,vm2,vm3`".to_owned());
    }
    let secret_file = secret_file.to_str().ok_or("`--secret-file`: expected UTF-8 text")?;
    let peers: Vec<String> = asked.peers.iter().map(|peer| quoted(peer.trim())).collect();
    let lines = [
        ("name", asked.cluster.as_deref().map(quoted)),
        ("node_name", asked.name.as_deref().map(quoted)),
        ("secret_file", Some(quoted(secret_file))),
        ("peers", (!peers.is_empty()).then(|| format!("[{}]", peers.join(", ")))),
        ("mdns", asked.mdns.then(|| "true".to_owned())),
    ];
    let said = lines.into_iter().filter_map(|(key, value)| Some(format!("  {key}: {}\n", value?)));
    Ok(iter::once("cluster:\n  enabled: true\n".to_owned()).chain(said).collect())
}

fn destination_section(url: &str) -> String {
    format!("remote_write:\n  - name: {DESTINATION}\n    url: {}\n", quoted(url))
}

/// The new text, read again: it must say what it said before, and what was asked.
fn appended(
    path: &Path,
    text: &str,
    addition: &str,
    before: &Config,
    asked: &Asked,
) -> Result<String, String> {
    let gap = match text {
        "" => "",
        _ if text.ends_with("\n\n") => "",
        _ if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let new = format!("{text}{gap}{addition}");
    let after = config::parse(path, &new, &no_environment).map_err(|problems| {
        format!(
            "what would be added to the configuration is refused, so it stays as it is; with\n\n{addition}\nat its end it has problems:\n{problems}"
        )
    })?;
    let is_as_asked = compare_cluster("", &after.cluster, asked).is_ok()
        && asked.remote_write.as_ref().is_none_or(|url| {
            after.destinations.iter().any(|destination| destination.url.expose() == url)
        });
    if !is_as_asked || rest(&after, before, asked) != rest(before, before, asked) {
        return Err(format!(
            "{}: its form lets nothing be added at its end, so it stays as it is; add this by hand:\n\n{addition}",
            path.display()
        ));
    }
    Ok(new)
}

/// What must not change. Sections that are there already are not added, so they count.
fn rest(config: &Config, before: &Config, asked: &Asked) -> Config {
    let adds_cluster = before.cluster == Cluster::default();
    let adds_destination = before.destinations.is_empty() && asked.remote_write.is_some();
    Config {
        cluster: if adds_cluster { Cluster::default() } else { config.cluster.clone() },
        destinations: if adds_destination { Vec::new() } else { config.destinations.clone() },
        warnings: Vec::new(),
        ..config.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "# mine\nglobal: { scrape_interval: 15s } # as all\nscrape_configs:\n  - job_name: a\n    static_configs: [{ targets: ['h:1'] }]\n";

    fn asked(change: impl FnOnce(&mut Asked)) -> Asked {
        let mut asked =
            Asked { secret_file_default: "/e/cluster.secret".into(), ..Asked::default() };
        change(&mut asked);
        asked
    }

    fn mdns() -> Asked {
        asked(|asked| asked.mdns = true)
    }

    fn peers(peers: &[&str]) -> Asked {
        asked(|asked| asked.peers = peers.iter().map(|&peer| peer.to_owned()).collect())
    }

    fn added(text: &str, asked: &Asked) -> Result<Added, String> {
        add(Path::new("/e/starling.yml"), text, asked)
    }

    #[test]
    fn sections_come_behind_what_is_there() {
        let check = |text: &str, asked: &Asked, gap: &str, addition: &str| {
            let added = added(text, asked).unwrap();
            assert_eq!(added.text.unwrap(), format!("{text}{gap}{addition}"));
            assert_eq!(added.addition, addition);
        };
        let cluster = "cluster:\n  enabled: true\n  secret_file: /e/cluster.secret\n";
        let with_mdns = format!("{cluster}  mdns: true\n");
        check(CONFIG, &mdns(), "\n", &with_mdns);
        check("", &mdns(), "", &with_mdns);
        check("# nothing yet", &mdns(), "\n\n", &with_mdns);
        check("global:\n\n", &mdns(), "", &with_mdns);
        check("#cluster:\n#  enabled: true\n", &mdns(), "\n", &with_mdns);
        check("\u{feff}global: {}\r\n", &mdns(), "\n", &with_mdns);
        check(
            CONFIG,
            &peers(&["vm1", " vm2:1", "[::1]:9734"]),
            "\n",
            &format!("{cluster}  peers: [vm1, vm2:1, \"[::1]:9734\"]\n"),
        );
        let all = asked(|asked| {
            asked.mdns = true;
            asked.name = Some("no".to_owned());
            asked.cluster = Some("a: b".to_owned());
            asked.secret_file = Some("/s e/c".into());
            asked.remote_write = Some("https://m.example/w?a=b".to_owned());
        });
        check(
            CONFIG,
            &all,
            "\n",
            "cluster:\n  enabled: true\n  name: \"a: b\"\n  node_name: \"no\"\n  secret_file: /s e/c\n  mdns: true\n\nremote_write:\n  - name: default\n    url: https://m.example/w?a=b\n",
        );
    }

    #[test]
    fn what_is_there_stays_and_is_enough() {
        let check = |text: &str, asked: &Asked, secret_file: Option<&str>| {
            let added = added(text, asked).unwrap();
            assert_eq!((added.text, &*added.addition), (None, ""), "{text}");
            assert_eq!(added.secret_file, secret_file.map(PathBuf::from), "{text}");
        };
        let once = added(CONFIG, &mdns()).unwrap().text.unwrap();
        check(&once, &mdns(), Some("/e/cluster.secret"));
        check(&once, &Asked::default(), Some("/e/cluster.secret"));
        check(&format!("{once}  weight: 50\n"), &mdns(), Some("/e/cluster.secret"));
        let own = "cluster: {enabled: true, mdns: true, secret_file: own}\n";
        check(own, &mdns(), Some("/e/own"));
        check("cluster: {enabled: true, mdns: true, secret: x}\n", &mdns(), None);
        check("cluster: {enabled: true, mdns: true, secret_files: [a, b]}\n", &mdns(), None);
        check("cluster: {enabled: true, mdns: true, insecure: true}\n", &mdns(), None);
        check(
            "cluster: {enabled: true, peers: [b, a], insecure: true}\n",
            &peers(&["a", "b"]),
            None,
        );
        let to = asked(|asked| {
            asked.remote_write = Some("http://m/w".to_owned());
        });
        let sends = "remote_write: [{url: 'http://m/w'}]\n";
        check(&format!("{own}{sends}"), &to, Some("/e/own"));
        let added = added(
            &format!("{sends}scrape_configs: [{{job_name: a, clustering: {{enabled: true}}}}]\n"),
            &asked(|asked| {
                asked.mdns = true;
                asked.remote_write = Some("http://m/w".to_owned());
            }),
        )
        .unwrap();
        assert!(!added.addition.contains("remote_write"), "only what is missing: {added:?}");
        assert!(added.divides);
    }

    #[test]
    fn what_can_not_be_added_is_told_with_its_place() {
        let check = |text: &str, asked: &Asked, expected: &[&str]| {
            let error = added(text, asked).unwrap_err();
            for expected in expected {
                assert!(error.contains(expected), "{expected:?} in {error:?}");
            }
        };
        let off = "global: {}\ncluster:\n  enabled: false\n  node_name: a\n  peers: [x]\n  secret: geheim-geheim-geheim\n";
        let other = asked(|asked| {
            asked.mdns = true;
            asked.peers = vec!["y".to_owned()];
            asked.name = Some("b".to_owned());
            asked.cluster = Some("c".to_owned());
            asked.secret_file = Some("/s".into());
        });
        check(
            off,
            &other,
            &[
                "/e/starling.yml:2:1: there is a `cluster` section",
                "`enabled` is `false`, and asked was `true`",
                "`mdns` is `false`",
                "`peers` is `[x]`, and asked was `[y]`",
                "`node_name` is `a`, and asked was `b`",
                "`name` is `default`, and asked was `c`",
                "`secret_file` is absent, as `secret` is there, and asked was `/s`",
            ],
        );
        assert!(!added(off, &other).unwrap_err().contains("geheim"));
        check("cluster:\n", &mdns(), &["1:1: there is a `cluster`", "`enabled` is `false`"]);
        check(CONFIG, &Asked::default(), &["`--mdns`", "`--peers vm1,vm2,vm3`"]);
        check(CONFIG, &peers(&["a b"]), &["`--peers`: peer `a b`: expected"]);
        check("globl: {}\n", &mdns(), &["has problems", "/e/starling.yml:1:1", "`globl`"]);
        check("a: [\n", &mdns(), &["has problems", "/e/starling.yml:"]);
        let to = |url: &str| {
            let url = url.to_owned();
            asked(|asked| {
                asked.mdns = true;
                asked.remote_write = Some(url);
            })
        };
        check(CONFIG, &to("m/w"), &["`--remote-write`: expected an http or https URL"]);
        check(CONFIG, &to("ftp://m/w"), &["`--remote-write`: expected"]);
        check(
            CONFIG,
            &to("https://u:geheim@m/w"),
            &["`--remote-write`: credentials", "password_file"],
        );
        assert!(!added(CONFIG, &to("https://u:geheim@m/w")).unwrap_err().contains("geheim"));
        let sends = "\nremote_write: [{url: 'http://u:geheim@other/w'}]\n";
        check(
            sends,
            &to("http://m/w"),
            &["/e/starling.yml:2:1: there is a `remote_write`", "other/w"],
        );
        assert!(!added(sends, &to("http://m/w")).unwrap_err().contains("geheim"));
        // Forms that end where the file ends.
        for text in ["{scrape_configs: []}\n", "scrape_configs: []\n...\n", "  global: {}\n"] {
            check(text, &mdns(), &["stays as it is", "cluster:\n  enabled: true\n"]);
        }
        let long = "n".repeat(300);
        check(
            CONFIG,
            &asked(|asked| {
                asked.mdns = true;
                asked.name = Some(long);
            }),
            &["refused", "`node_name`: expected at most 255 bytes"],
        );
    }

    /// A block scalar that keeps its last lines would take the blank line before the section for its own.
    #[test]
    fn a_text_at_the_end_does_not_grow() {
        let text = "scrape_configs: []\nglobal:\n  external_labels:\n    a: |+\n      x\n";
        match added(text, &mdns()) {
            Ok(added) => panic!("{added:?}"),
            Err(error) => assert!(error.contains("add this by hand"), "{error}"),
        }
    }
}
