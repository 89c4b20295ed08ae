//! `file_sd` on a real disk. The refresh interval is an hour: what changes is told by the system.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
};

use starling::discovery::provider::Nameservers;

use crate::discovery::agent::Agent;

const VALID: [&str; 3] = ["localhost:9090 foo=bar", "example.org:443 foo=bar", "my.domain"];

fn start(folder: &Path, pattern: &str) -> Agent {
    let pattern = folder.join(pattern);
    let files = format!("files: ['{}'], refresh_interval: 1h", pattern.display());
    Agent::start(&format!("- {{job_name: j, file_sd_configs: [{{{files}}}]}}"), Nameservers::System)
}

/// Through a rename, as an editor and every careful program writes a file.
fn replace(file: &Path, content: impl AsRef<[u8]>) {
    let other = file.with_extension("new");
    fs::write(&other, content).unwrap();
    fs::rename(other, file).unwrap();
}

#[tokio::test]
async fn the_cases_of_prometheus_hold() {
    let Some(data) = crate::conformance("discovery") else { return };
    for case in crate::cases(&data, "file_sd.json") {
        let folder = tempfile::tempdir().unwrap();
        let steps = case["steps"].as_array().unwrap();
        let first = steps[0]["write"].as_str().unwrap();
        let file = folder.path().join(first);
        fs::copy(data.join(first), &file).unwrap();
        let agent = start(folder.path(), "*.yml");
        match case["id"].as_str().unwrap() {
            "filesd-initial-yml" => agent.shows(&VALID).await,
            "filesd-null-group-yml" => {
                agent.first_round().await;
                agent.failures("file", 1).await;
                agent.shows(&[]).await;
            }
            "filesd-noop-update" => {
                agent.shows(&VALID).await;
                let before = agent.now();
                let other = steps[1]["replace_by"].as_str().unwrap();
                replace(&file, fs::read(data.join(other)).unwrap());
                // What follows is read after it.
                fs::write(folder.path().join("z.yml"), "- targets: [z]").unwrap();
                let after = agent.snapshot(|s| s.jobs[0].active.len() == 4).await;
                for (before, after) in before.jobs[0].active.iter().zip(&*after.jobs[0].active) {
                    assert!(Arc::ptr_eq(before, after), "a target that did not change goes on");
                }
            }
            "filesd-invalid-update-keeps-old" => {
                agent.shows(&VALID).await;
                fs::write(&file, steps[1]["overwrite_text"].as_str().unwrap()).unwrap();
                agent.failures("file", 1).await;
                agent.shows(&VALID).await;
            }
            "filesd-remove-file" => {
                agent.shows(&VALID).await;
                fs::remove_file(&file).unwrap();
                agent.shows(&[]).await;
            }
            other => panic!("a case that this test does not know: {other}"),
        }
    }
}

#[tokio::test]
async fn json_and_yaml_files_of_a_pattern_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.json"), r#"[{"targets":["a"]}]"#).unwrap();
    let agent = start(folder.path(), "*.json");
    agent.shows(&["a"]).await;
    let target = Arc::clone(&agent.now().jobs[0].active[0]);
    assert_eq!(target.discovered.get("__meta_filepath"), at("a.json").to_str().unwrap());
    assert!(!target.labels.contains("__meta_filepath"));

    replace(&at("b.json"), r#"[{"targets":["b"],"labels":{"l":"1"}}]"#);
    agent.shows(&["a", "b l=1"]).await;
    fs::rename(at("b.json"), at("b.txt")).unwrap();
    agent.shows(&["a"]).await;
    fs::write(at("a.json"), r#"[{"targets":["a2"]}]"#).unwrap();
    agent.shows(&["a2"]).await;
    assert_eq!(agent.metric("starling_discovery_targets{job=\"j\"}"), 1);
}

#[tokio::test]
async fn a_swapped_link_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| -> PathBuf { folder.path().join(name) };
    for version in ["v1", "v2"] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("t.yml"), format!("- targets: [{version}]")).unwrap();
    }
    symlink("v1", at("..data")).unwrap();
    symlink("..data/t.yml", at("t.yml")).unwrap();
    let agent = start(folder.path(), "*.yml");
    agent.shows(&["v1"]).await;
    symlink("v2", at("..next")).unwrap();
    fs::rename(at("..next"), at("..data")).unwrap();
    agent.shows(&["v2"]).await;
    fs::write(at("v2").join("t.yml"), "- targets: [edited]").unwrap();
    agent.shows(&["edited"]).await;
}

#[tokio::test]
async fn a_folder_may_come_later_and_be_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("targets");
    let agent = start(folder.path(), "targets/t.yml");
    agent.first_round().await;
    for round in ["first", "second"] {
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("t.yml"), format!("- targets: [{round}]")).unwrap();
        agent.shows(&[round]).await;
        fs::remove_dir_all(&inner).unwrap();
        agent.shows(&[]).await;
    }
}

#[tokio::test]
async fn the_refresh_interval_works_without_any_event() {
    let folder = tempfile::tempdir().unwrap();
    let real = tempfile::tempdir().unwrap();
    // A hard link's other name is changed in a folder that nobody watches.
    fs::write(real.path().join("t.yml"), "- targets: [a]").unwrap();
    fs::hard_link(real.path().join("t.yml"), folder.path().join("t.yml")).unwrap();
    let file = folder.path().join("t.yml");
    let settings = format!("files: ['{}'], refresh_interval: 50ms", file.display());
    let agent = Agent::start(
        &format!("- {{job_name: j, file_sd_configs: [{{{settings}}}]}}"),
        Nameservers::System,
    );
    agent.shows(&["a"]).await;
    fs::write(real.path().join("t.yml"), "- targets: [b]").unwrap();
    agent.shows(&["b"]).await;
}
