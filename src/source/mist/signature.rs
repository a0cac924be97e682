//! Whether a POST comes from someone who knows the secret. Mist signs the raw body, without time or
//! delivery id.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use warp::http::HeaderMap;

use crate::model::Secret;
use crate::source::{Rejected, SourceSettings};

/// The header with hex HMAC-SHA256.
pub const V2: &str = "x-mist-signature-v2";
/// The header with hex HMAC-SHA1, for receivers of old.
pub const V1: &str = "x-mist-signature";

/// Checks the signature over the raw bytes. A wrong v2 is wrong, whatever v1 says.
///
/// # Errors
/// One of the three that are answered 401.
pub fn verify(
    settings: &SourceSettings,
    headers: &HeaderMap,
    from_this_machine: bool,
    body: &[u8],
) -> Result<(), Rejected> {
    if settings.secrets.is_empty() {
        let accepted = from_this_machine || settings.allow_unsigned;
        return if accepted {
            Ok(())
        } else {
            Err(Rejected::UnsignedFromAfar)
        };
    }
    // With v2 present, v1 is ignored: an attacker could otherwise choose the weaker one.
    let fits = if headers.contains_key(V2) {
        one::<32>(headers, V2)
            .is_some_and(|claimed| any_fits::<Hmac<Sha256>>(&settings.secrets, body, &claimed))
    } else if settings.allow_v1 && headers.contains_key(V1) {
        one::<20>(headers, V1)
            .is_some_and(|claimed| any_fits::<Hmac<Sha1>>(&settings.secrets, body, &claimed))
    } else {
        return Err(Rejected::SignatureMissing);
    };
    if fits {
        Ok(())
    } else {
        Err(Rejected::SignatureWrong)
    }
}

/// The header's bytes, when it comes exactly once and is hex of exactly the right length.
fn one<const N: usize>(headers: &HeaderMap, name: &str) -> Option<[u8; N]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        None
    } else {
        hex(value.as_bytes())
    }
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

/// Compares in constant time. An empty secret fits nothing: anyone could sign with it.
fn any_fits<M: Mac + KeyInit>(secrets: &[Secret], body: &[u8], claimed: &[u8]) -> bool {
    secrets
        .iter()
        .map(|secret| secret.expose().as_bytes())
        .filter(|key| !key.is_empty())
        .any(|key| {
            <M as KeyInit>::new_from_slice(key).is_ok_and(|mut mac| {
                mac.update(body);
                mac.verify_slice(claimed).is_ok()
            })
        })
}

/// The v2 signature of a body, as Mist would write it: for `demo` and tests.
#[must_use]
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.expose().as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    mac.finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Name, SourceKind};
    use warp::http::{HeaderName, HeaderValue};

    const BODY: &[u8] = br#"{"topic":"ping","events":[]}"#;

    fn settings(secrets: &[&str]) -> SourceSettings {
        SourceSettings {
            name: Name::new("mist"),
            kind: SourceKind::default(),
            secrets: secrets.iter().map(|s| Secret::new(*s)).collect(),
            allow_unsigned: false,
            allow_v1: false,
            store_all: false,
            max_event_age: None,
            portal: String::new(),
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    fn v1(secret: &str) -> String {
        let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(BODY);
        mac.finalize()
            .into_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    #[test]
    fn the_signature_is_the_published_hmac() {
        // RFC 4231, test case 2.
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(
            sign(&Secret::new("Jefe"), b"what do ya want for nothing?"),
            expected
        );
    }

    #[test]
    fn both_of_two_secrets_are_good_in_either_case_and_a_third_is_not() {
        let settings = settings(&["old", "new"]);
        for secret in ["old", "new"] {
            let good = sign(&Secret::new(secret), BODY);
            assert_eq!(
                verify(&settings, &headers(&[(V2, &good)]), false, BODY),
                Ok(())
            );
            assert_eq!(
                verify(
                    &settings,
                    &headers(&[(V2, &good.to_uppercase())]),
                    false,
                    BODY
                ),
                Ok(())
            );
            assert_eq!(
                verify(&settings, &headers(&[(V2, &good)]), true, b"other"),
                Err(Rejected::SignatureWrong)
            );
        }
        let other = sign(&Secret::new("third"), BODY);
        assert_eq!(
            verify(&settings, &headers(&[(V2, &other)]), true, BODY),
            Err(Rejected::SignatureWrong)
        );
    }

    #[test]
    fn every_wrong_v2_is_wrong_even_with_a_good_v1() {
        let mut settings = settings(&["s"]);
        settings.allow_v1 = true;
        let good = sign(&Secret::new("s"), BODY);
        let prefixed = format!("sha256={good}");
        let cut = &good[..62];
        let long = format!("{good}00");
        let padded = format!("{good} x");
        let sha1 = v1("s");
        for wrong in [
            "",
            "0",
            cut,
            &long,
            &padded,
            &prefixed,
            &sha1,
            &"zz".repeat(32),
            &"00".repeat(32),
        ] {
            let headers = headers(&[(V2, wrong), (V1, &v1("s"))]);
            assert_eq!(
                verify(&settings, &headers, true, BODY),
                Err(Rejected::SignatureWrong),
                "{wrong}"
            );
        }
        let twice = headers(&[(V2, &good), (V2, &good)]);
        assert_eq!(
            verify(&settings, &twice, true, BODY),
            Err(Rejected::SignatureWrong)
        );
        let mut odd = HeaderMap::new();
        odd.insert(V2, HeaderValue::from_bytes(&[0xff; 64]).unwrap());
        assert_eq!(
            verify(&settings, &odd, true, BODY),
            Err(Rejected::SignatureWrong)
        );
    }

    #[test]
    fn v1_counts_only_where_allowed_and_v2_is_absent() {
        let mut settings = settings(&["s"]);
        assert_eq!(
            verify(&settings, &headers(&[(V1, &v1("s"))]), true, BODY),
            Err(Rejected::SignatureMissing)
        );
        settings.allow_v1 = true;
        assert_eq!(
            verify(&settings, &headers(&[(V1, &v1("s"))]), false, BODY),
            Ok(())
        );
        assert_eq!(
            verify(&settings, &headers(&[(V1, &v1("t"))]), true, BODY),
            Err(Rejected::SignatureWrong)
        );
        assert_eq!(
            verify(&settings, &headers(&[]), true, BODY),
            Err(Rejected::SignatureMissing)
        );
    }

    #[test]
    fn without_a_secret_only_this_machine_is_believed() {
        let mut settings = settings(&[]);
        assert_eq!(verify(&settings, &headers(&[]), true, BODY), Ok(()));
        assert_eq!(
            verify(&settings, &headers(&[]), false, BODY),
            Err(Rejected::UnsignedFromAfar)
        );
        settings.allow_unsigned = true;
        assert_eq!(verify(&settings, &headers(&[]), false, BODY), Ok(()));
    }

    #[test]
    fn an_empty_secret_opens_nothing() {
        let good = sign(&Secret::new(""), BODY);
        let answer = verify(&settings(&[""]), &headers(&[(V2, &good)]), true, BODY);
        assert_eq!(answer, Err(Rejected::SignatureWrong));
    }
}
