//! What a target's own labels say in the place of its job: limits, histograms, and where within its
//! interval it is scraped. Relabelling can write them, so each target of a job may differ. Pure.

use std::time::Duration;

use crate::{
    config::{
        Job, Limits, Phase,
        units::{parse_duration, print_duration},
    },
    model::{
        labels::Labels,
        slot::StreamKey,
        target::{
            ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS, CONVERT_CLASSIC_HISTOGRAMS, LABEL_LIMIT,
            SAMPLE_LIMIT, SCRAPE_ALIGN_INTERVAL, SCRAPE_NATIVE_HISTOGRAMS, SCRAPE_OFFSET,
            SERIES_LIMIT, Target,
        },
    },
};

/// Targets that nothing else is said of are due at multiples of this. What is due together is asked,
/// read and sent with one waking up: that took a third of the processor time of 1,000 small targets
/// every 5 s, and two thirds of that of 200 larger ones.
const SPREAD_STEP_MS: u64 = 100;
/// A short interval has at least so many steps.
const STEPS_MIN: u64 = 20;

/// Which forms of a histogram are taken of a target that has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histograms {
    pub native: bool,
    /// Classic ones also where the same is there as a native one.
    pub always_classic: bool,
    pub convert_classic: bool,
}

/// The limits of its job, but for those that the target has itself.
///
/// # Errors
/// A label that is no number, for a person.
pub fn limits(job: &Job, labels: &Labels) -> Result<Limits, String> {
    let own = |name: &str, of_job: usize| match labels.get(name) {
        "" => Ok(of_job),
        text => match text.parse::<i64>() {
            // Less than nothing is no limit, as in vmagent.
            Ok(limit) => Ok(usize::try_from(limit).unwrap_or(0)),
            Err(_) => Err(format!("error parsing {name}: expected a whole number, found {text:?}")),
        },
    };
    Ok(Limits {
        samples_max: own(SAMPLE_LIMIT, job.limits.samples_max)?,
        labels_max: own(LABEL_LIMIT, job.limits.labels_max)?,
        series_max: own(SERIES_LIMIT, job.limits.series_max)?,
        ..job.limits
    })
}

/// A label that is neither true nor false says nothing.
pub fn histograms(job: &Job, labels: &Labels) -> Histograms {
    let own = |name: &str, of_job: bool| match labels.get(name) {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        _ => of_job,
    };
    Histograms {
        native: own(SCRAPE_NATIVE_HISTOGRAMS, job.scrape_native_histograms),
        always_classic: own(ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS, job.always_scrape_classic_histograms),
        convert_classic: own(CONVERT_CLASSIC_HISTOGRAMS, job.convert_classic_histograms_to_nhcb),
    }
}

/// # Errors
/// A label that is no duration, for a person.
pub fn phase(labels: &Labels) -> Result<Phase, String> {
    let duration = |name: &str| match labels.get(name) {
        "" => Ok(Duration::ZERO),
        text => parse_duration(text).map_err(|why| format!("error parsing {name}: {why}")),
    };
    let (offset, align) = (duration(SCRAPE_OFFSET)?, duration(SCRAPE_ALIGN_INTERVAL)?);
    Ok(if !offset.is_zero() {
        Phase::Offset(offset)
    } else if !align.is_zero() {
        Phase::Aligned(align)
    } else {
        Phase::Spread
    })
}

/// The label that carries what the job says, so that it travels with the target.
pub(super) fn phase_label(phase: Phase) -> Option<(&'static str, String)> {
    match phase {
        Phase::Spread => None,
        Phase::Offset(offset) => Some((SCRAPE_OFFSET, print_duration(offset))),
        Phase::Aligned(align) => Some((SCRAPE_ALIGN_INTERVAL, print_duration(align))),
    }
}

/// How long after each multiple of its interval `target` is due, whoever scrapes it; `key` is what it
/// is divided by.
pub fn phase_ms(target: &Target, key: StreamKey) -> i64 {
    let interval_ms = milliseconds(target.interval).max(1);
    let spread = key.0 % interval_ms;
    let step = SPREAD_STEP_MS.min(interval_ms / STEPS_MIN).max(1);
    let phase = match phase(&target.labels) {
        Ok(Phase::Offset(offset)) => milliseconds(offset) % interval_ms,
        Ok(Phase::Aligned(align)) => spread - spread % milliseconds(align).max(1),
        // One that can't be read was refused where the target was found.
        Ok(Phase::Spread) | Err(_) => spread - spread % step,
    };
    i64::try_from(phase).expect("a phase is below an interval, and that is a quarter of all time")
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(u64::MAX / 8)
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::{
        config,
        model::target::{ADDRESS, TargetId},
    };

    fn job(settings: &str) -> Arc<Job> {
        let text = format!("scrape_configs: [{{job_name: j, {settings}}}]");
        let config = config::parse(Path::new("test.yml"), &text, &|_| None).unwrap();
        Arc::clone(&config.jobs[0])
    }

    fn labels(own: &[(&str, &str)]) -> Labels {
        own.iter().copied().collect()
    }

    #[test]
    fn a_targets_limits_win() {
        let job = job("sample_limit: 10, label_limit: 20, x_series_limit: 30, target_limit: 7");
        let check = |own: &[(&str, &str)], expected: Result<[usize; 4], &str>| {
            let found = limits(&job, &labels(own))
                .map(|l| [l.samples_max, l.labels_max, l.series_max, l.targets_max]);
            assert_eq!(found, expected.map_err(str::to_owned), "{own:?}");
        };
        check(&[], Ok([10, 20, 30, 7]));
        check(&[(SAMPLE_LIMIT, "1"), (LABEL_LIMIT, "2"), (SERIES_LIMIT, "3")], Ok([1, 2, 3, 7]));
        check(&[(SAMPLE_LIMIT, "0"), (SERIES_LIMIT, "-1")], Ok([0, 20, 0, 7]));
        check(
            &[(SERIES_LIMIT, "many")],
            Err("error parsing __series_limit__: expected a whole number, found \"many\""),
        );
    }

    #[test]
    fn a_target_says_which_histograms_it_wants() {
        let job = job("scrape_native_histograms: true");
        let check = |own: &[(&str, &str)], expected: [bool; 3]| {
            let found = histograms(&job, &labels(own));
            let Histograms { native, always_classic, convert_classic } = found;
            assert_eq!([native, always_classic, convert_classic], expected, "{own:?}");
        };
        check(&[], [true, false, false]);
        check(&[(SCRAPE_NATIVE_HISTOGRAMS, "false")], [false; 3]);
        check(&[(SCRAPE_NATIVE_HISTOGRAMS, "no")], [true, false, false]);
        check(
            &[(ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS, "true"), (CONVERT_CLASSIC_HISTOGRAMS, "T")],
            [true; 3],
        );
    }

    #[test]
    fn a_phase_is_spread_aligned_or_set() {
        let check = |interval_ms: u64, key: u64, own: &[(&str, &str)], expected: i64| {
            let target = Target {
                job: "j".into(),
                labels: labels(own),
                discovered: Labels::new(),
                id: TargetId(1),
                key: StreamKey(0),
                url: String::new(),
                interval: Duration::from_millis(interval_ms),
                timeout: Duration::from_secs(1),
            };
            assert_eq!(phase_ms(&target, StreamKey(key)), expected, "{own:?} {key}");
        };
        for (key, spread, tens, hours) in [(47_250, 47_200, 40_000, 0), (61_101, 1_100, 0, 0)] {
            check(60_000, key, &[(ADDRESS, "a")], spread);
            check(60_000, key, &[(SCRAPE_ALIGN_INTERVAL, "10s")], tens);
            check(60_000, key, &[(SCRAPE_ALIGN_INTERVAL, "1m")], hours);
            check(60_000, key, &[(SCRAPE_ALIGN_INTERVAL, "1h")], hours);
            check(60_000, key, &[(SCRAPE_OFFSET, "5s")], 5_000);
            // More than an interval wraps; and an offset wins.
            check(60_000, key, &[(SCRAPE_OFFSET, "65s"), (SCRAPE_ALIGN_INTERVAL, "10s")], 5_000);
            check(60_000, key, &[(SCRAPE_OFFSET, "soon")], spread);
        }
        // Steps of a short interval are shorter, and of the shortest a millisecond.
        check(1_000, 777, &[], 750);
        check(15, 7, &[], 7);
        check(60_000, 777, &[(SCRAPE_OFFSET, "33ms")], 33);
        assert_eq!(
            phase(&labels(&[(SCRAPE_OFFSET, "1x")])),
            Err("error parsing __scrape_offset__: unknown unit \"x\" in duration \"1x\"".to_owned())
        );
        for settings in ["x_scrape_offset: 1500ms", "x_scrape_align_interval: 1m", "scheme: http"] {
            let job = job(settings);
            let carried = phase_label(job.phase).into_iter().collect();
            assert_eq!(phase(&carried), Ok(job.phase), "{settings}");
        }
    }
}
