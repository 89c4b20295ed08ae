//! What a pushed series is known by: its key, its slot and the stream it leaves in. The same on every
//! host and in every version, as all members must name the same owner. Pure.
//!
//! A tenant's series lie in 128 of the 4,096 slots, which the series' hash and the tenant's choose
//! together. In all slots, a push of some hundred series would become as many records with a sample
//! each; in fewer, three members could not share a tenant evenly.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::model::slot::{Slot, StreamKey};

/// Of a slot's 12 bits, those that the series chooses; the others are the tenant's.
const SERIES_BITS: u32 = 7;
const SLOT_BITS: u32 = 12;
/// That a tenant's series may lie in.
pub const TENANT_SLOTS: usize = 1 << SERIES_BITS;

/// A tenant, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantKey(u64);

/// A hash of the outgoing labels of one tenant's series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey(pub u64);

impl SeriesKey {
    /// The place of its slot among those of its tenant, as `slots` has them.
    pub fn place_of_slot(self) -> usize {
        usize::try_from(self.0 >> (64 - SERIES_BITS)).expect("there are 128")
    }
}

impl TenantKey {
    pub fn of(tenant: &str) -> Self {
        Self(xxh3_64(tenant.as_bytes()))
    }

    /// Of labels in order of their names, as remote write 1.0 encodes the fields of a series.
    pub fn series(self, labels: &[u8]) -> SeriesKey {
        SeriesKey(xxh3_64_with_seed(labels, self.0))
    }

    pub fn slot(self, series: SeriesKey) -> Slot {
        let of_tenant = self.0 >> (64 - (SLOT_BITS - SERIES_BITS));
        let number = (series.0 >> (64 - SERIES_BITS)) << (SLOT_BITS - SERIES_BITS) | of_tenant;
        let number = u16::try_from(number).expect("it has 12 bits");
        Slot::new(number).expect("there are as many slots")
    }

    /// All slots that this tenant's series may lie in.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        let first_bits = (0_u64..1 << SERIES_BITS).map(|bits| bits << (64 - SERIES_BITS));
        first_bits.map(move |bits| self.slot(SeriesKey(bits)))
    }

    /// All that this tenant has in that slot.
    pub fn stream(self, slot: Slot) -> StreamKey {
        StreamKey(u64::from(slot.number()) << (64 - SLOT_BITS) | self.0 >> SLOT_BITS)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::remote_write::encode_pushed_labels;

    fn series(tenant: &str, labels: &[(&str, &str)]) -> SeriesKey {
        let mut encoded = Vec::new();
        encode_pushed_labels(&mut encoded, labels.iter().copied(), None);
        TenantKey::of(tenant).series(&encoded)
    }

    #[test]
    fn a_series_is_its_tenant_and_its_labels() {
        let one = series("a", &[("__name__", "up"), ("job", "x")]);
        assert_eq!(one, series("a", &[("__name__", "up"), ("job", "x")]));
        for (tenant, labels) in [
            ("b", &[("__name__", "up"), ("job", "x")][..]),
            ("a", &[("__name__", "up"), ("job", "")]),
            ("a", &[("__name__", "upj"), ("ob", "x")]),
            ("a", &[("__name__", "up")]),
        ] {
            assert_ne!(one, series(tenant, labels), "{tenant} {labels:?}");
        }
    }

    /// These numbers are what members of all versions agree on.
    #[test]
    fn a_key_and_its_slot_never_change() {
        let tenant = TenantKey::of("team-a");
        let key = series("team-a", &[("__name__", "up"), ("job", "node")]);
        assert_eq!(key, SeriesKey(9_228_403_896_255_765_456));
        let slot = tenant.slot(key);
        assert_eq!((slot.number(), tenant.stream(slot).0), (2_064, 9_297_726_123_936_502_832));
    }

    #[test]
    fn a_tenant_has_128_slots_and_a_stream_in_each() {
        for name in ["", "team-a", "team-b"] {
            let tenant = TenantKey::of(name);
            let keys = (0..20_000).map(|n| series(name, &[("n", &n.to_string())]));
            let slots: BTreeSet<Slot> = keys.map(|key| tenant.slot(key)).collect();
            assert_eq!(slots, tenant.slots().collect(), "{name}");
            assert_eq!(slots.len(), 128, "{name}");
            for slot in slots {
                assert_eq!(tenant.stream(slot).slot(), slot);
                assert_ne!(tenant.stream(slot), TenantKey::of("another").stream(slot));
            }
        }
    }
}
