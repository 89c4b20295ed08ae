//! Stream keys and slots: what the division of work, the lanes and the hand-over hang on.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// The number of slots; a stream key's top 12 bits name one.
pub const SLOTS: u16 = 4096;

/// A 64-bit XXH3 hash of what identifies a stream: the same on every host and in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamKey(pub u64);

impl StreamKey {
    /// The key of `parts`, in order; `("ab", "c")` and `("a", "bc")` differ.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = Xxh3::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.digest())
    }

    pub fn slot(self) -> Slot {
        Slot(u16::try_from(self.0 >> 52).expect("the top 12 bits fit into 16"))
    }
}

/// One of `SLOTS` shares of all streams. Slots have owners and lanes; streams do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16")]
pub struct Slot(u16);

impl TryFrom<u16> for Slot {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, String> {
        Self::new(number).ok_or_else(|| format!("slot {number} is none of {SLOTS}"))
    }
}

impl Slot {
    /// `None` from `SLOTS` on.
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    pub fn number(self) -> u16 {
        self.0
    }
}
