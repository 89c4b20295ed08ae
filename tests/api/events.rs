//! Events of a real fleet, by a client that listens, goes, and comes back: a death is told as it
//! happens, again to who says where he stopped, and by history ever after.

use std::time::Duration;

use serde_json::Value;
use starling::{config::HttpClient, runtime::http::Caller};
use tokio::time::timeout;

use crate::{
    eventually,
    flock::{Flock, Member},
};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_death_is_told_as_it_happens_and_ever_after() {
    let flock = Flock::start().await;
    let [teller, _, dies] = &flock.members[..] else { panic!("three members") };
    let mut listener = Listener::open(teller, None).await;
    let hello = listener.next().await;
    assert_eq!(
        (hello.name.as_str(), &hello.data["node"]["name"]),
        ("hello", &teller.name.as_str().into())
    );

    dies.kill();
    let death = listener.until("member", |data| data["reason"] == "crashed").await;
    assert_eq!(death.data["node"]["name"], dies.name.as_str());
    let moves = listener.until("moves", |data| data["reason"] == "crash").await;
    assert_eq!(moves.data["from"]["name"], dies.name.as_str());
    assert!(moves.data["slots"].as_u64().unwrap() > 0, "{moves:?}");
    drop(listener);

    // Who comes back gets what came since.
    let mut again = Listener::open(teller, Some(&hello.id)).await;
    assert_eq!(again.next().await.name, "hello");
    let told = again.until("member", |data| data["reason"] == "crashed").await;
    assert_eq!((&told.id, &told.data), (&death.id, &death.data));
    let mut later = Listener::open(teller, Some(&death.id)).await;
    assert_eq!(later.next().await.name, "hello");
    let told = later.until("moves", |data| data["reason"] == "crash").await;
    assert_eq!((&told.id, &told.data), (&moves.id, &moves.data));
    let mut stranger = Listener::open(teller, Some("1-1")).await;
    assert_eq!(stranger.next().await.name, "hello");
    assert_eq!(stranger.next().await.name, "reset");

    the_death_is_history(teller, dies, &death.data).await;
}

/// What was told is kept: the death itself, and of a target that moved who had it before.
async fn the_death_is_history(teller: &Member, dead: &Member, death: &Value) {
    let of_dead = format!("/api/v1/history?kind=member&node={}", dead.name);
    eventually("the death was written", PATIENCE, || async {
        let told = teller.json(&of_dead).await?;
        let items = told["items"].as_array()?.iter();
        items
            .into_iter()
            .find(|event| event["reason"] == "crashed" && event["at"] == death["at"])
            .cloned()
    })
    .await;
    let moved = eventually("a target was told to have moved", PATIENCE, || async {
        let list = teller.json("/api/v1/fleet/targets?job=divided").await?;
        let mut rows = list["items"].as_array()?.iter();
        rows.find(|row| {
            row["last_move"]["reason"] == "crash" && row["last_move"]["from"]["name"] == *dead.name
        })
        .cloned()
    })
    .await;
    let id = moved["id"].as_str().unwrap();
    let past = teller.json(&format!("/api/v1/targets/{id}/history")).await.unwrap();
    let spans = past["spans"].as_array().unwrap();
    let [.., before, now] = &spans[..] else { panic!("two owners: {past:#}") };
    assert_eq!(before["owner"]["name"], *dead.name, "{past:#}");
    assert_eq!((&now["reason"], &now["until"]), (&"crash".into(), &Value::Null));
    assert_eq!((&before["until"], &now["owner"]), (&now["from"], &moved["owner"]));
    // At the instant before, and at that of the move.
    let at = now["from"].as_str().unwrap();
    let then = format!("/api/v1/history?target={id}&at={}", before["from"].as_str().unwrap());
    let then = teller.json(&then).await.unwrap();
    assert_eq!(then["items"][0]["owner"]["name"], *dead.name, "{then:#}");
    let after = teller.json(&format!("/api/v1/history?target={id}&at={at}")).await.unwrap();
    assert_eq!(after["items"][0]["owner"], moved["owner"], "{after:#}");
}

#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

struct Listener {
    answer: reqwest::Response,
    /// Of an event that is not there in full.
    rest: String,
}

impl Listener {
    async fn open(member: &Member, last: Option<&str>) -> Self {
        let caller = Caller::new(&HttpClient::default());
        let url = format!("{}/api/v1/events", member.url);
        let mut request = caller.request(reqwest::Method::GET, &url).unwrap();
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Self { answer, rest: String::new() }
    }

    async fn next(&mut self) -> Event {
        let reading = async {
            loop {
                if let Some((event, rest)) = self.rest.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.rest = rest;
                    // A comment is no event.
                    if let Some(event) = read(&event) {
                        return event;
                    }
                    continue;
                }
                let chunk = self.answer.chunk().await.unwrap().expect("it goes on for ever");
                self.rest.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        timeout(PATIENCE, reading).await.expect("an event in time")
    }

    async fn until(&mut self, name: &str, is_it: impl Fn(&Value) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if event.name == name && is_it(&event.data) {
                return event;
            }
        }
    }
}

fn read(text: &str) -> Option<Event> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    Some(Event {
        id: field("id: ")?.to_owned(),
        name: field("event: ")?.to_owned(),
        data: serde_json::from_str(data).unwrap(),
    })
}
