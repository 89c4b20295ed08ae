//! What is done to the hosts, one thing after the other, and what must come of it.

mod daily;
mod harm;
mod machine;
mod replace;

use std::{env, path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    journal::Since,
    judge::{Begun, STORED_WITHIN, Size},
    table::Bound,
    watch::Members,
    world::World,
};

/// Which scenes to play, with commas; all, where it is not said. The first one is always played, as
/// others need what comes of it.
const CHOSEN: &str = "STARLING_SCENES";
/// Where it is set, each event is looked at until all targets have been due once more, so that what
/// it did is told by its own row of the table. Without it, the next event begins sooner, and is held
/// to what this one left, too.
const MEASURE: &str = "STARLING_MEASURE";
const SCENES: &[&str] = &[
    "enable", "upgrade", "restart", "socket", "kill", "power", "cable", "replace", "blackout",
    "full", "clock",
];

/// By plan: nothing is missed, nothing is made twice, no sample is refused.
const PLANNED: Bound =
    Bound { agreed_ms: 30_000, late_ms: 500, splits: false, lost_max: 0, repeated_max: 0 };
/// One interval and what it takes to notice, and what a busy machine is late. What the victim had in
/// flight may have been stored, and comes again when it is back.
const CRASH: Bound = Bound { agreed_ms: 10_000, late_ms: 5_500, repeated_max: 200, ..PLANNED };
/// Both sides scrape what they reach, and one that comes back is believed until it has been told.
const SPLIT: Bound = Bound { splits: true, ..CRASH };

pub(super) async fn play(folder: &Path) {
    let size = Size { members: 4, targets: 36, interval: Duration::from_secs(5) };
    let world = World::start(size, folder).await;
    let measures = env::var_os(MEASURE).is_some();
    let mut stage = Stage { world, began: Instant::now(), measures };
    for (name, is_chosen) in chosen() {
        if !is_chosen {
            println!("left out, as {CHOSEN} does not name it: {name}");
            continue;
        }
        stage.tell(name);
        match name {
            "enable" => stage.enable().await,
            "upgrade" => stage.upgrade().await,
            "restart" => stage.restart().await,
            "socket" => stage.socket().await,
            "kill" => stage.kill().await,
            "power" => stage.power().await,
            "cable" => stage.cable().await,
            "replace" => stage.replace().await,
            "blackout" => stage.blackout().await,
            "full" => stage.full().await,
            "clock" => stage.clock().await,
            _ => unreachable!("{name}"),
        }
    }
    let (begun, _) = stage.begin();
    sleep(stage.round()).await;
    stage.planned("nothing", begun).await;
    stage.tell("the end; judging");
    stage.world.judged().await;
}

fn chosen() -> Vec<(&'static str, bool)> {
    let chosen = env::var(CHOSEN).unwrap_or_default();
    let chosen: Vec<_> = chosen.split(',').filter(|one| !one.is_empty()).collect();
    for one in &chosen {
        assert!(SCENES.contains(one), "`{CHOSEN}` names `{one}`; expected some of {SCENES:?}");
    }
    let is_chosen = |name| chosen.is_empty() || name == SCENES[0] || chosen.contains(&name);
    SCENES.iter().map(|&name| (name, is_chosen(name))).collect()
}

struct Stage {
    world: World,
    began: Instant,
    measures: bool,
}

impl Stage {
    fn tell(&self, what: &str) {
        println!("{:5.1} s: {what}", self.began.elapsed().as_secs_f64());
    }

    fn begin(&self) -> (Begun, Since) {
        (self.world.judge.begin(), Since::now())
    }

    /// Who is about to be harmed has told all that others gave it before: that would be lost with
    /// it, and is not what the event is about.
    async fn begin_harm(&self) -> (Begun, Since) {
        sleep(STORED_WITHIN).await;
        self.begin()
    }

    /// Each target has been due.
    fn round(&self) -> Duration {
        self.world.size.interval + Duration::from_secs(1)
    }

    /// An event that nobody notices who looks at samples.
    async fn planned(&mut self, event: &'static str, begun: Begun) {
        self.over(event, begun, PLANNED, &Members::new()).await;
    }

    /// Targets of a victim may have been scraped late, and then their next time comes.
    async fn crashed(&mut self, event: &'static str, begun: Begun, victims: &Members) {
        self.over(event, begun, CRASH, victims).await;
    }

    async fn over(&mut self, event: &'static str, begun: Begun, bound: Bound, victims: &Members) {
        let after = match (bound.late_ms > PLANNED.late_ms, self.measures) {
            (true, _) => self.round() * 2,
            (false, true) => self.round(),
            (false, false) => Duration::ZERO,
        };
        self.world.over(event, begun, bound, victims, after).await;
        self.world.is_verified().await;
    }
}
