//! A record of the outbox as it lies on disk, and how the good ones are found among damage. Pure:
//! `log` brings the bytes.
//!
//! ```text
//! magic 4 | length 4 | crc32c 4 | sequence 8 | appended_ms 8 | stream 8 | round 8 | oldest_ms 8
//!         | samples 4 | raw_length 4 | signal 1 | tenant length 2
//!         | flags 1 | interval_ms 8 | node 16 | sequence at that node 8 | tenant | batch
//! ```
//! Little endian. `length` counts what follows the checksum; the checksum covers it and `length`.
//! Of the flags, 1 is for what is divided, 2 for what was pushed and 4 for a copy. The name's three
//! fields are zero where it is not divided. Of a copy its owner (16) and its number there (8) follow the
//! name.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;

use crate::model::{
    batch::{Batch, Signal},
    member::NodeId,
    record::{Original, RecordName},
    slot::StreamKey,
};

/// The first byte is in no UTF-8 text, so no label brings the magic into a batch by accident.
const MAGIC: [u8; 4] = *b"\xf5Stm";
const PREFIX_BYTES: usize = 12;
const HEAD_BYTES: usize = 84;
const ORIGINAL_BYTES: usize = 24;
const DIVIDED: u8 = 1;
const PUSHED: u8 = 2;
const COPY: u8 = 4;
/// What a frame has besides the tenant and the batch.
pub const FRAME_OVERHEAD_BYTES: usize = PREFIX_BYTES + HEAD_BYTES;
/// A larger record is not written, and a larger length is taken for damage.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// How many bytes may be checked in search of the next good frame, for each byte of the segment;
/// what is left then counts as damaged. Without it a body made of magics costs the square.
const SEARCH_PASSES_MAX: usize = 8;
/// No honest writer comes near it, and beyond it there would be no next number.
const SEQUENCE_MAX: u64 = 1 << 62;

/// A batch with its place in the order of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Rises by one with each record of a destination, and is never used again.
    pub sequence: u64,
    pub appended_ms: i64,
    /// Of a divided batch, whoever made it; its interval is the batch's `since_ms`.
    pub name: Option<RecordName>,
    /// It is another member's, which has it too.
    pub copy_of: Option<Original>,
    pub batch: Batch,
}

/// A record read in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame<'a> {
    pub sequence: u64,
    pub appended_ms: i64,
    pub name: Option<RecordName>,
    pub copy_of: Option<Original>,
    pub pushed: bool,
    pub signal: Signal,
    pub tenant: &'a str,
    pub stream: StreamKey,
    pub round: i64,
    pub samples: u32,
    pub oldest_ms: i64,
    pub raw_length: u32,
    pub bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Fewer bytes than the frame says it has: a torn tail, or a damaged length.
    Short,
    Magic,
    Length,
    Checksum,
    /// The checksum is right and the content is not: a writer of another version.
    Content,
}

pub fn frame_bytes(tenant: &str, bytes: usize) -> usize {
    FRAME_OVERHEAD_BYTES + tenant.len() + bytes
}

/// Appends `record` to `out`; `None` and nothing written where it is larger than a frame may be.
pub fn encode(record: &Record, out: &mut Vec<u8>) -> Option<usize> {
    let batch = &record.batch;
    let original_bytes = record.copy_of.map_or(0, |_| ORIGINAL_BYTES);
    let total = frame_bytes(&batch.tenant, batch.bytes.len()) + original_bytes;
    let tenant_bytes = u16::try_from(batch.tenant.len()).ok()?;
    if total > FRAME_BYTES_MAX {
        return None;
    }
    let length = u32::try_from(total - PREFIX_BYTES).ok()?;
    let start = out.len();
    out.reserve(total);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&record.sequence.to_le_bytes());
    out.extend_from_slice(&record.appended_ms.to_le_bytes());
    out.extend_from_slice(&batch.stream.0.to_le_bytes());
    out.extend_from_slice(&batch.round.to_le_bytes());
    out.extend_from_slice(&batch.oldest_ms.to_le_bytes());
    out.extend_from_slice(&batch.samples.to_le_bytes());
    out.extend_from_slice(&batch.raw_length.to_le_bytes());
    out.push(signal_number(batch.signal));
    out.extend_from_slice(&tenant_bytes.to_le_bytes());
    push_flags(out, record);
    push_name(out, record.name);
    if let Some(Original { owner, number }) = record.copy_of {
        out.extend_from_slice(&owner.0.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(batch.tenant.as_bytes());
    out.extend_from_slice(&batch.bytes);
    let checksum = checksum(length, &out[start + PREFIX_BYTES..]);
    out[start + 8..start + PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Some(total)
}

/// The frame at the start of `input`, and its length.
pub fn decode(input: &[u8]) -> Result<(Frame<'_>, usize), FrameError> {
    let total = claimed_bytes(input)?;
    let body = &input[PREFIX_BYTES..total];
    let length = u32::from_le_bytes(array(input, 4));
    if checksum(length, body) != u32::from_le_bytes(array(input, 8)) {
        return Err(FrameError::Checksum);
    }
    let sequence = u64::from_le_bytes(array(body, 0));
    if sequence > SEQUENCE_MAX {
        return Err(FrameError::Content);
    }
    let name = name_of(body)?;
    let copy_of = original_of(body)?;
    let head_end = HEAD_BYTES + copy_of.map_or(0, |_| ORIGINAL_BYTES);
    let tenant_end = head_end + usize::from(u16::from_le_bytes(array(body, 49)));
    let tenant = body.get(head_end..tenant_end).ok_or(FrameError::Content)?;
    let frame = Frame {
        sequence,
        appended_ms: i64::from_le_bytes(array(body, 8)),
        name,
        copy_of,
        pushed: body[51] & PUSHED != 0,
        stream: StreamKey(u64::from_le_bytes(array(body, 16))),
        round: i64::from_le_bytes(array(body, 24)),
        oldest_ms: i64::from_le_bytes(array(body, 32)),
        samples: u32::from_le_bytes(array(body, 40)),
        raw_length: u32::from_le_bytes(array(body, 44)),
        signal: signal_of(body[48]).ok_or(FrameError::Content)?,
        tenant: std::str::from_utf8(tenant).map_err(|_| FrameError::Content)?,
        bytes: &body[tenant_end..],
    };
    Ok((frame, total))
}

impl Frame<'_> {
    pub fn batch(&self) -> Batch {
        Batch {
            signal: self.signal,
            tenant: self.tenant.into(),
            stream: self.stream,
            round: self.round,
            since_ms: self.name.map(|name| name.interval_ms),
            pushed: self.pushed,
            samples: self.samples,
            oldest_ms: self.oldest_ms,
            raw_length: self.raw_length,
            bytes: Bytes::copy_from_slice(self.bytes),
        }
    }
}

/// What `scan` found besides good frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Between good frames.
    pub corrupt: Vec<Range<usize>>,
    /// Behind the last good frame.
    pub torn: Range<usize>,
}

/// Visits each good frame of `bytes` from `start` on with its offset and length.
pub fn scan(bytes: &[u8], start: usize, mut visit: impl FnMut(usize, usize, Frame<'_>)) -> Damage {
    let mut damage = Damage::default();
    let mut budget = bytes.len().saturating_mul(SEARCH_PASSES_MAX);
    let mut at = start.min(bytes.len());
    while at < bytes.len() {
        if let Ok((frame, used)) = decode(&bytes[at..]) {
            visit(at, used, frame);
            at += used;
        } else if let Some(next) = next_good(bytes, at + 1, &mut budget) {
            damage.corrupt.push(at..next);
            at = next;
        } else {
            break;
        }
    }
    damage.torn = at..bytes.len();
    damage
}

fn next_good(bytes: &[u8], from: usize, budget: &mut usize) -> Option<usize> {
    for found in memmem::find_iter(&bytes[from..], &MAGIC) {
        let at = from + found;
        let Ok(cost) = claimed_bytes(&bytes[at..]) else { continue };
        *budget = budget.checked_sub(cost)?;
        if decode(&bytes[at..]).is_ok() {
            return Some(at);
        }
    }
    None
}

fn push_flags(out: &mut Vec<u8>, record: &Record) {
    let flags = [
        (record.name.is_some(), DIVIDED),
        (record.batch.pushed, PUSHED),
        (record.copy_of.is_some(), COPY),
    ];
    out.push(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
}

fn push_name(out: &mut Vec<u8>, name: Option<RecordName>) {
    let none = RecordName { interval_ms: 0, node: NodeId(0), sequence: 0 };
    let RecordName { interval_ms, node, sequence } = name.unwrap_or(none);
    out.extend_from_slice(&interval_ms.to_le_bytes());
    out.extend_from_slice(&node.0.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
}

fn name_of(body: &[u8]) -> Result<Option<RecordName>, FrameError> {
    let name = RecordName {
        interval_ms: i64::from_le_bytes(array(body, 52)),
        node: NodeId(u128::from_le_bytes(array(body, 60))),
        sequence: u64::from_le_bytes(array(body, 76)),
    };
    let flags = body[51];
    let is_copy = flags & COPY != 0;
    if flags & !(DIVIDED | PUSHED | COPY) != 0 || is_copy && flags & DIVIDED == 0 {
        return Err(FrameError::Content);
    }
    Ok((flags & DIVIDED != 0).then_some(name))
}

fn original_of(body: &[u8]) -> Result<Option<Original>, FrameError> {
    if body[51] & COPY == 0 {
        return Ok(None);
    }
    let original = body.get(HEAD_BYTES..HEAD_BYTES + ORIGINAL_BYTES).ok_or(FrameError::Content)?;
    let owner = NodeId(u128::from_le_bytes(array(original, 0)));
    Ok(Some(Original { owner, number: u64::from_le_bytes(array(original, 16)) }))
}

/// The length that the frame says it has, if `input` has as much.
fn claimed_bytes(input: &[u8]) -> Result<usize, FrameError> {
    if input.len() < PREFIX_BYTES {
        return Err(FrameError::Short);
    }
    if input[..4] != MAGIC {
        return Err(FrameError::Magic);
    }
    let length = u32::from_le_bytes(array(input, 4));
    let total = usize::try_from(length).map_or(usize::MAX, |n| n.saturating_add(PREFIX_BYTES));
    if !(FRAME_OVERHEAD_BYTES..=FRAME_BYTES_MAX).contains(&total) {
        return Err(FrameError::Length);
    }
    if input.len() < total {
        return Err(FrameError::Short);
    }
    Ok(total)
}

fn checksum(length: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), body)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

pub fn signal_number(signal: Signal) -> u8 {
    match signal {
        Signal::Metrics => 1,
    }
}

pub fn signal_of(number: u8) -> Option<Signal> {
    match number {
        1 => Some(Signal::Metrics),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(sequence: u64, tenant: &str, bytes: &[u8]) -> Record {
        Record {
            sequence,
            appended_ms: 1_700_000_000_123,
            name: None,
            copy_of: None,
            batch: Batch {
                signal: Signal::Metrics,
                tenant: tenant.into(),
                stream: StreamKey(0xfeed_0000_0000_0007),
                round: -5,
                since_ms: None,
                pushed: false,
                samples: 3,
                oldest_ms: 1_700_000_000_000,
                raw_length: 99,
                bytes: Bytes::copy_from_slice(bytes),
            },
        }
    }

    fn encoded(records: &[Record]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            encode(record, &mut out).unwrap();
        }
        out
    }

    fn sequences(bytes: &[u8]) -> (Vec<u64>, Damage) {
        let mut found = Vec::new();
        let damage = scan(bytes, 0, |_, _, frame| found.push(frame.sequence));
        (found, damage)
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        for (tenant, bytes) in [("", &b"abc"[..]), ("team-a", b""), ("日本", &[0xf5; 100])] {
            let node = NodeId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
            let named = RecordName { interval_ms: -3, node, sequence: 99 };
            let original = Original { owner: NodeId(5), number: 1 << 40 };
            for (name, pushed, copy_of) in [
                (None, false, None),
                (None, true, None),
                (Some(named), true, None),
                (Some(named), true, Some(original)),
            ] {
                let mut record = record(7, tenant, bytes);
                record.batch.pushed = pushed;
                (record.name, record.copy_of) = (name, copy_of);
                record.batch.since_ms = name.map(|name| name.interval_ms);
                let encoded = encoded(std::slice::from_ref(&record));
                let (frame, used) = decode(&encoded).unwrap();
                assert_eq!(used, encoded.len());
                let original_bytes = copy_of.map_or(0, |_| ORIGINAL_BYTES);
                assert_eq!(used, frame_bytes(tenant, bytes.len()) + original_bytes);
                assert_eq!((frame.sequence, frame.appended_ms), (7, record.appended_ms));
                assert_eq!((frame.name, frame.copy_of), (record.name, copy_of));
                assert_eq!(frame.batch(), record.batch);
            }
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let good = encoded(&[record(1, "t", b"some bytes of a batch")]);
        for cut in 0..good.len() {
            assert_eq!(decode(&good[..cut]), Err(FrameError::Short), "cut at {cut}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn damage_in_the_middle_costs_only_what_it_hit() {
        let records: Vec<Record> = (1..=5).map(|n| record(n, "", &[9; 40])).collect();
        let good = encoded(&records);
        let each = good.len() / 5;
        let whole = |n: usize| n * each..(n + 1) * each;

        let mut flipped = good.clone();
        flipped[2 * each + 20] ^= 0xff;
        let (found, damage) = sequences(&flipped);
        assert_eq!(found, [1, 2, 4, 5]);
        assert_eq!(damage.corrupt, [whole(2)]);

        let mut zeroed = good.clone();
        zeroed[each + 5..3 * each - 5].fill(0);
        let (found, damage) = sequences(&zeroed);
        assert_eq!(found, [1, 4, 5]);
        assert_eq!(damage.corrupt.first(), Some(&(each..3 * each)));

        let (found, damage) = sequences(&good[..4 * each + 30]);
        assert_eq!(found, [1, 2, 3, 4]);
        assert_eq!((damage.corrupt.len(), damage.torn), (0, 4 * each..4 * each + 30));

        let mut inserted = good.clone();
        inserted.splice(each..each, b"junk \xf5Stm junk".iter().copied());
        assert_eq!(sequences(&inserted).0, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_segment_of_magics_is_given_up_in_bounded_time() {
        let mut claim = MAGIC.to_vec();
        claim.extend_from_slice(&(1_000_000_u32).to_le_bytes());
        let bytes = claim.repeat(500_000);
        assert!(sequences(&bytes).0.is_empty());
    }

    #[test]
    fn what_no_frame_may_be_is_not_written() {
        let mut out = Vec::new();
        assert_eq!(encode(&record(1, "", &vec![0; FRAME_BYTES_MAX]), &mut out), None);
        assert_eq!(encode(&record(1, &"t".repeat(70_000), b""), &mut out), None);
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            let mut with_magic = MAGIC.to_vec();
            with_magic.extend_from_slice(&bytes);
            let _ = decode(&with_magic);
            sequences(&with_magic);
        }

        #[test]
        fn damage_never_brings_a_record_that_was_not_written(
            lengths in proptest::collection::vec(0_usize..200, 1..8),
            hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let records: Vec<Record> =
                lengths.iter().zip(1..).map(|(&n, s)| record(s, "", &vec![7; n])).collect();
            let mut bytes = encoded(&records);
            for (at, value) in hits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            scan(&bytes, 0, |_, _, frame| {
                let original = &records[usize::try_from(frame.sequence).unwrap() - 1];
                assert_eq!(frame.batch(), original.batch);
            });
        }
    }
}
