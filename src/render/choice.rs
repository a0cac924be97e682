//! The template of a notification.

use serde_json::Value;

use super::kinds::{Kinds, is_of_port};
use crate::model::{Happening, Notification, Reason};

/// The condition of a missing event, used for its end as well.
const ABSENT: &str = "absent";

/// The type of Foghorn's own message about too many open alerts.
const TOO_MANY: &str = "too_many_alerts";

/// Returns the template for notifications whose form does not depend on their subject.
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

/// Returns the template if the rule names none: that of all subjects if they agree, or else the
/// generic one.
pub(super) fn choose(about: &Notification) -> &'static str {
    let kinds = Kinds::of(&about.subjects);
    // With a single kind, or none in older snapshots, the notification's own decides.
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
    // A template about one kind would be wrong about the others.
    let mut templates = kinds.all().iter().map(of);
    let first = templates.next().unwrap_or("generic");
    if templates.all(|other| other == first) {
        first
    } else {
        "generic"
    }
}

/// Returns the template for one kind of event.
fn template_of(
    about: &Notification,
    kind: &str,
    condition: Option<&str>,
    group: &str,
) -> &'static str {
    let condition = condition.unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    // Types come in many spellings, and conditions cover only some of them: a part of either
    // decides.
    let is = |words: &[&str]| {
        words
            .iter()
            .any(|word| kind.contains(word) || condition.contains(word))
    };
    // The order matters: a Marvis action about a port, for example, is a Marvis action first.
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
    // The same type has several reasons; only interference is worth its own text.
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
    // Without a part in every subject, a text about ports would have gaps.
    if is_of_port(condition) && about.subjects.iter().all(|s| s.part.is_some()) {
        return "port";
    }
    "generic"
}
