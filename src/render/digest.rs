//! Summaries: many messages in a few, by rule and site. Critical and ongoing items come first, and
//! every device is named.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use serde_json::Value;

use super::{context, kinds, markup, subject_key};
use crate::model::{DigestOf, Gap, Message, Notification, Reason, Severity, Subject, Timestamp};

/// Maximum length of a summary's text: Slack counts characters, and both chats count bytes. The
/// additions of each chat are estimated.
const MAX_CHARS: usize = 5_200;
const MAX_BYTES: usize = 10_500;
/// Length from which a list has names only.
const LONG: usize = 12;

pub(super) fn fold(waiting: &[Message], gap: Option<&Gap>) -> Vec<Message> {
    let Some(first) = waiting.first() else {
        return Vec::new();
    };
    // A summary may contain summaries: their messages are sorted again with the others.
    let told: Vec<DigestOf> = waiting.iter().flat_map(unfold).collect();
    let incidents = incidents(&told);
    let groups = by_weight(incidents);
    let pages = pages(&groups);
    let count = pages.len();
    // The rules keep the order of the groups, the most urgent first.
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
            // With several pages, each has its number, since a chat shows them apart.
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

/// Groups the subjects by severity, rule and site: most urgent first, and ongoing before ended
/// ones.
fn by_weight(incidents: Vec<SummaryIncident>) -> Vec<(GroupKey, SummaryGroup)> {
    let mut groups: BTreeMap<GroupKey, SummaryGroup> = BTreeMap::new();
    for incident in incidents {
        for subject in incident.subjects {
            let severity = Reverse(incident.severity);
            let key = (severity, incident.rule.clone(), subject.site.clone());
            groups.entry(key).or_default().add(subject, &incident.id);
        }
    }
    let mut groups: Vec<(GroupKey, SummaryGroup)> = groups.into_iter().collect();
    groups.sort_by_key(|((severity, ..), group)| (*severity, group.ongoing() == 0));
    groups
}

/// Returns the title: `Slack took nothing from 13:15 to 13:16; 9 ongoing, 3 over: Switch
/// unreachable at Home and 2 more`.
fn heading(groups: &[(GroupKey, SummaryGroup)], gap: Option<&Gap>, messages: usize) -> String {
    let why = match gap {
        Some(Gap { chat, from, to }) => {
            // Within a day a time of day is enough.
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

/// Returns the notifications of each page, with only the subjects that the page names, so that
/// pages can be included in other summaries.
fn parts(told: &[DigestOf], pages: &[SummaryPage]) -> Vec<Vec<DigestOf>> {
    let mut places: HashMap<(&str, &str, &str), Vec<usize>> = HashMap::new();
    for (n, page) in pages.iter().enumerate() {
        for (rule, incident, key) in &page.named {
            places.entry((rule, incident, key)).or_default().push(n);
        }
    }
    // A page without any notification of its own still needs its place.
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

/// Returns the parts of a notification by the page that names them.
fn split(
    one: &DigestOf,
    places: &HashMap<(&str, &str, &str), Vec<usize>>,
) -> BTreeMap<usize, DigestOf> {
    // A subject may be named on several pages if its list was continued.
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
    // The count belongs to the page that shows it.
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

/// The key of things counted beyond the subjects.
const MORE: &str = "more";

fn unfold(message: &Message) -> Vec<DigestOf> {
    if !message.folded.is_empty() {
        return message.folded.clone();
    }
    vec![of(&message.about, message.title.clone())]
}

/// Returns the part of a notification that a summary keeps.
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
        // The words about other suppressed problems are not kept.
        behind: context::behind(about).0,
    }
}

/// An incident with everything about it in this summary.
pub(super) struct SummaryIncident {
    pub(super) id: String,
    pub(super) rule: String,
    pub(super) severity: Severity,
    pub(super) subjects: Vec<SummaryEntry>,
}

/// A subject with its final state.
#[derive(Clone)]
pub(super) struct SummaryEntry {
    key: String,
    name: String,
    pub(super) site: String,
    began: Option<Timestamp>,
    /// True if its beginning is in this summary, too.
    pub(super) began_here: bool,
    ended: Option<Timestamp>,
    /// True if it is behind another device of this summary.
    behind: bool,
    /// True if the word for it is `down`.
    down: bool,
    /// True if it can end.
    lasts: bool,
    /// Number of changes, if it flapped.
    changes: u64,
    /// Number of events suppressed since the last message.
    more_since: u64,
    /// The kind of event in words.
    of: Option<String>,
}

/// The style of an entry.
#[derive(Clone, Copy)]
pub(super) struct EntryStyle {
    /// True for the name only.
    pub(super) short: bool,
    /// Time before which times have a date.
    pub(super) dated_before: Timestamp,
    /// True to include the site.
    pub(super) site: bool,
    /// True to include the kind of event, if the entries differ in it.
    pub(super) kinds: bool,
}

/// Merges notifications by incident. They are in order, so that the last state of each subject
/// counts.
pub(super) fn incidents(told: &[DigestOf]) -> Vec<SummaryIncident> {
    let mut order: HashMap<(&str, &str), usize> = HashMap::new();
    let mut all: Vec<(SummaryIncident, HashMap<String, usize>)> = Vec::new();
    for one in told {
        let place = *order
            .entry((one.rule.as_str(), one.incident.as_str()))
            .or_insert_with(|| {
                let incident = SummaryIncident {
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
        // The highest severity counts, even if the incident has become less severe.
        incident.severity = incident.severity.max(one.severity);
        // Without subjects the title is all there is.
        if one.subjects.is_empty() && one.more == 0 {
            incident.subjects.push(titled(one));
        }
        if one.more > 0 {
            let counted = SummaryEntry {
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
            // The count is for all subjects together, so the first one has it.
            let more_since = if n == 0 { one.more_since } else { 0 };
            let mut entry = entry(one, subject);
            (entry.more_since, entry.behind) = (more_since, behind);
            let key = entry.key.clone();
            // A later notification about the subject replaces its state.
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

fn entry(told: &DigestOf, subject: &Subject) -> SummaryEntry {
    let condition = told.condition.as_deref().unwrap_or_default();
    let site = subject
        .site
        .clone()
        .or_else(|| subject.site_id.clone())
        .unwrap_or_default();
    let name = markup::cut(&markup::clean(&context::subject_name(subject)), 80);
    SummaryEntry {
        key: entry_key(subject),
        of: subject.of.as_deref().map(kinds::type_words),
        more_since: 0,
        // A subject without any name still needs an entry.
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
        // Older messages have no condition, but their title says that the device is offline.
        down: condition.ends_with("_offline")
            || condition.ends_with("_port")
            || told.title.contains("offline"),
        lasts: told.condition.is_some()
            || subject.ends_at.is_some()
            || told.reason == Reason::Absent,
        changes: subject.changes,
    }
}

/// Returns the key of an entry within its incident: the subject and the kind of event.
fn entry_key(subject: &Subject) -> String {
    let of = subject
        .of
        .as_deref()
        .map(kinds::kind_key)
        .unwrap_or_default();
    format!("{}\n{of}", subject_key(subject))
}

/// Returns the entry for things a notification counted without naming, like its first subject.
fn beside(told: &DigestOf) -> SummaryEntry {
    told.subjects
        .first()
        .map_or_else(|| titled(told), |subject| entry(told, subject))
}

/// Returns the entry of a notification without subjects: its title.
fn titled(told: &DigestOf) -> SummaryEntry {
    let title = markup::plain(&told.title);
    // The rule is named above the entry.
    let said = title
        .strip_prefix(&told.rule)
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(&title);
    SummaryEntry {
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

impl SummaryEntry {
    fn follow(&mut self, later: Self) {
        let began = self.began.min(later.began).or(self.began).or(later.began);
        // After an end, the later notification is about another outage.
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

    pub(super) fn text(&self, how: EntryStyle) -> String {
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
            // Its times are those of the device it is behind.
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

/// The subjects of a rule at a site.
#[derive(Default)]
pub(super) struct SummaryGroup {
    pub(super) lasting: Vec<(String, SummaryEntry)>,
    pub(super) seen: Vec<(String, SummaryEntry)>,
    pub(super) over: Vec<(String, SummaryEntry)>,
    /// Devices behind those that are down, and behind those that are up again.
    behind: [Vec<(String, SummaryEntry)>; 2],
}

impl SummaryGroup {
    /// Returns the number of ongoing subjects, with the devices behind them.
    pub(super) fn ongoing(&self) -> usize {
        let [down, _] = &self.behind;
        self.lasting.len() + down.len()
    }

    /// Returns the lists in the order in which people read them.
    pub(super) fn lists(&self) -> [(&'static str, &[(String, SummaryEntry)]); 5] {
        let [down, up] = &self.behind;
        [
            ("Ongoing", &self.lasting),
            ("Behind them", down),
            ("Seen", &self.seen),
            ("Over", &self.over),
            ("Back, behind them", up),
        ]
    }

    /// Returns whether the entries have different kinds of events.
    pub(super) fn is_mixed(&self) -> bool {
        let mut all = [&self.lasting, &self.seen, &self.over]
            .into_iter()
            .flatten()
            .filter_map(|(_, e)| e.of.as_ref());
        let first = all.next();
        all.any(|of| Some(of) != first)
    }

    pub(super) fn add(&mut self, entry: SummaryEntry, incident: &str) {
        let [down, up] = &mut self.behind;
        // An event without an end is neither ongoing nor over.
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

/// Returns the counts in words: `12 ongoing, 3 over`.
pub(super) fn counts<'a>(groups: impl IntoIterator<Item = &'a SummaryGroup>) -> String {
    let mut counts = [("ongoing", 0), ("seen", 0), ("over", 0)];
    for group in groups {
        let [ongoing, seen, over] = &mut counts;
        // Devices behind an outage count with it, whether they are down or up again.
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
struct SummaryPage {
    text: String,
    cost: (usize, usize),
    /// Rule, incident and subject of all entries on the page.
    named: HashSet<(String, String, String)>,
}

impl SummaryPage {
    fn fits(&self, more: &str) -> bool {
        let (chars, bytes) = cost(more);
        // An empty page takes any entry, or a very long one would never fit.
        self.text.is_empty()
            || (self.cost.0 + chars <= MAX_CHARS && self.cost.1 + bytes <= MAX_BYTES)
    }

    fn push(&mut self, more: &str) {
        let (chars, bytes) = cost(more);
        self.cost = (self.cost.0 + chars, self.cost.1 + bytes);
        self.text.push_str(more);
    }
}

/// Returns the cost of a text after the escaping of a chat: characters and bytes.
pub(super) fn cost(text: &str) -> (usize, usize) {
    // A time token becomes a date in the reader's zone, which is longer.
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

fn pages(groups: &[(GroupKey, SummaryGroup)]) -> Vec<SummaryPage> {
    let mut pages = vec![SummaryPage::default()];
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
            // A long list has names only: times would fill the page.
            let short = list.len() > LONG;
            let mut line_open = false;
            for (incident, entry) in list {
                let text = entry.text(EntryStyle {
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
                // The cost includes the separators, which depend on what is open.
                let fits = pages
                    .last()
                    .is_none_or(|page| page.fits(&format!("\n\n{full}")));
                if !fits {
                    pages.push(SummaryPage::default());
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
                // A new page repeats the heading, since each page may be read alone.
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

/// Returns a number with its noun: `1 event`, `1,204 events`.
pub(super) fn counted(count: u64, word: &str) -> String {
    if count == 1 {
        format!("1 {word}")
    } else {
        format!("{} {word}s", number(count))
    }
}

/// Returns a number with separators: `1,204`.
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

/// Returns an id for the contents, so that a summary made again after a crash is recognised.
fn digest_id(told: &[DigestOf]) -> String {
    let mut hasher = DefaultHasher::new();
    for one in told {
        (one.at, &one.rule, &one.incident, one.reason.word()).hash(&mut hasher);
    }
    format!("digest-{:016x}", hasher.finish())
}

/// Returns the short name of a page: 6 letters and digits, the same for the same contents.
fn short_id(id: &str, page: usize) -> String {
    // Letters that look like digits are left out, since people copy the name by hand.
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
    // The newest message dates the summary: nothing in it is later.
    let at = told.iter().map(|t| t.at).max().unwrap_or(first.about.at);
    Notification {
        id: short_id(id, n),
        at,
        to: first.about.to.clone(),
        source: first.about.source.clone(),
        rule: "digest".to_owned(),
        template: None,
        reason: Reason::Digest,
        // All pages belong to one incident, so that they arrive in order.
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
