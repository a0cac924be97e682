//! Signals from other events: earlier events that may be the cause, the administrator who made a
//! change, and evidence that a device reported down still sends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Engine;
use super::alert::{Alert, AlertId, AlertState, Member};
use super::decision::Verdict;
use super::open::subject_key;
use super::outcomes::Effects;
use crate::model::{Condition, Event, Field, Timestamp};

/// Extra time an alert waits if its device is being upgraded or restarted on purpose.
pub const PLANNED: Duration = Duration::from_secs(20 * 60);
/// Maximum time between the announcement of an upgrade and the outage it causes.
const ANNOUNCED: Duration = Duration::from_secs(2 * 3_600);
/// Maximum time between a cause and the outage. Clocks and topics differ by seconds.
const BEFORE: Duration = Duration::from_secs(120);
/// The same if the cause is reported after its effect.
pub(super) const AFTER: Duration = Duration::from_secs(60);
/// Notes kept per device.
const PER_DEVICE: usize = 4;
/// Notes kept of events that may have cut off other devices.
const ELSEWHERE: usize = 256;
/// Names of administrators kept.
const ADMINS: usize = 2_000;

/// A possible cause of an outage.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    time: Timestamp,
    text: String,
    planned: bool,
    audit_id: Option<String>,
    /// The device itself reports it after its recovery.
    #[serde(default)]
    told_after: bool,
    /// True if it ends whatever was planned before.
    #[serde(default)]
    back: bool,
}

/// A possible cause on another device.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Elsewhere {
    note: Note,
    site: String,
    device: String,
    names: Vec<String>,
    mentions: String,
}

/// Recent notes. The number is bounded; the oldest are dropped first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Notes {
    of: BTreeMap<String, Vec<Note>>,
    elsewhere: VecDeque<Elsewhere>,
    admins: BTreeMap<String, String>,
    /// Audit ids, oldest first.
    admins_order: VecDeque<String>,
    #[serde(skip)]
    order: BTreeSet<(Timestamp, String)>,
}

impl Notes {
    fn add(&mut self, device: String, note: Note, limit: usize) {
        let notes = self.of.entry(device.clone()).or_default();
        // `order` lists each device under its newest note, so it leaves before the note list
        // changes.
        if let Some(last) = notes.last() {
            self.order.remove(&(last.time, device.clone()));
        }
        if notes
            .last()
            .is_some_and(|last| last.text == note.text && last.time == note.time)
        {
            self.order.insert((note.time, device));
            // The same event has arrived on another topic.
            return;
        }
        notes.push(note);
        // Topics differ in delay: a late note must not push out a newer one.
        notes.sort_by_key(|note| note.time);
        let excess = notes.len().saturating_sub(PER_DEVICE);
        notes.drain(..excess);
        if let Some(last) = notes.last() {
            self.order.insert((last.time, device));
        }
        while self.of.len() > limit {
            match self.order.pop_first() {
                Some((_, oldest)) => self.of.remove(&oldest),
                None => break,
            };
        }
    }

    pub(super) fn reindex(&mut self) {
        let last = |(device, notes): (&String, &Vec<Note>)| {
            notes.last().map(|note| (note.time, device.clone()))
        };
        self.order = self.of.iter().filter_map(last).collect();
    }
}

impl Engine {
    /// Stores what an event says about possible causes and planned work.
    pub(super) fn take_clues(&mut self, event: &Event) {
        let clues = &event.clues;
        let notes = &mut self.state.notes;
        // Audit events have no device of their own, so the name is kept before the device is
        // checked.
        if let (Some(id), Some(admin)) = (&clues.audit_id, &clues.admin) {
            if notes.admins.insert(id.clone(), admin.clone()).is_none() {
                notes.admins_order.push_back(id.clone());
            }
            if notes.admins_order.len() > ADMINS
                && let Some(oldest) = notes.admins_order.pop_front()
            {
                notes.admins.remove(&oldest);
            }
        }
        if event.device.is_none() {
            return;
        }
        let device = event.identity(&Field::Device);
        if clues.ends_plan
            && let Some(known) = notes.of.get_mut(&device)
        {
            // A late event does not end a plan that was announced after it.
            let ended = known
                .iter_mut()
                .filter(|n| n.time.whole() <= event.time.whole());
            ended.for_each(|note| note.planned = false);
            self.plan_changed(&device);
        }
        let Some(cause) = &clues.cause else { return };
        let note = Note {
            time: event.time,
            text: cause.text.clone(),
            planned: cause.planned,
            audit_id: clues.audit_id.clone(),
            told_after: cause.told_after,
            back: cause.back,
        };
        if !cause.elsewhere {
            self.state
                .notes
                .add(device.clone(), note, self.limits.closes);
            return self.plan_changed(&device);
        }
        let notes = &mut self.state.notes;
        if notes.elsewhere.len() >= ELSEWHERE {
            notes.elsewhere.pop_front();
        }
        let of = event
            .device
            .iter()
            .flat_map(|d| d.name.iter().chain(&d.mac))
            .cloned();
        notes.elsewhere.push_back(Elsewhere {
            note,
            site: event.identity(&Field::Site),
            device: event.label(&Field::Device),
            names: of.collect(),
            mentions: cause.mentions.clone().unwrap_or_default().to_lowercase(),
        });
    }

    /// Reconsiders alerts of a device after a change of plan: the delay of their messages depends
    /// on it.
    fn plan_changed(&mut self, device: &str) {
        // Only outages of devices wait for a plan.
        for condition in [
            "ap_offline",
            "switch_offline",
            "gateway_offline",
            "edge_offline",
        ] {
            for id in self
                .index
                .by_key
                .get(&format!("{condition}|{device}"))
                .cloned()
                .unwrap_or_default()
            {
                self.postpone(id);
                // The end of a plan may make the alert due at once, so the timer is set in any
                // case.
                self.arm_alert(id);
            }
        }
    }

    /// Delays an alert that is about to be sent if its device turns out to be upgraded on purpose.
    fn postpone(&mut self, id: AlertId) {
        let planned = |a: &&Alert| {
            a.state == AlertState::Firing
                && a.told_to.is_empty()
                && !a.settled
                && self.is_planned(a)
        };
        let Some((rule, since)) = self
            .state
            .alerts
            .get(&id)
            .filter(planned)
            .map(|a| (Arc::clone(&a.rule), a.opened()))
        else {
            return;
        };
        let until = (since + PLANNED).shifted(self.state.offset_ms);
        // The extra time counts from the opening, like `for`.
        self.pend(id, since);
        self.decide(&[id], None, Some(&rule), Verdict::Planned { until });
    }

    /// Closes the alerts that an event disproves: only a connected device sends it.
    pub(super) fn disprove(&mut self, event: &Arc<Event>, name: &Arc<str>, effects: &mut Effects) {
        let condition = Condition {
            name: Arc::clone(name),
            sub_id: None,
            of_site: false,
            on_port: false,
        };
        let key = subject_key(event, &condition);
        // A later event about the outage may be older than this one, and must not open it again.
        self.state.closes.note(&key, event.time, self.limits.closes);
        for id in self.index.by_key.get(&key).cloned().unwrap_or_default() {
            let Some(alert) = self.state.alerts.get_mut(&id).filter(|a| a.lasting) else {
                continue;
            };
            // Within the same second the order is unknown, and this is only evidence.
            let gone = |m: &Member| m.key == key && m.last_opened() < event.time.whole();
            if !alert.members.iter().any(|m| m.is_open() && gone(m)) {
                continue;
            }
            let rule = Arc::clone(&alert.rule);
            let kind = event.kind.clone();
            alert.evidence = Some(kind.clone());
            let verdict = if event.clues.removed {
                Verdict::Removed { kind }
            } else {
                Verdict::HeardFrom { kind }
            };
            self.decide(&[id], Some(event), Some(&rule), verdict);
            self.close_members(id, event, effects, gone);
        }
    }

    /// Returns whether an alert's device is down on purpose.
    pub(super) fn is_planned(&self, alert: &Alert) -> bool {
        self.is_away(&alert.event, alert.began())
    }

    /// Returns whether an event reports a device as down that is down on purpose since `began`.
    pub(super) fn is_away(&self, event: &Event, began: Timestamp) -> bool {
        let began = began.whole();
        let offline = event.device.is_some()
            && event
                .condition
                .as_ref()
                .is_some_and(|c| c.name.ends_with("_offline"));
        let Some(notes) = self
            .state
            .notes
            .of
            .get(&event.identity(&Field::Device))
            .filter(|_| offline)
        else {
            return false;
        };
        // A recovery between the announcement and this outage ends the plan: the outage is another
        // one.
        let over = |n: &Note| {
            notes
                .iter()
                .any(|r| r.back && r.time.whole() >= n.time.whole() && r.time.whole() < began)
        };
        let announced = |n: &Note| {
            n.planned && n.time.whole() <= began + AFTER && began.since(n.time.whole()) <= ANNOUNCED
        };
        notes.iter().any(|n| announced(n) && !over(n))
    }

    fn notes_of(&self, alert: &Alert) -> Option<&Vec<Note>> {
        alert.event.device.as_ref()?;
        self.state
            .notes
            .of
            .get(&alert.event.identity(&Field::Device))
    }

    /// Returns a short text about the probable cause of an alert. With `over` the alert has ended,
    /// so the device's own report after its recovery counts too.
    pub(super) fn cause_of(&self, alert: &Alert, over: bool) -> Option<String> {
        let restart = alert
            .event
            .kind
            .to_ascii_uppercase()
            .ends_with("_RESTARTED");
        let offline = alert
            .event
            .condition
            .as_ref()
            .is_some_and(|c| c.name.ends_with("_offline"));
        if !restart && !offline {
            return None;
        }
        // Senders have different resolutions: all times are compared by whole seconds.
        let began = alert.began().whole();
        let fits = |note: &Note| {
            let before = if note.planned { ANNOUNCED } else { BEFORE };
            // A device reports the reason for its restart only after it is up, however long that
            // took.
            let after = if over && note.told_after {
                Duration::MAX
            } else {
                AFTER
            };
            began.since(note.time.whole()) <= before
                && note.time.whole().since(began) <= after
                && !(restart && note.told_after)
        };
        let own = self
            .notes_of(alert)
            .into_iter()
            .flatten()
            .filter(|note| fits(note));
        // While it lasts, a plan explains most. Afterwards the device's own report, which is
        // newest, does.
        let planned = own.clone().find(|note| note.planned);
        let best = if over {
            own.clone().next_back().or(planned)
        } else {
            planned.or_else(|| own.clone().next_back())
        };
        if let Some(note) = best {
            return Some(self.by_whom(note, &note.text));
        }
        self.cause_elsewhere(alert, &fits).or_else(|| {
            // Without a note, the administrator behind the audit id is still worth naming.
            let admin = alert
                .event
                .clues
                .audit_id
                .as_ref()
                .and_then(|id| self.state.notes.admins.get(id))?;
            Some(format!("a change was made, by {admin}"))
        })
    }

    /// Returns an event about the port a device is connected to, or about one of its own ports.
    fn cause_elsewhere(&self, alert: &Alert, fits: &impl Fn(&Note) -> bool) -> Option<String> {
        let site = alert.event.identity(&Field::Site);
        let topology = self.rules.surroundings().topology.above(&alert.event);
        let device = alert.event.device.as_ref()?;
        let names = || device.name.iter().chain(&device.mac);
        let hangs_on = |e: &&Elsewhere| {
            // One or two characters appear in too many texts to be a name.
            let named = names().any(|n| n.len() > 2 && mentions(&e.mentions, &n.to_lowercase()));
            let drawn = || {
                e.names
                    .iter()
                    .any(|name| topology.iter().any(|t| t.eq_ignore_ascii_case(name)))
            };
            let own = || names().any(|n| e.names.contains(n));
            e.site == site && fits(&e.note) && (named || drawn() || own())
        };
        let found = self.state.notes.elsewhere.iter().rev().find(hangs_on)?;
        Some(self.by_whom(
            &found.note,
            &format!("on {}, {}", found.device, found.note.text),
        ))
    }

    /// Adds the name of the administrator, if it is known.
    fn by_whom(&self, note: &Note, text: &str) -> String {
        match note
            .audit_id
            .as_ref()
            .and_then(|id| self.state.notes.admins.get(id))
        {
            Some(admin) => format!("{text}, by {admin}"),
            None => text.to_owned(),
        }
    }
}

/// Returns whether a text contains a name as a whole word: `ap-1` is in neither `ap-10` nor `wap-1`
/// nor `ap-1.lab`.
fn mentions(text: &str, name: &str) -> bool {
    let within = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    // A full stop belongs to a name only if the name continues after it.
    let goes_on = |rest: &mut dyn Iterator<Item = char>| match rest.next() {
        Some('.') => rest.next().is_some_and(within),
        next => next.is_some_and(within),
    };
    text.match_indices(name).any(|(at, found)| {
        let (before, after) = (
            text.get(..at).unwrap_or_default(),
            text.get(at + found.len()..).unwrap_or_default(),
        );
        !goes_on(&mut before.chars().rev()) && !goes_on(&mut after.chars())
    })
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_name_is_mentioned_whole_or_not_at_all() {
        for text in [
            "to ap-1",
            "ap-1",
            "(ap-1)",
            "ap-1.",
            "x. ap-1, x",
            "ap-10 and ap-1",
            "uplink/ap-1/eth0",
            "é: ap-1…",
        ] {
            assert!(mentions(text, "ap-1"), "{text}");
        }
        for text in [
            "ap-10", "wap-1", "ap-1-b", "ap-1_b", "ap-1.lab", "lab.ap-1", "éap-1", "-ap-1", "ap",
            "",
        ] {
            assert!(!mentions(text, "ap-1"), "{text}");
        }
    }
}
