//! A text as rules.yaml: a config, or problems that can be found in the text.

use std::path::Path;
use std::sync::Arc;

use foghorn::config::{self, Config, Level, Problem};
use foghorn::render::Templates;
use foghorn::rulebook::Hidden;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let path = Path::new("rules.yaml");
    match Config::parse(text, Some(path), &|name| match name {
        "MIST_SECRET" => Some("sesame".to_owned()),
        "SLACK_URL" => Some("https://hooks.slack.example/services/sesame".to_owned()),
        _ => None,
    }) {
        Ok(config) => fine(&config, text),
        Err(problems) => {
            assert!(
                problems
                    .0
                    .iter()
                    .any(|problem| problem.level == Level::Error),
                "refused for nothing"
            );
            problems.0.iter().for_each(|problem| placed(problem, text));
        }
    }
    // What the page shows is read back as what it stands for.
    if let Some(hidden) = Hidden::of(text, "rules.yaml") {
        assert_eq!(hidden.original(), text);
        let back = hidden.restore(hidden.text()).map(|restored| restored.text);
        assert_eq!(back.as_deref().ok(), Some(text), "{:?}", hidden.text());
    }
}

/// A problem is at a place the text has, and can be printed on a terminal.
fn placed(problem: &Problem, text: &str) {
    let text = text.replace("\r\n", "\n");
    let lines: Vec<&str> = text.split_terminator(['\n', '\r']).collect();
    assert!(!problem.what.is_empty());
    if problem.line > 0 {
        // the place after the last line is one, too
        let line = usize::try_from(problem.line).unwrap();
        assert!(
            line <= lines.len() + 1,
            "line {line} of {}: {}",
            lines.len(),
            problem.what
        );
        // Where it is not YAML the place is the parser's, whose columns may lie beyond the line.
        let parsers = problem.what.starts_with("this is not YAML");
        let columns = lines.get(line - 1).map_or(0, |line| line.chars().count()) as u64;
        assert!(
            parsers || problem.column <= columns + 1,
            "column {} of {columns}: {}",
            problem.column,
            problem.what
        );
    }
    let printed = problem.to_string();
    assert!(
        !printed.chars().any(|c| c.is_control() && c != '\n'),
        "a control character in {printed:?}"
    );
}

/// What is in force can be journaled, explained and tried.
fn fine(config: &Config, text: &str) {
    assert!(!config.sources.is_empty() && !config.destinations.is_empty());
    config
        .warnings
        .iter()
        .for_each(|problem| placed(problem, text));
    let record = config.record();
    // The word alone may stand anywhere, and is a secret where the seeds have it.
    let in_force = |line: &str| {
        !line
            .split('#')
            .next()
            .unwrap_or_default()
            .contains("example/services/sesame")
    };
    assert!(record.text.lines().all(in_force), "a secret in the journal");
    let again = config::rules_from_record(&record).expect("what is journaled can be read");
    let names = |rules: &foghorn::rules::RuleSet| {
        rules
            .rules()
            .iter()
            .map(|r| r.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&again), names(&config.rules));
    let explained = config::explain(config);
    let said = explained.contains("example/services/sesame")
        || (explained.contains("sesame") && !text.contains("sesame"));
    assert!(!said, "a secret on the terminal");
    let (rules, templates) = (Arc::clone(&config.rules), Templates::builtin());
    for case in config.tests.iter().take(2) {
        let _ = foghorn::trial::run(case, &rules, &templates, "rules.yaml", &|| false);
    }
}
