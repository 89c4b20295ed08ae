//! What an owner knows of the series that are pushed to it: of each the newest sample, so that what
//! comes again is told from what comes late, and the round it is in. Pure.
//!
//! A request to a destination has at most one sample of a series, and rounds are how the outbox keeps
//! to that: records of one round of a stream hold different series and may leave together, those of
//! two may not. So a series that has its sample in the round already begins the next.

use hashbrown::HashMap;

use crate::{
    gateway::{
        parcel::{Kind, Piece, Unwanted},
        series_map::SeriesMap,
    },
    model::{
        identity::SeriesKey,
        slot::{Slot, StreamKey},
    },
    ownership::shares::filed_under_ms,
};

/// Series that are known at once, of all tenants; each takes some 50 bytes. Of one more nothing is
/// taken until others were silent for long enough.
const SERIES_MAX: usize = 1 << 24;
/// A series whose newest sample is older by so much is forgotten.
const SILENT_MS_MAX: i64 = 3_600_000;

#[derive(Debug, Default)]
pub struct Ledger {
    slots: HashMap<Slot, SlotLedger>,
    series: usize,
    /// Of them, those of each tenant.
    of_tenants: HashMap<TenantOfStream, usize>,
    /// How things were before what is not settled yet; the last first.
    undo: Vec<Change>,
}

#[derive(Debug, Default)]
struct SlotLedger {
    /// Of each stream the round that is filled.
    rounds: HashMap<StreamKey, i64>,
    series: SeriesMap<Last>,
    /// The ownership that the last samples were filed under.
    filed_ms: Option<i64>,
}

/// A series, and what was known of it before.
type Change = (StreamKey, SeriesKey, Option<Last>);

/// What the streams of one tenant have in common.
type TenantOfStream = u64;

/// What hangs on the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// So much older than the newest may a sample be that a destination still takes.
    pub late_ms_max: i64,
    /// Of the tenant, here; 0 is no limit.
    pub series_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    newest_ms: i64,
    digest: u64,
    round: i64,
    tenant: TenantOfStream,
}

/// What becomes of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It is taken, in this round of its stream.
    Taken {
        round: i64,
    },
    /// It was taken before.
    Repeat,
    Unwanted(Unwanted),
    /// There are more series than can be known.
    Full,
}

/// What is known of one stream, for a run of its samples.
#[derive(Debug)]
pub struct StreamLedger<'a> {
    stream: StreamKey,
    bounds: Bounds,
    now_ms: i64,
    /// That is filled.
    round: &'a mut i64,
    slot_series: &'a mut SeriesMap<Last>,
    filed_ms: &'a mut Option<i64>,
    /// Of all streams.
    series: &'a mut usize,
    of_tenants: &'a mut HashMap<TenantOfStream, usize>,
    undo: &'a mut Vec<Change>,
}

impl StreamLedger<'_> {
    pub fn judge(&mut self, piece: &Piece) -> Judged {
        let Bounds { late_ms_max, series_max } = self.bounds;
        match piece.kind {
            Kind::Float | Kind::Histogram => {}
            // They have no order among themselves, and who gets one twice keeps one.
            Kind::Exemplars => return Judged::Taken { round: *self.round },
        }
        let key = SeriesKey(piece.series);
        let (newest_ms, digest) = (piece.timestamp_ms, piece.digest);
        let Some(known) = self.slot_series.get_mut(key) else {
            if *self.series >= SERIES_MAX {
                return Judged::Full;
            }
            let tenant = tenant_of(self.stream);
            let of_tenant = self.of_tenants.entry(tenant).or_default();
            if series_max > 0 && *of_tenant >= series_max {
                return Judged::Unwanted(Unwanted::Limit);
            }
            *of_tenant += 1;
            *self.series += 1;
            self.slot_series.add(key, Last { newest_ms, digest, round: *self.round, tenant });
            self.undo.push((self.stream, key, None));
            return Judged::Taken { round: *self.round };
        };
        let last = *known;
        if newest_ms == last.newest_ms {
            let is_same = digest == last.digest;
            return if is_same { Judged::Repeat } else { Judged::Unwanted(Unwanted::Conflict) };
        }
        if last.newest_ms.saturating_sub(newest_ms) > late_ms_max.max(0) {
            return Judged::Unwanted(Unwanted::Late);
        }
        if last.round >= *self.round {
            *self.round = last.round.saturating_add(1).max(self.now_ms);
        }
        if newest_ms > last.newest_ms {
            (known.newest_ms, known.digest) = (newest_ms, digest);
        }
        known.round = *self.round;
        self.undo.push((self.stream, key, Some(last)));
        Judged::Taken { round: *self.round }
    }

    /// What is taken now is filed under, in a slot that is this member's since `from_ms`.
    pub fn file_under(&mut self, from_ms: i64) -> i64 {
        *self.filed_ms.insert(filed_under_ms(from_ms, *self.filed_ms))
    }

    /// Whether this very sample is the newest of its series.
    pub fn is_newest(&self, piece: &Piece) -> bool {
        let last = self.slot_series.get(SeriesKey(piece.series));
        last.is_some_and(|last| (last.newest_ms, last.digest) == (piece.timestamp_ms, piece.digest))
    }
}

impl Ledger {
    pub fn stream(&mut self, stream: StreamKey, bounds: Bounds, now_ms: i64) -> StreamLedger<'_> {
        let own = self.slots.entry(stream.slot()).or_default();
        let round = own.rounds.entry(stream).or_insert(now_ms);
        StreamLedger {
            stream,
            bounds,
            now_ms,
            round,
            slot_series: &mut own.series,
            filed_ms: &mut own.filed_ms,
            series: &mut self.series,
            of_tenants: &mut self.of_tenants,
            undo: &mut self.undo,
        }
    }

    /// What was taken is kept.
    pub fn settle(&mut self) {
        self.undo.clear();
    }

    /// Where `take_back_to` may lead back to, until things are settled.
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    /// What was taken since things were settled is not kept: it may come again, and is new then.
    pub fn take_back(&mut self) {
        self.take_back_to(0);
    }

    /// The same of what was taken since the mark.
    pub fn take_back_to(&mut self, mark: usize) {
        while self.undo.len() > mark
            && let Some((stream, key, before)) = self.undo.pop()
        {
            let Some(ledger) = self.slots.get_mut(&stream.slot()) else { continue };
            match before {
                Some(last) => {
                    if let Some(known) = ledger.series.get_mut(key) {
                        *known = last;
                    }
                }
                None if ledger.series.remove(key).is_some() => self.gone(tenant_of(stream)),
                None => {}
            }
        }
    }

    /// The slot is another's: what is known here would be old when it comes back.
    pub fn forget(&mut self, slot: Slot) {
        if let Some(ledger) = self.slots.remove(&slot) {
            for last in ledger.series.values() {
                self.gone(last.tenant);
            }
        }
    }

    /// Forgets the series of a slot that have been silent for long.
    pub fn sweep(&mut self, slot: Slot, now_ms: i64) {
        let Some(ledger) = self.slots.get_mut(&slot) else { return };
        let is_silent = |last: &Last| now_ms - last.newest_ms > SILENT_MS_MAX;
        let silent = ledger.series.extract_if(is_silent);
        if ledger.series.is_empty() {
            self.slots.remove(&slot);
        }
        for last in silent {
            self.gone(last.tenant);
        }
    }

    /// Series that are known.
    pub fn series(&self) -> usize {
        self.series
    }

    fn gone(&mut self, tenant: TenantOfStream) {
        self.series -= 1;
        if let Some(of_tenant) = self.of_tenants.get_mut(&tenant) {
            *of_tenant -= 1;
            if *of_tenant == 0 {
                self.of_tenants.remove(&tenant);
            }
        }
    }
}

fn tenant_of(stream: StreamKey) -> TenantOfStream {
    stream.0 << 12 >> 12
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamKey = StreamKey(7 << 52 | 5);

    fn piece(series: u64, timestamp_ms: i64, value: f64) -> Piece {
        Piece {
            series,
            digest: value.to_bits(),
            timestamp_ms,
            bytes: 0,
            kind: Kind::Float,
            is_plain: true,
            replica: 0,
        }
    }

    fn judge(ledger: &mut Ledger, series: u64, timestamp_ms: i64, value: f64) -> Judged {
        let bounds = Bounds { late_ms_max: 0, series_max: 0 };
        ledger.stream(STREAM, bounds, 1_000).judge(&piece(series, timestamp_ms, value))
    }

    #[test]
    fn a_series_goes_forward_and_no_sample_twice() {
        let mut ledger = Ledger::default();
        for (series, timestamp_ms, value, expected) in [
            (1, 100, 1.0, Judged::Taken { round: 1_000 }),
            (2, 50, 1.0, Judged::Taken { round: 1_000 }),
            (1, 100, 1.0, Judged::Repeat),
            (1, 100, 2.0, Judged::Unwanted(Unwanted::Conflict)),
            (1, 99, 1.0, Judged::Unwanted(Unwanted::Late)),
            (1, 101, 1.0, Judged::Taken { round: 1_001 }),
            // It was in the round before, and there is room for it in this one.
            (2, 51, 1.0, Judged::Taken { round: 1_001 }),
            (3, 1, f64::NAN, Judged::Taken { round: 1_001 }),
            (3, 1, f64::NAN, Judged::Repeat),
        ] {
            let judged = judge(&mut ledger, series, timestamp_ms, value);
            assert_eq!(judged, expected, "{series} {timestamp_ms} {value}");
        }
        assert_eq!(ledger.series(), 3);
    }

    #[test]
    fn what_a_destination_takes_late_is_taken_and_moves_nothing_back() {
        let mut ledger = Ledger::default();
        let bounds = Bounds { late_ms_max: 10, series_max: 0 };
        let mut judge =
            |timestamp_ms| ledger.stream(STREAM, bounds, 5).judge(&piece(1, timestamp_ms, 1.0));
        assert_eq!(judge(100), Judged::Taken { round: 5 });
        assert_eq!(judge(90), Judged::Taken { round: 6 });
        assert_eq!(judge(89), Judged::Unwanted(Unwanted::Late));
        assert_eq!(judge(100), Judged::Repeat);
    }

    #[test]
    fn what_was_not_kept_may_come_again() {
        let mut ledger = Ledger::default();
        judge(&mut ledger, 1, 100, 1.0);
        ledger.settle();
        judge(&mut ledger, 1, 101, 1.0);
        judge(&mut ledger, 1, 102, 1.0);
        judge(&mut ledger, 2, 101, 1.0);
        let mark = ledger.mark();
        judge(&mut ledger, 1, 103, 1.0);
        judge(&mut ledger, 3, 103, 1.0);
        ledger.take_back_to(mark);
        assert_eq!(ledger.series(), 2);
        assert_eq!(judge(&mut ledger, 1, 102, 1.0), Judged::Repeat);
        ledger.take_back();
        assert_eq!(ledger.series(), 1);
        assert_eq!(judge(&mut ledger, 1, 100, 1.0), Judged::Repeat);
        for series in [1, 2] {
            let judged = judge(&mut ledger, series, 101, 1.0);
            assert!(matches!(judged, Judged::Taken { .. }), "{judged:?}");
        }
    }

    #[test]
    fn series_that_are_silent_are_forgotten() {
        let mut ledger = Ledger::default();
        judge(&mut ledger, 1, 0, 1.0);
        judge(&mut ledger, 2, 10, 1.0);
        ledger.sweep(STREAM.slot(), SILENT_MS_MAX + 5);
        assert_eq!(ledger.series(), 1);
        ledger.forget(STREAM.slot());
        assert_eq!(ledger.series(), 0);
        assert!(matches!(judge(&mut ledger, 1, 0, 1.0), Judged::Taken { .. }));
    }

    #[test]
    fn of_a_tenant_so_many_series_are_known() {
        let mut ledger = Ledger::default();
        let other = StreamKey(7 << 52 | 6);
        let bounds = Bounds { late_ms_max: 0, series_max: 2 };
        let mut judge = |stream, series, timestamp_ms| {
            ledger.stream(stream, bounds, 1_000).judge(&piece(series, timestamp_ms, 1.0))
        };
        for series in [1, 2] {
            assert!(matches!(judge(STREAM, series, 0), Judged::Taken { .. }));
        }
        assert_eq!(judge(STREAM, 3, 0), Judged::Unwanted(Unwanted::Limit));
        // Those that are known go on, and another tenant has its own.
        assert!(matches!(judge(STREAM, 2, 1), Judged::Taken { .. }));
        assert!(matches!(judge(other, 3, 0), Judged::Taken { .. }));
        ledger.sweep(STREAM.slot(), SILENT_MS_MAX + 1);
        let judged = ledger.stream(STREAM, bounds, 1_000).judge(&piece(3, 5, 1.0));
        assert!(matches!(judged, Judged::Taken { .. }), "one was silent: {judged:?}");
    }

    #[test]
    fn a_series_takes_40_bytes() {
        assert_eq!(size_of::<(SeriesKey, Last)>(), 40);
    }
}
