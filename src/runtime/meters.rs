//! The registry that parts put their metrics in, the process's own metrics, and the two formats
//! that `/metrics` speaks.

use std::{
    fmt::{self, Write as _},
    path::{Path, PathBuf},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, family::Family, gauge::ConstGauge, gauge::Gauge},
    registry::Registry,
};

use crate::runtime::{build, clock, log};

/// With the metrics of the process itself, read when scraped.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process { began_ms: clock::now_ms() }));
    log::register(&mut registry);
    let info = Family::<Vec<(&str, &str)>, Gauge>::default();
    info.get_or_create(&vec![
        ("version", build::VERSION),
        ("revision", build::REVISION),
        ("arch", std::env::consts::ARCH),
        ("os", std::env::consts::OS),
    ])
    .set(1);
    registry.register("starling_build_info", "What this binary is; always 1", info);
    registry
}

/// What `/metrics` answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    OpenMetrics,
    Text,
}

impl Exposition {
    /// By the first of our two formats that `accept` names: scrapers list them by preference.
    pub fn accepted(accept: &str) -> Self {
        let open_metrics = accept
            .split(',')
            .map(|range| range.split(';').next().unwrap_or_default().trim())
            .find(|range| matches!(*range, "application/openmetrics-text" | "text/plain" | "*/*"));
        match open_metrics {
            Some("application/openmetrics-text") => Self::OpenMetrics,
            Some(_) | None => Self::Text,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    pub fn encode(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut body = String::new();
        prometheus_client::encoding::text::encode(&mut body, registry)?;
        Ok(match self {
            Self::OpenMetrics => body,
            Self::Text => text_of(&body),
        })
    }
}

/// OpenMetrics names a family apart from its samples' suffix and has words that the older text
/// format lacks; sample lines are the same in both, as the agent's own metrics carry no exemplars.
fn text_of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            // The type, which the suffix hangs on, is told only in the next line.
            ["#", "HELP", name, help] => {
                let kind = lines.peek().and_then(|next| next.splitn(4, ' ').nth(3));
                let _ = writeln!(text, "# HELP {name}{} {help}", suffix(kind));
            }
            ["#", "TYPE", name, kind] => {
                let shown = match kind {
                    "info" | "stateset" => "gauge",
                    "unknown" => "untyped",
                    other => other,
                };
                let _ = writeln!(text, "# TYPE {name}{} {shown}", suffix(Some(kind)));
            }
            ["#", ..] => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

fn suffix(kind: Option<&str>) -> &'static str {
    match kind {
        Some("counter") => "_total",
        Some("info") => "_info",
        Some(_) | None => "",
    }
}

/// The names that every client library of the field gives these. What can't be read is left out.
#[derive(Debug)]
struct Process {
    /// Some milliseconds after the process: for where a hardened unit hides when the host was booted.
    began_ms: i64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = Usage::read();
        let mut put = |name: &str, help: &str, metric: Option<Box<dyn EncodeMetric>>| {
            let Some(metric) = metric else { return Ok(()) };
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let gauge = |value: Option<f64>| {
            value.map(|v| Box::new(ConstGauge::new(v)) as Box<dyn EncodeMetric>)
        };
        let cpu = now.cpu_seconds.map(|v| Box::new(ConstCounter::new(v)) as Box<dyn EncodeMetric>);
        put("process_cpu_seconds", "User and system CPU time spent.", cpu)?;
        put("process_resident_memory_bytes", "Memory held in RAM.", gauge(now.resident_bytes))?;
        put("process_virtual_memory_bytes", "Address space in use.", gauge(now.virtual_bytes))?;
        let limit = gauge(memory_limit_bytes().map(whole));
        put("starling_memory_limit_bytes", "Memory that its control groups allow.", limit)?;
        put("process_open_fds", "Open file descriptors.", gauge(now.open_fds))?;
        put("process_max_fds", "File descriptors that may be open.", gauge(now.max_fds))?;
        put("process_threads", "Threads of the process.", gauge(now.threads))?;
        put(
            "process_start_time_seconds",
            "When the process started, in seconds since the Unix epoch.",
            gauge(now.start_seconds.or_else(|| Some(whole(self.began_ms.unsigned_abs()) / 1000.0))),
        )
    }
}

/// `/proc` counts time in hundredths of a second on every Linux that Rust builds for.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, Default, PartialEq)]
struct Usage {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    threads: Option<f64>,
    start_seconds: Option<f64>,
}

impl Usage {
    fn read() -> Self {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        let mut usage =
            Self::of(&file("/proc/self/stat"), &file("/proc/self/status"), &file("/proc/stat"));
        // The one descriptor that the reading itself holds is not the process's.
        usage.open_fds =
            std::fs::read_dir("/proc/self/fd").ok().map(|fds| whole(fds.count() as u64 - 1));
        usage.max_fds =
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current.map(whole);
        usage
    }

    /// Of the texts of `/proc/self/stat`, `/proc/self/status` and `/proc/stat`.
    fn of(stat: &str, status: &str, system: &str) -> Self {
        // The program's name, in parentheses, may hold anything; the fields after it hold no `)`.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split(' ').collect());
        // proc(5) counts fields from 1, and the state, here at 1, is its third.
        let ticks = |number: usize| {
            let count: u64 = fields.get(number - 2)?.parse().ok()?;
            Some(whole(count) / TICKS_PER_SECOND)
        };
        let status_value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok().map(whole)
        };
        let boot_seconds = system
            .lines()
            .find_map(|line| line.strip_prefix("btime "))
            .and_then(|seconds| seconds.trim().parse().ok().map(whole));
        Self {
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            resident_bytes: status_value("VmRSS:").map(|kib| kib * 1024.0),
            virtual_bytes: status_value("VmSize:").map(|kib| kib * 1024.0),
            threads: status_value("Threads:"),
            start_seconds: boot_seconds.zip(ticks(22)).map(|(boot, since)| boot + since),
            ..Self::default()
        }
    }
}

/// Levels of control groups that are looked at; systemd makes a handful.
const GROUPS_MAX: usize = 32;

/// Above it the process is slowed down or killed. `None` where nothing is limited.
fn memory_limit_bytes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut least: Option<u64> = None;
    for (folder, files) in groups.lines().filter_map(memory_group) {
        for level in folder.ancestors().take(GROUPS_MAX) {
            let read = |file| std::fs::read_to_string(level.join(file)).ok();
            let limits = files.into_iter().filter_map(read).filter_map(|text| limit_in(&text));
            least = least.into_iter().chain(limits).min();
        }
    }
    least
}

/// The folder of a line of `/proc/self/cgroup` and its files of limits: of version 2 of the interface, or
/// of the memory hierarchy of version 1.
fn memory_group(line: &str) -> Option<(PathBuf, [&'static str; 2])> {
    let mut words = line.splitn(3, ':').skip(1);
    let (controllers, path) = (words.next()?, words.next()?.trim_start_matches('/'));
    if controllers.is_empty() {
        return Some((Path::new("/sys/fs/cgroup").join(path), ["memory.high", "memory.max"]));
    }
    let is_memory = controllers.split(',').any(|controller| controller == "memory");
    let folder = Path::new("/sys/fs/cgroup/memory").join(path);
    is_memory.then_some((folder, ["memory.limit_in_bytes"; 2]))
}

/// No machine has an exbibyte; the kernel says `max`, or what no number can be above.
fn limit_in(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

#[expect(clippy::cast_precision_loss, reason = "bytes and seconds stay far below 2^53")]
fn whole(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn the_format_is_the_first_one_named() {
        let check = |accept, expected| assert_eq!(Exposition::accepted(accept), expected);
        check("", Exposition::Text);
        check("*/*", Exposition::Text);
        check("application/openmetrics-text;version=1.0.0;q=0.6, */*", Exposition::OpenMetrics);
        check("application/vnd.google.protobuf;q=0.7,text/plain;q=0.6", Exposition::Text);
        check("text/plain, application/openmetrics-text", Exposition::Text);
    }

    #[test]
    fn text_names_a_family_as_its_samples() {
        let open_metrics = "# HELP a Some.\n# TYPE a counter\n# UNIT a seconds\n\
            a_total{x=\"# HELP\"} 1\n# HELP b Else.\n# TYPE b gauge\nb 2\n\
            # HELP c What.\n# TYPE c info\nc_info{v=\"1\"} 1\n# HELP d D.\n# TYPE d unknown\nd 1\n\
            # EOF\n";
        let text = "# HELP a_total Some.\n# TYPE a_total counter\na_total{x=\"# HELP\"} 1\n\
            # HELP b Else.\n# TYPE b gauge\nb 2\n# HELP c_info What.\n# TYPE c_info gauge\n\
            c_info{v=\"1\"} 1\n# HELP d D.\n# TYPE d untyped\nd 1\n";
        assert_eq!(text_of(open_metrics), text);
    }

    #[test]
    fn usage_is_read_past_a_name_that_misleads() {
        let stat = "7 (a) R 1) S 1 7 7 0 -1 4194304 101 0 1 0 250 50 0 0 20 0 1 0 1000 3133440 358";
        let usage =
            Usage::of(stat, "VmSize:\t    2048 kB\nVmRSS:\t 1024 kB\nThreads:\t3\n", "btime 100\n");
        assert_eq!(usage.cpu_seconds, Some(3.0));
        assert_eq!(usage.start_seconds, Some(110.0));
        assert_eq!(usage.resident_bytes, Some(1_048_576.0));
        assert_eq!(usage.virtual_bytes, Some(2_097_152.0));
        assert_eq!(usage.threads, Some(3.0));
        assert_eq!(Usage::of("", "", ""), Usage::default());
    }

    #[test]
    fn the_limit_of_memory_is_that_of_the_control_group() {
        let check = |line, expected: Option<(&str, [&'static str; 2])>| {
            let expected = expected.map(|(folder, files)| (PathBuf::from(folder), files));
            assert_eq!(memory_group(line), expected, "{line}");
        };
        check(
            "0::/system.slice/starling.service",
            Some(("/sys/fs/cgroup/system.slice/starling.service", ["memory.high", "memory.max"])),
        );
        check("9:cpu,memory:/a", Some(("/sys/fs/cgroup/memory/a", ["memory.limit_in_bytes"; 2])));
        check("1:name=systemd:/a", None);
        check("garbled", None);
        assert_eq!(limit_in("1073741824\n"), Some(1 << 30));
        assert_eq!(limit_in("max\n"), None);
        assert_eq!(limit_in("9223372036854771712\n"), None);
    }

    #[test]
    fn the_process_tells_of_itself_in_both_formats() {
        let mut registry = registry();
        let asked: Counter = Counter::default();
        asked.inc();
        registry.register("asked", "Questions", asked);
        for (format, total, end) in [
            (Exposition::OpenMetrics, "# TYPE asked counter", true),
            (Exposition::Text, "# TYPE asked_total counter", false),
        ] {
            let body = format.encode(&registry).unwrap();
            assert!(body.contains(total), "{body}");
            assert_eq!(body.ends_with("# EOF\n"), end, "{body}");
            for name in [
                "\nprocess_cpu_seconds_total ",
                "\nprocess_resident_memory_bytes ",
                "\nprocess_virtual_memory_bytes ",
                "\nprocess_open_fds ",
                "\nprocess_max_fds ",
                "\nprocess_start_time_seconds ",
                "\nstarling_build_info{",
            ] {
                assert!(body.contains(name), "no {name:?} in:\n{body}");
            }
        }
    }
}
