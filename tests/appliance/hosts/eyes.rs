//! Looks at a host's agent from within its network, as its cable may be out: this very test
//! executable, started there, which prints what the API shows.

use std::{env, process::Stdio};

use rustix::process::Pid;
use serde_json::Value;
use starling::{config::HttpClient, runtime::http::Caller, runtime::tasks};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::sleep,
};

use super::{
    Timeline,
    watch::{LOOK, Watch, shown},
};

const OPEN: &str = "STARLING_HOSTS_EYES";
const MARK: &str = "SEEN ";

/// They close with their guard.
pub(crate) struct Eyes {
    _child: Child,
}

impl Eyes {
    pub(crate) fn open(leader: Pid, host: usize, watch: Watch, timeline: Timeline) -> Self {
        let mut child = Command::new("nsenter")
            .args(["-t", &leader.as_raw_nonzero().to_string(), "--net"])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "eyes::looks_when_told_to", "--nocapture"])
            .env(OPEN, "")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        tasks::spawn("eyes", async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Some((_, line)) = line.split_once(MARK) else { continue };
                let fleet: Value = serde_json::from_str(line).unwrap();
                watch.add(host, timeline, &fleet);
            }
        });
        Self { _child: child }
    }
}

/// Not a test: what looks.
#[test]
fn looks_when_told_to() {
    if env::var_os(OPEN).is_none() {
        return;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let caller = Caller::new(&HttpClient::default());
        loop {
            if let Some(fleet) = shown(&caller, "http://127.0.0.1:9733").await {
                println!("{MARK}{fleet}");
            }
            sleep(LOOK).await;
        }
    });
}
