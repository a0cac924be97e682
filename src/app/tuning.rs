//! What `tune` finds, made of a config: each change as an edit of the file, all of them as a patch.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::backend::JournalReader;
use crate::clock::Clock;
use crate::config::{self, Config, TestCase};
use crate::diff;
use crate::model::{Record, Seq, Timestamp, human_duration};
use crate::replay::Stored;
use crate::rulebook::Hidden;
use crate::rulebook::edit::{self, Edited};
use crate::trial;
use crate::tune::{self, KeyChange, ParsedTraffic, RuleNoise, Suggestion, TuningReport};
use crate::web::Tuner;

/// Bytes of traffic a server looks at, the newest: parsed they are some eight times as large, and
/// memory is bounded.
const MOST_BYTES: usize = 4 << 20;
/// Rules and talkers listed, and things that would be lost named.
const RULES: usize = 20;
const TALKERS: usize = 10;
const NAMED: usize = 5;

/// What was found, and all of it together.
pub(crate) struct Advice {
    /// By rule.
    pub(crate) found: TuningReport,
    /// With every suggestion: messages then, and what would be missed.
    pub(crate) measured: diff::Diff,
    /// Each suggestion's line of the present file; `None` where it has to be written by hand.
    pub(crate) lines: Vec<Option<usize>>,
    /// The text with all of them.
    pub(crate) text: String,
    /// The file's tests that pass as it is and fail with all of them.
    pub(crate) broken: Vec<String>,
}

/// The changes as a patch, of the texts as they are to be shown; `None` where there is no file.
pub(crate) fn patch(config: &Config, before: &str, after: &str) -> Option<String> {
    config
        .path
        .as_deref()
        .map(|path| unified(&shown(path), before, after))
}

/// Returns the change as `patch -p0` and `git apply -p0` take it; empty where the texts are equal.
fn unified(file: &str, old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new)
        .unified_diff()
        .header(file, file)
        .to_string()
}

/// Looks for changes to this config that help. What cannot be made in the text is left to the
/// operator.
pub(crate) fn advise(config: &Config, posts: &ParsedTraffic) -> Advice {
    let found = tune::tune(&config.rules, posts, |rule, change| {
        edit(&config.text, rule, change).is_none_or(|edited| parse(config, &edited.text).is_some())
    });
    let mut text = config.text.clone();
    let mut lines = Vec::new();
    for suggestion in &found.suggestions {
        // The line in the file as it is, not as the changes before have left it.
        let line =
            edit(&config.text, &suggestion.rule, &suggestion.change).map(|edited| edited.line);
        let next = edit(&text, &suggestion.rule, &suggestion.change);
        let next = next.filter(|next| parse(config, &next.text).is_some());
        lines.push(line.filter(|_| next.is_some()));
        text = next.map_or(text, |next| next.text);
    }
    let changed = parse(config, &text);
    let broken = changed
        .as_ref()
        .map(|changed| broken(config, changed))
        .unwrap_or_default();
    let after = changed.map_or_else(|| Arc::clone(&config.rules), |changed| changed.rules);
    let measured = diff::diff(&posts.fold(&config.rules), &posts.fold(&after));
    Advice {
        found,
        measured,
        lines,
        text,
        broken,
    }
}

/// The tests that pass in the one and fail in the other.
fn broken(config: &Config, changed: &Config) -> Vec<String> {
    let Ok(templates) = config.load_templates() else {
        return Vec::new();
    };
    let fails = |rules, case: &TestCase| {
        trial::run(case, rules, &templates, "", &|| false)
            .failure
            .is_some()
    };
    let broken = |case: &&TestCase| fails(&changed.rules, case) && !fails(&config.rules, case);
    changed
        .tests
        .iter()
        .filter(broken)
        .map(|case| case.name.clone())
        .collect()
}

/// The file as `patch` can find it from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here)
        .unwrap_or(path)
        .display()
        .to_string()
}

fn parse(config: &Config, text: &str) -> Option<Config> {
    Config::parse_offline(text, config.path.as_deref(), &config::environment).ok()
}

fn edit(text: &str, rule: &str, change: &KeyChange) -> Option<Edited> {
    edit::set(text, rule, change.key(), &value(text, rule, change))
}

/// What is to be written: where a list stands already, the list with one more.
fn value(text: &str, rule: &str, change: &KeyChange) -> Value {
    if !change.adds() {
        return change.value();
    }
    let mut list = match edit::value(text, rule, change.key()) {
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    list.push(change.value());
    Value::Array(list)
}

/// The key of a change, and its value as YAML.
pub(crate) fn written(config: &Config, suggestion: &Suggestion) -> (String, String) {
    let Suggestion { rule, change, .. } = suggestion;
    (
        change.key().join("."),
        edit::flow(&value(&config.text, rule, change)),
    )
}

/// What was measured, in a sentence or two.
pub(crate) fn why(suggestion: &Suggestion) -> String {
    let Suggestion {
        told,
        told_after,
        quiet,
        ..
    } = suggestion;
    let length = |told: &diff::Report| {
        told.subject
            .ends_at
            .zip(told.subject.starts_at)
            .map(|(end, start)| end.since(start))
    };
    let longest = human_duration(quiet.iter().filter_map(length).max().unwrap_or_default());
    let (gone, delays) = (told.saturating_sub(*told_after), delays(&suggestion.later));
    match &suggestion.change {
        KeyChange::For(_) => {
            format!(
                "{gone} of the {told} it told of were over within {longest}: this removes them{delays}."
            )
        }
        KeyChange::KeepFiringFor(time) => {
            let time = human_duration(*time);
            format!(
                "{gone} of the {told} it told of began again within {time}: told as one, whose end comes {time} later{delays}."
            )
        }
        KeyChange::Cooldown(_) => {
            format!(
                "{gone} of the {told} it told of repeat what was told before: counted for the next message{delays}."
            )
        }
        KeyChange::GroupInterval(time) => {
            format!(
                "What comes within {} of a message is told together{delays}.",
                human_duration(*time)
            )
        }
        KeyChange::Threshold(_) => {
            format!("{gone} of the {told} it told of were too few at once{delays}.")
        }
        KeyChange::NotDevice(name) | KeyChange::NotSite(name) => {
            format!("{gone} of the {told} it told of were about {name}{delays}.")
        }
        KeyChange::Digest(name) => format!("They come with {name} instead{delays}."),
    }
}

fn delays(later: &[Duration]) -> String {
    let (Some(least), Some(most)) = (later.iter().min(), later.iter().max()) else {
        return String::new();
    };
    let alike = most.saturating_sub(*least) < Duration::from_secs(10);
    let (by, most) = (if alike { "" } else { "up to " }, human_duration(*most));
    format!(
        "; it delays {} {} by {by}{most}",
        later.len(),
        if later.len() == 1 {
            "real one"
        } else {
            "real ones"
        }
    )
}

/// Finds it for a server, in the traffic its data folder holds and by the file as it is then. Takes
/// long, and gives way.
pub(super) fn tuner(path: Option<PathBuf>, data: PathBuf, clock: Clock) -> Tuner {
    Arc::new(move |since: Duration| {
        crate::worker::lower_priority();
        let config = Config::load_offline(path.as_deref(), &config::environment).map_err(|_| {
            "the rules as they stand in the file have problems: `foghorn check` lists them"
                .to_owned()
        })?;
        let from = clock.wall() - since;
        let (from, cut) = newest(&data, from).map_err(|e| e.to_string())?;
        let mut posts = ParsedTraffic::default();
        let reader = JournalReader::open(&data).map_err(|e| e.to_string())?;
        let mut stored = Stored::since(Some(from));
        for entry in reader.entries(Seq::default()) {
            stored.take(entry.map_err(|e| e.to_string())?, |heard| {
                posts.push(&heard)
            });
        }
        Ok(shown_as_json(
            &config,
            &posts,
            &advise(&config, &posts),
            cut,
        ))
    })
}

/// From when on the traffic is not too much, and whether that is later than was asked for.
fn newest(data: &Path, from: Timestamp) -> Result<(Timestamp, bool), crate::store::Error> {
    let reader = JournalReader::open(data)?;
    let (mut kept, mut bytes, mut cut, mut offset_ms) = (VecDeque::new(), 0, false, 0);
    for entry in reader.entries(Seq::default()) {
        let entry = entry?;
        let at = entry.at.shifted(offset_ms);
        match entry.record {
            Record::Clock { offset_ms: now } => offset_ms = now,
            Record::Received { body, .. } if at >= from => {
                bytes += body.len();
                kept.push_back((at, body.len()));
            }
            _ => {}
        }
        while bytes > MOST_BYTES {
            let Some((_, gone)) = kept.pop_front() else {
                break;
            };
            (bytes, cut) = (bytes - gone, true);
        }
    }
    Ok((
        kept.front()
            .map_or(from, |(at, _)| if cut { *at } else { from }),
        cut,
    ))
}

/// As the API says it.
fn shown_as_json(config: &Config, posts: &ParsedTraffic, advice: &Advice, cut: bool) -> Value {
    let Advice {
        found,
        measured,
        lines,
        text,
        ..
    } = advice;
    // A page shows no secret; what cannot be hidden line by line is left to the command.
    let file = config
        .path
        .as_ref()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let hidden = |text: &str| Hidden::of(text, &file).map(|hidden| hidden.text().to_owned());
    let patch = hidden(&config.text)
        .zip(hidden(text))
        .and_then(|(before, after)| patch(config, &before, &after));
    let talker = |(name, messages): &(String, u64)| json!({"name": name, "messages": messages});
    let noise = |noise: &RuleNoise| {
        let talkers: Vec<Value> = noise.talkers.iter().take(TALKERS).map(talker).collect();
        json!({"rule": noise.rule, "line": noise.line, "messages": noise.messages, "talkers": talkers})
    };
    let one = |(suggestion, line): (&Suggestion, &Option<usize>)| {
        let (key, value) = written(config, suggestion);
        let longest = suggestion.later.iter().max().copied().unwrap_or_default();
        json!({
            "rule": suggestion.rule, "line": line, "key": key, "value": value, "before": suggestion.before,
            "after": suggestion.before.saturating_sub(suggestion.saved), "saved": suggestion.saved,
            "why": why(suggestion), "quiet": suggestion.quiet.len(),
            "lost": suggestion.lost.iter().take(NAMED).map(diff::brief).collect::<Vec<_>>(),
            "lost_count": suggestion.lost.len(), "delayed": suggestion.later.len(),
            "longest_delay_ms": u64::try_from(longest.as_millis()).unwrap_or(u64::MAX),
        })
    };
    let helpless = |(rule, messages): &(String, u64)| json!({"rule": rule, "messages": messages});
    let span = posts.span();
    json!({
        "from": span.map(|(from, _)| from.rfc3339()), "until": span.map(|(_, until)| until.rfc3339()), "cut": cut,
        "file": config.path.as_ref().map_or_else(|| "the built-in rules".to_owned(), |path| path.display().to_string()),
        "messages": measured.before, "after": measured.after,
        "lost": found.suggestions.iter().map(|s| s.lost.len()).sum::<usize>(),
        "rules": found.rules.iter().take(RULES).map(noise).collect::<Vec<_>>(),
        "suggestions": found.suggestions.iter().zip(lines).map(one).collect::<Vec<_>>(),
        "helpless": found.helpless.iter().map(helpless).collect::<Vec<_>>(),
        "patch": patch,
    })
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn a_patch_has_three_lines_around_a_change() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10";
        let patch = "--- f\n+++ f\n@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+10\n\\ No newline at end of file\n";
        assert_eq!(unified("f", old, new), patch);
        assert_eq!(unified("f", old, old), "");
    }
}
