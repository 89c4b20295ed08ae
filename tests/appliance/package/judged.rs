//! What lintian, rpmlint and shellcheck say, and what the build script itself refuses.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use super::{build, deb, is_there, rpm, run, said};

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn lintian_has_nothing_to_say() {
    if !is_there("lintian") {
        return;
    }
    // Of overrides it tells when they fit nothing, which is to be mended as well.
    let output = Command::new("lintian")
        .args(["--allow-root", "--no-cfg", "--fail-on", "error,warning"])
        .arg(deb("0.1.0"))
        .output()
        .unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", said(&output));
}

#[test]
fn rpmlint_has_nothing_to_say() {
    if !is_there("rpmlint") {
        return;
    }
    let told = run(Command::new("rpmlint")
        .args(["--config", &format!("{SOURCE}/packaging/rpm/rpmlint.toml")])
        .arg(rpm("0.1.0")));
    assert!(told.contains(" 0 errors, 0 warnings,"), "{told}");
}

#[test]
fn shellcheck_has_nothing_to_say() {
    if !is_there("shellcheck") {
        return;
    }
    let scripts = |folder: &str, names: &[&str]| -> Vec<String> {
        names.iter().map(|name| format!("{SOURCE}/packaging/{folder}{name}")).collect()
    };
    let mut of_bash = Vec::new();
    for entry in fs::read_dir(Path::new(SOURCE).join("packaging")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            of_bash.push(path.into_os_string().into_string().unwrap());
        }
    }
    assert!(of_bash.len() > 3, "{of_bash:?}");
    run(Command::new("shellcheck").args(of_bash));
    let of_debian = scripts("deb/", &["postinst", "prerm", "postrm"]);
    run(Command::new("shellcheck").args(of_debian).args(scripts("", &["node-target"])));
    // rpm says which shell, not the file.
    let of_rpm = scripts("rpm/", &["pre", "post", "preun", "postun"]);
    run(Command::new("shellcheck").arg("--shell=sh").args(of_rpm));
}

/// From a copy that lies elsewhere, was checked out later and by someone with another umask, and with
/// the date and the revision of the commit.
#[test]
fn two_folders_make_the_same_bytes() {
    let elsewhere = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let copy = elsewhere.path().join("a copy");
    fs::create_dir(&copy).unwrap();
    run(Command::new("sh").current_dir(SOURCE).arg("-ec").arg(format!(
        "umask 077
        cp -r Cargo.toml Cargo.lock LICENSE CHANGELOG.md README.md deny.toml packaging systemd examples '{0}'
        mkdir '{0}/src' '{0}/target'
        : >'{0}/src/lib.rs'
        : >'{0}/src/main.rs'
        for folder in benches tests; do ln -s \"$PWD/$folder\" '{0}'; done
        ln -s \"${{CARGO_TARGET_DIR:-$PWD/target}}/tools\" '{0}/target/tools'",
        copy.display()
    )));
    let made: Vec<_> = ["one", "two"].map(|name| elsewhere.path().join(name)).to_vec();
    for (source, folder) in [Path::new(SOURCE), &copy].into_iter().zip(&made) {
        let script = source.join("packaging/build.sh");
        run(Command::new("bash")
            .current_dir(elsewhere.path())
            .env_remove("CARGO_TARGET_DIR")
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .arg(script)
            .args(["all", "--debug", "--binary", env!("CARGO_BIN_EXE_starling"), "--out"])
            .arg(folder));
    }
    for package in [deb("0.1.0"), rpm("0.1.0")] {
        let name = package.file_name().unwrap();
        let [one, two] = [0, 1].map(|at| fs::read(made[at].join(name)).unwrap());
        assert!(one == two, "{name:?} differs: {} and {} bytes", one.len(), two.len());
    }
}

/// What is built here for here wants this host's glibc, which is newer.
#[test]
fn a_binary_for_new_systems_only_is_refused() {
    let script = format!("{SOURCE}/packaging/glibc.sh");
    let check = |binary: &str, part: &str| {
        let output = Command::new("bash").args([&script, binary]).output().unwrap();
        assert!(!output.status.success() && said(&output).contains(part), "{}", said(&output));
    };
    check(env!("CARGO_BIN_EXE_starling"), "but may want GLIBC_2.28 at most");
    check(&format!("{SOURCE}/Cargo.toml"), "is it a dynamic ELF binary?");
}

#[test]
fn what_cant_be_built_is_told() {
    let folder = TempDir::new().unwrap();
    let check = |words: &[&str], part: &str| {
        let output = Command::new("bash")
            .arg(format!("{SOURCE}/packaging/build.sh"))
            .args(words)
            .arg("--out")
            .arg(folder.path())
            .output()
            .unwrap();
        let told = said(&output);
        assert!(output.status.code() == Some(2) && told.contains(part), "{words:?}: {told}");
    };
    check(&[], "which package?");
    check(&["snap"], "unknown argument `snap`");
    check(&["deb", "--arch", "mips"], "unknown architecture `mips`");
    check(&["deb", "--debug", "--version", "one"], "`one` is no version");
    check(&["deb", "--debug", "--binary", "/nowhere"], "no binary at /nowhere");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The binary is this host's, as there is no other; what counts is what the packages say of it.
#[test]
fn the_other_architecture_has_its_packages() {
    let (arch, rpm_arch) =
        if super::architecture().0 == "amd64" { ("arm64", "aarch64") } else { ("amd64", "x86_64") };
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let words = ["all", "--arch", arch, "--native", env!("CARGO_BIN_EXE_starling")];
    build(Path::new(SOURCE), &words, folder.path());
    let package = folder.path().join(format!("starling_0.1.0-1_{arch}.deb"));
    let said = run(Command::new("dpkg-deb").arg("--field").arg(package).arg("Architecture"));
    assert_eq!(said.trim(), arch);
    if is_there("rpm") {
        let package = folder.path().join(format!("starling-0.1.0-1.{rpm_arch}.rpm"));
        let query = ["--query", "--package", "--queryformat", "%{ARCH}"];
        assert_eq!(run(Command::new("rpm").args(query).arg(package)), rpm_arch);
    }
}
