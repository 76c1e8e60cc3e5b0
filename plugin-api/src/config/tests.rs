//! Mistakes in sections, and where they are reported.

use std::collections::BTreeMap;

use super::{Problem, nearest, parse_interface_options, parse_section};

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sample {
    name: String,
    #[serde(default)]
    max_count: u32,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    rule: Vec<Rule>,
    #[serde(default)]
    limits: BTreeMap<String, u8>,
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Polling,
    Interrupt,
}

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    action: String,
    port: Option<u16>,
}

fn problems(text: &str) -> Vec<String> {
    match parse_section::<Sample>(text, "sample") {
        Ok(_) => Vec::new(),
        Err(error) => error.problems().iter().map(Problem::to_string).collect(),
    }
}

#[test]
fn every_mistake_is_named_with_its_position() {
    let cases: &[(&str, &str)] = &[
        ("[sample]\nname = 'x'\nmax-coutn = 3", "3:1: unknown key `max-coutn`; did you mean `max-count`?"),
        (
            "[sample]\nname = 'x'\nzzzzzzzz = 3",
            "3:1: unknown key `zzzzzzzz`; known keys: `limits`, `max-count`, `mode`, `name`, `rule`",
        ),
        ("[sample]\nname = 3", "2:8: expected a string, found integer `3`"),
        (
            "[sample]\nname = 'x'\nmax-count = -1",
            "3:13: expected an integer from 0 to 4294967295, found integer `-1`",
        ),
        (
            "[sample]\nname = 'x'\nmode = 'interupt'",
            "3:8: unknown value `interupt`; did you mean `interrupt`?",
        ),
        ("[sample]\nmax-count = 1", "1:1: missing key `name`"),
        (
            "# ä\n[sample]\nname = 'ä' # 'ä'\n[[sample.rule]]\naction = 'x'\n[[sample.rule]]\nacton='y'",
            "7:1: unknown key `acton`; did you mean `action`?",
        ),
        ("sample = 3", "1:10: expected a table, found integer `3`"),
        (
            "[sample]\nname = 'x'\nlimits = { a = 300 }",
            "3:16: expected an integer from 0 to 255, found integer `300`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), [*expected], "{text}");
    }
}

#[test]
fn all_mistakes_of_a_section_are_found_at_once() {
    let text = "[sample]\nname = 3\nmaxcount = 1\nmode = true\n\n[[sample.rule]]\nport = 1\n\n[[sample.rule]]\naction = 'x'\nport = 70000\n";
    let found = problems(text);
    assert_eq!(
        found,
        [
            "2:8: expected a string, found integer `3`",
            "3:1: unknown key `maxcount`; did you mean `max-count`?",
            "4:8: expected a string",
            "6:1: missing key `action`",
            "11:8: expected an integer from 0 to 65535, found integer `70000`",
        ]
    );
}

#[test]
fn syntax_errors_and_duplicate_keys_have_positions() {
    assert!(problems("[sample]\nname = \n").iter().all(|p| p.starts_with("2:")), "missing value");
    let duplicate = problems("[sample]\nname = 'a'\nname = 'b'\n");
    assert_eq!(duplicate.len(), 1);
    assert!(duplicate[0].starts_with("3:1: duplicate key `name`"), "{duplicate:?}");
}

#[test]
fn other_sections_are_not_looked_at() {
    let text = "[other]\nanything = 1\n[sample]\nname = 'x'\n";
    assert_eq!(parse_section::<Sample>(text, "sample").unwrap().unwrap().name, "x");
    assert_eq!(parse_section::<Sample>("", "sample").unwrap(), None);
}

#[test]
fn shared_keys_are_left_to_their_owner_and_named_as_known() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        host: String,
    }
    let text =
        "[interface.tap0]\ndriver = 'tap'\nhost = 'h0'\n[interface.tap1]\ndrivr = 'tap'\nhost = 'h1'\n";
    assert_eq!(parse_interface_options::<Options>(text, "tap0").unwrap().unwrap().host, "h0");
    let error = parse_interface_options::<Options>(text, "tap1").unwrap_err();
    assert_eq!(error.to_string(), "5:1: unknown key `drivr`; did you mean `driver`?");
}

#[test]
fn report_shows_the_source_line_with_a_caret() {
    let error = parse_section::<Sample>("[sample]\n  nam = 'x'\n", "sample").unwrap_err();
    assert_eq!(
        error.problems()[0].render("router.toml"),
        "router.toml:2:3: unknown key `nam`; did you mean `name`?\n  2 |   nam = 'x'\n    |   ^^^"
    );
}

#[test]
fn nearest_prefers_small_distances_and_refuses_far_ones() {
    assert_eq!(nearest("shwo", ["set", "show"]), Some("show"));
    assert_eq!(nearest("x", ["y"]), None);
    assert_eq!(nearest("tap1", ["tap0", "loop0"]), Some("tap0"));
    assert_eq!(nearest("completely", ["other"]), None);
    assert_eq!(nearest("warning", ["error", "warn"]), Some("warn"));
    assert_eq!(nearest("interface-mode", ["interface", "inter"]), Some("interface"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*|[\\[\\]a-c.='\"\n #é{},0-9]{0,80}", at in 0usize..200, len in 0usize..200) {
        let _ = parse_section::<Sample>(&text, "a");
        let _ = Problem::at(&text, at..at + len, "x").render("f");
    }
}
