//! `tune`: the noisiest rules, and a patch to rules.yaml that reduces the noise, measured on the
//! stored traffic.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Failure, Traffic, out, out_exact, replay};
use crate::app::tuning::{Advice, advise, patch, why, written};
use crate::config::Config;
use crate::diff;
use crate::model::{human_duration, plural};
use crate::tune::{self, RuleNoise, Suggestion};

/// Arguments of `tune`.
#[derive(Debug, clap::Args)]
pub(super) struct TuneArgs {
    /// Traffic files instead of the stored journal; `-` is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Use the stored journal (the default without files)
    #[arg(long, conflicts_with = "files")]
    stored: bool,
    /// Use only this period of the stored journal, up to now (`30d`)
    #[arg(long, value_name = "DURATION", conflicts_with = "files")]
    since: Option<String>,
    /// The data folder, instead of `server.data`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print only the patch, as in `foghorn tune --patch | patch -p0`
    #[arg(long)]
    patch: bool,
}

pub(super) fn run(config: &Config, args: TuneArgs) -> Result<(), Failure> {
    let stored = args.files.is_empty();
    let traffic = Traffic {
        files: args.files,
        stored,
        since: args.since,
        data: args.data,
    };
    let mut posts = tune::ParsedTraffic::default();
    replay::each_heard(config, &traffic, |heard| posts.push(&heard))?;
    let advice = advise(config, &posts);
    if args.patch {
        let Some(patch) = &patch(config, &config.text, &advice.text) else {
            return Err(Failure::unexpected(
                "built-in rules cannot be patched: copy them to rules.yaml first",
            ));
        };
        // Only the patch goes to standard output, because `patch` reads it from there.
        out_exact(patch);
        if let Some(broken) = broken(&advice) {
            super::err(format!("foghorn: {broken}"));
        }
        return Ok(());
    }
    let span = posts.span();
    let period = replay::period(&traffic, span.map(|s| s.0), span.map(|s| s.1));
    out(&report(config, &advice, &period));
    Ok(())
}

fn report(config: &Config, advice: &Advice, period: &str) -> String {
    let found = &advice.found;
    let file = replay::place(config);
    let mut text = format!("{period}: {} by {file}.", plural(found.messages, "message"));
    if found.rules.is_empty() {
        text.push('\n');
        return text;
    }
    text.push_str(" The noisiest rules:\n");
    let width = found
        .rules
        .first()
        .map_or(1, |noise| noise.messages.to_string().len());
    for noise in found.rules.iter().take(8) {
        let place = noise
            .line
            .map_or_else(|| "no rule".to_owned(), |line| format!("{file}:{line}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {:>width$}  {} ({place}){}",
            noise.messages,
            noise.rule,
            talkers(noise)
        );
    }
    // Without suggestions the noisiest rules are still useful, so they come first.
    if found.suggestions.is_empty() {
        text.push_str(
            "\nNo suggestions: no change would save many messages without losing an alert.\n",
        );
        return text;
    }
    for ((number, suggestion), line) in (1..).zip(&found.suggestions).zip(&advice.lines) {
        text.push_str(&describe(config, number, suggestion, *line, &file));
    }
    if !found.helpless.is_empty() {
        let names: Vec<String> = found
            .helpless
            .iter()
            .map(|(rule, messages)| format!("{rule} ({messages})"))
            .collect();
        let _ = writeln!(
            text,
            "\nNo change helps without losing an alert: {}.",
            names.join(", ")
        );
    }
    // Suggestions influence each other, so the total is measured with all of them applied.
    let (before, after) = (advice.measured.before, advice.measured.after);
    let lost = found
        .suggestions
        .iter()
        .map(|s| s.lost.len())
        .sum::<usize>();
    let lost = if lost == 0 {
        format!(
            "no outage longer than {} is missed",
            human_duration(tune::BLIP)
        )
    } else {
        format!("{lost} alerts are lost that may matter: see above")
    };
    let _ = writeln!(
        text,
        "\nAll changes together: {before} -> {after} messages; {lost}."
    );
    if let Some(broken) = broken(advice) {
        let _ = writeln!(text, "Note: {broken}.");
    }
    match &patch(config, &config.text, &advice.text) {
        Some(patch) if patch.is_empty() => {}
        Some(patch) => {
            let _ = writeln!(
                text,
                "To apply it: foghorn tune … --patch | patch -p0\n\n{patch}"
            );
        }
        None => {
            text.push_str("These rules are built in: copy them to rules.yaml to change them.\n")
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// Returns a warning about tests of the file that fail with the changes.
fn broken(advice: &Advice) -> Option<String> {
    let names = advice
        .broken
        .iter()
        .map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ");
    let tests = plural(advice.broken.len() as u64, "test");
    (!names.is_empty()).then(|| {
        format!(
            "{tests} of the file will fail with these changes: {names}; update their expectations"
        )
    })
}

fn talkers(noise: &RuleNoise) -> String {
    let shown: Vec<String> = noise
        .talkers
        .iter()
        .take(3)
        .map(|(name, messages)| format!("{name} {messages}"))
        .collect();
    let rest = noise.talkers.len() - shown.len();
    let rest = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    if shown.is_empty() {
        String::new()
    } else {
        format!(": {}{rest}", shown.join(", "))
    }
}

fn describe(
    config: &Config,
    number: usize,
    suggestion: &Suggestion,
    line: Option<usize>,
    file: &str,
) -> String {
    let Suggestion {
        rule,
        before,
        saved,
        ..
    } = suggestion;
    let (key, value) = written(config, suggestion);
    let place = match line {
        Some(line) => format!("{file}:{line}"),
        None => format!("{file}, by hand"),
    };
    let after = before.saturating_sub(*saved);
    let after = plural(after, "message");
    let mut text =
        format!("\n{number}. {rule}: {before} -> {after} with `{key}: {value}` ({place})\n");
    let _ = writeln!(text, "   {}", why(suggestion));
    if !suggestion.lost.is_empty() {
        // Losses are listed by name, because a count does not show whether they matter.
        let shown: Vec<String> = suggestion.lost.iter().take(5).map(diff::brief).collect();
        let rest = suggestion.lost.len() - shown.len();
        let rest = if rest > 0 {
            format!(" and {rest} more")
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "   Lost alerts that may matter: {}{rest}",
            shown.join(", ")
        );
    }
    text
}
