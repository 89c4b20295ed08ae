//! `static_configs`: the groups stand in the configuration itself.

use crate::{
    discovery::provider::{Round, Rounds},
    model::target::TargetGroup,
};

pub(super) async fn run(groups: Vec<TargetGroup>, rounds: Rounds) {
    rounds.tell(Round { groups: Some(groups), faults: Vec::new() }).await;
}
