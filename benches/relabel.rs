//! What relabelling costs: a target with many labels, and samples that most rules leave alone.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use starling::{
    config,
    discovery::resolve::resolve,
    model::{
        labels::Labels,
        relabel::{self, NameValidation, Rule},
        target::TargetGroup,
    },
};

/// As clouds describe a machine.
const TARGET_RULES: &str = r"
- source_labels: [__meta_ec2_tag_monitoring, __meta_ec2_instance_state]
  regex: enabled;running
  action: keep
- source_labels: [__meta_ec2_private_ip]
  regex: (.+)
  target_label: __address__
  replacement: $1:9100
- regex: __meta_ec2_tag_(.+)
  action: labelmap
- source_labels: [__address__]
  modulus: 8
  target_label: __tmp_shard
  action: hashmod
- source_labels: [__meta_ec2_availability_zone]
  target_label: zone
- regex: tag_temporary_.*
  action: labeldrop
";

/// None of them touches the series below.
const SAMPLE_RULES: &str = r"
- source_labels: [__name__]
  regex: go_(gc|memstats)_.*
  action: drop
- source_labels: [__name__, le]
  regex: apiserver_request_duration_seconds_bucket;(0\.1|0\.25|0\.5)
  action: drop
- source_labels: [pod]
  regex: (.+)-[a-z0-9]{5}
  target_label: deployment
";

fn rules(text: &str) -> Vec<Rule> {
    config::relabel_rules(text, NameValidation::Utf8).expect("the rules above are valid")
}

fn machine(number: usize) -> Labels {
    let mut labels: Labels = [
        ("__address__", "10.0.0.1:80"),
        ("__meta_ec2_tag_monitoring", "enabled"),
        ("__meta_ec2_instance_state", "running"),
        ("__meta_ec2_availability_zone", "eu-central-1a"),
        ("__meta_ec2_tag_team", "storage"),
        ("__meta_ec2_tag_temporary_x", "1"),
        ("job", "node"),
    ]
    .into_iter()
    .collect();
    labels.set("__meta_ec2_private_ip", format!("10.0.{}.{}", number / 256, number % 256));
    labels
}

fn relabelling(criterion: &mut Criterion) {
    let target_rules = rules(TARGET_RULES);
    let target = machine(7);
    criterion.bench_function("relabel/target", |bench| {
        bench.iter(|| relabel::apply(&target_rules, black_box(target.clone())));
    });

    let sample_rules = rules(SAMPLE_RULES);
    let series: Labels = [
        ("__name__", "http_requests_total"),
        ("code", "200"),
        ("handler", "/api/v1/query"),
        ("instance", "10.0.0.1:9100"),
        ("job", "node"),
    ]
    .into_iter()
    .collect();
    let mut scratch = String::new();
    criterion.bench_function("relabel/sample_untouched", |bench| {
        let mut labels = Some(series.clone());
        bench.iter(|| {
            let before = labels.take().expect("no rule drops it");
            labels = relabel::apply_with(&sample_rules, black_box(before), &mut scratch);
        });
    });
}

fn resolving(criterion: &mut Criterion) {
    let indented = TARGET_RULES.replace('\n', "\n    ");
    let text = format!("scrape_configs:\n- job_name: node\n  relabel_configs:{indented}");
    let config = config::parse("bench.yml".as_ref(), &text, &|_| None).expect("valid");
    let job = Arc::clone(&config.jobs[0]);
    let group = TargetGroup { targets: (0..10_000).map(machine).collect(), ..Default::default() };
    let before = resolve(&job, "vm", [&group], None);
    criterion.bench_function("resolve/10k_targets_again", |bench| {
        bench.iter(|| resolve(&job, "vm", [black_box(&group)], Some(&before)));
    });
}

criterion_group!(benches, relabelling, resolving);
criterion_main!(benches);
