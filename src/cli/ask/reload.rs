//! `starling reload`: the configuration again, and the reason where it is refused.

use std::time::Duration;

use clap::Args;

use crate::cli::ask::{
    Code, Question, Told,
    agent::{Agent, Fault, Kind},
    sheet::Sheet,
    text::good,
};

/// The agent says within a minute how it went, or that it goes on.
const RELOAD_WAIT: Duration = Duration::from_secs(65);

#[derive(Args)]
pub(in crate::cli) struct Reload {}

impl Question for Reload {
    async fn ask(&self, agent: &Agent, _now_ms: i64) -> Result<Told, Fault> {
        let text =
            agent.order("/-/reload", RELOAD_WAIT).await.map_err(|fault| match fault.status {
                // It was asked, and says why not.
                Some(500) => Fault { kind: Kind::No, ..fault },
                _ => fault,
            })?;
        let mut sheet = Sheet::default();
        sheet.line(good("ok: ").then(text.trim()));
        let json = serde_json::json!({ "message": text.trim() });
        Ok(Told::new(json.to_string(), sheet, Code::Fine))
    }
}
