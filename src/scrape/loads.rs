//! How busy each slot is, by what its targets bring. Pure.

use std::time::Duration;

use crate::{model::slot::Slot, ownership::balance::Loads};

/// A target that is divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    pub(super) slot: Slot,
    pub(super) interval: Duration,
    /// Of one scrape; `None` before the first one.
    pub(super) samples: Option<usize>,
}

/// Targets that were not scraped yet count as the mean of the others: as idle, they would draw more
/// to them until they are.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn weigh(weights: &[Weight]) -> Loads {
    let known: Vec<f64> = weights.iter().filter_map(|w| Some(w.samples? as f64)).collect();
    let mean = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
    let mut loads = Loads::default();
    for weight in weights {
        let samples = weight.samples.map_or(mean, |samples| samples as f64);
        loads.add(weight.slot, samples / weight.interval.as_secs_f64().max(0.001));
    }
    loads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_weigh_what_their_targets_bring() {
        let weight = |slot, seconds, samples| Weight {
            slot: Slot::new(slot).unwrap(),
            interval: Duration::from_secs(seconds),
            samples,
        };
        let check = |weights: &[Weight], expected: &[(u16, f64)]| {
            let loads = weigh(weights);
            for &(slot, load) in expected {
                assert!((loads.of(Slot::new(slot).unwrap()) - load).abs() < 1e-9, "{slot}");
            }
        };
        check(&[weight(1, 10, None)], &[(1, 0.0)]);
        check(
            &[weight(1, 10, Some(100)), weight(1, 5, Some(300)), weight(2, 10, None)],
            &[(0, 0.0), (1, 70.0), (2, 20.0)],
        );
    }
}
