//! What is written: the head that names what is not carried over, and the file, which may hold
//! passwords.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::cli::convert::{
    Kind,
    told::{Told, Weight},
};

/// More are told on standard error only.
const LINES_MAX: usize = 1_000;

pub(super) fn with_head(yaml: &str, path: &Path, kind: Kind, told: &[Told]) -> String {
    let name = match kind {
        Kind::Vmagent => "vmagent",
        Kind::AgentStatic => "Grafana Agent (static)",
        Kind::Alloy => "Alloy",
        Kind::Prometheus => "Prometheus",
    };
    // A name may have any letters in it, and a comment is one line.
    let path = path.display().to_string().replace(char::is_control, "?");
    let mut head = format!("# Made by `starling convert` from {path} ({name}).\n");
    for (weight, title) in [
        (Weight::Lost, "Not carried over:"),
        (Weight::Differs, "Carried over, and not quite the same:"),
    ] {
        let lines: Vec<&Told> = told.iter().filter(|told| told.weight == weight).collect();
        if lines.is_empty() {
            continue;
        }
        head.extend(["#\n# ", title, "\n"]);
        for told in lines.iter().take(LINES_MAX) {
            head.extend(["#   ", &told.to_string().replace(char::is_control, "?"), "\n"]);
        }
        if let Some(more) = lines.len().checked_sub(LINES_MAX).filter(|more| *more > 0) {
            head.extend(["#   and ", &more.to_string(), " more\n"]);
        }
    }
    format!("{head}\n{yaml}")
}

/// Whole or not at all. What is there and not empty stays, unless `force`.
pub(super) fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    if !force && fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
        return Err(io::Error::other("it is there already; `--force` replaces it"));
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut draft_name = std::ffi::OsString::from(".");
    draft_name.push(name);
    draft_name.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(draft_name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = fill(&mut file, text).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // What made it useless is told; that it lies there, too, would help nobody.
        let _ = fs::remove_file(&draft);
    }
    written
}

fn fill(file: &mut File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_written_for_its_owner_and_not_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("starling.yml");
        write(&path, "first", false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = write(&path, "second", false).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        write(&path, "second", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft stays");
    }
}
