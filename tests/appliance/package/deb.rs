//! What the .deb does to a system: at install, upgrade, removal and purge, and when dpkg changes its
//! mind. systemd does not run here; the fleet of real systems has it running.

use super::root::Root;

const INSTALL: &str = "dpkg --install /srv/starling_0.1.0-1_*.deb";
const UPGRADE: &str = "dpkg --force-confold --install /srv/starling_0.1.1-1_*.deb";
/// What the packages have to do with.
const PLACES: &str = "/etc/starling /etc/default/starling /var/lib/starling";

const INSTALLED: &str = "\
-rw-r--r-- root:root /etc/default/starling
drwxr-x--- root:starling /etc/starling
-rw-r--r-- root:root /etc/starling/starling.yml
drwxr-x--- root:starling /etc/starling/targets.d
-rw-r----- root:root /etc/starling/targets.d/.node.yml.written
-rw-r----- root:starling /etc/starling/targets.d/node.yml
drwxr-x--- starling:starling /var/lib/starling
";

#[test]
fn an_image_without_systemd_running_gets_all_of_it() {
    let Some(root) = Root::new() else { return };
    let said = root.run(INSTALL);
    assert!(said.contains("systemctl enable --now starling"), "{said}");
    assert_eq!(root.listing(PLACES), INSTALLED);
    root.run("starling check --strict /etc/starling/starling.yml");
    // The agent's own user can read it, and others can't.
    root.run("runuser -u starling -- starling check --strict /etc/starling/starling.yml");
    root.run("! runuser -u nobody -- cat /etc/starling/starling.yml");
    let links = root.run("find /etc/systemd -name 'starling*'");
    assert_eq!(links, "", "nothing is enabled");
    let user = root.run("getent passwd starling");
    assert!(user.trim().ends_with(":/var/lib/starling:/usr/sbin/nologin"), "{user}");

    let again = root.run("dpkg --install /srv/starling_0.1.0-1_*.deb");
    assert!(!again.contains("enable --now"), "it is known by now: {again}");
    assert_eq!(root.listing(PLACES), INSTALLED);
}

#[test]
fn a_user_is_made_without_sysusers_too() {
    let Some(root) = Root::new() else { return };
    root.run("rm /usr/bin/systemd-sysusers");
    root.run(INSTALL);
    assert_eq!(root.listing(PLACES), INSTALLED);
    let user = root.run("getent passwd starling");
    assert!(user.trim().ends_with(":/var/lib/starling:/usr/sbin/nologin"), "{user}");
}

#[test]
fn an_upgrade_keeps_what_the_operator_did() {
    let Some(root) = Root::new() else { return };
    root.run(INSTALL);
    root.run("echo '# mine' >>/etc/starling/starling.yml; echo STARLING_LOG_LEVEL=debug >/etc/default/starling");
    root.run("rm /etc/starling/targets.d/node.yml; touch /var/lib/starling/data");
    root.run("dpkg-statoverride --add --update root root 0755 /etc/starling");
    root.run(UPGRADE);
    let version = root.run("dpkg-query --show --showformat '${Status} ${Version}' starling");
    assert_eq!(version, "install ok installed 0.1.1-1");
    let kept = root.run(
        "tail -n 1 /etc/starling/starling.yml; cat /etc/default/starling; ls /var/lib/starling",
    );
    assert_eq!(kept, "# mine\nSTARLING_LOG_LEVEL=debug\ndata\n");
    let listing = root.listing("/etc/starling");
    assert!(!listing.contains("/node.yml\n"), "a deletion is respected: {listing}");
    assert!(
        listing.contains("drwxr-xr-x root:root /etc/starling\n"),
        "so is an override: {listing}"
    );
}

#[test]
fn an_exporter_that_comes_later_is_found_once() {
    let Some(root) = Root::new() else { return };
    // As it is before its package is there.
    root.run(
        "mkdir /root/exporter; dpkg-deb --build --root-owner-group /root/exporter /dev/null 2>/dev/null || true
        dpkg --purge --force-depends prometheus-node-exporter",
    );
    root.run(INSTALL);
    assert_eq!(root.run("ls -A /etc/starling/targets.d"), "");
    let package = "
        mkdir -p /root/exporter/DEBIAN /root/exporter/usr/bin
        printf 'Package: prometheus-node-exporter\\nVersion: 9\\nArchitecture: all\\nMaintainer: a <a@b.c>\\nDescription: as the real one\\n' >/root/exporter/DEBIAN/control
        printf '#!/bin/sh\\n' >/root/exporter/usr/bin/prometheus-node-exporter
        chmod 755 /root/exporter/usr/bin/prometheus-node-exporter
        dpkg-deb --build /root/exporter /root/exporter.deb
        dpkg --install /root/exporter.deb";
    root.run(package);
    let found = root.run("cat /etc/starling/targets.d/node.yml");
    assert!(found.contains("127.0.0.1:9100"), "{found}");
    root.run("rm /etc/starling/targets.d/node.yml");
    root.run(package);
    assert_eq!(root.run("ls -A /etc/starling/targets.d"), ".node.yml.written\n");
}

#[test]
fn removing_keeps_data_and_purging_keeps_nothing() {
    let Some(root) = Root::new() else { return };
    root.run(INSTALL);
    root.run("touch /var/lib/starling/data /etc/starling/cluster.secret /etc/starling/targets.d/more.yml");
    root.run("ln -s /usr/lib/systemd/system/starling.service /etc/systemd/system/multi-user.target.wants/");
    root.run("dpkg --remove starling");
    let kept = root.run("ls /var/lib/starling /etc/starling /etc/default/starling");
    for name in ["data", "starling.yml", "cluster.secret", "targets.d", "/etc/default/starling"] {
        assert!(kept.contains(name), "{name}: {kept}");
    }
    assert_eq!(root.run("ls -d /usr/bin/starling /usr/lib/starling 2>/dev/null || true"), "");

    root.run("dpkg --purge starling");
    assert_eq!(root.listing(PLACES), "");
    let left =
        root.run("find / -xdev -iname '*starling*' -not -path '/srv/*' -not -path '/proc/*'");
    assert_eq!(left, "", "all is gone");
    root.run("getent passwd starling");
}

#[test]
fn purging_leaves_alone_what_is_the_operators() {
    let Some(root) = Root::new() else { return };
    root.run(INSTALL);
    root.run("touch /etc/starling/backend.password; dpkg --purge starling");
    let listing = root.listing(PLACES);
    assert!(listing.ends_with("/etc/starling/backend.password\n"), "{listing}");
    assert_eq!(listing.lines().count(), 2, "{listing}");
}

/// `try-restart` is systemd's for: if it runs, or is about to.
#[test]
fn only_what_runs_is_restarted() {
    let Some(root) = Root::new() else { return };
    root.pretend_systemd();
    root.run(INSTALL);
    assert_eq!(root.asked(), "daemon-reload\n", "an installation starts nothing");
    root.run(UPGRADE);
    assert_eq!(root.asked(), "daemon-reload\ntry-restart starling.service\n");
    root.run(INSTALL);
    assert_eq!(root.asked(), "daemon-reload\ntry-restart starling.service\n", "a downgrade");
    root.run("dpkg --remove starling");
    assert_eq!(root.asked(), "stop starling.socket starling.service\ndaemon-reload\n");
    root.run("dpkg --purge starling");
    assert_eq!(root.asked(), "daemon-reload\nreset-failed starling.service\n");
    root.run(INSTALL);
    assert_eq!(root.asked(), "daemon-reload\n", "it is new here again");
}

#[test]
fn where_services_may_not_be_started_none_is_restarted() {
    let Some(root) = Root::new() else { return };
    root.pretend_systemd();
    root.run(INSTALL);
    root.asked();
    root.run(
        "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d",
    );
    root.run(&format!("touch /run/active; {UPGRADE}"));
    assert_eq!(root.asked(), "daemon-reload\n");
}

/// What dpkg calls when something else has failed, or is called off; each of it twice.
#[test]
fn what_is_called_off_leaves_it_as_it_was() {
    let Some(root) = Root::new() else { return };
    root.pretend_systemd();
    root.run(&format!("{INSTALL}; touch /run/active"));
    root.asked();
    let check = |call: &str, asked: &str| {
        for time in ["first", "second"] {
            root.run(&format!("/var/lib/dpkg/info/starling.{call}"));
            assert_eq!(root.asked(), asked, "{call}, the {time} time");
        }
        assert_eq!(root.listing(PLACES), INSTALLED, "{call}");
    };
    check("prerm upgrade 0.1.1-1", "");
    check("prerm failed-upgrade 0.1.1-1", "");
    check("postinst abort-upgrade 0.1.1-1", "");
    check("postinst abort-deconfigure in-favour other 1", "");
    check("prerm deconfigure in-favour other 1", "");
    check("postrm upgrade 0.1.1-1", "");
    check("postrm failed-upgrade 0.1.1-1", "");
    check("postrm abort-upgrade 0.1.1-1", "");
    check("postrm abort-install", "");
    check("postinst triggered /usr/bin/prometheus-node-exporter", "");
    check("postinst configure 0.1.0-1", "daemon-reload\ntry-restart starling.service\n");
    check("prerm remove", "stop starling.socket starling.service\n");

    // It was stopped for a removal that is called off.
    root.run("rm /run/active; touch /run/enabled");
    check("prerm remove", "stop starling.socket starling.service\n");
    root.run("/var/lib/dpkg/info/starling.postinst abort-remove");
    assert_eq!(root.asked(), "start starling.service\n");
    check("postinst abort-remove", "");
    for script in ["postinst", "prerm", "postrm"] {
        let output = root.output(&format!("/var/lib/dpkg/info/starling.{script} nonsense"));
        assert_eq!(output.status.code(), Some(1), "{script}");
    }
}
