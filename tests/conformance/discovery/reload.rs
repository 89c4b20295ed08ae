//! A reload: what did not change goes on, and providers of equal settings are one.

use std::{fs, sync::Arc};

use starling::discovery::{Snapshot, provider::Nameservers};

use crate::discovery::{
    agent::{Agent, jobs, shown},
    web_server::{WebServer, json},
};

#[tokio::test]
async fn unchanged_jobs_and_providers_go_on() {
    let mut server = WebServer::start(json(r#"[{"targets":["a"]}]"#)).await;
    let http = format!("http_sd_configs: [{{url: '{}', refresh_interval: 1h}}]", server.url());
    let both = format!("- {{job_name: x, {http}}}\n- {{job_name: y, {http}}}");
    let agent = Agent::start(&both, Nameservers::System);
    agent.first_round().await;
    let before = agent.snapshot(|s| s.jobs.len() == 2 && s.jobs[1].active.len() == 1).await;
    assert_eq!(server.asked(1).await.len(), 1, "asked once for two jobs");

    let third = "- {job_name: z, static_configs: [{targets: [c, c], labels: {l: v}}]}";
    agent.handle.apply(jobs(&format!("{third}\n- {{job_name: x, {http}}}"))).await;
    let is_z = |s: &Snapshot| &*s.jobs[0].job.job_name == "z" && !s.jobs[0].active.is_empty();
    let after = agent.snapshot(is_z).await;
    assert_eq!(shown(&after.jobs[0]), ["c l=v"]);
    assert!(Arc::ptr_eq(&before.jobs[0].active, &after.jobs[1].active));
    assert!(Arc::ptr_eq(&before.jobs[0].job, &after.jobs[1].job));
    assert_eq!(server.asked(1).await.len(), 1, "the provider was not started again");
    assert_eq!(agent.metric("starling_discovery_targets{job=\"y\"}"), 0);
    assert_eq!(agent.metric("starling_discovery_targets{job=\"z\"}"), 1);
}

#[tokio::test]
async fn a_job_that_goes_takes_its_targets_along() {
    let agent =
        Agent::start("- {job_name: x, static_configs: [{targets: [a]}]}", Nameservers::System);
    agent.shows(&["a"]).await;
    agent.handle.apply(vec![]).await;
    agent.snapshot(|snapshot| snapshot.jobs.is_empty()).await;
}

#[tokio::test]
async fn changed_settings_keep_the_targets_until_the_new_provider_answers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.yml");
    fs::write(&file, "- targets: [a]").unwrap();
    let job = |interval: &str| {
        let file = file.display();
        format!(
            "- {{job_name: x, file_sd_configs: [{{files: ['{file}'], refresh_interval: {interval}}}]}}"
        )
    };
    let agent = Agent::start(&job("1h"), Nameservers::System);
    agent.shows(&["a"]).await;
    let before = agent.now();
    agent.handle.apply(jobs(&job("2h"))).await;
    let after = agent.snapshot(|s| !Arc::ptr_eq(&s.jobs[0].job, &before.jobs[0].job)).await;
    assert!(Arc::ptr_eq(&before.jobs[0].active, &after.jobs[0].active));
}

#[tokio::test]
async fn the_first_round_waits_for_the_slowest() {
    // Accepts connections by its backlog, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let agent = Agent::start(
        &format!(
            "- {{job_name: x, static_configs: [{{targets: [a]}}], http_sd_configs: [{{url: '{url}', refresh_interval: 300ms}}]}}"
        ),
        Nameservers::System,
    );
    let mut first = std::pin::pin!(agent.handle.first_round());
    let early = tokio::time::timeout(std::time::Duration::from_millis(150), &mut first).await;
    assert!(early.is_err(), "the server has not answered");
    agent.first_round().await;
    assert_eq!(shown(&agent.now().jobs[0]), ["a"]);
}
