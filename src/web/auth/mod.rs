//! Authentication and authorization of every request for the page and its API.
//!
//! `access` contains the configuration, `origin` evaluates where a request comes from, `sessions`
//! lists the logins, `login` creates them, and `attempts` limits password guessing.

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

/// Header with which the page proves that it is ours. Pages of other sites cannot read the value.
pub(super) const PROOF: &str = "x-csrf-token";
/// Minimum interval between two log lines about refusals of one kind.
const QUIET: Duration = Duration::from_secs(1);

/// Decides who may read and who may act.
pub struct Auth {
    access: RwLock<Arc<PageAccess>>,
    public: Option<Public>,
    /// Token that programs send instead of logging in.
    token: Option<Secret>,
    /// Key of the proofs for users without a session; without a key they cannot act.
    key: Option<[u8; 32]>,
    clock: Clock,
    metrics: Metrics,
    state: Mutex<AuthState>,
    /// Limits of password checks: one at a time, few waiting.
    checking: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct AuthState {
    sessions: Sessions,
    attempts: Attempts,
    /// Ends streams of users without a session when the access rules change.
    over: CancellationToken,
    /// Time of the last log line, by reason of the refusal.
    logged: BTreeMap<&'static str, Duration>,
}

/// Way in which a user was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginMethod {
    /// The request was made on this machine.
    ThisMachine,
    /// The user logged in with the password.
    Password,
    /// A trusted proxy named the user.
    Proxy,
    /// A program sent the token.
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

/// An authenticated user.
#[derive(Clone, Debug)]
pub(super) struct User {
    /// Name in logs and as an author; empty if unknown.
    pub(super) name: String,
    how: LoginMethod,
    /// Value of the proof header that the user's page must send to act.
    proof: Option<Secret>,
    over: CancellationToken,
    /// Time until the session ends; `None` if it lasts until `over`.
    left: Option<Duration>,
}

impl User {
    /// Waits until the user's access ends, by logout, timeout or a change of the rules.
    pub(super) fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        let (over, left) = (self.over.clone(), self.left);
        async move {
            match left {
                Some(left) => drop(tokio::time::timeout(left, over.cancelled_owned()).await),
                None => over.cancelled_owned().await,
            }
        }
    }

    /// Returns the user's name for the log, or else the login method.
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

/// Reason of a refusal.
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
    /// Returns the word for metrics and logs.
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
        // The help names the setting to change, because whoever reads it is usually setting Foghorn
        // up.
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
    /// Creates an auth for the users of this machine.
    ///
    /// # Errors
    ///
    /// When the machine has no randomness.
    pub fn for_this_machine() -> std::io::Result<Self> {
        Ok(Self {
            key: Some(clock::unguessable()?),
            ..Self::default()
        })
    }

    /// Also admits everyone whom `access` admits, and programs with the token. `public_url` is the
    /// address people use for this server.
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

    /// Replaces the access rules. Sessions stay, unless the password changed.
    pub fn replace(&self, access: PageAccess) {
        // The state is locked first, as everywhere: a login that is in progress sees either the old
        // or the new rules.
        let mut inside = self.inside();
        let mut current = self.access.write().unwrap_or_else(PoisonError::into_inner);
        if **current == access {
            return;
        }
        if current.password != access.password {
            inside.sessions.clear();
        }
        // Streams end even if their users may stay: they must be authorized again.
        inside.sessions.interrupt();
        std::mem::take(&mut inside.over).cancel();
        *current = Arc::new(access);
    }

    fn access(&self) -> Arc<PageAccess> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn inside(&self) -> MutexGuard<'_, AuthState> {
        // Every statement leaves the state consistent, so it is usable after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Authenticates a request, or refuses it. Methods other than GET and HEAD also need the proof.
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
        // Programs with the token need no proof: browsers never send the token by themselves.
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

    /// Returns true if the request uses one of our host names.
    pub(super) fn knows_host(&self, headers: &HeaderMap) -> bool {
        self.access().knows_host(self.public.as_ref(), headers)
    }

    /// Returns true unless the browser says that a page of another site sent this request.
    pub(super) fn is_of_our_page(&self, headers: &HeaderMap) -> bool {
        knows_origin(self.public.as_ref(), headers) && is_same_site(headers)
    }

    /// Fails unless the request uses one of our host names. This is enough for public data.
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

    /// Admits monitoring: everyone who may read, and this machine even without a login.
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

    /// Refuses requests sent by pages of other sites.
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
        // Checked for reading too: a foreign page cannot read the answer, but could cause work.
        self.check_page(headers).map(|()| user)
    }

    fn whoever(
        &self,
        access: &PageAccess,
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<User, Denial> {
        // The order matters: explicit credentials come before the address, which anyone behind a
        // local proxy shares.
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
        // Checked before the address: a local proxy that names no user is not this machine's user.
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

    /// Returns the session cookie. Over HTTPS only the cookie name that HTTP cannot set counts.
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

    /// Counts a refusal, and logs it at most once a second without any content of the request.
    fn refuse(&self, reason: Denial, peer: Option<&Peer>) -> ApiError {
        let why = reason.word();
        self.metrics.page_refused(why);
        if reason != Denial::Login && self.speaks(why) {
            tracing::info!(why, from = %from(peer), "a request for the page was refused");
        }
        reason.problem()
    }

    /// Returns true if no line of this kind was logged recently.
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

/// Token in the headers of a request.
enum Bearer<'a> {
    One(&'a [u8]),
    /// Several headers, so the intended one is unclear.
    Unclear,
}

/// Returns the token of a request; `None` if it has none. Other schemes are ignored, because a
/// proxy may have asked for them.
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

/// Returns the proof for a user without a session. It differs for each user and each start.
fn proof(key: &[u8; 32], how: LoginMethod, name: &str) -> Secret {
    // HMAC accepts keys of any length, so this never fails.
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

/// Returns the peer's address for the log.
fn from(peer: Option<&Peer>) -> IpAddr {
    peer.map_or(IpAddr::from([0, 0, 0, 0]), Peer::ip)
}

#[cfg(test)]
mod tests;
