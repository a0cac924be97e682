//! A template and an event: a message, or problems that can be found in the template.
//!
//! The input is the template, a line `%%%`, and the event's JSON.

use foghorn::model::Subject;
use foghorn::render::{Body, TemplateProblem, Templates};
use serde_json::{Value, json};

use super::{NOW, markup, payload};

/// A part of a template writes no more than this.
const MOST: usize = 64 * 1024;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (template, event) = text.split_once("\n%%%\n").unwrap_or((&text, ""));
    let event: Value = serde_json::from_str(event).unwrap_or_else(|_| json!({"type": event}));
    let mut message = markup::message("a", data.first().copied().unwrap_or_default());
    let about = &mut message.about;
    let named = |key: &str| event.get(key).and_then(Value::as_str).map(str::to_owned);
    about.subjects = vec![Subject {
        device: named("device_name"),
        device_mac: named("mac"),
        site: named("site_name"),
        site_id: named("site_id"),
        starts_at: Some(NOW),
        ..Subject::default()
    }];
    about.template = Some("mine".to_owned());
    about.event = event;

    match Templates::of([("mine".to_owned(), template.to_owned())]) {
        Ok(templates) => {
            let said = templates.render(about.clone());
            assert!(
                !said.title.is_empty() && !said.title.contains('\n'),
                "{:?}",
                said.title
            );
            assert!(said.text.len() <= MOST && said.title.len() <= MOST);
            assert!(
                said.facts
                    .iter()
                    .map(|(name, value)| name.len() + value.len())
                    .sum::<usize>()
                    <= MOST
            );
            payload::check(&said);
        }
        Err(problems) => placed(&problems, template.lines().count()),
    }
    let body = json!({"text": template, "list": [template, 1]});
    match Body::compile(&body) {
        Ok(body) => {
            let said = body.render(&message);
            let keys: Vec<&str> = said
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(keys, ["list", "text"], "a value added a key");
            assert_eq!(said["list"][1], 1);
            assert!(said["text"].as_str().unwrap().len() <= MOST);
        }
        Err(problems) => placed(&problems, template.lines().count()),
    }
}

fn placed(problems: &[TemplateProblem], lines: usize) {
    assert!(!problems.is_empty(), "refused for nothing");
    for problem in problems {
        assert!(
            !problem.what.is_empty() && problem.line <= lines + 1,
            "line {} of {lines}",
            problem.line
        );
    }
}
