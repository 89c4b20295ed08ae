//! A Debian system that does not run: a root of a test's own, in which scripts are run as an
//! administrator or an image builder does it. Mounts end with each script.

use std::process::{Command, Output};

use rustix::process::geteuid;
use tempfile::TempDir;

use super::{packages, run, said};

/// $BASE, $OVER and $PACKAGES are where things are, $ROOT is what is made of them. What a script writes
/// is there for the next one. Where there is no overlay, as over an overlay, it is a copy.
const MOUNTS: &str = r#"
ROOT=$OVER/root
export ROOT
mkdir -p "$OVER/upper" "$OVER/work" "$ROOT"
if [ -e "$ROOT/usr" ] ||
  ! mount -t overlay none -o "lowerdir=$BASE,upperdir=$OVER/upper,workdir=$OVER/work" "$ROOT" 2>/dev/null
then
  [ -e "$ROOT/usr" ] || cp -a --reflink=auto "$BASE/." "$ROOT"
fi
mount --bind "$PACKAGES" "$ROOT/srv"
"#;

pub(super) struct Root {
    base: String,
    over: TempDir,
}

impl Root {
    /// None where there can't be one, and says why.
    pub(super) fn new() -> Option<Self> {
        if !geteuid().is_root() {
            println!("skipped: roots are for root to make");
            return None;
        }
        for program in ["mmdebstrap", "unshare"] {
            if !super::is_there(program) {
                return None;
            }
        }
        let tried = Command::new("unshare").args(["--mount", "true"]).output().unwrap();
        if !tried.status.success() {
            println!("skipped: no mounts of its own: {}", said(&tried).trim());
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/appliance/root.sh");
        let base = run(Command::new("bash").arg(script)).trim().to_owned();
        Some(Self { base, over: TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap() })
    }

    /// Runs a script of root's inside; the packages are in `/srv`.
    pub(super) fn run(&self, script: &str) -> String {
        checked(script, &self.output(script))
    }

    pub(super) fn output(&self, script: &str) -> Output {
        self.beside("exec chroot \"$ROOT\" sh -ec \"$SCRIPT\"", script)
    }

    /// Runs a script outside, which finds the root at `$ROOT`.
    pub(super) fn run_beside(&self, script: &str) -> String {
        checked(script, &self.beside("eval \"$SCRIPT\"", script))
    }

    fn beside(&self, action: &str, script: &str) -> Output {
        Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec"])
            .arg(format!("{MOUNTS}{action}"))
            .env_clear()
            .env("BASE", &self.base)
            .env("OVER", self.over.path())
            .env("PACKAGES", packages())
            .env("SCRIPT", script)
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .unwrap()
    }

    /// Lets systemd seem to run: what its command is asked for is written down, and `/run/active` says
    /// whether the agent is active; so does `/run/enabled`.
    pub(super) fn pretend_systemd(&self) {
        self.run(
            "mkdir -p /run/systemd/system
            cat >/usr/bin/systemctl.new <<'END'
#!/bin/sh
case \"$*\" in
  *is-active*) test -e /run/active ;;
  *is-enabled*) test -e /run/enabled && echo enabled ;;
  *) echo \"$*\" | sed 's/--quiet //; s/--system //' >>/run/asked ;;
esac
END
            chmod 755 /usr/bin/systemctl.new
            mv /usr/bin/systemctl.new /usr/bin/systemctl",
        );
    }

    /// What systemd was asked for since the last time, one order a line.
    pub(super) fn asked(&self) -> String {
        self.run("touch /run/asked; cat /run/asked; rm /run/asked")
    }

    /// Mode, owner and path of what is at and below `places`, sorted; what is not there is not listed.
    pub(super) fn listing(&self, places: &str) -> String {
        self.run(&format!("find {places} -printf '%M %u:%g %p\\n' 2>/dev/null | sort -k 3 || true"))
    }
}

fn checked(script: &str, output: &Output) -> String {
    assert!(output.status.success(), "`{script}`: {}\n{}", output.status, said(output));
    said(output)
}
