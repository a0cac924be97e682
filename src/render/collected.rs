//! Scheduled digests and reports of maintenances: counts first, then the most important items. The
//! result is always one message; items that do not fit are counted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::digest::{self, EntryStyle, SummaryEntry, SummaryGroup};
use super::markup;
use crate::model::{Collected, DigestOf, Message, Notification, Reason, Severity, Timestamp};

/// Maximum length of the text: short enough to read, and far below the limit of a chat.
const MAX_CHARS: usize = 3_300;
const MAX_BYTES: usize = 7_500;
/// Room for the sentences about omitted items.
const TAIL: usize = 500;
/// Age from which times have a date, so that no time of day is ambiguous.
const DAY: Duration = Duration::from_hours(24);

/// Returns the message; `title` returns the title of an item.
pub(super) fn message(about: Notification, title: impl Fn(&Notification) -> String) -> Message {
    let Some(collected) = about.collected.as_deref() else {
        return build(about, String::new(), String::new(), Vec::new());
    };
    let mut told: Vec<DigestOf> = collected
        .items
        .iter()
        .enumerate()
        .map(|(n, item)| as_it_stands(item, n))
        .map(|item| digest::of(&item, title(&item)))
        .collect();
    let groups = groups(&told);
    let heading = heading(&about, collected, &groups);
    let text = text(&about, collected, &groups);
    if collected.more > 0 {
        // The count must survive if this message is included in a summary.
        let rest = Notification {
            more: collected.more,
            subjects: Vec::new(),
            ..about.clone()
        };
        told.push(digest::of(&rest, heading.clone()));
    }
    build(about, heading, text, told)
}

/// Returns the item in its present state: one that has ended has the title of a recovery, and one
/// without an incident gets its own.
fn as_it_stands(item: &Notification, n: usize) -> Notification {
    let over = !item.subjects.is_empty() && item.subjects.iter().all(|s| s.ends_at.is_some());
    // An alert that became stable has a title of its own.
    Notification {
        reason: if over && item.reason != Reason::Stable {
            Reason::Resolved
        } else {
            item.reason
        },
        incident: if item.incident.is_empty() {
            format!("alone-{n}")
        } else {
            item.incident.clone()
        },
        ..item.clone()
    }
}

fn build(about: Notification, title: String, text: String, folded: Vec<DigestOf>) -> Message {
    // The message has no links: its items belong to many devices.
    let since = about.collected.as_ref().map(|collected| collected.since);
    let facts = [
        ("From", digest::time(since)),
        ("To", digest::time(Some(about.at))),
    ];
    let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
    Message {
        title,
        text,
        facts: facts
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        links: Vec::new(),
        about,
        folded,
    }
}

/// Groups the items by rule and severity: most urgent first, and open before ended ones.
fn groups(told: &[DigestOf]) -> Vec<(Severity, String, SummaryGroup)> {
    let mut groups: BTreeMap<(Reverse<Severity>, String), SummaryGroup> = BTreeMap::new();
    for incident in digest::incidents(told) {
        for mut entry in incident.subjects {
            let key = (Reverse(incident.severity), incident.rule.clone());
            // Each item has its present state, with both of its times.
            entry.began_here = true;
            groups.entry(key).or_default().add(entry, &incident.id);
        }
    }
    let mut groups: Vec<_> = groups
        .into_iter()
        .map(|((Reverse(severity), rule), group)| (severity, rule, group))
        .collect();
    groups.sort_by_key(|(severity, _, group)| (Reverse(*severity), group.ongoing() == 0));
    groups
}

/// Returns the title: `Digest daily: 2 ongoing, 7 over`.
fn heading(
    about: &Notification,
    collected: &Collected,
    groups: &[(Severity, String, SummaryGroup)],
) -> String {
    let word = if collected.maintenance {
        "Maintenance"
    } else {
        "Digest"
    };
    let name = markup::cut(&about.rule, 60);
    // A digest named "daily digest" needs no second "Digest".
    let says_so = name.to_lowercase().contains(&word.to_lowercase());
    let name = if says_so {
        name
    } else {
        format!("{word} {name}")
    };
    let counts = digest::counts(groups.iter().map(|(_, _, group)| group));
    let counts = match (counts.is_empty(), collected.more) {
        (true, 0) => "nothing to tell".to_owned(),
        (true, more) => digest::counted(more, "message"),
        (false, 0) => counts,
        (false, more) => format!("{counts}, {} more", digest::number(more)),
    };
    markup::escape(&format!("{name}: {counts}"))
}

fn text(
    about: &Notification,
    collected: &Collected,
    groups: &[(Severity, String, SummaryGroup)],
) -> String {
    let messages = (collected.items.len() as u64).saturating_add(collected.more);
    let (events, quiet) = (
        digest::counted(collected.events, "event"),
        digest::counted(collected.quiet, "event"),
    );
    let since = digest::time(Some(collected.since));
    let held = digest::counted(messages, "message");
    let mut text = Budget::default();
    text.push(&if collected.maintenance {
        format!("During this maintenance, since {since}: {events}, {held} held back, {quiet} told nowhere.")
    } else {
        format!("Since {since}: {held} kept for this digest, from {events}; {quiet} kept quiet.")
    });
    let day_ago = about.at - DAY;
    let mut left: Vec<(&str, usize)> = Vec::new();
    // Less room for less urgent items, and less still if even these do not fit.
    for (severity, rule, group) in groups {
        let usual = match severity {
            Severity::Critical => 12,
            Severity::Warning => 6,
            Severity::Info => 3,
        };
        let fitting = [usual, 3, 1]
            .into_iter()
            .map(|max| block(*severity, rule, group, max.min(usual), day_ago));
        // The order is kept: nothing less urgent is shown in place of what did not fit.
        match fitting
            .into_iter()
            .find(|block| left.is_empty() && text.fits(block))
        {
            Some(block) => text.push(&block),
            None => left.push((rule, group.lists().iter().map(|(_, list)| list.len()).sum())),
        }
    }
    text.push(&rest(&left, collected.more));
    text.text
}

/// Returns the items of a rule, at most `max` of each kind.
fn block(
    severity: Severity,
    rule: &str,
    group: &SummaryGroup,
    max: usize,
    dated_before: Timestamp,
) -> String {
    let all = group.lists().into_iter().flat_map(|(_, list)| list);
    let sites: BTreeSet<&str> = all.map(|(_, entry)| entry.site.as_str()).collect();
    // The site is named once if all items share it, else with each of them.
    let (one, site) = match sites.first() {
        Some(site) if sites.len() == 1 && !site.is_empty() => {
            (true, format!(" at {}", markup::embed(site)))
        }
        _ => (false, String::new()),
    };
    let how = EntryStyle {
        short: false,
        dated_before,
        site: !one,
        kinds: group.is_mixed(),
    };
    let mut out = format!(
        "\n\n**{}**{site} ({severity})",
        markup::escape(&markup::cut(rule, 80))
    );
    for (label, list) in group.lists() {
        if !list.is_empty() {
            out.push_str(&format!("\n{label}: {}", entries(list, max, how)));
        }
    }
    out
}

/// Returns the items with the number of others: `a since 14:02, b since 14:10 and 12 more`.
fn entries(list: &[(String, SummaryEntry)], max: usize, how: EntryStyle) -> String {
    let shown: Vec<String> = list
        .iter()
        .take(max)
        .map(|(_, entry)| entry.text(how))
        .collect();
    let rest = list.len().saturating_sub(max);
    let rest = if rest > 0 {
        format!(" and {} more", digest::number(rest as u64))
    } else {
        String::new()
    };
    format!("{}{rest}", shown.join(", "))
}

/// Returns the omitted items: `Also: 12 of "A", 9 of "B" and 14 of 3 more rules.`
fn rest(left: &[(&str, usize)], more: u64) -> String {
    let mut parts: Vec<String> = left
        .iter()
        .take(5)
        .map(|(rule, count)| {
            format!(
                "{} of **{}**",
                digest::number(*count as u64),
                markup::escape(&markup::cut(rule, 40))
            )
        })
        .collect();
    // A digest may cover hundreds of rules: five are named.
    let others = left.iter().skip(5);
    let (rules, things) = others.fold((0_u64, 0), |(rules, things), (_, count)| {
        (rules + 1, things + *count as u64)
    });
    if rules > 0 {
        parts.push(format!(
            "{} of {}",
            digest::number(things),
            digest::counted(rules, "other rule")
        ));
    }
    if more > 0 {
        parts.push(format!(
            "{} kept without their names",
            digest::counted(more, "message")
        ));
    }
    let last = parts.pop().unwrap_or_default();
    match (parts.is_empty(), last.is_empty()) {
        (_, true) => String::new(),
        (true, false) => format!("\n\nAlso {last}."),
        (false, false) => format!("\n\nAlso {} and {last}.", parts.join(", ")),
    }
}

#[derive(Default)]
struct Budget {
    text: String,
    cost: (usize, usize),
}

impl Budget {
    fn fits(&self, more: &str) -> bool {
        let (chars, bytes) = digest::cost(more);
        self.cost.0 + chars <= MAX_CHARS - TAIL && self.cost.1 + bytes <= MAX_BYTES - 2 * TAIL
    }

    fn push(&mut self, more: &str) {
        let (chars, bytes) = digest::cost(more);
        self.cost = (self.cost.0 + chars, self.cost.1 + bytes);
        self.text.push_str(more);
    }
}
