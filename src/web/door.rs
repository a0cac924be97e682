//! Who may look, and who may act: every request for people's eyes or from their hands passes here first.

use warp::http::{HeaderMap, Method, StatusCode};

use super::ops::names_this_machine;
use super::silences::Problem;
use super::{Peer, from_this_machine};
use crate::clock;

/// The header in which a page proves that it is ours: no other page can read the word.
pub(super) const PROOF: &str = "x-csrf-token";

/// Lets people in.
#[derive(Clone, Debug, Default)]
pub struct Door {
    /// What a page of ours knows and no other; without it nobody acts.
    proof: Option<String>,
}

/// Someone who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guest {
    /// What they are called in logs and as authors; empty when nobody said.
    pub(super) name: String,
}

impl Door {
    /// A door for this machine's users.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn for_this_machine() -> std::io::Result<Self> {
        let bytes: [u8; 16] = clock::unguessable()?;
        Ok(Self { proof: Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect()) })
    }

    /// What a page must send to act.
    pub(super) fn proof(&self) -> Option<&str> {
        self.proof.as_deref()
    }

    /// Lets a request in, or says why not. What is no reading needs the proof.
    pub(super) fn enter(&self, method: &Method, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Guest, Problem> {
        if !from_this_machine(peer, headers) || !names_this_machine(headers) {
            let help = "open it on the machine that runs Foghorn, by localhost or an address";
            return Err(Problem::new(StatusCode::FORBIDDEN, "for this machine only", help));
        }
        let given = headers.get(PROOF).and_then(|given| given.to_str().ok());
        if !matches!(*method, Method::GET | Method::HEAD) && (self.proof.is_none() || given != self.proof()) {
            let help = format!("send the `csrf` of `GET /api/v1/me` as {PROOF}");
            return Err(Problem::new(StatusCode::FORBIDDEN, "only Foghorn's own page may do that", help));
        }
        Ok(Guest { name: String::new() })
    }
}
