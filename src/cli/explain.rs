//! `explain`: the decisions about an event, a device or a message, and their reasons. It folds the
//! stored journal again with the rules in force at that time, beside a running `serve`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Failure, Format, duration, out, out_exact, replay};
use crate::app::backend::JournalReader;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::explain::{self, Chapter, Question, Story, moment};
use crate::model::{EventId, Message, Seq, Timestamp, plural};
use crate::render::{markup, one_line};
use crate::store::{DeliveryState, Sent};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["what", "device"])))]
pub(super) struct ExplainArgs {
    /// Id of an event, such as `123.1`, or of a message, as shown in the message
    #[arg(value_name = "EVENT or MESSAGE")]
    what: Option<String>,
    /// Everything about this device, by name or MAC
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// With --device: only events of this period, up to now
    #[arg(
        long,
        value_name = "DURATION",
        requires = "device",
        default_value = "1d"
    )]
    since: String,
    /// Output format; json is one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The data folder, instead of `server.data`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn run(config: &Config, args: &ExplainArgs) -> Result<(), Failure> {
    let question = question(args)?;
    let folder = args
        .data
        .clone()
        .unwrap_or_else(|| config.server.data.clone());
    let failed = |e| Failure::unexpected(format!("{}: {e}", folder.display()));
    let reader = JournalReader::open(&folder).map_err(failed)?;
    let templates = config
        .load_templates()
        .map_err(|problems| Failure::config(&problems))?;
    let file = replay::place(config);
    let rules = Arc::clone(&config.rules);
    let mut story = Story::new(
        question.clone(),
        rules,
        config::rules_from_record,
        &templates,
        file.clone(),
    );
    for entry in reader.entries(Seq::default()) {
        story.entry(&entry.map_err(failed)?);
    }
    // A message can be older than the stored journal; then the outbox still has it.
    let sent = match &question {
        Question::Message(id) => reader
            .deliveries(|m| m.about.id.eq_ignore_ascii_case(id))
            .map_err(failed)?,
        Question::Event(_) | Question::Device(..) => Vec::new(),
    };
    let chapters = story.answer(sent.first().map(|sent| &*sent.delivery.message));
    // An unknown id is a mistake of the user, so the error says what is stored.
    if chapters.is_empty() {
        return Err(nothing(&question, &story, &folder.display().to_string()));
    }
    // The fold creates the messages again; the outbox knows whether and when they were sent.
    let told: Vec<&Message> = chapters
        .iter()
        .filter_map(|chapter| chapter.message.as_deref())
        .collect();
    let same = |message: &Message| told.iter().any(|told| is_same(told, message));
    let sent = reader.deliveries(same).map_err(failed)?;
    match args.format {
        Format::Json => out_exact(&format!("{}\n", as_json(&story, &chapters, &sent, &file))),
        Format::Text => out(&as_text(
            &story,
            &chapters,
            &sent,
            &file,
            args.device.is_some(),
        )),
    }
    Ok(())
}

fn question(args: &ExplainArgs) -> Result<Question, Failure> {
    if let Some(device) = &args.device {
        return Ok(Question::Device(
            device.clone(),
            Clock::system().wall() - duration("--since", &args.since)?,
        ));
    }
    let what = args.what.clone().unwrap_or_default();
    match EventId::parse(&what) {
        Some(id) => Ok(Question::Event(id)),
        None if !what.is_empty() && what.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Ok(Question::Message(what))
        }
        _ => Err(Failure::usage(format!(
            "`{what}` is neither an event id, as in 123.1, nor a message id, as in k3x9q2; for a device: --device {what}"
        ))),
    }
}

fn nothing(question: &Question, story: &Story<'_>, folder: &str) -> Failure {
    let kept = match story.positions() {
        Some((first, last)) => format!("{folder} holds positions {first} to {last} of the journal"),
        None => format!("nothing is stored in {folder} yet"),
    };
    match question {
        Question::Event(id) => Failure::usage(format!("there is no event {id}: {kept}")),
        Question::Message(id) if id.bytes().all(|b| b.is_ascii_digit()) => Failure::usage(format!(
            "there is no message {id}: {kept}\nan event id also has its place in the POST, as in {id}.1"
        )),
        Question::Message(id) => Failure::usage(format!("there is no message {id}: {kept}")),
        Question::Device(name, since) => Failure::unexpected(format!(
            "no events about {name} since {}: {kept}",
            moment(*since)
        )),
    }
}

/// Compares a message of the repeated fold with one of the outbox. Ids are ignored: they differ if
/// the beginning of the journal was removed.
fn is_same(told: &Message, sent: &Message) -> bool {
    let (a, b) = (&told.about, &sent.about);
    a.at == b.at
        && a.rule == b.rule
        && a.reason == b.reason
        && a.to == b.to
        && a.subjects == b.subjects
}

/// Formats the explanation as text. For a device, duplicates are only counted.
fn as_text(
    story: &Story<'_>,
    chapters: &[&Chapter],
    sent: &[Sent],
    file: &str,
    device: bool,
) -> String {
    let mut text = String::from("Times are UTC.\n");
    let repeats = |chapter: &&&Chapter| chapter.line.verdict == "duplicate";
    let left_out = if device {
        chapters.iter().filter(repeats).count()
    } else {
        0
    };
    let mut lines = Vec::new();
    // A message is printed right below the decision that sent it.
    let flush = |lines: &mut Vec<explain::DecisionLine>, text: &mut String| {
        for line in explain::print(lines, file, &|event| story.describe(event), &moment) {
            text.push_str(&line);
            text.push('\n');
        }
        lines.clear();
    };
    for chapter in chapters
        .iter()
        .filter(|chapter| left_out == 0 || !repeats(chapter))
    {
        lines.push(chapter.line.clone());
        let Some(message) = &chapter.message else {
            continue;
        };
        flush(&mut lines, &mut text);
        // Writing to a String cannot fail.
        let id = if message.about.id.is_empty() {
            String::new()
        } else {
            format!("message {}: ", message.about.id)
        };
        let _ = writeln!(text, "    {id}{}", one_line(&markup::plain(&message.title)));
        for line in markup::plain(&message.text)
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            let _ = writeln!(text, "      {line}");
        }
        for sent in sent
            .iter()
            .filter(|sent| is_same(message, &sent.delivery.message))
        {
            let _ = writeln!(text, "      {}: {}", sent.delivery.to, state(sent));
        }
    }
    flush(&mut lines, &mut text);
    if left_out > 0 {
        let repeats = plural(left_out as u64, "repeat");
        let _ = writeln!(
            text,
            "{repeats} of these events omitted; `--format json` lists them"
        );
    }
    text
}

fn state(sent: &Sent) -> String {
    let at = sent
        .at
        .map(|at| format!(" {}", moment(at)))
        .unwrap_or_default();
    let tries = sent.delivery.attempts;
    let tries = if tries > 1 {
        format!(" after {tries} tries")
    } else {
        String::new()
    };
    let why = sent
        .why
        .as_ref()
        .map(|why| format!(": {}", one_line(why)))
        .unwrap_or_default();
    match sent.state {
        DeliveryState::Queued => format!("queued{tries}{why}"),
        DeliveryState::Delivered => format!("delivered{at}{tries}"),
        DeliveryState::Digested => format!("sent in a summary{at}"),
        DeliveryState::Dead => format!("given up{at}{tries}{why}"),
        DeliveryState::Discarded => format!("given up and discarded{at}{tries}{why}"),
    }
}

fn as_json(story: &Story<'_>, chapters: &[&Chapter], sent: &[Sent], file: &str) -> Value {
    let delivery = |sent: &Sent| {
        json!({
            "destination": sent.delivery.to.as_str(),
            "fate": sent.state.word(),
            "at": sent.at.map(Timestamp::rfc3339),
            "attempts": sent.delivery.attempts,
            "why": sent.why,
        })
    };
    let one = |chapter: &&Chapter| {
        let line = &chapter.line;
        let mut value = json!({
            "at": line.at.rfc3339(),
            "event": line.event,
            "about": line.event.map(|event| story.describe(event)),
            "rule": line.rule,
            "file": line.line.map(|_| file),
            "line": line.line,
            "alerts": line.alerts,
            "verdict": line.verdict,
            "text": line.text,
        });
        if let (Some(message), Some(map)) = (&chapter.message, value.as_object_mut()) {
            // One message can have several deliveries, one for each destination.
            let same = sent
                .iter()
                .filter(|sent| is_same(message, &sent.delivery.message));
            let told = json!({
                "id": message.about.id,
                "reason": message.about.reason.word(),
                "incident": message.about.incident,
                "title": markup::plain(&message.title),
                "text": markup::plain(&message.text),
                "deliveries": same.map(delivery).collect::<Vec<_>>(),
            });
            map.insert("message".to_owned(), told);
        }
        value
    };
    json!({"decisions": chapters.iter().map(one).collect::<Vec<_>>()})
}
