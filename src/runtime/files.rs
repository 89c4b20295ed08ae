//! Tells when the content of a set of files has changed, however it came about: written in place,
//! replaced by an editor's rename, swapped through a symlink, created or removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::AccessKind};
use tokio::{sync::mpsc, time::Instant};
use tracing::warn;
use xxhash_rust::xxh3::Xxh3;

/// An editor's save is several events; the files are read when they have been quiet for so long …
const QUIET: Duration = Duration::from_millis(300);
/// … or, in a folder that never is, so long after the first event.
const UNQUIET_MAX: Duration = Duration::from_secs(2);
/// How often files are read that no event tells of.
const POLL: Duration = Duration::from_secs(30);

/// A set of files and what was last read in them. Of a folder it is which files are in it,
/// and of what size and date.
///
/// A change is told once, when the content differs from the one last read. So that a change made
/// while a config is being read is not missed, watch its file first, then read it, then `follow`
/// what it names.
pub struct FileWatch {
    known: Digests,
    pace: Pace,
    events: mpsc::Receiver<()>,
    /// `None`: the system gave none, and all files are polled.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    warned: bool,
}

type Digests = BTreeMap<PathBuf, u128>;

impl FileWatch {
    pub fn new(files: Vec<PathBuf>) -> Self {
        // One place: more events before a look say nothing that the first did not.
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind)) {
                let _ = sender.try_send(());
            }
        });
        let mut watch = Self {
            known: Digests::new(),
            pace: Pace::default(),
            events,
            watcher: None,
            watched: BTreeSet::new(),
            warned: false,
        };
        match watcher {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(error) => watch.poll_because(&error.to_string()),
        }
        watch.follow(files);
        watch
    }

    /// From now on these files. What was last read in those followed already stays as it is, so
    /// that no change falls between two sets.
    pub fn follow(&mut self, files: Vec<PathBuf>) {
        let mut earlier = std::mem::take(&mut self.known);
        // The watches come first: what changes between them and the reading is told twice, not never.
        self.watch_folders_of(&files);
        for file in files {
            let digest = earlier.remove(&file).unwrap_or_else(|| digest(&file));
            self.known.insert(file, digest);
        }
    }

    /// Waits until the content of a file differs from the one last read. Safe to drop and call
    /// again: nothing is lost in between.
    pub async fn changed(&mut self) {
        loop {
            let wake = self.pace.wake_at(Instant::now());
            tokio::select! {
                Some(()) = self.events.recv() => self.pace.touched(Instant::now()),
                () = tokio::time::sleep_until(wake) => {
                    let files: Vec<PathBuf> = self.known.keys().cloned().collect();
                    let read = tokio::task::spawn_blocking(move || digests(files)).await;
                    let now = read.expect("reading a file does not panic");
                    self.pace.looked(Instant::now());
                    // A swapped symlink leads to folders that were not watched before.
                    let files: Vec<PathBuf> = self.known.keys().cloned().collect();
                    self.watch_folders_of(&files);
                    if now != self.known {
                        self.known = now;
                        return;
                    }
                }
            }
        }
    }

    fn watch_folders_of(&mut self, files: &[PathBuf]) {
        let wanted: BTreeSet<PathBuf> = files.iter().flat_map(|file| folders_of(file)).collect();
        if let Some(remote) = wanted.iter().find(|folder| is_remote(folder)) {
            self.poll_because(&format!("`{}` is on a network file system", remote.display()));
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
            self.poll_because(&fault);
        }
    }

    fn poll_because(&mut self, reason: &str) {
        self.pace.poll = true;
        if !self.warned {
            self.warned = true;
            let seconds = POLL.as_secs();
            warn!(
                error = reason,
                seconds, "changes of files are not all told by the system; polling them"
            );
        }
    }
}

/// When to read the files. Pure: is told of events and times.
#[derive(Debug, Default)]
struct Pace {
    poll: bool,
    last_look: Option<Instant>,
    /// Of the events since the last look.
    first_and_last: Option<(Instant, Instant)>,
}

/// As good as never: what `wake_at` says when there is nothing to wait for.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl Pace {
    fn touched(&mut self, now: Instant) {
        let (first, _) = self.first_and_last.unwrap_or((now, now));
        self.first_and_last = Some((first, now));
    }

    fn looked(&mut self, now: Instant) {
        self.first_and_last = None;
        self.last_look = Some(now);
    }

    fn wake_at(&mut self, now: Instant) -> Instant {
        let last_look = *self.last_look.get_or_insert(now);
        let next = last_look + if self.poll { POLL } else { FAR };
        match self.first_and_last {
            Some((first, last)) => next.min(last + QUIET).min(first + UNQUIET_MAX),
            None => next,
        }
    }
}

/// Reading is no change; our own reading would be told as one for ever.
pub(crate) fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if !matches!(access, AccessKind::Close(notify::event::AccessMode::Write)))
}

/// The folders in which `file` can change: its own, and those of everything that its symlinks lead
/// through. Of a folder that does not exist the nearest one above it, where it would appear.
pub(crate) fn folders_of(file: &Path) -> Vec<PathBuf> {
    /// As many as Linux itself follows.
    const LINKS_MAX: usize = 40;

    let mut folders = Vec::new();
    if file.is_dir() {
        folders.push(file.to_owned());
    }
    let mut at = file.to_owned();
    for _ in 0..LINKS_MAX {
        let Some(parent) = at.parent() else { break };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let existing = parent.ancestors().find(|folder| folder.is_dir());
        folders.push(existing.unwrap_or(Path::new("/")).to_owned());
        // A folder on the way may be a link too: `current/starling.yml`, and `current` is swapped.
        folders.extend(parent.ancestors().filter(|step| step.is_symlink()).filter_map(|step| {
            let above = step.parent()?;
            Some(if above.as_os_str().is_empty() { PathBuf::from(".") } else { above.to_owned() })
        }));
        match fs::read_link(&at) {
            Ok(target) => at = parent.join(target),
            Err(_) => break,
        }
    }
    folders
}

fn digests(files: Vec<PathBuf>) -> Digests {
    files.into_iter().map(|file| (file.clone(), digest(&file))).collect()
}

/// Of the content, or of the reason why there is none.
fn digest(file: &Path) -> u128 {
    let mut hasher = Xxh3::new();
    if let Err(error) = hash_content(file, &mut hasher) {
        hasher.reset();
        hasher.update(format!("\0{:?}", error.kind()).as_bytes());
    }
    hasher.digest128()
}

fn hash_content(file: &Path, hasher: &mut Xxh3) -> io::Result<()> {
    let kind = fs::metadata(file)?;
    if kind.is_dir() {
        return hash_listing(file, hasher);
    }
    // Opening a pipe would wait for its other end.
    if !kind.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = File::open(file)?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            length => hasher.update(&piece[..length]),
        }
    }
}

/// The files in `folder` by name, size and date: to read them all may be much.
fn hash_listing(folder: &Path, hasher: &mut Xxh3) -> io::Result<()> {
    let mut listing = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        if !kind.is_dir() {
            listing.insert(entry.file_name(), (kind.len(), kind.mtime(), kind.mtime_nsec()));
        }
    }
    for (name, (length, seconds, nanoseconds)) in listing {
        hasher.update(name.as_encoded_bytes());
        hasher.update(format!("/{length} {seconds} {nanoseconds}/").as_bytes());
    }
    Ok(())
}

/// File systems whose other clients change files without a word to this kernel (`statfs(2)`).
fn is_remote(folder: &Path) -> bool {
    const NFS: u32 = 0x6969;
    const SMB: u32 = 0x517b;
    const SMB2: u32 = 0xfe53_4d42;
    const CIFS: u32 = 0xff53_4d42;
    const CEPH: u32 = 0x00c3_6400;
    const V9FS: u32 = 0x0102_1997;
    const FUSE: u32 = 0x6573_5546;

    rustix::fs::statfs(folder).is_ok_and(|stat| {
        // The field is signed or not, wide or not, by platform; the magic is its low 32 bits.
        let magic = u32::try_from(stat.f_type & 0xffff_ffff).unwrap_or_default();
        [NFS, SMB, SMB2, CIFS, CEPH, V9FS, FUSE].contains(&magic)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    async fn told(watch: &mut FileWatch) -> bool {
        // Far beyond the debounce: only a failing test waits for it.
        tokio::time::timeout(Duration::from_secs(10), watch.changed()).await.is_ok()
    }

    /// Two debounces without a word.
    async fn silent(watch: &mut FileWatch) -> bool {
        tokio::time::timeout(QUIET * 3, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn every_way_to_change_a_file_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("starling.yml");
        fs::write(&file, "one").unwrap();
        let mut watch = FileWatch::new(vec![file.clone()]);
        assert!(silent(&mut watch).await, "nothing has changed yet");

        for way in ["written in place", "replaced by a rename", "removed", "created"] {
            let new = dir.path().join(".starling.yml.swp");
            match way {
                "replaced by a rename" => {
                    fs::write(&new, way).unwrap();
                    fs::rename(&new, &file).unwrap();
                }
                "removed" => fs::remove_file(&file).unwrap(),
                _ => fs::write(&file, way).unwrap(),
            }
            assert!(told(&mut watch).await, "{way} is told");
            assert!(silent(&mut watch).await, "{way} is told once");
        }
    }

    #[tokio::test]
    async fn of_a_folder_its_files_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("jobs");
        fs::create_dir(&folder).unwrap();
        let mut watch = FileWatch::new(vec![folder.clone()]);
        fs::write(folder.join("a.yml"), "one").unwrap();
        assert!(told(&mut watch).await, "a file came");
        fs::write(folder.join("a.yml"), "longer").unwrap();
        assert!(told(&mut watch).await, "it changed");
        fs::create_dir(folder.join("b")).unwrap();
        assert!(silent(&mut watch).await, "a folder in it is none of its files");
        fs::remove_file(folder.join("a.yml")).unwrap();
        assert!(told(&mut watch).await, "it went");
    }

    #[tokio::test]
    async fn the_same_content_and_a_neighbour_are_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("starling.yml");
        fs::write(&file, "one").unwrap();
        let mut watch = FileWatch::new(vec![file.clone()]);
        fs::write(&file, "one").unwrap();
        fs::write(dir.path().join("neighbour"), "x").unwrap();
        assert!(silent(&mut watch).await);
    }

    #[tokio::test]
    async fn a_swapped_symlink_is_told_and_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("starling.yml"), version).unwrap();
        }
        symlink("v1", at("..data")).unwrap();
        symlink("..data/starling.yml", at("starling.yml")).unwrap();
        let mut watch = FileWatch::new(vec![at("starling.yml")]);

        symlink("v2", at("..next")).unwrap();
        fs::rename(at("..next"), at("..data")).unwrap();
        assert!(told(&mut watch).await, "the swap is told");
        fs::write(at("v2").join("starling.yml"), "edited").unwrap();
        assert!(told(&mut watch).await, "a change behind the new link is told");
    }

    #[tokio::test]
    async fn a_file_that_appears_with_its_folder_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secrets/token");
        let mut watch = FileWatch::new(vec![file.clone()]);
        fs::create_dir(dir.path().join("secrets")).unwrap();
        fs::write(&file, "t").unwrap();
        assert!(told(&mut watch).await);
        fs::write(&file, "u").unwrap();
        assert!(told(&mut watch).await);
    }

    #[tokio::test]
    async fn a_change_before_follow_is_told_and_a_forgotten_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (old, kept) = (dir.path().join("old"), dir.path().join("kept"));
        fs::write(&kept, "1").unwrap();
        let mut watch = FileWatch::new(vec![old.clone(), kept.clone()]);
        fs::write(&kept, "2").unwrap();
        watch.follow(vec![kept]);
        assert!(told(&mut watch).await, "`kept` changed before it was followed again");
        fs::write(&old, "x").unwrap();
        assert!(silent(&mut watch).await, "`old` is not followed any more");
    }

    #[test]
    fn the_pace_waits_for_quiet_but_not_for_ever() {
        let start = Instant::now();
        let ms = |n: u64| start + Duration::from_millis(n);
        let mut pace = Pace::default();
        assert_eq!(pace.wake_at(start), start + FAR);
        pace.touched(ms(100));
        assert_eq!(pace.wake_at(ms(100)), ms(400));
        for n in 1..20 {
            pace.touched(ms(100 + n * 200));
        }
        assert_eq!(pace.wake_at(ms(3900)), ms(2100), "a folder in unrest is read all the same");
        pace.looked(ms(3900));
        assert_eq!(pace.wake_at(ms(3900)), ms(3900) + FAR);
        pace.poll = true;
        assert_eq!(pace.wake_at(ms(4000)), ms(3900) + POLL);
    }
}
