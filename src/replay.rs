//! What these rules would have sent: a fold over a file or the stored journal, in virtual time.
//! Sends nothing.

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
use crate::source::{self, Arrival, Parsed};

/// One POST of the traffic.
#[derive(Clone, Debug)]
pub struct Post {
    /// When it was received, wall time; `None`: at its newest event.
    pub received_at: Option<Timestamp>,
    /// The source that received it.
    pub source: Name,
    /// The kind of that source.
    pub kind: SourceKind,
    /// The raw body.
    pub body: bytes::Bytes,
}

/// What is replayed: a POST, or what a person did meanwhile.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A POST.
    Post(Post),
    /// A silence, made or ended.
    Said {
        /// Wall time.
        at: Timestamp,
        /// [`Record::Silence`] or [`Record::Expire`].
        record: Record,
    },
}

/// Why a traffic file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read line {line}: {why}")]
    Read {
        /// 1 is the first.
        line: usize,
        /// What the system said.
        why: std::io::Error,
    },
    /// A line is not a POST.
    #[error("line {line} is not a POST: {why}")]
    NotAPost {
        /// 1 is the first.
        line: usize,
        /// What is wrong, and what a line looks like.
        why: String,
    },
}

#[derive(Deserialize)]
struct Line<'a> {
    received_at: Option<String>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    source: Option<String>,
    kind: Option<String>,
}

/// Reads a traffic file: one POST a line, `{"received_at": …, "body": …}` or a bare body. Empty
/// lines are skipped. Each comes with the number of its line.
pub fn read_posts(reader: impl BufRead) -> impl Iterator<Item = Result<(usize, Post), Error>> {
    reader.lines().enumerate().filter_map(|(index, line)| {
        let number = index + 1;
        match line {
            Err(why) => Some(Err(Error::Read { line: number, why })),
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some(match read_post(&text) {
                Ok(post) => Ok((number, post)),
                Err(why) => Err(Error::NotAPost { line: number, why }),
            }),
        }
    })
}

/// What is wrong; its line is always the first.
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
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(not_json)?;
        return Ok(bare());
    }
    let line: Line<'_> = serde_json::from_str(text).map_err(not_json)?;
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
    /// What the source is to read.
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

    /// Why nothing is to be judged in it, where that is so.
    #[must_use]
    pub fn empty(&self) -> Option<&'static str> {
        let parsed = if source::is_readable(self.kind, &self.body) {
            Vec::new()
        } else {
            source::parse(&self.arrival(Seq(1), Timestamp::MAX))
        };
        parsed.iter().find_map(|parsed| match parsed {
            Parsed::Malformed { why, .. } => Some(*why),
            Parsed::Event(_) => None,
        })
    }

    /// The time of its newest event that has one.
    #[must_use]
    pub fn newest_event(&self) -> Option<Timestamp> {
        let parsed = source::parse(&self.arrival(Seq(1), Timestamp::MAX));
        let times = parsed.iter().filter_map(|parsed| match parsed {
            Parsed::Event(event) if event.own_time => Some(event.time),
            _ => None,
        });
        times.filter(|time| *time < Timestamp::MAX).max()
    }
}

/// Journal entries as what was heard: posts with the wall time they were received at, and the
/// silences people made meanwhile. Those that were in force at the beginning come first.
#[derive(Debug)]
pub struct Stored {
    from: Option<Timestamp>,
    offset_ms: i64,
    in_force: Vec<Silence>,
}

impl Stored {
    /// From this wall time on; `None`: all of it.
    #[must_use]
    pub fn since(from: Option<Timestamp>) -> Self {
        Self {
            from,
            offset_ms: 0,
            in_force: Vec::new(),
        }
    }

    /// Takes the next entry; they come in order, from the first.
    pub fn take(&mut self, entry: Journaled, mut each: impl FnMut(Heard)) {
        let at: Timestamp = entry.at.shifted(self.offset_ms);
        let early = self.from.is_some_and(|from| at < from);
        if !early && !self.in_force.is_empty() {
            let lasts = |silence: &Silence| !matches!(silence.until, Until::At(end) if end <= at);
            let in_force = self.in_force.drain(..).filter(lasts);
            in_force.for_each(|silence| {
                each(Heard::Said {
                    at,
                    record: Record::Silence(silence),
                })
            });
        }
        match entry.record {
            Record::Clock { offset_ms } => self.offset_ms = offset_ms,
            Record::Received {
                source, kind, body, ..
            } if !early => each(Heard::Post(Post {
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
                each(Heard::Said { at, record })
            }
            Record::Received { .. } | Record::Tick | Record::Rules(_) => {}
        }
    }
}

/// One line of a traffic file.
#[must_use]
pub fn write_post(received_at: Timestamp, post: &Post) -> Option<String> {
    let body: Box<RawValue> = serde_json::from_slice(&post.body).ok()?;
    // A newline inside the body's own white space would end the line.
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

/// Rules judging traffic in virtual time: POSTs in, decisions out.
pub struct Refold {
    fold: Fold,
    seq: Seq,
    at: Option<Timestamp>,
}

impl Refold {
    /// Begins with an empty state.
    #[must_use]
    pub fn new(rules: Arc<RuleSet>) -> Self {
        const NEVER: Compile = |_| None; // traffic is judged by the rules given, not by those journaled
        Self {
            fold: Fold::new(rules, NEVER),
            seq: Seq::default(),
            at: None,
        }
    }

    /// Folds what was heard next.
    pub fn hear(&mut self, heard: &Heard) -> Vec<Decision> {
        match heard {
            Heard::Post(post) => self.post(post),
            Heard::Said { at, record } => self.apply(*at, record.clone()),
        }
    }

    /// As [`Refold::hear`], one thing at a time; gives up when more than so many decisions come of
    /// the time before it.
    pub fn hear_within(&mut self, heard: &Heard, most: usize) -> Option<Vec<Decision>> {
        let at = match heard {
            Heard::Post(post) => post.received_at,
            Heard::Said { at, .. } => Some(*at),
        };
        let mut made = Vec::new();
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

    /// Lets time run on: to `until`, or until nothing is pending or waiting.
    pub fn finish(&mut self, until: Option<Timestamp>) -> Vec<Decision> {
        match until {
            Some(until) => self.fold.tick(until),
            None => self.fold.wind_down(),
        }
    }

    /// As [`Refold::finish`], to be compared with other rules: where time runs no further, what
    /// waits for a digest is told.
    pub fn finish_comparing(&mut self, until: Option<Timestamp>) -> Vec<Decision> {
        let mut made = self.finish(until);
        if until.is_none() {
            made.extend(self.fold.tell_digests());
        }
        made
    }

    /// Where every event ended.
    #[must_use]
    pub fn fates(&self) -> &EventFates {
        self.fold.fates()
    }

    /// When the last was heard.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }

    /// A bare body is received at its newest event; one without any time, with the last.
    fn newest_event(&self, post: &Post) -> Timestamp {
        post.newest_event().or(self.at).unwrap_or(Timestamp::EPOCH)
    }
}

/// A replay under way: POSTs in, messages out.
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

    /// Folds what was heard next.
    pub fn hear(&mut self, heard: &Heard) -> Vec<Message> {
        messages(self.refold.hear(heard), self.templates)
    }

    /// Folds one POST; time never goes back.
    pub fn post(&mut self, post: &Post) -> Vec<Message> {
        messages(self.refold.post(post), self.templates)
    }

    /// Lets time run on: to `until`, or until nothing is pending or waiting.
    pub fn finish(&mut self, until: Option<Timestamp>) -> Vec<Message> {
        messages(self.refold.finish(until), self.templates)
    }

    /// Where every event ended.
    #[must_use]
    pub fn fates(&self) -> &EventFates {
        self.refold.fates()
    }

    /// When the last was heard.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        self.refold.at()
    }
}

/// `--format json`: one line per destination, as the documentation lists the keys.
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
