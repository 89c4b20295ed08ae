//! What is done to the hosts, one thing after the other, and what must come of it.

mod daily;
mod harm;

use std::{env, path::Path, time::Duration};

use tokio::time::Instant;

use super::{
    journal::Since,
    judge::{Begun, Size},
    table::Bound,
    watch::Members,
    world::World,
};

/// Scenes to play beside those that all others need; all, where it is not said.
const CHOSEN: &str = "STARLING_SCENES";

/// By plan: nothing is missed, nothing is made twice, no sample is refused.
const PLANNED: Bound =
    Bound { agreed_ms: 30_000, late_ms: 500, splits: false, lost_max: 0, repeated_max: 0 };

pub(super) async fn play(folder: &Path) {
    let size = Size { members: 4, targets: 36, interval: Duration::from_secs(5) };
    let mut stage = Stage { world: World::start(size, folder).await, began: Instant::now() };
    stage.enable().await;
    for (name, is_chosen) in chosen() {
        if !is_chosen {
            println!("left out: {name}");
            continue;
        }
        stage.tell(name);
        match name {
            "scale-out" => stage.scale_out().await,
            "upgrade" => stage.upgrade().await,
            "restart" => stage.restart().await,
            "socket" => stage.socket().await,
            "kill" => stage.kill().await,
            "hang" => stage.hang().await,
            "power" => stage.power().await,
            "cable" => stage.cable().await,
            "blackout" => stage.blackout().await,
            _ => unreachable!("{name}"),
        }
    }
    stage.tell("end");
    stage.world.judged().await;
}

const SCENES: &[&str] =
    &["scale-out", "upgrade", "restart", "socket", "kill", "hang", "power", "cable", "blackout"];

fn chosen() -> Vec<(&'static str, bool)> {
    let chosen = env::var(CHOSEN).unwrap_or_default();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.split(',').any(|one| one == name);
    for one in chosen.split(',').filter(|one| !one.is_empty()) {
        assert!(SCENES.contains(&one), "`{CHOSEN}` names `{one}`; there are {SCENES:?}");
    }
    SCENES.iter().map(|name| (*name, is_chosen(name))).collect()
}

struct Stage {
    world: World,
    began: Instant,
}

impl Stage {
    fn tell(&self, what: &str) {
        println!("{:5.1} s: {what}", self.began.elapsed().as_secs_f64());
    }

    fn begin(&self) -> (Begun, Since) {
        (self.world.judge.begin(), Since::now())
    }

    /// Each target has been due.
    fn round(&self) -> Duration {
        self.world.size.interval + Duration::from_secs(1)
    }

    async fn planned(&mut self, event: &'static str, begun: Begun) {
        let after = self.round();
        self.world.over(event, begun, PLANNED, &Members::new(), after).await;
        self.world.is_verified().await;
    }
}
