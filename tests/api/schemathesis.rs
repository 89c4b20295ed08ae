//! The whole `OpenAPI` document, by schemathesis: what it describes is asked, well and badly, and no
//! answer may be an error of the server or another than described.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    flock::Flock,
    python::{environment, told},
};

/// Questions for each operation beside those that go through every parameter's borders.
const EXAMPLES: &str = "15";
/// Failures repeat themselves.
const SEED: &str = "20261121";

/// Not asked at first. Both change the fleet that the others are asked about.
const LAST: [&str; 2] = ["/api/v1/drain", "/api/v1/undrain"];
/// Never: an answer of it has no end, which schemathesis would wait for. `events` listens to it.
const ENDLESS: &str = "/api/v1/events";

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_described() {
    let install = || environment("schemathesis", "tests/api/requirements.txt");
    let home = tokio::task::spawn_blocking(install).await.unwrap();
    let schemathesis = home.join("bin/schemathesis");
    let flock = Flock::start().await;
    let mut others: Vec<String> = vec!["--exclude-path".to_owned(), ENDLESS.to_owned()];
    let mut last = Vec::new();
    for path in LAST {
        others.extend(["--exclude-path".to_owned(), path.to_owned()]);
        last.extend(["--include-path".to_owned(), path.to_owned()]);
    }
    run(&schemathesis, &flock.members[0].url, others).await;
    // One that is not asked by anyone else.
    run(&schemathesis, &flock.members[2].url, last).await;
}

async fn run(schemathesis: &Path, url: &str, chosen: Vec<String>) {
    let mut command = Command::new(schemathesis);
    command
        .arg("run")
        .arg(format!("{url}/api/openapi.json"))
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES])
        // One at a time: with more, CPython 3.11 sometimes fails to parse (python/cpython#106905).
        .args(["--seed", SEED, "--workers", "1", "--generation-database", "none"])
        .args(["--checks", CHECKS, "--continue-on-failure", "--no-color"])
        .args(["--request-timeout", "15"])
        .args(chosen)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

/// All but: `positive_data_acceptance`, as a well-formed question may name a member or a target that is
/// not there; `ignored_auth`, `use_after_free`, `ensure_resource_availability` and
/// `object_level_authorization`, as no credentials are configured here and nothing is created.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,negative_data_rejection,\
    missing_required_header,unsupported_method,allow_header_conformance";
