//! Passwords. Only Argon2id hashes are stored, and verification takes memory and time on purpose.

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
    password_hash,
};

use crate::model::Secret;

/// Cost of a new hash: 19 MiB, two passes, one lane, as OWASP recommends.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// Maximum accepted cost of a hash: 64 MiB, 16 passes, 16 lanes.
const MOST: (u32, u32, u32) = (64 * 1024, 16, 16);
/// Minimum length of a password in characters.
pub const LEAST: usize = 8;

/// Returns the hash of a password as a PHC string. `salt` is random and used once.
///
/// # Errors
///
/// When the hash cannot be computed, mostly for lack of memory.
pub fn hash(password: &Secret, salt: &[u8; 16]) -> Result<Secret, String> {
    let (memory, passes, lanes) = COST;
    let made = || -> Result<String, password_hash::Error> {
        let params = Params::new(memory, passes, lanes, None)?;
        let salt = password_hash::SaltString::encode_b64(salt)?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(argon
            .hash_password(password.expose().as_bytes(), &salt)?
            .to_string())
    };
    made()
        .map(Secret::new)
        .map_err(|error| format!("cannot compute the hash: {error}"))
}

/// Returns the reason why a text is no usable hash, without quoting it.
#[must_use]
pub fn objection(hash: &Secret) -> Option<&'static str> {
    let Ok(parsed) = PasswordHash::new(hash.expose()) else {
        return Some("is not the hash of a password");
    };
    if Algorithm::try_from(parsed.algorithm) != Ok(Algorithm::Argon2id) || parsed.hash.is_none() {
        return Some("is not an Argon2id hash");
    }
    let Ok(params) = Params::try_from(&parsed) else {
        return Some("is an Argon2id hash with invalid parameters");
    };
    let (memory, passes, lanes) = MOST;
    let costly = params.m_cost() > memory || params.t_cost() > passes || params.p_cost() > lanes;
    costly.then_some("is a hash that takes more than 64 MiB, 16 passes or 16 lanes to check")
}

/// Returns true if the password matches the hash. It is slow, so it must not run on a thread that
/// others wait for.
#[must_use]
pub fn verify(hash: &Secret, given: &Secret) -> bool {
    // An expensive hash could block logins for minutes, so its cost is checked before.
    let parsed = PasswordHash::new(hash.expose());
    objection(hash).is_none()
        && parsed.is_ok_and(|hash| {
            Argon2::default()
                .verify_password(given.expose().as_bytes(), &hash)
                .is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_of_a_hash_is_right() {
        let right = Secret::new("correct horse é");
        let made = hash(&right, &[7; 16]).unwrap();
        assert!(
            made.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{}",
            made.expose()
        );
        assert_eq!(objection(&made), None);
        assert!(verify(&made, &right));
        for wrong in ["", "correct horse", "correct horse é ", "Correct horse é"] {
            assert!(!verify(&made, &Secret::new(wrong)), "{wrong}");
        }
        assert_ne!(hash(&right, &[8; 16]).unwrap(), made);
    }

    #[test]
    fn what_is_no_hash_of_ours_is_said_without_repeating_it() {
        for (text, why) in [
            ("hunter2canary", "not the hash"),
            ("", "not the hash"),
            (
                "$2b$12$abcdefghijklmnopqrstuuMlfPMVm5nJkPqYpWu7f9Yv7p4vJ0e1G",
                "is not ",
            ),
            (
                "$argon2i$v=19$m=64,t=2,p=1$c29tZXNhbHRzYWx0$2CSmVDrwyLMWxq9vYpYwCSDOcKPHoqZEnVtBRxRCb2k",
                "not an Argon2id",
            ),
            (
                "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzYWx0",
                "not an Argon2id",
            ),
            (
                "$argon2id$v=19$m=2097152,t=1,p=4$c29tZXNhbHRzYWx0$2CSmVDrwyLMWxq9vYpYwCSDOcKPHoqZEnVtBRxRCb2k",
                "64 MiB",
            ),
        ] {
            let hash = Secret::new(text);
            let said = objection(&hash).unwrap_or_else(|| panic!("{text}"));
            assert!(
                said.contains(why) && !said.contains("canary"),
                "{text}: {said}"
            );
            assert!(!verify(&hash, &Secret::new("hunter2canary")));
        }
    }
}
