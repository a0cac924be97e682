//! What must be said, and what must not, as the documentation has it: slow, and without a look at
//! the engine. Where the documentation leaves freedom (who shares a message, when within a bound),
//! so does this.

use std::collections::{BTreeMap, BTreeSet};

use foghorn::model::{Notification, Reason, Severity, Subject};

use crate::generate::{
    CALENDARS, Case, DEVICE_PATTERNS, DEVICES, DIGEST, File, H, Inhibit, Item, M, Maintenance,
    Mute, Pick, Resolve, Rule, S, START, Step, WHENS, What, effect, hangs_on,
};

/// What a condition is about.
type Place = (usize, Option<usize>, Option<String>);

/// What alerts are told apart by, as far as a message shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    rule: String,
    /// The condition, or the type of what has none.
    what: String,
    place: Place,
}

/// One condition of one subject, whatever the rules are.
#[derive(Clone, Debug, Default)]
struct Truth {
    down: bool,
    /// Seconds, by the sender's clock.
    newest_open: Option<i64>,
    last_close: Option<i64>,
    /// When this outage began, by the sender's clock.
    began: i64,
    /// When it was found to change, by ours.
    changes: Vec<i64>,
    /// When it was told of last that it is down, by ours.
    opened: i64,
}

/// One rule on one subject.
#[derive(Clone, Debug)]
struct Alert {
    key: Key,
    /// The rule as it was when the alert began.
    rule: Rule,
    item: Item,
    opened: i64,
    closed: Option<i64>,
    /// The rule was changed, or went, since.
    changed: bool,
    severity: Severity,
    severe_at: i64,
    /// The last opening.
    last: i64,
    /// Of what has no end: when it happened.
    events: Vec<i64>,
    /// When it was found to begin and to end, again and again.
    changes: Vec<i64>,
    /// Seconds, by the sender's clock: an end before it is late.
    newest_open: i64,
    /// The type that opened it, which `by` may name.
    kind: String,
    destinations: BTreeSet<String>,
}

/// What one destination believes of one key.
#[derive(Clone, Debug, Default)]
struct Belief {
    down: usize,
    flapping: bool,
    told_at: i64,
    /// How often it was told up.
    ups: usize,
    all_told: Vec<i64>,
}

#[derive(Clone, Debug)]
struct Silence {
    id: u64,
    matches: Pick,
    from: i64,
    until: Option<i64>,
    ended: Option<i64>,
}

/// The model, and what it found wrong.
pub(crate) struct Oracle {
    file: File,
    reloaded: i64,
    now: i64,
    /// How far the wall clock is from the journal's, and every distance there was.
    offset: i64,
    offsets: Vec<i64>,
    started: i64,
    seen: BTreeSet<String>,
    truths: BTreeMap<(&'static str, Place), Truth>,
    alerts: Vec<Alert>,
    beliefs: BTreeMap<(String, Key), Belief>,
    silences: Vec<Silence>,
    /// Every form a rule of that name had.
    forms: BTreeMap<String, Vec<Rule>>,
    /// Maintenances that were taken out of the file, and when.
    past_works: Vec<(Maintenance, i64)>,
    /// When something that `absent` rules wait for came last.
    matched: BTreeMap<String, i64>,
    absent_since: BTreeMap<String, i64>,
    /// Since when there is a destination of that name.
    there: BTreeMap<String, i64>,
    /// What a rule's own `resolve` closes: its openings and ends, by the rule and the device.
    own: BTreeMap<(String, Option<usize>), Truth>,
    /// When a destination got the beginning of something in an incident last.
    begun: BTreeMap<(String, String), i64>,
    /// What has no end and is counted: when it happened.
    happened: BTreeMap<Key, Vec<i64>>,
    pub(crate) wrong: Vec<String>,
}

fn severity(word: Option<&str>) -> Severity {
    word.and_then(Severity::parse).unwrap_or(Severity::Warning)
}

fn matches(rule: &Rule, item: &Item) -> bool {
    let kind = match effect(item.kind) {
        _ if rule.conditions.is_empty() => rule.types.contains(&item.kind),
        Some((condition, _)) => rule.conditions.contains(&condition),
        None => false,
    };
    let device = item.device.map(|device| DEVICES[device].0);
    kind && rule.site.is_none_or(|site| site == item.site)
        && rule
            .device
            .is_none_or(|n| device.is_some_and(DEVICE_PATTERNS[n].1))
        && rule.when.is_none_or(|n| WHENS[n].1(item))
        && rule.not_device.is_none_or(|name| device != Some(name))
}

/// Whether the last of these is one too many.
fn enough(rule: &Rule, happened: &[i64]) -> bool {
    let Some((count, window)) = rule.threshold else {
        return true;
    };
    let lately = happened.len().checked_sub(count).map(|n| happened[n]);
    lately.is_some_and(|first| happened[happened.len() - 1] - first <= window)
}

fn key(rule: &Rule, item: &Item) -> Key {
    let what = match effect(item.kind) {
        _ if rule.by == ["site"] => "",
        Some((condition, _)) => condition,
        None => item.kind,
    };
    let place = if rule.by == ["site"] || rule.counts() {
        (item.site, None, None)
    } else {
        (item.site, item.device, item.port.map(str::to_owned))
    };
    Key {
        rule: rule.name.clone(),
        what: what.to_owned(),
        place,
    }
}

fn picks(pick: &Pick, item: &Item) -> bool {
    match pick {
        Pick::Device(name) => item.device.is_some_and(|device| DEVICES[device].0 == *name),
        Pick::Site(site) => item.site == *site,
        Pick::Condition(name) => effect(item.kind).is_some_and(|(condition, _)| condition == *name),
    }
}

/// Whether something that is there each day, from and until then, is there in some of this time.
fn daily(begin: i64, end: i64, from: i64, until: i64) -> bool {
    (-1..=until.div_euclid(24 * H))
        .map(|day| day * 24 * H)
        .any(|day| day + begin < until && day + end > from)
}

/// Whether a rule is mute in some of this time, by the wall clock.
fn mutes(mute: &Mute, from: i64, until: i64) -> bool {
    let mut calendars = CALENDARS.iter();
    let (_, begin, end) = calendars.find(|(name, ..)| *name == mute.calendar).unwrap();
    let (begin, end) = (begin * M, end * M);
    if mute.outside {
        // From one end to the next beginning.
        daily(end, begin + 24 * H, from, until)
    } else {
        daily(begin, end, from, until)
    }
}

/// Whether a maintenance hides in some of this time, by the wall clock.
fn hides(work: &Maintenance, item: &Item, from: i64, until: i64) -> bool {
    let then = if work.daily {
        daily(work.from, work.until, from, until)
    } else {
        work.from < until && work.until > from
    };
    then && picks(&work.matches, item)
}

impl Oracle {
    pub(crate) fn new(case: &Case) -> Self {
        let mut oracle = Self {
            file: case.file.clone(),
            reloaded: 0,
            now: 0,
            offset: 0,
            offsets: vec![0],
            started: 0,
            seen: BTreeSet::new(),
            truths: BTreeMap::new(),
            alerts: Vec::new(),
            beliefs: BTreeMap::new(),
            silences: Vec::new(),
            forms: BTreeMap::new(),
            past_works: Vec::new(),
            matched: BTreeMap::new(),
            absent_since: BTreeMap::new(),
            there: BTreeMap::new(),
            own: BTreeMap::new(),
            begun: BTreeMap::new(),
            happened: BTreeMap::new(),
            wrong: Vec::new(),
        };
        oracle.note_rules();
        oracle
    }

    fn note_rules(&mut self) {
        let names: BTreeSet<&String> = self.file.destinations.iter().map(|(n, _)| n).collect();
        self.there.retain(|name, _| names.contains(name));
        for name in names {
            self.there.entry(name.clone()).or_insert(self.now);
        }
        for rule in &self.file.rules {
            let forms = self.forms.entry(rule.name.clone()).or_default();
            if forms.last() != Some(rule) {
                let news = forms.last().is_none_or(|last| last.absent.is_none());
                forms.push(rule.clone());
                if rule.absent.is_some() && news {
                    self.absent_since.insert(rule.name.clone(), self.now);
                }
            }
        }
    }

    fn law(&mut self, holds: bool, law: &str, what: impl FnOnce() -> String) {
        if !holds {
            let seconds = self.now as f64 / 1_000.0;
            self.wrong
                .push(format!("{law}: at {seconds} s: {}", what()));
        }
    }

    /// Rules of that name counted, or waited for what does not come, and no longer do, or the
    /// other way round: a message does not say which of the two it is about.
    fn murky(&self, name: &str) -> bool {
        let forms = self.forms.get(name).map_or(&[] as &[_], Vec::as_slice);
        let kind = |rule: &Rule| {
            (
                rule.threshold.is_some(),
                rule.absent.is_some(),
                rule.by == ["site"],
            )
        };
        forms
            .windows(2)
            .any(|pair| kind(&pair[0]) != kind(&pair[1]))
    }

    // --- what happens ---

    /// Before it happens, what stands must be known to whom it concerns.
    pub(crate) fn step(&mut self, step: &Step) {
        self.now = step.at;
        match &step.what {
            What::Post(items) => {
                for item in items {
                    self.post(item);
                }
            }
            What::Clock(offset) => {
                self.offset = *offset;
                self.offsets.push(*offset);
            }
            What::Reload(file) => self.reload(file),
            What::Restart => self.started = self.now,
            What::Kill => {}
            What::Silence { id, matches, until } => self.silences.push(Silence {
                id: *id,
                matches: matches.clone(),
                from: self.now,
                until: *until,
                ended: None,
            }),
            What::Expire(id) => {
                for silence in self.silences.iter_mut().filter(|s| s.id == *id) {
                    silence.ended.get_or_insert(step.at);
                }
            }
        }
    }

    fn reload(&mut self, file: &File) {
        let gone = |work: &&Maintenance| !file.maintenance.contains(work);
        let past = self.file.maintenance.iter().filter(gone).cloned();
        let past: Vec<_> = past.map(|work| (work, self.now)).collect();
        self.past_works.extend(past);
        self.file = file.clone();
        self.reloaded = self.now;
        let told: Vec<bool> = self.alerts.iter().map(|a| self.is_told(a)).collect();
        let names = self.file.destinations.iter().map(|(name, _)| name.clone());
        let names: BTreeSet<String> = names.collect();
        for (alert, told) in self.alerts.iter_mut().zip(told) {
            let mut rules = self.file.rules.iter();
            let rule = rules.find(|rule| rule.name == alert.key.rule);
            if rule == Some(&alert.rule) {
                continue;
            }
            // What was not notified is judged by the rules in force.
            let plain = |rule: &&Rule| rule.threshold.is_none();
            let now = rule.filter(|rule| plain(rule) && rule.absent.is_none());
            let fits = now.filter(|rule| matches(rule, &alert.item) && rule.by == alert.rule.by);
            match fits {
                Some(rule) if !told && plain(&&alert.rule) => {
                    alert.severity = severity(rule.severity.or(alert.item.severity));
                    alert.rule = rule.clone();
                    alert.destinations.clone_from(&names);
                }
                _ => alert.changed = true,
            }
        }
        self.note_rules();
    }

    /// Whether any destination was notified of it, whether it is there or not.
    fn is_told(&self, alert: &Alert) -> bool {
        self.beliefs.iter().any(|((_, key), belief)| {
            *key == alert.key
                && (belief.down > 0 || belief.flapping || belief.told_at >= alert.opened)
        })
    }

    fn post(&mut self, item: &Item) {
        if !self.seen.insert(item.content()) {
            return;
        }
        // What happens later than it comes happened when it came.
        let item = &Item {
            time: item.time.min(self.now + self.offset),
            ..item.clone()
        };
        let rules = self.file.rules.clone();
        for rule in rules.iter().filter(|rule| rule.absent.is_some()) {
            if matches(rule, item) {
                self.matched.insert(rule.name.clone(), self.now);
            }
        }
        // Of a rule that is gone, too: whoever was told that it stopped is told that it came.
        let gone: Vec<String> = self
            .forms
            .iter()
            .filter(|(_, forms)| {
                let last = forms.last().unwrap();
                last.absent.is_some() && matches(last, item)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.matched.insert(name, self.now);
        }
        match effect(item.kind) {
            Some((condition, true)) => self.open(condition, item, &rules),
            Some((condition, false)) => self.close(condition, item, &rules),
            None => self.event(item, &rules),
        }
    }

    fn place(item: &Item) -> Place {
        (item.site, item.device, item.port.map(str::to_owned))
    }

    /// Whether it says that it happened before the second in which it came: else it happened in
    /// the order in which it came.
    fn is_late(&self, item: &Item) -> bool {
        item.time.div_euclid(S) < (self.now + self.offset).div_euclid(S)
    }

    fn open(&mut self, condition: &'static str, item: &Item, rules: &[Rule]) {
        let (now, late) = (self.now, self.is_late(item));
        let truth = self
            .truths
            .entry((condition, Self::place(item)))
            .or_default();
        let second = item.time.div_euclid(S);
        // Overtaken by its own end.
        if late && truth.last_close.is_some_and(|close| second < close) {
            return;
        }
        truth.newest_open = truth.newest_open.max(Some(second));
        truth.opened = now;
        if !truth.down {
            truth.down = true;
            truth.began = item.time;
            truth.changes.push(now);
        }
        for rule in rules {
            if rule.absent.is_none() && matches(rule, item) {
                self.begin(rule, item);
            }
        }
    }

    /// A rule hears of something that begins, or goes on.
    fn begin(&mut self, rule: &Rule, item: &Item) {
        let now = self.now;
        let key = key(rule, item);
        let severe = severity(rule.severity.or(item.severity));
        let by_kind = rule.by.contains(&"type");
        let by_id = rule.by.contains(&"id");
        let of_key = self.beliefs.iter().filter(|((_, known), _)| *known == key);
        let told = of_key.filter_map(|(_, belief)| belief.all_told.last());
        let told = told.copied().max().unwrap_or(0);
        let longest = self.forms[&rule.name].iter().map(|rule| rule.keep).max();
        let longest = longest.unwrap_or(0);
        let same = |alert: &&mut Alert| {
            alert.key == key
                && alert.rule.by == rule.by
                && alert.rule.threshold == rule.threshold
                && (!by_kind || alert.kind == item.kind)
                && !by_id
        };
        let stale = |alert: &Alert| now - alert.last >= rule.stale.unwrap_or(7 * 24 * H);
        for alert in self.alerts.iter_mut().filter(same) {
            // It is not followed any more.
            if alert.closed.is_none() && !alert.rule.endless() && stale(alert) {
                alert.closed = Some(now);
            }
        }
        let lasts = |alert: &&mut Alert| match alert.closed {
            None if alert.rule.endless() => {
                // Cooled down from its message, or from the last event since.
                let last = alert.events.last().copied().unwrap_or(alert.opened);
                now - last.max(told) <= alert.rule.cooldown
            }
            None => true,
            Some(closed) => now - closed < if alert.changed { longest } else { rule.keep },
        };
        let known = self.alerts.iter_mut().filter(same).find(lasts);
        if known.is_none() && rule.endless() && rule.threshold.is_some() {
            let happened = self.happened.entry(key.clone()).or_default();
            happened.push(now);
            if !enough(rule, happened) {
                return;
            }
            happened.clear();
        }
        if let Some(alert) = self.alerts.iter_mut().filter(same).find(lasts) {
            if alert.closed.take().is_some() {
                alert.changes.push(now);
            }
            alert.newest_open = alert.newest_open.max(item.time.div_euclid(S));
            alert.last = now;
            alert.events.push(now);
            if severe > alert.severity {
                (alert.severity, alert.severe_at) = (severe, now);
            }
            return;
        }
        let names = self.file.destinations.iter().map(|(name, _)| name.clone());
        self.alerts.push(Alert {
            key,
            rule: rule.clone(),
            item: item.clone(),
            opened: now,
            closed: None,
            changed: false,
            severity: severe,
            severe_at: now,
            last: now,
            events: vec![now],
            changes: vec![now],
            newest_open: item.time.div_euclid(S),
            kind: item.kind.to_owned(),
            destinations: names.collect(),
        });
    }

    fn close(&mut self, condition: &'static str, item: &Item, rules: &[Rule]) {
        let (now, is_late) = (self.now, self.is_late(item));
        let place = Self::place(item);
        let truth = self.truths.entry((condition, place.clone())).or_default();
        let second = item.time.div_euclid(S);
        truth.last_close = truth.last_close.max(Some(second));
        let late = is_late && truth.newest_open.is_some_and(|open| second < open);
        if truth.down && !late {
            truth.down = false;
            truth.changes.push(now);
        }
        for alert in self
            .alerts
            .iter_mut()
            .filter(|alert| alert.closed.is_none())
        {
            let of = effect(alert.item.kind).map(|(condition, _)| condition);
            let here = of == Some(condition) && Self::place(&alert.item) == place;
            let rule = rules.iter().find(|rule| rule.name == alert.key.rule);
            let ends = |rule: &Rule| rule.resolve == Resolve::Implied && !rule.counts();
            // Older than what it seems to end.
            let late = is_late && second < alert.newest_open;
            let now_ends = rule.is_some_and(|rule| ends(rule) && matches(rule, &alert.item));
            if here && !late && (ends(&alert.rule) || now_ends) {
                alert.closed = Some(now);
                alert.changes.push(now);
            }
        }
    }

    fn event(&mut self, item: &Item, rules: &[Rule]) {
        let now = self.now;
        let late = self.own_order(item, rules);
        for alert in self
            .alerts
            .iter_mut()
            .filter(|alert| alert.closed.is_none())
        {
            let rule = rules.iter().find(|rule| rule.name == alert.key.rule);
            let ends = |rule: &Rule| {
                rule.resolve == Resolve::Type(item.kind)
                    && alert.item.device == item.device
                    && !late.contains(&rule.name)
            };
            let now_ends = rule.is_some_and(|rule| ends(rule) && matches(rule, &alert.item));
            if ends(&alert.rule) || now_ends {
                alert.closed = Some(now);
                alert.changes.push(now);
            }
        }
        for rule in rules {
            if rule.absent.is_none() && matches(rule, item) && !late.contains(&rule.name) {
                self.begin(rule, item);
            }
        }
    }

    /// The rules with an end of their own to which this was overtaken.
    fn own_order(&mut self, item: &Item, rules: &[Rule]) -> BTreeSet<String> {
        let (second, is_late) = (item.time.div_euclid(S), self.is_late(item));
        let mut late = BTreeSet::new();
        let last = self.forms.values().filter_map(|forms| forms.last());
        for rule in rules.iter().chain(last) {
            let Resolve::Type(end) = rule.resolve else {
                continue;
            };
            let at = (rule.name.clone(), item.device);
            let truth = self.own.entry(at).or_default();
            if item.kind == end {
                if is_late && truth.newest_open.is_some_and(|open| second < open) {
                    late.insert(rule.name.clone());
                } else {
                    truth.last_close = truth.last_close.max(Some(second));
                }
            } else if matches(rule, item) {
                if is_late && truth.last_close.is_some_and(|close| second < close) {
                    late.insert(rule.name.clone());
                } else {
                    truth.newest_open = truth.newest_open.max(Some(second));
                }
            }
        }
        late
    }

    // --- what was said ---

    fn key_of(&self, about: &Notification, subject: &Subject) -> Key {
        let by_site = |rule: &Rule| rule.by == ["site"];
        let counted = |rule: &Rule| rule.counts();
        let forms = self
            .forms
            .get(&about.rule)
            .map_or(&[] as &[_], Vec::as_slice);
        let condition = match &subject.of {
            Some(of) => of.condition.clone().unwrap_or_else(|| of.kind.clone()),
            None => about
                .condition
                .clone()
                .unwrap_or_else(|| about.kind.clone()),
        };
        let what = if forms.iter().any(by_site) {
            String::new()
        } else {
            condition
        };
        let site = subject.site_id.as_deref().unwrap_or_default();
        let site = usize::from(site.ends_with('1'));
        let device = subject.device_mac.as_deref().map(|mac| {
            let number = mac.trim_start_matches("5c5b3501");
            usize::from_str_radix(number, 16).unwrap()
        });
        let whole = forms.iter().any(by_site) || forms.iter().any(counted);
        let place = if whole {
            (site, None, None)
        } else {
            let part = subject.part.clone();
            (site, device, part.filter(|part| part.starts_with("ge-")))
        };
        Key {
            rule: about.rule.clone(),
            what,
            place,
        }
    }

    /// Takes a message, as it was decided.
    pub(crate) fn heard(&mut self, about: &Notification) {
        self.now = about.at.millis() - START - self.offset;
        for to in about.to.iter().filter(|to| to.as_str() != DIGEST) {
            self.heard_by(to.as_str(), about);
        }
    }

    fn heard_by(&mut self, to: &str, about: &Notification) {
        let now = self.now;
        let instant = (to.to_owned(), about.incident.clone());
        match about.reason {
            Reason::First | Reason::NewEvents => _ = self.begun.insert(instant, now),
            Reason::Resolved | Reason::Recovered => {
                let before = self.begun.get(&instant) == Some(&now);
                self.law(!before, "ends first", || {
                    format!("{to}: {} hears of an end after a beginning", about.rule)
                });
            }
            _ => {}
        }
        if about.reason == Reason::Digest || self.murky(&about.rule) {
            return;
        }
        let forms = self.forms.get(&about.rule).cloned().unwrap_or_default();
        if forms.iter().any(|rule| rule.absent.is_some()) {
            return self.heard_absent(to, about, &forms);
        }
        let counts = forms.iter().any(Rule::counts);
        let mut heard = BTreeSet::new();
        for subject in &about.subjects {
            let key = self.key_of(about, subject);
            // What was counted is one alert about many devices.
            if counts && !heard.insert(key.clone()) {
                continue;
            }
            // It is over when all of them are back.
            let mut others = about.subjects.iter().filter(|_| counts);
            let open = others.any(|one| one.ends_at.is_none() && self.key_of(about, one) == key);
            let ended = subject.ends_at.is_some() && !open;
            self.heard_of(to, about, ended, &key, &forms);
        }
    }

    fn heard_absent(&mut self, to: &str, about: &Notification, forms: &[Rule]) {
        let now = self.now;
        let key = Key {
            rule: about.rule.clone(),
            what: "absent".to_owned(),
            place: (0, None, None),
        };
        let since = self.matched.get(&about.rule).copied();
        let window = forms.iter().filter_map(|rule| rule.absent).min().unwrap();
        let belief = self.beliefs.entry((to.to_owned(), key)).or_default();
        let (down, told) = (belief.down, belief.told_at);
        match about.reason {
            Reason::Absent => {
                belief.down = 1;
                belief.told_at = now;
                let short = since.is_some_and(|since| now - since < window);
                self.law(!short, "absent too soon", || {
                    format!("{to}: {}", about.rule)
                });
                self.law(down == 0, "absent twice", || {
                    format!("{to}: {}", about.rule)
                });
            }
            Reason::Resolved | Reason::Recovered => {
                belief.down = 0;
                let came = since.is_some_and(|since| since >= told);
                self.law(down == 1 && came, "no absence, or no end of it", || {
                    format!("{to}: {}", about.rule)
                });
            }
            Reason::Stale => belief.down = 0,
            _ => {}
        }
    }

    /// Alerts of a key that are open, or so lately closed that `keep_firing_for` holds them.
    fn standing(&self, key: &Key) -> Vec<&Alert> {
        let keep = |alert: &Alert| {
            let forms = self.forms.get(&key.rule).map_or(&[] as &[_], Vec::as_slice);
            let longest = forms.iter().map(|rule| rule.keep).max().unwrap_or(0);
            alert
                .closed
                .is_none_or(|closed| self.now - closed <= longest && longest > 0)
        };
        let of_key = self.alerts.iter().filter(|alert| alert.key == *key);
        of_key.filter(|alert| keep(alert)).collect()
    }

    /// When the devices of a site went down that are down, and that a counting rule may count.
    /// Of one that was told of again nobody knows whether it was back in between: `newest` counts
    /// the last time.
    fn counted(&self, key: &Key, rule: &Rule, newest: bool) -> Vec<i64> {
        let mut since = Vec::new();
        for ((condition, place), truth) in &self.truths {
            let name = place.1.map_or("", |device| DEVICES[device].0);
            let here = *condition == key.what && place.0 == key.place.0;
            if here && truth.down && rule.not_device != Some(name) {
                let first = truth.changes.last().copied().unwrap_or(0);
                since.push(if newest { truth.opened } else { first });
            }
        }
        since.sort_unstable();
        since
    }

    /// Whether so many of them went down within so long.
    fn together(since: &[i64], count: usize, window: i64) -> bool {
        since
            .windows(count)
            .any(|some| some[count - 1] - some[0] <= window)
    }

    fn heard_of(&mut self, to: &str, about: &Notification, ended: bool, key: &Key, forms: &[Rule]) {
        let belief = self
            .beliefs
            .get(&(to.to_owned(), key.clone()))
            .cloned()
            .unwrap_or_default();
        let new = match about.reason {
            Reason::First | Reason::NewEvents if !ended => {
                self.heard_begin(to, about, key, &belief, forms)
            }
            Reason::Flapping => self.heard_flapping(to, about, key, &belief, forms),
            // While `keep_firing_for` holds it, it is reminded of.
            Reason::Repeat => {
                let known = belief.down > 0;
                self.law(known, "reminder of the unknown", || {
                    format!("{to}: {key:?}")
                });
                self.quiet_kept(to, about, key);
                belief
            }
            Reason::Stable => self.heard_stable(to, key, &belief, ended),
            Reason::Stale => {
                let stale = forms
                    .iter()
                    .map(|rule| rule.stale.unwrap_or(7 * 24 * H))
                    .min();
                let last = self.alerts.iter().filter(|alert| alert.key == *key);
                let heard = last.map(|alert| alert.last).max().unwrap_or(0);
                let long = stale.is_some_and(|stale| self.now - heard >= stale);
                self.law(long, "stale too soon", || format!("{to}: {key:?}"));
                self.law(
                    belief.down > 0 || belief.flapping,
                    "stale and unknown",
                    || format!("{to}: {key:?}"),
                );
                Belief {
                    down: 0,
                    flapping: false,
                    ..belief
                }
            }
            _ if ended => self.heard_end(to, about, key, &belief, forms),
            _ => belief,
        };
        self.beliefs.insert((to.to_owned(), key.clone()), new);
    }

    fn heard_begin(
        &mut self,
        to: &str,
        about: &Notification,
        key: &Key,
        belief: &Belief,
        forms: &[Rule],
    ) -> Belief {
        let now = self.now;
        let say = || format!("{to}: {} {key:?}", about.reason);
        self.wanted(to, about, key, belief);
        self.quiet_kept(to, about, key);
        let mut new = belief.clone();
        new.told_at = now;
        new.all_told.push(now);
        if forms.iter().any(Rule::counts) {
            let (first, last) = (
                self.counted(key, &forms[0], false),
                self.counted(key, &forms[0], true),
            );
            let mut counts = forms.iter().filter_map(|rule| rule.threshold);
            let enough = counts.any(|(count, window)| {
                Self::together(&first, count, window + M)
                    || Self::together(&last, count, window + M)
            });
            self.law(enough, "below the threshold", say);
            self.law(belief.down == 0, "told twice", say);
            new.down = 1;
            return new;
        }
        if forms.iter().any(Rule::endless) {
            // Notified by the rule as it was, before its events had no end, and still down.
            let lasts = self.alerts.iter().any(|alert| {
                let told = belief.down > 0 && belief.told_at >= alert.opened;
                alert.key == *key
                    && told
                    && alert.changed
                    && !alert.rule.endless()
                    && alert.closed.is_none()
            });
            let plain = forms
                .iter()
                .all(|rule| rule.by.is_empty() && !rule.counts());
            self.law(!lasts || !plain, "told twice", say);
            self.once_a_cooldown(to, key, belief, forms);
            new.down = 1;
            return new;
        }
        let standing = self.standing(key);
        let most = standing.len() + usize::from(standing.iter().any(|alert| alert.changed));
        let open = !standing.is_empty();
        let first = standing
            .iter()
            .map(|alert| alert.opened)
            .min()
            .unwrap_or(now);
        let waits = forms.iter().map(|rule| rule.wait).min().unwrap_or(0);
        self.law(open, "told down, and it is up", say);
        self.law(now - first >= waits, "told before its `for`", say);
        let more = belief.down + 1;
        self.law(more <= most || !open, "told twice", say);
        new.down = if more <= most.max(1) {
            more
        } else {
            belief.down
        };
        new.flapping = false;
        new
    }

    /// Of what has no end there is one message until its cooldown has passed without one.
    fn once_a_cooldown(&mut self, to: &str, key: &Key, belief: &Belief, forms: &[Rule]) {
        let cooldown = forms.iter().map(|rule| rule.cooldown).min().unwrap_or(0);
        if forms
            .iter()
            .any(|rule| rule.by.len() > 1 || rule.by == ["id"])
        {
            return; // several alerts of one key
        }
        let counted = forms.iter().all(|rule| rule.threshold.is_some());
        let reached = self.alerts.iter().any(|alert| alert.key == *key);
        self.law(reached || !counted, "below the threshold", || {
            format!("{to}: {key:?}")
        });
        let Some(told) = belief.all_told.last().copied() else {
            return;
        };
        let of_key = self.alerts.iter().filter(|alert| alert.key == *key);
        let mut events: Vec<i64> = of_key.flat_map(|alert| alert.events.clone()).collect();
        events.sort_unstable();
        let gap = events
            .windows(2)
            .any(|pair| pair[1] > told - M && pair[1] - pair[0] >= cooldown - S);
        // A change of the rule may have made it lasting, and back.
        let changed = forms.len() > 1;
        self.law(gap || changed, "told twice in a cooldown", || {
            format!("{to}: {key:?}, events {events:?}, told {told}")
        });
    }

    /// A beginning goes where the rules in force say.
    fn wanted(&mut self, to: &str, about: &Notification, key: &Key, belief: &Belief) {
        let least = self.file.destinations.iter().find(|(name, _)| name == to);
        let rule = self.file.rules.iter().find(|rule| rule.name == key.rule);
        let notify = rule.and_then(|rule| rule.notify.as_ref());
        let named = notify.is_none_or(|names| names.iter().any(|name| name == to));
        let known = belief.down > 0 || belief.flapping;
        let there = least.is_some();
        let lives = rule.is_some();
        let severe = least.is_none_or(|(_, least)| {
            least.is_none_or(|least| about.severity >= severity(Some(least)))
        });
        let say = || format!("{to}: {} {key:?}", about.reason);
        self.law(there, "told a destination that is gone", say);
        self.law(lives || known, "told by a rule that is gone", say);
        self.law(
            named || known,
            "told a destination the rule does not name",
            say,
        );
        self.law(severe, "told below `min_severity`", say);
    }

    /// Nothing begins where somebody asked for quiet.
    fn quiet_kept(&mut self, to: &str, about: &Notification, key: &Key) {
        let (now, wall) = (self.now, self.now + self.offset);
        let Some(alert) = self.alerts.iter().rev().find(|alert| alert.key == *key) else {
            return;
        };
        let whole = key.place.1.is_none() && key.what != "infra_dhcp";
        let item = alert.item.clone();
        let silenced = self.silences.iter().any(|silence| {
            !whole
                && picks(&silence.matches, &item)
                && silence.from < now
                && silence.ended.is_none()
                && silence.until.is_some_and(|until| wall < until)
        });
        // At the very time at which it ends it does not hide any more, and at that at which it
        // begins what was due before it did may be told.
        let still = |then: &dyn Fn(i64, i64) -> bool| then(wall - 1, wall) && then(wall, wall + 1);
        let hidden = self
            .file
            .maintenance
            .iter()
            .any(|work| !whole && still(&|from, until| hides(work, &item, from, until)));
        let rule = self.file.rules.iter().find(|rule| rule.name == key.rule);
        let mute = rule.and_then(|rule| rule.mute);
        let muted = mute.is_some_and(|mute| still(&|from, until| mutes(&mute, from, until)));
        let say = || format!("{to}: {} {key:?}", about.reason);
        self.law(!silenced, "told though it is silenced", say);
        self.law(!hidden, "told in a maintenance", say);
        self.law(!muted, "told though its rule is muted", say);
    }

    fn changes(&self, key: &Key) -> Vec<i64> {
        let of_key = self.alerts.iter().filter(|alert| alert.key == *key);
        let mut changes: Vec<i64> = of_key.flat_map(|alert| alert.changes.clone()).collect();
        changes.sort_unstable();
        changes
    }

    fn heard_flapping(
        &mut self,
        to: &str,
        about: &Notification,
        key: &Key,
        belief: &Belief,
        forms: &[Rule],
    ) -> Belief {
        self.wanted(to, about, key, belief);
        self.quiet_kept(to, about, key);
        let changes = self.changes(key);
        let often = forms
            .iter()
            .filter_map(|rule| rule.flapping)
            .any(|(need, window, _)| {
                changes
                    .windows(need)
                    .any(|some| some[need - 1] - some[0] <= window)
            });
        let say = || format!("{to}: {key:?} {changes:?}");
        self.law(often, "flaps too soon", say);
        self.law(!belief.flapping, "told twice to flap", say);
        Belief {
            flapping: true,
            ..belief.clone()
        }
    }

    fn heard_stable(&mut self, to: &str, key: &Key, belief: &Belief, ended: bool) -> Belief {
        let standing = self.standing(key).len();
        let open = self
            .alerts
            .iter()
            .any(|a| a.key == *key && a.closed.is_none());
        let say = || format!("{to}: {key:?}, ended: {ended}");
        // Whoever was told down before it began to flap is told the end so.
        let known = belief.flapping || (ended && belief.down > 0);
        self.law(known, "stable, and nothing was told before", say);
        if ended {
            self.law(!open, "told up, and it is down", say);
        } else {
            self.law(standing > 0, "told down, and it is up", say);
        }
        Belief {
            ups: belief.ups + usize::from(ended),
            down: usize::from(!ended),
            flapping: false,
            told_at: self.now,
            ..belief.clone()
        }
    }

    fn heard_end(
        &mut self,
        to: &str,
        about: &Notification,
        key: &Key,
        belief: &Belief,
        forms: &[Rule],
    ) -> Belief {
        let say = || format!("{to}: {} {key:?}", about.reason);
        let known = belief.down > 0 || belief.flapping;
        self.law(known, "told up, and was not told down", say);
        if forms.iter().any(Rule::counts) {
            let (first, last) = (
                self.counted(key, &forms[0], false),
                self.counted(key, &forms[0], true),
            );
            let mut counts = forms.iter().filter_map(|rule| rule.threshold);
            let few = counts.any(|(count, window)| {
                !Self::together(&first, count, window - M)
                    || !Self::together(&last, count, window - M)
            });
            self.law(few, "told up, and enough are down", say);
            return Belief {
                down: 0,
                ..belief.clone()
            };
        }
        let of_key = || self.alerts.iter().filter(|alert| alert.key == *key);
        let closed = of_key().filter(|alert| alert.closed.is_some()).count();
        let open = closed < of_key().count();
        // `by` may make several alerts of one outage.
        let several = forms.iter().any(|rule| !rule.by.is_empty());
        let up = closed > belief.ups && (several || !open);
        self.law(up, "told up, and it is down", say);
        Belief {
            down: belief.down.saturating_sub(1),
            flapping: false,
            ups: belief.ups + 1,
            told_at: self.now,
            ..belief.clone()
        }
    }

    // --- what must have been said ---

    /// Before anything else happens at this time: what stood for long enough is known.
    pub(crate) fn settled(&mut self, now: i64) {
        self.now = now;
        self.beginnings_are_known();
        self.ends_are_known();
        self.counts_are_known();
        self.absences_are_known();
    }

    fn hold(&self, alert: &Alert) -> i64 {
        let targets = |rule: &&Inhibit| rule.target == alert.key.what;
        let all = self.file.inhibit.iter().filter(targets);
        all.map(|rule| rule.hold.unwrap_or(30 * S))
            .max()
            .unwrap_or(0)
    }

    /// How long a message may take: its company, and what was told before.
    fn company(rule: &Rule) -> i64 {
        rule.group_wait + 2 * rule.group_interval + 2 * S
    }

    fn settles(&self, key: &Key, rule: &Rule) -> i64 {
        let Some((need, window, stable)) = rule.flapping else {
            return 0;
        };
        let changes = self.changes(key);
        let flaps = changes
            .windows(need)
            .any(|some| some[need - 1] - some[0] <= window);
        if flaps { stable } else { 0 }
    }

    /// Whether nothing that suppresses could have been about this in that time.
    fn clear(&self, alert: &Alert, rule: &Rule, from: i64) -> bool {
        let now = self.now;
        let item = &alert.item;
        let any = |then: &dyn Fn(i64) -> bool| self.offsets.iter().any(|offset| then(*offset));
        let silenced = self.silences.iter().any(|silence| {
            let lasts = |offset: i64| {
                let until = silence.until.map_or(i64::MAX, |until| until - offset);
                until.min(silence.ended.unwrap_or(i64::MAX)) > from
            };
            picks(&silence.matches, item) && silence.from < now && any(&lasts)
        });
        let worked = |work: &Maintenance| any(&|o| hides(work, item, from + o, now + o));
        let worked_before = self
            .past_works
            .iter()
            .any(|(work, gone)| *gone > from && worked(work));
        let worked = self.file.maintenance.iter().any(worked);
        let muted = rule
            .mute
            .is_some_and(|mute| any(&|o| mutes(&mute, from + o, now + o)));
        // What was dropped, or put into a digest then, is not told when it lasts.
        let since_it_opened = |mute: &Mute| any(&|o| mutes(mute, alert.opened - 1 + o, now + o));
        let digested = |rule: &Rule| {
            let mute = rule.mute.filter(|mute| mute.during == "digest");
            mute.is_some_and(|mute| since_it_opened(&mute))
        };
        let forms = self
            .forms
            .get(&rule.name)
            .map_or(&[] as &[_], Vec::as_slice);
        let dropped = rule.mute.filter(|mute| mute.during == "drop");
        let dropped =
            dropped.is_some_and(|mute| since_it_opened(&mute)) || forms.iter().any(digested);
        !(silenced || worked || worked_before || muted || dropped || self.explained(alert, from))
    }

    /// Whether something that was down in that time may explain it.
    fn explained(&self, alert: &Alert, from: i64) -> bool {
        let target = (alert.key.what.as_str(), &alert.item);
        self.file.inhibit.iter().any(|rule| {
            rule.target == target.0
                && self
                    .truths
                    .iter()
                    .any(|(at, source)| self.explains(rule, alert, at, source, from))
        })
    }

    fn explains(
        &self,
        rule: &Inhibit,
        alert: &Alert,
        (condition, place): &(&'static str, Place),
        source: &Truth,
        from: i64,
    ) -> bool {
        let lasted = source.down || source.changes.last().is_some_and(|last| *last >= from);
        let name = |device: Option<usize>| device.map_or("", |device| DEVICES[device].0);
        let related = if rule.topology {
            hangs_on(name(alert.item.device), name(place.1))
        } else {
            place.0 == alert.item.site
        };
        if *condition != rule.source || !related || !lasted {
            return false;
        }
        let at = (alert_condition(alert), Self::place(&alert.item));
        let Some(target) = self.truths.get(&at) else {
            return true;
        };
        if let Some(within) = rule.within
            && (target.began - source.began).abs() > within + M
        {
            return false;
        }
        // It was heard of after the source went down: it does not hang on it.
        let heard = target
            .last_close
            .is_some_and(|close| close > source.newest_open.unwrap_or(0) + 60);
        !heard
    }

    /// The destinations in force that a rule names and that take this severity.
    fn addressees(&self, rule: &Rule, severe: Severity) -> Vec<String> {
        let named = |name: &String| rule.notify.as_ref().is_none_or(|to| to.contains(name));
        let takes = |least: Option<&str>| least.is_none_or(|least| severe >= severity(Some(least)));
        let all = self.file.destinations.iter();
        all.filter(|(name, least)| named(name) && takes(*least))
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn beginnings_are_known(&mut self) {
        let mut missing = Vec::new();
        for alert in self.alerts.iter().filter(|alert| alert.closed.is_none()) {
            let rule = self.file.rules.iter().find(|rule| **rule == alert.rule);
            let Some(rule) = rule.filter(|rule| !rule.counts() && !alert.changed) else {
                continue;
            };
            if self.murky(&rule.name) {
                continue;
            }
            let bound = Self::company(rule) + self.hold(alert) + rule.wait;
            let settles = self.settles(&alert.key, rule);
            if rule.endless() {
                missing.extend(self.endless_unknown(alert, rule, bound));
                continue;
            }
            let from = self.now - bound - settles;
            let changes = self.changes(&alert.key);
            let last = changes.last().copied().unwrap_or(0).max(alert.opened);
            let quiet = from >= last.max(self.reloaded).max(alert.severe_at);
            let stale = rule.stale.unwrap_or(7 * 24 * H) <= self.now - alert.last + M;
            if !quiet || stale || !self.clear(alert, rule, from) {
                continue;
            }
            let same = |other: &&Alert| other.key == alert.key && other.closed.is_none();
            // Another alert of the same outage was notified by the rule as it was.
            let of_old = |other: &Alert| other.changed && !rule.by.is_empty();
            if self.alerts.iter().filter(same).any(of_old) {
                continue;
            }
            let need = self.alerts.iter().filter(same).count();
            let need = if rule.by.is_empty() {
                need.min(1)
            } else {
                need
            };
            for to in self.addressees(rule, alert.severity) {
                if !alert.destinations.contains(&to) {
                    continue;
                }
                let belief = self.beliefs.get(&(to.clone(), alert.key.clone()));
                let down = belief.map_or(0, |belief| belief.down);
                if down < need.min(1) {
                    missing.push(format!(
                        "lasts, and is not told: at {} s: {to}: {:?}",
                        self.now as f64 / 1e3,
                        alert.key
                    ));
                }
            }
        }
        self.wrong.extend(missing);
    }

    /// What has no end: one message for each while it goes on, as soon as nothing suppresses it.
    fn endless_unknown(&self, alert: &Alert, rule: &Rule, bound: i64) -> Vec<String> {
        let free = alert.events.iter().filter(|event| {
            **event >= self.reloaded
                && self.now - **event >= bound
                && self.clear(alert, rule, **event - S)
        });
        let Some(event) = free.copied().next() else {
            return Vec::new();
        };
        let untold = |to: &String| {
            let belief = self.beliefs.get(&(to.clone(), alert.key.clone()));
            !belief.is_some_and(|belief| belief.all_told.iter().any(|told| *told >= alert.opened))
        };
        let all = self.addressees(rule, alert.severity);
        all.into_iter()
            .filter(|to| alert.destinations.contains(to) && untold(to))
            .map(|to| {
                let now = self.now as f64 / 1e3;
                format!(
                    "happened, and is not told: at {now} s: {to}: {:?} of {event}",
                    alert.key
                )
            })
            .collect()
    }

    fn ends_are_known(&mut self) {
        let mut missing = Vec::new();
        for ((to, key), belief) in &self.beliefs {
            let gone = !self.file.destinations.iter().any(|(name, _)| name == to);
            let forms = self.forms.get(&key.rule).map_or(&[] as &[_], Vec::as_slice);
            if gone || self.murky(&key.rule) || (belief.down == 0 && !belief.flapping) {
                continue;
            }
            if key.what == "absent" || forms.iter().any(Rule::counts) {
                continue;
            }
            let of_key = || self.alerts.iter().filter(|alert| alert.key == *key);
            let open = of_key().filter(|alert| alert.closed.is_none()).count();
            let last = of_key().filter_map(|alert| alert.closed).max().unwrap_or(0);
            let last = last.max(belief.told_at);
            let bound = forms
                .iter()
                .map(|rule| rule.keep + Self::company(rule) + rule.flapping.map_or(0, |f| f.2))
                .max()
                .unwrap_or(0);
            let endless = open > 0 && forms.iter().any(Rule::endless);
            // What had no end when it was notified is over when it has cooled down.
            let cooled = |alert: &Alert| {
                let heard = alert.last.max(belief.told_at);
                let over = |closed: i64| closed - heard >= alert.rule.cooldown;
                alert.rule.endless() && alert.closed.is_some_and(over)
            };
            if of_key().any(cooled) {
                continue;
            }
            let too_many = belief.down > open || (belief.flapping && open == 0);
            // An outage that was told and went stale, or ended with its cooldown, is not followed.
            if too_many && !endless && self.now - last >= bound {
                missing.push(format!(
                    "is up, and is not told: at {} s: {to}: {key:?}, closed at {} s, {belief:?}",
                    self.now as f64 / 1e3,
                    last as f64 / 1e3,
                ));
            }
        }
        self.wrong.extend(missing);
    }

    /// Rules that count devices.
    fn counts_are_known(&mut self) {
        let mut missing = Vec::new();
        for rule in &self.file.rules {
            let Some((count, _)) = rule.threshold.filter(|_| rule.counts()) else {
                continue;
            };
            if self.murky(&rule.name) {
                continue;
            }
            for ((to, key), belief) in &self.beliefs {
                let gone = !self.file.destinations.iter().any(|(name, _)| name == to);
                if key.rule != rule.name || belief.down == 0 || gone {
                    continue;
                }
                let changes = self
                    .truths
                    .iter()
                    .filter(|((condition, place), _)| {
                        *condition == key.what && place.0 == key.place.0
                    })
                    .filter_map(|(_, truth)| truth.changes.last())
                    .max();
                let last = changes.copied().unwrap_or(0).max(belief.told_at);
                let few = self.counted(key, rule, false).len() < count;
                if few && self.now - last >= Self::company(rule) {
                    let now = self.now as f64 / 1e3;
                    missing.push(format!(
                        "few are down, and it is not told: at {now} s: {to}: {key:?}"
                    ));
                }
            }
        }
        self.wrong.extend(missing);
    }

    fn absences_are_known(&mut self) {
        let mut missing = Vec::new();
        for ((to, key), belief) in &self.beliefs {
            let gone = !self.file.destinations.iter().any(|(name, _)| name == to);
            if key.what != "absent" || belief.down == 0 || gone || self.murky(&key.rule) {
                continue;
            }
            let forms = &self.forms[&key.rule];
            let bound = forms.iter().map(Self::company).max().unwrap_or(0);
            let came = self.matched.get(&key.rule).copied();
            if came.is_some_and(|came| came > belief.told_at && self.now - came >= bound) {
                let now = self.now as f64 / 1e3;
                missing.push(format!(
                    "came, and it is not told: at {now} s: {to}: {key:?}"
                ));
            }
        }
        for rule in &self.file.rules {
            let Some(window) = rule.absent else {
                continue;
            };
            let since = self.matched.get(&rule.name).copied().unwrap_or(0);
            let added = self.absent_since.get(&rule.name).copied().unwrap_or(0);
            let since = since.max(added).max(self.started).max(self.reloaded);
            let from = since + window;
            let muted = rule.mute.is_some_and(|mute| {
                let from = if mute.during == "hold" { from } else { 0 };
                self.offsets
                    .iter()
                    .any(|offset| mutes(&mute, from + offset, self.now + offset))
            });
            let quiet = self.silences.iter().any(|silence| silence.from < self.now)
                || !self.file.maintenance.is_empty()
                || !self.past_works.is_empty();
            if self.now - from < Self::company(rule) || muted || quiet || self.murky(&rule.name) {
                continue;
            }
            let key = Key {
                rule: rule.name.clone(),
                what: "absent".to_owned(),
                place: (0, None, None),
            };
            // Others heard of it before a reload named this one, too.
            let known = self.beliefs.iter().any(|((_, of), belief)| {
                *of == key && belief.down > 0 && belief.told_at < self.reloaded
            });
            for to in self.addressees(rule, severity(rule.severity)) {
                if self.there[&to] > added || known {
                    continue;
                }
                let down = self
                    .beliefs
                    .get(&(to.clone(), key.clone()))
                    .map_or(0, |b| b.down);
                if down == 0 {
                    let now = self.now as f64 / 1e3;
                    missing.push(format!(
                        "is absent, and is not told: at {now} s: {to}: {}",
                        rule.name
                    ));
                }
            }
        }
        self.wrong.extend(missing);
    }
}

fn alert_condition(alert: &Alert) -> &'static str {
    effect(alert.item.kind).map_or("", |(condition, _)| condition)
}
