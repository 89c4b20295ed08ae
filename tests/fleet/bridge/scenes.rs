//! What is done to the fleet, and what must come of it.

use std::{env, time::Duration};

use rustix::process::Signal;
use tokio::time::sleep;

use super::{
    agent::{Clock, clock_library},
    judge::{Begun, Expected, Judged, Size, among},
    table::{Bound, Table},
    watch::Members,
    wires::Wires,
    world::World,
};

/// A few things, one after the other, on few members: what a test has time for.
pub(crate) async fn short() {
    let size = Size { members: 4, targets: 40, interval: Duration::from_secs(2) };
    let mut world = World::start(size).await;
    let mut stage = Stage { world: &mut world, table: Table::default() };
    for scene in [Scene::Hang(1), Scene::Mute, Scene::Loss(10)] {
        stage.play(scene, 0).await;
    }
    stage.table.print(size);
    for (event, bound) in BOUNDS {
        stage.table.check(event, bound, size);
    }
}

const HANG: Bound =
    Bound { agreed_ms: 10_000, late_ms: 10_000, splits: false, lost_max: 0, repeated_max: 0 };
const SPLIT: Bound = Bound { splits: true, ..HANG };
const BOUNDS: &[(&str, Bound)] = &[
    ("SIGSTOP of 1", HANG),
    ("it wakes", Bound { late_ms: 1_000, ..HANG }),
    (MUTE[0], SPLIT),
    (MUTE[1], SPLIT),
    // Nobody was taken for dead. Now and then TCP repeats a packet too late for an answer.
    (LOSS_10, Bound { agreed_ms: 0, late_ms: 5_000, lost_max: 3, ..HANG }),
];

pub(crate) async fn long() {
    let number =
        |name: &str, default: u64| env::var(name).map_or(default, |text| text.parse().unwrap());
    let size = Size {
        members: usize::try_from(number("STARLING_MEMBERS", 10)).unwrap(),
        targets: usize::try_from(number("STARLING_TARGETS", 300)).unwrap(),
        interval: Duration::from_secs(number("STARLING_INTERVAL", 5)),
    };
    let chosen = env::var("STARLING_EVENTS").unwrap_or_default();
    let is_chosen =
        |name: &str| chosen.is_empty() || chosen.split(',').any(|part| name.contains(part));
    let mut world = World::start(size).await;
    println!("{size:?}, in {}", world.directory().display());
    let mut stage = Stage { world: &mut world, table: Table::default() };
    for round in 0..number("STARLING_ROUNDS", 3) {
        for (name, scene) in SCENES {
            if is_chosen(name) {
                println!("round {round}: {name}");
                stage.play(*scene, usize::try_from(round).unwrap()).await;
            }
        }
        stage.table.print(size);
    }
}

#[derive(Clone, Copy)]
enum Scene {
    Stop,
    Kill(usize),
    Hang(usize),
    Unplug,
    Mute,
    Deafen,
    Halves,
    Loss(u32),
    Clock,
    Roll,
}

const SCENES: &[(&str, Scene)] = &[
    ("stop", Scene::Stop),
    ("kill-one", Scene::Kill(1)),
    ("kill-three", Scene::Kill(3)),
    ("hang-one", Scene::Hang(1)),
    ("hang-three", Scene::Hang(3)),
    ("unplug", Scene::Unplug),
    ("mute", Scene::Mute),
    ("deafen", Scene::Deafen),
    ("halves", Scene::Halves),
    ("loss-10", Scene::Loss(10)),
    ("loss-30", Scene::Loss(30)),
    ("clock", Scene::Clock),
    ("roll", Scene::Roll),
];

struct Stage<'w> {
    world: &'w mut World,
    table: Table,
}

impl Stage<'_> {
    async fn play(&mut self, scene: Scene, round: usize) {
        let members = self.world.size.members;
        let some = |n: usize| (0..n).map(|k| (round * n + k) % members + 1).collect::<Members>();
        let one = some(1);
        match scene {
            Scene::Stop => self.stop(&one).await,
            Scene::Kill(n) => self.kill(&some(n)).await,
            Scene::Hang(n) => self.hang(&some(n)).await,
            Scene::Unplug => self.cut(UNPLUGGED, &one, Wires::unplug).await,
            Scene::Mute => self.cut(MUTE, &one, Wires::mute).await,
            Scene::Deafen => self.cut(DEAF, &one, Wires::deafen).await,
            Scene::Halves => self.halves().await,
            Scene::Loss(percent) => self.lossy(percent).await,
            Scene::Clock => self.clock(&one).await,
            Scene::Roll => self.roll().await,
        }
    }

    fn others(&self, victims: &Members) -> Members {
        self.world.all().difference(victims).copied().collect()
    }

    /// What is left out of account is where they are when it ends: in two intervals each target has
    /// been due.
    fn after(&self) -> Duration {
        self.world.size.interval * 2 + Duration::from_secs(1)
    }

    async fn judge(
        &mut self,
        event: &'static str,
        begun: Begun,
        expected: Expected,
        victims: &Members,
    ) {
        let judged = Judged { expected, victims: victims.clone(), after: self.after() };
        println!("  {event}");
        let outcome = self.world.judge.end(begun, &judged).await;
        self.table.add(event, outcome);
    }

    async fn start(&mut self, event: &'static str, members: &Members, clock: Clock) {
        let begun = self.world.judge.begin();
        for &member in members {
            self.world.agent(member).start(clock);
        }
        let expected = among(&self.world.all());
        self.judge(event, begun, expected, members).await;
    }

    async fn stop(&mut self, victims: &Members) {
        let begun = self.world.judge.begin();
        for &member in victims {
            self.world.agent(member).stop().await;
        }
        let expected = among(&self.others(victims));
        self.judge("planned stop", begun, expected, &Members::new()).await;
        self.start("start", victims, Clock::default()).await;
    }

    async fn kill(&mut self, victims: &Members) {
        let begun = self.world.judge.begin();
        for &member in victims {
            self.world.agent(member).kill();
        }
        let event = if victims.len() == 1 { "kill -9 of 1" } else { "kill -9 of 3" };
        let expected = among(&self.others(victims));
        self.judge(event, begun, expected, victims).await;
        let event = if victims.len() == 1 { "its restart" } else { "restart of the 3" };
        self.start(event, victims, Clock::default()).await;
    }

    async fn hang(&mut self, victims: &Members) {
        let is_one = victims.len() == 1;
        let begun = self.world.judge.begin();
        self.world.signal(victims, Signal::STOP);
        let expected = among(&self.others(victims));
        let event = if is_one { "SIGSTOP of 1" } else { "SIGSTOP of 3" };
        self.judge(event, begun, expected, victims).await;
        let begun = self.world.judge.begin();
        self.world.signal(victims, Signal::CONT);
        let expected = among(&self.world.all());
        let event = if is_one { "it wakes" } else { "the 3 wake" };
        self.judge(event, begun, expected, victims).await;
    }

    async fn cut(&mut self, [cut, healed]: Events, victims: &Members, how: fn(usize)) {
        let begun = self.world.judge.begin();
        for &member in victims {
            how(member);
        }
        let expected = among(&self.others(victims));
        self.judge(cut, begun, expected, victims).await;
        let begun = self.world.judge.begin();
        for &member in victims {
            Wires::plug(member);
        }
        Wires::heal();
        let expected = among(&self.world.all());
        self.judge(healed, begun, expected, victims).await;
    }

    /// Each half scrapes all; that is told apart from scraping twice by nobody, so it is shown.
    async fn halves(&mut self) {
        let all = self.world.all();
        let half: Members = all.iter().copied().take(all.len() / 2).collect();
        let begun = self.world.judge.begin();
        Wires::part(&half);
        let mut expected = among(&half);
        expected.extend(among(&self.others(&half)));
        self.judge("halves cut apart", begun, expected, &Members::new()).await;
        let begun = self.world.judge.begin();
        Wires::heal();
        self.judge("halves healed", begun, among(&all), &all).await;
    }

    /// Judged when it is over: what was only late has arrived by then.
    async fn lossy(&mut self, percent: u32) {
        let begun = self.world.judge.begin();
        Wires::lose(percent);
        sleep(self.world.size.interval * INTERVALS).await;
        Wires::heal();
        let event = if percent == 10 { LOSS_10 } else { LOSS_30 };
        self.judge(event, begun, among(&self.world.all()), &Members::new()).await;
    }

    async fn clock(&mut self, victims: &Members) {
        if clock_library().is_none() {
            println!("  skipped: no libfaketime (Debian: faketime)");
            return;
        }
        for &member in victims {
            self.world.agent(member).stop().await;
        }
        self.world.judge.settled(&among(&self.others(victims))).await;
        self.start("start with a clock 2 s ahead", victims, Clock { ahead_seconds: 2 }).await;
        let begun = self.world.judge.begin();
        sleep(self.world.size.interval * INTERVALS).await;
        let expected = among(&self.world.all());
        self.judge("one clock 2 s ahead", begun, expected, &Members::new()).await;
        self.stop(victims).await;
    }

    async fn roll(&mut self) {
        let begun = self.world.judge.begin();
        let all = self.world.all();
        for &member in &all {
            self.world.agent(member).stop().await;
            self.world.agent(member).start(Clock::default());
            self.world.judge.settled(&among(&all)).await;
        }
        self.judge("rolling restart", begun, among(&all), &Members::new()).await;
    }
}

/// What happens, and its end.
type Events = [&'static str; 2];

const UNPLUGGED: Events = ["1 cut off", "it is back"];
const MUTE: Events = ["1 not heard", "it is heard again"];
const DEAF: Events = ["1 hears nobody", "it hears again"];
const LOSS_10: &str = "10 % loss for a while";
const LOSS_30: &str = "30 % loss for a while";
/// A state that changes nothing lasts for so many intervals.
const INTERVALS: u32 = 5;
