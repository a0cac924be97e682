//! The events of Mist's cloud about a network, in the shapes Mist sends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::chance::Chance;
use super::network::{Family, SimDevice, SiteIdentity};
use crate::model::Timestamp;

/// Maximum number of devices listed by an alarm.
const LISTED: usize = 10;

/// One event, with the time at which Mist noted it.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) at: Timestamp,
    pub(super) topic: &'static str,
    /// The site; `None` for events of the organisation (the login of an administrator).
    pub(super) place: Option<Arc<SiteIdentity>>,
    pub(super) item: Map<String, Value>,
}

/// A device that waits for a grouped alarm.
#[derive(Clone, Debug)]
struct Due {
    at: Timestamp,
    kind: &'static str,
    device: Arc<SimDevice>,
    reason: Option<&'static str>,
}

/// Collects the events.
#[derive(Debug)]
pub(super) struct CloudFeed {
    noted: Vec<Noted>,
    due: Vec<Due>,
    ids: Chance,
}

impl CloudFeed {
    pub(super) fn new(ids: Chance) -> Self {
        Self {
            noted: Vec::new(),
            due: Vec::new(),
            ids,
        }
    }

    /// Adds an event to `device-events`. `more` are the fields of its type.
    pub(super) fn device(&mut self, at: Timestamp, device: &SimDevice, kind: &str, more: &Value) {
        self.note(
            at,
            "device-events",
            Some(&device.place),
            item(at, device, kind, more),
        );
    }

    /// Adds a change of connection to `device-events`, and a copy to `device-updowns`.
    fn up_down(&mut self, at: Timestamp, device: &SimDevice, kind: &str, more: &Value) {
        self.device(at, device, kind, more);
        let mut copy = item(at, device, kind, more);
        // The copies use the old field names for every device.
        copy.insert("ap".to_owned(), device.mac.clone().into());
        copy.insert("ap_name".to_owned(), device.name.clone().into());
        self.note(at, "device-updowns", Some(&device.place), copy);
    }

    /// Adds the loss of a device: on two topics, with an alarm soon after.
    pub(super) fn down(&mut self, at: Timestamp, device: &Arc<SimDevice>) {
        self.up_down(
            at,
            device,
            &format!("{}_DISCONNECTED", device.family.prefix()),
            &json!({}),
        );
        self.alarm_due(
            at,
            device,
            ["device_down", "switch_down", "gateway_down"],
            None,
        );
    }

    /// Adds the recovery of a device.
    pub(super) fn up(&mut self, at: Timestamp, device: &Arc<SimDevice>) {
        self.up_down(
            at,
            device,
            &format!("{}_CONNECTED", device.family.prefix()),
            &json!({}),
        );
        let kinds = [
            "device_reconnected",
            "switch_reconnected",
            "gateway_reconnected",
        ];
        self.alarm_due(at, device, kinds, None);
    }

    /// Adds the restart of a device.
    pub(super) fn restarted(
        &mut self,
        at: Timestamp,
        device: &Arc<SimDevice>,
        reason: &'static str,
    ) {
        let kind = format!("{}_RESTARTED", device.family.prefix());
        self.up_down(at, device, &kind, &json!({"reason": reason}));
        let kinds = ["device_restarted", "switch_restarted", "gateway_restarted"];
        self.alarm_due(at, device, kinds, Some(reason));
    }

    /// Adds the event that a device sends after its recovery.
    pub(super) fn configured(&mut self, at: Timestamp, device: &SimDevice) {
        let kind = format!("{}_CONFIGURED", device.family.prefix());
        let more = match device.family {
            Family::Ap => json!({}),
            Family::Switch | Family::Gateway => {
                json!({"text": "UI_COMMIT_COMPLETED: : commit complete"})
            }
        };
        self.device(at, device, &kind, &more);
    }

    fn alarm_due(
        &mut self,
        at: Timestamp,
        device: &Arc<SimDevice>,
        kinds: [&'static str; 3],
        reason: Option<&'static str>,
    ) {
        // Each family has its own types, in this order.
        let [ap, switch, gateway] = kinds;
        let kind = match device.family {
            Family::Ap => ap,
            Family::Switch => switch,
            Family::Gateway => gateway,
        };
        self.due.push(Due {
            at,
            kind,
            device: device.clone(),
            reason,
        });
    }

    /// Adds an event to `alarms` with this id (a new one if `None`). Returns the id, for later
    /// updates.
    pub(super) fn alarm(
        &mut self,
        at: Timestamp,
        place: &Arc<SiteIdentity>,
        kind: &str,
        id: Option<&str>,
        more: &Value,
    ) -> String {
        let id = id.map_or_else(|| self.ids.uuid(), str::to_owned);
        let mut item = object(&json!({
            "id": id, "type": kind, "timestamp": seconds_with_micros(at), "last_seen": iso(at), "count": 1,
            "org_id": place.org_id, "site_id": place.id, "site_name": place.name, "group": "infrastructure",
        }));
        // Later values replace the defaults above.
        item.extend(object(more));
        self.note(at, "alarms", Some(place), item);
        id
    }

    /// Adds a Marvis action about one device; `status` is open or resolved.
    pub(super) fn marvis(
        &mut self,
        at: Timestamp,
        device: &SimDevice,
        kind: &str,
        id: Option<&str>,
        (status, action): (&str, &str),
        entity: &Value,
    ) -> String {
        // Marvis names the device in a list of affected entities, not in fields of its own.
        let mut affected = object(&json!({
            "entity_mac": device.mac, "entity_name": device.name, "entity_type": device.family.word(),
        }));
        affected.extend(object(entity));
        let mut more = object(&json!({
            "group": "marvis", "severity": "critical", "status": status, "category": "layer_1", "suggestion": action,
            "details": {"action": action, "category": "layer_1", "status": status, "symptom": kind},
            "impacted_entities": [affected], "org_name": "Example",
        }));
        if status == "resolved" {
            more.insert("resolved_time".to_owned(), iso(at).into());
        }
        self.alarm(at, &device.place, kind, id, &Value::Object(more))
    }

    /// Adds an action of an administrator.
    pub(super) fn audit(
        &mut self,
        at: Timestamp,
        place: Option<&Arc<SiteIdentity>>,
        org_id: &str,
        message: &str,
    ) -> String {
        let id = self.ids.uuid();
        let mut item = object(&json!({
            "admin_name": "Ann Lee ann.lee@example.net", "id": id, "message": message, "org_id": org_id,
            "src_ip": "192.0.2.17", "timestamp": seconds_with_micros(at),
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        }));
        if let Some(place) = place {
            item.insert("site_id".to_owned(), place.id.clone().into());
            item.insert("site_name".to_owned(), place.name.clone().into());
        }
        self.note(at, "audits", place, item);
        id
    }

    /// Adds any other event.
    pub(super) fn note(
        &mut self,
        at: Timestamp,
        topic: &'static str,
        place: Option<&Arc<SiteIdentity>>,
        item: Map<String, Value>,
    ) {
        self.noted.push(Noted {
            at,
            topic,
            place: place.cloned(),
            item,
        });
    }

    /// Returns all events in Mist's order. Alarms about devices are grouped like Mist's: those of
    /// one site within some seconds, ten at most.
    pub(super) fn finish(mut self) -> Vec<Noted> {
        // Only neighbours in this order can share an alarm.
        let key = |due: &Due| (due.device.place.id.clone(), due.kind, due.reason, due.at);
        self.due.sort_by_key(key);
        let mut group: Vec<Due> = Vec::new();
        for due in std::mem::take(&mut self.due) {
            let joins = group.first().is_some_and(|first| {
                first.device.place.id == due.device.place.id
                    && (first.kind, first.reason) == (due.kind, due.reason)
                    && due.at.since(first.at) <= Duration::from_secs(15)
                    && group.len() < LISTED
            });
            if !joins {
                self.tell(&std::mem::take(&mut group));
            }
            group.push(due);
        }
        self.tell(&group);
        self.noted.sort_by_key(|noted| noted.at);
        without_the_absent(self.noted)
    }

    fn tell(&mut self, group: &[Due]) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return;
        };
        let at = last.at + self.ids.seconds(2, 6);
        let list = match first.device.family {
            Family::Ap => "aps",
            Family::Switch => "switches",
            Family::Gateway => "gateways",
        };
        let names: Vec<&str> = group.iter().map(|due| due.device.name.as_str()).collect();
        let macs: Vec<&str> = group.iter().map(|due| due.device.mac.as_str()).collect();
        let severity = if first.kind.ends_with("_down") {
            "warn"
        } else {
            "info"
        };
        let mut more = object(&json!({
            // The time of the outage; the alarm itself is noted a little later.
            "timestamp": seconds_with_micros(last.at), "last_seen": iso(last.at), "severity": severity,
            "count": group.len(), "hostnames": names,
        }));
        more.insert(list.to_owned(), json!(macs));
        if let Some(reason) = first.reason {
            more.insert("reasons".to_owned(), json!([reason]));
        }
        self.alarm(
            at,
            &first.device.place.clone(),
            first.kind,
            None,
            &Value::Object(more),
        );
    }
}

/// Removes events from devices that were unreachable at the time.
fn without_the_absent(noted: Vec<Noted>) -> Vec<Noted> {
    let mut absent: BTreeSet<String> = BTreeSet::new();
    let mut hears = |noted: &Noted| {
        let text = |key| {
            noted
                .item
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let kind = text("type");
        // The two topics with this information keep their events; only the device itself is silent.
        if matches!(
            kind,
            "AP_DISCONNECTED" | "SW_DISCONNECTED" | "GW_DISCONNECTED"
        ) {
            absent.insert(text("mac").to_owned());
        } else if matches!(kind, "AP_CONNECTED" | "SW_CONNECTED" | "GW_CONNECTED") {
            absent.remove(text("mac"));
        } else {
            let who = match noted.topic {
                "device-events" => text("mac"),
                "client-join" => text("ap"),
                _ => return true,
            };
            return !absent.contains(who);
        }
        true
    };
    noted.into_iter().filter(|one| hears(one)).collect()
}

fn item(at: Timestamp, device: &SimDevice, kind: &str, more: &Value) -> Map<String, Value> {
    let place = &device.place;
    let mut item = object(&json!({
        "type": kind, "timestamp": at.seconds(), "mac": device.mac, "device_name": device.name,
        "device_type": device.family.word(), "org_id": place.org_id, "site_id": place.id, "site_name": place.name,
    }));
    // Mist's events of APs have their own fields; those of other devices name the model.
    match device.family {
        Family::Ap => {
            item.insert("ev_type".to_owned(), "NOTICE".into());
            item.insert("ap".to_owned(), device.mac.clone().into());
            item.insert("ap_name".to_owned(), device.name.clone().into());
        }
        Family::Switch | Family::Gateway => {
            item.insert("model".to_owned(), device.model.into());
        }
    }
    item.extend(object(more));
    item
}

/// Returns the map of a JSON object; an empty one for any other value.
pub(super) fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Returns seconds with a fraction, as in alarms and audits.
fn seconds_with_micros(at: Timestamp) -> f64 {
    at.millis() as f64 / 1e3
}

/// Returns a time as in `last_seen` of alarms: without zone and fraction.
pub(super) fn iso(at: Timestamp) -> String {
    let seconds = Timestamp::from_millis(at.seconds() * 1_000).rfc3339();
    seconds.trim_end_matches('Z').to_owned()
}
