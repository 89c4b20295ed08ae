//! What the members say when they are asked, as JSON: whether every target has one owner, what waits
//! where, and what each runs by.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admin::view::{AskedShown, Node, asked, asked_one, queues::Queue, queues::queue},
    model::{member::NodeId, member::Roster, time::rfc3339},
    survey::{FleetConfigs, FleetQueues, MemberConfig, TargetRef, Verified, VerifiedMember},
};

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct VerifiedShown {
    /// Every divided target has exactly one owner, and all members answered and agree.
    ok: bool,
    /// The instant of fleet time that all were asked about.
    at: String,
    targets: usize,
    members: Vec<VerifiedMemberShown>,
    /// At most 100, as are the doubled ones.
    unowned: Vec<TargetAtFault>,
    unowned_total: usize,
    doubled: Vec<DoubledShown>,
    doubled_total: usize,
    disagreements: Vec<DisagreementShown>,
    unanswered: Vec<Node>,
}

#[derive(Serialize, ToSchema)]
struct VerifiedMemberShown {
    id: String,
    name: String,
    answered: bool,
    error: Option<String>,
    scrapes: Option<usize>,
    config_digest: Option<String>,
    targets_digest: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct TargetAtFault {
    id: String,
    job: String,
    /// `null` where who knows it did not answer.
    url: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct DoubledShown {
    target: TargetAtFault,
    by: Vec<Node>,
}

#[derive(Serialize, ToSchema)]
struct DisagreementShown {
    /// `config`, `targets`, `roster` or `overrides`.
    kind: &'static str,
    node: Node,
    detail: String,
}

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct FleetQueuesShown {
    members: Vec<MemberQueuesShown>,
    asked: Vec<AskedShown>,
}

#[derive(Serialize, ToSchema)]
struct MemberQueuesShown {
    id: String,
    name: String,
    /// `null` where it did not answer.
    destinations: Option<Vec<Queue>>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct FleetConfigsShown {
    members: Vec<MemberConfigShown>,
    asked: Vec<AskedShown>,
}

/// All but the name is `null` where the member did not answer.
#[derive(Serialize, ToSchema)]
struct MemberConfigShown {
    id: String,
    name: String,
    /// Members that divide the same targets the same way have the same.
    digest: Option<String>,
    /// As it runs, without secrets.
    yaml: Option<String>,
    loaded_at: Option<String>,
    /// Why a later one was refused.
    refused: Option<String>,
    /// From that of the member that answers.
    differs: bool,
}

impl FleetConfigsShown {
    /// Who was asked; how long that took is no part of what is listed.
    pub(in crate::admin) fn asked_mut(&mut self) -> &mut [AskedShown] {
        &mut self.asked
    }
}

pub(in crate::admin) fn verified(verified: &Verified, roster: &Roster) -> VerifiedShown {
    let node = |id: &NodeId| Node::of(*id, roster);
    let doubled = verified.doubled.iter().map(|(target, by)| DoubledShown {
        target: at_fault(target),
        by: by.iter().map(node).collect(),
    });
    let disagreements = verified.disagreements.iter().map(|one| DisagreementShown {
        kind: one.about.name(),
        node: node(&one.node),
        detail: one.detail.clone(),
    });
    VerifiedShown {
        ok: verified.is_ok,
        at: rfc3339(verified.at_ms),
        targets: verified.targets,
        members: verified.members.iter().map(verified_member).collect(),
        unowned: verified.unowned.iter().map(at_fault).collect(),
        unowned_total: verified.unowned_total,
        doubled: doubled.collect(),
        doubled_total: verified.doubled_total,
        disagreements: disagreements.collect(),
        unanswered: verified.unanswered().map(|one| Node::new(one.id, &one.name)).collect(),
    }
}

fn verified_member(member: &VerifiedMember) -> VerifiedMemberShown {
    let digest = |digest: Option<u64>| digest.map(|digest| format!("{digest:016x}"));
    let AskedShown { id, name, answered, error, .. } = asked_one(&member.asked);
    VerifiedMemberShown {
        id,
        name,
        answered,
        error,
        scrapes: member.scrapes,
        config_digest: digest(member.config_digest),
        targets_digest: digest(member.targets_digest),
    }
}

fn at_fault(target: &TargetRef) -> TargetAtFault {
    let (id, job) = &target.name;
    TargetAtFault { id: id.to_string(), job: job.to_string(), url: target.url.clone() }
}

pub(in crate::admin) fn fleet_queues(queues: &FleetQueues) -> FleetQueuesShown {
    let members = queues.members.iter().map(|member| MemberQueuesShown {
        id: member.id.to_string(),
        name: member.name.clone(),
        destinations: member.destinations.as_ref().map(|all| all.iter().map(queue).collect()),
    });
    FleetQueuesShown { members: members.collect(), asked: asked(&queues.asked) }
}

pub(in crate::admin) fn fleet_configs(configs: &FleetConfigs, me: NodeId) -> FleetConfigsShown {
    let mine = configs.members.iter().find(|member| member.id == me);
    let mine = mine.and_then(|member| member.config.as_ref()).map(|config| &config.yaml);
    let member = |member: &MemberConfig| {
        let config = member.config.as_ref();
        MemberConfigShown {
            id: member.id.to_string(),
            name: member.name.clone(),
            digest: config.map(|config| format!("{:016x}", config.digest)),
            yaml: config.map(|config| config.yaml.clone()),
            loaded_at: config.map(|config| rfc3339(config.loaded_ms)),
            refused: config.and_then(|config| config.refused.clone()),
            differs: config.is_some_and(|config| mine != Some(&config.yaml)),
        }
    };
    FleetConfigsShown {
        members: configs.members.iter().map(member).collect(),
        asked: asked(&configs.asked),
    }
}
