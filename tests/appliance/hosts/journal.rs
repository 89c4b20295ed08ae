//! What a host's journal says of Starling.

use std::time::Duration;

use serde_json::Value;
use starling::runtime::clock::now_ms;

use crate::eventually;

use super::host::Host;

const SAID_MAX: Duration = Duration::from_secs(30);

/// A moment from which on the journal is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since(i64);

impl Since {
    pub(crate) fn now() -> Self {
        Self(now_ms())
    }
}

/// Waits for one line with these words in its message and these fields, and returns its message.
pub(crate) async fn said(
    host: &Host,
    since: Since,
    words: &str,
    fields: &[(&str, &str)],
) -> String {
    let what = format!("{} had said `{words}` with {fields:?}", host.name);
    let line = eventually(&what, SAID_MAX, || async {
        entries(host, since).await.into_iter().find_map(|entry| {
            let has = |(name, value): &(&str, &str)| entry[*name] == *value;
            let message = entry["MESSAGE"].as_str()?;
            (message.contains(words) && fields.iter().all(has)).then(|| message.to_owned())
        })
    })
    .await;
    println!("    journal of {}: {line} {fields:?}", host.name);
    line
}

async fn entries(host: &Host, since: Since) -> Vec<Value> {
    let (seconds, milliseconds) = (since.0 / 1000, since.0 % 1000);
    let ask = format!("journalctl -u starling -o json --since=@{seconds}.{milliseconds:03}");
    let lines = host.run(&ask).await;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
