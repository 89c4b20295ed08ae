//! What is in the packages: files, modes and owners, and that the default configuration teaches nothing
//! wrong.

use std::{collections::BTreeSet, fs, process::Command};

use tempfile::TempDir;

use super::{deb, is_there, rpm, run};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// In both, with their modes. A manual page a command, and the examples, are looked at below.
const BOTH: &[(&str, &str)] = &[
    ("-rwxr-xr-x", "/usr/bin/starling"),
    ("-rwxr-xr-x", "/usr/lib/starling/node-target"),
    ("-rw-r--r--", "/usr/lib/systemd/system/starling.service"),
    ("-rw-r--r--", "/usr/lib/systemd/system/starling.socket"),
    ("-rw-r--r--", "/usr/lib/sysusers.d/starling.conf"),
    ("-rw-r--r--", "/usr/lib/tmpfiles.d/starling.conf"),
    ("-rw-r--r--", "/etc/starling/starling.yml"),
    ("-rw-r--r--", "/usr/share/bash-completion/completions/starling"),
    ("-rw-r--r--", "/usr/share/fish/vendor_completions.d/starling.fish"),
    ("-rw-r--r--", "/usr/share/doc/starling/changelog.gz"),
];
const DEB: &[(&str, &str)] = &[
    ("-rw-r--r--", "/etc/default/starling"),
    ("-rw-r--r--", "/usr/share/zsh/vendor-completions/_starling"),
    ("-rw-r--r--", "/usr/share/doc/starling/copyright"),
    ("-rw-r--r--", "/usr/share/doc/starling/notices.txt.gz"),
    ("-rw-r--r--", "/usr/share/doc/starling/changelog.Debian.gz"),
    ("-rw-r--r--", "/usr/share/lintian/overrides/starling"),
];
const RPM: &[(&str, &str)] = &[
    ("-rw-r--r--", "/etc/sysconfig/starling"),
    ("-rw-r--r--", "/usr/share/zsh/site-functions/_starling"),
    ("-rw-r--r--", "/usr/share/licenses/starling/LICENSE"),
    ("-rw-r--r--", "/usr/share/licenses/starling/notices.txt.gz"),
];

#[test]
fn the_deb_has_what_it_should() {
    let listing = run(Command::new("dpkg-deb").arg("--contents").arg(deb("0.1.0")));
    let files = listing.lines().filter(|line| !line.starts_with('d')).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[0].to_owned(), words[1].to_owned(), words[5].trim_start_matches('.').to_owned())
    });
    check(files.collect(), "0/0", DEB);
    let conffiles = run(Command::new("dpkg-deb").arg("--info").arg(deb("0.1.0")).arg("conffiles"));
    let conffiles: BTreeSet<&str> = conffiles.lines().collect();
    assert_eq!(conffiles, BTreeSet::from(["/etc/default/starling", "/etc/starling/starling.yml"]));
}

#[test]
fn the_rpm_has_what_it_should() {
    if !is_there("rpm") {
        return;
    }
    let query = |format: &str| {
        let words = ["--query", "--package", "--queryformat", format];
        run(Command::new("rpm").args(words).arg(rpm("0.1.0")))
    };
    let listing = query("[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\\n]");
    let files = listing.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[0].to_owned(), words[1].to_owned(), words[2].to_owned())
    });
    check(files.collect(), "root:root", RPM);
    // 1 is configuration, 16 is not to be replaced.
    let flags = query("[%{FILENAMES} %{FILEFLAGS}\\n]");
    let configurations: Vec<&str> = flags.lines().filter(|line| line.ends_with(" 17")).collect();
    assert_eq!(configurations, ["/etc/starling/starling.yml 17", "/etc/sysconfig/starling 17"]);
}

/// All files are expected, and all that are expected are there.
fn check(files: Vec<(String, String, String)>, owner: &str, own: &[(&str, &str)]) {
    let mut expected: BTreeSet<(String, String)> = BOTH
        .iter()
        .chain(own)
        .map(|&(mode, path)| (mode.to_owned(), path.to_owned()))
        .chain(pages().into_iter().map(|path| ("-rw-r--r--".to_owned(), path)))
        .chain(examples().into_iter().map(|path| ("-rw-r--r--".to_owned(), path)))
        .collect();
    for (mode, whose, path) in files {
        assert_eq!(whose, owner, "{path}");
        assert!(expected.remove(&(mode.clone(), path.clone())), "unexpected: {mode} {path}");
    }
    assert!(expected.is_empty(), "missing: {expected:?}");
}

fn pages() -> Vec<String> {
    let folder = TempDir::new().unwrap();
    run(Command::new(env!("CARGO_BIN_EXE_starling")).args(["man", "--dir"]).arg(folder.path()));
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    assert!(names.len() > 15, "{names:?}");
    names.iter().map(|name| format!("/usr/share/man/man1/{name}.gz")).collect()
}

fn examples() -> Vec<String> {
    let found = run(Command::new("find").current_dir(SOURCE).args(["examples", "-type", "f"]));
    found.lines().map(|path| format!("/usr/share/doc/starling/{path}")).collect()
}

#[test]
fn the_default_configuration_is_accepted() {
    let file = format!("{SOURCE}/packaging/starling.yml");
    let text = fs::read_to_string(&file).unwrap();
    starling_accepts(&text);
    // What it teaches in comments, section by section, is accepted as well.
    for opening in ["# external_labels:", "# remote_write:", "# cluster:", "# - job_name: services"]
    {
        let mut uncommented = false;
        let lines = text.lines().map(|line| {
            let indent = &line[..line.len() - line.trim_start().len()];
            let body = line.trim_start();
            uncommented = body.starts_with(opening) || uncommented && body.starts_with('#');
            let body = if uncommented { body.strip_prefix("# ").unwrap_or("") } else { body };
            format!("{indent}{body}\n")
        });
        let changed: String = lines.collect();
        assert_ne!(changed, text, "no `{opening}` in {file}");
        starling_accepts(&changed);
    }
}

fn starling_accepts(text: &str) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("starling.yml");
    for name in ["backend.password", "cluster.secret"] {
        let secret = folder.path().join(name);
        fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    }
    // Files that are named need to be there for the strict.
    let text = text.replace("/etc/starling/", &format!("{}/", folder.path().display()));
    fs::write(&file, &text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_starling"))
        .args(["check", "--strict"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}\n{text}", super::said(&output));
}

#[test]
fn every_variable_of_the_environment_file_is_a_flag() {
    let text = fs::read_to_string(format!("{SOURCE}/packaging/environment")).unwrap();
    let help = run(Command::new(env!("CARGO_BIN_EXE_starling")).args(["run", "--help"]));
    let variables: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("STARLING_"))
        .collect();
    assert!(variables.len() > 10, "{variables:?}");
    for variable in variables {
        assert!(help.contains(&format!("[env: {variable}=")), "`starling run` knows no {variable}");
    }
    // As it comes, nothing is said: the configuration and the defaults hold.
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "{text}");
}
