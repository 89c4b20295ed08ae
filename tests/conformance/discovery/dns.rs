//! `dns_sd` against a real name server.

use std::fmt::Write;

use serde_json::Value;

use crate::discovery::{
    agent::Agent,
    name_server::{NameServer, Record, Reply},
};

fn start(server: &NameServer, settings: &str, search: &[&str]) -> Agent {
    Agent::start(
        &format!("- {{job_name: j, dns_sd_configs: [{{refresh_interval: 50ms, {settings}}}]}}"),
        server.nameservers(search),
    )
}

fn addresses(ips: &[&str]) -> Reply {
    Reply::Records(ips.iter().map(|ip| Record::Address(ip.parse().unwrap())).collect())
}

#[tokio::test]
async fn the_cases_of_prometheus_hold() {
    let Some(data) = crate::conformance("discovery") else { return };
    for case in crate::cases(&data, "dns.json") {
        let server = NameServer::start().await;
        let config = &case["config"];
        let name = config["names"][0].as_str().unwrap();
        server.set(name, reply(&case["answers"]));
        let port = config["port"].as_u64().unwrap_or_default();
        let kind = config["type"].as_str().unwrap();
        let settings = format!("names: ['{name}'], type: {kind}, port: {port}");
        let agent = start(&server, &settings, &[]);
        agent.first_round().await;
        let expected: Vec<String> = case["expected_groups"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|group| group["targets"].as_array().unwrap())
            .map(|target| {
                // An empty label is none.
                let labels = target.as_object().unwrap().iter();
                let own = labels.filter(|(n, v)| *n != "__address__" && v.as_str() != Some(""));
                let mut line = target["__address__"].as_str().unwrap().to_owned();
                for (n, v) in own {
                    write!(line, " {n}={}", v.as_str().unwrap()).unwrap();
                }
                line
            })
            .collect();
        agent.shows(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
        if case["answers"] == "error" {
            agent.failures("dns", 1).await;
        }
    }
}

fn reply(answers: &Value) -> Reply {
    let Some(answers) = answers.as_array() else { return Reply::ServerFailure };
    let record = |answer: &Value| {
        let (kind, data) = answer.as_object().unwrap().iter().next().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let number = |field: &str| u16::try_from(data[field].as_u64().unwrap()).unwrap();
        match kind.as_str() {
            "A" | "AAAA" => Record::Address(text(data).parse().unwrap()),
            "SRV" => Record::Srv { port: number("port"), target: text(&data["target"]) },
            "MX" => Record::Mx { preference: number("preference"), target: text(&data["target"]) },
            "NS" => Record::Ns(text(data.get("target").unwrap_or(data))),
            "TXT" => Record::Txt(text(data)),
            other => panic!("a record that this test does not know: {other}"),
        }
    };
    Reply::Records(answers.iter().map(record).collect())
}

#[tokio::test]
async fn a_name_that_fails_keeps_its_group_and_the_others_go_on() {
    let server = NameServer::start().await;
    server.set("one.test.", addresses(&["10.0.0.1"]));
    server.set("two.test.", addresses(&["10.0.0.2"]));
    let agent = start(&server, "names: [one.test., two.test.], type: A, port: 9", &[]);
    let one = "10.0.0.1:9 __meta_dns_name=one.test.";
    agent.shows(&[one, "10.0.0.2:9 __meta_dns_name=two.test."]).await;

    server.set("one.test.", Reply::ServerFailure);
    server.set("two.test.", addresses(&["10.0.0.3", "10.0.0.4"]));
    agent
        .shows(&[
            one,
            "10.0.0.3:9 __meta_dns_name=two.test.",
            "10.0.0.4:9 __meta_dns_name=two.test.",
        ])
        .await;
    agent.failures("dns", 1).await;
    server.set("one.test.", Reply::NoSuchName);
    server.set("two.test.", Reply::Records(vec![]));
    agent.shows(&[]).await;
}

#[tokio::test]
async fn a_short_name_is_looked_for_behind_the_search_domains() {
    let server = NameServer::start().await;
    server.set("web.b.test.", addresses(&["10.0.0.1"]));
    let settings = "names: [web], type: A, port: 9";
    let agent = start(&server, settings, &["a.test", "b.test."]);
    agent.shows(&["10.0.0.1:9 __meta_dns_name=web"]).await;

    // A domain that can't be asked might know the name: its group stays.
    server.set("web.a.test.", Reply::ServerFailure);
    server.set("web.b.test.", Reply::NoSuchName);
    agent.failures("dns", 1).await;
    agent.shows(&["10.0.0.1:9 __meta_dns_name=web"]).await;
}

#[tokio::test]
async fn records_of_every_type_become_targets() {
    let server = NameServer::start().await;
    let ns = Record::Ns("ns1.test.".to_owned());
    server.set("zone.test.", Reply::Records(vec![ns]));
    let agent = start(&server, "names: [zone.test], type: NS, port: 53", &[]);
    agent
        .shows(&["ns1.test:53 __meta_dns_name=zone.test __meta_dns_ns_record_target=ns1.test."])
        .await;

    let alias = Record::Cname("real.test.".to_owned());
    server.set("alias.test.", Reply::Records(vec![alias]));
    server.set("real.test.", addresses(&["10.0.0.7"]));
    let agent = start(&server, "names: [alias.test], type: A, port: 1", &[]);
    agent.shows(&["10.0.0.7:1 __meta_dns_name=alias.test"]).await;
}
