//! `file_sd_configs`: groups in JSON and YAML files, looked at when something in their folders changes
//! and every refresh interval, and read when they are not as they were.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{sync::mpsc, task::spawn_blocking, time::Instant};
use tracing::warn;

use crate::{
    discovery::{
        group,
        provider::{Round, Rounds},
    },
    model::target::TargetGroup,
    runtime::{
        clock,
        files::{folders_of, is_change},
    },
};

const FILEPATH: &str = "__meta_filepath";
/// A change is often several events: the files are read when it has been quiet for so long …
const QUIET: Duration = Duration::from_millis(50);
/// … or, in a folder that never is, so long after the first event.
const UNQUIET_MAX: Duration = Duration::from_secs(1);
/// A larger file is refused; its previous groups stay.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// A file that was changed so shortly before it was read may be changed again without a sign: file
/// systems count time in ticks.
const STAMP_AGE_MS_MIN: i64 = 2_000;

pub(super) async fn run(patterns: Vec<String>, refresh_interval: Duration, rounds: Rounds) {
    let mut watch = FolderWatch::new();
    let mut files = Files::default();
    loop {
        // The watches come first: a change while the files are being read is then told as an event.
        watch.follow(&patterns);
        let (wanted, known) = (patterns.clone(), files.stamps());
        let began_ms = clock::now_ms();
        let reading = spawn_blocking(move || read_all(&wanted, &known, began_ms));
        let next = Instant::now() + refresh_interval;
        let round = match reading.await {
            Ok(reading) => files.learn(reading, began_ms),
            Err(panic) => Round::failed(began_ms, format!("reading files failed: {panic}")),
        };
        rounds.tell(round).await;
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// What was found on the disk at one moment.
#[derive(Debug, Default)]
struct Reading {
    /// Each file that exists, by its name as the pattern spells it.
    files: BTreeMap<String, Content>,
    /// Folders that could not be listed, and why.
    unlisted: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Content {
    /// As it was read before.
    Same,
    Groups(Vec<TargetGroup>, Option<Stamp>),
    Bad(String),
}

/// While it stays, so does what the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` where the file is too young to be known by it.
    fn of(file: &fs::Metadata, now_ms: i64) -> Option<Self> {
        let changed = (file.ctime(), file.ctime_nsec());
        let age_ms = now_ms - changed.0.saturating_mul(1_000) - changed.1 / 1_000_000;
        (age_ms >= STAMP_AGE_MS_MIN).then(|| Self {
            file: (file.dev(), file.ino()),
            bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed,
        })
    }
}

/// The last good groups of a file, and what it is known by if it still holds them.
#[derive(Debug)]
struct Kept {
    groups: Vec<TargetGroup>,
    stamp: Option<Stamp>,
}

#[derive(Debug, Default)]
struct Files(BTreeMap<String, Kept>);

impl Files {
    fn stamps(&self) -> BTreeMap<String, Stamp> {
        let known = self.0.iter().filter_map(|(file, kept)| Some((file.clone(), kept.stamp?)));
        known.collect()
    }

    /// A file that can't be read or understood keeps its groups, as does one in a folder that can't
    /// be listed; one that is gone loses them.
    fn learn(&mut self, reading: Reading, began_ms: i64) -> Round {
        let Reading { files, unlisted } = reading;
        let before = self.0.len();
        self.0.retain(|file, _| files.contains_key(file) || unlisted.contains_key(split(file).0));
        // The first round has none to be the same as.
        let mut has_changed = before == 0 || self.0.len() < before;
        let mut faults: Vec<String> = unlisted.into_values().collect();
        for (file, content) in files {
            match content {
                Content::Same => {}
                Content::Groups(groups, stamp) => {
                    self.0.insert(file, Kept { groups, stamp });
                    has_changed = true;
                }
                Content::Bad(why) => {
                    faults.push(format!("`{file}`: {why}"));
                    if let Some(kept) = self.0.get_mut(&file) {
                        kept.stamp = None;
                    }
                }
            }
        }
        let all = || self.0.values().flat_map(|kept| &kept.groups).cloned().collect();
        Round { began_ms, groups: has_changed.then(all), faults }
    }
}

/// Without what those that are known hold.
fn read_all(patterns: &[String], known: &BTreeMap<String, Stamp>, now_ms: i64) -> Reading {
    let mut reading = Reading::default();
    for pattern in patterns {
        match matching(pattern) {
            Ok(files) => {
                for file in files {
                    let content = match read(&file, known.get(&file), now_ms) {
                        // Removed between being listed and being read.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => Content::Bad(error.to_string()),
                        Ok(content) => content,
                    };
                    reading.files.insert(file, content);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let folder = split(pattern).0;
                reading.unlisted.insert(folder.to_owned(), format!("`{folder}`: {error}"));
            }
        }
    }
    reading
}

/// The files that `pattern` names; only its last element may hold a `*`.
fn matching(pattern: &str) -> io::Result<Vec<String>> {
    let (folder, name) = split(pattern);
    if !name.contains('*') {
        let exists = Path::new(pattern).try_exists()?;
        return Ok(if exists { vec![pattern.to_owned()] } else { vec![] });
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(if folder.is_empty() { "." } else { folder })? {
        if let Ok(file) = entry?.file_name().into_string()
            && matches(name, &file)
        {
            files.push(format!("{folder}{file}"));
        }
    }
    Ok(files)
}

/// The folder, with its slash, and the rest.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices()
                .map(|(at, _)| at)
                .chain([tail.len()])
                .any(|at| matches(rest, &tail[at..]))
        }),
    }
}

fn read(path: &str, known: Option<&Stamp>, now_ms: i64) -> io::Result<Content> {
    let found = fs::metadata(path)?;
    // Opening a pipe would wait for its other end.
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if known.is_some() && known == Stamp::of(&found, now_ms).as_ref() {
        return Ok(Content::Same);
    }
    let file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?, now_ms);
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(match groups_of(path, &content) {
        Ok(groups) => Content::Groups(groups, stamp),
        Err(why) => Content::Bad(why),
    })
}

fn groups_of(file: &str, content: &[u8]) -> Result<Vec<TargetGroup>, String> {
    let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
    let mut groups = match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("json") => group::from_json(content)?,
        Some("yml" | "yaml") => {
            let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
            group::from_yaml(text)?
        }
        Some(_) | None => {
            return Err("expected a name that ends in .json, .yml or .yaml".to_owned());
        }
    };
    for (n, group) in groups.iter_mut().enumerate() {
        group.source = format!("{file}:{n}");
        group.labels.set(FILEPATH, file);
    }
    Ok(groups)
}

/// Tells when something happens in the folders that patterns name, or behind their symlinks.
struct FolderWatch {
    /// One place: more events before a look say nothing that the first did not.
    events: mpsc::Receiver<()>,
    /// `None`: the system gave none, and the refresh interval is all there is.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    warned: bool,
}

impl FolderWatch {
    fn new() -> Self {
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                let _ = sender.try_send(());
            }
        });
        let mut watch = Self { events, watcher: None, watched: BTreeSet::new(), warned: false };
        match watcher {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(error) => watch.warn(&error.to_string()),
        }
        watch
    }

    fn follow(&mut self, patterns: &[String]) {
        let mut wanted: BTreeSet<PathBuf> = BTreeSet::new();
        for pattern in patterns {
            wanted.extend(folders_of(Path::new(pattern)));
            // A link to a file elsewhere, or into a folder that is swapped as a whole.
            for file in matching(pattern).unwrap_or_default() {
                if Path::new(&file).is_symlink() {
                    wanted.extend(folders_of(Path::new(&file)));
                }
            }
        }
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&wanted) {
            // A folder that was removed took its watch with it.
            let _ = watcher.unwatch(gone);
        }
        let mut fault = None;
        self.watched.retain(|folder| wanted.contains(folder));
        for folder in wanted {
            // Again also where it is watched already: a folder removed and made anew has none.
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder)),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        if let Some(fault) = fault {
            self.warn(&fault);
        }
    }

    async fn changed(&mut self) {
        if self.events.recv().await.is_none() {
            // No watcher, no events: the caller's refresh interval goes on.
            std::future::pending::<()>().await;
        }
        let latest = Instant::now() + UNQUIET_MAX;
        while Instant::now() < latest
            && tokio::time::timeout(QUIET, self.events.recv()).await.is_ok()
        {}
    }

    fn warn(&mut self, reason: &str) {
        if !self.warned {
            self.warned = true;
            warn!(
                error = reason,
                "changes of file_sd files are not all told by the system; they are read every refresh interval"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_within_a_name() {
        let check = |pattern, name, expected| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("*.json", "a.json", true);
        check("*.json", ".json", true);
        check("*.json", "a.json.swp", false);
        check("a*.yml", "ab.yml", true);
        check("a*.yml", "b.yml", false);
        check("a*b*c.yml", "axbyc.yml", true);
        check("a*b*c.yml", "axc.yml", false);
        check("a.yml", "a.yml", true);
        check("é*.yml", "éß.yml", true);
    }

    /// A file's name, and its addresses or why it can't be read.
    type Found<'a> = (&'a str, Result<&'a str, &'a str>);

    fn reading(files: &[Found<'_>], unlisted: &[&str]) -> Reading {
        let groups_of = |addresses: &str| {
            let targets = addresses.split(' ').map(|a| [("__address__", a)].into_iter().collect());
            vec![TargetGroup { targets: targets.collect(), ..TargetGroup::default() }]
        };
        Reading {
            files: files
                .iter()
                .map(|(file, outcome)| {
                    let content = match outcome {
                        Ok("same") => Content::Same,
                        Ok(addresses) => Content::Groups(groups_of(addresses), None),
                        Err(why) => Content::Bad((*why).to_owned()),
                    };
                    ((*file).to_owned(), content)
                })
                .collect(),
            unlisted: unlisted.iter().map(|f| ((*f).to_owned(), format!("`{f}`: no"))).collect(),
        }
    }

    #[test]
    fn what_can_not_be_read_keeps_its_groups() {
        let mut files = Files::default();
        let mut last = Vec::new();
        let mut check = |reading: Reading, addresses: &[&str], faults: &[&str]| {
            let round = files.learn(reading, 0);
            last = round.groups.unwrap_or_else(|| std::mem::take(&mut last));
            let targets = last.iter().flat_map(|group: &TargetGroup| &group.targets);
            let found: Vec<&str> = targets.map(|target| target.get("__address__")).collect();
            assert_eq!(found, addresses);
            assert_eq!(round.faults, faults);
        };
        check(reading(&[("d/a", Ok("1")), ("d/b", Ok("2 3"))], &[]), &["1", "2", "3"], &[]);
        check(reading(&[("d/a", Err("bad")), ("d/b", Ok("4"))], &[]), &["1", "4"], &["`d/a`: bad"]);
        check(reading(&[("d/a", Err("bad"))], &[]), &["1"], &["`d/a`: bad"]);
        check(reading(&[("d/a", Ok("same"))], &[]), &["1"], &[]);
        check(reading(&[], &["d/"]), &["1"], &["`d/`: no"]);
        check(reading(&[("e/new", Err("bad"))], &[]), &[], &["`e/new`: bad"]);
    }

    /// As in a folder where something else, a log perhaps, is written to all day.
    #[test]
    fn a_file_that_stays_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json").to_str().unwrap().to_owned();
        let patterns = [path.clone()];
        let text = |host: &str| format!(r#"[{{"targets": ["{host}:1"]}}]"#);
        fs::write(&path, text("a")).unwrap();
        let now_ms = clock::now_ms();
        let mut files = Files::default();
        let mut look = |now_ms| {
            let reading = read_all(&patterns, &files.stamps(), now_ms);
            let round = files.learn(reading, now_ms);
            round.groups.map(|groups| groups[0].targets[0].get("__address__").to_owned())
        };
        assert_eq!(look(now_ms).as_deref(), Some("a:1"));
        assert_eq!(look(now_ms).as_deref(), Some("a:1"), "it is too young to be known");
        let later_ms = now_ms + STAMP_AGE_MS_MIN + 1_000;
        assert_eq!(look(later_ms).as_deref(), Some("a:1"));
        assert_eq!(look(later_ms), None);
        fs::write(&path, text("b")).unwrap();
        assert_eq!(look(later_ms).as_deref(), Some("b:1"));
        assert_eq!(look(later_ms), None);
        // Another file in its place, as old and as long.
        let other = folder.path().join("new");
        fs::write(&other, text("c")).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(look(later_ms).as_deref(), Some("c:1"));
        fs::write(&path, "[").unwrap();
        assert_eq!(look(later_ms), None);
        fs::write(&path, text("c")).unwrap();
        assert_eq!(look(later_ms).as_deref(), Some("c:1"));
        fs::remove_file(&path).unwrap();
        assert_eq!(
            files.learn(read_all(&patterns, &files.stamps(), later_ms), 0).groups,
            Some(vec![])
        );
    }
}
