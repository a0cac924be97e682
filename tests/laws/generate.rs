//! Random rule files, random traffic, random changes: everything by the seed.

use foghorn::simulate::Chance;
use serde_json::{Map, Value, json};

/// Monday, 5 January 2026, midnight UTC, in milliseconds. Every time of a case counts from here.
pub(crate) const START: i64 = 1_767_571_200_000;

/// One second.
pub(crate) const S: i64 = 1_000;
/// One minute.
pub(crate) const M: i64 = 60 * S;
/// One hour.
pub(crate) const H: i64 = 60 * M;

/// Every device: name, kind, site. The last three never go down: what they send would show that they
/// are up.
pub(crate) const DEVICES: [(&str, &str, usize); 11] = [
    ("gw-a", "gateway", 0),
    ("sw-a", "switch", 0),
    ("ap-1", "ap", 0),
    ("ap-2", "ap", 0),
    ("ap-3", "ap", 0),
    ("sw-b", "switch", 1),
    ("ap-4", "ap", 1),
    ("ap-5", "ap", 1),
    ("ap-8", "ap", 0),
    ("ap-9", "ap", 1),
    ("sw-p", "switch", 0),
];
/// The names of the sites.
pub(crate) const SITES: [&str; 2] = ["Home", "Lab"];
/// Types without a condition: one that begins something where a rule says so, one that ends it, and
/// one that is waited for. The catalogue knows them: reading a file with unknown ones is slow.
const LOST: &str = "AP_RADIUS_ACCOUNTING_SERVER_CHANGE";
const FOUND: &str = "AP_RADSEC_SERVER_CHANGE";
const BEAT: &str = "AP_GET_SUPPORT_FILES";
/// Ports of `sw-p`.
const PORTS: [&str; 2] = ["ge-0/0/1", "ge-0/0/2"];
/// A text for the rules, and the test that it stands for.
type Oracle<T> = (&'static str, fn(&T) -> bool);
/// Patterns for names of devices.
pub(crate) const DEVICE_PATTERNS: [Oracle<str>; 3] = [
    ("*-1", |name| name.ends_with("-1")),
    ("ap-*", |name| name.starts_with("ap-")),
    ("/-[124]$/", |name| name.ends_with(['1', '2', '4'])),
];
/// Expressions for `when`.
pub(crate) const WHENS: [Oracle<Item>; 3] = [
    ("device != 'ap-1'", |item| item.device != Some(2)),
    ("topic != 'alarms'", |item| item.topic != "alarms"),
    (
        "site == 'Home' and event.no_such_thing is not defined",
        |item| item.site == 0,
    ),
];
/// Every calendar: name, and its minutes of the day.
pub(crate) const CALENDARS: [(&str, i64, i64); 3] =
    [("early", 60, 150), ("noon", 300, 360), ("late", 480, 500)];

/// The name of the digest.
pub(crate) const DIGEST: &str = "morning";

/// The id of a site.
pub(crate) fn site_id(site: usize) -> String {
    format!("11111111-0000-0000-0000-{site:012}")
}

/// The MAC of a device.
pub(crate) fn mac(device: usize) -> String {
    format!("5c5b3501{device:04x}")
}

/// One rule, as data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) name: String,
    /// Empty: `types` says what it looks for.
    pub(crate) conditions: Vec<&'static str>,
    pub(crate) types: Vec<&'static str>,
    pub(crate) site: Option<usize>,
    /// How the name of the site is spelled: itself, a glob, a regular expression.
    pub(crate) spelling: usize,
    /// One of `DEVICE_PATTERNS`.
    pub(crate) device: Option<usize>,
    pub(crate) not_device: Option<&'static str>,
    /// One of `WHENS`.
    pub(crate) when: Option<usize>,
    pub(crate) severity: Option<&'static str>,
    /// Empty: the default.
    pub(crate) by: Vec<&'static str>,
    pub(crate) wait: i64,
    pub(crate) resolve: Resolve,
    pub(crate) keep: i64,
    pub(crate) threshold: Option<(usize, i64)>,
    pub(crate) cooldown: i64,
    /// Changes, window, stable.
    pub(crate) flapping: Option<(usize, i64, i64)>,
    pub(crate) absent: Option<i64>,
    pub(crate) stale: Option<i64>,
    pub(crate) group_by: Option<Vec<&'static str>>,
    pub(crate) group_wait: i64,
    pub(crate) group_interval: i64,
    pub(crate) repeat: Option<i64>,
    /// `None`: all.
    pub(crate) notify: Option<Vec<String>>,
    pub(crate) mute: Option<Mute>,
}

/// When a rule notifies of nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mute {
    pub(crate) calendar: &'static str,
    /// `during_mute`.
    pub(crate) during: &'static str,
    /// It is mute outside of the calendar.
    pub(crate) outside: bool,
}

/// What ends a rule's alerts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Resolve {
    Implied,
    Never,
    Type(&'static str),
}

/// One of `inhibit_rules`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inhibit {
    pub(crate) source: &'static str,
    pub(crate) target: &'static str,
    pub(crate) topology: bool,
    pub(crate) within: Option<i64>,
    pub(crate) hold: Option<i64>,
}

/// One of `maintenance`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Maintenance {
    pub(crate) name: String,
    pub(crate) matches: Pick,
    /// Of the first day, where it is daily.
    pub(crate) from: i64,
    pub(crate) until: i64,
    /// `every`, instead of `from` and `until`.
    pub(crate) daily: bool,
}

/// What a silence or a maintenance is about.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pick {
    Device(&'static str),
    Site(usize),
    Condition(&'static str),
}

impl Pick {
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Device(name) => json!({"device": name}),
            Self::Site(site) => json!({"site": SITES[*site]}),
            Self::Condition(name) => json!({"condition": name}),
        }
    }
}

/// A rule file, as data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct File {
    pub(crate) rules: Vec<Rule>,
    /// Name, and the least severity it takes.
    pub(crate) destinations: Vec<(String, Option<&'static str>)>,
    pub(crate) inhibit: Vec<Inhibit>,
    pub(crate) maintenance: Vec<Maintenance>,
    /// There is a digest, which `a` and `b` get in the end.
    pub(crate) digest: bool,
}

/// One item of a POST.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) topic: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) device: Option<usize>,
    pub(crate) site: usize,
    pub(crate) port: Option<&'static str>,
    pub(crate) severity: Option<&'static str>,
    /// By the sender's clock.
    pub(crate) time: i64,
}

/// What happens to Foghorn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// Events of one topic, in this order.
    Post(Vec<Item>),
    /// The file is replaced.
    Reload(File),
    /// It is stopped, and started with the same file.
    Restart,
    /// It is killed, and goes on from its last snapshot.
    Kill,
    Silence {
        id: u64,
        matches: Pick,
        /// `None`: until resolved.
        until: Option<i64>,
    },
    Expire(u64),
    /// The wall clock was set: how far it is from the journal's time since.
    Clock(i64),
}

/// When what happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) at: i64,
    pub(crate) what: What,
}

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) file: File,
    pub(crate) steps: Vec<Step>,
}

fn chosen<T: Copy>(chance: &mut Chance, from: &[T]) -> T {
    *chance.pick(from).unwrap()
}

fn duration(millis: i64) -> String {
    format!("{millis}ms")
}

impl Rule {
    fn json(&self) -> Value {
        let mut all = Map::new();
        let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
        let mut matches = Map::new();
        if self.conditions.is_empty() {
            matches.insert("type".to_owned(), json!(self.types));
        } else {
            matches.insert("condition".to_owned(), json!(self.conditions));
        }
        if let Some(site) = self.site {
            let name = SITES[site];
            let spelled = [
                name.to_owned(),
                format!("{}*", &name[..2]),
                format!("/^{name}$/"),
            ];
            matches.insert("site".to_owned(), json!(spelled[self.spelling]));
        }
        if let Some(pattern) = self.device {
            matches.insert("device".to_owned(), json!(DEVICE_PATTERNS[pattern].0));
        }
        if let Some(device) = self.not_device {
            matches.insert("not".to_owned(), json!({"device": device}));
        }
        put("name", json!(self.name));
        put("match", Value::Object(matches));
        if let Some(when) = self.when {
            put("when", json!(WHENS[when].0));
        }
        if let Some(severity) = self.severity {
            put("severity", json!(severity));
        }
        if !self.by.is_empty() {
            put("by", json!(self.by));
        }
        if self.wait > 0 {
            put("for", json!(duration(self.wait)));
        }
        match self.resolve {
            Resolve::Implied => {}
            Resolve::Never => _ = put("resolve", json!("never")),
            Resolve::Type(kind) => _ = put("resolve", json!({"type": kind})),
        }
        if self.keep > 0 {
            put("keep_firing_for", json!(duration(self.keep)));
        }
        if let Some((count, window)) = self.threshold {
            let mut threshold = json!({"count": count, "window": duration(window)});
            if self.counts() {
                threshold["distinct"] = json!("device_mac");
            }
            put("threshold", threshold);
        }
        if self.endless() {
            put("cooldown", json!(duration(self.cooldown)));
        } else if self.absent.is_none() {
            let flapping = self.flapping.map(|(changes, window, stable)| {
                json!({"changes": changes, "window": duration(window), "stable": duration(stable)})
            });
            put("flapping", flapping.unwrap_or_else(|| json!("never")));
        }
        if let Some(window) = self.absent {
            put("absent", json!({"window": duration(window)}));
        }
        if let Some(stale) = self.stale {
            put("stale_after", json!(duration(stale)));
        }
        if let Some(fields) = &self.group_by {
            put("group_by", json!(fields));
        }
        put("group_wait", json!(duration(self.group_wait)));
        put("group_interval", json!(duration(self.group_interval)));
        if let Some(repeat) = self.repeat {
            put("repeat_interval", json!(duration(repeat)));
        }
        if let Some(names) = &self.notify {
            put("notify", json!(names));
        }
        if let Some(mute) = self.mute {
            let key = if mute.outside {
                "active_time_intervals"
            } else {
                "mute_time_intervals"
            };
            put(key, json!([mute.calendar]));
            put("during_mute", json!(mute.during));
        }
        Value::Object(all)
    }

    /// Whether its alerts have no end but the `cooldown`.
    pub(crate) fn endless(&self) -> bool {
        let never = self.resolve == Resolve::Never;
        let events = self.conditions.is_empty()
            && self.types.iter().all(|kind| effect(kind).is_none())
            && self.resolve == Resolve::Implied;
        self.absent.is_none() && (never || events)
    }

    /// Whether it counts devices that are down, for one alert about all of them.
    pub(crate) fn counts(&self) -> bool {
        self.threshold.is_some() && !self.endless()
    }
}

impl File {
    /// The text of the file: JSON is YAML.
    pub(crate) fn text(&self) -> String {
        let mut destinations: Map<String, Value> = self
            .destinations
            .iter()
            .map(|(name, least)| {
                let mut settings = json!({"console": {}});
                if let Some(least) = least {
                    settings["min_severity"] = json!(least);
                }
                (name.clone(), settings)
            })
            .collect();
        if self.digest {
            let into = [&self.destinations[0].0];
            let digest = json!({"digest": {"at": "05:00", "zone": "UTC", "into": into}});
            destinations.insert(DIGEST.to_owned(), digest);
        }
        let inhibit: Vec<Value> = self
            .inhibit
            .iter()
            .map(|rule| {
                let mut all = json!({
                    "source": {"condition": rule.source}, "target": {"condition": rule.target},
                });
                if rule.topology {
                    all["via"] = json!("topology");
                } else {
                    all["equal"] = json!(["site"]);
                }
                if let Some(within) = rule.within {
                    all["within"] = json!(duration(within));
                }
                if let Some(hold) = rule.hold {
                    all["hold"] = json!(duration(hold));
                }
                all
            })
            .collect();
        let clock = |minute: i64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
        let time = |millis: i64| foghorn::model::Timestamp::from_millis(START + millis).rfc3339();
        let maintenance: Vec<Value> = self
            .maintenance
            .iter()
            .map(|work| {
                let mut all = json!({"name": work.name, "match": work.matches.json()});
                if work.daily {
                    let times = format!("{}-{}", clock(work.from / M), clock(work.until / M));
                    all["every"] = json!({"times": times, "zone": "UTC"});
                } else {
                    all["from"] = json!(time(work.from));
                    all["until"] = json!(time(work.until));
                }
                all
            })
            .collect();
        let calendars: Map<String, Value> = CALENDARS
            .iter()
            .map(|(name, from, until)| {
                let times = format!("{}-{}", clock(*from), clock(*until));
                ((*name).to_owned(), json!({"times": times, "zone": "UTC"}))
            })
            .collect();
        let mut all = json!({
            "destinations": destinations,
            "time_intervals": calendars,
            "rules": self.rules.iter().map(Rule::json).collect::<Vec<_>>(),
        });
        if !inhibit.is_empty() {
            all["inhibit_rules"] = json!(inhibit);
            all["topology"] = json!({"links": {"sw-a": ["ap-1", "ap-2"], "sw-b": ["ap-4"]}});
        }
        if !maintenance.is_empty() {
            all["maintenance"] = json!(maintenance);
        }
        serde_json::to_string_pretty(&all).unwrap()
    }
}

/// Whether the topology of every case says that one device hangs on the other.
pub(crate) fn hangs_on(device: &str, source: &str) -> bool {
    matches!(
        (device, source),
        ("ap-1" | "ap-2", "sw-a") | ("ap-4", "sw-b")
    )
}

/// What a type does to which condition, as the catalogue has it: `true` opens.
pub(crate) fn effect(kind: &str) -> Option<(&'static str, bool)> {
    Some(match kind {
        "AP_DISCONNECTED" | "device_down" | "marvis open" | "marvis reoccured" => {
            ("ap_offline", true)
        }
        "AP_CONNECTED" | "device_reconnected" | "marvis resolved" | "marvis validated"
        | "AP_UNCLAIMED" | "AP_UNASSIGNED" => ("ap_offline", false),
        "SW_DISCONNECTED" | "switch_down" => ("switch_offline", true),
        "SW_CONNECTED" | "switch_reconnected" | "SW_UNCLAIMED" | "SW_UNASSIGNED" => {
            ("switch_offline", false)
        }
        "GW_DISCONNECTED" | "gateway_down" => ("gateway_offline", true),
        "GW_CONNECTED" | "gateway_reconnected" | "GW_UNCLAIMED" | "GW_UNASSIGNED" => {
            ("gateway_offline", false)
        }
        "SW_PORT_DOWN" => ("sw_port", true),
        "SW_PORT_UP" => ("sw_port", false),
        "infra_dhcp_failure" => ("infra_dhcp", true),
        "infra_dhcp_success" => ("infra_dhcp", false),
        _ => return None,
    })
}

impl Item {
    /// The event, as Mist sends it.
    fn event(&self) -> Value {
        let mut event = json!({
            "type": self.kind,
            "site_id": site_id(self.site), "site_name": SITES[self.site],
            "org_id": "22222222-0000-0000-0000-000000000001",
        });
        let time = START + self.time;
        if self.topic == "alarms" {
            let id = format!("{:08x}-{:04x}", time / 1_000 % 0xffff_ffff, time % 1_000);
            event["id"] = json!(format!(
                "{id}-4000-8000-{:06x}{:06x}",
                self.kind.len(),
                self.device.map_or(self.site + 100, |device| device)
            ));
            event["timestamp"] = json!(time as f64 / 1_000.0);
            event["group"] = json!("infrastructure");
            event["severity"] = json!(self.severity.unwrap_or("warn"));
            event["count"] = json!(1);
            if let (Some(status), Some(device)) = (self.kind.strip_prefix("marvis "), self.device) {
                event["type"] = json!("AP_OFFLINE");
                event["group"] = json!("marvis");
                event["details"] = json!({"status": status, "symptom": "ap_disconnect"});
                event["impacted_entities"] = json!([{
                    "entity_type": "ap", "entity_mac": mac(device),
                    "entity_name": DEVICES[device].0, "port_id": "ge-1",
                }]);
            } else if let Some(device) = self.device {
                let key = match DEVICES[device].1 {
                    "gateway" => "gateways",
                    "switch" => "switches",
                    _ => "aps",
                };
                event[key] = json!([mac(device)]);
                event["hostnames"] = json!([DEVICES[device].0]);
            }
        } else {
            event["timestamp"] = json!(time.div_euclid(1_000));
            if let Some(device) = self.device {
                event["mac"] = json!(mac(device));
                event["device_name"] = json!(DEVICES[device].0);
                event["device_type"] = json!(DEVICES[device].1);
            }
            if let Some(port) = self.port {
                event["port_id"] = json!(port);
            }
        }
        event
    }

    /// The body of the POST that brings these.
    pub(crate) fn body(all: &[Self]) -> Value {
        let events: Vec<Value> = all.iter().map(Self::event).collect();
        json!({"topic": all[0].topic, "events": events})
    }

    /// What makes two of them the same one, told twice.
    pub(crate) fn content(&self) -> String {
        let Self {
            kind, time, port, ..
        } = self;
        let device = self.device;
        if self.topic == "alarms" {
            format!("{kind} {device:?} {} {time} {:?}", self.site, self.severity)
        } else {
            format!("{kind} {device:?} {} {port:?}", time.div_euclid(1_000))
        }
    }
}

fn random_policy(chance: &mut Chance, rule: &mut Rule) {
    if chance.percent(60) {
        rule.group_wait = chosen(chance, &[0, 5, 10, 30]) * S;
        rule.group_interval = chosen(chance, &[0, 60, 300]) * S;
    }
    if chance.percent(25) {
        rule.group_by = Some(chosen(chance, &[&["device"] as &[_], &[], &["site"]]).to_vec());
    }
    if chance.percent(15) {
        rule.repeat = Some(chosen(chance, &[20, 60]) * M);
    }
    if chance.percent(30) {
        let names: &[&[&str]] = &[
            &["a"],
            &["b"],
            &["a", "b"],
            &["c"],
            &["a", "c"],
            &["a", DIGEST],
        ];
        let names = chosen(chance, names);
        rule.notify = Some(names.iter().map(|name| (*name).to_owned()).collect());
    }
    if chance.percent(15) {
        rule.mute = Some(Mute {
            calendar: chosen(chance, &CALENDARS).0,
            during: chosen(chance, &["hold", "hold", "drop", "digest"]),
            outside: chance.percent(20),
        });
    }
    if chance.percent(15) {
        rule.severity = Some(chosen(chance, &["critical", "warning", "info"]));
    }
    if chance.percent(15) {
        rule.site = Some(usize::from(chance.percent(40)));
        rule.spelling = chance.between(0, 2) as usize;
    }
    if chance.percent(6) {
        rule.device = Some(chance.between(0, 2) as usize);
    }
    if chance.percent(10) {
        rule.when = Some(chance.between(0, 2) as usize);
    }
    if chance.percent(8) {
        rule.not_device = Some(chosen(chance, &["ap-2", "sw-a", "ap-8"]));
    }
}

fn lasting(chance: &mut Chance, rule: &mut Rule) {
    let offline: [&[&'static str]; 4] = [
        &["ap_offline"],
        &["switch_offline"],
        &["gateway_offline"],
        &["ap_offline", "switch_offline", "gateway_offline"],
    ];
    match chance.between(0, 9) {
        0..=4 => rule.conditions = offline[0].to_vec(),
        5 => rule.conditions = chosen(chance, &offline).to_vec(),
        6 => rule.conditions = vec!["sw_port"],
        7 => rule.conditions = vec!["infra_dhcp"],
        8 => rule.types = vec!["AP_DISCONNECTED"],
        _ => rule.types = vec!["device_down", "SW_DISCONNECTED"],
    }
    let devices = !rule
        .conditions
        .iter()
        .any(|name| !name.ends_with("offline"));
    if devices && chance.percent(20) {
        let by: [&[&'static str]; 4] = [
            &["device_mac"],
            &["device_mac", "type"],
            &["device_mac", "type"],
            &["id"],
        ];
        rule.by = chosen(chance, &by).to_vec();
    }
    rule.wait = chosen(chance, &[0, 0, 20, 60, 180]) * S;
    if chance.percent(20) {
        rule.keep = chosen(chance, &[20, 60, 240]) * S;
    }
    rule.flapping = match chance.between(0, 3) {
        0 | 1 => None,
        2 => Some((4, 30 * M, 10 * M)),
        _ => Some((
            chosen(chance, &[3, 5]),
            chosen(chance, &[5, 20]) * M,
            chosen(chance, &[2, 6]) * M,
        )),
    };
    if rule.conditions == ["ap_offline"] && rule.by.is_empty() && chance.percent(10) {
        rule.threshold = Some((2, chosen(chance, &[5, 15]) * M));
        rule.flapping = None;
        rule.keep = 0;
        rule.group_by = None;
    } else if chance.percent(5) {
        rule.resolve = Resolve::Never;
        (rule.wait, rule.keep, rule.flapping) = (0, 0, None);
        rule.cooldown = chosen(chance, &[5, 30, 60]) * M;
    } else if chance.percent(6) {
        rule.stale = Some(H);
    }
}

fn rule(chance: &mut Chance, name: &str) -> Rule {
    let mut rule = Rule {
        name: name.to_owned(),
        conditions: Vec::new(),
        types: Vec::new(),
        site: None,
        spelling: 0,
        device: None,
        not_device: None,
        when: None,
        severity: None,
        by: Vec::new(),
        wait: 0,
        resolve: Resolve::Implied,
        keep: 0,
        threshold: None,
        cooldown: H,
        flapping: None,
        absent: None,
        stale: None,
        group_by: None,
        group_wait: 10 * S,
        group_interval: 5 * M,
        repeat: None,
        notify: None,
        mute: None,
    };
    random_policy(chance, &mut rule);
    match chance.between(0, 9) {
        0..=6 => lasting(chance, &mut rule),
        7 => {
            rule.types = chosen(
                chance,
                &[&["AP_RADAR_DETECTED"] as &[_], &["AP_RADAR_DETECTED", LOST]],
            )
            .to_vec();
            rule.cooldown = chosen(chance, &[5, 20, 60]) * M;
            if chance.percent(25) {
                rule.by = vec!["site"];
            } else if chance.percent(25) {
                rule.threshold = Some((2, chosen(chance, &[10, 30]) * M));
            }
        }
        8 => {
            rule.types = vec![LOST];
            rule.resolve = Resolve::Type(FOUND);
            rule.by = vec!["device_mac"];
            rule.wait = chosen(chance, &[0, 0, 60]) * S;
            rule.keep = chosen(chance, &[0, 0, 60]) * S;
        }
        _ => {
            rule.types = vec![BEAT];
            rule.absent = Some(chosen(chance, &[20, 45]) * M);
            rule.group_by = None;
            (rule.site, rule.device, rule.not_device, rule.when) = (None, None, None, None);
        }
    }
    rule
}

fn inhibit(chance: &mut Chance) -> Inhibit {
    let (source, target) = chosen(
        chance,
        &[
            ("switch_offline", "ap_offline"),
            ("switch_offline", "ap_offline"),
            ("gateway_offline", "ap_offline"),
            ("gateway_offline", "switch_offline"),
        ],
    );
    let topology = source == "switch_offline" && chance.percent(30);
    Inhibit {
        source,
        target,
        topology,
        within: (!topology && chance.percent(50)).then_some(2 * M),
        hold: chance.percent(40).then(|| chosen(chance, &[0, 10, 45]) * S),
    }
}

fn pick(chance: &mut Chance) -> Pick {
    match chance.between(0, 5) {
        0..=3 => Pick::Device(chosen(chance, &DEVICES).0),
        4 => Pick::Site(usize::from(chance.percent(50))),
        _ => Pick::Condition(chosen(chance, &["ap_offline", "sw_port", "switch_offline"])),
    }
}

fn maintenance(chance: &mut Chance, name: &str, after: i64) -> Maintenance {
    let daily = chance.percent(30);
    // Of whole minutes, or seconds.
    let from = if daily {
        chance.between(0, 5 * 60) as i64 * M
    } else {
        after + chance.between(0, 3 * 3_600) as i64 * S
    };
    let lasts = if daily {
        chance.between(10, 90) as i64 * M
    } else {
        chance.between(60, 5_400) as i64 * S
    };
    Maintenance {
        name: name.to_owned(),
        matches: pick(chance),
        from,
        until: from + lasts,
        daily,
    }
}

fn file(chance: &mut Chance) -> File {
    let count = chance.between(1, 5);
    let rules = (0..count)
        .map(|n| rule(chance, &format!("rule {n}")))
        .collect();
    let mut destinations = vec![
        ("a".to_owned(), None),
        ("b".to_owned(), None),
        ("c".to_owned(), None),
    ];
    if chance.percent(40) {
        destinations[1].1 = Some("critical");
    }
    let sources = if chance.percent(40) {
        chance.between(1, 2)
    } else {
        0
    };
    let works = u64::from(chance.percent(25));
    let mut file = File {
        rules,
        destinations,
        inhibit: (0..sources).map(|_| inhibit(chance)).collect(),
        maintenance: (0..works).map(|_| maintenance(chance, "work", 0)).collect(),
        digest: chance.percent(30),
    };
    keep_names(&mut file);
    file
}

/// A rule that another file brought may name destinations that are not there, or want a digest.
fn keep_names(file: &mut File) {
    let names: Vec<&String> = file.destinations.iter().map(|(name, _)| name).collect();
    for rule in &mut file.rules {
        if let Some(mute) = rule
            .mute
            .as_mut()
            .filter(|mute| mute.during == "digest" && !file.digest)
        {
            mute.during = "hold";
        }
        if let Some(to) = &mut rule.notify {
            to.retain(|name| names.contains(&name) || (file.digest && name == DIGEST));
        }
    }
}

/// Another file: anything may be different.
fn changed(chance: &mut Chance, file: &File, now: i64) -> File {
    let mut file = file.clone();
    for _ in 0..chance.between(1, 3) {
        let other = rule(chance, &format!("rule {}", chance.clone().between(0, 99)));
        let at = chance.between(0, file.rules.len().max(1) as u64 - 1) as usize;
        match chance.between(0, 20) {
            0 if file.rules.len() > 1 => drop(file.rules.remove(at)),
            1 if file.rules.iter().all(|known| known.name != other.name) => file.rules.push(other),
            2 => file.rules[at].name.push('x'),
            3 => {
                // All of it, under the same name.
                let name = file.rules[at].name.clone();
                file.rules[at] = Rule { name, ..other };
            }
            4 => {
                // A destination is renamed, everywhere.
                let to = chance.between(0, 2) as usize;
                let to = to.min(file.destinations.len() - 1);
                let old = file.destinations[to].0.clone();
                let new = format!("{old}-new");
                file.destinations[to].0.clone_from(&new);
                for rule in &mut file.rules {
                    for name in rule.notify.iter_mut().flatten() {
                        if *name == old {
                            name.clone_from(&new);
                        }
                    }
                }
            }
            5 if file.destinations.len() > 1 => {
                let (old, _) = file.destinations.pop().unwrap();
                for rule in &mut file.rules {
                    if let Some(names) = &mut rule.notify {
                        names.retain(|name| *name != old);
                    }
                }
            }
            6 => {
                let name = format!("d{now}-{}", file.destinations.len());
                file.destinations.push((name, None));
            }
            7 => file.inhibit.clear(),
            8 => file.inhibit.push(inhibit(chance)),
            9 => file.maintenance.clear(),
            10 => file.maintenance.push(maintenance(
                chance,
                &format!("work {}", file.maintenance.len() as i64 + now),
                now,
            )),
            11 => file.rules[at].notify = None,
            12 => {
                let names: Vec<String> = file
                    .destinations
                    .iter()
                    .map(|(name, _)| name.clone())
                    .collect();
                file.rules[at].notify = Some(vec![chance.pick(&names).unwrap().clone()]);
            }
            13 => file.rules[at].severity = Some(chosen(chance, &["critical", "warning"])),
            14 => file.digest = !file.digest,
            _ => change_word(chance, &mut file.rules[at], &other),
        }
    }
    keep_names(&mut file);
    file
}

fn change_word(chance: &mut Chance, rule: &mut Rule, other: &Rule) {
    let follows = rule.absent.is_none() && !rule.endless() && !rule.counts();
    // What has no end any more is a change of its own kind.
    let word = match chance.between(0, 13) {
        12.. => 2,
        word => word,
    };
    match word {
        0 if follows => rule.wait = chosen(chance, &[0, 30, 120]) * S,
        1 if follows => rule.keep = chosen(chance, &[0, 30, 120]) * S,
        2 if follows && !rule.conditions.is_empty() => {
            rule.resolve = Resolve::Never;
            (rule.wait, rule.keep, rule.flapping) = (0, 0, None);
        }
        2 if rule.resolve == Resolve::Never => rule.resolve = Resolve::Implied,
        2 if rule.types == [LOST] => {
            rule.resolve = if rule.resolve == Resolve::Implied {
                Resolve::Type(FOUND)
            } else {
                (rule.wait, rule.keep) = (0, 0);
                Resolve::Implied
            };
        }
        3 if follows && rule.conditions == ["ap_offline"] => {
            rule.by = chosen(
                chance,
                &[&[] as &[_], &["device_mac"], &["device_mac", "type"]],
            )
            .to_vec();
        }
        4 if rule.counts() => rule.threshold = None,
        5 if follows => rule.flapping = chosen(chance, &[None, Some((4, 20 * M, 5 * M))]),
        6 => rule.cooldown = chosen(chance, &[5, 20, 60]) * M,
        7 if !rule.counts() => rule.group_by.clone_from(&other.group_by),
        8 => (rule.group_wait, rule.group_interval) = (other.group_wait, other.group_interval),
        9 => rule.mute = other.mute,
        10 if rule.absent.is_some() => rule.absent = Some(30 * M),
        10 => (rule.site, rule.when, rule.device) = (other.site, other.when, other.device),
        _ => rule.repeat = other.repeat,
    }
}

/// Brings one item, as networks do: late, twice, or not at all.
fn bring(chance: &mut Chance, steps: &mut Vec<Step>, item: &Item, lost: u64) {
    if chance.percent(lost) {
        return;
    }
    let copies = 1 + chance.percent(8) as u64;
    for _ in 0..copies {
        let late = match chance.between(0, 19) {
            0 => chance.between(5_000, 300_000),
            1 => chance.between(0, 30_000),
            _ => chance.between(0, 4_000),
        };
        steps.push(Step {
            at: item.time + late as i64,
            what: What::Post(vec![item.clone()]),
        });
    }
}

/// One change of a device, on the topics that tell of it.
fn flip(chance: &mut Chance, steps: &mut Vec<Step>, device: usize, down: bool, time: i64) {
    let (kind, alarm) = match (DEVICES[device].1, down) {
        ("ap", true) => ("AP_DISCONNECTED", "device_down"),
        ("ap", false) => ("AP_CONNECTED", "device_reconnected"),
        ("switch", true) => ("SW_DISCONNECTED", "switch_down"),
        ("switch", false) => ("SW_CONNECTED", "switch_reconnected"),
        (_, true) => ("GW_DISCONNECTED", "gateway_down"),
        (_, false) => ("GW_CONNECTED", "gateway_reconnected"),
    };
    let item = |topic, kind, time| Item {
        topic,
        kind,
        device: Some(device),
        site: DEVICES[device].2,
        port: None,
        severity: (topic == "alarms").then_some("warn"),
        time,
    };
    let second = time.div_euclid(S) * S;
    let lost = if down { 3 } else { 8 };
    let topics = chance.between(0, 9);
    if topics <= 6 {
        bring(chance, steps, &item("device-events", kind, second), lost);
    }
    if topics.is_multiple_of(3) {
        bring(chance, steps, &item("device-updowns", kind, second), lost);
    }
    if topics >= 5 {
        bring(chance, steps, &item("alarms", alarm, second + 250), lost);
    }
    if DEVICES[device].1 == "ap" && chance.percent(15) {
        let statuses: [&'static str; 2] = if down {
            ["marvis open", "marvis reoccured"]
        } else {
            ["marvis resolved", "marvis validated"]
        };
        let action = item("alarms", chosen(chance, &statuses), second);
        bring(chance, steps, &action, lost);
    }
    // It is back at a fraction of a second, and down again within that second.
    if !down && topics >= 8 && chance.percent(40) {
        let down = flip_types(device);
        let again = item("device-events", down, second);
        let last = steps.last().map_or(time, |step| step.at.max(time));
        steps.push(Step {
            at: last + 500,
            what: What::Post(vec![again]),
        });
    }
}

fn flip_types(device: usize) -> &'static str {
    match DEVICES[device].1 {
        "ap" => "AP_DISCONNECTED",
        "switch" => "SW_DISCONNECTED",
        _ => "GW_DISCONNECTED",
    }
}

/// What a device that goes up and down does in the whole time.
fn device_story(chance: &mut Chance, steps: &mut Vec<Step>, device: usize, end: i64) {
    let mut time = chance.between(0, (end / 3) as u64) as i64;
    let mut down = true;
    while time < end {
        flip(chance, steps, device, down, time);
        if down && chance.percent(3) {
            // It is taken out of the inventory.
            let kind = match DEVICES[device].1 {
                "ap" => chosen(chance, &["AP_UNCLAIMED", "AP_UNASSIGNED"]),
                "switch" => "SW_UNCLAIMED",
                _ => chosen(chance, &["GW_UNCLAIMED", "GW_UNASSIGNED"]),
            };
            let removed = Item {
                topic: "device-events",
                kind,
                device: Some(device),
                site: DEVICES[device].2,
                port: None,
                severity: None,
                time: (time + 20 * M).div_euclid(S) * S,
            };
            bring(chance, steps, &removed, 0);
            return;
        }
        down = !down;
        let gap = match chance.between(0, 9) {
            0..=4 => chance.between(3, 120),
            5..=7 => chance.between(60, 1_200),
            _ => chance.between(1_200, 9_000),
        };
        time += gap as i64 * S + chance.between(0, 999) as i64;
    }
    if !down && chance.percent(90) {
        flip(chance, steps, device, false, time);
    }
}

fn other_stories(chance: &mut Chance, steps: &mut Vec<Step>, end: i64) {
    let at = |chance: &mut Chance| chance.between(0, end as u64) as i64;
    for port in &PORTS {
        if chance.percent(40) {
            continue;
        }
        let mut time = at(chance);
        let mut down = true;
        while time < end {
            let item = Item {
                topic: "device-events",
                kind: if down { "SW_PORT_DOWN" } else { "SW_PORT_UP" },
                device: Some(10),
                site: 0,
                port: Some(port),
                severity: None,
                time: time.div_euclid(S) * S,
            };
            bring(chance, steps, &item, 5);
            down = !down;
            time += chance.between(5, 2_400) as i64 * S;
        }
    }
    for site in 0..2 {
        let mut time = at(chance);
        let mut down = chance.percent(50);
        while time < end && down {
            for n in 0..=chance.between(0, 2) {
                let item = Item {
                    topic: "alarms",
                    kind: "infra_dhcp_failure",
                    device: None,
                    site,
                    port: None,
                    severity: Some(chosen(chance, &["warn", "warn", "critical"])),
                    time: time + n as i64 * chance.between(3_000, 90_000) as i64,
                };
                bring(chance, steps, &item, 0);
            }
            time += 5 * M + chance.between(5, 4_000) as i64 * S;
            let item = Item {
                topic: "alarms",
                kind: "infra_dhcp_success",
                device: None,
                site,
                port: None,
                severity: Some("info"),
                time,
            };
            bring(chance, steps, &item, 5);
            down = chance.percent(60);
            time += chance.between(300, 4_000) as i64 * S;
        }
    }
    for device in [8, 9] {
        for kind in ["AP_RADAR_DETECTED", LOST, FOUND, BEAT] {
            let mut time = at(chance);
            for _ in 0..chance.between(0, 5) {
                let item = Item {
                    topic: "device-events",
                    kind,
                    device: Some(device),
                    site: DEVICES[device].2,
                    port: None,
                    severity: None,
                    time: time.div_euclid(S) * S,
                };
                bring(chance, steps, &item, 0);
                time += chance.between(10, 4_000) as i64 * S;
            }
        }
    }
}

/// What people do: reloads, silences, and what befalls the process.
fn deeds(chance: &mut Chance, steps: &mut Vec<Step>, file: &File, end: i64) {
    let at = |chance: &mut Chance| chance.between(0, end as u64) as i64;
    // Near something that happens, mostly.
    let near = |chance: &mut Chance, steps: &[Step]| match chance.pick(steps) {
        Some(step) if chance.clone().percent(75) => step.at + chance.between(0, 20_000) as i64,
        _ => chance.between(0, end as u64) as i64,
    };
    let traffic = steps.clone();
    for id in 0..chance.between(0, 3) {
        let from = near(chance, &traffic);
        let until = chance
            .percent(65)
            .then(|| from + chance.between(30, 5_400) as i64 * S);
        let (matches, ended) = (pick(chance), chance.percent(20));
        steps.push(Step {
            at: from,
            what: What::Silence { id, matches, until },
        });
        if ended {
            let what = What::Expire(id);
            let at = from + chance.between(1, 2_000) as i64 * S;
            steps.push(Step { at, what });
        }
    }
    if chance.percent(60) {
        let mut times: Vec<i64> = (0..chance.between(1, 4))
            .map(|_| near(chance, &traffic))
            .collect();
        times.sort_unstable();
        let mut now = file.clone();
        for at in times {
            now = changed(chance, &now, at);
            let what = What::Reload(now.clone());
            steps.push(Step { at, what });
        }
    }
    for _ in 0..chance.between(0, 3) {
        let what = match chance.between(0, 9) {
            0..=5 => What::Kill,
            6 | 7 => What::Restart,
            _ => What::Clock(chosen(chance, &[0, 20, -20, 1_200, -1_200]) * S),
        };
        steps.push(Step {
            at: at(chance),
            what,
        });
    }
}

/// Some POSTs bring what others of their topic would have brought within two seconds.
fn together(chance: &mut Chance, steps: Vec<Step>) -> Vec<Step> {
    let mut all: Vec<Step> = Vec::new();
    for step in steps {
        if let (What::Post(new), Some(last)) = (&step.what, all.last_mut())
            && let What::Post(items) = &mut last.what
            && step.at - last.at <= 2 * S
            && items[0].topic == new[0].topic
            && items.iter().all(|item| item.device != new[0].device)
            && new[0].device.is_some()
            && chance.percent(40)
        {
            items.extend(new.iter().cloned());
            last.at = step.at;
            continue;
        }
        all.push(step);
    }
    all
}

/// The case that a seed names.
pub(crate) fn case(seed: u64) -> Case {
    let mut chance = Chance::new(seed).part("laws");
    let chance = &mut chance;
    let file = file(chance);
    let end = chosen(chance, &[H, 3 * H, 8 * H]);
    let mut steps = Vec::new();
    let mut devices: Vec<usize> = (0..8).collect();
    chance.shuffle(&mut devices);
    let many = chance.between(2, 6) as usize;
    for device in devices.into_iter().take(many) {
        device_story(chance, &mut steps, device, end);
    }
    other_stories(chance, &mut steps, end);
    while steps.len() < 50 {
        let device = chance.between(0, 7) as usize;
        device_story(chance, &mut steps, device, end);
    }
    deeds(chance, &mut steps, &file, end);
    steps.sort_by_key(|step| step.at);
    let steps = together(chance, steps);
    Case { file, steps }
}

/// Ways to make a file simpler, for the rule of that number.
pub(crate) const SIMPLER: [fn(&mut File, usize); 14] = [
    |file, n| each(file, n, |rule| rule.mute = None),
    |file, n| each(file, n, |rule| rule.repeat = None),
    |file, n| each(file, n, |rule| rule.notify = None),
    |file, n| each(file, n, |rule| rule.severity = None),
    |file, n| each(file, n, |rule| rule.site = None),
    |file, n| each(file, n, |rule| rule.when = None),
    |file, n| each(file, n, |rule| rule.device = None),
    |file, _| {
        file.digest = false;
        keep_names(file);
    },
    |file, n| each(file, n, |rule| rule.not_device = None),
    |file, n| each(file, n, |rule| rule.group_by = None),
    |file, n| each(file, n, |rule| rule.keep = 0),
    |file, n| each(file, n, |rule| rule.flapping = None),
    |file, n| each(file, n, |rule| rule.wait = 0),
    |file, n| each(file, n, |rule| rule.stale = None),
];

fn each(file: &mut File, n: usize, change: fn(&mut Rule)) {
    if let Some(rule) = file.rules.get_mut(n) {
        change(rule);
    }
}
