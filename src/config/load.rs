//! The one place of `config` that touches files: reads the file, those it includes, and looks
//! whether those it names are there.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::config::{
    Config,
    decode::NamedFile,
    document::{self, Document, Include},
    glob,
    global::Environment,
    problem::{Place, Problem, Problems},
};

/// A larger file is refused: it is not a configuration.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// More matches of `scrape_config_files` are refused: a pattern has caught the wrong directory.
const INCLUDED_FILES_MAX: usize = 10_000;

/// Reads and checks the file at `path` and those it includes. What is missing of the files that a
/// request will need (passwords, certificates) is a warning: they may come later, and are read again
/// then.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    let text = read(path).map_err(|error| {
        let message = format!("cannot be read: {error}");
        let file: Arc<str> = path.display().to_string().into();
        Problems(vec![Problem { file, place: Place::default(), message }])
    })?;
    let mut main = Document::read(path, &text);
    let (included, mut files) = included(&mut main);
    let decoded = document::decode(main, included, environment)?;
    let mut config = decoded.config;
    files.insert(0, path.to_owned());
    for named in decoded.named_files {
        config.warnings.extend(missing(&named));
        if !files.contains(&named.path) {
            files.push(named.path);
        }
    }
    config.files = files;
    Ok(config)
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
            match read(&file) {
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

fn read(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    if length > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {} MiB", FILE_BYTES_MAX >> 20)));
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
