//! What an owner takes of a parcel, and where in its queue it goes. Pure.

use hashbrown::HashMap;

use crate::{
    gateway::{
        ledger::{Bounds, Judged, Ledger},
        parcel::{Exceptions, Kind, Parcel, Piece, Refusal, Replica, Unwanted},
        replicas::{Election, Verdict},
    },
    model::{
        identity::{SeriesKey, TENANT_SLOTS, TenantKey},
        slot::{Slot, StreamKey},
    },
    ownership::shares::Shares,
};

/// A slot that ends within so long is not this member's any more, while its next owner takes nothing
/// before that: two pushes of a series that follow each other through two members, whose clocks are
/// not quite the same, must not reach the next owner first.
const BORDER_MS: i64 = 50;

/// What the taking hangs on at one moment.
pub struct Terms<'a> {
    pub shares: &'a Shares,
    /// `None`: this member has no rules that could differ from the sender's.
    pub pipeline: Option<u64>,
    /// For the parcel's tenant.
    pub bounds: Bounds,
    /// Nobody waits for the answer from then on (fleet time): what was in the parcel has been pushed
    /// again, and newer samples may have been taken elsewhere.
    pub until_ms: i64,
    /// Fleet time.
    pub now_ms: i64,
}

/// A piece that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub stream: StreamKey,
    pub round: i64,
    /// When the ownership began that it falls into.
    pub since_ms: i64,
    /// Which parcel of the group it is of.
    pub parcel: u32,
    /// Where its field begins in the parcel.
    pub start: u32,
    pub bytes: u32,
    pub timestamp_ms: i64,
    pub is_plain: bool,
}

/// What an owner knows of what was pushed before.
#[derive(Debug)]
pub struct Memory {
    pub ledger: Ledger,
    pub election: Election,
}

/// Samples that are not taken, and need not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// They were taken before.
    pub repeats: u64,
    /// Another replica is elected.
    pub of_other_replicas: u64,
}

/// Since when a slot is this member's, if it is, and is for a while.
pub fn mine_since_ms(shares: &Shares, slot: Slot, now_ms: i64) -> Option<i64> {
    let duty = shares.of(slot).iter().find(|duty| duty.contains(now_ms))?;
    duty.until_ms.is_none_or(|until_ms| until_ms - now_ms > BORDER_MS).then_some(duty.from_ms)
}

/// This member's part of what all of them may know of a tenant, where 0 is no limit: as much as it has
/// of the tenant's slots.
pub fn part_of(series_max: usize, tenant: &str, shares: &Shares, now_ms: i64) -> usize {
    if series_max == 0 {
        return 0;
    }
    let slots = TenantKey::of(tenant).slots();
    let (all, mine) = slots.fold((0, 0), |(all, mine), slot| {
        (all + 1, mine + usize::from(mine_since_ms(shares, slot, now_ms).is_some()))
    });
    series_max.saturating_mul(mine).div_ceil(all).max(1)
}

/// Adds to `taken` what is taken of the parcel, the one of that number in its group. What the ledger
/// has noted is to be settled or taken back with the group.
///
/// # Errors
/// Why nothing of it is.
pub fn take(
    parcel: &Parcel,
    number: u32,
    terms: &Terms<'_>,
    memory: &mut Memory,
    taken: &mut Vec<Taken>,
) -> Result<(Exceptions, PassedOver), Refusal> {
    if terms.until_ms <= terms.now_ms {
        return Err(Refusal::NotNow);
    }
    if terms.pipeline.is_some_and(|pipeline| pipeline != parcel.pipeline) {
        return Err(Refusal::OtherPipeline);
    }
    let tenant = TenantKey::of(&parcel.tenant);
    let Memory { ledger, election } = memory;
    let mut elected = vec![None; parcel.replicas.len()];
    let mut exceptions = Exceptions::default();
    let mut passed_over = PassedOver::default();
    let mut lasts = Lasts::default();
    for located in by_slot(parcel).chunk_by(|one, next| one.slot_place == next.slot_place) {
        let slot = located[0].piece.slot(tenant);
        let Some(from_ms) = mine_since_ms(terms.shares, slot, terms.now_ms) else {
            exceptions.elsewhere.push(slot);
            continue;
        };
        let stream = tenant.stream(slot);
        let mut known = ledger.stream(stream, terms.bounds, terms.now_ms);
        for Located { piece, place, start, .. } in located {
            if !is_elected(parcel, piece, &mut elected, election, terms.now_ms) {
                passed_over.of_other_replicas += 1;
                continue;
            }
            match known.judge(piece) {
                Judged::Taken { round } => taken.push(Taken {
                    stream,
                    round,
                    since_ms: known.file_under(from_ms),
                    parcel: number,
                    start: *start,
                    bytes: piece.bytes,
                    timestamp_ms: piece.timestamp_ms,
                    is_plain: piece.is_plain,
                }),
                Judged::Repeat => passed_over.repeats += 1,
                Judged::Unwanted(Unwanted::Late)
                    if lasts.is_led_on(parcel, piece, |last| known.is_newest(last)) =>
                {
                    passed_over.repeats += 1;
                }
                Judged::Unwanted(why) => exceptions.unwanted.push((*place, why)),
                Judged::Full => return Err(Refusal::Full),
            }
        }
    }
    exceptions.unwanted.sort_unstable();
    Ok((exceptions, passed_over))
}

/// A piece in its parcel.
#[derive(Clone, Copy)]
struct Located<'a> {
    /// Of its slot among those of the tenant.
    slot_place: usize,
    piece: &'a Piece,
    place: u32,
    /// Of its field.
    start: u32,
}

/// Those of one slot behind each other, in the order in which they came: what is known of a slot is
/// looked for once.
fn by_slot(parcel: &Parcel) -> Vec<Located<'_>> {
    let mut ends = [0; TENANT_SLOTS];
    let slot_place = |piece: &Piece| SeriesKey(piece.series).place_of_slot();
    for piece in &parcel.pieces {
        ends[slot_place(piece)] += 1;
    }
    let mut next = 0;
    for end in &mut ends {
        next += std::mem::replace(end, next);
    }
    let Some(first) = parcel.pieces.first() else { return Vec::new() };
    let mut all = vec![Located { slot_place: 0, piece: first, place: 0, start: 0 }; next];
    let mut start = 0;
    for (place, piece) in (0..).zip(&parcel.pieces) {
        let slot_place = slot_place(piece);
        all[ends[slot_place]] = Located { slot_place, piece, place, start };
        ends[slot_place] += 1;
        start += piece.bytes;
    }
    all
}

/// Those of one batch behind each other, in the order in which they came.
pub fn by_batch(taken: &[Taken]) -> impl Iterator<Item = &Taken> {
    let mut order: Vec<(StreamKey, i64, u32)> =
        (0..).zip(taken).map(|(place, one)| (one.stream, one.round, place)).collect();
    // Each parcel's are in order already.
    order.sort();
    order.into_iter().map(|(_, _, place)| &taken[place as usize])
}

/// Of each series the last sample in a parcel; looked for when it is first asked for, as mostly nothing
/// is late.
#[derive(Default)]
struct Lasts<'a>(Option<HashMap<u64, &'a Piece>>);

impl<'a> Lasts<'a> {
    /// A sample that is older than the newest, in a parcel that leads on to just that one, came with it
    /// before: clients that have to catch up push several samples of a series at once, and repeat them
    /// at once.
    fn is_led_on(
        &mut self,
        parcel: &'a Parcel,
        piece: &Piece,
        is_newest: impl FnOnce(&Piece) -> bool,
    ) -> bool {
        let lasts = self.0.get_or_insert_with(|| {
            let samples = parcel.pieces.iter().filter(|one| one.kind != Kind::Exemplars);
            samples.map(|one| (one.series, one)).collect()
        });
        lasts.get(&piece.series).is_some_and(|last| is_newest(last))
    }
}

/// Whether the sample is of no replica, or of the one that is elected; `elected` has what was found of
/// each in this parcel.
fn is_elected(
    parcel: &Parcel,
    piece: &Piece,
    elected: &mut [Option<bool>],
    election: &mut Election,
    now_ms: i64,
) -> bool {
    let Some(Replica { cluster, replica }) = parcel.replica_of(piece) else { return true };
    let known = &mut elected[usize::from(piece.replica) - 1];
    *known.get_or_insert_with(|| {
        let now_ms = u64::try_from(now_ms).unwrap_or(0);
        election.judge(&parcel.tenant, cluster, replica, now_ms) == Verdict::Take
    })
}

#[cfg(test)]
mod tests;
