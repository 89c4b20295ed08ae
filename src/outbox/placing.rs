//! What a destination that is a fleet of gateways says of who owns what: when it is asked, how long its
//! word counts, and who of its members is passed over for a while. Pure; `requests` asks, and sends by
//! it each series to its owner at once.

use std::{collections::BTreeMap, sync::Arc};

use rand::{Rng, RngExt};
use url::Url;

use crate::{
    config::Destination,
    model::identity::TenantKey,
    wire::placement::{Placement, SentLabels},
};

/// How often the placement is asked for, more or less.
const ASK_MS: i64 = 5_000;
const ASK_JITTER_MS: i64 = 1_000;
/// After a sign that it has changed, or a question that came to nothing.
const PAUSE_MS: i64 = 500;
/// One that knows no placement may be replaced by one that does.
const RARELY_MS: i64 = 60_000;
/// A placement that nobody has confirmed for so long is not gone by.
const STALE_MS: i64 = 30_000;
/// A member that can't be reached from here is passed over, longer each time.
const AVOID_MS: i64 = 10_000;
const AVOID_MS_MAX: i64 = 600_000;

/// The state of one destination.
#[derive(Debug)]
pub(super) struct Placing {
    is_on: bool,
    /// Members are then reached over TLS alone, as they are shown the same credentials.
    is_secure: bool,
    known: Option<Known>,
    avoided: BTreeMap<Arc<str>, Avoided>,
    is_asking: bool,
    asked_ms: i64,
    due_ms: i64,
    /// Questions that nobody has answered since the last that somebody has.
    silences: usize,
}

#[derive(Debug)]
struct Known {
    placement: Arc<Placement>,
    version: Option<String>,
    /// By member.
    urls: Vec<Option<Arc<str>>>,
    heard_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Avoided {
    until_ms: i64,
    wait_ms: i64,
}

/// A question to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// `None`: the one that is configured.
    pub(super) to: Option<Arc<str>>,
    /// What is known already.
    pub(super) version: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    New {
        json: Vec<u8>,
        version: Option<String>,
    },
    /// Nothing has changed.
    Same,
    /// It answers, and not with a placement: why, for a person.
    None(String),
    Silence,
}

/// What someone should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Routing {
    Straight,
    /// All goes to the configured URL.
    NotStraight(String),
}

/// Where series go now.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    placement: Arc<Placement>,
    tenant: TenantKey,
    urls: Vec<Option<Arc<str>>>,
}

impl Placing {
    pub(super) fn new(destination: &Destination) -> Self {
        Self {
            is_on: destination.placement,
            is_secure: is_secure(destination.url.expose()),
            known: None,
            avoided: BTreeMap::new(),
            is_asking: false,
            asked_ms: i64::MIN / 2,
            due_ms: i64::MIN,
            silences: 0,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// What is to be asked now, if anything is. `heard` must follow.
    pub(super) fn ask(&mut self, now_ms: i64) -> Option<Question> {
        if !self.is_on || self.is_asking || now_ms < self.due_ms {
            return None;
        }
        (self.is_asking, self.asked_ms) = (true, now_ms);
        let known = self.known.as_ref();
        let urls: Vec<&Arc<str>> =
            known.into_iter().flat_map(|known| known.urls.iter().flatten()).collect();
        // The configured one first, then the others in turn.
        let turn = self.silences % (urls.len() + 1);
        let to = turn.checked_sub(1).map(|at| Arc::clone(urls[at]));
        Some(Question { to, version: known.and_then(|known| known.version.clone()) })
    }

    pub(super) fn heard(
        &mut self,
        told: Told,
        now_ms: i64,
        chance: &mut impl Rng,
    ) -> Option<Routing> {
        self.is_asking = false;
        let was_straight = self.is_straight();
        let mut wait_ms = ASK_MS + chance.random_range(-ASK_JITTER_MS..=ASK_JITTER_MS);
        let is_silent = told == Told::Silence;
        self.silences = if is_silent { self.silences + 1 } else { 0 };
        let mut why = String::new();
        match told {
            Told::New { json, version } => match Placement::read(&json) {
                Ok(placement) => self.learn(placement, version, now_ms),
                Err(fault) => {
                    (self.known, wait_ms) = (None, RARELY_MS);
                    why = format!("what it says can't be read: {fault}");
                }
            },
            Told::Same => {
                if let Some(known) = &mut self.known {
                    known.heard_ms = now_ms;
                }
            }
            Told::None(reason) => {
                (self.known, wait_ms, why) = (None, RARELY_MS, reason);
            }
            Told::Silence => {
                "nobody answers".clone_into(&mut why);
                // One that may know is asked at once, and where nobody is known, in a while.
                let urls = self.known.iter().flat_map(|known| &known.urls);
                let others = urls.flatten().count();
                if !self.silences.is_multiple_of(others + 1) {
                    wait_ms = PAUSE_MS;
                }
                self.known.take_if(|known| now_ms - known.heard_ms > STALE_MS);
            }
        }
        self.due_ms = now_ms.saturating_add(wait_ms);
        let known = self.known.as_ref();
        let reason = known.map_or(why, |known| known.placement.reason.clone());
        match (was_straight, self.is_straight()) {
            (false, true) => Some(Routing::Straight),
            (true, false) => Some(Routing::NotStraight(reason)),
            (true, true) | (false, false) => None,
        }
    }

    /// Where the series of a request go; `None` where all of them go to the configured URL.
    pub(super) fn routes(&self, now_ms: i64) -> Option<Routes> {
        let known = self.known.as_ref().filter(|_| self.is_straight())?;
        let is_avoided =
            |url: &Arc<str>| self.avoided.get(url).is_some_and(|avoided| now_ms < avoided.until_ms);
        let urls = known.urls.iter().map(|url| url.clone().filter(|url| !is_avoided(url)));
        Some(Routes {
            placement: Arc::clone(&known.placement),
            tenant: TenantKey::of(&known.placement.tenant),
            urls: urls.collect(),
        })
    }

    /// A request went to a member at once, and was answered as by one that takes pushes, or not.
    pub(super) fn reached(&mut self, url: &Arc<str>, well: bool, now_ms: i64) {
        if well {
            self.avoided.remove(url);
            return;
        }
        let before = self.avoided.get(url).map_or(0, |avoided| avoided.wait_ms);
        let wait_ms = (before * 2).clamp(AVOID_MS, AVOID_MS_MAX);
        let until_ms = now_ms.saturating_add(wait_ms);
        self.avoided.insert(Arc::clone(url), Avoided { until_ms, wait_ms });
        self.hurry(now_ms);
    }

    /// There is a sign that owners have changed.
    pub(super) fn hurry(&mut self, now_ms: i64) {
        self.due_ms = self.due_ms.min(now_ms.max(self.asked_ms.saturating_add(PAUSE_MS)));
    }

    fn is_straight(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.placement.straight)
    }

    fn learn(&mut self, placement: Placement, version: Option<String>, now_ms: i64) {
        let usable = |url: &String| {
            let is_good = is_address(url) && (is_secure(url) || !self.is_secure);
            is_good.then(|| Arc::from(url.as_str()))
        };
        let urls: Vec<Option<Arc<str>>> =
            placement.members.iter().map(|member| member.url.as_ref().and_then(usable)).collect();
        self.avoided.retain(|url, _| urls.iter().flatten().any(|own| own == url));
        let placement = Arc::new(placement);
        self.known = Some(Known { placement, version, urls, heard_ms: now_ms });
    }
}

impl Routes {
    /// The member that gets such a series; `None`: whoever answers at the configured URL.
    pub(super) fn member_for(
        &self,
        labels: &SentLabels<'_>,
        buffer: &mut Vec<u8>,
    ) -> Option<usize> {
        let at = self.placement.owner(self.tenant, labels, buffer)?;
        self.url(at).map(|_| at)
    }

    pub(super) fn url(&self, member: usize) -> Option<&Arc<str>> {
        self.urls.get(member)?.as_ref()
    }
}

fn is_secure(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
}

fn is_address(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
    })
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{model::identity::TENANT_SLOTS, wire::placement::PlacedMember};

    const OWN: &str = "http://gateway:1/api/v1/write";

    struct Edge {
        placing: Placing,
        chance: StdRng,
    }

    impl Edge {
        fn new(url: &str) -> Self {
            let destination =
                Destination { placement: true, ..crate::outbox::tests::destination("a", url) };
            Self { placing: Placing::new(&destination), chance: StdRng::seed_from_u64(1) }
        }

        /// One that has heard this at 0.
        fn told(urls: &[&str]) -> Self {
            let mut edge = Self::new(OWN);
            edge.placing.ask(0).expect("it asks at once");
            assert_eq!(edge.hear(new(urls), 0), Some(Routing::Straight));
            edge
        }

        fn hear(&mut self, told: Told, now_ms: i64) -> Option<Routing> {
            self.placing.heard(told, now_ms, &mut self.chance)
        }

        /// The URL of each of some series, by a letter; `-` is the configured one.
        fn ways(&self, now_ms: i64) -> Option<Vec<String>> {
            let routes = self.placing.routes(now_ms)?;
            let way = |n: usize| {
                let at = routes.member_for(&[("n", &n.to_string())], &mut Vec::new());
                at.map_or("-".to_owned(), |at| routes.url(at).unwrap().to_string())
            };
            let mut ways: Vec<String> = (0..200).map(way).collect();
            ways.sort();
            ways.dedup();
            Some(ways)
        }
    }

    fn placement(urls: &[&str]) -> Placement {
        let member = |url: &&str| PlacedMember {
            name: String::new(),
            url: (!url.is_empty()).then(|| (*url).to_owned()),
        };
        Placement {
            straight: true,
            members: urls.iter().map(member).collect(),
            owners: (0..TENANT_SLOTS).map(|n| u16::try_from(n % urls.len()).ok()).collect(),
            ..Placement::default()
        }
    }

    fn new(urls: &[&str]) -> Told {
        Told::New { json: placement(urls).bytes(), version: Some("v".to_owned()) }
    }

    #[test]
    fn it_is_asked_for_at_once_then_now_and_then_and_sooner_after_a_sign() {
        let mut edge = Edge::told(&["http://a/"]);
        assert_eq!(edge.placing.ask(ASK_MS - ASK_JITTER_MS - 1), None);
        let again = edge.placing.ask(ASK_MS + ASK_JITTER_MS);
        assert_eq!(again, Some(Question { to: None, version: Some("v".to_owned()) }));
        assert_eq!(edge.placing.ask(1_000_000), None, "one question at a time");
        assert_eq!(edge.hear(Told::Same, 10_000), None);
        edge.placing.hurry(10_000);
        assert!(edge.placing.ask(10_000).is_some());
        assert_eq!(edge.hear(Told::Same, 10_001), None);
        edge.placing.hurry(10_001);
        edge.placing.hurry(10_002);
        assert_eq!(edge.placing.ask(10_000 + PAUSE_MS - 1), None, "not as often as it is told");
        assert!(edge.placing.ask(10_000 + PAUSE_MS).is_some());
        let mut off = Edge::new(OWN);
        off.placing.is_on = false;
        assert_eq!(off.placing.ask(0), None);
    }

    #[test]
    fn series_go_to_their_owners_while_there_is_a_placement() {
        let mut edge = Edge::new(OWN);
        assert_eq!(edge.ways(0), None);
        edge.placing.ask(0);
        edge.hear(new(&["http://a/", "", "http://b/"]), 0);
        assert_eq!(edge.ways(0).unwrap(), ["-", "http://a/", "http://b/"]);
        let reason = "relabelled".to_owned();
        let told = Placement { reason: reason.clone(), ..Placement::default() };
        let change = edge.hear(Told::New { json: told.bytes(), version: None }, 1);
        assert_eq!((change, edge.ways(1)), (Some(Routing::NotStraight(reason)), None));
    }

    #[test]
    fn who_says_nothing_of_the_kind_gets_everything_and_is_asked_rarely() {
        for told in [
            Told::None("HTTP status 404".to_owned()),
            Told::New { json: b"<html>".to_vec(), version: None },
        ] {
            let mut edge = Edge::told(&["http://a/"]);
            assert!(matches!(edge.hear(told, 10), Some(Routing::NotStraight(_))));
            assert_eq!(edge.ways(10), None);
            assert_eq!(edge.placing.ask(RARELY_MS), None);
            assert!(edge.placing.ask(RARELY_MS + 10).is_some());
        }
    }

    #[test]
    fn while_the_gateway_is_silent_the_others_are_asked_in_turn() {
        let mut edge = Edge::told(&["http://a/", "http://b/"]);
        let mut asked = Vec::new();
        let mut now_ms = 0;
        while now_ms < STALE_MS {
            now_ms += 10;
            if let Some(question) = edge.placing.ask(now_ms) {
                asked.push(question.to.map_or("-".to_owned(), |to| to.to_string()));
                assert_eq!(edge.hear(Told::Silence, now_ms), None);
            }
        }
        assert_eq!(asked[..6], ["-", "http://a/", "http://b/", "-", "http://a/", "http://b/"]);
        assert!(edge.ways(now_ms).is_some());
        edge.placing.due_ms = 0;
        edge.placing.ask(STALE_MS + 1);
        let change = edge.hear(Told::Silence, STALE_MS + 1);
        assert!(matches!(change, Some(Routing::NotStraight(_))), "{change:?}");
        assert_eq!(edge.ways(STALE_MS + 1), None);
    }

    #[test]
    fn who_can_not_be_reached_is_passed_over_longer_each_time() {
        let mut edge = Edge::told(&["http://a/", "http://b/"]);
        let url: Arc<str> = "http://a/".into();
        let mut now_ms = 0;
        for wait_ms in [10, 20, 40, 80, 160, 320, 600, 600].map(|seconds| seconds * 1000) {
            edge.placing.reached(&url, false, now_ms);
            assert_eq!(edge.ways(now_ms + wait_ms - 1).unwrap(), ["-", "http://b/"]);
            now_ms += wait_ms;
            assert_eq!(edge.ways(now_ms).unwrap(), ["http://a/", "http://b/"]);
        }
        edge.placing.reached(&url, true, now_ms);
        edge.placing.reached(&url, false, now_ms);
        assert_eq!(edge.ways(now_ms + AVOID_MS).unwrap(), ["http://a/", "http://b/"]);
        edge.hear(new(&["http://b/"]), 0);
        assert!(edge.placing.avoided.is_empty(), "one that is gone");
    }

    #[test]
    fn credentials_that_went_by_tls_go_by_tls_and_only_to_addresses() {
        let urls = ["http://a/", "https://b/", "ftp://c/", "no address", "https://me:me@d/"];
        let mut edge = Edge::new("HTTPS://gateway/api/v1/write");
        edge.hear(new(&urls), 0);
        assert_eq!(edge.ways(0).unwrap(), ["-", "https://b/"]);
        assert_eq!(Edge::told(&urls).ways(0).unwrap(), ["-", "http://a/", "https://b/"]);
    }
}
