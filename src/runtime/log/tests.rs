//! What is written, as text, as JSON and to a journal that is played here; and how much of a flood.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::Value;
use tracing::{Level, debug, enabled, error, info, info_span, warn};

use super::*;

#[test]
fn text_is_one_line_an_event_with_the_fields_of_its_spans() {
    let written = lines(Format::Text, || {
        let _job = info_span!("job", job = "node", up = 1).entered();
        info!(up = 2, note = "two words", empty = "", ratio = 0.5, "targets\nchanged");
        warn!(error = "a\nb\u{1b}[31m", "no");
    });
    let check = |line: &str, expected: &str| {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z'), "{line}");
        assert_eq!(rest, expected);
    };
    check(
        &written[0],
        " INFO starling::runtime::log::tests: targets\\nchanged \
         job=node up=2 note=\"two words\" empty=\"\" ratio=0.5\n",
    );
    check(
        &written[1],
        " WARN starling::runtime::log::tests: no job=node up=1 error=a\\nb\\u{1b}[31m\n",
    );
    assert_eq!(written.len(), 2);
}

#[test]
fn json_keeps_types_and_its_own_names() {
    let written = lines(Format::Json, || info!(up = 2, fine = true, level = "mine", "a\nb"));
    assert_eq!(written[0].matches('\n').count(), 1);
    let mut line: Value = serde_json::from_str(&written[0]).unwrap();
    line.as_object_mut().unwrap().remove("time").unwrap();
    let expected = serde_json::json!({
        "level": "info", "module": "starling::runtime::log::tests", "message": "a\nb",
        "up": 2, "fine": true
    });
    assert_eq!(line, expected);
}

#[test]
fn libraries_are_quiet_unless_asked_for() {
    let check = |filter: &str, expected: (bool, bool)| {
        let subscriber = tracing_subscriber::registry().with(parse_filter(filter).unwrap());
        let found = tracing::subscriber::with_default(subscriber, || {
            let own = enabled!(target: "starling", Level::INFO);
            (own, enabled!(target: "rustls_platform_verifier::others", Level::ERROR))
        });
        assert_eq!(found, expected, "{filter}");
    };
    check("info", (true, false));
    check("warn", (false, false));
    // What was ordered is told whatever the level, unless it is turned off by its name.
    let orders = |filter: &str| {
        let subscriber = tracing_subscriber::registry().with(parse_filter(filter).unwrap());
        tracing::subscriber::with_default(subscriber, || enabled!(target: AUDIT, Level::INFO))
    };
    assert!(orders("error") && !orders("info,starling::audit=off"));
    check("info,rustls_platform_verifier=error", (true, true));
}

#[test]
fn a_filter_that_is_none_is_named() {
    for filter in ["starling=loud", "inof", "", "info,debgu"] {
        let error = install(filter, Format::Text).unwrap_err();
        assert!(error.starts_with(&format!("log level `{filter}`: ")), "{error}");
    }
}

/// What a line says, by what it has left out.
fn left_out(line: &str) -> Option<(u64, String)> {
    let line: Value = serde_json::from_str(line).unwrap();
    let message = line["like"].as_str()?.to_owned();
    assert_eq!(line["message"], LEFT_OUT);
    Some((line["left_out"].as_u64().unwrap(), message))
}

#[test]
fn a_flood_is_a_burst_and_one_line_and_drowns_nothing() {
    const EVENTS: usize = 100_000;
    let written = lines(Format::Json, || {
        for n in 0..EVENTS {
            warn!(job = "node", url = n, "scrape failed");
            if n % 10_000 == 0 {
                info!(n, "something else");
                info!(target: AUDIT, n, "an order was given");
            }
        }
    });
    let count = |message: &str| {
        let message = format!("\"message\":\"{message}\"");
        written.iter().filter(|line| line.contains(&message)).count()
    };
    assert_eq!(count("scrape failed"), 100);
    assert_eq!(count("something else"), 10);
    assert_eq!(count("an order was given"), 10);
    assert_eq!(written.len(), 121);
    let last = written.last().unwrap();
    assert_eq!(left_out(last), Some((99_900, "scrape failed".to_owned())));
    assert!(last.contains("\"level\":\"warn\"") && last.contains("log::tests"), "{last}");
}

#[test]
fn errors_and_orders_have_room_of_their_own() {
    let check = |expected: usize, event: fn(usize)| {
        let written = lines(Format::Json, || (0..2_000).for_each(event));
        let told = written.iter().filter(|line| left_out(line).is_none()).count();
        let missing: u64 = written.iter().filter_map(|line| Some(left_out(line)?.0)).sum();
        assert_eq!((told, missing), (expected, 2_000 - expected as u64));
    };
    check(100, |n| info!(n, "a"));
    check(1_000, |n| error!(n, "a"));
    check(2_000, |n| debug!(n, "a"));
    check(2_000, |n| info!(target: AUDIT, n, "a"));
    check(2_000, |n| warn!(target: AUDIT, n, "a"));
}

/// Both are places of one bridge, and must not share its burst.
#[test]
fn libraries_have_a_burst_each() {
    // The bridge itself can be installed once a process only; this is what it makes of a record.
    let bridged = |library: &str| {
        tracing_log::format_trace(
            &log::Record::builder()
                .level(log::Level::Warn)
                .target(library)
                .args(format_args!("of {library}"))
                .build(),
        )
        .unwrap();
    };
    let written = lines(Format::Json, || {
        (0..150).for_each(|_| bridged("one"));
        (0..50).for_each(|_| bridged("other"));
    });
    let of = |module: &str| {
        let module = format!("\"module\":\"{module}\"");
        written.iter().filter(|line| line.contains(&module)).count()
    };
    assert_eq!((of("one"), of("other")), (101, 50));
    assert_eq!(left_out(&written[150]), Some((50, "of one".to_owned())));
}

/// No more events come: the line is told by the clock.
#[tokio::test]
async fn the_end_of_a_flood_is_told_though_nothing_more_comes() {
    let (sink, mut written) = tokio::sync::mpsc::channel(1_000);
    let now_ms = Arc::new(AtomicU64::new(0));
    let time = Arc::clone(&now_ms);
    let counted = Counted::default();
    let pen = Arc::new(Pen::new(
        Format::Text,
        counted.clone(),
        move || time.load(Ordering::Relaxed),
        move |line: &str| sink.try_send(line.to_owned()).unwrap(),
    ));
    let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&pen)));
    tracing::subscriber::with_default(subscriber, || {
        for n in 0..1_000 {
            info!(n, "it rains");
        }
    });
    for _ in 0..100 {
        assert!(written.try_recv().unwrap().contains("it rains"));
    }
    now_ms.store(1_000, Ordering::Relaxed);
    let floods = Floods(pen);
    let last = tokio::select! {
        last = written.recv() => last.unwrap(),
        never = floods.watch() => match never {},
    };
    let expected = " INFO starling::runtime::log::tests: more lines like this one came than are told, \
                    and were left out left_out=900 like=\"it rains\" within_ms=0\n";
    assert!(last.ends_with(expected), "{last}");
    assert_eq!(counted.of(Level::INFO), (101, 900));
    drop(floods);
    assert!(written.try_recv().is_err(), "what is told is told once");
}

const INSIDE: &str = "STARLING_TEST_JOURNAL";

/// Runs itself again where `/run` is its own, as the journal's socket has a fixed place there.
#[test]
fn the_journal_gets_fields() {
    if std::env::var_os(INSIDE).is_some() {
        return journal_inside();
    }
    let dir = tempfile::tempdir().unwrap();
    let stderr = File::create(dir.path().join("stderr")).unwrap();
    let stream = stderr.metadata().map(|m| format!("{}:{}", m.dev(), m.ino())).unwrap();
    let run = |script: &str, stderr: File| {
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "runtime::log::tests::the_journal_gets_fields"])
            .env(INSIDE, "1")
            .env("JOURNAL_STREAM", &stream)
            .stderr(stderr)
            .output()
    };
    let mount = "mount -t tmpfs tmpfs /run";
    if !run(mount, stderr.try_clone().unwrap()).is_ok_and(|out| out.status.success()) {
        let _ = writeln!(io::stdout(), "skipped: no mount namespace can be made here");
        return;
    }
    let inside = format!("{mount} && mkdir -p /run/systemd/journal && exec \"$0\" \"$@\"");
    let out = run(&inside, stderr).unwrap();
    let told = fs::read_to_string(dir.path().join("stderr")).unwrap();
    assert!(out.status.success(), "{}{told}", String::from_utf8_lossy(&out.stdout));
    assert!(told.is_empty(), "what the journal has is not said twice: {told}");
}

fn journal_inside() {
    let socket = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
    install("info", Format::Auto).unwrap();
    let connected = datagram(&socket);
    assert!(connected.is_empty());

    let _job = info_span!("job", job = "node").entered();
    info!(target_count = 3, target = "http://a:1/m", "targets\nchanged");
    let entry = fields_of(&datagram(&socket));
    let check = |name: &str, expected: &str| {
        assert_eq!(entry.get(name).map(String::as_str), Some(expected), "{name} in {entry:?}");
    };
    check("MESSAGE", "targets\\nchanged job=node target_count=3 target=http://a:1/m");
    check("EVENT", "targets\\nchanged");
    check("PRIORITY", "6");
    check("SYSLOG_IDENTIFIER", "starling");
    check("JOB", "node");
    check("TARGET_COUNT", "3");
    check("FIELD_TARGET", "http://a:1/m");
    check("TARGET", "starling::runtime::log::tests");
    check("CODE_FILE", file!());

    log::warn!(target: "a_library", "of a library");
    let entry = fields_of(&datagram(&socket));
    assert_eq!(entry["MESSAGE"], "of a library job=node");
    assert_eq!(entry["EVENT"], "of a library");
    assert_eq!(entry["PRIORITY"], "4");
    assert_eq!(entry["TARGET"], "a_library");
    assert_eq!(entry["JOB"], "node");
    assert!(!entry.keys().any(|name| name.starts_with("LOG_")), "{entry:?}");
}

fn datagram(socket: &UnixDatagram) -> Vec<u8> {
    let mut bytes = vec![0; 64 * 1024];
    let length = socket.recv(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// The journal's native protocol: `NAME=value\n`, or `NAME\n`, a length and that many bytes.
fn fields_of(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|b| *b == b'\n').unwrap();
        let line = String::from_utf8(bytes[..end].to_vec()).unwrap();
        bytes = &bytes[end + 1..];
        let (name, value) = if let Some((name, value)) = line.split_once('=') {
            (name.to_owned(), value.to_owned())
        } else {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let (value, rest) = bytes[8..].split_at(usize::try_from(length).unwrap());
            bytes = &rest[1..];
            (line, String::from_utf8(value.to_vec()).unwrap())
        };
        assert_eq!(fields.insert(name.clone(), value), None, "{name} comes once");
    }
    fields
}
