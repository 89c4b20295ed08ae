//! What happens in any demo at its end. Pure.

use std::fmt;

use serde_json::{Value, json};

use crate::cli::demo::show::Told;

pub(super) enum Event {
    NobodyLeft,
    Stopping,
}

impl Told for Event {
    fn json(&self) -> Value {
        match self {
            Self::NobodyLeft => json!({ "event": "nobody_left" }),
            Self::Stopping => json!({ "event": "stopping" }),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NobodyLeft => "that was the last agent: nobody is left to take over",
            Self::Stopping => "stopping: the agents hand over, send what they can, and end",
        })
    }
}
