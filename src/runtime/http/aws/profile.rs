//! The files that AWS' tools share: `~/.aws/credentials` and `~/.aws/config`. Pure, but for reading
//! them in one place.

use std::{collections::BTreeMap, path::PathBuf};

use crate::runtime::http::{aws::Environment, read_bounded};

/// What the two files say of one profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Profile(BTreeMap<String, String>);

impl Profile {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Of a file that is not there, nothing.
///
/// # Errors
/// A file that is there and can't be read.
pub(super) fn profile(environment: &Environment, name: &str) -> Result<Profile, String> {
    let home = |file: &str| {
        environment.get("HOME").map(|home| PathBuf::from(home).join(".aws").join(file))
    };
    let named = |variable: &str| environment.get(variable).map(PathBuf::from);
    let mut found = BTreeMap::new();
    for (path, section) in [
        // Of a profile that both have, the one with the keys says it.
        (named("AWS_CONFIG_FILE").or_else(|| home("config")), config_section(name)),
        (named("AWS_SHARED_CREDENTIALS_FILE").or_else(|| home("credentials")), name.to_owned()),
    ] {
        let Some(path) = path.filter(|path| path.exists()) else { continue };
        let bytes = read_bounded(&path)?;
        found.extend(section_of(&String::from_utf8_lossy(&bytes), &section));
    }
    Ok(Profile(found))
}

fn config_section(name: &str) -> String {
    if name == "default" { name.to_owned() } else { format!("profile {name}") }
}

/// The pairs of one section; what is indented belongs to the key above and is left out.
fn section_of(text: &str, wanted: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    let mut is_wanted = false;
    for line in text.lines() {
        let is_indented = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or("");
            let words: Vec<&str> = name.split_whitespace().collect();
            is_wanted = words.join(" ") == wanted;
        } else if let Some((key, value)) = line.split_once('=')
            && is_wanted
            && !is_indented
        {
            let value = value.split(" #").next().unwrap_or("").trim();
            pairs.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_make_one_profile() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join(".aws");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(
            folder.join("config"),
            "[default]\nregion = one\n[ profile  other ]\nregion=two # near\ns3 =\n  region = no\naws_access_key_id = config\n",
        )
        .unwrap();
        std::fs::write(
            folder.join("credentials"),
            "; keys\n[default]\nAWS_ACCESS_KEY_ID = a\n\n[other]\naws_access_key_id = b\naws_secret_access_key = c=d\n",
        )
        .unwrap();
        let home = directory.path().to_str().unwrap();
        let environment = Environment::from_iter([("HOME", home)]);
        for (name, key, expected) in [
            ("default", "region", Some("one")),
            ("default", "aws_access_key_id", Some("a")),
            ("other", "region", Some("two")),
            ("other", "aws_access_key_id", Some("b")),
            ("other", "aws_secret_access_key", Some("c=d")),
            ("other", "s3", None),
            ("none", "region", None),
        ] {
            let profile = profile(&environment, name).unwrap();
            assert_eq!(profile.get(key), expected, "{name}, {key}");
        }
        let nowhere = Environment::from_iter([("HOME", "/nowhere")]);
        assert_eq!(profile(&nowhere, "default"), Ok(Profile::default()));
    }
}
