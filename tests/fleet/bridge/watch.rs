//! What each member shows of the fleet, looked at all the time by a network that is never cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use starling::{config::HttpClient, runtime::http::Caller};
use tokio::time::sleep;

use super::{Timeline, judge::Expected, ledger::Window};

/// As exact as the times of agreement are.
pub(crate) const LOOK: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Of one member; what it showed longer ago is forgotten.
const VIEWS_MAX: usize = 3000;

/// A view this old is no longer what the member shows.
pub(crate) const FRESH_MS: i64 = 1_000;

pub(crate) type Members = BTreeSet<usize>;

#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) at_ms: i64,
    /// Those who have a share.
    pub(crate) sharing: Members,
    pub(crate) dead: Members,
    pub(crate) notices: BTreeSet<String>,
    pub(crate) lines: i64,
}

impl View {
    fn of(at_ms: i64, fleet: &Value) -> Self {
        let (mut sharing, mut dead) = (Members::new(), Members::new());
        for one in fleet["members"].as_array().into_iter().flatten() {
            let member = one["name"]
                .as_str()
                .unwrap()
                .trim_start_matches(char::is_alphabetic)
                .parse()
                .unwrap();
            let state = one["state"].as_str().unwrap();
            let last = one["intervals"].as_array().and_then(|intervals| intervals.last());
            let is_open = last.is_some_and(|last| last["until"].is_null());
            if is_open && ["alive", "suspect"].contains(&state) {
                sharing.insert(member);
            }
            if state == "dead" {
                dead.insert(member);
            }
        }
        let warnings = fleet["warnings"].as_array().into_iter().flatten();
        let lines = |way: &str| fleet["hand_over"][way].as_i64().unwrap_or(0);
        Self {
            at_ms,
            sharing,
            dead,
            notices: warnings.map(|one| one["kind"].as_str().unwrap().to_owned()).collect(),
            lines: lines("taking") + lines("giving"),
        }
    }
}

type Views = BTreeMap<usize, Vec<View>>;

#[derive(Clone, Default)]
pub(crate) struct Watch {
    /// Of each member what it showed, at each look.
    views: Arc<Mutex<Views>>,
}

impl Watch {
    /// For ever; `url` is of the member's API.
    pub(crate) async fn look(self, member: usize, url: String, timeline: Timeline) {
        let caller = Caller::new(&HttpClient::default());
        loop {
            if let Some(fleet) = shown(&caller, &url).await {
                self.add(member, timeline, &fleet);
            }
            sleep(LOOK).await;
        }
    }

    /// What a member shows now.
    pub(crate) fn add(&self, member: usize, timeline: Timeline, fleet: &Value) {
        let view = View::of(timeline.now_ms(), fleet);
        let mut views = self.views.lock().unwrap();
        let views = views.entry(member).or_default();
        views.push(view);
        views.drain(..views.len().saturating_sub(VIEWS_MAX));
    }

    /// When the last one saw exactly whom it should, and from then on until the window's end.
    pub(crate) fn agreed_ms(&self, expected: &Expected, window: Window) -> Option<i64> {
        let views = self.views.lock().unwrap();
        let mut agreed_ms = window.from_ms;
        for (observer, sharing) in expected {
            let views = views.get(observer)?;
            let is_so = |view: &View| view.sharing == *sharing;
            let before = views.iter().rev().find(|view| view.at_ms < window.from_ms);
            // Who saw it so all along took no time.
            let mut since_ms = before
                .filter(|view| is_so(view) && view.at_ms + FRESH_MS > window.from_ms)
                .map(|_| window.from_ms);
            for view in views.iter().filter(|view| window.has(view.at_ms)) {
                since_ms = is_so(view).then_some(since_ms.unwrap_or(view.at_ms));
            }
            agreed_ms = agreed_ms.max(since_ms?);
        }
        Some(agreed_ms)
    }

    /// Who was shown as dead by whom, with neither of them a victim.
    pub(crate) fn false_deaths(
        &self,
        expected: &Expected,
        victims: &Members,
        window: Window,
    ) -> BTreeSet<(usize, usize)> {
        let views = self.views.lock().unwrap();
        let mut found = BTreeSet::new();
        for (&observer, sharing) in expected.iter().filter(|(one, _)| !victims.contains(one)) {
            for view in views[&observer].iter().filter(|view| window.has(view.at_ms)) {
                let dead = view.dead.intersection(sharing).filter(|one| !victims.contains(one));
                found.extend(dead.map(|&dead| (observer, dead)));
            }
        }
        found
    }

    pub(crate) fn latest(&self, member: usize) -> Option<View> {
        self.views.lock().unwrap().get(&member)?.last().cloned()
    }
}

/// The fleet as a member's API shows it; none where it does not answer.
pub(crate) async fn shown(caller: &Caller, url: &str) -> Option<Value> {
    let request = caller.request(reqwest::Method::GET, &format!("{url}/api/v1/fleet")).unwrap();
    let answer = request.timeout(ANSWER_MAX).send().await.ok()?;
    serde_json::from_slice(&answer.bytes().await.ok()?).ok()
}
