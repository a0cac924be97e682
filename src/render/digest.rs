//! Many messages as few: by rule and site, what is critical and ongoing first, every device named.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::Value;

use super::{context, kinds, markup, subject_key};
use crate::model::{DigestOf, Gap, Message, Notification, Reason, Severity, Subject, Timestamp};

/// What a digest's text may cost: Slack counts characters, both chats count bytes; what each adds
/// is estimated.
const MAX_CHARS: usize = 5_200;
const MAX_BYTES: usize = 10_500;
/// From how many on, a list is names only.
const LONG: usize = 12;

pub(super) fn fold(waiting: &[Message], gap: Option<&Gap>) -> Vec<Message> {
    let Some(first) = waiting.first() else {
        return Vec::new();
    };
    let told: Vec<DigestOf> = waiting.iter().flat_map(unfold).collect();
    let incidents = incidents(&told);
    let groups = by_weight(incidents);
    let pages = pages(&groups);
    let count = pages.len();
    let mut rules: Vec<&str> = Vec::new();
    for ((_, rule, _), _) in &groups {
        if !rules.contains(&rule.as_str()) {
            rules.push(rule);
        }
    }
    let heading = heading(&groups, gap, told.len());
    let severity = told
        .iter()
        .map(|t| t.severity)
        .max()
        .unwrap_or(Severity::Info);
    let id = digest_id(&told);
    let parts = parts(&told, &pages);
    pages
        .into_iter()
        .zip(parts)
        .enumerate()
        .map(|(i, (page, folded))| {
            let part = if count > 1 {
                format!(" ({} of {count})", i + 1)
            } else {
                String::new()
            };
            Message {
                title: format!("{heading}{part}"),
                text: page.text,
                facts: vec![
                    (
                        "Rules".to_owned(),
                        markup::escape(&markup::cut(&rules.join(", "), 300)),
                    ),
                    ("From".to_owned(), time(told.iter().map(|t| t.at).min())),
                    ("To".to_owned(), time(told.iter().map(|t| t.at).max())),
                ],
                links: Vec::new(),
                about: about(first, &told, severity, (&id, i), &folded),
                folded,
            }
        })
        .collect()
}

/// Severity, rule and site of a group.
type GroupKey = (Reverse<Severity>, String, String);

/// All of one severity, rule and site, the most urgent first; what is ongoing before what is over.
fn by_weight(incidents: Vec<Incident>) -> Vec<(GroupKey, Group)> {
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    for incident in incidents {
        for subject in incident.subjects {
            let severity = Reverse(incident.severity);
            let key = (severity, incident.rule.clone(), subject.site.clone());
            groups.entry(key).or_default().add(subject, &incident.id);
        }
    }
    let mut groups: Vec<(GroupKey, Group)> = groups.into_iter().collect();
    groups.sort_by_key(|((severity, ..), group)| (*severity, group.ongoing() == 0));
    groups
}

/// `Slack took nothing from 13:15 to 13:16; 9 ongoing, 3 over: Switch unreachable at Home and 2
/// more`.
fn heading(groups: &[(GroupKey, Group)], gap: Option<&Gap>, messages: usize) -> String {
    let why = match gap {
        Some(Gap { chat, from, to }) => {
            let token = if to.since(*from) < Duration::from_hours(24) {
                "clock"
            } else {
                "time"
            };
            let chat = markup::escape(chat);
            format!(
                "{chat} took nothing from <{token}:{}> to <{token}:{}>",
                from.seconds(),
                to.seconds()
            )
        }
        None => format!("{} at once", counted(messages as u64, "message")),
    };
    let counts = counts(groups.iter().map(|(_, group)| group));
    let mut first = String::new();
    if let Some(((_, rule, site), _)) = groups.first() {
        first = format!(": {}", markup::escape(&markup::cut(rule, 60)));
        if !site.is_empty() {
            first += &format!(" at {}", markup::embed(site));
        }
    }
    let more = match groups.len() {
        0 | 1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    format!("{why}; {counts}{first}{more}")
}

/// Notifications of each page, with only the subjects that the page names, so that pages can be
/// folded apart.
fn parts(told: &[DigestOf], pages: &[Page]) -> Vec<Vec<DigestOf>> {
    let mut places: HashMap<(&str, &str, &str), Vec<usize>> = HashMap::new();
    for (n, page) in pages.iter().enumerate() {
        for (rule, incident, key) in &page.named {
            places.entry((rule, incident, key)).or_default().push(n);
        }
    }
    let mut parts = vec![Vec::new(); pages.len()];
    for one in told {
        for (page, part) in split(one, &places) {
            if let Some(parts) = parts.get_mut(page) {
                parts.push(part);
            }
        }
    }
    parts
}

/// Parts of one notification, by the page that names them.
fn split(
    one: &DigestOf,
    places: &HashMap<(&str, &str, &str), Vec<usize>>,
) -> BTreeMap<usize, DigestOf> {
    let pages = |key: &str| {
        let found = places.get(&(one.rule.as_str(), one.incident.as_str(), key));
        found.cloned().unwrap_or_default()
    };
    let without_subjects = || DigestOf {
        at: one.at,
        rule: one.rule.clone(),
        reason: one.reason,
        incident: one.incident.clone(),
        severity: one.severity,
        condition: one.condition.clone(),
        more: 0,
        more_since: one.more_since,
        title: one.title.clone(),
        subjects: Vec::new(),
        behind: Vec::new(),
    };
    let mut parts: BTreeMap<usize, DigestOf> = BTreeMap::new();
    for subject in &one.subjects {
        for page in pages(&entry_key(subject)) {
            let part = parts.entry(page).or_insert_with(without_subjects);
            part.subjects.push(subject.clone());
        }
    }
    for subject in &one.behind {
        for page in pages(&entry_key(subject)) {
            let part = parts.entry(page).or_insert_with(without_subjects);
            part.behind.push(subject.clone());
        }
    }
    if one.more > 0 {
        for page in pages(MORE) {
            parts.entry(page).or_insert_with(without_subjects).more = one.more;
        }
    } else if one.subjects.is_empty() {
        for page in pages("") {
            parts.entry(page).or_insert_with(without_subjects);
        }
    }
    parts
}

/// The key of what a notification counted beyond its subjects.
const MORE: &str = "more";

fn unfold(message: &Message) -> Vec<DigestOf> {
    if !message.folded.is_empty() {
        return message.folded.clone();
    }
    vec![of(&message.about, message.title.clone())]
}

/// What a digest keeps of a notification.
pub(super) fn of(about: &Notification, title: String) -> DigestOf {
    DigestOf {
        at: about.at,
        rule: about.rule.clone(),
        reason: about.reason,
        incident: about.incident.clone(),
        severity: about.severity,
        condition: about.condition.clone(),
        more: about.more,
        more_since: about.more_since,
        title,
        subjects: about.subjects.clone(),
        behind: context::behind(about).0,
    }
}

/// One conversation: everything told of it in this digest.
pub(super) struct Incident {
    pub(super) id: String,
    pub(super) rule: String,
    pub(super) severity: Severity,
    pub(super) subjects: Vec<Entry>,
}

/// What became of one subject.
#[derive(Clone)]
pub(super) struct Entry {
    key: String,
    name: String,
    pub(super) site: String,
    began: Option<Timestamp>,
    /// Whether its beginning is told here too.
    pub(super) began_here: bool,
    ended: Option<Timestamp>,
    /// Whether another device here explains why it cannot be reached.
    behind: bool,
    /// `down` for what can be down.
    down: bool,
    /// Whether it can end at all.
    lasts: bool,
    /// How often it changed, where it flapped.
    changes: u64,
    /// Events that came silently since what was told last.
    more_since: u64,
    /// What happened to it: its kind, and that in words.
    of: Option<String>,
}

/// How an entry is written.
#[derive(Clone, Copy)]
pub(super) struct How {
    /// The name only.
    pub(super) short: bool,
    /// Times before this are shown with their date.
    pub(super) dated_before: Timestamp,
    /// With its site.
    pub(super) site: bool,
    /// With what happened to it, since that is not the same of all.
    pub(super) kinds: bool,
}

/// Told in order, so that the last word on each subject counts.
pub(super) fn incidents(told: &[DigestOf]) -> Vec<Incident> {
    let mut order: HashMap<(&str, &str), usize> = HashMap::new();
    let mut all: Vec<(Incident, HashMap<String, usize>)> = Vec::new();
    for one in told {
        let place = *order
            .entry((one.rule.as_str(), one.incident.as_str()))
            .or_insert_with(|| {
                let incident = Incident {
                    id: one.incident.clone(),
                    rule: one.rule.clone(),
                    severity: one.severity,
                    subjects: Vec::new(),
                };
                all.push((incident, HashMap::new()));
                all.len() - 1
            });
        let Some((incident, keys)) = all.get_mut(place) else {
            continue;
        };
        incident.severity = incident.severity.max(one.severity);
        if one.subjects.is_empty() && one.more == 0 {
            incident.subjects.push(titled(one));
        }
        if one.more > 0 {
            let counted = Entry {
                name: format!("{} more", number(one.more)),
                key: MORE.to_owned(),
                ..beside(one)
            };
            match keys.get(MORE).and_then(|i| incident.subjects.get_mut(*i)) {
                Some(known) => *known = counted,
                None => {
                    keys.insert(MORE.to_owned(), incident.subjects.len());
                    incident.subjects.push(counted);
                }
            }
        }
        let own = one.subjects.iter().map(|subject| (subject, false));
        let behind = one.behind.iter().map(|subject| (subject, true));
        for (n, (subject, behind)) in own.chain(behind).enumerate() {
            // counted for all of them together
            let more_since = if n == 0 { one.more_since } else { 0 };
            let mut entry = entry(one, subject);
            (entry.more_since, entry.behind) = (more_since, behind);
            let key = entry.key.clone();
            match keys.get(&key).and_then(|i| incident.subjects.get_mut(*i)) {
                Some(known) => known.follow(entry),
                None => {
                    keys.insert(key, incident.subjects.len());
                    incident.subjects.push(entry);
                }
            }
        }
    }
    all.into_iter().map(|(incident, _)| incident).collect()
}

fn entry(told: &DigestOf, subject: &Subject) -> Entry {
    let condition = told.condition.as_deref().unwrap_or_default();
    let site = subject
        .site
        .clone()
        .or_else(|| subject.site_id.clone())
        .unwrap_or_default();
    let name = markup::cut(&markup::clean(&context::subject_name(subject)), 80);
    Entry {
        key: entry_key(subject),
        of: subject.of.as_deref().map(kinds::type_words),
        more_since: 0,
        name: if name.is_empty() {
            titled(told).name
        } else {
            name
        },
        site: markup::cut(&markup::clean(&site), 80),
        began: subject.starts_at,
        began_here: subject.ends_at.is_none(),
        ended: subject.ends_at,
        behind: false,
        down: condition.ends_with("_offline")
            || condition.ends_with("_port")
            || told.title.contains("offline"),
        lasts: told.condition.is_some()
            || subject.ends_at.is_some()
            || told.reason == Reason::Absent,
        changes: subject.changes,
    }
}

/// What tells one entry of an incident from another: the thing, and what happened to it.
fn entry_key(subject: &Subject) -> String {
    let of = subject
        .of
        .as_deref()
        .map(kinds::kind_key)
        .unwrap_or_default();
    format!("{}\n{of}", subject_key(subject))
}

/// What a notification counted without naming: as its first subject.
fn beside(told: &DigestOf) -> Entry {
    told.subjects
        .first()
        .map_or_else(|| titled(told), |subject| entry(told, subject))
}

/// A notification without subjects: its title stands for it.
fn titled(told: &DigestOf) -> Entry {
    let title = markup::plain(&told.title);
    // the rule stands above it
    let said = title
        .strip_prefix(&told.rule)
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(&title);
    Entry {
        key: String::new(),
        name: markup::cut(said, 120),
        site: String::new(),
        began: Some(told.at),
        began_here: true,
        ended: None,
        behind: false,
        down: false,
        lasts: told.reason == Reason::Absent,
        changes: 0,
        more_since: told.more_since,
        of: None,
    }
}

impl Entry {
    fn follow(&mut self, later: Self) {
        let began = self.began.min(later.began).or(self.began).or(later.began);
        *self = Self {
            began: if self.ended.is_some() {
                later.began
            } else {
                began
            },
            began_here: self.began_here || later.began_here,
            more_since: self.more_since.saturating_add(later.more_since),
            ..later
        };
    }

    pub(super) fn text(&self, how: How) -> String {
        let mut name = markup::embed(&self.name);
        if let Some(of) = self.of.as_ref().filter(|_| how.kinds) {
            name = format!("{name} ({})", markup::embed(of));
        }
        if how.site && !self.site.is_empty() && self.site != self.name {
            name = format!("{name} at {}", markup::embed(&self.site));
        }
        let was = if self.down { "was down" } else { "lasted" };
        let token = |at| {
            if at < how.dated_before {
                "time"
            } else {
                "clock"
            }
        };
        let time = |at: Timestamp| format!("<{}:{}>", token(at), at.seconds());
        let text = match (self.began, self.ended) {
            // its own times are those of what it is behind
            _ if how.short || self.behind => name,
            (Some(from), Some(to)) if self.began_here => {
                format!("{name} {was} {} to {}", time(from), time(to))
            }
            (_, Some(to)) if self.down => format!("{name} is back since {}", time(to)),
            (_, Some(to)) => format!("{name} is over since {}", time(to)),
            (Some(from), None) if self.lasts => format!("{name} since {}", time(from)),
            (Some(at), None) => format!("{name} at {}", time(at)),
            (None, None) => name,
        };
        let changes = (self.changes > 0).then(|| counted(self.changes, "change"));
        let since =
            (self.more_since > 0).then(|| format!("{} more since", number(self.more_since)));
        let beside: Vec<String> = changes.into_iter().chain(since).collect();
        if beside.is_empty() {
            text
        } else {
            format!("{text} ({})", beside.join(", "))
        }
    }
}

/// The subjects of one rule at one site.
#[derive(Default)]
pub(super) struct Group {
    pub(super) lasting: Vec<(String, Entry)>,
    pub(super) seen: Vec<(String, Entry)>,
    pub(super) over: Vec<(String, Entry)>,
    /// Devices behind those that are down; and behind those that are up again.
    behind: [Vec<(String, Entry)>; 2],
}

impl Group {
    /// How many are ongoing, with those behind them.
    pub(super) fn ongoing(&self) -> usize {
        let [down, _] = &self.behind;
        self.lasting.len() + down.len()
    }

    /// What it holds, in the order in which people read it.
    pub(super) fn lists(&self) -> [(&'static str, &[(String, Entry)]); 5] {
        let [down, up] = &self.behind;
        [
            ("Ongoing", &self.lasting),
            ("Behind them", down),
            ("Seen", &self.seen),
            ("Over", &self.over),
            ("Back, behind them", up),
        ]
    }

    /// Whether not the same happened to all of them.
    pub(super) fn is_mixed(&self) -> bool {
        let mut all = [&self.lasting, &self.seen, &self.over]
            .into_iter()
            .flatten()
            .filter_map(|(_, e)| e.of.as_ref());
        let first = all.next();
        all.any(|of| Some(of) != first)
    }

    pub(super) fn add(&mut self, entry: Entry, incident: &str) {
        let [down, up] = &mut self.behind;
        let list = match (entry.ended.is_some(), entry.lasts) {
            (true, _) if entry.behind => up,
            (false, _) if entry.behind => down,
            (true, _) => &mut self.over,
            (false, true) => &mut self.lasting,
            (false, false) => &mut self.seen,
        };
        list.push((incident.to_owned(), entry));
    }
}

/// `12 ongoing, 3 over`.
pub(super) fn counts<'a>(groups: impl IntoIterator<Item = &'a Group>) -> String {
    let mut counts = [("ongoing", 0), ("seen", 0), ("over", 0)];
    for group in groups {
        let [ongoing, seen, over] = &mut counts;
        let [_, up] = &group.behind;
        ongoing.1 += group.ongoing();
        seen.1 += group.seen.len();
        over.1 += group.over.len() + up.len();
    }
    let counts = counts.iter().filter(|(_, n)| *n > 0);
    let words = counts.map(|(word, n)| format!("{} {word}", number(*n as u64)));
    words.collect::<Vec<_>>().join(", ")
}

#[derive(Default)]
struct Page {
    text: String,
    cost: (usize, usize),
    /// Rule, incident and subject of everything named here.
    named: HashSet<(String, String, String)>,
}

impl Page {
    fn fits(&self, more: &str) -> bool {
        let (chars, bytes) = cost(more);
        self.text.is_empty()
            || (self.cost.0 + chars <= MAX_CHARS && self.cost.1 + bytes <= MAX_BYTES)
    }

    fn push(&mut self, more: &str) {
        let (chars, bytes) = cost(more);
        self.cost = (self.cost.0 + chars, self.cost.1 + bytes);
        self.text.push_str(more);
    }
}

/// What text costs once a chat has escaped it: characters and bytes.
pub(super) fn cost(text: &str) -> (usize, usize) {
    let tokens = text.matches("<clock:").count() + text.matches("<time:").count();
    text.chars()
        .fold((tokens * 40, tokens * 40), |(chars, bytes), c| match c {
            '&' => (chars + 5, bytes + 5),
            '<' | '>' => (chars + 5, bytes + 8),
            '_' | '~' | '*' | ':' | '{' => (chars + 3, bytes + 7),
            '"' | '\\' | '`' | '[' | ']' => (chars + 2, bytes + 3),
            c => (chars + c.len_utf16(), bytes + c.len_utf8()),
        })
}

fn pages(groups: &[(GroupKey, Group)]) -> Vec<Page> {
    let mut pages = vec![Page::default()];
    for ((severity, told_rule, site), group) in groups {
        let at = if site.is_empty() {
            String::new()
        } else {
            format!(" at {}", markup::embed(site))
        };
        let rule = markup::embed(&markup::cut(told_rule, 80));
        let counts = counts([group]);
        let head = format!("**{rule}**{at} ({}): {counts}", severity.0);
        let kinds = group.is_mixed();
        let mut opened = false;
        for (label, list) in group.lists() {
            let short = list.len() > LONG;
            let mut line_open = false;
            for (incident, entry) in list {
                let text = entry.text(How {
                    short,
                    dated_before: Timestamp::from_millis(i64::MIN),
                    site: false,
                    kinds,
                });
                let full = match (opened, line_open) {
                    (_, true) => format!(", {text}"),
                    (true, false) => format!("\n{label}: {text}"),
                    (false, false) => format!("{head}\n{label}: {text}"),
                };
                let fits = pages
                    .last()
                    .is_none_or(|page| page.fits(&format!("\n\n{full}")));
                if !fits {
                    pages.push(Page::default());
                }
                let Some(page) = pages.last_mut() else {
                    continue;
                };
                let gap = if page.text.is_empty() || opened {
                    ""
                } else {
                    "\n\n"
                };
                if fits {
                    page.push(&format!("{gap}{full}"));
                } else {
                    let again = if opened { " (continued)" } else { "" };
                    page.push(&format!("{head}{again}\n{label}: {text}"));
                }
                (opened, line_open) = (true, true);
                page.named
                    .insert((told_rule.clone(), incident.clone(), entry.key.clone()));
            }
        }
    }
    pages
}

/// `1 event`, `1,204 events`.
pub(super) fn counted(count: u64, word: &str) -> String {
    if count == 1 {
        format!("1 {word}")
    } else {
        format!("{} {word}s", number(count))
    }
}

/// `1,204`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(super) fn time(at: Option<Timestamp>) -> String {
    at.map(|at| format!("<time:{}>", at.seconds()))
        .unwrap_or_default()
}

/// The same for the same contents, so that a digest made again after a crash is recognised.
fn digest_id(told: &[DigestOf]) -> String {
    let mut hasher = DefaultHasher::new();
    for one in told {
        (one.at, &one.rule, &one.incident, one.reason.word()).hash(&mut hasher);
    }
    format!("digest-{:016x}", hasher.finish())
}

/// What people call one page of a digest: 6 letters and digits, the same for the same contents.
fn short_id(id: &str, page: usize) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut hasher = DefaultHasher::new();
    (id, page).hash(&mut hasher);
    let letter = |byte: u8| {
        ALPHABET
            .get(usize::from(byte) % ALPHABET.len())
            .copied()
            .map_or('0', char::from)
    };
    hasher
        .finish()
        .to_le_bytes()
        .into_iter()
        .take(6)
        .map(letter)
        .collect()
}

fn about(
    first: &Message,
    told: &[DigestOf],
    severity: Severity,
    (id, n): (&str, usize),
    folded: &[DigestOf],
) -> Notification {
    let at = told.iter().map(|t| t.at).max().unwrap_or(first.about.at);
    Notification {
        id: short_id(id, n),
        at,
        to: first.about.to.clone(),
        source: first.about.source.clone(),
        rule: "digest".to_owned(),
        template: None,
        reason: Reason::Digest,
        // one incident for all pages: they arrive in order
        incident: id.to_owned(),
        severity,
        topic: String::new(),
        kind: String::new(),
        condition: None,
        group: Vec::new(),
        subjects: folded.iter().flat_map(|t| t.subjects.clone()).collect(),
        firing: 0,
        more: 0,
        more_since: 0,
        started: told.iter().map(|t| t.at).min().unwrap_or(at),
        duration_ms: None,
        why: None,
        detail: None,
        event: Value::Null,
        insight: Default::default(),
        collected: None,
    }
}
