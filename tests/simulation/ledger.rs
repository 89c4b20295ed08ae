//! Who would have done which tick: each node, when its own fleet time reaches a tick, looks in its
//! own roster for the owner of each slot. What none did or two did is judged from outside.

use std::collections::BTreeMap;

use starling::{
    fleet::standing::Standing,
    model::{
        member::{NodeId, Roster},
        overrides::Overrides,
        slot::Slot,
    },
    ownership::placement,
};

use crate::world::World;

pub(crate) const TICK_MS: i64 = 100;
const SLOTS: usize = 32;

type Scales = Vec<(NodeId, u32)>;

#[derive(Default)]
pub(crate) struct Ledger {
    done: BTreeMap<i64, [u8; SLOTS]>,
    /// The last tick that each host looked at, and the life it did so in.
    looked: BTreeMap<usize, (u64, i64)>,
    /// Who owns what among such active members, of such weights.
    owners: BTreeMap<Scales, [NodeId; SLOTS]>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// The longest run of ticks that nobody did, of the slot where it was longest, in ms.
    pub(crate) missed_ms: i64,
    /// Likewise those that more than one did.
    pub(crate) doubled_ms: i64,
}

impl Ledger {
    /// Lets `for_ms` pass and writes down what is done meanwhile.
    pub(crate) fn run(&mut self, world: &mut World, for_ms: u64) {
        for _ in 0..for_ms.div_ceil(20) {
            world.run(20, |_| {});
            self.look(world);
        }
    }

    fn look(&mut self, world: &World) {
        for n in 0..world.hosts.len() {
            let host = &world.hosts[n];
            let Some(node) = host.node.as_ref().filter(|_| !world.is_hung(n)) else { continue };
            let tick = world.fleet_ms(n).div_euclid(TICK_MS) * TICK_MS;
            let standing = node.membership.standing();
            if !matches!(standing, Standing::Active { .. } | Standing::Leaving { .. }) {
                self.looked.remove(&n);
                continue;
            }
            let (life, last) = *self.looked.get(&n).unwrap_or(&(host.born_us, tick));
            // A new process begins with its first tick; one that is late does what it is late with.
            let begin = if life == host.born_us { last } else { tick };
            self.looked.insert(n, (host.born_us, tick.max(begin)));
            let roster = node.membership.roster(0);
            let mut at = begin + TICK_MS;
            while at <= tick {
                let active: Scales =
                    roster.active_at(at).map(|member| (member.id, member.weight)).collect();
                let done = self.done.entry(at).or_default();
                if !active.is_empty() {
                    let owners = self.owners.entry(active).or_insert_with(|| owners(&roster, at));
                    for (slot, owner) in owners.iter().enumerate() {
                        done[slot] += u8::from(*owner == host.id);
                    }
                }
                at += TICK_MS;
            }
        }
    }

    /// Of the ticks from `from_ms` to before `until_ms`, in fleet time.
    pub(crate) fn judge(&self, from_ms: i64, until_ms: i64) -> Judgement {
        let mut judgement = Judgement::default();
        let nothing = [0; SLOTS];
        for slot in 0..SLOTS {
            let (mut missed_ms, mut doubled_ms) = (0, 0);
            let mut at = (from_ms + TICK_MS - 1).div_euclid(TICK_MS) * TICK_MS;
            while at < until_ms {
                let count = self.done.get(&at).unwrap_or(&nothing)[slot];
                missed_ms = if count == 0 { missed_ms + TICK_MS } else { 0 };
                doubled_ms = if count > 1 { doubled_ms + TICK_MS } else { 0 };
                judgement.missed_ms = judgement.missed_ms.max(missed_ms);
                judgement.doubled_ms = judgement.doubled_ms.max(doubled_ms);
                at += TICK_MS;
            }
        }
        judgement
    }
}

fn owners(roster: &Roster, at_ms: i64) -> [NodeId; SLOTS] {
    std::array::from_fn(|n| {
        let slot = Slot::new(u16::try_from(n).unwrap()).unwrap();
        placement::owner(slot, at_ms, roster, &Overrides::default()).unwrap()
    })
}
