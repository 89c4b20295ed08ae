//! What members send each other over the peer channel, and its bytes. Pure.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        batch::Batch,
        labels::Labels,
        overrides::Overrides,
        slot::StreamKey,
        target::{Target, TargetId},
    },
    ownership::{
        differences::{Answer, Mark},
        handoff::Message,
        orders::Knowledge,
    },
};

/// Of one bundle of letters, unless a single one is larger.
pub const BUNDLE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub enum Letter {
    Handoff {
        message: Message,
        /// Of a `Give`, beside its records and in their order; `None` where one could not be read.
        batches: Vec<Option<Batch>>,
    },
    /// What is known of a target that has moved.
    Knowledge {
        /// Names it for the answer.
        number: u64,
        /// Until when the target was the sender's.
        fence_ms: i64,
        #[serde(with = "form")]
        knowledge: Knowledge,
    },
    /// The knowledge of that number is in use.
    Noted { number: u64 },
    /// Asks for `Loads`.
    AskLoads,
    /// How busy the sender's slots are, a byte a slot.
    Loads { version: u32, vector: Bytes },
    /// Asks for `Overrides`.
    AskOverrides,
    /// The overrides that the sender has; also where nobody asked.
    Overrides(Overrides),
    /// What the sender has found of a job whose targets have differed for a while.
    AskDifference { job: Arc<str>, targets: Vec<Mark> },
    /// The answer; `None` where there is no difference.
    Difference { job: Arc<str>, first: Option<Answer> },
}

/// In bundles that the channel carries.
pub fn pack(letters: impl IntoIterator<Item = Letter>) -> Vec<Bytes> {
    let mut bundles = Vec::new();
    let mut bundle = Vec::new();
    for letter in letters {
        let bytes = postcard::to_stdvec(&letter).expect("plain values serialize into memory");
        if !bundle.is_empty() && bundle.len() + bytes.len() > BUNDLE_BYTES_MAX {
            bundles.push(std::mem::take(&mut bundle).into());
        }
        bundle.extend(bytes);
    }
    if !bundle.is_empty() {
        bundles.push(bundle.into());
    }
    bundles
}

/// # Errors
/// What is no bundle of letters: a member of another version sent it.
pub fn unpack(mut bundle: &[u8]) -> Result<Vec<Letter>, postcard::Error> {
    let mut letters = Vec::new();
    while !bundle.is_empty() {
        let (letter, rest) = postcard::take_from_bytes(bundle)?;
        letters.push(letter);
        bundle = rest;
    }
    Ok(letters)
}

/// A target as it travels: all that scraping it needs, without what discovery knew of it.
mod form {
    use serde::{Deserializer, Serializer};

    use super::{
        Arc, Bytes, Deserialize, Duration, Knowledge, Labels, Serialize, StreamKey, Target,
        TargetId,
    };

    #[derive(Serialize, Deserialize)]
    struct Form {
        job: Arc<str>,
        labels: Vec<(String, String)>,
        id: TargetId,
        key: StreamKey,
        url: String,
        interval: Duration,
        timeout: Duration,
        last_tick_ms: Option<i64>,
        series: Bytes,
    }

    pub(super) fn serialize<S: Serializer>(
        knowledge: &Knowledge,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let Knowledge { target, last_tick_ms, series } = knowledge;
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let form = Form {
            job: Arc::clone(&target.job),
            labels: target.labels.iter().map(owned).collect(),
            id: target.id,
            key: target.key,
            url: target.url.clone(),
            interval: target.interval,
            timeout: target.timeout,
            last_tick_ms: *last_tick_ms,
            series: series.clone(),
        };
        form.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Knowledge, D::Error> {
        let form = Form::deserialize(deserializer)?;
        let target = Target {
            job: form.job,
            labels: form
                .labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            discovered: Labels::new(),
            id: form.id,
            key: form.key,
            url: form.url,
            interval: form.interval,
            timeout: form.timeout,
        };
        let Form { last_tick_ms, series, .. } = form;
        Ok(Knowledge { target: Arc::new(target), last_tick_ms, series })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            member::NodeId,
            overrides::{OverrideMap, Stamp},
            slot::Slot,
        },
        ownership::handoff::{Ask, Line},
    };

    fn knowledge() -> Knowledge {
        let target = Target {
            job: "node".into(),
            labels: [("__address__", "a:1"), ("zone", "b")].into_iter().collect(),
            discovered: Labels::new(),
            id: TargetId(7),
            key: StreamKey(9 << 52),
            url: "http://a:1/metrics".to_owned(),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
        };
        Knowledge { target: Arc::new(target), last_tick_ms: Some(5), series: vec![1; 3000].into() }
    }

    fn ask() -> Message {
        let line = Line { slot: Slot::new(5).unwrap(), destination: "d".into() };
        Message::Ask(Ask { line, until_ms: 3 })
    }

    fn overrides() -> Overrides {
        let moves = crate::ownership::placement::slots().map(|slot| (slot, NodeId(u128::MAX)));
        let stamp = Stamp { version: u64::MAX, publisher: NodeId(u128::MAX) };
        let map = OverrideMap { stamp, from_ms: 5, moves: moves.collect() };
        Overrides::default().followed_by(map.clone()).followed_by(map)
    }

    #[test]
    fn the_longest_map_fits_a_bundle() {
        let bundle = &pack([Letter::Overrides(overrides())])[0];
        assert!(bundle.len() < BUNDLE_BYTES_MAX / 4, "{}", bundle.len());
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let letters = [
            Letter::Handoff { message: ask(), batches: Vec::new() },
            Letter::Knowledge { number: 1, fence_ms: 2, knowledge: knowledge() },
            Letter::Noted { number: 4 },
            Letter::Overrides(overrides()),
            Letter::Loads { version: 3, vector: vec![7; 4096].into() },
            Letter::AskLoads,
            Letter::AskOverrides,
        ];
        let bundles = pack(letters);
        assert_eq!(bundles.len(), 1);
        let read = unpack(&bundles[0]).unwrap();
        let [
            Letter::Handoff { message, .. },
            Letter::Knowledge { knowledge: got, .. },
            Letter::Noted { number: 4 },
            Letter::Overrides(got_overrides),
            Letter::Loads { version: 3, vector },
            Letter::AskLoads,
            Letter::AskOverrides,
        ] = &read[..]
        else {
            panic!("{read:?}")
        };
        assert_eq!((message, got), (&ask(), &knowledge()));
        assert_eq!((got_overrides, vector.len()), (&overrides(), 4096));
    }

    #[test]
    fn bundles_are_bounded() {
        let letter = |number| Letter::Knowledge { number, fence_ms: 2, knowledge: knowledge() };
        let bundles = pack((0..1000).map(letter));
        assert!(bundles.iter().all(|bundle| bundle.len() <= BUNDLE_BYTES_MAX), "{}", bundles.len());
        let count: usize = bundles.iter().map(|bundle| unpack(bundle).unwrap().len()).sum();
        assert_eq!(count, 1000);
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(unpack(&[0xff; 40]).is_err());
        let bundle = &pack([Letter::Noted { number: 1 << 40 }])[0];
        assert!(unpack(&bundle[..bundle.len() - 1]).is_err());
    }
}
