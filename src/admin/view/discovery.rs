//! The providers of targets as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{discovery::provider::ProviderState, model::time::rfc3339};

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Providers {
    providers: Vec<Provider>,
}

/// Equal settings of several jobs are one provider.
#[derive(Serialize, ToSchema)]
struct Provider {
    /// `file`, `http`, `consul`, …
    kind: &'static str,
    jobs: Vec<String>,
    /// What it found, before relabelling.
    targets: usize,
    /// When its latest refresh without a fault began: what it found is as old as this. `null`: none yet.
    refreshed_at: Option<String>,
    /// `null`: it works.
    failing_since: Option<String>,
    /// What failed of its latest refresh; what is affected keeps what was found before.
    faults: Vec<String>,
}

pub(in crate::admin) fn providers(states: &[ProviderState]) -> Providers {
    let providers = states.iter().map(|state| Provider {
        kind: state.kind,
        jobs: state.jobs.iter().map(ToString::to_string).collect(),
        targets: state.targets,
        refreshed_at: state.refreshed_ms.map(rfc3339),
        failing_since: state.failing_since_ms.map(rfc3339),
        faults: state.faults.clone(),
    });
    Providers { providers: providers.collect() }
}
