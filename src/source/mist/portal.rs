//! Pages of devices in Mist's portal.

use crate::model::{Link, Subject};

/// Portal of Mist's first cloud.
pub(super) const HOST: &str = "manage.mist.com";

/// Returns the device's page, if its ids are known and well-formed.
pub(super) fn page(host: &str, subject: &Subject) -> Option<Link> {
    let (org, site) = (id(&subject.org_id)?, id(&subject.site_id)?);
    let mac = subject.device_mac.as_deref()?;
    let kind = subject.device_type.as_deref()?;
    let is_mac = mac.len() == 12 && mac.bytes().all(|b| b.is_ascii_hexdigit());
    let is_host = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
    if !is_mac || !is_host || !matches!(kind, "ap" | "switch" | "gateway") {
        return None;
    }
    Some(Link {
        label: "Open in Mist".to_owned(),
        url: format!(
            "https://{host}/admin/?org_id={org}#!{kind}/detail/00000000-0000-0000-1000-{mac}/{site}"
        ),
    })
}

fn id(text: &Option<String>) -> Option<&str> {
    let fine = |id: &&str| id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    text.as_deref().filter(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_need_good_ids() {
        let ap = Subject {
            org_id: Some("00000000-0000-0000-0000-000000000001".to_owned()),
            site_id: Some("11111111-2222-3333-4444-555555555555".to_owned()),
            device_mac: Some("5c5b35000001".to_owned()),
            device_type: Some("ap".to_owned()),
            ..Subject::default()
        };
        assert_eq!(
            page("manage.eu.mist.com", &ap).unwrap().url,
            "https://manage.eu.mist.com/admin/?org_id=00000000-0000-0000-0000-000000000001#!ap/detail/00000000-0000-0000-1000-5c5b35000001/11111111-2222-3333-4444-555555555555"
        );
        let with = |change: fn(&mut Subject)| {
            let mut subject = ap.clone();
            change(&mut subject);
            page(HOST, &subject)
        };
        assert!(with(|_| ()).is_some());
        for bad in [
            with(|ap| ap.site_id = Some("x\" onclick".to_owned())),
            with(|ap| ap.org_id = None),
            with(|ap| ap.device_mac = Some("5c5b3500000g".to_owned())),
            with(|ap| ap.device_type = Some("mxedge".to_owned())),
            page("a b", &ap),
        ] {
            assert_eq!(bad, None);
        }
    }
}
