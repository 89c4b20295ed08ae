//! What members ask each other and what they answer, and its bytes. Pure.
//!
//! Members of two versions talk to each other: a question that is not known is answered with
//! `Unknown`, and what is asked or answered in another form gets a question of its own, as the bytes
//! of one do not tell how it is laid out.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    history::{After, Event, Kind, NodeRef, TargetRef},
    model::{
        labels::Labels,
        member::NodeId,
        overrides::Stamp,
        slot::StreamKey,
        target::{Target, TargetId, TargetName},
    },
    outbox::QueueView,
    scrape::Health,
};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    Ask {
        /// Names the question for its answer.
        number: u64,
        /// A `Question`, apart: of one that is not known the number is needed even so.
        question: Bytes,
    },
    /// A part of an `Answer`; the parts come in order.
    Tell {
        number: u64,
        /// Of the whole answer.
        bytes_total: u64,
        part: Bytes,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Question {
    /// What do you scrape? `TargetsTold`.
    Targets,
    /// What are these? `Vec<Description>`, without those that are not known.
    Describe(Vec<TargetName>),
    /// What that is divided do you scrape at that instant of fleet time? `VerifyTold`.
    Verify { at_ms: i64 },
    /// What that is divided has your discovery found? `Vec<TargetName>`.
    Found,
    /// `Vec<QueueView>`.
    Queues,
    /// `ConfigTold`.
    Config,
    /// How busy are your slots? `Vec<(u16, f64)>`, the idle ones left out.
    Loads,
    /// How did the target fare under you? `Vec<HealthEvent>`, the newest first.
    HealthHistory {
        target: TargetId,
        job: Option<Arc<str>>,
        from_ms: Option<i64>,
        until_ms: Option<i64>,
        limit: u64,
    },
    /// What happened then? A `history::Page`.
    History { from_ms: i64, until_ms: i64, after: Option<After>, limit: u64 },
}

/// What becomes of a question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer<T> {
    Given(T),
    /// The question is none that this member knows.
    Unknown,
    /// Too many ask at once.
    Busy,
    Failed(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct TargetsTold {
    /// What times are counted back from.
    pub at_ms: i64,
    pub jobs: Vec<Arc<str>>,
    pub targets: Vec<Told>,
}

/// How one target fares. Ten thousand of them are to fit into a megabyte.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub id: TargetId,
    /// Its place among `jobs`.
    pub job: u32,
    pub is_divided: bool,
    pub health: HealthTold,
    /// So long before `at_ms` its last scrape began.
    pub scraped_before_ms: Option<u64>,
    pub last_error: Option<String>,
    pub duration_us: u64,
    pub samples: u64,
    /// In tenths of a millisecond, the latest last.
    pub durations: Vec<u32>,
    /// Of a target that each member scrapes for itself; others are known to most, and asked for by
    /// those who don't know them.
    pub description: Option<Box<Description>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HealthTold {
    Unknown,
    Up,
    Down,
}

/// A target as it travels, without what discovery knew of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    job: Arc<str>,
    id: TargetId,
    key: StreamKey,
    labels: Vec<(String, String)>,
    url: String,
    interval: Duration,
    timeout: Duration,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct VerifyTold {
    pub scrapes: Vec<TargetName>,
    /// Of what `Found` would tell.
    pub found_digest: u64,
    pub config_digest: u64,
    pub targets_digest: u64,
    /// Who takes part at that instant, with their weights.
    pub roster: Vec<(NodeId, u32)>,
    /// Of the overrides that hold at that instant.
    pub overrides: Option<Stamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ConfigTold {
    pub digest: u64,
    /// Without secrets.
    pub yaml: String,
    pub loaded_ms: i64,
    pub refused: Option<String>,
}

/// A change of a target's health, as the member tells it that saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HealthEvent {
    at_ms: i64,
    summary: String,
    node: Option<(NodeId, String)>,
    target: Option<(TargetName, String)>,
    error: Option<String>,
}

impl HealthEvent {
    pub(super) fn of(event: Event) -> Self {
        Self {
            at_ms: event.at_ms,
            summary: event.summary,
            node: event.node.map(|NodeRef { id, name }| (id, name)),
            target: event.target.map(|TargetRef { id, job, url }| ((id, job), url)),
            error: event.error,
        }
    }

    /// Its place in the other member's file says nothing here.
    pub(super) fn event(self) -> Event {
        Event {
            id: None,
            at_ms: self.at_ms,
            kind: Kind::Health,
            summary: self.summary,
            node: self.node.map(|(id, name)| NodeRef { id, name }),
            reason: None,
            from: None,
            to: None,
            slots: None,
            targets: None,
            target: self.target.map(|((id, job), url)| TargetRef { id, job, url }),
            error: self.error,
        }
    }
}

pub(super) type QueuesTold = Vec<QueueView>;
pub(super) type LoadsTold = Vec<(u16, f64)>;

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain values serialize into memory")
}

/// `None`: of another version, or none of ours. What comes behind it is passed over.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::take_from_bytes(bytes).ok().map(|(value, _)| value)
}

impl Description {
    pub(super) fn of(target: &Target) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            job: Arc::clone(&target.job),
            id: target.id,
            key: target.key,
            labels: target.labels.iter().map(owned).collect(),
            url: target.url.clone(),
            interval: target.interval,
            timeout: target.timeout,
        }
    }

    pub(super) fn target(self) -> Target {
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Target {
            labels: labels.collect(),
            job: self.job,
            discovered: Labels::new(),
            id: self.id,
            key: self.key,
            url: self.url,
            interval: self.interval,
            timeout: self.timeout,
        }
    }
}

impl From<Health> for HealthTold {
    fn from(health: Health) -> Self {
        match health {
            Health::Unknown => Self::Unknown,
            Health::Up => Self::Up,
            Health::Down => Self::Down,
        }
    }
}

impl From<HealthTold> for Health {
    fn from(health: HealthTold) -> Self {
        match health {
            HealthTold::Unknown => Self::Unknown,
            HealthTold::Up => Self::Up,
            HealthTold::Down => Self::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_out_again() {
        let check = |message: Message| assert_eq!(decode(&encode(&message)), Some(message));
        check(Message::Ask { number: u64::MAX, question: vec![1, 2].into() });
        check(Message::Tell { number: 1, bytes_total: 1 << 40, part: vec![0; 300].into() });
        let name = (TargetId(3), Arc::from("job"));
        for question in [
            Question::Targets,
            Question::Describe(vec![name]),
            Question::Verify { at_ms: -1 },
            Question::Found,
            Question::Queues,
            Question::Config,
            Question::Loads,
        ] {
            assert_eq!(decode(&encode(&question)), Some(question));
        }
    }

    /// One more than this version knows, and what is no message at all.
    #[test]
    fn what_is_not_known_is_none() {
        let known = encode(&Question::Loads)[0];
        assert_eq!(decode::<Question>(&[known + 3]), None);
        assert_eq!(decode::<Message>(&[2, 0, 0]), None);
        for bytes in [&[][..], &[0xff; 40]] {
            assert!(decode::<Message>(bytes).is_none() && decode::<Question>(bytes).is_none());
        }
        assert_eq!(decode::<Message>(&[0, 5, 200, 1]), None, "it says to be longer than it is");
        // A later version may add to the end of what it tells.
        let longer = [encode(&Question::Verify { at_ms: 5 }), vec![1, 2, 3]].concat();
        assert_eq!(decode(&longer), Some(Question::Verify { at_ms: 5 }));
    }

    #[test]
    fn a_target_travels_as_it_is() {
        let target = Target {
            job: "node".into(),
            labels: [("__address__", "a:1"), ("zone", "b")].into_iter().collect(),
            discovered: Labels::new(),
            id: TargetId(7),
            key: StreamKey(9 << 52),
            url: "http://a:1/metrics?x=y".to_owned(),
            interval: Duration::from_millis(1_500),
            timeout: Duration::from_secs(1),
        };
        let told: Description = decode(&encode(&Description::of(&target))).unwrap();
        assert_eq!(told.target(), target);
    }

    /// A fleet view of ten thousand targets is a message of a megabyte at most.
    #[test]
    fn ten_thousand_targets_fit_into_a_megabyte() {
        let told = |number: u64| Told {
            id: TargetId(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            job: 200,
            is_divided: true,
            health: HealthTold::Up,
            scraped_before_ms: Some(14_000),
            last_error: None,
            duration_us: 250_000,
            samples: 3_000,
            durations: vec![2_500; 16],
            description: None,
        };
        let told = TargetsTold {
            at_ms: 1_800_000_000_000,
            jobs: vec!["a".into(); 201],
            targets: (0..10_000).map(told).collect(),
        };
        let encoded = encode(&told);
        let back: TargetsTold = decode(&encoded).unwrap();
        assert_eq!((back.targets.len(), back.targets[9_999].durations.len()), (10_000, 16));
        let bytes = encoded.len();
        assert!((400_000..1 << 20).contains(&bytes), "{bytes}");
    }
}
