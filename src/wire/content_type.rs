//! Content negotiation of a scrape: what is asked for, and which parser reads the answer.

use crate::model::protocol::{Escaping, ScrapeProtocol};

/// The grammar that a body is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    PrometheusText,
    OpenMetricsText,
    /// Metric families, each behind its length.
    Protobuf,
}

/// The weight of the first protocol, in tenths: one more than there are protocols to choose from,
/// as in Prometheus, so that each choice keeps its distance to `*/*`.
const FIRST_WEIGHT: usize = 6;

/// The `Accept` header: `protocols` from the most to the least wanted, then anything.
pub fn accept(protocols: &[ScrapeProtocol], escaping: Escaping) -> String {
    let mut choices = Vec::new();
    let weights = (0..=FIRST_WEIGHT).rev();
    for (&protocol, weight) in protocols.iter().zip(weights) {
        let escaping = match protocol {
            ScrapeProtocol::OpenMetricsText1_0_0 | ScrapeProtocol::PrometheusText1_0_0 => {
                format!(";escaping={}", escaping_name(escaping))
            }
            ScrapeProtocol::OpenMetricsText0_0_1
            | ScrapeProtocol::PrometheusText0_0_4
            | ScrapeProtocol::PrometheusProto => String::new(),
        };
        choices.push(format!("{}{escaping};q=0.{weight}", protocol_name(protocol)));
    }
    choices.push(format!("*/*;q=0.{}", FIRST_WEIGHT.saturating_sub(protocols.len())));
    choices.join(",")
}

/// The grammar of a body of this type. `fallback` counts where the type is absent, unreadable or
/// unknown. What was asked for does not count, and an empty body needs no parser: see the caller.
pub fn parser_for(
    content_type: Option<&str>,
    fallback: Option<ScrapeProtocol>,
) -> Result<Format, String> {
    let fault = match format(content_type.unwrap_or_default()) {
        Ok(format) => return Ok(format),
        Err(fault) => fault,
    };
    match fallback {
        Some(ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0) => {
            Ok(Format::PrometheusText)
        }
        Some(ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0) => {
            Ok(Format::OpenMetricsText)
        }
        Some(ScrapeProtocol::PrometheusProto) => Ok(Format::Protobuf),
        None => Err(format!("{fault} and no fallback_scrape_protocol specified for target")),
    }
}

/// What a type says; or why it says nothing, also where a fallback helps out.
pub fn format(content_type: &str) -> Result<Format, String> {
    match media_type(content_type) {
        Ok(media_type) => match media_type.as_str() {
            "text/plain" => Ok(Format::PrometheusText),
            "application/openmetrics-text" => Ok(Format::OpenMetricsText),
            "application/vnd.google.protobuf" => Ok(Format::Protobuf),
            _ => Err(format!("received unsupported Content-Type {content_type:?}")),
        },
        Err(_) if content_type.is_empty() => {
            Err("non-compliant scrape target sending blank Content-Type".to_owned())
        }
        Err(fault) => Err(format!("cannot parse Content-Type {content_type:?} ({fault})")),
    }
}

fn protocol_name(protocol: ScrapeProtocol) -> &'static str {
    match protocol {
        ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
        ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
        ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
        ScrapeProtocol::PrometheusProto => {
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited"
        }
    }
}

fn escaping_name(escaping: Escaping) -> &'static str {
    match escaping {
        Escaping::AllowUtf8 => "allow-utf-8",
        Escaping::Underscores => "underscores",
        Escaping::Dots => "dots",
        Escaping::Values => "values",
    }
}

/// The type and subtype in lower case. The parameters decide nothing, but must be well formed: a
/// header that Go's `mime` package refuses is one that Prometheus cannot read.
fn media_type(header: &str) -> Result<String, &'static str> {
    let (media_type, parameters) = header.split_at(header.find(';').unwrap_or(header.len()));
    let media_type = media_type.trim().to_lowercase();
    check_media_type(&media_type)?;

    let mut seen: Vec<(String, String)> = Vec::new();
    let mut rest = parameters.trim_start();
    while !rest.is_empty() && rest.trim() != ";" {
        let (name, value, after) = parameter(rest).ok_or("invalid media parameter")?;
        if seen.iter().any(|(other, differs)| *other == name && *differs != value) {
            return Err("duplicate parameter name");
        }
        seen.push((name, value));
        rest = after.trim_start();
    }
    Ok(media_type)
}

fn check_media_type(text: &str) -> Result<(), &'static str> {
    let (kind, rest) = token(text);
    if kind.is_empty() {
        return Err("no media type");
    }
    if rest.is_empty() {
        return Ok(());
    }
    let Some(rest) = rest.strip_prefix('/') else {
        return Err("expected slash after first token");
    };
    match token(rest) {
        ("", _) => Err("expected token after slash"),
        (_, "") => Ok(()),
        _ => Err("unexpected content after media subtype"),
    }
}

/// `; name=value` or `; name="value"`: the name in lower case, the value, and what follows.
fn parameter(text: &str) -> Option<(String, String, &str)> {
    let (name, rest) = token(text.strip_prefix(';')?.trim_start());
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let (value, rest) = match rest.strip_prefix('"') {
        Some(rest) => quoted(rest)?,
        None => match token(rest) {
            ("", _) => return None,
            (value, rest) => (value.to_owned(), rest),
        },
    };
    (!name.is_empty()).then(|| (name.to_lowercase(), value, rest))
}

/// What stands before the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            '\r' | '\n' => return None,
            _ => value.push(c),
        }
    }
    None
}

/// The longest token (RFC 2045) that `text` begins with, and the rest.
fn token(text: &str) -> (&str, &str) {
    let inside = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c);
    text.split_at(text.find(|c| !inside(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ScrapeProtocol::{
        OpenMetricsText0_0_1, OpenMetricsText1_0_0, PrometheusProto, PrometheusText0_0_4,
        PrometheusText1_0_0,
    };

    #[test]
    fn asks_as_prometheus_does() {
        let all =
            [OpenMetricsText1_0_0, OpenMetricsText0_0_1, PrometheusText1_0_0, PrometheusText0_0_4];
        assert_eq!(
            accept(&all, Escaping::AllowUtf8),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(
            accept(&[PrometheusText1_0_0], Escaping::Underscores),
            "text/plain;version=1.0.0;escaping=underscores;q=0.6,*/*;q=0.5"
        );
        assert_eq!(accept(&[], Escaping::Dots), "*/*;q=0.6");
    }

    #[test]
    fn reads_by_what_was_answered() {
        for (header, expected) in [
            ("text/plain", Ok(Format::PrometheusText)),
            (" Text/PLAIN ; charset=utf-8 ;", Ok(Format::PrometheusText)),
            ("text/plain; a=\"x;\\\"y\"; b=z", Ok(Format::PrometheusText)),
            ("text/plain; a=1; a=1", Ok(Format::PrometheusText)),
            ("application/openmetrics-text; version=0.0.1", Ok(Format::OpenMetricsText)),
            ("", Err("sending blank Content-Type")),
            ("text/plain; charset", Err("invalid media parameter")),
            ("text/plain; charset=\"utf-8", Err("invalid media parameter")),
            ("text/plain; charset=", Err("invalid media parameter")),
            ("text/plain; a=1; A=2", Err("duplicate parameter name")),
            ("text plain", Err("expected slash after first token")),
            ("text", Err("received unsupported Content-Type \"text\"")),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited",
                Ok(Format::Protobuf),
            ),
        ] {
            match (parser_for(Some(header), None), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{header}"),
                (Err(found), Err(expected)) => {
                    assert!(found.contains(expected), "{header}: {found}");
                }
                (found, _) => panic!("{header}: {found:?}"),
            }
        }
    }

    #[test]
    fn falls_back_where_the_type_says_nothing() {
        for header in [None, Some(""), Some("text/html"), Some("nonsense/")] {
            for (fallback, expected) in [
                (PrometheusText0_0_4, Ok(Format::PrometheusText)),
                (PrometheusText1_0_0, Ok(Format::PrometheusText)),
                (OpenMetricsText0_0_1, Ok(Format::OpenMetricsText)),
                (OpenMetricsText1_0_0, Ok(Format::OpenMetricsText)),
                (PrometheusProto, Ok(Format::Protobuf)),
            ] {
                assert_eq!(parser_for(header, Some(fallback)), expected);
            }
            assert!(parser_for(header, None).is_err());
        }
    }
}
