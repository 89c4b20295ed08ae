//! How providers of targets fare, as it is told.

use super::*;
use crate::discovery::provider::ProviderState;

/// One that fails, and one that has not answered yet.
pub(super) fn providers() -> Arc<[ProviderState]> {
    let waiting = ProviderState {
        kind: "consul",
        jobs: vec!["node".into()],
        targets: 0,
        refreshed_ms: None,
        failing_since_ms: None,
        faults: Vec::new(),
    };
    let failing = ProviderState {
        kind: "http",
        jobs: vec!["node".into(), "db".into()],
        targets: 3,
        refreshed_ms: Some(1_700_000_000_000),
        failing_since_ms: Some(1_700_000_060_000),
        faults: vec!["no".to_owned()],
    };
    [failing, waiting].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn providers_tell_how_old_and_why() {
    let house = House::open();
    let shown = house.get("/api/v1/discovery").await.json();
    let failing = json!({
        "kind": "http", "jobs": ["node", "db"], "targets": 3,
        "refreshed_at": "2023-11-14T22:13:20.000Z", "failing_since": "2023-11-14T22:14:20.000Z",
        "faults": ["no"],
    });
    let waiting = json!({
        "kind": "consul", "jobs": ["node"], "targets": 0,
        "refreshed_at": null, "failing_since": null, "faults": [],
    });
    assert_eq!(shown, json!({ "providers": [failing, waiting] }));
}
