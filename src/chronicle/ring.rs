//! The last few events, and who is told of new ones. Whoever is slow misses what falls out of the
//! ring, and is told so; nobody waits for him.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::history::Event;

/// So many events are remembered for those who come back.
const EVENTS_MAX: usize = 4_096;

/// Names an event of one run of this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventId {
    /// When the run began.
    pub start_ms: i64,
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start_ms, self.number)
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (start, number) = text.split_once('-').ok_or(())?;
        let start_ms = start.parse().map_err(drop)?;
        Ok(Self { start_ms, number: number.parse().map_err(drop)? })
    }
}

/// An event as it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub id: EventId,
    pub event: Arc<Event>,
}

/// How a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Nothing was asked for, or nothing is missing between what was seen and what comes.
    Complete,
    /// Too old, or of another run: what lies between is not known here, and is to be asked for anew.
    Reset,
}

/// What comes next to who listens.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Event(Live),
    /// He was too slow, and has missed events.
    Reset,
}

pub(super) struct Ring {
    start_ms: i64,
    content: Mutex<Content>,
    /// The number of the next event.
    news: watch::Sender<u64>,
}

struct Content {
    events: VecDeque<Arc<Event>>,
    /// Of the first of `events`.
    first: u64,
    is_closed: bool,
}

impl Ring {
    pub(super) fn new(start_ms: i64) -> Self {
        let content = Content { events: VecDeque::new(), first: 1, is_closed: false };
        Self { start_ms, content: Mutex::new(content), news: watch::channel(1).0 }
    }

    pub(super) fn push(&self, event: Event) {
        let next = {
            let mut content = self.lock();
            if content.events.len() == EVENTS_MAX {
                content.events.pop_front();
                content.first += 1;
            }
            content.events.push_back(Arc::new(event));
            content.next()
        };
        self.news.send_replace(next);
    }

    /// No more events come.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.news.send_modify(|_| {});
    }

    pub(super) fn subscribe(self: &Arc<Self>, after: Option<EventId>) -> Subscription {
        let content = self.lock();
        let next = content.next();
        let known = content.first..=next;
        let wanted =
            after.filter(|id| id.start_ms == self.start_ms).map(|id| id.number.saturating_add(1));
        let (next, replay) = match (after, wanted) {
            (None, _) => (next, Replay::Complete),
            (Some(_), Some(wanted)) if known.contains(&wanted) => (wanted, Replay::Complete),
            (Some(_), _) => (next, Replay::Reset),
        };
        Subscription { ring: Arc::clone(self), news: self.news.subscribe(), next, replay }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn get(&self, number: u64) -> Option<Arc<Event>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.events.get(at).cloned()
    }
}

/// One listener. He holds nothing but his place in the ring.
pub struct Subscription {
    ring: Arc<Ring>,
    news: watch::Receiver<u64>,
    next: u64,
    pub replay: Replay,
}

impl Subscription {
    /// Of the event before the first one that comes: where a listener who has none yet stands.
    pub fn place(&self) -> EventId {
        EventId { start_ms: self.ring.start_ms, number: self.next - 1 }
    }

    /// `None` when the agent ends. May be given up at any time: no event is lost by that.
    pub async fn next(&mut self) -> Option<Next> {
        loop {
            self.news.borrow_and_update();
            {
                let content = self.ring.lock();
                if self.next < content.first {
                    self.next = content.next();
                    return Some(Next::Reset);
                }
                if let Some(event) = content.get(self.next) {
                    let id = EventId { start_ms: self.ring.start_ms, number: self.next };
                    self.next += 1;
                    return Some(Next::Event(Live { id, event }));
                }
                if content.is_closed {
                    return None;
                }
            }
            self.news.changed().await.ok()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kind;

    fn event(number: i64) -> Event {
        Event { id: Some(number), ..Event::new(Kind::Notice, 0, String::new()) }
    }

    #[tokio::test]
    async fn who_is_slow_is_told_so_and_goes_on_with_what_is_new() {
        let ring = Arc::new(Ring::new(7));
        let mut slow = ring.subscribe(None);
        let count = i64::try_from(EVENTS_MAX).unwrap() + 10;
        (1..=count).for_each(|number| ring.push(event(number)));
        assert_eq!(slow.next().await, Some(Next::Reset));
        ring.push(event(0));
        let Some(Next::Event(live)) = slow.next().await else { panic!() };
        assert_eq!((live.event.id, live.id.number), (Some(0), EVENTS_MAX as u64 + 11));

        let after = |number| ring.subscribe(Some(EventId { start_ms: 7, number })).replay;
        // The first eleven have fallen out.
        assert_eq!(
            [after(9), after(10), after(11)],
            [Replay::Reset, Replay::Reset, Replay::Complete]
        );
        let last = EVENTS_MAX as u64 + 11;
        assert_eq!([after(last), after(last + 1)], [Replay::Complete, Replay::Reset]);
        ring.close();
        assert_eq!(slow.next().await, None);
    }

    #[test]
    fn an_id_survives_its_text() {
        let id = EventId { start_ms: 1_700_000_000_123, number: 42 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "1", "1-", "-", "a-1", "1-2-3"] {
            assert_eq!(text.parse::<EventId>(), Err(()), "{text}");
        }
    }
}
