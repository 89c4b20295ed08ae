//! Rounds of providers become snapshots, and what did not change stays the same.

use std::{fs, path::Path, sync::Arc};

use prometheus_client::registry::Registry;

use crate::{
    config,
    discovery::{Discovery, Snapshot, provider::Nameservers},
    model::target::HOST,
    runtime::{clock, stop::Stop, tasks},
};

#[tokio::test]
async fn each_refresh_is_published_and_what_did_not_change_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("targets.json");
    fs::write(&file, r#"[{"targets": ["a:1"]}]"#).unwrap();
    let text = format!(
        "scrape_configs:\n- job_name: a\n  file_sd_configs:\n  - files: ['{}']\n    refresh_interval: 20ms\n",
        file.display()
    );
    let jobs = config::parse(Path::new("test.yml"), &text, &|_| None).unwrap().jobs;
    let began_ms = clock::now_ms();
    let (handle, part) =
        Discovery::new(jobs, Nameservers::System, "vm1".to_owned(), &mut Registry::default());
    let stop = Stop::new();
    let task = tasks::spawn("discovery", part.run(stop.clone()));
    let mut seen = handle.targets();
    let mut next = async |after_ms: i64| {
        let is_next = |snapshot: &Arc<Snapshot>| {
            snapshot.jobs.first().is_some_and(|targets| targets.refreshed_ms > after_ms)
        };
        seen.wait_for(is_next).await.unwrap().jobs[0].clone()
    };
    let first = next(i64::MIN).await;
    assert!(first.refreshed_ms >= began_ms);
    assert_eq!(first.active.len(), 1);
    assert_eq!(first.active[0].discovered.get(HOST), "vm1");
    let second = next(first.refreshed_ms).await;
    assert!(Arc::ptr_eq(&first.active, &second.active));
    stop.raise();
    task.await.unwrap();
}
