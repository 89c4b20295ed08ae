//! What a line of a scrape costs to read: unknown, decoded, and known from the scrape before.

#![allow(missing_docs, reason = "criterion's macros write functions without")]

use std::{fmt::Write, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use starling::{
    model::sample::PointValue,
    wire::{Entry, Format, Parser},
};

/// Much like what `node_exporter` says: short names, few labels, integers and fractions mixed.
fn node_exporter(format: Format) -> String {
    let mut body = String::new();
    for cpu in 0..32 {
        if cpu == 0 {
            body.push_str("# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n");
            body.push_str("# TYPE node_cpu_seconds_total counter\n");
        }
        for (n, mode) in ["idle", "iowait", "irq", "nice", "softirq", "user"].iter().enumerate() {
            let value = f64::from(cpu * 7919 + 1) * 1.37 + f64::from(u8::try_from(n).unwrap_or(0));
            _ = writeln!(
                body,
                "node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {value:.2}"
            );
        }
    }
    for family in 0..80 {
        _ = writeln!(body, "# HELP node_network_receive_{family}_bytes_total Statistic {family}.");
        _ = writeln!(body, "# TYPE node_network_receive_{family}_bytes_total gauge");
        for device in 0..10 {
            let value = (family * 1_048_573 + device * 7) % 4_000_000_007_u64;
            _ = writeln!(
                body,
                "node_network_receive_{family}_bytes_total{{device=\"veth{device:06x}\",\
                 ifalias=\"\",address=\"02:42:ac:11:00:{device:02x}\"}} {value}"
            );
        }
    }
    if format == Format::OpenMetricsText {
        body.push_str("# EOF\n");
    }
    body
}

fn series(parser: Parser<'_>) -> Vec<(String, u8)> {
    parser
        .filter_map(|entry| match entry {
            Ok(Entry::Series(series)) => Some((series.text.to_owned(), series.context())),
            _ => None,
        })
        .collect()
}

fn known(format: Format, body: &str, expected: &[(String, u8)]) -> f64 {
    let mut parser = Parser::new(format, body.as_bytes());
    let mut sum = 0.0;
    for (text, context) in expected {
        loop {
            if let Some(value) = parser.next_known(text, *context) {
                if let PointValue::Float(value) = value.value {
                    sum += value;
                }
                break;
            }
            if !matches!(parser.next(), Some(Ok(_))) {
                return sum;
            }
        }
    }
    sum
}

fn parse(criterion: &mut Criterion) {
    for (name, format) in
        [("text", Format::PrometheusText), ("openmetrics", Format::OpenMetricsText)]
    {
        let body = node_exporter(format);
        let expected = series(Parser::new(format, body.as_bytes()));
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(expected.len() as u64));
        group.bench_function("known", |bencher| {
            bencher.iter(|| known(format, black_box(&body), &expected));
        });
        group.bench_function("unknown", |bencher| {
            bencher.iter(|| Parser::new(format, black_box(body.as_bytes())).count());
        });
        group.bench_function("unknown_with_labels", |bencher| {
            bencher.iter(|| {
                let mut pairs = Vec::new();
                for entry in Parser::new(format, black_box(body.as_bytes())) {
                    if let Ok(Entry::Series(series)) = entry {
                        series.pairs(&mut pairs);
                        black_box(&pairs);
                    }
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, parse);
criterion_main!(benches);
