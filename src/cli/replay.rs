//! `replay`: prints the messages that these rules would have sent.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use super::{Failure, Format, ReplayArgs, Traffic, duration, out, out_exact};
use crate::config::Config;
use crate::diff;
use crate::fold::notifications;
use crate::model::{Message, Timestamp, plural};
use crate::render::markup;
use crate::replay::{Refold, Replay, TrafficEntry, json_lines};

pub(super) fn run(config: &Config, args: ReplayArgs) -> Result<(), Failure> {
    let until = args.until.as_deref().map(|text| {
        Timestamp::parse_rfc3339(text).ok_or_else(|| {
            Failure::usage(format!(
                "--until: `{text}` is not a time like 2026-01-05T12:00:00Z"
            ))
        })
    });
    let until = until.transpose()?;
    if let Some(other) = &args.diff {
        return compare(config, other, &args.traffic, until, args.format);
    }
    let templates = config
        .load_templates()
        .map_err(|problems| Failure::config(&problems))?;
    let mut replay = Replay::new(Arc::clone(&config.rules), &templates);
    let mut printer = Printer {
        format: args.format,
        out: BufWriter::new(std::io::stdout().lock()),
        messages: 0,
        posts: 0,
    };
    each_heard(config, &args.traffic, |heard| {
        printer.feed(&mut replay, &heard)
    })?;
    warn_of_early(until, replay.at());
    // Timers that are still running at the end can send messages too.
    let rest = replay.finish(until);
    printer.print(&rest);
    printer.summary(&replay);
    Ok(())
}

/// Passes on the traffic that the command line names, oldest first.
pub(super) fn each_heard(
    config: &Config,
    traffic: &Traffic,
    mut each: impl FnMut(TrafficEntry),
) -> Result<(), Failure> {
    if traffic.stored {
        let since = traffic
            .since
            .as_deref()
            .map(|text| duration("--since", text))
            .transpose()?;
        return super::export::stored(config, traffic.data.clone(), since, each);
    }
    super::traffic::each_post(&traffic.files, |post| each(TrafficEntry::Post(post)))
}

/// Warns about an `--until` before the last line, which has no effect.
fn warn_of_early(until: Option<Timestamp>, last: Option<Timestamp>) {
    if let Some((until, last)) = until.zip(last).filter(|(until, last)| until < last) {
        super::err(format!(
            "foghorn: --until {until} is before the last line ({last}), so it has no effect: every line is judged"
        ));
    }
}

/// Compares two sets of rules on the same traffic.
fn compare(
    config: &Config,
    other: &Path,
    traffic: &Traffic,
    until: Option<Timestamp>,
    format: Format,
) -> Result<(), Failure> {
    let other = super::load(Some(other.to_owned()), Config::load_offline)?;
    // Both sides read the traffic in one pass, because it may come from standard input.
    let mut sides =
        [&config.rules, &other.rules].map(|rules| (Refold::new(Arc::clone(rules)), Vec::new()));
    let mut from = None;
    each_heard(config, traffic, |heard| {
        for (refold, said) in &mut sides {
            said.extend(notifications(refold.hear(&heard)));
            from = from.or(refold.at());
        }
    })?;
    let last = sides.iter().filter_map(|(refold, _)| refold.at()).max();
    warn_of_early(until, last);
    let [before, after] = sides.map(|(mut refold, mut said)| {
        said.extend(notifications(refold.finish_comparing(until)));
        said
    });
    let found = diff::diff(&before, &after);
    let names = (place(config), place(&other));
    let names = (names.0.as_str(), names.1.as_str());
    let last = last.max(until.filter(|_| last.is_some()));
    match format {
        Format::Json => out_exact(&format!("{}\n", diff::json(&found, from, last, names))),
        Format::Text => out(&diff::text(&found, &period(traffic, from, last), names)),
    }
    Ok(())
}

/// Returns the name of the rules: their file.
pub(super) fn place(config: &Config) -> String {
    config.path.as_ref().map_or_else(
        || "the built-in rules".to_owned(),
        |path| path.display().to_string(),
    )
}

/// Returns the replayed period: `last 7 days`, or start and end.
pub(super) fn period(
    traffic: &Traffic,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
) -> String {
    if let Some(Ok(since)) = traffic.since.as_deref().map(crate::model::parse_duration) {
        return diff::last(since);
    }
    match from.zip(until) {
        Some((from, until)) => format!(
            "{} to {} UTC",
            diff::day_and_time(from),
            diff::day_and_time(until)
        ),
        None => "no traffic".to_owned(),
    }
}

struct Printer<W> {
    format: Format,
    out: W,
    posts: u64,
    messages: u64,
}

impl<W: Write> Printer<W> {
    fn feed(&mut self, replay: &mut Replay<'_>, heard: &TrafficEntry) {
        self.posts += u64::from(matches!(heard, TrafficEntry::Post(_)));
        let messages = replay.hear(heard);
        self.print(&messages);
    }

    fn print(&mut self, messages: &[Message]) {
        for message in messages {
            self.messages += message.about.to.len() as u64;
            // A reader that went away (`| head`) is no error.
            let _ = match self.format {
                Format::Json => json_lines(message)
                    .iter()
                    .try_for_each(|line| writeln!(self.out, "{line}")),
                Format::Text => self.print_text(message),
            };
        }
    }

    fn print_text(&mut self, message: &Message) -> std::io::Result<()> {
        let about = &message.about;
        let to: Vec<&str> = about.to.iter().map(crate::model::Name::as_str).collect();
        writeln!(
            self.out,
            "{}  {} -> {} ({}, {})",
            about.at,
            about.rule,
            to.join(", "),
            about.reason,
            about.severity
        )?;
        writeln!(self.out, "    {}", markup::plain(&message.title))?;
        for line in markup::plain(&message.text)
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            writeln!(self.out, "    {line}")?;
        }
        Ok(())
    }

    fn summary(&mut self, replay: &Replay<'_>) {
        let fates = replay.fates();
        if self.format == Format::Text {
            let _ = writeln!(
                self.out,
                "{}, {} -> {}. Of the events: {} told, {} unmatched, {} duplicate, {} suppressed, {} pending.",
                plural(self.posts, "post"),
                plural(fates.total, "event"),
                plural(self.messages, "message"),
                fates.told,
                fates.unmatched,
                fates.duplicate,
                fates.suppressed.values().sum::<u64>(),
                fates.pending,
            );
        }
        let _ = self.out.flush();
    }
}
