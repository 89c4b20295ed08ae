//! docs/install.md does what it says: its commands are run, in their order, on hosts in namespaces.

use crate::host::{Hosts, blocks, skipped};

const HOSTS: [&str; 3] = ["vm1", "vm2", "vm3"];
/// Who may read it, and what is in it.
const SECRET: &str =
    "stat -c '%a %U %G' /etc/starling/cluster.secret; cat /etc/starling/cluster.secret";

#[test]
fn the_document_of_installing_does_what_it_says() {
    if skipped("docs/install.md") {
        return;
    }
    let mut hosts = Hosts::new();
    hosts.add("desk");
    for host in HOSTS.into_iter().chain(["alone"]) {
        hosts.add_installed(host);
    }
    let commands = blocks("docs/install.md", "sh");
    let [one_host, fleet, peers, is_it_well, source, rotation] = &commands[..] else {
        panic!("{} blocks are marked, and what each must have done is said here", commands.len());
    };
    alone(&hosts, [one_host, peers, is_it_well]);
    set_up(&hosts, fleet);
    from_source(&hosts, source);
    rotated(&hosts, rotation);
    let [firewall] = &blocks("docs/install.md", "nft")[..] else { panic!("one block is for nft") };
    let chain =
        format!("chain input {{ type filter hook input priority 0; policy drop;\n{firewall}\n}}");
    hosts.succeed(
        "desk",
        &format!("nft --check --file - <<'END'\ntable inet filter {{\n{chain}\n}}\nEND\n"),
    );
}

/// A real agent, with what the package brings.
fn alone(hosts: &Hosts, [one_host, peers, is_it_well]: [&String; 3]) {
    hosts.serve("alone");
    let told = hosts.succeed("alone", one_host);
    assert!(told.contains("accepted: 2 jobs"), "{told}");
    assert!(told.contains("members  1 alive") && told.contains("0 down"), "{told}");
    let told = hosts.succeed("alone", peers);
    assert!(told.contains("peers: [vm1, vm2, vm3]") && told.contains("enable --now"), "{told}");
    hosts.tool("alone", "journalctl", "test \"$*\" = '-u starling -p warning'");
    let told = hosts.succeed("alone", is_it_well);
    assert!(told.contains("ok: "), "{told}");
}

fn set_up(hosts: &Hosts, commands: &str) {
    let before = hosts.succeed("vm1", "cat /etc/starling/starling.yml");
    hosts.succeed("desk", commands);
    let secret = hosts.succeed("vm1", SECRET);
    assert!(secret.starts_with("640 root starling\n"), "{secret}");
    assert_eq!(secret.lines().nth(1).unwrap().len(), 44, "32 bytes in base64");
    for host in HOSTS {
        assert_eq!(hosts.succeed(host, SECRET), secret, "{host}");
        let config = hosts.succeed(host, "cat /etc/starling/starling.yml");
        let section = config.strip_prefix(&before).unwrap();
        let expected = "\ncluster:\n  enabled: true\n  secret_file: /etc/starling/cluster.secret\n  mdns: true\n";
        assert_eq!(section, expected, "{host}");
        let owner = hosts.succeed(host, "stat -c '%a %U %G' /etc/starling/starling.yml");
        assert_eq!(owner, "640 root starling\n", "{host}");
        let told = hosts.succeed(host, "starling check --strict /etc/starling/starling.yml");
        assert!(told.contains("cluster `default`: multicast DNS, 1 secret"), "{told}");
        assert_eq!(hosts.systemctl(host), ["enable --now starling"], "{host}");
    }
    // Again changes nothing.
    hosts.succeed("desk", commands);
    assert_eq!(hosts.succeed("vm3", SECRET), secret);
    assert_eq!(hosts.succeed("vm3", "grep -c ^cluster: /etc/starling/starling.yml"), "1\n");
}

fn from_source(hosts: &Hosts, commands: &str) {
    let built = env!("CARGO_BIN_EXE_starling");
    assert!(commands.contains("target/release/starling"));
    hosts.succeed("desk", &commands.replace("target/release/starling", built));
    let check = |script: &str, expected: &str| {
        assert_eq!(hosts.succeed("desk", script), expected, "{script}");
    };
    check(
        "stat -c '%a %U %G' /etc/starling /var/lib/starling",
        "750 root starling\n750 starling starling\n",
    );
    check("stat -c '%a %U %G' /etc/starling/starling.yml", "640 root starling\n");
    check("systemctl_log=/var/log/systemctl; cat $systemctl_log", "daemon-reload\n");
    hosts.succeed(
        "desk",
        "set -e; starling check --strict /etc/starling/starling.yml; test -s /etc/systemd/system/starling.service
         test -s /usr/local/share/man/man1/starling-setup.1
         bash -c '. /usr/share/bash-completion/completions/starling && complete -p starling'",
    );
}

fn rotated(hosts: &Hosts, commands: &str) {
    let old = hosts.succeed("vm1", SECRET);
    // What stands between two steps is what members have in force, so it must be right, too.
    let steps: Vec<&str> = commands.split_inclusive("\ndone\n").collect();
    let [first, second, third, end] = steps[..] else { panic!("{commands}") };
    let names = |expected: &str| {
        for host in HOSTS {
            let told = hosts.succeed(
                host,
                "runuser -u starling -- starling check --strict /etc/starling/starling.yml >&2
                 grep -o 'secret_file.*' /etc/starling/starling.yml | tail -n 1",
            );
            assert_eq!(told, format!("{expected}\n"), "{host}");
        }
    };
    let folder = "cd $(mktemp -d)\n";
    let kept = hosts.succeed("desk", &format!("{folder}{first}pwd")).trim().to_owned();
    names("secret_files: [/etc/starling/cluster.secret, /etc/starling/cluster.new]");
    assert_eq!(hosts.succeed("vm2", SECRET), old, "all still seal with the old one");
    hosts.succeed("desk", second);
    names("secret_files: [/etc/starling/cluster.new, /etc/starling/cluster.secret]");
    let new = hosts.succeed("desk", &format!("cat {kept}/new.secret"));
    hosts.succeed("desk", third);
    names("secret_file: /etc/starling/cluster.secret");
    for host in HOSTS {
        assert_eq!(hosts.succeed(host, SECRET), format!("640 root starling\n{new}"), "{host}");
        assert_eq!(
            hosts.succeed(host, "ls /etc/starling"),
            "cluster.secret\nstarling.yml\ntargets.d\n"
        );
    }
    hosts.succeed("desk", &format!("cd {kept}\n{end}\ntest ! -e new.secret"));
}

#[test]
fn a_member_with_another_secret_is_not_made_one_by_force() {
    if skipped("starling setup on hosts") {
        return;
    }
    let mut hosts = Hosts::new();
    for host in ["vm1", "vm2"] {
        hosts.add_installed(host);
        hosts.succeed(host, "starling setup --peers vm1,vm2");
    }
    let before = hosts.succeed("vm2", SECRET);
    let output = hosts.run("vm2", "ssh root@vm1 cat /etc/starling/cluster.secret | starling setup --peers vm1,vm2 --secret-stdin");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("`/etc/starling/cluster.secret` holds another secret"), "{said}");
    assert_eq!(hosts.succeed("vm2", SECRET), before);

    // As the document says.
    hosts.succeed("vm2", "rm /etc/starling/cluster.secret; ssh root@vm1 cat /etc/starling/cluster.secret | starling setup --peers vm1,vm2 --secret-stdin");
    assert_eq!(hosts.succeed("vm2", SECRET), hosts.succeed("vm1", SECRET));

    // The agent's user may read it, and nobody else.
    hosts.succeed("vm2", "runuser -u starling -- cat /etc/starling/cluster.secret");
    assert!(
        !hosts.run("vm2", "runuser -u nobody -- cat /etc/starling/cluster.secret").status.success()
    );

    // Who is not root is told, and changes nothing.
    let output = hosts.run("vm1", "runuser -u nobody -- starling setup --mdns");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("run it as root"), "{said}");
}
