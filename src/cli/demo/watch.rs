//! Watches a demo: tells what happens to its agents and what its story makes of it, until it ends.

use std::{io, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::{
    cli::{
        demo::{
            Story,
            event::Event,
            flock::{Change, Flock},
            introduction::Introduction,
            show::{Show, Told},
        },
        signals::Signals,
    },
    runtime::stop::Stop,
};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The demo, and how it is shown.
pub(super) struct Watch<S> {
    story: S,
    flock: Flock,
    stop: Stop,
    show: Show,
    start: Instant,
}

impl<S: Story> Watch<S> {
    pub(super) fn new(story: S, flock: Flock, stop: Stop, is_json: bool) -> Self {
        Self { story, flock, stop, show: Show::new(is_json), start: Instant::now() }
    }

    /// Until somebody stops it, the time is over, or no agent is left. Whether all was as promised.
    pub(super) async fn run(
        mut self,
        length: Option<Duration>,
        mut signals: Signals,
    ) -> Result<bool, String> {
        self.introduce().map_err(|e| e.to_string())?;
        let until = self.start + length.unwrap_or(YEAR);
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.flock.is_over() {
            tokio::select! {
                () = signals.stop.raised() => break,
                // The terminal is gone.
                Some(()) = signals.hangups.recv() => break,
                () = sleep_until(until) => break,
                change = self.flock.next_change() => {
                    self.changed(change?).map_err(|e| e.to_string())?;
                }
                _ = ticks.tick() => self.look(false).map_err(|e| e.to_string())?,
            }
        }
        self.story.rest().await;
        if self.flock.terminate() {
            self.tell(&Event::Stopping).map_err(|e| e.to_string())?;
            self.flock.stopped().await?;
        }
        self.stop.raise();
        let (is_sound, verdict) = self.story.verdict(length.is_some());
        self.show.text(&*verdict).map_err(|e| e.to_string())?;
        Ok(is_sound)
    }

    fn introduce(&self) -> io::Result<()> {
        let around = self.story.surroundings(&self.flock);
        self.show.text(&Introduction::new(&self.flock, around)?)
    }

    fn changed(&mut self, change: Change) -> io::Result<()> {
        let event = self.story.changed(change, &self.flock);
        self.tell(&*event)?;
        if self.flock.is_over() {
            self.tell(&Event::NobodyLeft)?;
        }
        self.look(true)
    }

    fn look(&mut self, mut has_changed: bool) -> io::Result<()> {
        while let Some(event) = self.story.next_event() {
            self.tell(&*event)?;
            has_changed = true;
        }
        let elapsed = self.start.elapsed();
        self.show.summary(&*self.story.summary(elapsed), elapsed.as_secs(), has_changed)
    }

    fn tell(&mut self, event: &dyn Told) -> io::Result<()> {
        self.show.event(event, self.start.elapsed().as_secs())
    }
}
