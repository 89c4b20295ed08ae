//! How busy each slot is, by what is pushed to it. Pure.

use crate::{model::slot::SLOTS, model::slot::Slot, ownership::balance::Loads};

/// What is measured now counts for so much; the rest is what was before. At a look every ten seconds,
/// pushes that come once a minute count nearly the same at each.
const NEW_SHARE: f64 = 0.1;

#[derive(Debug)]
pub(super) struct PushedLoads {
    samples: Box<[u64]>,
    rates: Box<[f64]>,
    since_ms: i64,
    /// The first look has nothing before it.
    has_looked: bool,
}

impl PushedLoads {
    pub(super) fn new(now_ms: i64) -> Self {
        let slots = usize::from(SLOTS);
        Self {
            samples: vec![0; slots].into(),
            rates: vec![0.0; slots].into(),
            since_ms: now_ms,
            has_looked: false,
        }
    }

    pub(super) fn add(&mut self, slot: Slot) {
        self.samples[usize::from(slot.number())] += 1;
    }

    /// What the slot brings goes to another member from now on.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.samples[usize::from(slot.number())] = 0;
        self.rates[usize::from(slot.number())] = 0.0;
    }

    /// Samples per second of each slot, up to now.
    #[expect(clippy::cast_precision_loss, reason = "counts and times stay far below 2^53")]
    pub(super) fn look(&mut self, now_ms: i64) -> Loads {
        let seconds = (now_ms - self.since_ms).max(1) as f64 / 1000.0;
        let share = if self.has_looked { NEW_SHARE } else { 1.0 };
        for (rate, samples) in self.rates.iter_mut().zip(&mut self.samples) {
            let measured = std::mem::take(samples) as f64 / seconds;
            *rate += share * (measured - *rate);
        }
        (self.since_ms, self.has_looked) = (now_ms, true);
        Loads::from_fn(|slot| self.rates[usize::from(slot.number())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_as_busy_as_it_was_for_a_while() {
        let [one, two] = [1, 2].map(|number| Slot::new(number).unwrap());
        let mut loads = PushedLoads::new(0);
        (0..100).for_each(|_| loads.add(one));
        assert!((loads.look(10_000).of(one) - 10.0).abs() < 1e-9);
        (0..200).for_each(|_| loads.add(one));
        (0..100).for_each(|_| loads.add(two));
        let looked = loads.look(20_000);
        assert!((looked.of(one) - 11.0).abs() < 1e-9 && (looked.of(two) - 1.0).abs() < 1e-9);
        loads.forget(one);
        assert!(loads.look(30_000).of(one).abs() < 1e-9);
    }
}
