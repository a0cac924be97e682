//! `tune`: which rules make the noise, and a patch to rules.yaml that helps, measured on the stored traffic.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::unified::unified;
use super::{Failure, Traffic, out, replay};
use crate::config::{self, Config, Edited};
use crate::diff;
use crate::model::{human_duration, plural};
use crate::tune::{self, Change, Noise, Suggestion, Tuning};

/// What to look at.
#[derive(Debug, clap::Args)]
pub(super) struct TuneArgs {
    /// Traffic files instead of the stored journal; `-` is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Look at the stored journal (the default without files)
    #[arg(long, conflicts_with = "files")]
    stored: bool,
    /// Of the stored journal, only the last this long (`30d`)
    #[arg(long, value_name = "DURATION", conflicts_with = "files")]
    since: Option<String>,
    /// The data folder, instead of `server.data`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print the patch only, as in `foghorn tune --patch | patch -p0`
    #[arg(long)]
    patch: bool,
}

pub(super) fn run(config: &Config, args: TuneArgs) -> Result<(), Failure> {
    let stored = args.files.is_empty();
    let traffic = Traffic { files: args.files, stored, since: args.since, data: args.data };
    let mut posts = tune::Traffic::default();
    replay::each_heard(config, &traffic, |heard| posts.push(&heard))?;
    let found = tune::tune(&config.rules, &posts, |rule, change| {
        edit(&config.text, rule, change).is_none_or(|edited| parse(config, &edited.text).is_some())
    });
    let changes: Vec<&Suggestion> = found.suggestions.iter().collect();
    let whole = Whole::of(config, &posts, &changes);
    if args.patch {
        let Some(patch) = &whole.patch else {
            return Err(Failure::unexpected("there are no built-in rules to patch: copy them to rules.yaml first"));
        };
        out(patch);
        return Ok(());
    }
    let span = posts.span();
    let period = replay::period(&traffic, span.map(|s| s.0), span.map(|s| s.1));
    out(&report(config, &found, &whole, &period));
    Ok(())
}

/// All changes together.
struct Whole {
    /// Messages then, and what would be missed.
    measured: diff::Diff,
    /// Each suggestion's line of the present file; `None` where it has to be written by hand.
    edited: Vec<Option<usize>>,
    /// The changes as a patch; `None` where there is no file.
    patch: Option<String>,
}

impl Whole {
    /// Makes the changes one after the other; what cannot be made in the text is left to the operator.
    fn of(config: &Config, posts: &tune::Traffic, suggestions: &[&Suggestion]) -> Self {
        let mut text = config.text.clone();
        let mut edited = Vec::new();
        for suggestion in suggestions {
            // The line in the file as it is, not as the changes before have left it.
            let line = edit(&config.text, &suggestion.rule, &suggestion.change).map(|edited| edited.line);
            let next = edit(&text, &suggestion.rule, &suggestion.change);
            let next = next.filter(|next| parse(config, &next.text).is_some());
            edited.push(line.filter(|_| next.is_some()));
            text = next.map_or(text, |next| next.text);
        }
        let after = parse(config, &text).map_or_else(|| Arc::clone(&config.rules), |changed| changed.rules);
        let measured = diff::diff(&posts.fold(&config.rules), &posts.fold(&after));
        let patch = config.path.as_deref().map(|path| unified(&shown(path), &config.text, &text));
        Self { measured, edited, patch }
    }
}

/// The file as `patch` can find it from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

fn parse(config: &Config, text: &str) -> Option<Config> {
    Config::parse_offline(text, config.path.as_deref(), &config::environment).ok()
}

fn edit(text: &str, rule: &str, change: &Change) -> Option<Edited> {
    config::set(text, rule, change.key(), &value(text, rule, change))
}

/// What is to be written: where a list stands already, the list with one more.
fn value(text: &str, rule: &str, change: &Change) -> Value {
    if !change.adds() {
        return change.value();
    }
    let mut list = match config::value(text, rule, change.key()) {
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    list.push(change.value());
    Value::Array(list)
}

fn report(config: &Config, found: &Tuning, whole: &Whole, period: &str) -> String {
    let file = replay::place(config);
    let mut text = format!("{period}: {} by {file}.", plural(found.messages, "message"));
    if found.rules.is_empty() {
        text.push('\n');
        return text;
    }
    text.push_str(" The noisiest rules:\n");
    let width = found.rules.first().map_or(1, |noise| noise.messages.to_string().len());
    for noise in found.rules.iter().take(8) {
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "  {:>width$}  {} ({file}:{}){}", noise.messages, noise.rule, noise.line, talkers(noise));
    }
    if found.suggestions.is_empty() {
        text.push_str("\nNothing to improve: no change would save much without losing something.\n");
        return text;
    }
    for ((number, suggestion), line) in (1..).zip(&found.suggestions).zip(&whole.edited) {
        text.push_str(&describe(config, number, suggestion, *line, &file));
    }
    if !found.helpless.is_empty() {
        let names: Vec<String> = found.helpless.iter().map(|(rule, messages)| format!("{rule} ({messages})")).collect();
        let _ = writeln!(text, "\nNothing helps without losing something: {}.", names.join(", "));
    }
    let (before, after) = (whole.measured.before, whole.measured.after);
    let lost = found.suggestions.iter().map(|s| s.lost.len()).sum::<usize>();
    let lost = if lost == 0 {
        format!("nothing that lasted longer than {} is missed", human_duration(tune::BLIP))
    } else {
        format!("{lost} are missed that may matter: see above")
    };
    let _ = writeln!(text, "\nAll of it: {before} -> {after} messages; {lost}.");
    match &whole.patch {
        Some(patch) if patch.is_empty() => {}
        Some(patch) => {
            let _ = writeln!(text, "To apply it: foghorn tune … --patch | patch -p0\n\n{patch}");
        }
        None => text.push_str("These rules are built in: copy them to rules.yaml to change them.\n"),
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn talkers(noise: &Noise) -> String {
    let shown: Vec<String> =
        noise.talkers.iter().take(3).map(|(name, messages)| format!("{name} {messages}")).collect();
    let rest = noise.talkers.len() - shown.len();
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    if shown.is_empty() { String::new() } else { format!(": {}{rest}", shown.join(", ")) }
}

fn describe(config: &Config, number: usize, suggestion: &Suggestion, line: Option<usize>, file: &str) -> String {
    let Suggestion { rule, change, before, saved, .. } = suggestion;
    let key = change.key().join(".");
    let value = config::flow(&value(&config.text, rule, change));
    let place = match line {
        Some(line) => format!("{file}:{line}"),
        None => format!("{file}, by hand"),
    };
    let after = before.saturating_sub(*saved);
    let after = plural(after, "message");
    let mut text = format!("\n{number}. {rule}: {before} -> {after} with `{key}: {value}` ({place})\n");
    let _ = writeln!(text, "   {}", why(suggestion));
    if !suggestion.lost.is_empty() {
        let shown: Vec<String> = suggestion.lost.iter().take(5).map(diff::brief).collect();
        let rest = suggestion.lost.len() - shown.len();
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        let _ = writeln!(text, "   It would lose, which may matter: {}{rest}", shown.join(", "));
    }
    text
}

/// What was measured, in a sentence or two.
fn why(suggestion: &Suggestion) -> String {
    let Suggestion { told, told_after, quiet, .. } = suggestion;
    let length =
        |told: &diff::Told| told.subject.ends_at.zip(told.subject.starts_at).map(|(end, start)| end.since(start));
    let longest = human_duration(quiet.iter().filter_map(length).max().unwrap_or_default());
    let (gone, delays) = (told.saturating_sub(*told_after), delays(&suggestion.later));
    match &suggestion.change {
        Change::For(_) => {
            format!("{gone} of the {told} it told of were over within {longest}: this removes them{delays}.")
        }
        Change::KeepFiringFor(time) => {
            let time = human_duration(*time);
            format!(
                "{gone} of the {told} it told of began again within {time}: told as one, whose end comes {time} later{delays}."
            )
        }
        Change::Cooldown(_) => {
            format!(
                "{gone} of the {told} it told of repeat what was told before: counted for the next message{delays}."
            )
        }
        Change::GroupInterval(time) => {
            format!("What comes within {} of a message is told together{delays}.", human_duration(*time))
        }
        Change::Threshold(_) => format!("{gone} of the {told} it told of were too few at once{delays}."),
        Change::NotDevice(name) | Change::NotSite(name) => {
            format!("{gone} of the {told} it told of were about {name}{delays}.")
        }
        Change::Digest(name) => format!("They come with {name} instead{delays}."),
    }
}

fn delays(later: &[Duration]) -> String {
    let (Some(least), Some(most)) = (later.iter().min(), later.iter().max()) else { return String::new() };
    let alike = most.saturating_sub(*least) < Duration::from_secs(10);
    let (by, most) = (if alike { "" } else { "up to " }, human_duration(*most));
    format!("; it delays {} {} by {by}{most}", later.len(), if later.len() == 1 { "real one" } else { "real ones" })
}
