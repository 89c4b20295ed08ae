//! Whole members ask each other over real sockets.

mod member;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tokio::time::Instant;

use crate::{
    history::{Entry, EventFilter, Kind, entry::HealthChange},
    model::{member::NodeId, target::TargetId},
    ownership::{verify::About, view::Drain},
    scrape::Health,
    survey::{
        FleetTargets, HealthPast, PATIENCE as ANSWER, answering,
        message::{Answer, Question, decode},
        tests::member::{TestMember, serve_metrics},
    },
};

const TARGETS: usize = 40;

/// One job that is divided, and one that each member scrapes for itself.
fn config(port: u16, targets: std::ops::RangeInclusive<usize>) -> String {
    let targets: Vec<String> = targets.map(|n| format!("127.0.1.{n}:{port}")).collect();
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: divided\n  clustering: {{enabled: true}}\n  static_configs: [{{targets: ['{}']}}]\n- job_name: own\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\nremote_write: [{{name: far, url: 'http://user:geheim@127.0.0.1:1/'}}]\n",
        targets.join("', '")
    )
}

async fn fleet(members: u128) -> Vec<TestMember> {
    let text = config(serve_metrics().await, 1..=TARGETS);
    let mut fleet: Vec<TestMember> = Vec::new();
    for id in 1..=members {
        let peers: Vec<SocketAddr> = fleet.iter().map(|member| member.address).collect();
        fleet.push(TestMember::start(id, &text, &peers).await);
    }
    for member in &fleet {
        let all = |view: &crate::ownership::view::View| view.shares.len() as u128 == members;
        member.until_view("all have a share", all).await;
    }
    fleet
}

async fn end(fleet: Vec<TestMember>) {
    for member in fleet {
        member.end().await;
    }
}

fn divided(targets: &FleetTargets) -> Vec<&crate::survey::FleetTarget> {
    targets.targets.iter().filter(|target| target.is_divided).collect()
}

async fn until_targets(
    member: &TestMember,
    what: &str,
    is_so: impl Fn(&FleetTargets) -> bool,
) -> std::sync::Arc<FleetTargets> {
    let end = Instant::now() + member::PATIENCE;
    loop {
        let targets = member.survey.targets().await;
        if is_so(&targets) {
            return targets;
        }
        assert!(Instant::now() < end, "waited in vain for: {what}; {targets:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_tells_of_the_whole_fleet() {
    let fleet = fleet(3).await;
    for member in &fleet {
        let verified = member.until_verified("all is well", |verified| verified.is_ok).await;
        assert_eq!((verified.targets, verified.members.len()), (TARGETS, 3));
        let scrapes: usize = verified.members.iter().map(|one| one.scrapes.unwrap()).sum();
        assert_eq!(scrapes, TARGETS);
        assert!(verified.members.iter().all(|one| one.asked.answered && one.scrapes > Some(0)));
    }
    let all_up = |targets: &FleetTargets| {
        targets.targets.len() == TARGETS + 3
            && targets.targets.iter().all(|target| target.health() == Health::Up)
    };
    for member in &fleet {
        let targets = until_targets(member, "all targets are up", all_up).await;
        assert!(divided(&targets).iter().all(|one| one.owner.is_some() && one.others.is_empty()));
        let owners: BTreeSet<NodeId> = targets
            .targets
            .iter()
            .filter(|one| !one.is_divided)
            .filter_map(|one| one.owner)
            .collect();
        assert_eq!(owners.len(), 3, "a target that is not divided has a row for each member");
        for target in &targets.targets {
            let fare = target.fare.as_ref().unwrap();
            assert!(!fare.durations.is_empty() && fare.last_scrape_ms.is_some());
            assert_eq!(target.target.labels.get("job"), &*target.target.job);
        }
    }
    let configs = fleet[1].survey.configs().await;
    for one in &configs.members {
        let config = one.config.as_ref().unwrap();
        assert_eq!(config.loaded_ms, 7);
        assert!(config.yaml.contains("divided") && !config.yaml.contains("geheim"));
    }
    let queues = fleet[2].survey.queues().await;
    let names = queues.members.iter().map(|one| one.destinations.as_ref().unwrap()[0].name.clone());
    assert_eq!(names.collect::<Vec<_>>(), ["far".into(), "far".into(), "far".into()]);
    assert!(fleet[0].survey.loads().await.is_complete);
    end(fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_named_and_its_targets_stay_in_sight() {
    let fleet = fleet(2).await;
    let [watcher, mute] = &fleet[..] else { panic!() };
    watcher.until_verified("all is well", |verified| verified.is_ok).await;
    mute.mute.raise();
    let is_mute = |targets: &FleetTargets| targets.asked.iter().any(|asked| !asked.answered);
    let targets = until_targets(watcher, "one is mute", is_mute).await;
    let silent = targets.asked.iter().find(|asked| asked.id == mute.id).unwrap();
    assert_eq!(silent.error.as_deref(), Some("did not answer in time"));
    assert!(silent.took >= ANSWER && silent.took < ANSWER * 2, "{silent:?}");
    let of_mute = divided(&targets);
    let of_mute: Vec<_> = of_mute.iter().filter(|one| one.owner == Some(mute.id)).collect();
    assert!(!of_mute.is_empty() && of_mute.iter().all(|one| one.fare.is_none()), "{of_mute:#?}");
    assert_eq!(divided(&targets).len(), TARGETS);
    let verified = watcher.survey.verify().await;
    let unanswered: Vec<NodeId> = verified.unanswered().map(|asked| asked.id).collect();
    assert_eq!((verified.is_ok, unanswered), (false, vec![mute.id]));
    assert_eq!(verified.unowned_total, 0, "of what the silent one has nothing is known");
    assert_eq!(verified.targets, TARGETS);
    end(fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_serves_all_who_ask_meanwhile() {
    let member = TestMember::alone(1, &config(serve_metrics().await, 1..=3)).await;
    let ask = || member.survey.targets();
    let rounds = tokio::join!(ask(), ask(), ask());
    assert_eq!([rounds.0.round, rounds.1.round, rounds.2.round], [1; 3]);
    let later = until_targets(&member, "another round", |targets| targets.round > 1).await;
    assert_eq!(later.round, 2);
    member.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_alone_asks_itself() {
    let member = TestMember::alone(1, &config(serve_metrics().await, 1..=3)).await;
    let verified = member.until_verified("all is well", |verified| verified.is_ok).await;
    assert_eq!((verified.targets, verified.members.len()), (3, 1));
    let targets = member.survey.targets().await;
    assert_eq!((divided(&targets).len(), targets.targets.len()), (3, 4));
    let refused = member.division.drain().await.unwrap_err();
    assert!(refused.contains("in no cluster"), "{refused}");
    member.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_one_member_alone_has_found_is_named() {
    let port = serve_metrics().await;
    let one = TestMember::start(1, &config(port, 1..=TARGETS), &[]).await;
    // Were the other one ever to have its share, it would hand it over, what it alone knows as well.
    one.until_verified("it has its share", |verified| verified.is_ok).await;
    let other = TestMember::start(2, &config(port, 1..=TARGETS + 20), &[one.address]).await;
    // Those of the extra ones that are the first member's own are nobody's.
    for member in [&one, &other] {
        let verified = member
            .until_verified("both answer, and differ", |verified| {
                let scrape = |one: &crate::survey::VerifiedMember| one.scrapes > Some(0);
                verified.members.len() == 2
                    && verified.members.iter().all(scrape)
                    && verified.unowned_total > 0
            })
            .await;
        assert!(!verified.is_ok && verified.doubled_total == 0, "{verified:#?}");
        assert_eq!(verified.targets, TARGETS + 20);
        let urls = verified.unowned.iter().map(|one| one.url.clone().unwrap());
        let last = |url: String| -> usize {
            let host = url.split(':').nth(1).unwrap();
            host.rsplit('.').next().unwrap().parse().unwrap()
        };
        assert!(urls.map(last).all(|number| number > TARGETS), "{verified:#?}");
        assert!(verified.disagreements.iter().any(|one| one.about == About::Targets));
    }
    // Those that the first member does not know are described to it by the one that scrapes them.
    let targets = one.survey.targets().await;
    let known = divided(&targets).len();
    assert!(known > TARGETS && known < TARGETS + 20, "{known}");
    end(vec![one, other]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_drained_stays_and_comes_back() {
    let fleet = fleet(2).await;
    let [watcher, drained] = &fleet[..] else { panic!() };
    watcher.until_verified("all is well", |verified| verified.is_ok).await;
    assert_eq!(drained.division.drain().await, Ok(Drain::Draining));
    assert_ne!(drained.division.drain().await, Ok(Drain::Working), "harmless to repeat");
    drained.until_view("its share is handed over", |view| view.drain == Drain::Drained).await;
    let is_idle = |verified: &crate::survey::Verified| {
        let of_drained = verified.members.iter().find(|one| one.asked.id == drained.id);
        verified.is_ok && of_drained.unwrap().scrapes == Some(0)
    };
    let verified = watcher.until_verified("it scrapes nothing divided", is_idle).await;
    assert_eq!((verified.targets, verified.members.len()), (TARGETS, 2));
    // What is not divided goes on, and it still answers.
    let own = |targets: &FleetTargets| {
        targets.targets.iter().any(|one| !one.is_divided && one.owner == Some(drained.id))
    };
    until_targets(watcher, "its own job goes on", own).await;
    let refused = watcher.division.drain().await.unwrap_err();
    assert!(refused.contains("no other member works"), "{refused}");

    assert_eq!(drained.division.undrain().await, Drain::Working);
    assert_eq!(drained.division.undrain().await, Drain::Working, "harmless to repeat");
    let works = |verified: &crate::survey::Verified| {
        let of_drained = verified.members.iter().find(|one| one.asked.id == drained.id);
        verified.is_ok && of_drained.unwrap().scrapes > Some(0)
    };
    drained.until_verified("it has its share again", works).await;
    // Drained, it stops at once.
    drained.division.drain().await.unwrap();
    drained.until_view("its share is handed over", |view| view.drain == Drain::Drained).await;
    let began = Instant::now();
    drained.division.leave().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    end(fleet).await;
}

/// A question of a later version is answered, and nothing ends by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_not_known_is_answered_so() {
    let text = config(serve_metrics().await, 1..=3);
    let member = TestMember::alone(1, &text).await;
    let asker = &member.survey.shared.asker;
    for question in [&[99, 1, 2][..], &[], &[0xff; 64]] {
        let answer = answering::answer(asker.sources(), question).await;
        assert!(matches!(decode(&answer), Some(Answer::<()>::Unknown)), "{question:?}");
    }
    // An answer in a form that this version does not have.
    let until = Instant::now() + ANSWER;
    let answer = asker.ask::<Vec<String>>(member.id, &Question::Targets, until).await;
    let reason = answer.unwrap_err();
    assert!(reason.contains("another version"), "{reason}");
    member.end().await;
}

/// More than two pages of what one has seen before the other was there.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_later_fetches_what_it_missed() {
    const CHANGES: i64 = 5_000;
    let text = config(serve_metrics().await, 1..=3);
    let first = TestMember::start(1, &text, &[]).await;
    let began_ms = crate::runtime::clock::now_ms() - 1_000_000;
    for n in 0..CHANGES {
        first.history.record(Entry::Health(HealthChange {
            at_ms: began_ms + n,
            target: TargetId(7),
            job: "gone".into(),
            url: "http://a:1/metrics".to_owned(),
            is_up: n % 2 == 0,
            error: (n % 2 == 1).then(|| "connection refused".to_owned()),
            by: first.id,
        }));
    }
    let seen = async |member: &TestMember| {
        let filter = EventFilter { kind: Some(Kind::Health), ..EventFilter::default() };
        let page = member.history.events(filter, None, 100_000).await.unwrap();
        page.items.iter().filter(|event| event.at_ms < began_ms + CHANGES).count()
    };
    let all = usize::try_from(CHANGES).unwrap();
    let deadline = Instant::now() + member::PATIENCE;
    while seen(&first).await < all {
        assert!(Instant::now() < deadline, "{} are written", seen(&first).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let second = TestMember::start(2, &text, &[first.address]).await;
    tokio::time::timeout(member::PATIENCE, second.history.is_caught_up()).await.unwrap();
    assert_eq!(seen(&second).await, all);
    // Both tell of it, and it is shown once.
    let past = HealthPast {
        target: TargetId(7),
        job: Some("gone".into()),
        from_ms: Some(began_ms + 100),
        until_ms: Some(began_ms + 110),
        limit: 5,
    };
    let health = second.survey.health_history(past).await;
    let found: Vec<i64> = health.events.iter().map(|event| event.at_ms - began_ms).collect();
    assert_eq!(found, [109, 108, 107, 106, 105]);
    assert_eq!(health.events[0].error.as_deref(), Some("connection refused"));
    assert!(health.asked.iter().all(|asked| asked.answered) && health.asked.len() == 2);
    end(vec![first, second]).await;
}
