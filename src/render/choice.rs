//! Which template a notification takes.

use serde_json::Value;

use super::kinds::{Kinds, is_of_port};
use crate::model::{Happening, Notification, Reason};

/// The condition of what should keep coming and does not, so that its end reads well too.
const ABSENT: &str = "absent";

/// The type of Foghorn's own message that more alerts are open than it follows.
const TOO_MANY: &str = "too_many_alerts";

/// What is told in the same way whatever it is about: the name of its template.
pub(super) fn occasion(about: &Notification) -> Option<&'static str> {
    match about.reason {
        _ if about.kind == TOO_MANY => Some("too-many-alerts"),
        Reason::Flapping => Some("flapping"),
        Reason::Stable => Some("stable"),
        Reason::Absent => Some("absent"),
        _ if about.condition.as_deref() == Some(ABSENT) => Some("absent"),
        _ => None,
    }
}

/// The template for a notification whose rule names none: that of all it speaks of, else the one
/// for anything.
pub(super) fn choose(about: &Notification) -> &'static str {
    let kinds = Kinds::of(&about.subjects);
    if kinds.all().len() < 2 {
        let group = about
            .event
            .get("group")
            .and_then(Value::as_str)
            .unwrap_or_default();
        return template_of(about, &about.kind, about.condition.as_deref(), group);
    }
    let of = |of: &Happening| {
        template_of(
            about,
            &of.kind,
            of.condition.as_deref(),
            of.group.as_deref().unwrap_or_default(),
        )
    };
    let mut templates = kinds.all().iter().map(of);
    let first = templates.next().unwrap_or("generic");
    if templates.all(|other| other == first) {
        first
    } else {
        "generic"
    }
}

/// The template for one kind of happening.
fn template_of(
    about: &Notification,
    kind: &str,
    condition: Option<&str>,
    group: &str,
) -> &'static str {
    let condition = condition.unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    let is = |words: &[&str]| {
        words
            .iter()
            .any(|word| kind.contains(word) || condition.contains(word))
    };
    if about.topic == "audits" {
        return "audit";
    }
    if group == "marvis" {
        return "marvis";
    }
    if matches!(
        condition,
        "ap_offline" | "switch_offline" | "gateway_offline" | "edge_offline"
    ) {
        return "device-offline";
    }
    if group == "security"
        || is(&[
            "rogue",
            "honeypot",
            "spoof",
            "secpolicy",
            "_attack",
            "idp_attack",
            "urlfilter",
        ])
    {
        return "security";
    }
    let reason = about
        .why
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if is(&["radar", "interference"]) || (kind.contains("rrm") && reason.contains("interference")) {
        return "interference";
    }
    if kind.contains("rrm") {
        return "rrm";
    }
    if is(&["dhcp", "dns", "arp_", "_arp", "radsec", "radius"]) {
        return "service";
    }
    if is(&["restart", "reboot", "upgrade"]) {
        return "reboot";
    }
    if is(&["config", "commit"]) {
        return "config";
    }
    if is(&[
        "chassis",
        "_fan",
        "_psu",
        "_pem",
        "power",
        "beacon_stuck",
        "fpc",
        "optics",
        "_cpu",
        "memory",
        "disk",
        "_temp",
    ]) {
        return "hardware";
    }
    if is_of_port(condition) && about.subjects.iter().all(|s| s.part.is_some()) {
        return "port";
    }
    "generic"
}
