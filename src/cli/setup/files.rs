//! The files of `starling setup`: read with a bound, and replaced whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    cli::setup::secret::{MODE, Step, group_id},
    config::{SECRET_BYTES_MAX, Secret},
};

/// A larger file is no configuration that a person keeps.
const CONFIG_BYTES_MAX: u64 = 64 << 20;
const GROUPS: &str = "/etc/group";
const PERMISSIONS: u32 = 0o7777;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A secret that is there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) secret: Secret,
    pub(super) mode: u32,
    pub(super) owner: Owner,
}

/// The number of the group that is called `name`.
pub(super) fn group(name: &str) -> Result<u32, String> {
    let groups = fs::read_to_string(GROUPS).map_err(|error| format!("`{GROUPS}`: {error}"))?;
    group_id(&groups, name).ok_or_else(|| {
        format!(
            "no group `{name}` in `{GROUPS}`, which is to read the secret: install the package, make it by `groupadd --system {name}`, or name another by `--group`"
        )
    })
}

pub(super) fn read_config(path: &Path) -> Result<String, String> {
    let read = || {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("expected a file"));
        }
        let mut text = String::new();
        file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > CONFIG_BYTES_MAX {
            return Err(io::Error::other(format!("larger than {} MiB", CONFIG_BYTES_MAX >> 20)));
        }
        Ok(text)
    };
    read()
        .map_err(|error| format!("the configuration `{}` cannot be read: {error}", path.display()))
}

/// `None` where there is no such file.
pub(super) fn read_secret(path: &Path) -> Result<Option<Found>, String> {
    let read = || {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("expected a file"));
        }
        let mut text = String::new();
        file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > SECRET_BYTES_MAX {
            return Err(io::Error::other(format!("larger than {SECRET_BYTES_MAX} bytes")));
        }
        Ok(Some(Found {
            secret: Secret::new(text.trim()),
            mode: metadata.mode() & PERMISSIONS,
            owner: Owner { uid: metadata.uid(), gid: metadata.gid() },
        }))
    };
    read().map_err(|error| format!("the secret `{}` cannot be read: {error}", path.display()))
}

/// Does what was decided on the secret.
pub(super) fn keep_secret(path: &Path, step: &Step, owner: Owner) -> Result<(), String> {
    let done = match step {
        Step::Keep => Ok(()),
        Step::Permit => permit(path, owner),
        Step::Make(secret) | Step::Take(secret) => write_secret(path, secret, owner),
    };
    done.map_err(|error| format!("the secret `{}` cannot be kept: {error}", path.display()))
}

fn permit(path: &Path, owner: Owner) -> io::Result<()> {
    let file = File::open(path)?;
    // Nobody new may read it before it has its owner.
    file.set_permissions(Permissions::from_mode(0o600))?;
    fchown(&file, Some(owner.uid), Some(owner.gid))?;
    file.set_permissions(Permissions::from_mode(MODE))
}

/// One that has come there meanwhile stays: it may be in use.
fn write_secret(path: &Path, secret: &Secret, owner: Owner) -> io::Result<()> {
    let new = Draft::write(path, &format!("{}\n", secret.expose()), owner, MODE)?;
    renameat_with(CWD, &new.path, CWD, path, RenameFlags::NOREPLACE)?;
    new.into_place(path)
}

/// With the owner and the rights of what was there.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), String> {
    let replace = || {
        // A link stays, and what it leads to is replaced.
        let path = path.canonicalize()?;
        let was = fs::metadata(&path)?;
        let owner = Owner { uid: was.uid(), gid: was.gid() };
        let new = Draft::write(&path, text, owner, was.mode() & PERMISSIONS)?;
        fs::rename(&new.path, &path)?;
        new.into_place(&path)
    };
    replace().map_err(|error: io::Error| {
        format!("the configuration `{}` cannot be replaced: {error}", path.display())
    })
}

/// A file beside the one that it is to become; gone unless it does.
struct Draft {
    path: PathBuf,
    in_place: bool,
}

impl Draft {
    fn write(beside: &Path, text: &str, owner: Owner, mode: u32) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(beside.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
        name.push(format!(".{}", std::process::id()));
        let path = beside.with_file_name(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let draft = Self { path, in_place: false };
        file.write_all(text.as_bytes())?;
        fchown(&file, Some(owner.uid), Some(owner.gid))?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        Ok(draft)
    }

    fn into_place(mut self, path: &Path) -> io::Result<()> {
        self.in_place = true;
        let folder = path.parent().unwrap_or(Path::new("/"));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.in_place {
            // What made it useless is told; that it lies there, too, would help nobody.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Who runs the tests may own files; only root may give them away.
    fn me() -> Owner {
        Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_secret_is_written_once_and_for_few() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(read_secret(&path).unwrap().is_none());
        let ours = Step::Make(Secret::new("ours"));
        keep_secret(&path, &ours, me()).unwrap();
        let found = read_secret(&path).unwrap().unwrap();
        assert_eq!((found.secret.expose(), found.mode, found.owner), ("ours", MODE, me()));

        let error = keep_secret(&path, &Step::Take(Secret::new("theirs")), me()).unwrap_err();
        assert!(error.contains("cannot be kept") && !error.contains("theirs"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours\n");
        assert_eq!(names(folder.path()), ["secret"], "no draft stays");

        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        keep_secret(&path, &Step::Permit, me()).unwrap();
        assert_eq!(read_secret(&path).unwrap().unwrap().mode, MODE);
        keep_secret(&path, &Step::Keep, me()).unwrap();
    }

    #[test]
    fn a_configuration_keeps_its_rights_and_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.yml"), folder.path().join("starling.yml"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o604)).unwrap();
        symlink(&real, &link).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(read_config(&link).unwrap(), "new");
        assert_eq!(fs::metadata(&real).unwrap().mode() & PERMISSIONS, 0o604);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(folder.path()), ["real.yml", "starling.yml"]);
    }

    #[test]
    fn what_is_no_such_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let check = |outcome: Result<(), String>, expected: &[&str]| {
            let error = outcome.unwrap_err();
            for expected in expected {
                assert!(error.contains(expected), "{expected:?} in {error:?}");
            }
        };
        let absent = folder.path().join("absent.yml");
        check(read_config(&absent).map(drop), &["absent.yml` cannot be read: No such file"]);
        check(read_config(folder.path()).map(drop), &["expected a file"]);
        check(read_secret(folder.path()).map(drop), &["the secret", "expected a file"]);
        let large = folder.path().join("large");
        fs::write(&large, "x".repeat(5000)).unwrap();
        check(read_secret(&large).map(drop), &["larger than 4096 bytes"]);
        let binary = folder.path().join("binary");
        fs::write(&binary, [0xff, 0xfe]).unwrap();
        check(read_config(&binary).map(drop), &["binary` cannot be read", "UTF-8"]);
        check(replace(&absent, "x"), &["absent.yml` cannot be replaced"]);
        let nowhere = folder.path().join("no/such/folder");
        check(keep_secret(&nowhere, &Step::Make(Secret::new("x")), me()), &["cannot be kept"]);
        check(group("no-such-group").map(drop), &["no group `no-such-group`", "groupadd"]);
        assert_eq!(group("root"), Ok(0));
    }
}
