//! What edges are told of who owns what, so that they send each series there at once. Pure; `receive`
//! answers with it, `wire/placement` is its form.

use std::collections::BTreeMap;

use crate::{
    config::MetricsGateway,
    gateway::visitor::Whose,
    model::{identity::TenantKey, member::NodeId},
    ownership::placement::Table,
    wire::placement::{PlacedMember, Placement, ReplicaLabels},
};

/// For whoever pushes as this tenant. `member` says what a member is called and where it takes pushes.
pub fn placement(
    settings: &MetricsGateway,
    whose: &Whose,
    table: Option<&Table>,
    member: impl Fn(NodeId) -> PlacedMember,
) -> Placement {
    let not = |reason: &str| Placement { reason: reason.to_owned(), ..Placement::default() };
    let tenant = match whose {
        Whose::Tenant(tenant) => tenant.to_string(),
        Whose::EachSeries => return not("a label of each series names its tenant"),
    };
    if !settings.relabel.is_empty() {
        let reason = "`relabel_configs` of the gateway decide what a series is called";
        return Placement { tenant, ..not(reason) };
    }
    let owner = |slot| table.and_then(|table| table.owner(slot));
    let owners: Vec<Option<NodeId>> = TenantKey::of(&tenant).slots().map(owner).collect();
    let mut places: BTreeMap<NodeId, u16> = owners.iter().flatten().map(|id| (*id, 0)).collect();
    places.values_mut().zip(0..).for_each(|(place, number)| *place = number);
    let replica_labels = |replicas: &crate::config::Replicas| ReplicaLabels {
        cluster_label: replicas.cluster_label.clone(),
        replica_label: replicas.replica_label.clone(),
    };
    Placement {
        tenant,
        straight: true,
        reason: String::new(),
        ha: settings.replicas.as_ref().map(replica_labels),
        members: places.keys().map(|id| member(*id)).collect(),
        owners: owners.into_iter().map(|owner| places.get(&owner?).copied()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::{
        config,
        model::{
            member::{Interval, Member, MemberState, Roster},
            overrides::Overrides,
        },
        wire::remote_write::encode_pushed_labels,
    };

    fn table(ids: &[u128]) -> Table {
        let member = |id: &u128| Member {
            id: NodeId(*id),
            name: String::new(),
            api_address: String::new(),
            weight: 100,
            zone: String::new(),
            state: MemberState::Alive,
            intervals: vec![Interval { from_ms: 0, until_ms: None }],
        };
        let members = ids.iter().map(|id| (NodeId(*id), member(id))).collect();
        Table::new(1, &Roster { version: 1, members }, &Overrides::default())
    }

    fn told(fields: &str, whose: &Whose, table: Option<&Table>) -> Placement {
        let text = format!("gateway: {{metrics: {{listen_address: ':1', {fields}}}}}\n");
        let config = config::parse(Path::new(""), &text, &|_| None).expect("good");
        let member = |NodeId(id)| PlacedMember {
            name: format!("m{id}"),
            url: (id != 2).then(|| format!("http://m{id}/")),
        };
        placement(&config.gateway.metrics.unwrap(), whose, table, member)
    }

    fn tenant(name: &str) -> Whose {
        Whose::Tenant(Arc::from(name))
    }

    #[test]
    fn each_of_a_tenants_series_is_said_to_be_its_owners() {
        let table = table(&[1, 2, 3]);
        for name in ["", "shop"] {
            let told = told("", &tenant(name), Some(&table));
            assert_eq!(Placement::read(&told.bytes()), Ok(told.clone()));
            assert_eq!((told.straight, &*told.tenant, told.members.len()), (true, name, 3));
            let key = TenantKey::of(name);
            for n in 0..300 {
                let n = n.to_string();
                let labels = [("__name__", "m"), ("n", n.as_str())];
                let mut encoded = Vec::new();
                encode_pushed_labels(&mut encoded, labels.into_iter(), None);
                let slot = key.slot(key.series(&encoded));
                let NodeId(owner) = table.owner(slot).unwrap();
                let at = told.owner(key, &labels, &mut Vec::new()).unwrap();
                assert_eq!(told.members[at].name, format!("m{owner}"));
                assert_eq!(told.members[at].url.is_none(), owner == 2);
            }
        }
    }

    #[test]
    fn where_an_owner_is_not_known_nobody_is_named() {
        for table in [None, Some(&table(&[]))] {
            let told = told("", &tenant(""), table);
            assert!(told.straight && told.members.is_empty(), "{told:?}");
            assert_eq!(Placement::read(&told.bytes()), Ok(told));
        }
    }

    #[test]
    fn what_an_edge_can_not_know_is_said() {
        let table = table(&[1]);
        let check = |fields: &str, whose: &Whose, expected: &str| {
            let told = told(fields, whose, Some(&table));
            assert!(!told.straight && told.reason.contains(expected), "{told:?}");
            assert_eq!(Placement::read(&told.bytes()), Ok(told));
        };
        let rules = "relabel_configs: [{target_label: a, replacement: b}]";
        check(rules, &tenant("a"), "`relabel_configs`");
        check("tenants: {from: label}", &Whose::EachSeries, "label");
        let ha = told("ha: {replica_label: r}", &tenant(""), Some(&table)).ha.unwrap();
        assert_eq!((&*ha.cluster_label, &*ha.replica_label), ("cluster", "r"));
    }
}
