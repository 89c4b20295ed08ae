//! The one place of `config` that touches files: reads the file, those it includes, and looks
//! whether those it names are there.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::config::{
    Cluster, Config, Secret, Source, TypedCluster, Web, admin,
    cluster::MAKE_A_SECRET,
    decode::NamedFile,
    document::{self, Document, Include},
    gateway, glob,
    global::Environment,
    problem::{Place, Problem, Problems},
    web,
};

/// A larger file is refused: it is not a configuration.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// More matches of `scrape_config_files` are refused: a pattern has caught the wrong directory.
const INCLUDED_FILES_MAX: usize = 10_000;
/// A larger file is refused: it is not a secret.
pub const SECRET_BYTES_MAX: u64 = 4_096;
/// A larger file is refused: it is no web configuration.
const WEB_BYTES_MAX: u64 = 1 << 20;
/// The cluster's secret among the credentials of a service. One that comes encrypted has a name of its
/// own in the unit, because systemd does not take it plain then.
const CREDENTIALS: [&str; 2] = ["starling.cluster-secret", "starling.cluster-secret-encrypted"];
/// A shorter secret gets a warning: whoever records a datagram could try all there are.
pub const SECRET_BYTES_MIN: usize = 16;
/// The secret of a cluster that was told to do without: it keeps nobody out.
pub const SECRET_KNOWN_TO_ALL: &str = "insecure";

/// Reads and checks the file at `path` and those it includes, with `flags` over its `cluster`
/// section. What is missing of the files that a request will need (passwords, certificates) is a
/// warning: they may come later, and are read again then. The cluster's secrets are for `unlock`.
pub fn load(
    path: &Path,
    flags: &TypedCluster,
    environment: Environment<'_>,
) -> Result<Config, Problems> {
    let text = read(path, FILE_BYTES_MAX).map_err(|error| unreadable(path, &error))?;
    let mut main = Document::read(path, &text);
    let (included, mut files) = included(&mut main);
    let flags = TypedCluster { credential: credential(environment), ..flags.clone() };
    let decoded = document::decode(main, included, &flags, environment)?;
    let mut config = decoded.config;
    files.insert(0, path.to_owned());
    let is_key = |named: &&NamedFile| {
        let tokens = config.admin.tokens.iter().filter_map(|token| token.source.file());
        let pushes = config.gateway.token_files();
        config.cluster.secret_files().chain(tokens).chain(pushes).any(|key| *key == named.path)
    };
    let others = decoded.named_files.iter().filter(|named| !is_key(named));
    config.warnings.extend(others.filter_map(missing).collect::<Vec<_>>());
    let named = decoded.named_files.into_iter().map(|named| named.path);
    for file in named.chain(config.cluster.secret_files().cloned()) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    config.files = files;
    Ok(config)
}

/// As `load`, with the file of `--web.config.file` where there is one; all that is wrong with either.
pub fn load_all(
    path: &Path,
    web: Option<&Path>,
    flags: &TypedCluster,
    environment: Environment<'_>,
) -> Result<Config, Problems> {
    let loaded = load(path, flags, environment);
    match (loaded, web.map_or_else(|| Ok(LoadedWeb::default()), load_web)) {
        (Ok(mut config), Ok(web)) => {
            web.add_to(&mut config);
            Ok(config)
        }
        (Err(mut problems), Err(mut more)) => {
            problems.0.append(&mut more.0);
            Err(problems)
        }
        (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => Err(problems),
    }
}

/// What the file of `--web.config.file` says.
#[derive(Clone, Debug, Default)]
pub struct LoadedWeb {
    pub web: Web,
    pub warnings: Vec<String>,
    files: Vec<PathBuf>,
}

impl LoadedWeb {
    fn add_to(self, config: &mut Config) {
        config.web = self.web;
        config.warnings.extend(self.warnings);
        for file in self.files {
            if !config.files.contains(&file) {
                config.files.push(file);
            }
        }
    }
}

/// Reads and checks the file of `--web.config.file`.
pub fn load_web(path: &Path) -> Result<LoadedWeb, Problems> {
    let text = read(path, WEB_BYTES_MAX).map_err(|error| unreadable(path, &error))?;
    let web::Parsed { web, mut warnings, named_files } = web::parse(path, &text)?;
    warnings.extend(named_files.iter().filter_map(missing));
    let named = named_files.into_iter().map(|named| named.path);
    let files = std::iter::once(path.to_owned()).chain(named).collect();
    Ok(LoadedWeb { web, warnings, files })
}

fn unreadable(path: &Path, error: &io::Error) -> Problems {
    let message = format!("cannot be read: {error}");
    let file: Arc<str> = path.display().to_string().into();
    Problems(vec![Problem { file, place: Place::default(), message }])
}

/// What a service manager gave this process for a secret, if it did.
fn credential(environment: Environment<'_>) -> Option<PathBuf> {
    let folder = PathBuf::from(environment("CREDENTIALS_DIRECTORY")?);
    CREDENTIALS.iter().map(|name| folder.join(name)).find(|file| file.is_file())
}

fn read_secret(path: &Path) -> io::Result<Secret> {
    let mut text = String::new();
    fs::File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {SECRET_BYTES_MAX} bytes")));
    }
    // An editor ends a file with a line break, which is none of the secret's.
    let secret = text.trim();
    if secret.is_empty() {
        return Err(io::Error::other(format!("it is empty; {MAKE_A_SECRET}")));
    }
    Ok(Secret::new(secret))
}

/// Fills in what the secrets of the cluster hold, where it is enabled, and the tokens of the admin
/// API and of the gateway. Unlike other files these can't come later: who has them not can speak to nobody, or lets
/// nobody in.
///
/// # Errors
/// Which secrets can't be read, one a line.
pub fn unlock(config: &mut Config) -> Result<(), String> {
    let mut faults = unlock_cluster(config);
    let unlocked = [
        admin::unlock(&mut config.admin, read_secret),
        gateway::unlock(&mut config.gateway, read_secret),
    ];
    for unlocked in unlocked {
        faults.extend(unlocked.faults);
        config.warnings.extend(unlocked.warnings);
    }
    config.warnings.extend(admin::unknown_names(&config.admin, &config.web));
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn unlock_cluster(config: &mut Config) -> Vec<String> {
    let mut faults = Vec::new();
    let Cluster { enabled, secrets, keys, .. } = &mut config.cluster;
    if !*enabled {
        return faults;
    }
    keys.clear();
    for secret in &*secrets {
        let (what, outcome) = match secret {
            Source::Inline(secret) => ("`secret`".to_owned(), Ok(secret.clone())),
            Source::File(path) => (format!("`{}`", path.display()), read_secret(path)),
        };
        match outcome {
            Ok(key) => {
                if key.expose().len() < SECRET_BYTES_MIN {
                    config.warnings.push(format!(
                        "the cluster's secret in {what} is shorter than {SECRET_BYTES_MIN} bytes and can be guessed from one datagram: {MAKE_A_SECRET}"
                    ));
                }
                keys.push(key);
            }
            Err(error) => {
                faults.push(format!("the cluster's secret in {what} cannot be read: {error}"));
            }
        }
    }
    if secrets.is_empty() {
        keys.push(Secret::new(SECRET_KNOWN_TO_ALL));
    }
    faults
}

fn included(main: &mut Document) -> (Vec<Document>, Vec<PathBuf>) {
    let mut documents = Vec::new();
    let mut files = Vec::new();
    for Include { pattern, place } in main.includes() {
        let matches = match matching(&pattern) {
            Ok(matches) => matches,
            Err(error) => {
                main.problem(place, format!("`scrape_config_files`: {error}"));
                continue;
            }
        };
        if matches.is_empty() {
            let message = format!("`scrape_config_files`: no file matches {}", pattern.display());
            main.warning(place, message);
        }
        // What it will match is not known: a file that comes there is a change, and so is one that
        // the running configuration, for a fault in it, does not name.
        files.push(watched(&pattern));
        for file in matches {
            if documents.len() >= INCLUDED_FILES_MAX {
                let message =
                    format!("`scrape_config_files`: more than {INCLUDED_FILES_MAX} files match");
                main.problem(place, message);
                return (documents, files);
            }
            match read(&file, FILE_BYTES_MAX) {
                Ok(text) => documents.push(Document::read(&file, &text)),
                Err(error) => {
                    let message = format!(
                        "`scrape_config_files`: {} cannot be read: {error}",
                        file.display()
                    );
                    main.problem(place, message);
                }
            }
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    (documents, files)
}

/// Where a file that `pattern` matches would come.
fn watched(pattern: &Path) -> PathBuf {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let folder = pattern.parent().filter(|parent| !parent.as_os_str().is_empty());
    let path = if glob::is_pattern(name) { folder.unwrap_or(Path::new(".")) } else { pattern };
    path.to_owned()
}

/// The files that `pattern` matches, sorted; none where its directory is missing.
fn matching(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or("");
    if !glob::is_pattern(name) {
        return Ok(if pattern.exists() { vec![pattern.to_owned()] } else { Vec::new() });
    }
    let directory = pattern.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = match fs::read_dir(directory.unwrap_or(Path::new("."))) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?.file_name();
        if entry.to_str().is_some_and(|entry| glob::matches(name, entry)) {
            found.push(directory.unwrap_or(Path::new("")).join(&entry));
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path, bytes_max: u64) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > bytes_max {
        return Err(io::Error::other(format!("larger than {} MiB", bytes_max >> 20)));
    }
    let bytes = fs::read(path)?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        io::Error::other(format!("line {line} is not UTF-8 text"))
    })
}

fn missing(named: &NamedFile) -> Option<String> {
    let error = fs::File::open(&named.path).err()?;
    let message = format!("`{}`: {} cannot be read: {error}", named.field, named.path.display());
    let problem = Problem { file: named.file.clone(), place: named.place, message };
    Some(problem.to_string())
}
