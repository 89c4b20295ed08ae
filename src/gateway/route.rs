//! Where the pieces of a push go: each to the owner of its slot, as far as this member knows. Pure.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::{
    gateway::parcel::{FIELDS_BYTES_MAX, PIECES_MAX, Parcel},
    model::{identity::TenantKey, member::NodeId, slot::Slot},
    ownership::placement::Table,
};

/// A parcel for one owner, and which pieces of the whole push it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub parcel: Parcel,
    /// Their places in the push, in the order of the parcel.
    pub places: Vec<u32>,
}

/// Those whose owner is not known stay together, at the end.
#[derive(Debug, Default, PartialEq)]
pub struct Split {
    pub parts: Vec<(NodeId, Part)>,
    pub unowned: Vec<u32>,
}

/// Splits the pieces of `push` at `places`, or all of them.
pub fn split(push: &Parcel, places: Option<&[u32]>, owners: &Table) -> Split {
    let tenant = TenantKey::of(&push.tenant);
    let wanted = |place: u32| places.is_none_or(|places| places.binary_search(&place).is_ok());
    let mut split = Split::default();
    if places.is_none()
        && let Some(owner) = only_owner(push, tenant, owners)
    {
        let places = (0..).zip(&push.pieces).map(|(place, _)| place).collect();
        split.parts.push((owner, Part { parcel: push.clone(), places }));
        return split;
    }
    let mut growing: BTreeMap<NodeId, Growing> = BTreeMap::new();
    for (place, (piece, field)) in (0..).zip(push.iter()) {
        if !wanted(place) {
            continue;
        }
        let slot = piece.slot(tenant);
        let Some(owner) = owners.owner(slot) else {
            split.unowned.push(place);
            continue;
        };
        let own = growing.entry(owner).or_default();
        if own.is_full(field.len()) {
            split.parts.push((owner, std::mem::take(own).sealed(push)));
        }
        own.pieces.push(*piece);
        own.fields.extend_from_slice(field);
        own.places.push(place);
    }
    split.parts.extend(growing.into_iter().map(|(owner, own)| (owner, own.sealed(push))));
    split
}

/// Of a push that may go as it is.
fn only_owner(push: &Parcel, tenant: TenantKey, owners: &Table) -> Option<NodeId> {
    if push.fields.len() > FIELDS_BYTES_MAX || push.pieces.len() > PIECES_MAX {
        return None;
    }
    let mut of_pieces = push.pieces.iter().map(|piece| owners.owner(piece.slot(tenant)));
    let first = of_pieces.next()??;
    of_pieces.all(|owner| owner == Some(first)).then_some(first)
}

/// The places in the push of those pieces of a part that lie in one of these slots.
pub fn places_in(part: &Part, slots: &[Slot]) -> Vec<u32> {
    let tenant = TenantKey::of(&part.parcel.tenant);
    let is_in = |at: usize| slots.contains(&part.parcel.pieces[at].slot(tenant));
    (0..part.places.len()).filter(|at| is_in(*at)).map(|at| part.places[at]).collect()
}

#[derive(Default)]
struct Growing {
    pieces: Vec<crate::gateway::parcel::Piece>,
    fields: BytesMut,
    places: Vec<u32>,
}

impl Growing {
    fn is_full(&self, bytes: usize) -> bool {
        !self.pieces.is_empty()
            && (self.fields.len() + bytes > FIELDS_BYTES_MAX || self.pieces.len() >= PIECES_MAX)
    }

    fn sealed(self, push: &Parcel) -> Part {
        let Self { pieces, fields, places } = self;
        let parcel = Parcel {
            tenant: push.tenant.clone(),
            pipeline: push.pipeline,
            promise: push.promise,
            replicas: push.replicas.clone(),
            pieces,
            fields: Bytes::from(fields),
        };
        Part { parcel, places }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;
    use crate::{
        gateway::parcel::{Kind, Piece, Promise},
        model::{
            member::{Interval, Member, MemberState, Roster},
            overrides::Overrides,
        },
    };

    fn roster(ids: &[u128]) -> Roster {
        let member = |id: &u128| {
            let member = Member {
                id: NodeId(*id),
                name: format!("m{id}"),
                api_address: String::new(),
                weight: 100,
                zone: String::new(),
                state: MemberState::Alive,
                intervals: vec![Interval { from_ms: 0, until_ms: None }],
            };
            (NodeId(*id), member)
        };
        Roster { version: 1, members: ids.iter().map(member).collect() }
    }

    fn table(ids: &[u128]) -> Table {
        Table::new(1, &roster(ids), &Overrides::default())
    }

    /// Of series with these hashes; each has its place as its field.
    fn push(series: impl Iterator<Item = u64>, bytes: usize) -> Parcel {
        let piece = |series| Piece {
            series,
            digest: 0,
            timestamp_ms: 0,
            bytes: u32::try_from(bytes).unwrap(),
            kind: Kind::Float,
            is_plain: true,
            replica: 0,
        };
        let pieces: Vec<Piece> = series.map(piece).collect();
        let field = |at: usize| vec![u8::try_from(at % 251).unwrap(); bytes];
        let fields: Vec<u8> = (0..pieces.len()).flat_map(field).collect();
        Parcel {
            tenant: Arc::from("t"),
            pipeline: 7,
            promise: Promise::Durable,
            replicas: Vec::new(),
            pieces,
            fields: fields.into(),
        }
    }

    fn spread(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn each_piece_goes_to_the_owner_of_its_slot_with_its_field() {
        let (push, table) = (push(spread(500), 3), table(&[1, 2, 3]));
        let split = split(&push, None, &table);
        assert_eq!((split.parts.len(), &split.unowned), (3, &vec![]));
        let mut seen = BTreeSet::new();
        for (owner, part) in &split.parts {
            assert!(part.parcel.is_sound());
            for ((piece, field), place) in part.parcel.iter().zip(&part.places) {
                let slot = piece.slot(TenantKey::of("t"));
                assert_eq!(table.owner(slot), Some(*owner));
                assert_eq!(field, vec![u8::try_from(place % 251).unwrap(); 3]);
                assert!(seen.insert(*place));
            }
        }
        assert_eq!(seen.len(), 500);
    }

    #[test]
    fn what_is_split_again_is_what_is_asked_for() {
        let push = push(spread(100), 1);
        let first = split(&push, None, &table(&[1, 2]));
        let (_, part) = &first.parts[0];
        let slots: Vec<Slot> =
            part.parcel.pieces.iter().map(|p| p.slot(TenantKey::of("t"))).take(3).collect();
        let places = places_in(part, &slots);
        assert!(places.len() >= 3 && places.len() < part.places.len(), "{places:?}");
        let again = split(&push, Some(&places), &table(&[3]));
        let [(owner, moved)] = &*again.parts else { panic!("{again:?}") };
        assert_eq!((*owner, &moved.places), (NodeId(3), &places));
        assert_eq!(split(&push, Some(&places), &table(&[])).unowned, places);
    }

    #[test]
    fn a_parcel_is_bounded() {
        let large = push(spread(40), FIELDS_BYTES_MAX / 8);
        let parts = split(&large, None, &table(&[1])).parts;
        let sizes: Vec<usize> = parts.iter().map(|(_, part)| part.parcel.fields.len()).collect();
        assert_eq!(sizes.len(), 5);
        assert!(sizes.iter().all(|bytes| *bytes <= FIELDS_BYTES_MAX), "{sizes:?}");
        let many = push(spread(40_000), 1);
        assert_eq!(split(&many, None, &table(&[1])).parts.len(), 3);
        let huge = push(spread(2), FIELDS_BYTES_MAX + 1);
        assert_eq!(split(&huge, None, &table(&[1])).parts.len(), 2, "one at least");
    }
}
