//! What the .rpm does to a system: rpm itself installs it into a root and runs its scripts there. The
//! root is Debian's, so what rpm knows of other packages is not asked (`--nodeps`).

use super::root::Root;

const INSTALL: &str =
    "rpm --root \"$ROOT\" --nodeps --install \"$PACKAGES\"/starling-0.1.0-1.*.rpm";
const UPGRADE: &str =
    "rpm --root \"$ROOT\" --nodeps --upgrade \"$PACKAGES\"/starling-0.1.1-1.*.rpm";
const ERASE: &str = "rpm --root \"$ROOT\" --nodeps --erase starling";
const PLACES: &str = "/etc/starling /etc/sysconfig/starling /var/lib/starling";

const INSTALLED: &str = "\
drwxr-x--- root:starling /etc/starling
-rw-r--r-- root:root /etc/starling/starling.yml
drwxr-x--- root:starling /etc/starling/targets.d
-rw-r----- root:root /etc/starling/targets.d/.node.yml.written
-rw-r----- root:starling /etc/starling/targets.d/node.yml
-rw-r--r-- root:root /etc/sysconfig/starling
drwxr-x--- starling:starling /var/lib/starling
";

fn root() -> Option<Root> {
    if super::is_there("rpm") { Root::new() } else { None }
}

#[test]
fn an_image_without_systemd_running_gets_all_of_it() {
    let Some(root) = root() else { return };
    let said = root.run_beside(INSTALL);
    assert!(said.contains("systemctl enable --now starling"), "{said}");
    assert_eq!(root.listing(PLACES), INSTALLED);
    let verified = root.run_beside("rpm --root \"$ROOT\" --verify --nodeps starling");
    assert_eq!(verified, "", "every file is as the package has it");
    root.run("runuser -u starling -- starling check --strict /etc/starling/starling.yml");
    root.run("! runuser -u nobody -- cat /etc/starling/starling.yml");
    let user = root.run("getent passwd starling");
    assert!(user.trim().ends_with(":/var/lib/starling:/sbin/nologin"), "{user}");
    let links = root.run("find /etc/systemd -name 'starling*'");
    assert_eq!(links, "", "nothing is enabled");
}

#[test]
fn an_upgrade_keeps_what_the_operator_did() {
    let Some(root) = root() else { return };
    root.run_beside(INSTALL);
    root.run("echo '# mine' >>/etc/starling/starling.yml; rm /etc/starling/targets.d/node.yml");
    root.run("chmod 0755 /etc/starling; touch /var/lib/starling/data");
    let said = root.run_beside(UPGRADE);
    assert!(!said.contains("enable --now"), "it is known by now: {said}");
    assert_eq!(root.run_beside("rpm --root \"$ROOT\" --query starling").trim(), installed("0.1.1"));
    let kept = root.run("tail -n 1 /etc/starling/starling.yml; ls /var/lib/starling");
    assert_eq!(kept, "# mine\ndata\n");
    let listing = root.listing("/etc/starling");
    assert!(!listing.contains("/node.yml\n"), "a deletion is respected: {listing}");
    assert!(
        listing.contains("drwxr-xr-x root:starling /etc/starling\n"),
        "so is a mode: {listing}"
    );
}

#[test]
fn erasing_keeps_data_and_what_was_changed() {
    let Some(root) = root() else { return };
    root.run_beside(INSTALL);
    root.run("echo '# mine' >>/etc/starling/starling.yml; touch /var/lib/starling/data");
    root.run_beside(ERASE);
    let left =
        root.run("find / -xdev -path '*starling*' -not -path '/srv/*' -not -path '/proc/*' | sort");
    assert_eq!(
        left,
        "/etc/starling
/etc/starling/starling.yml.rpmsave
/etc/starling/targets.d
/etc/starling/targets.d/.node.yml.written
/etc/starling/targets.d/node.yml
/var/lib/starling
/var/lib/starling/data
"
    );
    root.run("getent passwd starling");
}

#[test]
fn only_what_runs_is_restarted() {
    let Some(root) = root() else { return };
    root.pretend_systemd();
    root.run_beside(INSTALL);
    assert_eq!(root.asked(), "daemon-reload\n", "an installation starts nothing");
    root.run_beside(UPGRADE);
    // The new package's script, then the old one's, when its files are gone.
    assert_eq!(root.asked(), "daemon-reload\ndaemon-reload\ntry-restart starling.service\n");
    root.run_beside(ERASE);
    assert_eq!(
        root.asked(),
        "--no-reload disable --now starling.socket starling.service\ndaemon-reload\n"
    );
}

fn installed(version: &str) -> String {
    format!("starling-{version}-1.{}", super::architecture().1)
}
