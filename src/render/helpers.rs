//! Helpers of templates. Each name begins with `fmt_`, so that a field of Mist's is never taken for
//! one.

use std::time::Duration;

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderError,
    RenderErrorReason, ScopedJson,
};
use serde_json::Value;

use super::markup;
use crate::model::{Timestamp, human_duration};

/// All helpers, ours and those of Handlebars.
pub(super) const KNOWN: [&str; 25] = [
    "fmt_time",
    "fmt_clock",
    "fmt_duration",
    "fmt_names",
    "fmt_plural",
    "fmt_human",
    "fmt_cut",
    "if",
    "unless",
    "each",
    "with",
    "lookup",
    "eq",
    "ne",
    "gt",
    "gte",
    "lt",
    "lte",
    "and",
    "or",
    "not",
    "len",
    "fmt_mac",
    "fmt_any",
    "fmt_sentence",
];

/// Maximum number of names before "and N more".
const MAX_NAMES: u64 = 150;
/// Maximum length of the names, so that no chat cuts the text in the middle of one.
const MAX_NAMES_CHARS: usize = 1_800;

pub(super) fn register(registry: &mut Handlebars<'static>) {
    // A template must not write to the log.
    registry.unregister_helper("log");
    registry.register_helper("fmt_time", Box::new(TimeToken("time")));
    registry.register_helper("fmt_clock", Box::new(TimeToken("clock")));
    registry.register_helper("fmt_names", Box::new(names));
    registry.register_helper("fmt_duration", Box::new(Text(duration)));
    registry.register_helper("fmt_plural", Box::new(Text(plural)));
    registry.register_helper(
        "fmt_human",
        Box::new(Text(|args| humanise(&word(args.first())))),
    );
    registry.register_helper("fmt_mac", Box::new(Text(|args| mac(&word(args.first())))));
    registry.register_helper(
        "fmt_cut",
        Box::new(Text(|args| {
            let max = args
                .get(1)
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(200);
            markup::cut(&word(args.first()), max)
        })),
    );
    registry.register_helper(
        "fmt_sentence",
        Box::new(Text(|args| {
            let max = args
                .get(1)
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(600);
            let text = markup::cut(word(args.first()).trim(), max);
            let ends = text.is_empty() || text.ends_with(['.', '!', '?', '…', ':']);
            if ends { text } else { text + "." }
        })),
    );
    registry.register_helper("fmt_any", Box::new(Any));
}

/// A pure function from arguments to plain text. The result is escaped like any value, and may be
/// an argument itself.
struct Text(fn(&[Value]) -> String);

impl HelperDef for Text {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let args: Vec<Value> = helper.params().iter().map(|p| p.value().clone()).collect();
        Ok(ScopedJson::Derived(Value::String((self.0)(&args))))
    }
}

/// `fmt_any reason "resolved" "recovered"`: returns whether the first value equals one of the
/// others.
struct Any;

impl HelperDef for Any {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let mut values = helper.params().iter().map(|p| p.value());
        let first = values.next();
        // A missing value equals nothing, not even another missing value.
        Ok(ScopedJson::Derived(Value::Bool(
            first.is_some() && values.any(|v| Some(v) == first),
        )))
    }
}

/// `fmt_time starts_at`: shows a time in the reader's own zone if the chat supports that.
struct TimeToken(&'static str);

impl HelperDef for TimeToken {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        if let Some(at) = helper.param(0).and_then(|p| timestamp(p.value())) {
            // Plain text has no token that a chat could translate.
            out.write(&if is_plain(registry) {
                at.rfc3339()
            } else {
                format!("<{}:{}>", self.0, at.seconds())
            })?;
        }
        Ok(())
    }
}

/// `fmt_names subjects total=total`: **a**, **b** and 3 more. `bold=false` omits the stars,
/// `changes=true` adds the number of changes, `since=true` the beginning, and `notes=true` the
/// details of the event. With `mac=true` the items are MACs; with `start=true` the names begin a
/// sentence.
fn names(
    helper: &Helper<'_>,
    registry: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> HelperResult {
    // Mist sends a single item without a list.
    let list = match helper.param(0).map(handlebars::PathAndJson::value) {
        Some(Value::Array(list)) => list.clone(),
        Some(one @ (Value::String(_) | Value::Number(_))) => vec![one.clone()],
        _ => Vec::new(),
    };
    let number = |key: &str| helper.hash_get(key).and_then(|p| p.value().as_u64());
    let max = number("max").unwrap_or(MAX_NAMES).max(1);
    let total = number("total").unwrap_or_default().max(list.len() as u64);
    let says = |key: &str| {
        helper
            .hash_get(key)
            .map(|p| p.value() == &Value::Bool(true))
    };
    let bold = if is_plain(registry) || says("bold") == Some(false) {
        ""
    } else {
        "**"
    };
    let (changes, since) = (says("changes") == Some(true), says("since") == Some(true));
    let codes = says("code") == Some(true);
    let (macs, notes) = (says("mac") == Some(true), says("notes") == Some(true));
    let escape = registry.get_escape_fn();
    // Parts of one device read as `a and b of gw`.
    let of = one_device(&list).filter(|_| total == list.len() as u64 && total <= max);
    let is_port = |item: &Value| {
        let name = word(item.get("name"));
        of.as_deref()
            .and_then(|of| name.strip_prefix(of))
            .is_some_and(|part| part.starts_with(" port "))
    };
    let ports = of.is_some() && list.iter().all(is_port);
    let bare = |name: String| match &of {
        Some(device) => {
            let part = name.strip_prefix(device.as_str()).map(str::trim_start);
            part.map(|part| {
                part.strip_prefix("port ")
                    .filter(|_| ports)
                    .unwrap_or(part)
                    .to_owned()
            })
            .unwrap_or(name)
        }
        None => name,
    };
    let mut shown: Vec<String> = list
        .iter()
        .map(|item| match item {
            Value::Object(subject) => (bare(word(subject.get("name"))), item),
            other if macs => (mac(&word(Some(other))), item),
            other => (word(Some(other)), item),
        })
        .filter(|(name, _)| !name.is_empty())
        .take(usize::try_from(max).unwrap_or(usize::MAX))
        // Everything beside the name is optional, so each template shows what it has room for.
        .map(|(name, item)| {
            let since = since
                .then(|| began(item, is_plain(registry)))
                .flatten()
                .unwrap_or_default();
            let changes = changes.then(|| changed(item)).flatten().unwrap_or_default();
            let kinds = item.get("kinds").and_then(Value::as_str);
            let note = item
                .get("note")
                .and_then(Value::as_str)
                .filter(|note| notes && !name.contains(note));
            let beside: Vec<String> = [kinds, note]
                .into_iter()
                .flatten()
                .map(|text| escape(&markup::cut(text, 120)))
                .collect();
            let beside = if beside.is_empty() {
                String::new()
            } else {
                format!(" ({})", beside.join(", "))
            };
            let name = escape(&markup::cut(&name, 80));
            let name = if is_plain(registry) || !(codes || ports || is_mac(item, &name)) {
                format!("{bold}{name}{bold}")
            } else {
                format!("`{name}`")
            };
            format!("{name}{beside}{since}{changes}")
        })
        // A name is shown as a whole or not at all.
        .scan(0, |chars, name| {
            *chars += name.chars().count() + 2;
            (*chars <= MAX_NAMES_CHARS).then_some(name)
        })
        .collect();
    let rest = total.saturating_sub(shown.len() as u64);
    if shown.is_empty() {
        return Ok(());
    }
    if rest > 0 {
        shown.push(format!("{rest} more"));
    }
    let last = shown.pop().unwrap_or_default();
    let text = if shown.is_empty() {
        last
    } else {
        format!("{} and {last}", shown.join(", "))
    };
    // With others unnamed, the device may not be the only one.
    let of = of
        .filter(|_| rest == 0)
        .map(|device| format!(" of {bold}{}{bold}", escape(&markup::cut(&device, 80))));
    let noun = match (ports && rest == 0, list.len(), says("start") == Some(true)) {
        (false, _, _) => "",
        (true, 1, false) => "port ",
        (true, 1, true) => "Port ",
        (true, _, false) => "ports ",
        (true, _, true) => "Ports ",
    };
    let text = format!("{noun}{text}{}", of.unwrap_or_default());
    out.write(&text)
        .map_err(|error| RenderErrorReason::Other(error.to_string()).into())
}

/// Returns whether an item is shown as a MAC, which people copy.
fn is_mac(item: &Value, shown: &str) -> bool {
    let (one, of_device) = (
        item.as_str(),
        item.get("device_mac").and_then(Value::as_str),
    );
    one.or(of_device)
        .is_some_and(|text| text.len() == 12 && mac(text) == shown)
}

/// Returns the device if all subjects are parts of it.
fn one_device(list: &[Value]) -> Option<String> {
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let of = |item: &Value| {
        // Without a part the name of the device is all there is.
        text(item, "part")?;
        let (name, mac_of) = (text(item, "device"), text(item, "device_mac"));
        let shown = name.clone().or_else(|| mac_of.as_deref().map(mac))?;
        Some((mac_of.or(name), shown))
    };
    let (first, others) = list.split_first()?;
    let (device, shown) = of(first)?;
    others
        .iter()
        .all(|item| of(item).is_some_and(|(other, _)| other == device))
        .then_some(shown)
}

/// Returns the number of changes, if there were any: ` (9 changes in 28 min)`.
fn changed(subject: &Value) -> Option<String> {
    let changes = subject
        .get("changes")
        .and_then(Value::as_u64)
        .filter(|n| *n > 0)?;
    let within = subject
        .get("changing")
        .and_then(Value::as_str)
        .map(|within| format!(" in {within}"));
    Some(format!(
        " ({}{})",
        plural(&[changes.into(), "change".into()]),
        within.unwrap_or_default()
    ))
}

/// Returns the beginning, if it is known: ` since 14:02`.
fn began(subject: &Value, plain: bool) -> Option<String> {
    let at = subject.get("starts_at").and_then(timestamp)?;
    Some(if plain {
        format!(" since {}", at.rfc3339())
    } else {
        format!(" since <clock:{}>", at.seconds())
    })
}

/// Returns whether the output is plain text (a webhook's body) and not markup.
fn is_plain(registry: &Handlebars<'_>) -> bool {
    registry.get_escape_fn()("*") == "*"
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => Timestamp::parse_rfc3339(text),
        // Mist's own times are seconds, or milliseconds if seconds would be far in the future.
        Value::Number(number) => number.as_f64().map(|n| {
            let millis = if n.abs() > 1e11 { n } else { n * 1000.0 };
            #[expect(
                clippy::cast_possible_truncation,
                reason = "`as` saturates, which is what a timestamp wants"
            )]
            Timestamp::from_millis(millis as i64)
        }),
        _ => None,
    }
}

fn duration(args: &[Value]) -> String {
    match args {
        [Value::Number(millis)] => millis
            .as_u64()
            .map(|ms| human_duration(Duration::from_millis(ms))),
        [from, to] => timestamp(from)
            .zip(timestamp(to))
            .map(|(from, to)| human_duration(to.since(from))),
        _ => None,
    }
    .unwrap_or_default()
}

fn plural(args: &[Value]) -> String {
    let count = args.first().and_then(Value::as_u64).unwrap_or_default();
    let one = word(args.get(1));
    match count {
        1 => format!("1 {one}"),
        n => format!(
            "{n} {}",
            args.get(2)
                .map_or_else(|| format!("{one}s"), |many| word(Some(many)))
        ),
    }
}

fn word(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Formats `aabbccddeeff` as `aa:bb:cc:dd:ee:ff`; any other text is unchanged.
pub(super) fn mac(text: &str) -> String {
    if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return text.to_owned();
    }
    let pairs: Vec<&str> = (0..12)
        .step_by(2)
        .filter_map(|i| text.get(i..i + 2))
        .collect();
    pairs.join(":")
}

/// Returns a type or condition in words: `AP_RRM_ACTION` is `AP RRM action`, `SW_PORT_DOWN` is
/// `Switch port down`.
pub(super) fn humanise(word: &str) -> String {
    // Chassis alarms have words of their own; part by part they would read badly.
    if let Some(said) = chassis_alarm(&word.to_ascii_uppercase()) {
        return said;
    }
    let mut out = String::new();
    for (i, part) in word
        .split(['_', '-', ' '])
        .filter(|p| !p.is_empty())
        .enumerate()
    {
        // Prefixes have a meaning only at the beginning; abbreviations have one anywhere.
        let upper = part.to_ascii_uppercase();
        let said = match upper.as_str() {
            "SW" if i == 0 => "switch".to_owned(),
            "GW" if i == 0 => "gateway".to_owned(),
            "ME" | "MXEDGE" if i == 0 => "Mist Edge".to_owned(),
            "TT" if i == 0 => "tunnel terminator".to_owned(),
            // The prefix says only that Mist's infrastructure noticed it.
            "INFRA" if i == 0 => continue,
            "POE" => "PoE".to_owned(),
            "AP" | "RRM" | "DHCP" | "DNS" | "ARP" | "VLAN" | "BGP" | "OSPF" | "VPN" | "PSU"
            | "PEM" | "LACP" | "STP" | "BPDU" | "VC" | "ZTP" | "SSID" | "BSSID" | "ESSID"
            | "EAP" | "WAN" | "LAN" | "CPU" | "NAC" | "SSH" | "HA" | "MAC" | "ESL" | "EVPN"
            | "FPC" | "IDP" | "MTU" | "IP" | "URL" | "RADIUS" | "WLAN" | "KRACK" | "TKIP"
            | "ICV" | "DDOS" | "NTP" | "BFD" => upper,
            "IE" | "SLE" | "SDK" | "SFP" | "TX" | "RX" | "VOIP" | "PPPOE" | "LTE" => upper,
            "RADSEC" => "RadSec".to_owned(),
            "WIFI" => "Wi-Fi".to_owned(),
            "DOT1X" | "DOT1XD" => "802.1X".to_owned(),
            "USR" => "user".to_owned(),
            "SRVR" => "server".to_owned(),
            "IFACE" => "interface".to_owned(),
            "TOPO" => "topology".to_owned(),
            "CERT" => "certificate".to_owned(),
            "SECPOLICY" => "security policy".to_owned(),
            "POWERINPUT" => "power input".to_owned(),
            "EAPOL" => "EAPOL".to_owned(),
            _ => part.to_lowercase(),
        };
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&said);
    }
    capitalise(&out)
}

/// Returns a chassis alarm in words: `SW_ALARM_CHASSIS_PSU` is a `Power supply alarm`.
fn chassis_alarm(word: &str) -> Option<String> {
    let (_, part) = word.split_once("_ALARM_CHASSIS_")?;
    // Clearing an alarm has the same type with a suffix.
    let (part, over) = part
        .strip_suffix("_CLEAR")
        .map_or((part, ""), |part| (part, " cleared"));
    let what = match part {
        "PSU" => "Power supply alarm",
        "PEM" => "Power module alarm",
        "FAN" => "Fan alarm",
        "HOT" => "Overheating alarm",
        "WARM" => "Temperature alarm",
        "HUMIDITY" => "Humidity alarm",
        "POE" => "PoE alarm",
        "PARTITION" => "Disk partition alarm",
        "CPU_BOARD_SENSOR_FAILED" => "CPU board sensor alarm",
        _ => return None,
    };
    Some(format!("{what}{over}"))
}

/// Returns the text with an upper-case first letter.
pub(super) fn capitalise(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_well() {
        for (word, said) in [
            ("AP_RRM_ACTION", "AP RRM action"),
            ("SW_PORT_DOWN", "Switch port down"),
            ("infra_dhcp_failure", "DHCP failure"),
            ("rogue_ap", "Rogue AP"),
            ("GW_ALARM_CHASSIS_POE", "PoE alarm"),
            ("sw_alarm_chassis_psu_clear", "Power supply alarm cleared"),
            ("SW_ALARM_CHASSIS_NEW_ONE", "Switch alarm chassis new one"),
            ("device-events", "Device events"),
            ("1026", "1026"),
            ("", ""),
        ] {
            assert_eq!(humanise(word), said);
        }
    }
}
