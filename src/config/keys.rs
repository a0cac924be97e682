//! Every key of rules.yaml: what it is called, what its value looks like, what it means. The reader
//! refuses what is not here, and the JSON Schema is written from here, so the two cannot differ.

use crate::destination::KINDS;
use crate::model::{Setting, Shape};
use crate::source;

const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Setting {
    Setting::new(name, shape, doc)
}

pub(super) const FILE: &[Setting] = &[
    key(
        "server",
        Shape::Map(SERVER),
        "Where Foghorn listens and keeps its data.",
    ),
    key("sources", Shape::Named(SOURCE), source::ABOUT),
    key("destinations", Shape::Named(DESTINATION), "Whom we tell."),
    key(
        "defaults",
        Shape::Map(DEFAULTS),
        "Every rule starts from these.",
    ),
    key(
        "rules",
        Shape::ListOf(RULE),
        "What to look for, and what to do then.",
    ),
    key(
        "time_intervals",
        Shape::Each(&INTERVALS),
        "Named times for rules and maintenance: a period, or a list of them.",
    ),
    key(
        "maintenance",
        Shape::Either(&[Shape::ListOf(MAINTENANCE), Shape::Named(MAINTENANCE)]),
        "What matches is not told while it lasts, and reported when it is over.",
    ),
    key(
        "inhibit_rules",
        Shape::ListOf(INHIBIT),
        "While a source lasts, its targets are not told.",
    ),
    key(
        "topology",
        Shape::Map(TOPOLOGY),
        "What is reached through what.",
    ),
    key(
        "tests",
        Shape::ListOf(TEST),
        "What the rules must say, in virtual time; `foghorn test` runs them.",
    ),
];

pub(super) const SERVER: &[Setting] = &[
    key(
        "listen",
        Shape::Text,
        "Address and port. Default 127.0.0.1:8080.",
    ),
    key(
        "public_url",
        Shape::Text,
        "How people reach this server, for links in messages.",
    ),
    key(
        "password",
        Shape::Secret,
        "With it people log in: a hash that `foghorn hash-password` makes, env:NAME or file:PATH.",
    ),
    key(
        "trusted_proxies",
        Shape::Texts,
        "Addresses, or networks as in 10.0.0.0/8, of proxies that say who asks.",
    ),
    key(
        "user_header",
        Shape::Text,
        "In which header they say it. Default X-Forwarded-User, with `password` none.",
    ),
    key(
        "hosts",
        Shape::Texts,
        "More names people reach this server by, beside localhost, addresses and public_url's.",
    ),
    key(
        "data",
        Shape::Text,
        "The folder of the journal. Default ./data.",
    ),
    key(
        "templates",
        Shape::Text,
        "A folder of templates that override the built-in ones.",
    ),
    key("retention", Shape::Map(RETENTION), "What is kept."),
    key(
        "max_body",
        Shape::Size,
        "The largest POST taken. Default 1MiB.",
    ),
    key(
        "max_connections",
        Shape::Count,
        "How many connections at once. Default 512.",
    ),
    key(
        "log",
        Shape::Word(&["text", "json"]),
        "How log lines look. Default text.",
    ),
    key(
        "edit_rules",
        Shape::Flag,
        "Let the page change this file. Default false.",
    ),
];

pub(super) const RETENTION: &[Setting] = &[
    key(
        "age",
        Shape::Duration,
        "How long the journal is kept. Default 30d.",
    ),
    key(
        "size",
        Shape::Size,
        "How large it may grow. Default 512MiB.",
    ),
];

pub(super) const SOURCE: &[Setting] = &[
    key(
        "kind",
        Shape::Word(&source::WORDS),
        "What it is. Default: the first.",
    ),
    key(
        "secrets",
        Shape::Secrets,
        "Webhook secrets, valid at once: env:NAME or file:PATH.",
    ),
    key(
        "allow_unsigned",
        Shape::Flag,
        "Accept unsigned posts from anywhere. Default false.",
    ),
    key(
        "allow_v1",
        Shape::Flag,
        "Accept X-Mist-Signature (SHA-1) where v2 is absent. Default false.",
    ),
    key(
        "store",
        Shape::Word(&["useful", "all"]),
        "Whether chatty topics no rule names are stored. Default useful.",
    ),
    key(
        "max_event_age",
        Shape::DurationOrNever,
        "Older openings are kept and shown, not told. Default 24h.",
    ),
    key("portal", Shape::Text, source::ABOUT_PORTAL),
];

/// Keys of every destination: what it is, one key a kind, and the settings all kinds share.
pub(super) const DESTINATION: &[Setting] = &destination();

#[expect(
    clippy::indexing_slicing,
    reason = "done by the compiler, which checks it"
)]
const fn destination() -> [Setting; KINDS.len() + SHARED.len()] {
    let mut all = [SHARED[0]; KINDS.len() + SHARED.len()];
    let mut i = 0;
    while i < all.len() {
        all[i] = if i < KINDS.len() {
            KINDS[i].setting()
        } else {
            SHARED[i - KINDS.len()]
        };
        i += 1;
    }
    all
}

/// Words of `overflow`.
pub(super) const OVERFLOWS: &[&str] = &["summary", "queue"];

const SHARED: &[Setting] = &[
    key(
        "digest",
        Shape::Map(DIGEST),
        "Collects, and tells other destinations at a time of day.",
    ),
    key(
        "min_severity",
        Shape::Word(SEVERITIES),
        "Messages below this are not for it. Default info.",
    ),
    key("rate_limit", Shape::Map(RATE_LIMIT), "Its pace."),
    key(
        "overflow",
        Shape::Word(OVERFLOWS),
        "What happens to messages the pace would delay.",
    ),
    key(
        "overflow_after",
        Shape::Duration,
        "How long a message may wait before that. Default 60s.",
    ),
    key(
        "timeout",
        Shape::Duration,
        "The whole request. Default 10s.",
    ),
    key("retry", Shape::Map(RETRY), "When a send failed."),
];

pub(super) const DIGEST: &[Setting] = &[
    key("at", Shape::Texts, "When: 08:00, or several times."),
    key(
        "zone",
        Shape::Text,
        "Whose clock: Europe/Paris. Default: this machine's.",
    ),
    key("into", Shape::Texts, "Whom it tells. Default all."),
];

/// One period, or several of which any.
const INTERVALS: Shape = Shape::Either(&[Shape::Map(INTERVAL), Shape::ListOf(INTERVAL)]);

/// Every restriction holds; or one span of time.
pub(super) const INTERVAL: &[Setting] = &[
    key(
        "times",
        TIMES,
        "Times of day: {start: \"22:00\", end: \"06:00\"} or \"22:00-06:00\"; may cross midnight.",
    ),
    key(
        "weekdays",
        Shape::Texts,
        "Days on which it begins: saturday, or monday:friday.",
    ),
    key(
        "days_of_month",
        Shape::Texts,
        "1, or 1:5; negative ones count from the end of the month.",
    ),
    key("months", Shape::Texts, "january, 1, or june:august."),
    key("years", Shape::Texts, "2026, or 2026:2028."),
    ZONE,
    FROM,
    UNTIL,
];

const ZONE: Setting = key(
    "zone",
    Shape::Text,
    "Whose clocks and calendars: Europe/Paris. Default: this machine's.",
);
const FROM: Setting = key(
    "from",
    Shape::Text,
    "When it begins, once: \"2026-12-01 22:00\", or with a zone as in RFC 3339.",
);
const UNTIL: Setting = key("until", Shape::Text, "When it ends, likewise.");
const TIMES: Shape = Shape::Either(&[TIME, Shape::List(&TIME)]);
const TIME: Shape = Shape::Either(&[Shape::Text, Shape::Map(SPAN)]);

pub(super) const SPAN: &[Setting] = &[
    key("start", Shape::Text, "From here on."),
    key("end", Shape::Text, "Until before there; 24:00 is midnight."),
];

pub(super) const MAINTENANCE: &[Setting] = &[
    key(
        "name",
        Shape::Text,
        "Its name, which is its identity across reloads.",
    ),
    key(
        "match",
        Shape::Match,
        "What it is about. Default: everything.",
    ),
    key(
        "every",
        Shape::Either(&[Shape::Texts, Shape::Map(INTERVAL), Shape::ListOf(INTERVAL)]),
        "When, again and again: the name of a time_interval, or a period.",
    ),
    FROM,
    UNTIL,
    ZONE,
];

pub(super) const INHIBIT: &[Setting] = &[
    key("source", Shape::Match, "What explains."),
    key("target", Shape::Match, "What is explained."),
    key(
        "equal",
        Shape::Fields,
        "Fields that are the same on both sides.",
    ),
    key(
        "within",
        Shape::Duration,
        "Only what began within this of the source, by Mist's clock.",
    ),
    key(
        "via",
        Shape::Word(VIA),
        "Only what hangs below the source by `topology`.",
    ),
    key(
        "hold",
        Shape::Duration,
        "How long a target waits for a source told later. Default 30s.",
    ),
];

pub(super) const VIA: &[&str] = &["topology"];

pub(super) const TOPOLOGY: &[Setting] = &[key(
    "links",
    Shape::Each(&Shape::Texts),
    "A device, by name or MAC, to those that are reached through it.",
)];

pub(super) const RATE_LIMIT: &[Setting] = &[
    key("limit", Shape::Count, "How many messages."),
    key("per", Shape::Duration, "In how long. Default 1s."),
    key(
        "burst",
        Shape::Count,
        "How many at once after a pause. Default: limit.",
    ),
];

pub(super) const RETRY: &[Setting] = &[
    key("first", Shape::Duration, "The first wait. Default 1s."),
    key("max", Shape::Duration, "The longest wait. Default 5m."),
    key(
        "give_up_after",
        Shape::Duration,
        "Then it is a dead letter. Default 72h.",
    ),
];

pub(super) const SEVERITIES: &[&str] = &["critical", "warning", "info"];

const SEVERITY: Setting = key(
    "severity",
    Shape::Word(SEVERITIES),
    "Default: Mist's, else warning.",
);
const NOTIFY: Setting = key(
    "notify",
    Shape::Texts,
    "Destinations, or `all`. Default all.",
);
const TEMPLATE: Setting = key(
    "template",
    Shape::Text,
    "Which message. Default: chosen by condition, type and topic.",
);
const GROUP_BY: Setting = key(
    "group_by",
    Shape::Fields,
    "Alerts with equal values are one incident. Default [site].",
);
const GROUP_WAIT: Setting = key(
    "group_wait",
    Shape::Duration,
    "The first message waits for its company. Default 10s.",
);
const GROUP_INTERVAL: Setting = key(
    "group_interval",
    Shape::Duration,
    "Least time between additions. Default 5m.",
);
const REPEAT: Setting = key(
    "repeat_interval",
    Shape::DurationOrNever,
    "Remind while it lasts. Default never.",
);
const COOLDOWN: Setting = key(
    "cooldown",
    Shape::Duration,
    "Of events with no end: quiet until this long without one. Default 1h.",
);
const STALE_AFTER: Setting = key(
    "stale_after",
    Shape::DurationOrNever,
    "An alert not heard of for this long ends. Default 7d.",
);

const FLAPPING_OR_OFF: Shape =
    Shape::Either(&[Shape::Map(FLAPPING), Shape::Word(OFF), Shape::Flag]);
const FLAPS: Setting = key(
    "flapping",
    FLAPPING_OR_OFF,
    "Told once when it changes too often, then not until it is stable. Default {changes: 4, window: 30m, stable: 10m}.",
);
const MUTE: Setting = key(
    "mute_time_intervals",
    Shape::Texts,
    "Names of `time_intervals` in which it says nothing.",
);
const ACTIVE: Setting = key(
    "active_time_intervals",
    Shape::Texts,
    "Names of `time_intervals` outside of which it says nothing.",
);
const DURING_MUTE: Setting = key(
    "during_mute",
    Shape::Word(MUTED),
    "What fires then: told at the end if it still lasts (hold), in a digest, or never (drop). Default hold.",
);

pub(super) const MUTED: &[&str] = &["hold", "digest", "drop"];

/// Ways to say no.
pub(super) const OFF: &[&str] = &["off", "never", "false", "no"];

pub(super) const FLAPPING: &[Setting] = &[
    key("changes", Shape::Count, "So many changes, at least 2 …"),
    key("window", Shape::Duration, "… within so long."),
    key(
        "stable",
        Shape::Duration,
        "Until nothing changed for so long.",
    ),
];

pub(super) const DEFAULTS: &[Setting] = &[
    NOTIFY,
    GROUP_BY,
    GROUP_WAIT,
    GROUP_INTERVAL,
    REPEAT,
    FLAPS,
    COOLDOWN,
    STALE_AFTER,
    SEVERITY,
    MUTE,
    ACTIVE,
    DURING_MUTE,
    TEMPLATE,
];

pub(super) const RULE: &[Setting] = &[
    key(
        "name",
        Shape::Text,
        "Its name, which is its identity across reloads.",
    ),
    key(
        "match",
        Shape::Match,
        "What it looks for: keys are AND, a list is any of, `not` is none of.",
    ),
    key(
        "when",
        Shape::Text,
        "What `match` cannot say: an expression, as in \"event.audit_id is not defined\".",
    ),
    key(
        "by",
        Shape::Fields,
        "What makes two alerts different. Default: the condition's subject.",
    ),
    key(
        "for",
        Shape::Duration,
        "It must last this long. Default 0s.",
    ),
    key(
        "resolve",
        Shape::Resolve,
        "What closes it: a match, or `never`. Implied for known conditions.",
    ),
    key(
        "keep_firing_for",
        Shape::Duration,
        "After a close, wait this long for a reopening. Default 0s.",
    ),
    key("threshold", Shape::Map(THRESHOLD), "How many it takes."),
    key(
        "absent",
        Shape::Map(ABSENT),
        "Tell when nothing that matches came for this long.",
    ),
    FLAPS,
    COOLDOWN,
    SEVERITY,
    GROUP_BY,
    GROUP_WAIT,
    GROUP_INTERVAL,
    REPEAT,
    STALE_AFTER,
    MUTE,
    ACTIVE,
    DURING_MUTE,
    NOTIFY,
    TEMPLATE,
];

pub(super) const ABSENT: &[Setting] = &[key("window", Shape::Duration, "How long.")];

pub(super) const THRESHOLD: &[Setting] = &[
    key("count", Shape::Count, "How many."),
    key(
        "window",
        Shape::Duration,
        "Within how long (a sliding window).",
    ),
    key(
        "distinct",
        Shape::Field,
        "Count different values of this field instead of events.",
    ),
];

pub(super) const BOUNDS: &[Setting] = &[
    key("gt", Shape::Any, "Greater than."),
    key("gte", Shape::Any, "At least."),
    key("lt", Shape::Any, "Less than."),
    key("lte", Shape::Any, "At most."),
    key("exists", Shape::Flag, "There, or not there."),
];

pub(super) const TEST: &[Setting] = &[
    key("name", Shape::Text, "What it shows."),
    key(
        "start",
        Shape::Text,
        "When time begins. Default 2026-01-05T00:00Z, a Monday.",
    ),
    key(
        "events",
        Shape::Any,
        "What happens: maps of `at`, `type` and whatever else Mist sends; or `silence`, `expire`, `reload`.",
    ),
    key(
        "expect",
        Shape::ListOf(EXPECT),
        "Every message, in order; the keys given must be equal.",
    ),
    key("until", Shape::Duration, "Let time run on until then."),
];

/// Something a person does in a test.
pub(super) const DEED: &[Setting] = &[
    key("at", Shape::Duration, "When."),
    key(
        "silence",
        Shape::Map(SILENCE),
        "Say nothing about what matches.",
    ),
    key("expire", Shape::Text, "End the silence of this name."),
];

/// The file changes in a test.
pub(super) const RELOAD: &[Setting] = &[
    key("at", Shape::Duration, "When."),
    key(
        "reload",
        Shape::Any,
        "What the file says from here on: `rules` and whatever else stands beside them, in place of its own.",
    ),
];

pub(super) const SILENCE: &[Setting] = &[
    key("name", Shape::Text, "What `expire` knows it by."),
    key("match", Shape::Match, "What it is about."),
    key("for", Shape::Duration, "How long."),
    key(
        "until",
        Shape::Word(&["resolved"]),
        "Until nothing that matches lasts any more.",
    ),
    key("author", Shape::Text, "Who."),
    key("comment", Shape::Text, "Why."),
];

pub(super) const REASONS: &[&str] = &[
    "first",
    "new-events",
    "recovered",
    "repeat",
    "resolved",
    "stale",
    "flapping",
    "stable",
    "absent",
    "digest",
];

pub(super) const EXPECT: &[Setting] = &[
    key("at", Shape::Duration, "When."),
    key("rule", Shape::Text, "Which rule tells."),
    key("reason", Shape::Word(REASONS), "Why now."),
    key("notify", Shape::Texts, "Whom."),
    key("contains", Shape::Text, "A part of title or text."),
    SEVERITY,
    key("incident", Shape::Text, "Its incident."),
    key("title", Shape::Text, "The whole title."),
    key("text", Shape::Text, "The whole text."),
];

/// Words of the rules language that later versions know.
pub(super) const LATER: &[&str] = &["edit_rules"];
