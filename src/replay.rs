//! Replay: the messages that rules would have sent for a file or the stored journal, in virtual
//! time. Nothing is sent.

use std::io::BufRead;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::engine::Decision;
use crate::fold::{Compile, Fold, messages};
use crate::model::{
    EventFates, Journaled, Message, Name, Record, Seq, Silence, SourceKind, Subject, Timestamp,
    Until,
};
use crate::render::{Templates, markup};
use crate::rules::RuleSet;
use crate::source::{self, Arrival, ParsedItem};

/// One POST of the traffic.
#[derive(Clone, Debug)]
pub struct Post {
    /// Wall time of its arrival; `None`: the time of its newest event.
    pub received_at: Option<Timestamp>,
    /// The source that received it.
    pub source: Name,
    /// The kind of that source.
    pub kind: SourceKind,
    /// The raw body.
    pub body: bytes::Bytes,
}

/// An entry of the traffic: a POST, or an action of a person.
#[derive(Clone, Debug)]
pub enum TrafficEntry {
    /// A POST.
    Post(Post),
    /// A silence that was made or ended.
    Silence {
        /// Wall time.
        at: Timestamp,
        /// [`Record::Silence`] or [`Record::Expire`].
        record: Record,
    },
}

/// The reason a traffic file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// It cannot be read.
    #[error("cannot read line {line}: {why}")]
    Read {
        /// Number of the line; 1 is the first.
        line: usize,
        /// The error of the system.
        why: std::io::Error,
    },
    /// A line is not a POST.
    #[error("line {line} is not a POST: {why}")]
    NotAPost {
        /// Number of the line; 1 is the first.
        line: usize,
        /// The problem, and an example of a line.
        why: String,
    },
}

#[derive(Deserialize)]
struct TrafficLine<'a> {
    received_at: Option<String>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    source: Option<String>,
    kind: Option<String>,
}

/// Reads a traffic file with one POST per line, `{"received_at": …, "body": …}` or a bare body.
/// Each is returned with the number of its line. Empty lines are skipped.
pub fn read_posts(
    reader: impl BufRead,
) -> impl Iterator<Item = Result<(usize, Post), TrafficError>> {
    reader.lines().enumerate().filter_map(|(index, line)| {
        let number = index + 1;
        match line {
            Err(why) => Some(Err(TrafficError::Read { line: number, why })),
            // Editors often end a file with an empty line.
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some(match read_post(&text) {
                Ok(post) => Ok((number, post)),
                Err(why) => Err(TrafficError::NotAPost { line: number, why }),
            }),
        }
    })
}

/// Returns the problem without its line, which is always the first.
fn not_json(error: serde_json::Error) -> String {
    let said = error.to_string();
    let what = said
        .split_once(" at line ")
        .map_or(said.as_str(), |(what, _)| what);
    format!("{what} (column {})", error.column())
}

fn read_post(text: &str) -> Result<Post, String> {
    let bare = || Post {
        received_at: None,
        source: source::default_name(),
        kind: SourceKind::default(),
        body: text.trim().to_owned().into(),
    };
    let is_object = text.trim_start().starts_with('{');
    if !is_object {
        // An array or a scalar is no envelope, so it must be a bare body.
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(not_json)?;
        return Ok(bare());
    }
    let line: TrafficLine<'_> = serde_json::from_str(text).map_err(not_json)?;
    // An object without `body` is a bare body, too.
    let Some(body) = line.body else {
        return Ok(bare());
    };
    let received_at = match line.received_at {
        None => None,
        Some(text) => Some(Timestamp::parse_rfc3339(&text).ok_or_else(|| {
            format!("`received_at` is `{text}`, not a time like 2026-01-05T12:00:00Z")
        })?),
    };
    let kind = match line.kind.as_deref() {
        None => SourceKind::default(),
        Some(word) => source::kind(word)
            .ok_or_else(|| format!("`kind` is `{word}`, not {}", source::WORDS.join(", ")))?,
    };
    Ok(Post {
        received_at,
        source: line
            .source
            .map_or_else(source::default_name, |name| Name::new(&name)),
        kind,
        body: body.get().to_owned().into(),
    })
}

impl Post {
    /// Returns the arrival for the source's parser.
    #[must_use]
    pub fn arrival(&self, seq: Seq, received: Timestamp) -> Arrival<'_> {
        Arrival {
            source: &self.source,
            kind: self.kind,
            seq,
            received,
            body: &self.body,
        }
    }

    /// Returns the reason if nothing in it can be judged.
    #[must_use]
    pub fn empty(&self) -> Option<&'static str> {
        let parsed = if source::is_readable(self.kind, &self.body) {
            Vec::new()
        } else {
            source::parse(&self.arrival(Seq(1), Timestamp::MAX))
        };
        parsed.iter().find_map(|parsed| match parsed {
            ParsedItem::Malformed { why, .. } => Some(*why),
            ParsedItem::Event(_) => None,
        })
    }

    /// Returns the time of its newest event that has one.
    #[must_use]
    pub fn newest_event(&self) -> Option<Timestamp> {
        let parsed = source::parse(&self.arrival(Seq(1), Timestamp::MAX));
        let times = parsed.iter().filter_map(|parsed| match parsed {
            ParsedItem::Event(event) if event.own_time => Some(event.time),
            _ => None,
        });
        times.filter(|time| *time < Timestamp::MAX).max()
    }
}

/// Converts journal entries to traffic: posts with the wall time of their arrival, and silences.
/// Silences in force at the beginning come first.
#[derive(Debug)]
pub struct Stored {
    from: Option<Timestamp>,
    offset_ms: i64,
    in_force: Vec<Silence>,
}

impl Stored {
    /// Takes entries from this wall time on; `None`: all.
    #[must_use]
    pub fn since(from: Option<Timestamp>) -> Self {
        Self {
            from,
            offset_ms: 0,
            in_force: Vec::new(),
        }
    }

    /// Takes the next entry; entries come in order from the first.
    pub fn take(&mut self, entry: Journaled, mut each: impl FnMut(TrafficEntry)) {
        let at: Timestamp = entry.at.shifted(self.offset_ms);
        let early = self.from.is_some_and(|from| at < from);
        // Silences made before the period still suppress within it, so they are repeated at its
        // beginning.
        if !early && !self.in_force.is_empty() {
            let lasts = |silence: &Silence| !matches!(silence.until, Until::At(end) if end <= at);
            let in_force = self.in_force.drain(..).filter(lasts);
            in_force.for_each(|silence| {
                each(TrafficEntry::Silence {
                    at,
                    record: Record::Silence(silence),
                })
            });
        }
        match entry.record {
            Record::Clock { offset_ms } => self.offset_ms = offset_ms,
            Record::Received {
                source, kind, body, ..
            } if !early => each(TrafficEntry::Post(Post {
                received_at: Some(at),
                source,
                kind,
                body,
            })),
            Record::Silence(silence) if early => {
                self.in_force.retain(|known| known.id != silence.id);
                self.in_force.push(silence);
            }
            Record::Expire { id, .. } if early => self.in_force.retain(|silence| silence.id != id),
            record @ (Record::Silence(_) | Record::Expire { .. }) => {
                each(TrafficEntry::Silence { at, record })
            }
            Record::Received { .. } | Record::Tick | Record::Rules(_) => {}
        }
    }
}

/// Returns the line of a traffic file for a POST.
#[must_use]
pub fn write_post(received_at: Timestamp, post: &Post) -> Option<String> {
    let body: Box<RawValue> = serde_json::from_slice(&post.body).ok()?;
    // A newline in the white space of the body would end the line.
    let body = body.get().replace(['\n', '\r'], " ");
    let received_at = Value::String(received_at.rfc3339());
    let mut source = String::new();
    if post.source != source::default_name() {
        source = format!(", \"source\": {}", json!(post.source.as_str()));
    }
    if post.kind != SourceKind::default() {
        source.push_str(&format!(", \"kind\": {}", json!(source::word(post.kind)?)));
    }
    Some(format!(
        "{{\"received_at\": {received_at}{source}, \"body\": {body}}}"
    ))
}

/// Judges traffic in virtual time: POSTs in, decisions out.
pub struct Refold {
    fold: Fold,
    seq: Seq,
    at: Option<Timestamp>,
}

impl Refold {
    /// Begins with an empty state.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>) -> Self {
        // The traffic is judged by the given rules, not by those in the journal.
        const NEVER: Compile = |_| None;
        Self {
            fold: Fold::new(rules, NEVER),
            seq: Seq::default(),
            at: None,
        }
    }

    /// Folds the next entry of the traffic.
    pub fn hear(&mut self, heard: &TrafficEntry) -> Vec<Decision> {
        match heard {
            TrafficEntry::Post(post) => self.post(post),
            TrafficEntry::Silence { at, record } => self.apply(*at, record.clone()),
        }
    }

    /// Folds like [`Refold::hear`], timer by timer. Returns `None` if the time before the entry
    /// leads to more than `most` decisions.
    pub fn hear_within(&mut self, heard: &TrafficEntry, most: usize) -> Option<Vec<Decision>> {
        let at = match heard {
            TrafficEntry::Post(post) => post.received_at,
            TrafficEntry::Silence { at, .. } => Some(*at),
        };
        let mut made = Vec::new();
        // The check is between timers: a single step may make very many decisions.
        while let Some(due) = at.and_then(|at| self.fold.next_wakeup().filter(|due| *due <= at)) {
            made.extend(self.fold.tick(due));
            if made.len() > most {
                return None;
            }
        }
        made.extend(self.hear(heard));
        Some(made)
    }

    /// Folds one POST; time never goes back.
    pub fn post(&mut self, post: &Post) -> Vec<Decision> {
        let received = post.received_at.unwrap_or_else(|| self.newest_event(post));
        self.apply(
            received,
            Record::Received {
                source: post.source.clone(),
                kind: post.kind,
                cursor: None,
                body: post.body.clone(),
            },
        )
    }

    fn apply(&mut self, at: Timestamp, record: Record) -> Vec<Decision> {
        self.seq.0 += 1;
        // A file may be out of order; the engine's time is not.
        let at = self.at.map_or(at, |last| last.max(at));
        self.at = Some(at);
        self.fold
            .apply(&Journaled {
                seq: self.seq,
                at,
                record,
            })
            .decisions
    }

    /// Advances time to `until`, or until nothing is pending or suppressed.
    pub fn finish(&mut self, until: Option<Timestamp>) -> Vec<Decision> {
        match until {
            Some(until) => self.fold.tick(until),
            None => self.fold.wind_down(),
        }
    }

    /// Finishes like [`Refold::finish`], for a comparison of rules. Without `until` the digests are
    /// sent, too.
    pub fn finish_comparing(&mut self, until: Option<Timestamp>) -> Vec<Decision> {
        let mut made = self.finish(until);
        if until.is_none() {
            made.extend(self.fold.tell_digests());
        }
        made
    }

    /// Returns how many events ended in each outcome.
    #[must_use]
    pub fn fates(&self) -> &EventFates {
        self.fold.fates()
    }

    /// Returns the time of the last entry.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// Returns the time of arrival of a bare body: that of its newest event, or of the entry
    /// before.
    fn newest_event(&self, post: &Post) -> Timestamp {
        post.newest_event().or(self.at).unwrap_or(Timestamp::EPOCH)
    }
}

/// A replay: POSTs in, messages out.
pub struct Replay<'t> {
    refold: Refold,
    templates: &'t Templates,
}

impl<'t> Replay<'t> {
    /// Begins with an empty state.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>, templates: &'t Templates) -> Self {
        Self {
            refold: Refold::new(rules),
            templates,
        }
    }

    /// Folds the next entry of the traffic.
    pub fn hear(&mut self, heard: &TrafficEntry) -> Vec<Message> {
        messages(self.refold.hear(heard), self.templates)
    }

    /// Folds one POST; time never goes back.
    pub fn post(&mut self, post: &Post) -> Vec<Message> {
        messages(self.refold.post(post), self.templates)
    }

    /// Advances time to `until`, or until nothing is pending or suppressed.
    pub fn finish(&mut self, until: Option<Timestamp>) -> Vec<Message> {
        messages(self.refold.finish(until), self.templates)
    }

    /// Returns how many events ended in each outcome.
    #[must_use]
    pub fn fates(&self) -> &EventFates {
        self.refold.fates()
    }

    /// Returns the time of the last entry.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        self.refold.at()
    }
}

/// Returns the lines of `--format json`: one per destination, with the documented keys.
#[must_use]
pub fn json_lines(message: &Message) -> Vec<Value> {
    let about = &message.about;
    let line = |destination: &Name| {
        json!({
            "at": about.at.rfc3339(),
            "destination": destination.as_str(),
            "rule": about.rule,
            "reason": about.reason.word(),
            "incident": about.incident,
            "severity": about.severity.word(),
            "title": markup::plain(&message.title),
            "text": markup::plain(&message.text),
            "subjects": about.subjects.iter().map(subject).collect::<Vec<_>>(),
        })
    };
    about.to.iter().map(line).collect()
}

fn subject(subject: &Subject) -> Value {
    json!({
        "site_id": subject.site_id,
        "site": subject.site,
        "device_mac": subject.device_mac,
        "device": subject.device,
        "starts_at": subject.starts_at.map(Timestamp::rfc3339),
        "ends_at": subject.ends_at.map(Timestamp::rfc3339),
        "events": subject.events,
    })
}
