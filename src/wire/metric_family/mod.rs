//! The protobuf exposition (`io.prometheus.client.MetricFamily`, each behind its length) as a
//! transcript: a family to metadata, a metric to the series that it would be in text, or to a
//! native histogram. With the verdicts of Prometheus' own parser.

mod message;
mod metric;

use self::message::{Family, Metric};
use crate::wire::{
    exposed::ParseOptions,
    parser::{MetricKind, ParseError},
    protobuf::Fields,
    transcript::{Full, Transcript},
};

/// A fault is told by the place where its family begins: a field has none of its own.
pub(super) fn transcribe(
    body: &[u8],
    options: ParseOptions,
    transcript: &mut Transcript,
) -> Result<(), ParseError> {
    let mut rest = body;
    let mut writer = metric::Writer::new(options, transcript);
    while !rest.is_empty() {
        let offset = body.len() - rest.len();
        let fault = |message| ParseError::at_byte(offset, message);
        let message = take_delimited(&mut rest).map_err(fault)?;
        family(message, &mut writer).map_err(fault)?;
    }
    Ok(())
}

/// The message behind its length.
fn take_delimited<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let mut fields = Fields::of(bytes);
    let length =
        fields.varint().map_err(|fault| format!("the length of a metric family: {fault}"))?;
    let rest = fields.rest();
    let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let Some((message, after)) = split else {
        let found = rest.len();
        return Err(format!(
            "a metric family of {length} bytes, found {found} until the end of the body"
        ));
    };
    *bytes = after;
    Ok(message)
}

fn family(message: &[u8], writer: &mut metric::Writer<'_>) -> Result<(), String> {
    let family = Family::read(message)?;
    // Of a family without metrics nothing is told, whatever else it says.
    if family.metrics.is_empty() {
        return Ok(());
    }
    let named = |fault: String| format!("metric `{}`: {fault}", shown(family.name));
    let (name, help) = (text(family.name, "name"), text(family.help, "help"));
    let (name, help) = (name.map_err(named)?, help.map_err(named)?);
    let unit = text(family.unit, "unit").map_err(named)?;
    if name.is_empty() || name.contains('\0') {
        return Err(format!("`{}` is no metric name", shown(family.name)));
    }
    let kind = kind(family.kind)
        .ok_or_else(|| named(format!("the type {} is unknown; expected 0 to 5", family.kind)))?;
    check_unit(name, kind, unit).map_err(named)?;
    let full = |full: Full| named(full.to_string());
    let head = metric::Head { name, kind, help, unit };
    writer.metadata(head).map_err(full)?;
    for message in &family.metrics {
        let metric = Metric::read(message, family.kind).map_err(named)?;
        writer.metric(head, &metric).map_err(full)?;
    }
    Ok(())
}

fn kind(number: u64) -> Option<MetricKind> {
    Some(match number {
        0 => MetricKind::Counter,
        1 => MetricKind::Gauge,
        2 => MetricKind::Summary,
        3 => MetricKind::Unknown,
        4 => MetricKind::Histogram,
        5 => MetricKind::GaugeHistogram,
        _ => return None,
    })
}

/// A unit ends the name; of a counter what stands before `_total`.
fn check_unit(name: &str, kind: MetricKind, unit: &str) -> Result<(), String> {
    let base = match kind {
        MetricKind::Counter => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    let fits = base.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'));
    if unit.is_empty() || fits {
        return Ok(());
    }
    Err(format!("the unit `{unit}` is not a suffix of the name"))
}

fn text<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("the {what} `{}` is not UTF-8", shown(bytes)))
}

fn shown(bytes: &[u8]) -> String {
    crate::wire::lexer::shown(bytes)
}
