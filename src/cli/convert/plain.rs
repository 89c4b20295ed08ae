//! What all converters do last: durations and paths as the agent reads them.

use std::path::{Component, Path, PathBuf};

use crate::{
    cli::convert::tree::{Tree, Value},
    config::units,
};

/// Under these keys stands a duration.
const DURATIONS: [&str; 14] = [
    "scrape_interval",
    "scrape_timeout",
    "refresh_interval",
    "remote_timeout",
    "batch_send_deadline",
    "min_backoff",
    "max_backoff",
    "sample_age_limit",
    "send_interval",
    "x_scrape_offset",
    "x_scrape_align_interval",
    "evaluation_interval",
    "wait_timeout",
    "max_age",
];
/// Under these, the path of a file, or a list of them.
const FILES: [&str; 14] = [
    "username_file",
    "password_file",
    "bearer_token_file",
    "credentials_file",
    "ca_file",
    "cert_file",
    "key_file",
    "client_secret_file",
    "client_certificate_key_file",
    "token_file",
    "scrape_failure_log_file",
    "secret_file",
    "files",
    "scrape_config_files",
];

/// What relative paths are relative to.
#[derive(Clone, Debug, Default)]
pub(super) struct Folders {
    /// Of the process that converts.
    pub(super) current: PathBuf,
    /// Where the output is going to stand.
    pub(super) output: PathBuf,
}

impl Folders {
    /// `path` as the file `by` names it, as the output must: unchanged where both stand in one
    /// folder.
    pub(super) fn carried(&self, path: &str, by: &Path) -> String {
        let own = by.parent().unwrap_or(Path::new(""));
        if path.is_empty() || Path::new(path).is_absolute() {
            return path.to_owned();
        }
        if self.clean(own) == self.clean(&self.output) {
            return path.to_owned();
        }
        self.clean(&own.join(path)).display().to_string()
    }

    /// Absolute, `..` resolved as written.
    fn clean(&self, path: &Path) -> PathBuf {
        let mut clean = PathBuf::new();
        for part in self.current.join(path).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => {
                    clean.pop();
                }
                Component::Normal(_) | Component::RootDir | Component::Prefix(_) => {
                    clean.push(part);
                }
            }
        }
        clean
    }
}

/// Goes through all of `tree`. What can't be made plain stays, for the loader to refuse.
pub(super) fn make_plain(tree: &mut Tree, folders: &Folders) {
    match &mut tree.value {
        Value::List(items) => items.iter_mut().for_each(|item| make_plain(item, folders)),
        Value::Map(entries) => {
            for (key, below) in entries {
                if DURATIONS.contains(&key.as_str()) {
                    replace(below, |text, _| duration(text));
                } else if FILES.contains(&key.as_str()) {
                    replace(below, |text, by| Some(folders.carried(text, by)));
                }
                make_plain(below, folders);
            }
        }
        Value::Text(_) | Value::Word(_) => {}
    }
}

fn replace(tree: &mut Tree, new: impl Fn(&str, &Path) -> Option<String> + Copy) {
    let by = tree.at.file.clone();
    match &mut tree.value {
        Value::Text(text) | Value::Word(text) => {
            if let Some(new) = new(text, Path::new(&*by)) {
                *text = new;
            }
        }
        Value::List(items) => items.iter_mut().for_each(|item| replace(item, new)),
        Value::Map(_) => {}
    }
}

/// What Go and vmagent write (`1h0m0s`, `1.5h`, `300us`, seconds without a unit), as
/// Prometheus writes it; what is below a millisecond is cut off.
pub(super) fn duration(text: &str) -> Option<String> {
    if units::parse_duration(text).is_ok() {
        return None;
    }
    let mut milliseconds = 0.0;
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        return printed(seconds * 1_000.0);
    }
    while !rest.is_empty() {
        let (digits, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_where(after, |c| c.is_ascii_digit() || c == '.');
        milliseconds += digits.parse::<f64>().ok()? * milliseconds_of(unit)?;
        rest = after;
    }
    if text.trim().is_empty() { None } else { printed(milliseconds) }
}

fn milliseconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-6,
        "us" | "µs" | "μs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3_600e3,
        "d" => 24.0 * 3_600e3,
        "w" => 7.0 * 24.0 * 3_600e3,
        "y" => 365.0 * 24.0 * 3_600e3,
        _ => return None,
    })
}

fn printed(milliseconds: f64) -> Option<String> {
    let duration = std::time::Duration::try_from_secs_f64(milliseconds / 1e3).ok()?;
    let text = units::print_duration(duration);
    units::parse_duration(&text).is_ok().then_some(text)
}

/// What vmagent takes as a size: bytes where there is no unit, `MB` is a million.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = split_where(text, |c| !c.is_ascii_digit() && c != '.');
    let factor: u32 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "t" | "tb" => return terabytes(digits, 1e12),
        "ti" | "tib" => return terabytes(digits, 1_099_511_627_776.0),
        _ => return None,
    };
    terabytes(digits, f64::from(factor))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be within the range of the type just before"
)]
fn terabytes(digits: &str, factor: f64) -> Option<u64> {
    let bytes = digits.parse::<f64>().ok()? * factor;
    (0.0..=9e18).contains(&bytes).then_some(bytes as u64)
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_become_prometheus_own() {
        for (text, expected) in [
            ("15s", None),
            ("1h0m0s", None),
            ("1.5h", Some("1h30m")),
            ("300us", Some("0s")),
            ("1m0.5s", Some("1m500ms")),
            ("90", Some("1m30s")),
            ("", None),
            ("-1s", None),
            ("1x", None),
            ("1e400", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(duration(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes() {
        for (text, expected) in [
            ("1000", Some(1_000)),
            ("1.5KiB", Some(1_536)),
            ("10MB", Some(10_000_000)),
            ("1TB", Some(1_000_000_000_000)),
            ("x", None),
            ("1XB", None),
            ("99999999999999999999GB", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }

    #[test]
    fn a_path_is_kept_or_absolute() {
        let folders = |output: &str| Folders { current: "/home".into(), output: output.into() };
        for (path, by, output, expected) in [
            ("a.yml", "in/b.yml", "in", "a.yml"),
            ("a.yml", "in/b.yml", "/home/in", "a.yml"),
            ("a.yml", "in/b.yml", "/etc", "/home/in/a.yml"),
            ("../a.yml", "/x/y/b.yml", "/etc", "/x/a.yml"),
            ("/a.yml", "in/b.yml", "/etc", "/a.yml"),
            ("", "in/b.yml", "/etc", ""),
        ] {
            assert_eq!(folders(output).carried(path, Path::new(by)), expected, "{path} {output}");
        }
    }
}
