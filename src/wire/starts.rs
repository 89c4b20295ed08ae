//! Since when a series of OpenMetrics text has counted: what the `_created` line of its family and
//! labels says. Such a line is no series itself. As Prometheus has it: the next `_created` line
//! behind a series counts, or the one that a series before it of the same labels had.

use memchr::memmem;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    model::sample::PointValue,
    wire::{
        content_type::Format,
        lexer::{LabelPart, Lexer},
        openmetrics,
        parser::{Entry, MetricKind, ParseError},
        series::Series,
    },
};

const SUFFIX: &[u8] = b"_created";

#[derive(Debug, Default)]
pub(super) struct Starts {
    /// `_created` lines are series as well.
    keeps_created: bool,
    /// The length of the family's name that the last line of metadata was about: a series begins
    /// with it.
    family_bytes: usize,
    ahead: Ahead,
    /// What the series before of the family had.
    last: Option<Created>,
}

/// What stands behind the cursor.
#[derive(Debug, Default)]
struct Ahead {
    /// Good for series that end before this.
    until: usize,
    next: Option<(Line, Created)>,
    /// Before this there is no further `_created`, in a name or elsewhere.
    word: usize,
    /// Where the next line of metadata begins, as far as that is known.
    run_end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Created {
    /// Of the family and the labels.
    identity: u64,
    start_ms: i64,
}

impl Starts {
    pub(super) fn new(keeps_created: bool) -> Self {
        Self { keeps_created, ..Self::default() }
    }

    pub(super) fn entry<'a>(
        &mut self,
        lexer: &mut Lexer<'a>,
        kind: MetricKind,
    ) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            let entry = openmetrics::entry(lexer, kind)?;
            match entry {
                Some(Entry::Series(series)) if !self.keeps_created && is_created(&series, kind) => {
                }
                Some(Entry::Series(mut series)) => {
                    series.start_ms = self.of(lexer, series.text.as_bytes(), kind);
                    return Ok(Some(Entry::Series(series)));
                }
                Some(
                    Entry::Type { ref family, .. }
                    | Entry::Help { ref family, .. }
                    | Entry::Unit { ref family, .. },
                ) => {
                    self.family_bytes = family.len();
                    self.last = None;
                    return Ok(entry);
                }
                Some(Entry::Comment(_)) | None => return Ok(entry),
            }
        }
    }

    /// The start of the series of that text, of which the cursor stands behind the line.
    #[inline]
    pub(super) fn of(&mut self, lexer: &Lexer<'_>, text: &[u8], kind: MetricKind) -> Option<i64> {
        if !counts(kind) {
            return None;
        }
        if lexer.at > self.ahead.until {
            self.ahead.look(lexer, kind);
        }
        if self.last.is_none() && self.ahead.next.is_none() {
            return None;
        }
        let identity = identity(text, kind, self.family_bytes);
        let fits = |created: &Created| created.identity == identity;
        let next = self.ahead.next.map(|(_, created)| created);
        self.last = self.last.filter(fits).or(next.filter(fits));
        let start_ms = self.last.map(|created| created.start_ms);
        // The line that says so has none itself.
        start_ms.filter(|_| !self.keeps_created || !metric_name(text).ends_with(SUFFIX))
    }

    /// Moves the cursor behind a `_created` line that is known to stand there.
    #[inline]
    pub(super) fn skip(&self, lexer: &mut Lexer<'_>, kind: MetricKind) {
        if let Some((line, _)) = self.ahead.next
            && !self.keeps_created
            && line.start == lexer.at
            && counts(kind)
        {
            lexer.at = line.end;
        }
    }
}

impl Ahead {
    /// Finds the next `_created` line before the next line of metadata.
    #[cold]
    fn look(&mut self, lexer: &Lexer<'_>, kind: MetricKind) {
        let (body, at) = (lexer.body, lexer.at);
        self.next = None;
        if self.word < at {
            self.word = find(body, at, SUFFIX);
        }
        // Nothing more in all of the body: there is nothing to look for ever again.
        if self.word == body.len() {
            self.until = usize::MAX;
            return;
        }
        if at > self.run_end {
            self.run_end =
                if body.get(at) == Some(&b'#') { at } else { find(body, at, b"\n#") + 1 };
        }
        self.until = self.run_end;
        while self.word < self.run_end {
            let start = memchr::memrchr(b'\n', &body[..self.word]).map_or(0, |at| at + 1);
            let mut line = Lexer { body, at: start, line_start: start };
            if start >= at
                && let Ok(series) = openmetrics::series(&mut line, kind)
                && is_created(&series, kind)
                && let PointValue::Float(seconds) = series.value
            {
                self.until = start;
                let name = metric_name(series.text.as_bytes());
                let identity = identity(series.text.as_bytes(), kind, name.len() - SUFFIX.len());
                let start_ms = openmetrics::milliseconds(seconds);
                // What is not positive says nothing.
                if start_ms > 0 {
                    let line = Line { start, end: line.at };
                    self.next = Some((line, Created { identity, start_ms }));
                }
                return;
            }
            // Once a line, however often the word stands in its values.
            self.word = find(body, find(body, self.word, b"\n"), SUFFIX);
        }
    }
}

/// Where `needle` stands at or behind `at`; the end of the body where it does not.
fn find(body: &[u8], at: usize, needle: &[u8]) -> usize {
    memmem::find(&body[at..], needle).map_or(body.len(), |found| at + found)
}

/// Whether series of such a family can have a start.
fn counts(kind: MetricKind) -> bool {
    match kind {
        MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary => true,
        MetricKind::Gauge
        | MetricKind::GaugeHistogram
        | MetricKind::Info
        | MetricKind::StateSet
        | MetricKind::Unknown => false,
    }
}

fn is_created(series: &Series<'_>, kind: MetricKind) -> bool {
    let name = || metric_name(series.text.as_bytes());
    counts(kind) && name().strip_suffix(SUFFIX).is_some_and(|family| !family.is_empty())
}

/// As it is written, without the quotes.
fn metric_name(text: &[u8]) -> &[u8] {
    let mut lexer = Lexer::new(text);
    let mut name = lexer.metric_name();
    if name.is_empty() && lexer.take(b'{') {
        visit(&mut lexer, |part| {
            if let LabelPart::Name(quoted) = part {
                name = quoted;
            }
        });
    }
    name
}

/// The first `name_bytes` of the name, and the labels but for `le` of a histogram and `quantile` of
/// a summary.
fn identity(text: &[u8], kind: MetricKind, name_bytes: usize) -> u64 {
    let mut hasher = Xxh3::new();
    let mut add = |part: &[u8]| {
        hasher.update(part);
        // It is in no UTF-8 text.
        hasher.update(&[0xff]);
    };
    let name = metric_name(text);
    add(&name[..name_bytes.min(name.len())]);
    let mut lexer = Lexer::new(text);
    lexer.metric_name();
    if lexer.take(b'{') {
        visit(&mut lexer, |part| {
            if let LabelPart::Label(name, value) = part
                && !matches!(
                    (kind, name),
                    (MetricKind::Histogram, b"le") | (MetricKind::Summary, b"quantile")
                )
            {
                add(name);
                add(value);
            }
        });
    }
    hasher.digest()
}

/// The parts of a label block that has been read before.
fn visit<'a>(lexer: &mut Lexer<'a>, mut each: impl FnMut(LabelPart<'a>)) {
    let read = lexer.label_block(Format::OpenMetricsText, |_, part| {
        each(part);
        Ok(())
    });
    debug_assert!(read.is_ok(), "the block was read when its line was");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Exposed, ParseOptions};

    /// The series of a body, each with its start; read at first and again.
    fn check(body: &str, expected: &[(&str, Option<i64>)]) {
        let options = ParseOptions { starts: true, ..ParseOptions::default() };
        let body = format!("{body}# EOF\n");
        let exposed = Exposed::new(Format::OpenMetricsText, body.as_bytes(), options);
        let mut again = exposed.parser();
        let mut found = Vec::new();
        for entry in exposed.parser() {
            let entry = entry.unwrap();
            let Entry::Series(series) = &entry else {
                again.next();
                continue;
            };
            found.push((series.text, series.start_ms));
            match again.next_known(series.text, series.context()) {
                Some(known) => assert_eq!(known, series.facts(), "{body}"),
                // Behind a start that nothing has looked for.
                None => assert_eq!(again.next(), Some(Ok(entry)), "{body}"),
            }
        }
        assert_eq!(found, expected, "{body}");
        assert_eq!(again.next(), None, "{body}");
    }

    #[test]
    fn a_start_is_that_of_the_same_family_and_labels() {
        check(
            "# TYPE a counter\na_total 1\na_created 2.5\na_total{b=\"c\"} 1\na_created{b=\"c\"} 3\n\
             a_total{b=\"d\"} 1\na_created{b=\"e\"} 4\na_total{b=\"e\"} 1\n",
            &[
                ("a_total", Some(2500)),
                ("a_total{b=\"c\"}", Some(3000)),
                ("a_total{b=\"d\"}", None),
                ("a_total{b=\"e\"}", None),
            ],
        );
        check(
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_created 7\nh_sum 1\n\
             # TYPE s summary\ns{quantile=\"1\"} 1\ns_count 1\ns_created -1\n",
            &[
                ("h_bucket{le=\"1\"}", Some(7000)),
                ("h_bucket{le=\"+Inf\"}", Some(7000)),
                ("h_sum", Some(7000)),
                ("s{quantile=\"1\"}", None),
                ("s_count", None),
            ],
        );
        check(
            "# TYPE \"a.b\" counter\n{\"a.b_total\",c=\"_created\"} 1\n{\"a.b_created\",c=\"_created\"} 2\n",
            &[("{\"a.b_total\",c=\"_created\"}", Some(2000))],
        );
    }

    #[test]
    fn no_other_line_is_taken_for_a_start() {
        check(
            "# TYPE a_created gauge\na_created 1\n# TYPE b counter\nb_total 1\n# TYPE c counter\n\
             c_created 5\nc_total 1\n# TYPE _created counter\n_created 1\n",
            &[("a_created", None), ("b_total", None), ("c_total", None), ("_created", None)],
        );
    }
}
