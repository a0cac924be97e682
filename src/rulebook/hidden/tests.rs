use proptest::prelude::*;

use super::*;

const FILE: &str = "\
server: {listen: \"127.0.0.1:8080\", edit_rules: true}
sources:
  mist:
    secrets: [\"canary one\", env:OTHER, 'canary''two']
destinations:
  ops: {slack: {url: \"https://hooks.slack.com/services/T0/B0/canary\"}} # the channel
  pager:
    webhook:
      url: https://pager.example.net/canary
      headers: {Authorization: \"Bearer canary\", Accept: text/plain, X-Two: env:TOKEN}
      body: {routing_key: canaryR0, text: \"{{ title }}\"}
  block:
    teams:
      url: |
        https://teams.example.net/canary
  file: {slack: {url: \"file:./url\"}}
# old: {slack: {url: \"https://hooks.slack.com/services/canary\"}}
# secrets:
#   - canary-three
# see https://example.net/docs/rules
rules:
  - name: \"AP # unreachable\"
    match: {condition: ap_offline}
    runbook: https://wiki.example.net/ap
";

fn hidden() -> Hidden {
    Hidden::of(FILE, "rules.yaml").unwrap()
}

fn said(edited: &str) -> String {
    match hidden().restore(edited) {
        Ok(restored) => panic!("nothing was wrong with it:\n{}", restored.text),
        Err(problems) => problems
            .iter()
            .map(|p| format!("{}:{} {}", p.line, p.column, p.what))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

#[test]
fn no_secret_is_shown_and_all_else_is() {
    let hidden = hidden();
    let shown = hidden.text();
    assert!(!shown.contains("canary"), "{shown}");
    for kept in [
        "secrets: [<hidden 1>, env:OTHER, <hidden 2>]",
        "{url: <hidden 3>}} # the channel",
        "Accept: text/plain, X-Two: env:TOKEN",
        "url: |\n        <hidden 8>\n  file: {slack: {url: \"file:./url\"}}",
        "# see https://example.net/docs/rules",
        "runbook: https://wiki.example.net/ap",
        "name: \"AP # unreachable\"",
    ] {
        assert!(shown.contains(kept), "{kept} is not in:\n{shown}");
    }
    let column_of = |text: &str| text.lines().nth(5).unwrap().find("# the").unwrap() as u64 + 1;
    let (mut line, mut column) = (6, column_of(FILE));
    hidden.place(&mut line, &mut column);
    assert_eq!((line, column), (6, column_of(shown)));
}

#[test]
fn what_is_not_touched_comes_back_whole_whatever_happens_around_it() {
    let hidden = hidden();
    assert_eq!(hidden.restore(hidden.text()).unwrap().text, FILE);
    let edited = hidden
        .text()
        .replace("condition: ap_offline", "type: [AP_CONNECTED]")
        .replace("# see", "# read");
    let restored = hidden.restore(&edited).unwrap();
    assert_eq!(
        restored.text,
        FILE.replace("condition: ap_offline", "type: [AP_CONNECTED]")
            .replace("# see", "# read")
    );
    let windows = FILE.replace('\n', "\r\n");
    let hidden = Hidden::of(&windows, "rules.yaml").unwrap();
    assert_eq!(
        hidden
            .restore(&hidden.text().replace("\r\n", "\n"))
            .unwrap()
            .text,
        windows
    );
}

#[test]
fn a_mark_that_moved_is_refused_and_says_where() {
    let shown = hidden().text().to_owned();
    for (edited, why) in [
        (
            shown.replace("AP # unreachable", "<hidden 3>"),
            "is not in its original place",
        ),
        (
            shown.replace("AP # unreachable", "see <hidden 3>"),
            "is not in its original place",
        ),
        (
            shown.replace("# see", "# <hidden 3>"),
            "is not in its original place",
        ),
        (
            shown.replace("runbook: https", "# <hidden 1>\n    runbook: https"),
            "is not in its original place",
        ),
        (
            shown.replace("<hidden 3>", "<hidden 4>"),
            "is not in its original place",
        ),
        (
            shown.replace("<hidden 3>", "x<hidden 3>"),
            "is not in its original place",
        ),
        (
            shown.replace("  ops:", "  other:"),
            "is not in its original place",
        ),
        (
            shown.replace("#   - <hidden 10>\n", "") + "#   - <hidden 10>\n",
            "is not in its original place",
        ),
        (
            shown.replace("<hidden 2>", "<hidden 1>"),
            "`sources:` cannot be changed",
        ),
        (
            shown.replace("<hidden 2>", "<hidden 99>"),
            "has this number",
        ),
        (
            shown.replace("text: <", "text: <hidden 5> <"),
            "is not in its original place",
        ),
        (
            shown.replace("routing_key", "<hidden 1>"),
            "is not in its original place",
        ),
        (shown.replace("rules:", "rules: ["), "not YAML"),
    ] {
        let said = said(&edited);
        assert!(said.contains(why), "{said}\nof\n{edited}");
        assert!(!said.contains("canary"), "{said}");
    }
    let moved = shown.replace("AP # unreachable", "é <hidden 3>");
    let line = shown
        .lines()
        .position(|line| line.contains("unreachable"))
        .unwrap()
        + 1;
    assert!(
        said(&moved).starts_with(&format!("{line}:")),
        "{}",
        said(&moved)
    );
}

#[test]
fn the_page_does_not_open_its_own_door() {
    let shown = hidden().text().to_owned();
    let without = |from: &str, to: &str| {
        let (start, end) = (shown.find(from).unwrap(), shown.find(to).unwrap());
        format!("{}{}", &shown[..start], &shown[end..])
    };
    for (section, edited) in [
        ("server", shown.replace("127.0.0.1:8080", "0.0.0.0:8080")),
        (
            "server",
            shown.replace("edit_rules: true", "edit_rules: \"true\""),
        ),
        ("server", without("server:", "sources:")),
        ("sources", shown.replace("env:OTHER", "env:MINE")),
        ("sources", shown.replace("env:OTHER", "file:/etc/shadow")),
        ("sources", shown.replace("<hidden 1>", "mine")),
        (
            "sources",
            shown.replace("  mist:\n", "  mist:\n    allow_unsigned: true\n"),
        ),
        (
            "sources",
            shown.replace("sources:\n", "sources:\n  lab: {}\n"),
        ),
        ("sources", without("sources:", "destinations:")),
        (
            "destinations",
            shown.replace("<hidden 4>", "https://evil.example.net/"),
        ),
        (
            "destinations",
            shown.replace("file:./url", "file:/etc/shadow"),
        ),
        ("destinations", shown.replace("env:TOKEN", "env:AWS_SECRET")),
        (
            "destinations",
            shown.replace("Accept: text/plain", "Accept: text/html"),
        ),
        (
            "destinations",
            shown.replace(
                "destinations:\n",
                "destinations:\n  inner: {webhook: {url: \"http://127.0.0.1:2375/\"}}\n",
            ),
        ),
        (
            "destinations",
            shown.replace("    webhook:\n", "    timeout: 1s\n    webhook:\n"),
        ),
        ("later", format!("{shown}later: {{url: \"https://a/\"}}\n")),
    ] {
        assert_ne!(edited, shown, "{section}");
        let said = said(&edited);
        assert!(
            said.contains(&format!("`{section}:` cannot be changed on the page")),
            "{said}\nof\n{edited}"
        );
    }
    // How it is written may change, and all else may, too.
    let edited = shown
        .replace("127.0.0.1:8080\", edit", "127.0.0.1:8080\",  edit")
        .replace("env:OTHER", "\"env:OTHER\"")
        + "defaults: {group_wait: 1s}\ntime_intervals: {night: {times: \"22:00-06:00\"}}\n\
           maintenance: [{name: m, every: night}]\ninhibit_rules: []\ntopology: {}\ntests: []\n";
    assert!(hidden().restore(&edited).is_ok());
}

#[test]
fn anchors_are_hidden_once_and_what_is_no_yaml_is_not_shown() {
    let text = "sources:\n  a: {secrets: [&s canary]}\n  b: {secrets: [*s]}\nx: &u https://a/canary\ndestinations: {o: {slack: {url: *u}}}\n";
    let hidden = Hidden::of(text, "rules.yaml").unwrap();
    assert!(!hidden.text().contains("canary"), "{}", hidden.text());
    assert_eq!(hidden.restore(hidden.text()).unwrap().text, text);
    assert!(Hidden::of("secrets: [canary", "rules.yaml").is_none());
    assert!(Hidden::of("a: 1\na: 2\n", "rules.yaml").is_none());
    assert!(
        Hidden::of(
            "destinations: {ops: {slack: {\"https://a/canary\": }}}\n",
            "rules.yaml"
        )
        .is_none()
    );
    assert!(Hidden::of("sources: {mist: {secrets: {canary: }}}\n", "rules.yaml").is_none());
    let odd = "# a <hidden 1> thing\nsources: {m: {secrets: canary}}\n";
    assert!(
        Hidden::of(odd, "rules.yaml")
            .unwrap()
            .text()
            .contains("secrets: <hidden_ 1>")
    );
}

#[test]
fn a_line_end_within_a_secret_is_its_own() {
    let text = "sources: {m: {secrets: \"can\r\nary\"}}\nrules: []\n";
    let hidden = Hidden::of(text, "rules.yaml").unwrap();
    assert_eq!(hidden.restore(hidden.text()).unwrap().text, text);
}

fn quoted() -> impl Strategy<Value = String> {
    prop_oneof![
        "canary[a-z0-9]{0,8}",
        "'canary[ a-z#:,é]{0,8}'",
        "\"canary[ a-z#:,{}é]{0,8}\"",
        "env:[A-Z]{1,5}"
    ]
}

proptest! {
    /// Whatever the secrets look like and wherever they stand: none is shown, and all come back.
    #[test]
    fn masks_come_off_as_they_went_on(secrets in proptest::collection::vec(quoted(), 1..6), block in any::<bool>(), note in "[ -~]{0,12}") {
        let list = if block {
            secrets.iter().map(|secret| format!("\n      - {secret} # {note}")).collect::<String>()
        } else {
            format!(" [{}] # {note}", secrets.join(", "))
        };
        let text = format!("sources:\n  mist:\n    secrets:{list}\nrules: []\n");
        let hidden = Hidden::of(&text, "rules.yaml").unwrap();
        prop_assert!(!hidden.text().contains("canary"), "{}", hidden.text());
        prop_assert_eq!(hidden.restore(hidden.text()).unwrap().text, text.clone());
        let edited = format!("# new\n{}defaults: {{for: 3m}}\n", hidden.text());
        prop_assert_eq!(hidden.restore(&edited).unwrap().text, format!("# new\n{text}defaults: {{for: 3m}}\n"));
    }
}
