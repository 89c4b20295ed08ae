//! The conformance data's judge of receivers, before the real binary. Where the data is absent, the
//! test says so and passes.

use std::{path::Path, process::Command};

use crate::{conformance::data, gateway::Gateway};

/// Nothing listens here: what a receiver says hangs on its own disk, not on its backend.
const NOWHERE: &str = "http://127.0.0.1:1/api/v1/write";

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_of_remote_write_answers_as_the_protocol_says() {
    let Some(data) = data() else { return };
    let directory = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(directory.path(), NOWHERE, "").await;
    let said = tokio::task::spawn_blocking({
        let url = gateway.url();
        move || run(&data, &url)
    });
    let (succeeded, said) = said.await.unwrap();
    assert!(succeeded, "{said}{}", gateway.agent.process.log());
    assert!(said.contains(" 0 failed"), "{said}");
}

fn run(data: &Path, url: &str) -> (bool, String) {
    let output = Command::new("python3")
        .arg(data.join("rw_receiver.py"))
        .args(["--url", url])
        .arg(data.join("rw_receiver.json"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}
