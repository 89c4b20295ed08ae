//! The examples do what they say: the playbook is played on a host, twice, and the machine's user data
//! is judged by cloud-init and its commands are run on another.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{
    host::{Hosts, skipped},
    python::{environment, succeed, told},
};

const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// Ansible, and what cloud-init needs.
fn installed() -> PathBuf {
    // Two tests want it at once.
    static HOME_OF_ALL: OnceLock<PathBuf> = OnceLock::new();
    let install = || environment("examples", "tests/integration/requirements.txt");
    HOME_OF_ALL.get_or_init(install).clone()
}

#[test]
fn the_playbook_makes_members_and_changes_nothing_twice() {
    let tools = installed();
    let play = format!(
        "cd {HOME}/examples/ansible; export LC_ALL=C.UTF-8 ANSIBLE_NOCOLOR=1 ANSIBLE_HOME=/root/ansible
         {}/bin/ansible-playbook",
        tools.display()
    );
    succeed(
        Command::new("bash").args(["-ec", &format!("{play} -i hosts.ini --syntax-check site.yml")]),
    );
    let check = [env!("CARGO_BIN_EXE_starling"), "check", "examples/ansible/starling.yml"];
    succeed(Command::new(check[0]).args(&check[1..]).current_dir(HOME));
    if skipped("examples/ansible is played") {
        return;
    }
    let mut hosts = Hosts::new();
    hosts.add_installed("vm1");
    hosts.serve("vm1");
    // Two names of one host: the first makes the secret, the second takes it.
    let inventory =
        "[starling]\na\nb\n[starling:vars]\nansible_connection=local\nansible_become=false\n";
    let inventory =
        format!("{inventory}ansible_python_interpreter={}/bin/python\n", tools.display());
    let run = |more: &str| {
        let inventory = format!("cat > /root/hosts.ini <<'END'\n{inventory}END\n");
        hosts.succeed("vm1", &format!("{inventory}{play} -i /root/hosts.ini site.yml {more}"))
    };
    let first = run("");
    let recap = |told: &str, host: &str| -> String {
        let line = told.lines().rfind(|line| line.starts_with(&format!("{host} "))).unwrap();
        let counts = line.split_whitespace().filter(|word| !word.ends_with("=0"));
        counts.skip(2).filter(|word| !word.starts_with("ok=")).collect::<Vec<_>>().join(" ")
    };
    assert!(recap(&first, "a").starts_with("changed="), "{first}");
    assert!(!first.contains("failed=1"), "{first}");
    let config = hosts.succeed("vm1", "cat /etc/starling/starling.yml");
    assert_eq!(
        config,
        fs::read_to_string(Path::new(HOME).join("examples/ansible/starling.yml")).unwrap()
    );
    let rights = "stat -c '%a %U %G' /etc/starling/starling.yml /etc/starling/cluster.secret";
    assert_eq!(hosts.succeed("vm1", rights), "640 root starling\n640 root starling\n");
    let secret = hosts.succeed("vm1", "cat /etc/starling/cluster.secret");
    assert!(!first.contains(secret.trim()), "a secret is in the output");
    let orders = hosts.systemctl("vm1");
    assert!(orders.contains(&"enable starling".to_owned()), "{orders:?}");

    let second = run("--limit b");
    assert_eq!(recap(&second, "b"), "skipped=3", "{second}");
    // What is refused is not put in place, and no host after it is touched.
    hosts.succeed("vm1", &format!("cp -r {HOME}/examples/ansible /root/play; echo 'globl: {{}}' >> /root/play/starling.yml"));
    let play = play.replace(&format!("{HOME}/examples/ansible"), "/root/play");
    let output = hosts.run("vm1", &format!("{play} -i /root/hosts.ini --limit b site.yml"));
    let said = told(&output);
    assert!(!output.status.success() && said.contains("unknown key `globl`"), "{said}");
    assert_eq!(hosts.succeed("vm1", "cat /etc/starling/starling.yml"), config);
}

#[test]
fn the_user_data_make_a_member_of_a_new_machine() {
    let data = Path::new(HOME).join("examples/cloud-init/user-data.yml");
    let tools = installed();
    let package = Path::new(HOME).join("target/cloud-init/usr/lib/python3/dist-packages");
    let judge = |data: &Path| {
        Command::new(tools.join("bin/python"))
            .args(["-m", "cloudinit.cmd.main", "schema", "--config-file"])
            .arg(data)
            .env("PYTHONPATH", &package)
            .output()
            .unwrap()
    };
    if package.is_dir() {
        let verdict = judge(&data);
        assert!(verdict.status.success(), "{}", told(&verdict));
        let folder = tempfile::tempdir().unwrap();
        let wrong = folder.path().join("user-data");
        let text = fs::read_to_string(&data).unwrap().replace("permissions:", "permission:");
        fs::write(&wrong, text).unwrap();
        assert!(!judge(&wrong).status.success(), "a judge who sees nothing");
    } else {
        say_skipped("cloud-init schema: no cloud-init in target/cloud-init; see tests/setup.sh");
    }
    if skipped("examples/cloud-init is run") {
        return;
    }
    let mut hosts = Hosts::new();
    hosts.add_installed("new");
    hosts.tool("new", "curl", "touch /root/starling.deb");
    hosts.tool("new", "apt-get", "test -e /root/starling.deb");
    // What cloud-init does with these two sections.
    let script = r#"
import os, subprocess, sys, yaml
data = yaml.safe_load(open(sys.argv[1]))
for file in data["write_files"]:
    with open(file["path"], "w") as out:
        out.write(file["content"])
    os.chmod(file["path"], int(file["permissions"], 8))
subprocess.run(["sh"], input="\n".join(data["runcmd"]), text=True, check=True)
"#;
    let python = tools.join("bin/python");
    hosts.succeed(
        "new",
        &format!("{} - {} <<'END'\n{script}END\n", python.display(), data.display()),
    );
    let told = hosts.succeed("new", "starling check /etc/starling/starling.yml");
    assert!(told.contains("job `services`: dns_sd, divided among the members"), "{told}");
    assert!(told.contains("cluster `default`: multicast DNS, 1 secret"), "{told}");
    assert_eq!(
        hosts.succeed("new", "ls /root | grep -c starling || true"),
        "0\n",
        "what came is gone"
    );
    let secret = hosts.succeed(
        "new",
        "stat -c '%a %U %G' /etc/starling/cluster.secret; cat /etc/starling/cluster.secret",
    );
    assert!(secret.starts_with("640 root starling\nCHANGE-ME"), "{secret}");
    assert_eq!(hosts.systemctl("new"), ["enable --now starling"]);
}

#[expect(clippy::print_stderr, reason = "who reads the output must see what was not tested")]
fn say_skipped(what: &str) {
    eprintln!("skipped: {what}");
}
