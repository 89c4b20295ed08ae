//! Relabelling told as data: rules and labels in, labels or faults out.

use proptest::prelude::*;

use super::*;

/// `source -> target`, written `a=1 b=2`; a rule is `field: value` pairs, separated by `, `.
fn rule(typed: &str, validation: NameValidation) -> Result<Rule, Vec<RuleFault>> {
    let mut spec = RuleSpec::default();
    for field in typed.split(", ").filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(": ").unwrap_or((field.trim_end_matches(':'), ""));
        let text = Some(value.to_owned());
        match name {
            "source" => spec.source_labels = Some(value.split(' ').map(str::to_owned).collect()),
            "separator" => spec.separator = text,
            "regex" => spec.regex = text,
            "modulus" => spec.modulus = value.parse().ok(),
            "target" => spec.target_label = text,
            "replacement" => spec.replacement = text,
            "action" => spec.action = Some(Action::parse(value).unwrap()),
            other => panic!("no such field: {other}"),
        }
    }
    Rule::compile(spec, validation)
}

fn labels(written: &str) -> Labels {
    written.split(' ').filter_map(|pair| pair.split_once('=')).collect()
}

fn written(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

fn check(typed: &str, before: &str, after: Option<&str>) {
    let rules = [rule(typed, NameValidation::Utf8).unwrap()];
    let result = apply(&rules, labels(before)).map(|labels| written(&labels));
    assert_eq!(result.as_deref(), after, "{typed} on {before}");
}

#[test]
fn replaces() {
    check("source: a, target: b", "a=1", Some("a=1 b=1"));
    check("source: a, target: b", "c=1", Some("c=1"));
    check("source: a, target: b", "b=1", Some(""));
    check("source: a, regex: x.*, target: b, replacement: y", "a=1", Some("a=1"));
    check("source: a b, target: c, separator: -", "a=1 b=2", Some("a=1 b=2 c=1-2"));
    check("source: a b, target: c, replacement: <$1>", "b=2", Some("b=2 c=<;2>"));
    check("target: a, replacement: x", "", Some("a=x"));
    check("target: a, regex:, replacement: x", "", Some("a=x"));
    check("source: a, target: a, replacement:", "a=1 b=2", Some("b=2"));
    check(
        "source: a, regex: (f)(.*), target: ${1}_$2, replacement: $2",
        "a=foo",
        Some("a=foo f_oo=oo"),
    );
    check("source: a, regex: (x)?.*, target: $1, replacement: y", "a=foo", Some("a=foo"));
    check("source: a, regex: a.c, target: b, replacement: $0", "a=a\nc", Some("a=a\nc b=a\nc"));
}

#[test]
fn expands_as_go_does() {
    for (replacement, expected) in [
        ("$1x", ""),
        ("${1}x", "onex"),
        ("$1-x", "one-x"),
        ("$$1", "$1"),
        ("$9", ""),
        ("$01", ""),
        ("$name", "two"),
        ("${name}s", "twos"),
        ("$names", ""),
        ("$", "$"),
        ("${", "${"),
        ("${1", "${1"),
        ("${}", "${}"),
        ("$-", "$-"),
        ("100%$", "100%$"),
        ("$99999999999999999999", ""),
        ("$0", "one two"),
        ("$x", "two"),
    ] {
        let rules = [rule(
            &format!("source: a, regex: (\\w+) (?P<name>(?P<x>\\w+)), target: b, replacement: {replacement}"),
            NameValidation::Utf8,
        )
        .unwrap()];
        let mut before = Labels::new();
        before.set("a", "one two");
        assert_eq!(apply(&rules, before).unwrap().get("b"), expected, "{replacement}");
    }
}

#[test]
fn keeps_and_drops() {
    check("source: a, regex: f|o, action: drop", "a=foo", Some("a=foo"));
    check("source: a, regex: f|o, action: drop", "a=o", None);
    check("source: a, regex: foo, action: keep", "a=foo", Some("a=foo"));
    check("source: a, regex: foo, action: keep", "a=food", None);
    check("source: a, regex: .+, action: keep", "", None);
    check("source: a, target: b, action: keepequal", "a=1 b=1", Some("a=1 b=1"));
    check("source: a, target: b, action: keepequal", "a=1 b=2", None);
    check("source: a, target: b, action: dropequal", "a=1 b=1", None);
    check("source: a, target: b, action: dropequal", "", None);
    check("source: a, target: b, action: dropequal", "a=1", Some("a=1"));
}

#[test]
fn rewrites_names_and_values() {
    check("regex: meta_(.+), action: labelmap", "meta_a=1 b=2", Some("a=1 b=2 meta_a=1"));
    check("regex: a|b, replacement: c, action: labelmap", "a=1 b=2", Some("a=1 b=2 c=2"));
    // What the step has just made is not mapped again.
    check("regex: a+, replacement: ${0}a, action: labelmap", "a=1", Some("a=1 aa=1"));
    check("regex: a(.*), action: labelmap", "a=1", Some("a=1"));
    check("regex: a.*, action: labeldrop", "a=1 ab=2 b=3", Some("b=3"));
    check("regex: a.*, action: labelkeep", "a=1 ab=2 b=3", Some("a=1 ab=2"));
    check("source: a, target: b, action: lowercase", "a=ÄİΣ", Some("a=ÄİΣ b=äiσ"));
    check("source: a, target: b, action: uppercase", "a=äßᾳﬁ", Some("a=äßᾳﬁ b=Äßᾼﬁ"));
    check("source: a, target: b, action: uppercase", "b=1", Some(""));
    check(
        "source: foo, target: aaa, modulus: 123, action: hashmod",
        "foo=yyy",
        Some("aaa=77 foo=yyy"),
    );
    check("source: foo, target: aaa, modulus: 123, action: hashmod", "", Some("aaa=43"));
}

#[test]
fn matches_as_go_does() {
    for (regex, value, matches) in [
        (r"\d+", "12", true),
        (r"\d+", "١٢", false),
        (r"\w", "é", false),
        (r"\W", "é", true),
        (r"\s", "\u{b}", false),
        (r"[[:space:]]", "\u{b}", true),
        (r"[\S]", "\u{b}", true),
        (r"é\b.*", "éa", true),
        (r"a\B.", "ab", true),
        (r"[a&&b]", "&", true),
        (r"[a[b]", "[", true),
        (r"(?i)straße", "STRAßE", true),
        (r"(?i)\w", "K", true),
        (r"(?i)[^\W]", "ſ", true),
        (r"\pL\p{^Greek}", "éa", true),
        (r"\p{^Greek}", "α", false),
        (r"a{,2}", "a{,2}", true),
        (r"(?-s).", "\n", false),
        (r"\Aa\z", "a", true),
        (r"a$", "a\n", false),
        (r"(?m)a$\n^b", "a\nb", true),
        (r"(?U)a+?", "aa", true),
        (r"|x", "", true),
        (r"x||y", "", true),
        (r"[^\x00-\x{10FFFF}]", "a", false),
        (r"^*a", "a", true),
        (r"(?:)", "", true),
    ] {
        let spec = format!("source: a, action: keep, regex: {regex}");
        let rules =
            [rule(&spec, NameValidation::Utf8).unwrap_or_else(|f| panic!("{regex}: {f:?}"))];
        let mut set = Labels::new();
        set.set("a", value);
        assert_eq!(apply(&rules, set).is_some(), matches, "{regex} on {value:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of messages")]
fn refuses_with_the_field_and_the_words_of_prometheus() {
    let legacy = NameValidation::Legacy;
    let utf8 = NameValidation::Utf8;
    for (typed, validation, expected) in [
        (
            "action: hashmod, target: a",
            utf8,
            "modulus: relabel configuration for hashmod requires non-zero modulus",
        ),
        (
            "action: hashmod, modulus: 8",
            utf8,
            "target_label: relabel configuration for hashmod action requires 'target_label' value",
        ),
        (
            "source: a",
            utf8,
            "target_label: relabel configuration for replace action requires 'target_label' value",
        ),
        (
            "action: lowercase",
            utf8,
            "target_label: relabel configuration for lowercase action requires 'target_label' value",
        ),
        (
            "target: 42lab, action: lowercase",
            legacy,
            "target_label: \"42lab\" is invalid 'target_label' for lowercase action",
        ),
        (
            "target: ${3}, action: lowercase",
            legacy,
            "target_label: \"${3}\" is invalid 'target_label' for lowercase action",
        ),
        (
            "target: a-b",
            legacy,
            "target_label: \"a-b\" is invalid 'target_label' for replace action",
        ),
        (
            "target: a, action: uppercase, replacement: x",
            utf8,
            "replacement: 'replacement' can not be set for uppercase action",
        ),
        (
            "action: labelmap, replacement:",
            utf8,
            "replacement: \"\" is invalid 'replacement' for labelmap action",
        ),
        (
            "action: labelmap, replacement: a-b",
            legacy,
            "replacement: \"a-b\" is invalid 'replacement' for labelmap action",
        ),
        (
            "action: labeldrop, source: a",
            utf8,
            "source_labels: labeldrop action requires only 'regex', and no other fields",
        ),
        (
            "action: labelkeep, modulus: 8",
            utf8,
            "modulus: labelkeep action requires only 'regex', and no other fields",
        ),
        (
            "action: keepequal, target: a, regex: x",
            utf8,
            "regex: keepequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        ("target: a, regex: (", utf8, "regex: error parsing regexp: missing closing ): `(`"),
        (
            "target: a, regex: *",
            utf8,
            "regex: error parsing regexp: repetition operator missing expression: `*`",
        ),
        (
            "target: a, regex: \\pL{1000}",
            utf8,
            "regex: error parsing regexp: expression too large (more than 10485760 bytes compiled): `\\pL{1000}`",
        ),
        ("target: a, source:", utf8, "source_labels: \"\" is not a valid label name"),
    ] {
        let faults = rule(typed, validation).expect_err(typed);
        let told: Vec<String> =
            faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message)).collect();
        assert_eq!(told, [expected], "{typed}");
    }
    assert_eq!(rule("action: hashmod, regex: [", utf8).expect_err("three faults").len(), 3);
    assert_eq!(Action::parse(""), Err("relabel action cannot be empty".to_owned()));
    assert_eq!(Action::parse("nope"), Err("unknown relabel action \"nope\"".to_owned()));
    assert_eq!(Action::parse("LabelDrop"), Ok(Action::LabelDrop));
}

#[test]
fn a_default_written_out_is_no_fault() {
    let spelled = "action: labeldrop, separator: ;, replacement: $1, target:, modulus: 0, regex: a";
    assert!(rule(spelled, NameValidation::Utf8).is_ok());
    let spelled = "action: keepequal, target: a, separator: ;, replacement: $1, regex: (.*)";
    assert!(rule(spelled, NameValidation::Utf8).is_ok());
}

#[test]
fn an_invalid_name_is_not_set() {
    let typed = "source: a, target: $1, replacement: x";
    for (validation, expected) in
        [(NameValidation::Legacy, "a=b-c"), (NameValidation::Utf8, "a=b-c b-c=x")]
    {
        let rules = [rule(typed, validation).unwrap()];
        assert_eq!(written(&apply(&rules, labels("a=b-c")).unwrap()), expected);
    }
}

#[test]
fn traces_to_the_rule_that_drops() {
    let rules: Vec<Rule> = ["target: a, replacement: 1", "source: a, action: drop", "target: b"]
        .iter()
        .map(|typed| rule(typed, NameValidation::Utf8).unwrap())
        .collect();
    let steps: Vec<(String, bool)> =
        trace(&rules, labels("b=2")).iter().map(|s| (written(&s.labels), s.kept)).collect();
    assert_eq!(steps, [("a=1 b=2".to_owned(), true), ("a=1 b=2".to_owned(), false)]);
}

fn any_labels() -> impl Strategy<Value = Labels> {
    prop::collection::vec(("[a-d_$]{0,3}", "[a-c;$é]{0,4}"), 0..6)
        .prop_map(|pairs| pairs.into_iter().filter(|(name, _)| !name.is_empty()).collect())
}

fn any_spec() -> impl Strategy<Value = RuleSpec> {
    use prop::option::of;
    (
        of(prop::collection::vec("[a-d_]{1,2}", 0..3)),
        of("[;-]{0,2}"),
        of(r"[a-c.*+?|()\[\]\\{}^$0-9:&~\-dDsSwWbBpQEé]{0,8}"),
        of(0..5_u64),
        of("[a-d${}1]{0,4}"),
        of("[a-d${}12]{0,5}"),
        prop::sample::select(&Action::ALL[..]),
    )
        .prop_map(
            |(source_labels, separator, regex, modulus, target_label, replacement, action)| {
                let action = Some(action);
                RuleSpec {
                    source_labels,
                    separator,
                    regex,
                    modulus,
                    target_label,
                    replacement,
                    action,
                }
            },
        )
}

proptest! {
    #[test]
    fn never_panics_and_keeps_labels_in_order(spec in any_spec(), before in any_labels()) {
        let Ok(rule) = Rule::compile(spec, NameValidation::Utf8) else { return Ok(()) };
        let rules = [rule];
        let after = apply(&rules, before.clone());
        let traced = trace(&rules, before);
        prop_assert_eq!(after.is_some(), traced[0].kept);
        if let Some(after) = after {
            prop_assert_eq!(&after, &traced[0].labels);
            let names: Vec<&str> = after.iter().map(|(name, _)| name).collect();
            prop_assert!(names.is_sorted_by(|a, b| a < b));
            prop_assert!(after.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
        }
    }

    #[test]
    fn keep_and_drop_complement_each_other(spec in any_spec(), before in any_labels()) {
        let of = |action| Rule::compile(
            RuleSpec { action: Some(action), ..spec.clone() },
            NameValidation::Utf8,
        );
        for (keep, drop) in
            [(Action::Keep, Action::Drop), (Action::KeepEqual, Action::DropEqual)]
        {
            if let (Ok(keep), Ok(drop)) = (of(keep), of(drop)) {
                let kept = apply(&[keep], before.clone()).is_some();
                prop_assert_ne!(kept, apply(&[drop], before.clone()).is_some());
            }
        }
    }

    #[test]
    fn any_expression_compiles_or_is_refused(regex in "\\PC{0,12}") {
        let spec = RuleSpec { regex: Some(regex), action: Some(Action::Keep), ..RuleSpec::default() };
        let _ = Rule::compile(spec, NameValidation::Utf8);
    }
}
