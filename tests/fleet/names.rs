//! Peers by an SRV record, with its port, from a real name server: found when the record comes, and
//! found again when it changes.

use std::{
    env,
    io::{Write, stdin},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    member::{Member, Orders},
    name_server::{NameServer, Record, Reply},
    namespace::Namespace,
};

const NAMES: &str = "STARLING_FLEET_NAMES";
const SERVICE: &str = "_starling._udp.fleet.test.";

/// Not a test: a name server's process, which is told its records line by line.
#[test]
fn serves_when_told_to() {
    if env::var(NAMES).is_err() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(NameServer::start_at("127.0.0.1:53"));
    for line in stdin().lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let target = || record["target"].as_str().unwrap();
        let reply = match record["port"].as_u64() {
            Some(port) => {
                Record::Srv { port: port.try_into().unwrap(), target: target().to_owned() }
            }
            None => Record::Address(target().parse().unwrap()),
        };
        server.set(record["name"].as_str().unwrap(), Reply::Records(vec![reply]));
    }
}

struct Names(Child);

impl Names {
    fn start(namespace: &Namespace) -> Self {
        let place = namespace.place();
        let child = Command::new(&place[0])
            .args(&place[1..])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "names::serves_when_told_to", "--nocapture"])
            .env(NAMES, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn set(&mut self, record: &Value) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{record}").unwrap();
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_record_is_followed_for_ever() {
    let _machine = crate::shared_machine();
    let Some(namespace) = Namespace::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    let resolv_conf = directory.path().join("resolv.conf");
    std::fs::write(&resolv_conf, "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n").unwrap();
    let place =
        namespace.place_after(&format!("mount --bind {} /etc/resolv.conf", resolv_conf.display()));
    let mut names = Names::start(&namespace);

    let peers = vec![format!("dnssrv+{}", SERVICE.trim_end_matches('.'))];
    let seeker = Orders { listen: "127.0.0.1:9734".to_owned(), peers, ..Orders::new("seeker") };
    let seeker = Member::start(&seeker, &place);
    seeker.sees_active(&["seeker"]);
    seeker.sees("says that nobody answers", |seen| {
        seen.notices.iter().any(|kind| kind == "no_peer_answers")
    });

    // Each is another node on another port, which knows of nobody.
    let mut others = vec!["seeker"];
    for (name, address, port) in [("first", "127.0.0.2", 7001), ("second", "127.0.0.3", 7002)] {
        let listen = format!("{address}:{port}");
        let other = Member::start(&Orders { listen, ..Orders::new(name) }, &place);
        other.sees_active(&[name]);
        seeker.sees_only("has not heard of it", Duration::from_secs(2), |seen| {
            seen.active == ["seeker"]
        });
        let host = format!("{name}.fleet.test.");
        names.set(&json!({ "name": host, "target": address }));
        names.set(&json!({ "name": SERVICE, "port": port, "target": host }));
        others.insert(0, name);
        for one in [&seeker, &other] {
            one.sees_active(&others);
        }
        others.remove(0);
        other.leave();
        seeker.sees_active(&["seeker"]);
    }
}
