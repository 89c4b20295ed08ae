//! What an expression of `PromQL` names: metrics, labels and values.

use regex::Regex;

/// Selectors that must each find a series, or the expression asks for what there never is: one for each
/// metric, and one for each value that a label is compared with.
pub(super) fn selectors(expression: &str) -> Vec<String> {
    let metric = Regex::new(r"\b(starling_[a-z0-9_]+|process_[a-z0-9_]+)(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)""#).unwrap();
    let mut found = Vec::new();
    for metric in metric.captures_iter(expression) {
        let name = &metric[1];
        found.push(name.to_owned());
        let matchers = metric.get(2).map_or("", |matchers| matchers.as_str());
        for matcher in matcher.captures_iter(matchers) {
            let (label, values) = (&matcher[1], &matcher[2]);
            // A pattern that takes anything asks only for the label.
            let is_any = values.contains('*');
            let values: Vec<&str> = if is_any { vec![] } else { values.split('|').collect() };
            if is_any {
                found.push(format!("{name}{{{label}!=\"\"}}"));
            }
            found.extend(values.iter().map(|value| format!("{name}{{{label}=\"{value}\"}}")));
        }
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn every_value_that_is_compared_with_is_a_selector() {
    let check = |expression: &str, expected: &[&str]| {
        assert_eq!(selectors(expression), expected, "{expression}");
    };
    check("sum by (job) (rate(starling_a_total[5m]))", &["starling_a_total"]);
    check(
        r#"starling_a{x=~"b|c", y!="d"} / on (job) process_e"#,
        &[
            "process_e",
            "starling_a",
            r#"starling_a{x="b"}"#,
            r#"starling_a{x="c"}"#,
            r#"starling_a{y="d"}"#,
        ],
    );
    check(r#"starling_a{job=~".*"}"#, &["starling_a", r#"starling_a{job!=""}"#]);
}
