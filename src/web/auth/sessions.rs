//! Sessions of logged-in users. They exist only in memory and store only a hash of each cookie, so
//! a memory dump cannot be used to log in.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::model::Secret;

/// Time after which an unused session ends.
pub(super) const IDLE: Duration = Duration::from_secs(12 * 3_600);
/// Maximum duration of a session.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// Maximum number of sessions; a further one ends the oldest.
const MOST: usize = 1_000;

/// Hash of a cookie.
type Id = [u8; 32];

/// All sessions, by monotonic time.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<Id, Session>);

#[derive(Debug)]
struct Session {
    proof: Secret,
    began: Duration,
    used: Duration,
    /// Ends the session's streams.
    over: CancellationToken,
}

/// A session that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Value of the proof header that the page must send to act.
    pub(super) proof: Secret,
    /// Cancelled if the session ends early.
    pub(super) over: CancellationToken,
    /// Time until the session ends if it is not used again.
    pub(super) left: Duration,
}

impl Session {
    fn left(&self, now: Duration) -> Duration {
        let idle = (self.used + IDLE).saturating_sub(now);
        idle.min((self.began + LONGEST).saturating_sub(now))
    }
}

impl Sessions {
    /// Creates a session; returns its cookie too.
    pub(super) fn begin(&mut self, now: Duration) -> io::Result<(Secret, Found)> {
        let cookie = Secret::new(BASE64.encode(clock::unguessable::<32>()?));
        let proof = Secret::new(BASE64.encode(clock::unguessable::<32>()?));
        self.prune(now);
        // Logins by many browsers must not fill the memory.
        while self.0.len() >= MOST {
            let Some(oldest) = self
                .0
                .iter()
                .min_by_key(|(_, session)| session.began)
                .map(|(id, _)| *id)
            else {
                break;
            };
            self.remove(&oldest);
        }
        let over = CancellationToken::new();
        let session = Session {
            proof: proof.clone(),
            began: now,
            used: now,
            over: over.clone(),
        };
        let left = session.left(now);
        self.0.insert(id(cookie.expose()), session);
        Ok((cookie, Found { proof, over, left }))
    }

    /// Returns the session of this cookie, and marks it as used.
    pub(super) fn find(&mut self, cookie: &str, now: Duration) -> Option<Found> {
        self.prune(now);
        let session = self.0.get_mut(&id(cookie))?;
        session.used = now;
        Some(Found {
            proof: session.proof.clone(),
            over: session.over.clone(),
            left: session.left(now),
        })
    }

    /// Ends a session.
    pub(super) fn end(&mut self, cookie: &str) {
        self.remove(&id(cookie));
    }

    /// Ends all sessions.
    pub(super) fn clear(&mut self) {
        self.0
            .drain()
            .for_each(|(_, session)| session.over.cancel());
    }

    /// Ends all streams but no session: the streams must be authorized again.
    pub(super) fn interrupt(&mut self) {
        for session in self.0.values_mut() {
            std::mem::take(&mut session.over).cancel();
        }
    }

    fn prune(&mut self, now: Duration) {
        let over: Vec<Id> = self
            .0
            .iter()
            .filter(|(_, s)| s.left(now).is_zero())
            .map(|(id, _)| *id)
            .collect();
        over.iter().for_each(|id| self.remove(id));
    }

    fn remove(&mut self, id: &Id) {
        if let Some(session) = self.0.remove(id) {
            session.over.cancel();
        }
    }
}

fn id(cookie: &str) -> Id {
    Sha256::digest(cookie.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(n: u64) -> Duration {
        Duration::from_secs(n * 3_600)
    }

    #[test]
    fn a_session_ends_when_it_is_not_used_and_after_a_week() {
        let mut sessions = Sessions::default();
        let (cookie, found) = sessions.begin(hours(0)).unwrap();
        assert_eq!(found.left, IDLE);
        let cookie = cookie.expose().to_owned();
        for hour in (11..168).step_by(11) {
            assert_eq!(
                sessions.find(&cookie, hours(hour)).map(|found| found.proof),
                Some(found.proof.clone()),
                "{hour}"
            );
        }
        assert_eq!(
            sessions.find(&cookie, hours(167)).map(|found| found.left),
            Some(hours(1))
        );
        assert!(!found.over.is_cancelled());
        assert!(
            sessions.find(&cookie, hours(168)).is_none(),
            "a week is over"
        );
        assert!(found.over.is_cancelled());

        let (cookie, _) = sessions.begin(hours(200)).unwrap();
        let last = hours(212).checked_sub(Duration::from_secs(1)).unwrap();
        assert!(sessions.find(cookie.expose(), last).is_some());
        assert!(
            sessions.find(cookie.expose(), last + IDLE).is_none(),
            "not used"
        );
    }

    #[test]
    fn an_altered_cookie_is_nobodys_and_the_cookie_is_not_kept() {
        let mut sessions = Sessions::default();
        let (cookie, found) = sessions.begin(hours(1)).unwrap();
        let text = cookie.expose();
        assert_eq!(text.len(), 43, "256 bits");
        for n in 0..text.len() {
            let mut altered = text.to_owned().into_bytes();
            altered[n] = if altered[n] == b'A' { b'B' } else { b'A' };
            assert!(
                sessions
                    .find(&String::from_utf8(altered).unwrap(), hours(1))
                    .is_none(),
                "at {n}"
            );
        }
        for odd in ["", &text[1..], &format!("{text}="), &format!("{text} ")] {
            assert!(sessions.find(odd, hours(1)).is_none(), "{odd:?}");
        }
        let shown = format!("{sessions:?} {found:?} {cookie:?}");
        assert!(
            !shown.contains(text) && !shown.contains(found.proof.expose()),
            "{shown}"
        );
        sessions.end(text);
        assert!(sessions.find(text, hours(1)).is_none() && found.over.is_cancelled());
    }

    #[test]
    fn a_thousand_sessions_and_the_oldest_makes_room() {
        let mut sessions = Sessions::default();
        let cookies: Vec<Secret> = (0..1_001_u64)
            .map(|n| sessions.begin(Duration::from_secs(n)).unwrap().0)
            .collect();
        let now = Duration::from_secs(2_000);
        assert!(sessions.find(cookies[0].expose(), now).is_none());
        assert!(
            sessions.find(cookies[1].expose(), now).is_some()
                && sessions.find(cookies[1_000].expose(), now).is_some()
        );
        assert_eq!(sessions.0.len(), MOST);
        let over = sessions.find(cookies[1].expose(), now).unwrap().over;
        sessions.interrupt();
        assert!(
            over.is_cancelled()
                && !sessions
                    .find(cookies[1].expose(), now)
                    .unwrap()
                    .over
                    .is_cancelled()
        );
        sessions.clear();
        assert!(
            cookies
                .iter()
                .all(|cookie| sessions.find(cookie.expose(), now).is_none())
        );
    }
}
