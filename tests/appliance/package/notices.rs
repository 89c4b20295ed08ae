//! The notices name every crate that is linked in, each with a text; and a licence that is not ours to
//! use is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use super::{deb, run};

#[test]
fn notices_are_complete() {
    let notices = run(Command::new("sh")
        .args(["-ec", "dpkg-deb --fsys-tarfile \"$1\" | tar -xO ./usr/share/doc/starling/notices.txt.gz | gzip -d", "sh"])
        .arg(deb("0.1.0")));
    let texts: BTreeSet<&str> =
        notices.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')).collect();
    let named: BTreeMap<&str, &str> = notices
        .lines()
        .take_while(|line| !line.starts_with("Under the"))
        .filter_map(|line| line.split_once(": "))
        .collect();
    let linked = linked();
    assert!(linked.len() > 200, "{} crates", linked.len());
    for name in &linked {
        let told = named.get(name.as_str()).unwrap_or_else(|| panic!("no notice of {name}"));
        let (_, numbers) = told.rsplit_once('[').unwrap();
        for number in numbers.trim_end_matches(']').split(", ") {
            assert!(texts.contains(number), "{name}: no text [{number}]");
        }
    }
    // What is in the tree without being a crate, and what must be told of where its source is.
    for part in ["The Rust Standard Library", "BoringSSL", "https://crates.io/api/v1/crates/foca/"]
    {
        assert!(notices.contains(part), "{part}");
    }
    assert!(!notices.contains("GNU GENERAL PUBLIC LICENSE"), "no text that does not hold here");
}

/// By another way than `packaging/notices.py` goes.
fn linked() -> BTreeSet<String> {
    let tree = run(Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--target", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)]));
    let mut names = BTreeSet::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        names.insert(format!("{name} {}", version.trim_start_matches('v')));
    }
    names.remove(concat!("starling ", env!("CARGO_PKG_VERSION")));
    names
}

#[test]
fn licences_are_judged() {
    let check = |licence: &str, expected: bool| {
        let script = "import sys; sys.path.insert(0, 'packaging'); import notices; \
            print(notices.is_allowed(notices.spdx({'license': sys.argv[1]}), {'MIT', 'Apache-2.0', 'Apache-2.0 WITH LLVM-exception'}))";
        let said = run(Command::new("python3")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["-B", "-c", script, licence]));
        assert_eq!(said.trim() == "True", expected, "{licence}");
    };
    check("MIT", true);
    check("MIT/Apache-2.0", true);
    check("GPL-3.0", false);
    check("GPL-3.0 OR MIT", true);
    check("MIT AND GPL-3.0", false);
    check("(MIT OR GPL-3.0) AND Apache-2.0", true);
    check("Apache-2.0 WITH LLVM-exception", true);
    check("Apache-2.0 WITH other-exception", false);
    check("", false);
    check("__import__('os')", false);
}

#[test]
fn a_crate_without_a_text_is_told_of() {
    let folder = tempfile::TempDir::new().unwrap();
    let manifest = folder.path().join("Cargo.toml");
    let script = "import sys; sys.path.insert(0, 'packaging'); import notices; \
        notices.linked = lambda triple: [{'name': 'bare', 'version': '1.2.3', 'license': 'ISC', \
        'license_file': None, 'manifest_path': sys.argv[1]}]; notices.main('any')";
    let output = Command::new("python3")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["-B", "-c", script])
        .arg(&manifest)
        .output()
        .unwrap();
    let told = super::said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("bare 1.2.3: no text of its licence `ISC`"), "{told}");
}
