//! Links that act for everyone who holds them: signed, valid for a day, and identical each time the
//! same message is rendered.
//!
//! This module is pure: it makes text from a key, a notification and a time. `web` implements the
//! actions.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::model::{Link, Notification, Reason, Secret, Subject, Timestamp, exactly};

/// Time for which a link is valid, from the decision about its message.
const GOOD_FOR_SECS: i64 = 24 * 3_600;
/// Maximum length of a URL: three of them and the portal's fit into one section of Slack.
const MAX_URL: usize = 700;
/// Maximum length in bytes of the description of what is silenced.
const MAX_WHOM: usize = 80;
/// Label of each link, and the choice it selects on the page.
const CHOICES: [(&str, &str); 3] = [
    ("Silence 1 h", "1h"),
    ("Silence until morning", "morning"),
    ("Silence until resolved", "resolved"),
];

/// Key that signs links.
#[derive(Clone)]
pub struct LinkKey([u8; 32]);

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl LinkKey {
    /// Derives the key from the token. Neither can be computed from the other link.
    #[must_use]
    pub fn of(token: &Secret) -> Self {
        Self(mac(token.expose().as_bytes(), "key", b"foghorn links"))
    }

    /// Returns a signed text for the path of a URL.
    #[must_use]
    pub fn sign(&self, says: &Says) -> String {
        let body = BASE64.encode(serde_json::to_vec(says).unwrap_or_default());
        let signature = BASE64.encode(mac(&self.0, "link", body.as_bytes()));
        format!("{body}.{signature}")
    }

    /// Returns the content of a signed text if the signature is valid and it has not expired.
    ///
    /// # Errors
    ///
    /// The reason why the link is not valid.
    pub fn verify(&self, text: &str, now: Timestamp) -> Result<Says, Bad> {
        let (body, signature) = text.split_once('.').ok_or(Bad::Forged)?;
        let signature = BASE64.decode(signature).map_err(|_| Bad::Forged)?;
        begin(&self.0, "link", body.as_bytes())
            .verify_slice(&signature)
            .map_err(|_| Bad::Forged)?;
        let body = BASE64.decode(body).map_err(|_| Bad::Forged)?;
        let says: Says = serde_json::from_slice(&body).map_err(|_| Bad::Forged)?;
        let (Says::Silence(Offer { expires, .. }) | Says::Undo { expires, .. }) = &says;
        if now.seconds() < *expires {
            Ok(says)
        } else {
            Err(Bad::Expired)
        }
    }

    /// Returns the id of a link's silence. It is always the same, so that repeated use creates only
    /// one silence.
    #[must_use]
    pub fn silence_id(&self, offer: &Offer) -> String {
        id_of(&mac(
            &self.0,
            "id",
            &serde_json::to_vec(offer).unwrap_or_default(),
        ))
    }
}

/// Reason why a link is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Not signed by this key, or altered.
    Forged,
    /// Expired.
    Expired,
}

/// Content of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Says {
    /// Creates this silence.
    #[serde(rename = "s")]
    Silence(Offer),
    /// Ends the silence with this id.
    #[serde(rename = "u")]
    Undo {
        /// Id of the silence.
        #[serde(rename = "i")]
        id: String,
        /// Seconds since the epoch at which the link expires.
        #[serde(rename = "x")]
        expires: i64,
    },
}

impl Says {
    /// Returns the link that ends a silence created now.
    #[must_use]
    pub fn undo(id: &str, now: Timestamp) -> Self {
        Self::Undo {
            id: id.to_owned(),
            expires: now.seconds().saturating_add(GOOD_FOR_SECS),
        }
    }
}

/// Silence that a message's link offers. The keys are short because they are part of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Matcher in the format of `match` in rules.yaml.
    #[serde(rename = "m")]
    pub matches: Value,
    /// Description of what is silenced.
    #[serde(rename = "w")]
    pub whom: String,
    /// Short name of the message.
    #[serde(rename = "n")]
    pub message: String,
    /// Seconds since the epoch at which the link expires.
    #[serde(rename = "x")]
    pub expires: i64,
}

/// Converts random or hashed bytes to eight letters and digits, without those that look alike.
#[must_use]
pub fn id_of(bytes: &[u8; 32]) -> String {
    const SIGNS: [char; 32] = [
        'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'm', 'n', 'p', 'q', 'r', 's', 't',
        'u', 'v', 'w', 'x', 'y', 'z', '2', '3', '4', '5', '6', '7', '8', '9',
    ];
    bytes
        .iter()
        .take(8)
        .filter_map(|byte| SIGNS.get(usize::from(byte % 32)))
        .collect()
}

/// Compares two secrets in constant time.
#[must_use]
pub fn same(ours: &Secret, theirs: &[u8]) -> bool {
    let key = ours.expose().as_bytes();
    begin(key, "same", key)
        .verify_slice(&mac(key, "same", theirs))
        .is_ok()
}

fn begin(key: &[u8], use_: &str, body: &[u8]) -> Hmac<Sha256> {
    // HMAC accepts keys of any length; longer ones are hashed.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(use_.as_bytes());
    mac.update(&[0]);
    mac.update(body);
    mac
}

fn mac(key: &[u8], use_: &str, body: &[u8]) -> [u8; 32] {
    begin(key, use_, body).finalize().into_bytes().into()
}

/// Creates the links of messages.
#[derive(Clone, Debug)]
pub struct SilenceLinks {
    public_url: String,
    key: LinkKey,
}

impl SilenceLinks {
    /// Creates links below this URL.
    #[must_use]
    pub fn new(public_url: &str, key: LinkKey) -> Self {
        Self {
            public_url: public_url.trim_end_matches('/').to_owned(),
            key,
        }
    }

    /// Returns the links of a message; none if there is nothing to silence.
    #[must_use]
    pub fn of(&self, about: &Notification) -> Vec<Link> {
        offers(about)
            .map(|offer| self.url(&offer))
            .find(|url| url.len() <= MAX_URL)
            .map_or_else(Vec::new, |url| {
                let one = |(label, choice)| Link {
                    label: String::from(label),
                    url: format!("{url}{choice}"),
                };
                CHOICES.into_iter().map(one).collect()
            })
    }

    fn url(&self, offer: &Offer) -> String {
        format!(
            "{}/silence/{}?for=",
            self.public_url,
            self.key.sign(&Says::Silence(offer.clone()))
        )
    }
}

/// Returns the silences a message may offer, the narrowest first: for its devices, else for its
/// sites.
fn offers(about: &Notification) -> impl Iterator<Item = Offer> {
    let tells = matches!(
        about.reason,
        Reason::First | Reason::NewEvents | Reason::Repeat | Reason::Flapping | Reason::Absent
    );
    let (field, what) = kinds(about);
    let named = what.iter().all(|what| !what.is_empty());
    let what = literal(&what);
    let what = if let [one] = what.as_slice() {
        json!(one)
    } else {
        json!(what)
    };
    // If the link for a single device is too long, its whole site is no substitute.
    let devices = devices(about);
    let alone = devices.is_some() && about.subjects.len() == 1;
    let matches = [devices, sites(about).filter(|_| !alone)];
    matches
        .into_iter()
        .flatten()
        .filter(move |_| tells && named)
        .map(move |(mut matches, whom)| {
            if let Value::Object(map) = &mut matches {
                map.insert(field.to_owned(), what.clone());
            }
            let expires = about.at.seconds().saturating_add(GOOD_FOR_SECS);
            Offer {
                matches,
                whom: cut(&whom),
                message: about.id.clone(),
                expires,
            }
        })
}

/// Returns the field and values that match everything in the message, so that the silence covers
/// all of it.
fn kinds(about: &Notification) -> (&'static str, Vec<&str>) {
    let of = || {
        about
            .subjects
            .iter()
            .filter(|_| about.reason != Reason::Absent)
            .filter_map(|s| s.of.as_deref())
    };
    let conditions: Option<BTreeSet<&str>> = of().map(|of| of.condition.as_deref()).collect();
    let types: BTreeSet<&str> = of().map(|of| of.kind.as_str()).collect();
    match (conditions, &about.condition) {
        (Some(all), _) if all.len() > 1 => ("condition", all.into_iter().collect()),
        (None, _) if types.len() > 1 => ("type", types.into_iter().collect()),
        (_, Some(condition)) => ("condition", vec![condition.as_str()]),
        (_, None) => ("type", vec![about.kind.as_str()]),
    }
}

/// Matches the devices, if every subject has one and none is merely counted.
fn devices(about: &Notification) -> Option<(Value, String)> {
    if about.more > 0 {
        return None;
    }
    // A MAC identifies a device better than a name, which can be given twice.
    let (field, values) = match each(about, |subject| subject.device_mac.as_ref()) {
        Some(macs) => ("device_mac", macs),
        None => (
            "device",
            each(about, |subject| {
                subject.device_mac.as_ref().or(subject.device.as_ref())
            })?,
        ),
    };
    let names = each(about, |subject| {
        subject.device.as_ref().or(subject.device_mac.as_ref())
    })?;
    let at = each(about, |subject| subject.site.as_ref()).filter(|sites| sites.len() == 1);
    let at = at
        .and_then(|sites| sites.first().map(|site| format!(" at {site}")))
        .unwrap_or_default();
    Some((
        json!({ field: literal(&values) }),
        format!("{}{at}", listed(&names, MAX_WHOM.saturating_sub(at.len()))),
    ))
}

/// Matches the sites; everything if they are unknown too.
fn sites(about: &Notification) -> Option<(Value, String)> {
    let ids = each(about, |subject| subject.site_id.as_ref()).map(|ids| ("site_id", ids));
    // An id identifies a site better than its name.
    let by =
        ids.or_else(|| each(about, |subject| subject.site.as_ref()).map(|names| ("site", names)));
    let names = each(about, |subject| {
        subject.site.as_ref().or(subject.site_id.as_ref())
    })
    .unwrap_or_default();
    match by {
        Some((field, values)) => Some((
            json!({ field: literal(&values) }),
            format!("everything at {}", listed(&names, 60)),
        )),
        None if about
            .subjects
            .iter()
            .all(|s| s.site_id.is_none() && s.site.is_none() && s.device_mac.is_none()) =>
        {
            Some((json!({}), "everything, at every site".to_owned()))
        }
        None => None,
    }
}

/// Returns values for `match` that match exactly these texts.
fn literal(values: &[&str]) -> Vec<String> {
    values.iter().copied().map(exactly).collect()
}

/// Returns a property of all subjects without repeats, in their order; `None` if a subject lacks
/// it.
fn each<'a>(
    about: &'a Notification,
    of: impl Fn(&'a Subject) -> Option<&'a String>,
) -> Option<Vec<&'a str>> {
    let mut found: Vec<&str> = Vec::new();
    for subject in &about.subjects {
        let value = of(subject).filter(|value| !value.is_empty())?;
        if !found.contains(&value.as_str()) {
            found.push(value);
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Lists as many names as fit, and the number of further ones.
fn listed(names: &[&str], most: usize) -> String {
    let mut text = String::new();
    for (n, name) in names.iter().enumerate() {
        if n > 0 && text.len() + name.len() + ", and 000 more".len() > most {
            return format!("{text} and {} more", names.len() - n);
        }
        if n > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    text
}

fn cut(text: &str) -> String {
    let mut cut = String::new();
    for c in text.chars() {
        if cut.len() + c.len_utf8() > MAX_WHOM {
            cut.push('…');
            break;
        }
        cut.push(c);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Happening;

    fn key() -> LinkKey {
        LinkKey::of(&Secret::new("0123456789abcdef0123456789abcdef"))
    }

    fn ap(n: u32) -> Subject {
        Subject {
            site_id: Some("978c48e6-6ef6-11e6-8bbf-02e208b2d34f".to_owned()),
            site: Some("Home".to_owned()),
            device_mac: Some(format!("5c5b35{n:06x}")),
            device: Some(format!("ap-{n}")),
            ..Subject::default()
        }
    }

    fn about(subjects: Vec<Subject>) -> Notification {
        let json = json!({
            "id": "k3f9x2", "at": 1_767_571_200_000_i64, "to": ["slack"], "source": "mist", "rule": "AP down",
            "template": null, "reason": "first", "incident": "1", "severity": "warning", "topic": "device-events",
            "kind": "AP_DISCONNECTED", "condition": "ap_offline", "group": [], "subjects": subjects, "firing": 1,
            "more": 0, "more_since": 0, "started": 0, "duration_ms": null, "why": null, "detail": null, "event": null,
        });
        serde_json::from_value(json).unwrap()
    }

    fn offer(about: &Notification) -> Option<Offer> {
        let links = SilenceLinks::new("https://foghorn.example.net/", key()).of(about);
        let url = &links.first()?.url;
        assert!(links.len() == 3 && links.iter().all(|link| link.url.len() < MAX_URL + 10));
        let text = url
            .strip_prefix("https://foghorn.example.net/silence/")?
            .strip_suffix("?for=1h")?;
        match key().verify(text, about.at) {
            Ok(Says::Silence(offer)) => Some(offer),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_link_silences_what_its_message_is_about_and_no_more() {
        let of = |subjects| {
            offer(&about(subjects))
                .map(|offer| (offer.matches, offer.whom))
                .unwrap()
        };
        let one = json!({"condition": "ap_offline", "device_mac": ["5c5b35000001"]});
        assert_eq!(of(vec![ap(1), ap(1)]), (one, "ap-1 at Home".to_owned()));
        let (matches, whom) = of((0..15).map(ap).collect());
        assert_eq!(
            (
                matches["device_mac"].as_array().unwrap().len(),
                whom.len() <= MAX_WHOM
            ),
            (15, true),
            "{whom}"
        );
        assert!(
            whom.contains("ap-0, ap-1") && whom.ends_with(" more at Home"),
            "{whom}"
        );
        // too many for a URL
        let site =
            json!({"condition": "ap_offline", "site_id": ["978c48e6-6ef6-11e6-8bbf-02e208b2d34f"]});
        assert_eq!(
            of((0..200).map(ap).collect()),
            (site.clone(), "everything at Home".to_owned())
        );
        // without a MAC by name; without a device by site
        let named = Subject {
            device_mac: None,
            ..ap(2)
        };
        assert_eq!(
            of(vec![ap(1), named.clone()]).0["device"],
            json!(["5c5b35000001", "ap-2"])
        );
        let bare = Subject {
            device: None,
            ..named.clone()
        };
        assert_eq!(of(vec![ap(1), bare]).0, site);
        // a name that `match` would take for more than itself is spelt so that it is not
        for (name, exactly) in [("*", r"/^\*$/"), ("/lobby.1/", r"/^/lobby\.1/$/")] {
            let odd = Subject {
                device: Some(name.to_owned()),
                ..named.clone()
            };
            assert_eq!(of(vec![odd]).0["device"], json!([exactly]));
        }
        // one that is too long for a URL has no link rather than one for its site
        let long = Subject {
            device: Some("ap".repeat(400)),
            ..named
        };
        assert_eq!(offer(&about(vec![long])), None);
        assert_eq!(
            of(vec![]),
            (
                json!({"condition": "ap_offline"}),
                "everything, at every site".to_owned()
            )
        );
        // of several kinds all that was told
        let kind = |kind: &str, condition: Option<&str>| {
            let of = Happening {
                kind: kind.to_owned(),
                condition: condition.map(str::to_owned),
                group: None,
            };
            Subject {
                of: Some(Box::new(of)),
                ..ap(1)
            }
        };
        let both = of(vec![
            kind("AP_DISCONNECTED", Some("ap_offline")),
            kind("AP_PORT_DOWN", Some("ap_port")),
        ]);
        assert_eq!(both.0["condition"], json!(["ap_offline", "ap_port"]));
        let mixed = of(vec![
            kind("AP_DISCONNECTED", Some("ap_offline")),
            kind("AP_RESTARTED", None),
        ]);
        assert_eq!(
            (&mixed.0["type"], mixed.0.get("condition")),
            (&json!(["AP_DISCONNECTED", "AP_RESTARTED"]), None)
        );
    }

    #[test]
    fn no_links_where_there_is_nothing_to_silence() {
        for reason in [
            Reason::Resolved,
            Reason::Recovered,
            Reason::Stale,
            Reason::Digest,
            Reason::Stable,
        ] {
            assert_eq!(
                offer(&Notification {
                    reason,
                    ..about(vec![ap(1)])
                }),
                None,
                "{reason}"
            );
        }
        for (kind, exactly) in [
            ("", None),
            ("*", Some(json!(r"/^\*$/"))),
            ("/./", Some(json!(r"/^/\./$/"))),
        ] {
            let odd = Notification {
                condition: None,
                kind: kind.to_owned(),
                ..about(vec![ap(1)])
            };
            let what = offer(&odd).map(|offer| offer.matches["type"].clone());
            assert_eq!(what, exactly, "{kind}");
        }
        let kind = Notification {
            condition: None,
            ..about(vec![ap(1)])
        };
        assert_eq!(
            offer(&kind).unwrap().matches["type"],
            json!("AP_DISCONNECTED")
        );
    }

    #[test]
    fn a_link_is_good_for_a_day_and_only_as_it_was_signed() {
        let offer = offer(&about(vec![ap(1)])).unwrap();
        let text = key().sign(&Says::Silence(offer.clone()));
        let at = |secs: i64| {
            key().verify(
                &text,
                Timestamp::from_millis(1_767_571_200_000 + secs * 1_000),
            )
        };
        assert_eq!(at(86_399), Ok(Says::Silence(offer.clone())));
        assert_eq!(at(86_400), Err(Bad::Expired));
        for n in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[n] = if altered[n] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(
                key().verify(&altered, Timestamp::EPOCH),
                Err(Bad::Forged),
                "at {n}"
            );
        }
        for odd in [
            "",
            ".",
            "a.b",
            "....",
            &text[1..],
            &text[..text.len() - 1],
            "é.é",
        ] {
            assert_eq!(
                key().verify(odd, Timestamp::EPOCH),
                Err(Bad::Forged),
                "{odd}"
            );
        }
        assert_eq!(
            LinkKey::of(&Secret::new("other")).verify(&text, Timestamp::EPOCH),
            Err(Bad::Forged)
        );
        assert_eq!(key().silence_id(&offer), key().silence_id(&offer.clone()));
        assert_ne!(
            key().silence_id(&offer),
            key().silence_id(&Offer {
                message: "other".to_owned(),
                ..offer
            })
        );
    }

    #[test]
    fn secrets_are_compared_whole() {
        let ours = Secret::new("abc");
        assert!(same(&ours, b"abc"));
        assert!(
            [&b""[..], b"ab", b"abcd", b"abd"]
                .iter()
                .all(|theirs| !same(&ours, theirs))
        );
        assert_eq!(format!("{:?}", key()), "***");
    }
}
