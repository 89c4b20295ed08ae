//! A provider that fails is asked again long before its refresh interval is over, and not at once.

use std::time::Duration;

use tokio::time::Instant;

use super::{Running, settings};

#[tokio::test]
async fn a_provider_that_fails_is_asked_sooner_and_not_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.sock");
    let text =
        format!("docker_sd_configs: [{{host: 'unix://{}', refresh_interval: 1h}}]", path.display());
    let mut provider = Running::start(settings(&text));
    assert!(!provider.round().await.faults.is_empty());
    let failed = Instant::now();
    assert!(!provider.round().await.faults.is_empty());
    let waited = failed.elapsed();
    assert!(waited > Duration::from_secs(3) && waited < Duration::from_secs(15), "{waited:?}");
}
