//! The text formats: what is refused and how, and what the slow reference says of anything.

mod protobuf;
mod reference;

use proptest::prelude::*;

use self::reference::{Reading, Reference, point};

use crate::model::sample::PointValue;

use super::{
    Entry, Format, ParseError, ParseOptions, Parser, Series, native, parser::LINE_BYTES_MAX,
    rewrite, transcript::Transcript,
};

const TEXT: Format = Format::PrometheusText;
const OPEN_METRICS: Format = Format::OpenMetricsText;

/// As the reference puts it.
fn shown(entry: &Entry<'_>) -> String {
    match entry {
        Entry::Type { family, kind } => format!("type {family} {}", kind.name()),
        Entry::Help { family, text } => format!("help {family} {text:?}"),
        Entry::Unit { family, unit } => format!("unit {family} {unit:?}"),
        Entry::Comment(_) => "comment".to_owned(),
        Entry::Series(series) => {
            let mut pairs = Vec::new();
            series.pairs(&mut pairs);
            let mut text = format!("series {pairs:?} {}", at(series.value, series.timestamp_ms));
            for exemplar in series.exemplars.decode() {
                let labels: std::collections::BTreeMap<_, _> = exemplar.labels.iter().collect();
                let point = point(exemplar.value, exemplar.timestamp_ms);
                text = format!("{text} exemplar {labels:?} {point}");
            }
            text
        }
    }
}

fn at(value: PointValue<'_>, timestamp_ms: Option<i64>) -> String {
    match value {
        PointValue::Float(value) => point(value, timestamp_ms),
        PointValue::Histogram(histogram) => {
            format!("{} {timestamp_ms:?}", native::shown(histogram))
        }
    }
}

fn read(format: Format, body: &[u8]) -> Result<Vec<Entry<'_>>, ParseError> {
    Parser::new(format, body).collect()
}

fn reading(format: Format, body: &[u8]) -> Reading {
    Some(read(format, body).ok()?.iter().map(shown).collect())
}

/// As `reading`, but put down anew between.
fn transcribed(format: Format, body: &[u8]) -> Reading {
    let mut transcript = Transcript::default();
    let parser = Parser::new(format, body);
    let fault = rewrite::transcribe(parser, ParseOptions::default(), &mut transcript).err();
    let entries: Result<Vec<_>, _> = Parser::of_transcript(&transcript, fault.as_ref()).collect();
    Some(entries.ok()?.iter().map(shown).collect())
}

fn only_series(format: Format, body: &str) -> Series<'_> {
    match Parser::new(format, body.as_bytes()).last() {
        Some(Ok(Entry::Series(series))) => series,
        other => panic!("{body:?}: {other:?}"),
    }
}

#[test]
fn errors_say_where_and_what() {
    let check = |format: Format, body: &[u8], expected: &str| {
        let error = read(format, body).unwrap_err();
        assert_eq!(error.to_string(), expected, "{}", body.escape_ascii());
    };
    for (body, expected) in [
        (&b"a 1\nb{c='d'} 1\n"[..], "line 2: expected a label value in quotes, found `\\'d\\'} 1`"),
        (b"a{\xff=\"b\"} 1", "line 1: expected a label name, found `\\xff=\\\"b\\\"} 1`"),
        (b"a{b=\"\xff\"} 1", "line 1: `a{b=\\\"\\xff\\\"}` is not UTF-8"),
        (b"\na\n", "line 2: expected a value, found the end of the line"),
        (b"a", "line 1: expected a value, found the end of the body"),
        (b"a 1e999", "line 1: expected a value, found `1e999`"),
        (b"a 0x1p-3", "line 1: expected a value, found `0x1p-3`"),
        (b"a 1 -5", "line 1: expected a timestamp or the end of the line, found `-5`"),
        (
            b"a 1 99999999999999999999",
            "line 1: expected a timestamp in milliseconds, found `99999999999999999999`",
        ),
        (b"{a=\"b\"} 1", "line 1: a sample without a metric name"),
        (b"a{\"b\"} 1", "line 1: a second metric name in a sample"),
        (b"{a} 1", "line 1: expected `=`, found `} 1`"),
        (b"a{b=\"\\\n\"} 1", "line 1: expected a label value in quotes, found `\\\"\\\\`"),
        (b"\0", "line 1: expected a metric name, found `\\x00`"),
        (b"a 1\r\n", "line 1: expected a value, found `1\\r`"),
        (b"# TYPE a thing\n", "line 1: `thing` is not a metric type"),
        (b"# HELP #\n", "line 1: expected a metric name, found `#`"),
        (b"# HELP a \xff\n", "line 1: `\\xff` is not UTF-8"),
    ] {
        check(TEXT, body, expected);
    }
    for (body, expected) in [
        (&b""[..], "line 1: data does not end with `# EOF`"),
        (b"a 1\n", "line 2: data does not end with `# EOF`"),
        (b"a 1", "line 1: data does not end with `# EOF`"),
        (b"# EOF\na 1\n", "line 2: unexpected data after `# EOF`"),
        (b"\n# EOF\n", "line 1: expected a metric name, found the end of the line"),
        (b"a  1\n# EOF\n", "line 1: expected a space and a value, found ` 1`"),
        (b"a 1 NaN\n# EOF\n", "line 1: expected a timestamp in seconds, found `NaN`"),
        (
            b"a{b=\"c\"d=\"e\"} 1\n# EOF\n",
            "line 1: expected a comma or `}`, found `d=\\\"e\\\"} 1`",
        ),
        (b"# UNIT a s\n# EOF\n", "line 1: the unit `s` is not a suffix of the metric `a`"),
        (b"# TYPE a untyped\n# EOF\n", "line 1: `untyped` is not a metric type"),
        (b"a 1 # {\"b\"} 1\n# EOF\n", "line 1: expected `=` in an exemplar's labels"),
    ] {
        check(OPEN_METRICS, body, expected);
    }
}

#[test]
fn nothing_follows_an_error() {
    let mut parser = Parser::new(TEXT, b"a 1\nb b\nc 1\n");
    assert!(matches!(parser.next(), Some(Ok(_))));
    assert!(matches!(parser.next(), Some(Err(_))));
    assert_eq!(parser.next(), None);
}

#[test]
fn labels_are_sorted_unescaped_and_canonical() {
    let check = |body: &str, expected: &str| {
        assert_eq!(only_series(TEXT, body).labels().unwrap().to_string(), expected, "{body}");
    };
    for (body, expected) in [
        ("a{c=\"d\",b=\"\",} 1", r#"{__name__="a", c="d"}"#),
        ("a { c = \"\\\\n\\n\\\"\\t\" } 1", r#"{__name__="a", c="\\n\n\"\\t"}"#),
        ("{\"a.b\",\"c d\"=\"e\"} 1", r#"{__name__="a.b", c d="e"}"#),
        ("{c=\"d\",\"a\"} 1", r#"{__name__="a", c="d"}"#),
        ("# TYPE a histogram\na{le=\"1\"} 1", r#"{__name__="a", le="1.0"}"#),
        ("# TYPE a histogram\na{le=\"x\"} 1", r#"{__name__="a", le="x"}"#),
        ("# TYPE a histogram\nb{quantile=\"1\"} 1", r#"{__name__="b", quantile="1"}"#),
        ("# TYPE a summary\nb{quantile=\".5\"} 1", r#"{__name__="b", quantile="0.5"}"#),
        ("# TYPE a gauge\na{le=\"1\"} 1", r#"{__name__="a", le="1"}"#),
    ] {
        check(body, expected);
    }
}

#[test]
fn a_label_that_stands_twice_is_an_error() {
    for body in ["x 1\na{b=\"1\",b=\"1\"} 1", "\n a{b=\"\",b=\"1\"} 1", "\na{__name__=\"b\"} 1"] {
        let error = only_series(TEXT, body).labels().unwrap_err();
        assert_eq!(error.line, Some(2));
        assert!(error.message.contains("stands twice"), "{error}");
    }
}

#[test]
fn long_lines_are_refused() {
    for line in [
        format!("a{{b=\"{}\"}} 1\n", "c".repeat(LINE_BYTES_MAX)),
        format!("# HELP a {}\n", "c".repeat(LINE_BYTES_MAX)),
        format!("# {}\n", "c".repeat(LINE_BYTES_MAX)),
    ] {
        let error = read(TEXT, format!("x 1\n{line}").as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "line 2: the line is longer than 524288 bytes");
    }
    let blank = "\n".repeat(2 * LINE_BYTES_MAX) + "a 1\n";
    assert_eq!(read(TEXT, blank.as_bytes()).unwrap().len(), 1);
    let many_labels = "a=\"\",".repeat(LINE_BYTES_MAX / 6);
    let line = format!("m{{{many_labels}}} 1");
    assert!(only_series(TEXT, &line).labels().is_err());
}

#[test]
fn what_is_known_must_read_exactly_so() {
    let check = |format: Format, body: &str, expected: &str, context: u8, known: bool| {
        let mut parser = Parser::new(format, body.as_bytes());
        let value = parser.next_known(expected, context);
        assert_eq!(value.is_some(), known, "{body:?} as {expected:?}");
        let left = parser.filter_map(Result::ok).count();
        let all = Parser::new(format, body.as_bytes()).filter_map(Result::ok).count();
        assert_eq!(left + usize::from(known), all, "{body:?} as {expected:?}");
    };
    for (body, expected, context, known) in [
        ("a 1\nb 2\n", "a", 0, true),
        ("a\t 1 5 \nb 2", "a", 0, true),
        ("a 1", "a", 1, false),
        ("ab 1\n", "a", 0, false),
        ("a{b=\"c\"} 1\n", "a", 0, false),
        ("a {b=\"c\"} 1\n", "a", 0, false),
        ("a {b=\"c\"} 1\n", "a {b=\"c\"}", 0, true),
        ("a{b=\"c\"}1\n", "a{b=\"c\"}", 0, false),
        ("a x\n", "a", 0, false),
        (" a 1\n", "a", 0, false),
        ("# TYPE a gauge\na 1\n", "a", 0, false),
        ("", "a", 0, false),
    ] {
        check(TEXT, body, expected, context, known);
    }
    for (body, expected, known) in [
        ("a 1\n# EOF\n", "a", true),
        ("a 1 2.5 # {b=\"c\"} 1 2\n# EOF\n", "a", true),
        ("a\t1\n# EOF\n", "a", false),
        ("a 1", "a", false),
    ] {
        check(OPEN_METRICS, body, expected, 0, known);
    }
}

/// Pieces that make much of what is near the edge of either grammar.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&str] = &[
        "a",
        "b:c",
        "le",
        "quantile",
        "{",
        "}",
        "\"",
        "\\",
        "\\\"",
        "\\n",
        "=",
        ",",
        " ",
        "\t",
        "\n",
        "1",
        "2.5e3",
        "NaN",
        "+Inf",
        "-",
        "0x1",
        "1e999",
        "#",
        "# ",
        " # {",
        "HELP ",
        "TYPE ",
        "UNIT ",
        "# HELP a ",
        "# TYPE a histogram\n",
        "# TYPE b summary\n",
        "# UNIT a_s s\n",
        "# EOF",
        "# EOF\n",
        "\0",
        "é",
        "\r",
        "\"x\"",
        "a=\"b\"",
        "le=\"1\"",
        "{a=\"b\"} 1\n",
        "a 1\n",
        " 1 2\n",
        "m{a=\"",
        "\"} 1\n",
        "\"q\",",
        "\"q\"=\"v\"",
    ];
    let piece = prop_oneof![
        40 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A body that is well formed in both formats, but for blanks that only the older one takes.
fn well_formed() -> impl Strategy<Value = (String, String)> {
    let value = r#"([a-z #{},=é\x00]|\\\\|\\n|\\"|\\x){0,6}"#;
    let label = ("[a-zA-Z_][a-zA-Z0-9_]{0,6}|le|quantile|\"[a-z.é]{1,4}\"", value);
    let labels = proptest::collection::vec(label, 0..5);
    let number = prop_oneof![
        any::<f64>()
            .prop_filter("written otherwise", |f| f.is_finite())
            .prop_map(|f| f.to_string()),
        any::<i32>().prop_map(|i| i.to_string()),
        proptest::sample::select(&["NaN", "+Inf", "-inf", "1e-9", ".5", "7."][..])
            .prop_map(str::to_owned),
    ];
    let name = prop_oneof![4 => "[a-z_:][a-z0-9_:]{0,8}", 1 => "\"[a-z.é]{1,4}\""];
    let series = (name, labels, number, proptest::option::of(0..4_000_000_000_u32), "[ \t]{0,2}")
        .prop_map(|(name, labels, number, timestamp, blanks)| {
            let mut parts: Vec<_> =
                labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let quoted = name.starts_with('"');
            if quoted {
                parts.insert(0, name.clone());
            }
            let bare = if quoted { "" } else { &name };
            let timestamp = timestamp.map_or(String::new(), |timestamp| format!(" {timestamp}"));
            let block = |separator: &str| {
                if parts.is_empty() {
                    return String::new();
                }
                format!("{{{}}}", parts.join(separator))
            };
            let strict = format!("{bare}{} {number}{timestamp}\n", block(","));
            let separator = format!("{blanks},{blanks}");
            let loose = format!(
                "{bare}{blanks}{} {blanks}{number}{timestamp}{blanks}\n{blanks}\n",
                block(&separator)
            );
            (loose, strict)
        });
    let kind = proptest::sample::select(&["counter", "gauge", "histogram", "summary"][..])
        .prop_map(|kind| format!("# TYPE a {kind}\n"));
    let help = "[a-z\\\\n\" é]{0,8}".prop_map(|text| format!("# HELP a {text}\n"));
    let line = prop_oneof![
        8 => series,
        1 => kind.prop_map(|line| (line.clone(), line)),
        1 => help.prop_map(|line| (line.clone(), line)),
    ];
    proptest::collection::vec(line, 0..8).prop_map(|lines| {
        let (loose, strict): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
        (loose.concat(), strict.concat() + "# EOF\n")
    })
}

/// Reads `body` as one does who remembers it, and expects what he remembers.
fn read_again(format: Format, body: &[u8]) -> Reading {
    let remembered: Vec<_> = read(format, body)
        .ok()?
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Series(series) => Some(series),
            Entry::Type { .. } | Entry::Help { .. } | Entry::Unit { .. } | Entry::Comment(_) => {
                None
            }
        })
        .collect();
    let mut remembered = remembered.into_iter().peekable();
    let mut parser = Parser::new(format, body);
    let mut entries = Vec::new();
    loop {
        let next = remembered.peek();
        let known = next.and_then(|next| parser.next_known(next.text, next.context()));
        if let (Some(value), Some(next)) = (known, next) {
            assert_eq!(at(value.value, value.timestamp_ms), at(next.value, next.timestamp_ms));
            assert_eq!(value.exemplars, next.exemplars);
            entries.push(shown(&Entry::Series(next.clone())));
            remembered.next();
            continue;
        }
        let Some(entry) = parser.next() else { return Some(entries) };
        let entry = entry.ok()?;
        entries.push(shown(&entry));
        if let Entry::Series(_) = entry {
            remembered.next();
        }
    }
}

#[test]
fn agrees_with_the_reference_on_what_is_well_formed() {
    let reference = Reference::default();
    proptest!(|((loose, strict) in well_formed())| {
        let expected = reference.exposition(loose.as_bytes());
        prop_assert!(expected.is_some(), "{loose:?}");
        prop_assert_eq!(reading(TEXT, loose.as_bytes()), expected.clone());
        prop_assert_eq!(read_again(TEXT, loose.as_bytes()), expected);

        let expected = reference.openmetrics(strict.as_bytes());
        prop_assert!(expected.is_some(), "{strict:?}");
        prop_assert_eq!(reading(OPEN_METRICS, strict.as_bytes()), expected.clone());
        prop_assert_eq!(transcribed(OPEN_METRICS, strict.as_bytes()), expected.clone());
        prop_assert_eq!(read_again(OPEN_METRICS, strict.as_bytes()), expected);
    });
}

#[test]
fn a_family_may_be_called_like_a_word_of_the_format() {
    let expected = ["help TYPE \"x\"", "type HELP counter", "help TYPE \"\""].map(str::to_owned);
    let body = b"# HELP TYPE x\n# TYPE HELP counter\n# HELP TYPE ";
    assert_eq!(reading(TEXT, body), Some(expected.to_vec()));
}

#[test]
fn agrees_with_the_reference_on_anything() {
    let reference = Reference::default();
    let config = ProptestConfig::with_cases(4_000);
    proptest!(config, |(body in soup())| {
        let expected = reference.exposition(&body);
        prop_assert_eq!(reading(TEXT, &body), expected.clone());
        prop_assert_eq!(transcribed(TEXT, &body), expected.clone());
        prop_assert_eq!(read_again(TEXT, &body), expected);
        let expected = reference.openmetrics(&body);
        prop_assert_eq!(reading(OPEN_METRICS, &body), expected.clone());
        prop_assert_eq!(transcribed(OPEN_METRICS, &body), expected.clone());
        prop_assert_eq!(read_again(OPEN_METRICS, &body), expected);
    });
}

proptest! {
    #[test]
    fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [TEXT, OPEN_METRICS] {
            for entry in Parser::new(format, &body).flatten() {
                shown(&entry);
            }
        }
    }
}
