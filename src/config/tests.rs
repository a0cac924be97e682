use std::fs;

use super::*;

fn none(_: &str) -> Option<String> {
    None
}

/// Every `tests/config_problems/NAME.yaml` prints exactly `NAME.txt`. `BLESS=1 cargo test` writes
/// what it prints.
#[test]
fn bad_files_print_their_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_problems");
    let mut wrong = Vec::new();
    let mut cases = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        cases += 1;
        let text = fs::read_to_string(&path).unwrap();
        let env =
            |name: &str| (name == "SET").then(|| "https://hooks.example.net/canary".to_owned());
        let printed = match Config::parse(&text, Some(Path::new("rules.yaml")), &env) {
            Ok(config) => {
                let mut warnings = config.warnings.clone();
                warnings.extend(config.unknown_templates(&["device", "generic"]));
                Problems(warnings)
            }
            Err(problems) => problems,
        };
        let printed = format!("{printed}\n");
        assert!(
            !printed.contains("canary"),
            "{} leaks a secret:\n{printed}",
            path.display()
        );
        let golden = path.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &printed).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if printed != expected {
            wrong.push(format!(
                "{}\n--- expected\n{expected}\n--- printed\n{printed}",
                path.display()
            ));
        }
    }
    assert!(cases >= 10, "only {cases} cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_file_of_one_rule_is_complete() {
    let text =
        "rules:\n  - name: AP unreachable\n    match: {condition: ap_offline}\n    for: 3m\n";
    let config = Config::parse(text, Some(Path::new("/etc/foghorn/rules.yaml")), &none).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.server.data, Path::new("/etc/foghorn/data"));
    assert_eq!(config.sources.len(), 1);
    assert_eq!(config.sources[0].name.as_str(), "mist");
    assert_eq!(config.destinations[0].target.kind().word, "console");
    let rule = &config.rules.rules()[0];
    assert_eq!(
        (&*rule.name, rule.line, rule.policy.r#for.as_secs()),
        ("AP unreachable", 2, 180)
    );
    assert_eq!(rule.policy.notify, None);
}

#[test]
fn the_environment_fills_in_what_the_file_leaves_out() {
    let env = |name: &str| match name {
        "SLACK_WEBHOOK_URL" => Some("https://hooks.slack.com/services/T/B/x\n".to_owned()),
        "TEAMS_WEBHOOK_URL" => Some("https://x.logic.azure.com/workflows/y".to_owned()),
        "MIST_WEBHOOK_SECRET" => Some("s3cret".to_owned()),
        _ => None,
    };
    let config = Config::parse(
        "rules: [{name: a, match: {type: AP_RESTARTED}}]",
        None,
        &env,
    )
    .unwrap();
    let names: Vec<&str> = config
        .destinations
        .iter()
        .map(|d| d.name.as_str())
        .collect();
    assert_eq!(names, ["slack", "teams"]);
    assert_eq!(config.sources[0].secrets.len(), 1);
    assert!(config.exposed("0.0.0.0:80".parse().unwrap()).is_none());
}

#[test]
fn everything_documented_is_read() {
    let config = Config::parse(
        include_str!("../../tests/config_problems/everything.yaml"),
        None,
        &|name| (name == "SET").then(|| "https://hooks.example.net/canary".to_owned()),
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.server.max_body, 2 << 20);
    assert_eq!(config.server.retention.size, 1 << 30);
    assert_eq!(config.server.log, Log::Json);
    let access = &config.server.access;
    assert!(
        access
            .password
            .as_ref()
            .unwrap()
            .expose()
            .starts_with("$argon2id$")
    );
    assert_eq!(
        (access.trusted_proxies.len(), access.user_header.as_deref()),
        (3, Some("Remote-User"))
    );
    assert_eq!(access.hosts, ["foghorn.lan", "noc"]);
    assert!(
        !config.record().text.contains("argon2"),
        "the journal has no hash"
    );
    assert_eq!(config.sources[0].max_event_age, None);
    assert!(config.sources[1].store_all);
    assert_eq!(config.destinations.len(), 4);
    assert_eq!(config.destinations[0].rate_limit.limit, 2);
    let rule = &config.rules.rules()[0];
    assert_eq!(rule.threshold.as_ref().unwrap().count, 3);
    assert_eq!(
        rule.policy.group_by,
        [crate::model::Field::Site, crate::model::Field::Model]
    );
    assert_eq!(
        rule.policy.repeat_interval,
        Some(Duration::from_secs(4 * 3_600))
    );
    assert_eq!(rule.policy.stale_after, None);
    assert_eq!(rule.policy.notify.as_ref().map(Vec::len), Some(2));
    let TestInput::Event(fields) = &config.tests[0].events[0].what else {
        panic!("no event")
    };
    assert_eq!(fields["port"], serde_json::json!(24));
    assert_eq!(config.tests[0].expect[0].contains.as_deref(), Some("down"));
    assert_eq!(
        rule.policy
            .flapping
            .map(|f| (f.changes, f.window.as_secs(), f.stable.as_secs())),
        Some((8, 3_600, 1_200))
    );
    assert_eq!(rule.policy.mute_time_intervals, ["nights".into()]);
    assert_eq!(
        config.rules.rules()[1].absent,
        Some(Duration::from_secs(86_400))
    );
    let around = config.rules.surroundings();
    assert_eq!(
        (
            around.time_intervals.len(),
            around.maintenance.len(),
            around.inhibit_rules.len()
        ),
        (2, 3, 2)
    );
    let into: Vec<usize> = around
        .digests
        .iter()
        .map(|digest| digest.into.len())
        .collect();
    assert_eq!(into, [1, 4], "without `into`, every other destination");
    assert_eq!(around.topology.links().count(), 3);
    let again = rules_from_record(&config.record()).unwrap();
    assert_eq!(
        format!("{:?}", again.surroundings()),
        format!("{around:?}"),
        "the journal's rules mean the same"
    );
    let hushed = &config.tests[1];
    assert_eq!(
        hushed.start,
        crate::model::Timestamp::parse_rfc3339("2026-12-01T22:00:00Z")
    );
    assert!(matches!(&hushed.events[0].what, TestInput::Silence(silence) if silence.id == "roof"));
    assert!(matches!(&hushed.events[3].what, TestInput::Expire(id) if id == "roof"));
    let explained = explain(&config);
    for line in [
        "  morning: # digest",
        "    at: [08:00, 18:30]  # zone Europe/Paris\n",
        "22:00-06:00 the day after on monday, tuesday",
        "    match: {site: home*, not: {device: [ap_1, 5c5b35000001]}}\n",
        "    hold: 1m",
        "  ap-1: reached through sw-garage\n",
        "    flapping: {changes: 8, window: 1h, stable: 20m}\n",
        "    during_mute: digest",
        "    when: event.audit_id is not defined and",
        "    absent: {window: 1d}",
    ] {
        assert!(explained.contains(line), "no {line} in\n{explained}");
    }
    assert!(
        explained.contains("group_wait: 20s") && explained.contains("DISCONNECTED"),
        "{explained}"
    );
    assert!(
        explained.contains("  trusted_proxies: [127.0.0.1, 10.0.0.0/8, fd00::/8]\n"),
        "{explained}"
    );
    assert!(
        !explained.contains("canary") && !explained.contains("argon2"),
        "{explained}"
    );
}

#[test]
fn bombs_are_refused_within_a_second() {
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..10 {
        let refs = vec![format!("*a{}", n - 1); 10].join(",");
        laughs.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
    }
    for bomb in [
        laughs,
        "[".repeat(200_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "x\n".repeat(300_000),
    ] {
        // Processor time, not the wall's: a busy machine makes nobody slower by this clock.
        let start = worked();
        assert!(Config::parse(&bomb, None, &none).is_err());
        let took = worked().saturating_sub(start);
        assert!(
            took < Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 }),
            "{took:?}"
        );
    }
}

#[test]
fn patterns_that_would_take_long_together_are_refused_at_the_line_where_it_is_too_much() {
    let rules = |count: usize, pattern: &str| {
        let rule = |n: usize| {
            format!(
                "  - {{name: r{n}, match: {{type: '/{}/'}}}}\n",
                pattern.replace('N', &n.to_string())
            )
        };
        format!(
            "destinations: {{c: {{console: {{}}}}}}\nrules:\n{}",
            (0..count).map(rule).collect::<String>()
        )
    };
    for (text, line, what) in [
        (
            rules(600, "[\\w\\pL]{80,130}N"),
            19,
            "more than 16 large regular expressions",
        ),
        (rules(600, "^xN$"), 503, "more than 500 regular expressions"),
    ] {
        let start = worked();
        let found = Config::parse(&text, None, &none).unwrap_err();
        let took = worked().saturating_sub(start);
        assert!(
            took < Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 1 }),
            "{took:?}"
        );
        let last = found
            .0
            .iter()
            .rfind(|problem| problem.level == Level::Error)
            .unwrap();
        assert!(last.line == line && last.what.contains(what), "{last}");
    }
    // What people write is far from it.
    let fine = Config::parse(&rules(100, "^(ap|sw)-[a-z0-9]+-N$"), None, &none);
    assert!(fine.is_ok(), "{}", fine.unwrap_err());
}

#[test]
fn a_long_line_is_shown_around_the_caret_only() {
    let long = "x".repeat(1 << 20);
    for text in [
        format!("rules:\n  - {{name: \"{long}\", mtach: {{}}}}\n"),
        format!("rules:\n  - {{name: a, match: {{severity: {long}}}}}\n"),
    ] {
        let said = Config::parse(&text, None, &none).unwrap_err().to_string();
        assert!(said.len() < 20_000, "{}", said.len());
        let lines: Vec<&str> = said.lines().collect();
        let caret = lines.iter().position(|line| line.contains('^')).unwrap();
        let at = |line: &str| line.chars().position(|c| c == '^').unwrap();
        let under: String = lines[caret - 1]
            .chars()
            .skip(at(lines[caret]))
            .take(5)
            .collect();
        assert!(
            ["mtach", "xxxxx", "{name"].contains(&under.as_str()),
            "{under}: {}",
            lines[caret - 1]
        );
    }
}

/// The processor time that this thread has used.
fn worked() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules.schema.json");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, schema()).unwrap();
    }
    assert!(
        fs::read_to_string(path).unwrap() == schema(),
        "run BLESS=1 cargo test, or foghorn schema > rules.schema.json"
    );
}

#[test]
fn the_built_in_rules_have_no_problems_and_a_test_each() {
    let config = Config::load(None, &none).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.warnings, [], "{}", Problems(config.warnings.clone()));
    for rule in config.rules.rules() {
        let told = config.tests.iter().any(|t| {
            t.expect
                .iter()
                .any(|e| e.rule.as_deref() == Some(&rule.name))
        });
        assert!(told, "no test expects a message of \"{}\"", rule.name);
    }
}

#[test]
fn journaled_rules_read_again_without_their_environment() {
    let text = "destinations: {a: {slack: {url: 'env:GONE'}}}\nlater: x\nrules:\n  - {name: a, match: {type: AP_RESTARTED}, notify: [a], laterer: {}}\n  - {name: b}\n";
    let record = RulesRecord {
        text: text.to_owned(),
        destinations: vec![("a".into(), crate::model::Severity::Info)],
        start: false,
    };
    let rules = rules_from_record(&record).unwrap();
    assert_eq!(rules.rules().len(), 1);
    assert_eq!(rules.rules()[0].policy.notify, Some(vec!["a".into()]));
    assert!(
        rules_from_record(&RulesRecord {
            text: "a: [".to_owned(),
            destinations: vec![],
            start: false
        })
        .is_none()
    );
}

#[test]
fn a_secret_is_masked_on_each_of_its_lines_and_what_is_left_reads_as_yaml() {
    let ways = [
        "\"https://hooks.example/T0/\\\n      canary\"",
        "\"\n      https://hooks.example/canary\"",
        "\"https://hooks.example/\\\"canary\"",
        "'https://hooks.example/''canary'",
        ">-\n      https://hooks.example/canary",
        "|\n      https://hooks.example/canary\n",
        "https://hooks.example/a,canary[1]",
        "!!str https://hooks.example/canary",
        "&here https://hooks.example/canary",
    ];
    for way in ways {
        let text = format!(
            "destinations:\n  a:\n    slack:\n     url: {way}\nrules: [{{name: one, match: {{type: AP_RESTARTED}}}}]\n"
        );
        let config = Config::parse(&text, None, &none)
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let record = config.record();
        assert!(!record.text.contains("canary"), "{}", record.text);
        assert_eq!(
            rules_from_record(&record).map(|rules| rules.rules().len()),
            Some(1),
            "{}",
            record.text
        );
        let printed = Problems(config.warnings.clone()).to_string();
        assert!(
            printed.contains("plain text") && !printed.contains("canary"),
            "{printed}"
        );
        assert!(!explain(&config).contains("canary"));
    }
}

#[test]
fn what_makes_an_alert_of_every_event_is_named_where_it_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    for (rule, named) in [
        ("match: {condition: ap_offline}, by: [id]", true),
        (
            "match: {condition: ap_offline}, by: [device, event.timestamp]",
            true,
        ),
        (
            "match: {type: LINK_LOST}, resolve: {type: LINK_FOUND}, by: [event.details.id]",
            true,
        ),
        ("match: {condition: ap_offline}, by: [device]", false),
        (
            "match: {condition: ap_offline}, resolve: never, by: [id]",
            false,
        ),
        ("match: {type: AP_RESTARTED}, by: [id]", false),
    ] {
        fs::write(&path, format!("rules: [{{name: a, {rule}}}]\n")).unwrap();
        let printed = Problems(Config::load(Some(&path), &none).unwrap().warnings).to_string();
        assert_eq!(
            printed.contains("makes an alert of every event"),
            named,
            "{rule}: {printed}"
        );
    }
}

#[cfg(unix)]
#[test]
fn secrets_in_a_readable_file_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.yaml");
    fs::write(
        &path,
        "sources: {mist: {secrets: [canary]}}\nrules: [{name: a, match: {type: AP_RESTARTED}}]\n",
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let config = Config::load(Some(&path), &none).unwrap();
    let printed = Problems(config.warnings).to_string();
    assert!(
        printed.contains("mode 0644")
            && printed.contains("secrets: [******]")
            && !printed.contains("canary"),
        "{printed}"
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Config::load(Some(&path), &none).unwrap().warnings.len(), 1);

    let secret = folder.path().join("secret");
    fs::write(&secret, "canary").unwrap();
    fs::write(
        &path,
        "sources: {mist: {secrets: [\"file:secret\"]}}\nrules: [{name: a, match: {type: AP_RESTARTED}}]\n",
    )
    .unwrap();
    for (mode, named) in [(0o644, true), (0o604, true), (0o640, false), (0o600, false)] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        let printed = Problems(Config::load(Some(&path), &none).unwrap().warnings).to_string();
        assert_eq!(
            printed.contains("everyone on this machine may read"),
            named,
            "{printed}"
        );
        assert!(!printed.contains("canary"), "{printed}");
    }
}

#[test]
fn what_is_implied_is_explained() {
    let text = "rules: [{name: AP unreachable, match: {condition: ap_offline}, for: 3m}]";
    let explained = explain(&Config::parse(text, None, &none).unwrap());
    for line in [
        "    # opened by device_down, ap_offline, AP_DISCONNECTED\n",
        "    # closed by device_reconnected, ap_offline, AP_CONNECTED\n",
        "    for: 3m\n",
        "    group_by: [site]\n",
        "    group_wait: 10s\n",
        "    repeat_interval: never\n",
        "    notify: [console]\n",
    ] {
        assert!(explained.contains(line), "no {line} in\n{explained}");
    }
}

#[test]
fn schema_and_reader_know_the_same_keys() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let rule = &schema["properties"]["rules"]["items"]["properties"];
    let mut known: Vec<&str> = keys::RULE.iter().map(|key| key.name).collect();
    known.sort_unstable();
    let mut written: Vec<&str> = rule
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    written.sort_unstable();
    assert_eq!(written, known);
    assert!(schema["$defs"]["match"]["properties"]["not"]["properties"]["device_mac"].is_object());
}

proptest::proptest! {
    /// A file with lines missing, doubled or cut is read or refused; it never panics, nor prints a secret.
    #[test]
    fn mutilated_files_never_panic(at in 0usize..60, cut in 0usize..60, how in 0u8..3, from in 0usize..2) {
        let text = [include_str!("../../tests/config_problems/everything.yaml"), SECRETS][from];
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = at % lines.len();
        match how {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            _ => lines[at] = lines[at].chars().take(cut).collect(),
        }
        if let Err(problems) = Config::parse(&lines.join("\n"), None, &none) {
            let printed = problems.to_string();
            proptest::prop_assert!(!printed.contains("canary"), "{}", printed);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z:{}\\[\\],\"'*&/|>0-9 \n#-]{0,60}") {
        let _ = Config::parse(&format!("rules: [{text}]"), None, &none);
        let _ = Config::parse(&text, None, &none);
    }
}

const SECRETS: &str = include_str!("../../tests/config_problems/secrets.yaml");

/// A file with a secret in each place, all of them told by the word in them.
const EVERYWHERE: &str = "\
server: {password: \"$argon2id$v=19$m=19456,t=2,p=1$Y2FuYXJ5Y2FuYXJ5$cmHfqyNmDHqb3mG2Lb1Qcb1Kz2cVbVYqTtpb0bH3PlA\"}
sources: {mist: {secrets: [\"canary-1\", 'canary''2', env:SET], max_event_age: 2h}} # canary note
destinations:
  one: {slack: {url: \"https://hooks.slack.com/services/T0/B0/canary\"}}
  two:
    webhook:
      url: https://user:canary@pager.example.net/hook?sig=canary
      headers: {X-Plain: canary, Accept: text/plain}
      body: {plain: canary, deep: [{er: \"canary {{title}}\"}], n: 1}
  morning: {digest: {at: \"08:00\", into: [one]}}
# old: {webhook: {body: {plain: canary}}}
rules:
  - name: one # canary
    match: {type: AP_DISCONNECTED, event.token_url: \"x #1\"}
    notify: [one, morning]
topology: {links: {secret-switch: [ap-1]}}
";

#[test]
fn the_journal_keeps_the_rules_and_no_secret() {
    let config = Config::parse(EVERYWHERE, None, &|_| Some("x".to_owned())).unwrap();
    let record = config.record();
    let text = &record.text;
    assert!(
        !text.contains("canary") && !text.contains("hooks") && !text.contains("argon2"),
        "{text}"
    );
    // What is judged by is as it was.
    for kept in [
        "name: one \n",
        "event.token_url: \"x #1\"",
        "max_event_age: 2h",
        "digest: {at: \"08:00\", into: [one]}",
        "topology: {links: {secret-switch: [ap-1]}}",
        "Accept: text/plain",
        "env:SET",
    ] {
        assert!(text.contains(kept), "{kept} is not in\n{text}");
    }
    let rules = rules_from_record(&record).unwrap();
    assert_eq!(rules.rules()[0].line, config.rules.rules()[0].line);
    assert_eq!(rules.destinations(), config.rules.destinations());
    assert_eq!(
        rules.max_event_age(&"mist".into()),
        config.rules.max_event_age(&"mist".into())
    );
}

#[test]
fn no_line_that_is_printed_shows_a_secret_whatever_is_wrong_with_it() {
    let everywhere = EVERYWHERE
        .replace("# canary note", "# note")
        .replace("one # canary", "one");
    let mut broken: Vec<String> = [
        "password", "secrets", "url", "headers", "body", "webhook", "slack",
    ]
    .into_iter()
    .map(|key| everywhere.replacen(&format!("{key}:"), &format!("{key}x:"), 1))
    .collect();
    broken.extend(
        ["server", "sources", "destinations"].map(|section| {
            everywhere.replacen(&format!("{section}:"), &format!("my{section}:"), 1)
        }),
    );
    broken.push(everywhere.replace("{er: ", "{er {{: "));
    broken.push(everywhere.replace("canary {{title}}", "canary {{"));
    // No line of it is YAML any more: each is shown in its turn.
    for (line, text) in everywhere.lines().enumerate() {
        let mut lines: Vec<String> = everywhere.lines().map(str::to_owned).collect();
        lines[line] = format!("{text} ]");
        broken.push(lines.join("\n"));
        lines[line] = format!("{text}\n{text}");
        broken.push(lines.join("\n"));
    }
    for text in broken {
        let printed = match Config::parse(&text, None, &|_| Some("https://x.example/".to_owned())) {
            Ok(config) => Problems(config.warnings),
            Err(problems) => problems,
        };
        let printed = printed.to_string();
        assert!(
            !printed.contains("canary") && !printed.contains("cmHfqy"),
            "{printed}\nof\n{text}"
        );
    }
}
