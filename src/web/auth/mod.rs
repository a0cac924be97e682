//! Who may look, and who may act: every request for people's eyes or from their hands passes here
//! first.
//!
//! `access` judges what a request says by what is configured, `sessions` knows who logged in,
//! `login` lets them, and `attempts` bounds the guessing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use warp::http::{HeaderMap, Method, StatusCode, header};

use super::Peer;
use crate::clock::{self, Clock};
use crate::links::same;
use crate::metrics::Metrics;
use crate::model::{PageAccess, Secret};
use crate::web::reply::ApiError;

mod attempts;
pub(super) mod login;
pub(super) mod origin;
mod sessions;

use attempts::Attempts;
use origin::{ProxyUser, Public, is_same_site, knows_origin};
use sessions::Sessions;

/// The header in which a page proves that it is ours: no other page can read the word.
pub(super) const PROOF: &str = "x-csrf-token";
/// A refusal of one kind is logged at most so often.
const QUIET: Duration = Duration::from_secs(1);

/// Lets people in.
pub struct Auth {
    access: RwLock<Arc<PageAccess>>,
    public: Option<Public>,
    /// What programs show instead of logging in.
    token: Option<Secret>,
    /// Proofs of those without a session are made with it; without one they cannot act.
    key: Option<[u8; 32]>,
    clock: Clock,
    metrics: Metrics,
    state: Mutex<AuthState>,
    /// One password is checked at a time, and few wait.
    checking: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct AuthState {
    sessions: Sessions,
    attempts: Attempts,
    /// Ends what goes on for those without a session, when other rules apply.
    over: CancellationToken,
    /// When a refusal was logged last, by its reason.
    logged: BTreeMap<&'static str, Duration>,
}

/// LoginMethod someone was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginMethod {
    /// The request was made on this machine.
    ThisMachine,
    /// They logged in.
    Password,
    /// A proxy says who they are.
    Proxy,
    /// A program that has the token.
    Token,
}

impl LoginMethod {
    fn word(self) -> &'static str {
        match self {
            Self::ThisMachine => "this machine",
            Self::Password => "password",
            Self::Proxy => "proxy",
            Self::Token => "token",
        }
    }
}

/// Someone who was let in.
#[derive(Clone, Debug)]
pub(super) struct User {
    /// What they are called in logs and as authors; empty when nobody said.
    pub(super) name: String,
    how: LoginMethod,
    /// What their page must send to act.
    proof: Option<Secret>,
    over: CancellationToken,
    /// LoginMethod long they may stay; without it until `over`.
    left: Option<Duration>,
}

impl User {
    /// Waits until they may stay no longer: they logged out, or other rules apply.
    pub(super) fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let (over, left) = (self.over.clone(), self.left);
        async move {
            match left {
                Some(left) => drop(tokio::time::timeout(left, over.cancelled_owned()).await),
                None => over.cancelled_owned().await,
            }
        }
    }

    /// Who they are in the log: their name, else how they came in.
    pub(super) fn by(&self) -> &str {
        if self.name.is_empty() {
            self.how.word()
        } else {
            &self.name
        }
    }

    fn may_act(&self) -> bool {
        self.how == LoginMethod::Token || self.proof.is_some()
    }
}

/// Why someone is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denial {
    Host,
    Elsewhere,
    NotByProxy,
    NoUser,
    Token,
    Login,
    Session,
    Origin,
    Proof,
}

impl Denial {
    /// As metrics and logs have it.
    fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Elsewhere => "elsewhere",
            Self::NotByProxy => "not_by_proxy",
            Self::NoUser => "no_user",
            Self::Token => "token",
            Self::Login => "login",
            Self::Session => "session",
            Self::Origin => "origin",
            Self::Proof => "csrf",
        }
    }

    fn problem(self) -> ApiError {
        let (status, error, help) = match self {
            Self::Host => (
                StatusCode::MISDIRECTED_REQUEST,
                "this server does not go by that name",
                "ask by localhost, by an address, by the name in `server.public_url`, or add the name to `server.hosts`",
            ),
            Self::Elsewhere => (
                StatusCode::FORBIDDEN,
                "for this machine only",
                "open it on the machine that runs Foghorn, by localhost or an address. To see it from elsewhere set \
                 `server.password` (`foghorn hash-password` makes it), or have a proxy say who asks \
                 (`server.trusted_proxies`): docs/api.md, Who may",
            ),
            Self::NotByProxy => (
                StatusCode::FORBIDDEN,
                "only by the proxy",
                "open it at the proxy's address: this request does not come from one in `server.trusted_proxies`",
            ),
            Self::NoUser => (
                StatusCode::FORBIDDEN,
                "the proxy does not say who asks",
                "it must send the header in `server.user_header` (default X-Forwarded-User), once, with a name",
            ),
            Self::Token => (
                StatusCode::UNAUTHORIZED,
                "not authorized",
                "the token is in the data folder, in `token`: send it once, as `Authorization: Bearer …`",
            ),
            Self::Login => (
                StatusCode::UNAUTHORIZED,
                "not logged in",
                "log in at `/`, the page; a program sends `Authorization: Bearer` and the token in the data folder",
            ),
            Self::Session => (
                StatusCode::UNAUTHORIZED,
                "not logged in any more",
                "log in again",
            ),
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "another page sent this",
                "only Foghorn's own page may: open it, and act there",
            ),
            Self::Proof => (
                StatusCode::FORBIDDEN,
                "only Foghorn's own page may do that",
                "send the `csrf` of `GET /api/v1/me` as x-csrf-token",
            ),
        };
        ApiError::new(status, error, help)
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            access: RwLock::default(),
            public: None,
            token: None,
            key: None,
            clock: Clock::system(),
            metrics: Metrics::default(),
            state: Mutex::default(),
            checking: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(login::MOST_WAITING + 1)),
        }
    }
}

impl Auth {
    /// A auth for this machine's users.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn for_this_machine() -> std::io::Result<Self> {
        Ok(Self {
            key: Some(clock::unguessable()?),
            ..Self::default()
        })
    }

    /// Lets in whom `access` lets in, too, and programs that have the token. `public_url`: how
    /// people reach this server.
    #[must_use]
    pub fn opened(self, access: PageAccess, token: Secret, public_url: Option<&str>) -> Self {
        let public = public_url.and_then(Public::of);
        Self {
            access: RwLock::new(Arc::new(access)),
            token: Some(token),
            public,
            ..self
        }
    }

    pub(super) fn counting(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// From now on others may see the page. Whoever is logged in stays so, unless the password is
    /// another.
    pub fn replace(&self, access: PageAccess) {
        let mut inside = self.inside();
        let mut current = self.access.write().unwrap_or_else(PoisonError::into_inner);
        if **current == access {
            return;
        }
        if current.password != access.password {
            inside.sessions.clear();
        }
        inside.sessions.interrupt();
        std::mem::take(&mut inside.over).cancel();
        *current = Arc::new(access);
    }

    fn access(&self) -> Arc<PageAccess> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn inside(&self) -> MutexGuard<'_, AuthState> {
        // Whole after every statement, so whole after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request in, or says why not. What is no reading needs the proof.
    pub(super) fn enter(
        &self,
        method: &Method,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<User, ApiError> {
        self.judge(method, headers, peer)
            .map_err(|reason| self.refuse(reason, peer))
    }

    fn judge(
        &self,
        method: &Method,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<User, Denial> {
        let access = self.access();
        if !access.knows_host(self.public.as_ref(), headers) {
            return Err(Denial::Host);
        }
        let user = self.who(&access, headers, peer)?;
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(user);
        }
        let given = headers.get(PROOF).map(|given| given.as_bytes());
        let proven = user
            .proof
            .as_ref()
            .zip(given)
            .is_some_and(|(proof, given)| same(proof, given));
        if proven || user.how == LoginMethod::Token {
            Ok(user)
        } else {
            Err(Denial::Proof)
        }
    }

    /// Whether the request asks for us by a name of ours.
    pub(super) fn knows_host(&self, headers: &HeaderMap) -> bool {
        self.access().knows_host(self.public.as_ref(), headers)
    }

    /// Whether the page that sends this, if one does, is ours, as far as the browser says.
    pub(super) fn is_of_our_page(&self, headers: &HeaderMap) -> bool {
        knows_origin(self.public.as_ref(), headers) && is_same_site(headers)
    }

    /// Whether the request asks for us by a name of ours: enough for what is no secret.
    pub(super) fn check_host(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<(), ApiError> {
        let known = self.knows_host(headers);
        if known {
            Ok(())
        } else {
            Err(self.refuse(Denial::Host, peer))
        }
    }

    /// For machines that watch this one: whoever may look, and this machine, logged in or not.
    pub(super) fn check_watcher(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<(), ApiError> {
        self.check_host(headers, peer)?;
        let access = self.access();
        if access.is_here(headers, peer) {
            return Ok(());
        }
        self.who(&access, headers, peer)
            .map(|_| ())
            .map_err(|reason| self.refuse(reason, peer))
    }

    /// Nothing comes from another page.
    fn check_page(&self, headers: &HeaderMap) -> Result<(), Denial> {
        if self.is_of_our_page(headers) {
            Ok(())
        } else {
            Err(Denial::Origin)
        }
    }

    fn who(
        &self,
        access: &PageAccess,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<User, Denial> {
        let user = self.whoever(access, headers, peer)?;
        // For reading too: what another page makes a browser ask for it cannot read, but we would
        // work for it.
        self.check_page(headers).map(|()| user)
    }

    fn whoever(
        &self,
        access: &PageAccess,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<User, Denial> {
        let bearer = bearer(headers);
        if let (Some(Bearer::One(given)), Some(token)) = (&bearer, &self.token)
            && same(token, given)
        {
            return Ok(self.without_session(LoginMethod::Token, String::new()));
        }
        let said = access.proxy_says(headers, peer);
        if let ProxyUser::Name(name) = said {
            return Ok(self.without_session(LoginMethod::Proxy, name));
        }
        if bearer.is_some() {
            return Err(Denial::Token);
        }
        if access.password.is_some() {
            let cookie = self.cookie(access, headers, peer);
            let Some(cookie) = cookie else {
                return Err(Denial::Login);
            };
            let found = self
                .inside()
                .sessions
                .find(cookie.expose(), self.clock.elapsed())
                .ok_or(Denial::Session)?;
            return Ok(user_of(found));
        }
        // Before this machine: a proxy on it that names nobody is no user of it.
        if said == ProxyUser::Unclear {
            return Err(Denial::NoUser);
        }
        if access.is_here(headers, peer) {
            return Ok(self.without_session(LoginMethod::ThisMachine, String::new()));
        }
        Err(match said {
            _ if access.trusted_proxies.is_empty() => Denial::Elsewhere,
            _ => Denial::NotByProxy,
        })
    }

    fn without_session(&self, how: LoginMethod, name: String) -> User {
        let proof = self.key.as_ref().map(|key| proof(key, how, &name));
        User {
            name,
            how,
            proof,
            over: self.inside().over.clone(),
            left: None,
        }
    }

    /// The cookie of a session. By https only one that only https can set.
    fn cookie(
        &self,
        access: &PageAccess,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Option<Secret> {
        let name = login::cookie_name(access.is_https(self.public.as_ref(), headers, peer));
        let values = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut cookies = values
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        cookies
            .find(|(key, _)| *key == name)
            .map(|(_, value)| Secret::new(value))
    }

    /// Counted always; logged at most once a second, without anything the request says.
    fn refuse(&self, reason: Denial, peer: Option<&Peer>) -> ApiError {
        let why = reason.word();
        self.metrics.page_refused(why);
        if reason != Denial::Login && self.speaks(why) {
            tracing::info!(why, from = %from(peer), "a request for the page was refused");
        }
        reason.problem()
    }

    /// Whether this kind of line was not logged a moment ago.
    fn speaks(&self, kind: &'static str) -> bool {
        let now = self.clock.elapsed();
        let logged = &mut self.inside().logged;
        let speaks = logged.get(kind).is_none_or(|last| now >= *last + QUIET);
        if speaks {
            logged.insert(kind, now);
        }
        speaks
    }
}

fn user_of(found: sessions::Found) -> User {
    let sessions::Found { proof, over, left } = found;
    User {
        name: String::new(),
        how: LoginMethod::Password,
        proof: Some(proof),
        over,
        left: Some(left),
    }
}

/// What a request gives as its token.
enum Bearer<'a> {
    One(&'a [u8]),
    /// Several headers, of which one could be meant.
    Unclear,
}

/// The token of a request; `None` where it speaks of none. What other schemes say is for whoever
/// asked for it.
fn bearer(headers: &HeaderMap) -> Option<Bearer<'_>> {
    let values: Vec<&[u8]> = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(|value| value.as_bytes())
        .collect();
    let token = |value: &'_ [u8]| {
        let (scheme, given) = value.split_at_checked(6)?;
        scheme
            .eq_ignore_ascii_case(b"bearer")
            .then(|| given.trim_ascii().len())
    };
    let first = *values.iter().find(|value| token(value).is_some())?;
    Some(if values.len() == 1 {
        Bearer::One(first.get(6..)?.trim_ascii())
    } else {
        Bearer::Unclear
    })
}

/// The proof of someone without a session: another for each of them, and for each start.
fn proof(key: &[u8; 32], how: LoginMethod, name: &str) -> Secret {
    // A key of any length will do.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key)
        .unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(how.word().as_bytes());
    mac.update(&[0]);
    mac.update(name.as_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    Secret::new(
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    )
}

/// For logs.
fn from(peer: Option<&Peer>) -> IpAddr {
    peer.map_or(IpAddr::from([0, 0, 0, 0]), Peer::ip)
}

#[cfg(test)]
mod tests;
