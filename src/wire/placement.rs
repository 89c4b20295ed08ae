//! Who owns which of a tenant's series, as a gateway tells it to those that push: JSON, written by
//! `gateway/placing` and read by `outbox/placing`, which then send each series to its owner at once.

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        identity::{TENANT_SLOTS, TenantKey},
        member::PUSH_URL_BYTES_MAX,
    },
    wire::remote_write::encode_pushed_labels,
};

/// Of an answer; a fleet of hundreds takes some ten thousand.
pub const PLACEMENT_BYTES_MAX: usize = 256 << 10;
/// More gateways than a fleet has.
const MEMBERS_MAX: usize = 4_096;
/// Of a gateway's name.
const NAME_BYTES_MAX: usize = 255;

/// The labels of a series, in the order in which they are sent.
pub type SentLabels<'a> = [(&'a str, &'a str)];

/// For one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// As the gateway sees whoever asks; empty where there is none.
    pub tenant: String,
    /// Whether a series' owner can be told from its labels as they are sent.
    pub straight: bool,
    /// Why not, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Where replicas are told apart: a series with both of these labels is known without the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha: Option<ReplicaLabels>,
    #[serde(default)]
    pub members: Vec<PlacedMember>,
    /// The place in `members` of the owner of each of the tenant's slots; of none where it is not known.
    #[serde(default)]
    pub owners: Vec<Option<u16>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaLabels {
    pub cluster_label: String,
    pub replica_label: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedMember {
    pub name: String,
    /// Where it takes pushes; `None` where it does not, or has not said it.
    pub url: Option<String>,
}

impl Placement {
    /// # Errors
    /// What about it no gateway says.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        if json.len() > PLACEMENT_BYTES_MAX {
            return Err(format!("it has more than {PLACEMENT_BYTES_MAX} bytes"));
        }
        let read: Self = serde_json::from_slice(json).map_err(|fault| fault.to_string())?;
        read.check()?;
        Ok(read)
    }

    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain values have a form")
    }

    /// The place in `members` of who owns such a series. `buffer` is written over, and spares an
    /// allocation.
    pub fn owner(
        &self,
        tenant: TenantKey,
        labels: &SentLabels<'_>,
        buffer: &mut Vec<u8>,
    ) -> Option<usize> {
        let is_left_out = |name: &str| self.removed(labels) == Some(name);
        let kept = labels.iter().copied().filter(|(name, _)| !is_left_out(name));
        encode_pushed_labels(buffer, kept, None);
        let at = tenant.series(buffer).place_of_slot();
        self.owners.get(at).copied().flatten().map(usize::from)
    }

    /// The label that is taken off a series of one of several replicas.
    fn removed(&self, labels: &SentLabels<'_>) -> Option<&str> {
        let ReplicaLabels { cluster_label, replica_label } = self.ha.as_ref()?;
        let has = |name: &str| labels.iter().any(|(own, value)| *own == name && !value.is_empty());
        (has(cluster_label) && has(replica_label)).then_some(replica_label)
    }

    fn check(&self) -> Result<(), String> {
        let expected = if self.straight { TENANT_SLOTS } else { 0 };
        if self.owners.len() != expected {
            return Err(format!("it has {} owners, not {expected}", self.owners.len()));
        }
        if self.members.len() > MEMBERS_MAX {
            return Err(format!("it has more than {MEMBERS_MAX} members"));
        }
        let is_unknown = |at: &&u16| usize::from(**at) >= self.members.len();
        if let Some(at) = self.owners.iter().flatten().find(is_unknown) {
            return Err(format!("the owner {at} is none of its members"));
        }
        let is_too_long = |member: &PlacedMember| {
            let url = member.url.as_ref().map_or(0, String::len);
            member.name.len() > NAME_BYTES_MAX || url > PUSH_URL_BYTES_MAX
        };
        if self.members.iter().any(is_too_long) {
            return Err("a name or an address in it is too long".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(members: usize) -> Placement {
        let member =
            |n| PlacedMember { name: format!("m{n}"), url: Some(format!("http://m{n}/push")) };
        Placement {
            straight: true,
            members: (0..members).map(member).collect(),
            owners: (0..TENANT_SLOTS).map(|n| u16::try_from(n % members).ok()).collect(),
            ..Placement::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for told in [
            placement(3),
            Placement { reason: "relabelled".to_owned(), ..Placement::default() },
            Placement { owners: vec![None; TENANT_SLOTS], ..placement(1) },
        ] {
            assert_eq!(Placement::read(&told.bytes()), Ok(told));
        }
        let newer = br#"{"tenant": "a", "straight": false, "more": [1]}"#;
        assert_eq!(Placement::read(newer).map(|told| told.tenant), Ok("a".to_owned()));
    }

    #[test]
    fn what_no_gateway_says_is_not_believed() {
        let check = |told: &Placement, expected: &str| {
            let fault = Placement::read(&told.bytes()).unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        };
        check(&Placement { owners: vec![None; 127], ..placement(1) }, "127 owners, not 128");
        check(&Placement { straight: false, ..placement(1) }, "128 owners, not 0");
        check(&Placement { owners: vec![Some(1); 128], ..placement(1) }, "owner 1 is none");
        check(&placement(MEMBERS_MAX + 1), "more than 4096 members");
        let mut long = placement(1);
        long.members[0].name = "x".repeat(NAME_BYTES_MAX + 1);
        check(&long, "too long");
        let mut long = placement(1);
        long.members[0].url = Some("x".repeat(PUSH_URL_BYTES_MAX + 1));
        check(&long, "too long");
        for garbage in [&b""[..], b"404 page not found", b"[]", b"{}", b"{\"straight\": true}"] {
            assert!(Placement::read(garbage).is_err(), "{garbage:?}");
        }
        let large = vec![b' '; PLACEMENT_BYTES_MAX + 1];
        assert!(Placement::read(&large).unwrap_err().contains("more than"));
    }

    #[test]
    fn a_series_is_its_owners_with_and_without_what_tells_replicas_apart() {
        let told = Placement {
            ha: Some(ReplicaLabels { cluster_label: "c".into(), replica_label: "r".into() }),
            ..placement(7)
        };
        let tenant = TenantKey::of("");
        let owner = |labels: &SentLabels<'_>| told.owner(tenant, labels, &mut Vec::new());
        for n in 0..50 {
            let n = n.to_string();
            let bare = [("__name__", "m"), ("c", "x"), ("n", &n)];
            let one = [bare[0], bare[1], bare[2], ("r", "1")];
            let other = [bare[0], bare[1], bare[2], ("r", "2")];
            assert_eq!((owner(&one), owner(&other)), (owner(&bare), owner(&bare)));
            let mut encoded = Vec::new();
            encode_pushed_labels(&mut encoded, bare.into_iter(), None);
            let slot = tenant.slot(tenant.series(&encoded));
            let at = tenant.slots().position(|own| own == slot).unwrap();
            assert_eq!(owner(&bare), told.owners[at].map(usize::from));
        }
        let spread = |with: &str| {
            (0..50).map(|n| owner(&[("a", with), ("r", &n.to_string())])).collect::<Vec<_>>()
        };
        assert!(spread("1").windows(2).any(|pair| pair[0] != pair[1]), "no cluster, no replica");
    }
}
