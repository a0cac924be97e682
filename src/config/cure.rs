//! Cures for what people write by habit of YAML, of Prometheus or of Alertmanager.

use super::problem::Collector;
use super::tree::{At, Node, Plain, Tree};
use crate::model::Field;

/// Translates the YAML reader's own words. Returns the problem and its cure.
///
/// `said`: its message, `line`: the line it names, `above`: the last line before with text on it.
/// Neither answer repeats a value: a broken line may hold a secret.
pub(super) fn yaml(said: &str, line: &str, above: &str) -> (String, String) {
    let what = |text: &str| text.to_owned();
    if said.contains("mapping values are not allowed") && line.matches(": ").count() > 1 {
        let what = what("a value that contains `: ` must be in quotes");
        return (what, "as in name: \"Core: ports\"".to_owned());
    }
    if said.contains("unknown escape") {
        let help = "use single quotes, in which \\ stands for itself: '/ge-\\d+/'";
        return (
            what("a \\ in double quotes begins an escape"),
            help.to_owned(),
        );
    }
    if said.contains("non-finite float") {
        let what = what("YAML reads this as a number, one too big");
        return (what, "put quotes around it".to_owned());
    }
    if let Some(sign) = said
        .split_once("unexpected character: `")
        .and_then(|(_, rest)| rest.chars().next())
    {
        let what = format!("an unquoted value cannot begin with {sign}");
        return (what, "put quotes around it".to_owned());
    }
    let misplaced = [
        "did not find expected",
        "mapping values are not allowed",
        "expected <block end>",
        "wrongly indented",
        "invalid indentation",
    ];
    if !line.contains('\t') && misplaced.iter().any(|words| said.contains(words)) {
        let (here, wanted) = (indent(line), key_column(above));
        if here != wanted && !above.trim_end().ends_with(':') {
            let help = format!(
                "keys of one map begin at one column: here {}, in the line above {}",
                here + 1,
                wanted + 1
            );
            return (what("the indentation fits no line above"), help);
        }
    }
    let help = if unquoted(line, "{{") {
        "put the whole text in quotes: an unquoted {{ begins a map in YAML"
    } else if unquoted(line, "*") || said.contains("alias") {
        "put quotes around it: an unquoted * is a reference in YAML"
    } else if line.contains('\t') {
        "indent with spaces"
    } else {
        ""
    };
    (format!("this is not YAML: {said}"), help.to_owned())
}

/// Returns true if a value on this line begins with `mark` and no quote.
fn unquoted(line: &str, mark: &str) -> bool {
    [": ", "- ", "[", ", "]
        .iter()
        .any(|before| line.contains(&format!("{before}{mark}")))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Column of the first key of a line, that of a list's item behind its dash; from 0.
fn key_column(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

/// Reports spaces that only look like spaces where YAML wants one. Returns true if there are some.
pub(super) fn odd_spaces(text: &str, problems: &mut Collector<'_>) -> bool {
    let mut found = false;
    for (number, line) in (1_u64..).zip(text.lines()) {
        if line.trim_start().starts_with('#') {
            continue;
        }
        let mut before = ' ';
        let mut indents = true;
        for (column, sign) in (1_u64..).zip(line.chars()) {
            let odd = matches!(
                sign,
                '\u{a0}' | '\u{2000}'..='\u{200b}' | '\u{202f}' | '\u{3000}'
            );
            // Inside a name it may be meant.
            if odd && (indents || before == ':') {
                let at = At {
                    line: number,
                    column,
                    width: 1,
                };
                let what = format!(
                    "this is no plain space, but U+{:04X}, which comes with copied text",
                    u32::from(sign)
                );
                problems.error(at, what, "put a plain space in its place");
                found = true;
            }
            before = sign;
            indents &= odd || matches!(sign, ' ' | '-');
        }
    }
    found
}

/// Reports values that YAML reads differently from what their author saw.
pub(super) fn misread(text: &str, node: &Node, problems: &mut Collector<'_>) {
    match &node.tree {
        Tree::Null => {}
        Tree::List(items) => {
            for item in items {
                misread(text, item, problems);
            }
        }
        Tree::Map(entries) => {
            for (key, value) in entries {
                misread(text, key, problems);
                misread(text, value, problems);
            }
        }
        Tree::Scalar(scalar) if scalar.kind == Plain::Text => {
            let Some(source) = text.get(node.span.clone()) else {
                return;
            };
            if source.starts_with(['“', '”', '„', '‘', '’', '«']) {
                problems.error(
                    node.at,
                    "these quotes are letters to YAML",
                    "write plain ones: \" or '",
                );
            }
            let rest = text.get(node.span.end..).unwrap_or_default();
            let rest = rest.lines().next().unwrap_or_default();
            let comment = rest.trim_start().strip_prefix('#');
            let touches = comment.is_some_and(|c| c.starts_with(|c: char| c.is_alphanumeric()));
            if touches && !source.starts_with(['"', '\'']) {
                let help =
                    "put quotes around the value if the # belongs to it, else a space after the #";
                problems.warn(
                    node.at,
                    "the value ends before the #: the rest is a comment",
                    help,
                );
            }
        }
        Tree::Scalar(_) => {}
    }
}

/// Cure for a key of another tool or of another place; `None` where nothing is known of it.
pub(super) fn key(place: &str, key: &str) -> Option<String> {
    let text = match (place, key) {
        ("the file", "route" | "receivers" | "global" | "inhibit_rules_file") => {
            "this is a file of Alertmanager: here `rules` have `match` and `notify`, and `destinations` are what it calls receivers"
        }
        ("the file", "groups") => {
            "this is a file of Prometheus: here `rules` is a list with `name`, `match` and `for`"
        }
        ("the file", "receiver") => "`receivers` are `destinations` here",
        ("a rule", "receiver" | "receivers") => "`receiver` is `notify` here",
        ("a rule", "alert") => "`alert` is `name` here",
        ("a rule", "expr") => {
            "here a rule looks at Mist's events: `match`, and `when` for conditions"
        }
        ("a rule", "labels") => "`severity` is a key of the rule itself",
        ("a rule", "annotations") => "texts are in a template: `template`",
        ("a rule", "matchers" | "matches") => "`matchers` is `match` here, a map of fields",
        (_, "time_zone" | "timezone" | "location") => {
            "`zone` is a key of each time interval, as in zone: Europe/Paris"
        }
        (_, "start_time") => "`start_time` is `start` here",
        (_, "end_time") => "`end_time` is `end` here",
        ("a rule", _) if Field::parse(key).is_some() => {
            return Some(format!(
                "a test of the event stands in `match`, as in match: {{{key}: …}}"
            ));
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// The field that another name for it means.
pub(super) fn field(word: &str) -> Option<&'static str> {
    Some(match word {
        "mac" => "device_mac",
        "ap" | "ap_name" | "hostname" | "host" | "switch" | "gateway" | "name" => "device",
        "event" | "event_type" | "alert" => "type",
        "port_id" | "interface" => "port",
        "message" | "msg" => "text",
        _ => return None,
    })
}

/// Zone that an abbreviation of a time stands for, as an example.
pub(super) fn zone(abbreviation: &str) -> Option<&'static str> {
    Some(match abbreviation {
        "CEST" => "Europe/Berlin",
        "BST" => "Europe/London",
        "EEST" => "Europe/Athens",
        "EDT" => "America/New_York",
        "CST" | "CDT" => "America/Chicago",
        "MDT" => "America/Denver",
        "PST" | "PDT" => "America/Los_Angeles",
        "IST" => "Asia/Kolkata",
        "JST" => "Asia/Tokyo",
        "AEST" | "AEDT" => "Australia/Sydney",
        _ => return None,
    })
}

/// Cure for an expression of another language in `when`.
pub(super) fn expression(text: &str) -> Option<&'static str> {
    let table = [
        ("&&", "write `and`"),
        ("||", "write `or`"),
        ("!=~", "write `not` and `match`'s regular expressions"),
        (
            "=~",
            "regular expressions belong into `match`: port: '/ge-.*/'",
        ),
        ("===", "write =="),
    ];
    let found = table.iter().find(|(sign, _)| text.contains(sign));
    found.map(|(_, help)| *help)
}
