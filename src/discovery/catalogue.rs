//! Which jobs there are, which providers they hang on, and what those have found. Told of jobs and
//! rounds, it says which providers to start and stop and what targets that makes. Pure.

use std::{collections::BTreeMap, mem, sync::Arc};

use crate::{
    config::{self, Job},
    discovery::{
        JobTargets, Snapshot,
        provider::{ProviderId, ProviderState, Round},
        resolve::resolve,
    },
    model::target::TargetGroup,
};

#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// The name of the one that this runs on.
    host: String,
    /// In the order of the configuration.
    jobs: Vec<Entry>,
    providers: BTreeMap<ProviderId, Provider>,
    started: u64,
}

#[derive(Debug)]
struct Entry {
    job: Arc<Job>,
    /// One for each of the job's `discovery`, in that order.
    providers: Vec<ProviderId>,
    targets: Option<JobTargets>,
    /// `targets` are not what the groups and the rules make now.
    stale: bool,
}

#[derive(Debug)]
struct Provider {
    settings: config::Discovery,
    groups: Vec<TargetGroup>,
    faults: Vec<String>,
    answered: bool,
    /// When its latest round without a fault began.
    refreshed_ms: Option<i64>,
    /// When the first of the rounds began that had faults since.
    failing_since_ms: Option<i64>,
}

/// What a new list of jobs asks for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Changes {
    pub(super) start: Vec<(ProviderId, config::Discovery)>,
    pub(super) stop: Vec<ProviderId>,
}

/// What a round of a provider was, compared with the one before.
#[derive(Debug, PartialEq)]
pub(super) struct Learned<'c> {
    pub(super) settings: &'c config::Discovery,
    pub(super) faults: &'c [String],
    /// The faults of the round before, where they were others.
    pub(super) faults_before: Option<Vec<String>>,
    /// All of it is known anew.
    pub(super) refreshed: bool,
}

impl Catalogue {
    pub(super) fn new(host: String) -> Self {
        Self { host, ..Self::default() }
    }

    /// A provider whose settings some job still has runs on, and a job that is as it was keeps its
    /// targets.
    pub(super) fn apply(&mut self, jobs: Vec<Arc<Job>>) -> Changes {
        let before = mem::take(&mut self.jobs);
        let mut start = Vec::new();
        for job in jobs {
            let former = before.iter().find(|entry| entry.job.job_name == job.job_name);
            let providers: Vec<ProviderId> = job
                .discovery
                .iter()
                .enumerate()
                .map(|(position, settings)| {
                    self.running(settings).unwrap_or_else(|| {
                        let inherited = former.and_then(|entry| entry.providers.get(position));
                        let id = self.add(settings.clone(), inherited.copied());
                        start.push((id, settings.clone()));
                        id
                    })
                })
                .collect();
            let entry = match former {
                Some(same) if same.job == job => Entry {
                    job: Arc::clone(&same.job),
                    providers,
                    targets: same.targets.clone(),
                    stale: same.stale,
                },
                Some(_) | None => {
                    let targets = former.and_then(|entry| entry.targets.clone());
                    Entry { job, providers, targets, stale: true }
                }
            };
            self.jobs.push(entry);
        }
        let stop: Vec<ProviderId> =
            self.providers.keys().filter(|id| !self.is_wanted(**id)).copied().collect();
        self.providers.retain(|id, _| !stop.contains(id));
        Changes { start, stop }
    }

    /// `None` of a provider that is no longer wanted.
    pub(super) fn learn(
        &mut self,
        id: ProviderId,
        round: Round,
        now_ms: i64,
    ) -> Option<Learned<'_>> {
        let provider = self.providers.get_mut(&id)?;
        provider.answered = true;
        if let Some(groups) = round.groups
            && groups != provider.groups
        {
            provider.groups = groups;
            for entry in self.jobs.iter_mut().filter(|entry| entry.providers.contains(&id)) {
                entry.stale = true;
            }
        }
        // A part that kept what it had before, as it could not be read, is not known anew.
        let refreshed = round.faults.is_empty();
        if refreshed {
            provider.refreshed_ms = provider.refreshed_ms.max(Some(round.began_ms));
            provider.failing_since_ms = None;
        } else {
            provider.failing_since_ms.get_or_insert(now_ms);
        }
        let faults_before = (round.faults != provider.faults)
            .then(|| mem::replace(&mut provider.faults, round.faults));
        let (settings, faults) = (&provider.settings, &provider.faults);
        Some(Learned { settings, faults, faults_before, refreshed })
    }

    /// Brings one job up to date. `None` when all are.
    pub(super) fn resolve_next(&mut self) -> Option<(Option<JobTargets>, &JobTargets)> {
        let entry = self.jobs.iter_mut().find(|entry| entry.stale)?;
        entry.stale = false;
        let groups = entry.providers.iter().flat_map(|id| &self.providers[id].groups);
        let before = entry.targets.take();
        let now = resolve(&entry.job, &self.host, groups, before.as_ref());
        Some((before, entry.targets.insert(now)))
    }

    pub(super) fn is_stale(&self) -> bool {
        self.jobs.iter().any(|entry| entry.stale)
    }

    /// Of all jobs that were resolved at least once.
    pub(super) fn snapshot(&self, now_ms: i64) -> Snapshot {
        let jobs = self.jobs.iter().filter_map(|entry| {
            let targets = entry.targets.clone()?;
            Some(JobTargets { refreshed_ms: self.refreshed_ms(entry, now_ms), ..targets })
        });
        Snapshot { jobs: jobs.collect() }
    }

    /// Each provider has answered or failed at least once.
    pub(super) fn all_answered(&self) -> bool {
        self.providers.values().all(|provider| provider.answered)
    }

    /// In the order of their beginning, but for lists in the configuration itself: these can't fail.
    pub(super) fn providers(&self) -> Arc<[ProviderState]> {
        let asked = self
            .providers
            .iter()
            .filter(|(_, provider)| !matches!(provider.settings, config::Discovery::Static(_)));
        let states = asked.map(|(id, provider)| ProviderState {
            kind: provider.settings.kind(),
            jobs: (self.jobs.iter())
                .filter(|entry| entry.providers.contains(id))
                .map(|entry| Arc::clone(&entry.job.job_name))
                .collect(),
            targets: provider.groups.iter().map(|group| group.targets.len()).sum(),
            refreshed_ms: provider.refreshed_ms,
            failing_since_ms: provider.failing_since_ms,
            faults: provider.faults.clone(),
        });
        states.collect()
    }

    /// When the oldest of the rounds began that make up the job's targets. A list in the
    /// configuration itself is as good as read now.
    fn refreshed_ms(&self, entry: &Entry, now_ms: i64) -> i64 {
        let rounds = entry.providers.iter().map(|id| {
            let Provider { settings, refreshed_ms, .. } = &self.providers[id];
            match settings {
                config::Discovery::Static(_) => refreshed_ms.map(|_| now_ms),
                config::Discovery::File { .. }
                | config::Discovery::Http { .. }
                | config::Discovery::Dns { .. }
                | config::Discovery::Polled(_) => *refreshed_ms,
            }
        });
        rounds.min().unwrap_or(Some(now_ms)).unwrap_or(i64::MIN)
    }

    fn running(&self, settings: &config::Discovery) -> Option<ProviderId> {
        let found = self.providers.iter().find(|(_, provider)| provider.settings == *settings);
        found.map(|(id, _)| *id)
    }

    fn is_wanted(&self, id: ProviderId) -> bool {
        self.jobs.iter().any(|entry| entry.providers.contains(&id))
    }

    /// Until it has answered it stands for the one whose place in the job it takes: otherwise a
    /// changed refresh interval would end all targets and begin them again a moment later.
    fn add(&mut self, settings: config::Discovery, inherited: Option<ProviderId>) -> ProviderId {
        let former = inherited
            .and_then(|id| self.providers.get(&id))
            .filter(|former| former.settings.kind() == settings.kind());
        let groups = former.map_or_else(Vec::new, |former| former.groups.clone());
        self.started += 1;
        let id = ProviderId(self.started);
        let provider = Provider {
            settings,
            groups,
            faults: Vec::new(),
            answered: false,
            refreshed_ms: None,
            failing_since_ms: None,
        };
        self.providers.insert(id, provider);
        id
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::target::ADDRESS;

    fn jobs(scrape_configs: &str) -> Vec<Arc<Job>> {
        let text = format!("scrape_configs: [{scrape_configs}]");
        config::parse(Path::new("test.yml"), &text, &|_| None).unwrap().jobs
    }

    fn found(addresses: &[&str]) -> Round {
        let targets = addresses.iter().map(|a| [(ADDRESS, *a)].into_iter().collect()).collect();
        let group = TargetGroup { targets, ..TargetGroup::default() };
        Round { began_ms: 0, groups: Some(vec![group]), faults: Vec::new() }
    }

    const NOW: i64 = 5;

    fn failed() -> Round {
        Round::failed(0, "no".to_owned())
    }

    fn resolve_all(catalogue: &mut Catalogue) -> Vec<String> {
        let mut resolved = Vec::new();
        while let Some((_, targets)) = catalogue.resolve_next() {
            let addresses: Vec<&str> =
                targets.active.iter().map(|target| target.labels.get(ADDRESS)).collect();
            resolved.push(format!("{}: {}", targets.job.job_name, addresses.join(" ")));
        }
        resolved
    }

    fn ids(changes: &Changes) -> (Vec<u64>, Vec<u64>) {
        (
            changes.start.iter().map(|(id, _)| id.0).collect(),
            changes.stop.iter().map(|id| id.0).collect(),
        )
    }

    const FILE: &str = "file_sd_configs: [{files: [a.yml]}]";
    const OTHER: &str = "file_sd_configs: [{files: [b.yml]}]";

    #[test]
    fn equal_settings_are_run_once_and_make_stale_who_has_them() {
        let mut catalogue = Catalogue::default();
        let started = catalogue.apply(jobs(&format!(
            "{{job_name: x, {FILE}}}, {{job_name: y, {FILE}}}, {{job_name: z, {OTHER}}}"
        )));
        assert_eq!(ids(&started), (vec![1, 2], vec![]));
        assert_eq!(resolve_all(&mut catalogue), ["x: ", "y: ", "z: "]);
        assert!(!catalogue.all_answered());

        catalogue.learn(ProviderId(1), found(&["a"]), NOW);
        assert_eq!(resolve_all(&mut catalogue), ["x: a", "y: a"]);
        catalogue.learn(ProviderId(1), found(&["a"]), NOW);
        assert!(!catalogue.is_stale(), "the same again");
        catalogue.learn(ProviderId(2), failed(), NOW);
        assert!(catalogue.all_answered(), "a failure is an answer");
        assert!(catalogue.learn(ProviderId(7), found(&["a"]), NOW).is_none());
    }

    #[test]
    fn a_reload_keeps_what_did_not_change() {
        let mut catalogue = Catalogue::default();
        let x = format!("{{job_name: x, {FILE}}}");
        catalogue.apply(jobs(&format!("{x}, {{job_name: y, {OTHER}}}")));
        catalogue.learn(ProviderId(1), found(&["a"]), NOW);
        catalogue.learn(ProviderId(2), found(&["b"]), NOW);
        resolve_all(&mut catalogue);
        let before = catalogue.snapshot(0);

        let changes = catalogue.apply(jobs(&format!("{{job_name: z, {FILE}}}, {x}")));
        assert_eq!(ids(&changes), (vec![], vec![2]));
        assert_eq!(resolve_all(&mut catalogue), ["z: a"]);
        let after = catalogue.snapshot(0);
        assert!(Arc::ptr_eq(&before.jobs[0].active, &after.jobs[1].active));
        assert!(Arc::ptr_eq(&before.jobs[0].job, &after.jobs[1].job));

        // A rule for samples: the same targets under new settings.
        let rule = "metric_relabel_configs: [{target_label: l, replacement: x}]";
        catalogue.apply(jobs(&format!("{{job_name: x, {FILE}, {rule}}}")));
        resolve_all(&mut catalogue);
        let relabelled = catalogue.snapshot(0);
        assert!(Arc::ptr_eq(&before.jobs[0].active, &relabelled.jobs[0].active));
        assert!(!Arc::ptr_eq(&before.jobs[0].job, &relabelled.jobs[0].job));
    }

    #[test]
    fn a_new_provider_stands_for_the_one_it_replaces_until_it_answers() {
        let mut catalogue = Catalogue::default();
        catalogue.apply(jobs(&format!("{{job_name: x, {FILE}}}")));
        catalogue.learn(ProviderId(1), found(&["a"]), NOW);
        resolve_all(&mut catalogue);

        let changes = catalogue.apply(jobs(&format!("{{job_name: x, {OTHER}}}")));
        assert_eq!(ids(&changes), (vec![2], vec![1]));
        assert_eq!(resolve_all(&mut catalogue), ["x: a"]);
        catalogue.learn(ProviderId(2), found(&["b"]), NOW);
        assert_eq!(resolve_all(&mut catalogue), ["x: b"]);

        // Another kind replaces nothing.
        catalogue.apply(jobs("{job_name: x, static_configs: [{targets: [c]}]}"));
        assert_eq!(resolve_all(&mut catalogue), ["x: "]);
    }

    #[test]
    fn faults_are_told_when_they_change() {
        let mut catalogue = Catalogue::default();
        catalogue.apply(jobs(&format!("{{job_name: x, {FILE}}}")));
        let mut learn = |faults: &[&str]| {
            let faults = faults.iter().map(|fault| (*fault).to_owned()).collect();
            let round = Round { began_ms: 0, groups: None, faults };
            catalogue.learn(ProviderId(1), round, NOW).unwrap().faults_before
        };
        assert_eq!(learn(&[]), None);
        assert_eq!(learn(&["one"]), Some(vec![]));
        assert_eq!(learn(&["one"]), None);
        assert_eq!(learn(&[]), Some(vec!["one".to_owned()]));
    }

    #[test]
    fn a_job_is_as_fresh_as_the_oldest_of_its_rounds() {
        let mut catalogue = Catalogue::default();
        catalogue.apply(jobs(&format!(
            "{{job_name: x, {FILE}, static_configs: [{{targets: [s]}}]}}, {{job_name: y, {OTHER}}}, {{job_name: z}}"
        )));
        let (file, list, other) = (ProviderId(1), ProviderId(2), ProviderId(3));
        let kinds: Vec<bool> = [file, list, other]
            .map(|id| matches!(catalogue.providers[&id].settings, config::Discovery::Static(_)))
            .to_vec();
        assert_eq!(kinds, [false, true, false]);
        let mut now_ms = 1_000;
        let mut check = |id: ProviderId, round: Option<Round>, expected: [i64; 3]| {
            let refreshed = round.map(|round| catalogue.learn(id, round, NOW).unwrap().refreshed);
            while catalogue.resolve_next().is_some() {}
            now_ms += 1;
            let fresh: Vec<i64> = catalogue
                .snapshot(now_ms)
                .jobs
                .iter()
                .map(|targets| targets.refreshed_ms)
                .collect();
            assert_eq!(fresh, expected, "{id:?} at {now_ms}");
            refreshed
        };
        let began = |began_ms| Some(Round { began_ms, ..found(&["a"]) });
        let unchanged = |began_ms| Some(Round { began_ms, ..Round::default() });
        check(list, began(7), [i64::MIN, i64::MIN, 1_001]);
        check(file, began(10), [10, i64::MIN, 1_002]);
        check(other, Some(failed()), [10, i64::MIN, 1_003]);
        assert_eq!(check(other, unchanged(30), [10, 30, 1_004]), Some(true));
        assert_eq!(
            check(file, Some(Round::failed(40, "no".to_owned())), [10, 30, 1_005]),
            Some(false)
        );
        // A part of it is as old as before.
        let half = Round { faults: vec!["no".to_owned()], ..found(&["b"]) };
        check(file, Some(Round { began_ms: 50, ..half }), [10, 30, 1_006]);
        check(file, unchanged(60), [60, 30, 1_007]);
        check(file, None, [60, 30, 1_008]);
    }

    #[test]
    fn providers_tell_since_when_they_fail() {
        let mut catalogue = Catalogue::default();
        catalogue.apply(jobs(&format!(
            "{{job_name: x, {FILE}, static_configs: [{{targets: [s]}}]}}, {{job_name: y, {FILE}}}"
        )));
        let mut check = |round: Option<Round>, now_ms: i64, expected: (usize, _, _, &[&str])| {
            if let Some(round) = round {
                catalogue.learn(ProviderId(1), round, now_ms);
            }
            let states = catalogue.providers();
            assert_eq!(states.len(), 1, "a list in the configuration is none");
            let state = &states[0];
            let jobs: Vec<&str> = state.jobs.iter().map(|job| &**job).collect();
            assert_eq!((state.kind, jobs), ("file", vec!["x", "y"]));
            let faults: Vec<&str> = state.faults.iter().map(String::as_str).collect();
            let shown = (state.targets, state.refreshed_ms, state.failing_since_ms, &*faults);
            assert_eq!(shown, expected);
        };
        check(None, 0, (0, None, None, &[]));
        check(Some(failed()), 10, (0, None, Some(10), &["no"]));
        check(Some(failed()), 20, (0, None, Some(10), &["no"]));
        let good = Round { began_ms: 25, ..found(&["a", "b"]) };
        check(Some(good), 30, (2, Some(25), None, &[]));
        check(Some(failed()), 40, (2, Some(25), Some(40), &["no"]));
    }
}
