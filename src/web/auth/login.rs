//! `/api/v1/me`, `login` and `logout`, for everyone who uses one of our host names.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use super::sessions::LONGEST;
use super::{Auth, Denial, LoginMethod, User, user_of};
use crate::model::PageAccess;
use crate::model::Secret;
use crate::password;
use crate::store::Store;
use crate::web::body::{read_body, read_json};
use crate::web::reply::{ApiError, refusal, reply};
use crate::web::{Peer, State};

/// Maximum number of logins that wait for a password check.
pub(super) const MOST_WAITING: usize = 8;
/// Time after which a refused login may try again.
const BUSY: Duration = Duration::from_secs(2);

/// Name of the session cookie. Browsers accept `__Host-` only from this host and over HTTPS.
pub(super) fn cookie_name(https: bool) -> &'static str {
    if https { "__Host-foghorn" } else { "foghorn" }
}

/// Returns the routes.
pub(in crate::web) fn routes<S: Store>(state: &State<S>) -> BoxedFilter<(Response,)> {
    let state = state.clone();
    let path = |name: &'static str| warp::path(name).and(warp::path::end()).map(move || name);
    warp::path!("api" / "v1" / ..)
        .and(
            path("me")
                .or(path("login"))
                .unify()
                .or(path("logout"))
                .unify(),
        )
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .then(
            move |name, method: Method, headers: HeaderMap, peer: Option<Peer>, body| {
                let state = state.clone();
                async move {
                    // The body is read only after a login is allowed at all.
                    let (auth, peer) = (&state.auth, peer.as_ref());
                    let answer = match (name, &method) {
                        ("me", &Method::GET | &Method::HEAD) => auth.me(&headers, peer),
                        ("logout", &Method::POST) => auth.log_out(&headers, peer),
                        ("login", &Method::POST) => match auth.check_login(&headers, peer) {
                            Ok(hash) => {
                                match read_body(&state, &headers, "application/json", body).await {
                                    Ok(body) => auth.log_in(hash, &body, &headers, peer).await,
                                    Err(problem) => Err(problem),
                                }
                            }
                            Err(problem) => Err(problem),
                        },
                        // Each path names its own methods in the answer.
                        ("me", _) => Err(ApiError::new(
                            StatusCode::METHOD_NOT_ALLOWED,
                            "method not allowed",
                            "GET, HEAD",
                        )),
                        _ => Err(ApiError::new(
                            StatusCode::METHOD_NOT_ALLOWED,
                            "method not allowed",
                            "POST",
                        )),
                    };
                    answer.unwrap_or_else(|problem| refusal(&problem))
                }
            },
        )
        .boxed()
}

/// Body of a login request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    password: String,
}

impl Auth {
    /// Returns the user's identity and permissions.
    fn me(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Response, ApiError> {
        self.check_host(headers, peer)?;
        let access = self.access();
        Ok(reply(
            StatusCode::OK,
            &shown(self.who(&access, headers, peer).as_ref()),
        ))
    }

    /// Fails if no login is possible; otherwise returns the password hash.
    fn check_login(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Secret, ApiError> {
        self.check_host(headers, peer)?;
        self.check_page(headers)
            .map_err(|reason| self.refuse(reason, peer))?;
        self.access().password.clone().ok_or_else(|| {
            let help = "`server.password` sets one: docs/api.md, Who may";
            ApiError::new(
                StatusCode::CONFLICT,
                "there is no password to log in with",
                help,
            )
        })
    }

    async fn log_in(
        &self,
        hash: Secret,
        body: &[u8],
        headers: &HeaderMap,
        peer: Option<&Peer>,
    ) -> Result<Response, ApiError> {
        // An invalid body may still contain the password, so the error does not quote it.
        let given = read_json::<LoginRequest>(body)
            .map(|asked| Secret::new(asked.password))
            .map_err(|_| {
                ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "the body cannot be parsed",
                    "as in {\"password\": \"…\"}",
                )
            })?;
        let access = self.access();
        let clients = peer.map_or_else(
            || vec![super::from(peer)],
            |peer| access.clients(headers, peer),
        );
        let client = clients.last().copied().unwrap_or_else(|| super::from(peer));
        // A login counts as a wrong guess until it succeeds, so parallel guesses cannot exceed the
        // limit.
        let begun = self.inside().attempts.begin(&clients, self.clock.elapsed());
        let attempt = match begun {
            Ok(attempt) => attempt,
            Err(wait) => {
                return Ok(self.try_later("limited", "too many wrong passwords", wait, peer));
            }
        };
        // A login that was never checked must not use up the user's guesses.
        let Some(right) = self.is_right(hash.clone(), given).await else {
            self.inside().attempts.forgive(attempt);
            return Ok(self.try_later("busy", "others are logging in", BUSY, peer));
        };
        if !right {
            self.metrics.login("wrong");
            if self.speaks("wrong password") {
                tracing::warn!(from = %client, "a wrong password");
            }
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "that is not the password",
                "",
            ));
        }
        let begun = {
            let mut inside = self.inside();
            inside.attempts.forgive(attempt);
            // The password may have changed during the check; the old one must not start a session.
            if self.access().password.as_ref() != Some(&hash) {
                return Err(Denial::Session.problem());
            }
            inside.sessions.begin(self.clock.elapsed())
        };
        let Ok((cookie, found)) = begun else {
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no randomness for a session",
                "",
            ));
        };
        self.metrics.login("ok");
        tracing::info!(from = %client, "logged in");
        let mut response = reply(StatusCode::OK, &shown(Ok(&user_of(found))));
        self.set_cookie(
            &mut response,
            &access,
            headers,
            peer,
            cookie.expose(),
            LONGEST,
        );
        Ok(response)
    }

    /// Checks the password; `None` if too many logins are waiting.
    async fn is_right(&self, hash: Secret, given: Secret) -> Option<bool> {
        let place = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        let turn = Arc::clone(&self.checking).acquire_owned().await.ok()?;
        // The thread holds both permits: a client that hangs up does not admit another one before
        // the check is done.
        let check = tokio::task::spawn_blocking(move || {
            let right = password::verify(&hash, &given);
            drop((turn, place));
            right
        });
        check.await.ok()
    }

    fn try_later(
        &self,
        outcome: &'static str,
        error: &str,
        wait: Duration,
        peer: Option<&Peer>,
    ) -> Response {
        self.metrics.login(outcome);
        if self.speaks(outcome) {
            tracing::warn!(outcome, from = %super::from(peer), "a login was put off");
        }
        let seconds = wait.as_secs() + 1;
        let help = format!("try again in {seconds} s");
        let mut response = refusal(&ApiError::new(StatusCode::TOO_MANY_REQUESTS, error, help));
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        response
    }

    fn log_out(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Response, ApiError> {
        self.enter(&Method::POST, headers, peer)?;
        let access = self.access();
        if let Some(cookie) = self.cookie(&access, headers, peer) {
            self.inside().sessions.end(cookie.expose());
        }
        let mut response = reply(
            StatusCode::OK,
            &shown(self.who(&access, headers, peer).as_ref()),
        );
        self.set_cookie(&mut response, &access, headers, peer, "", Duration::ZERO);
        Ok(response)
    }

    fn set_cookie(
        &self,
        response: &mut Response,
        access: &PageAccess,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        value: &str,
        lasts: Duration,
    ) {
        let https = access.is_https(self.public.as_ref(), headers, peer);
        let (name, secure) = (cookie_name(https), if https { "; Secure" } else { "" });
        let age = lasts.as_secs();
        let cookie =
            format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
        if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
            cookie.set_sensitive(true);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
}

/// Returns a user's identity and permissions in the format of the API.
fn shown(who: Result<&User, &Denial>) -> Value {
    match who {
        Ok(user) => json!({
            "name": user.name, "how": user.how.word(),
            "csrf": user.proof.as_ref().filter(|_| user.how != LoginMethod::Token).map(Secret::expose),
            "can_see": true, "can_act": user.may_act(), "login": false, "help": "",
        }),
        Err(reason) => json!({
            "name": "", "how": null, "csrf": null, "can_see": false, "can_act": false,
            "login": matches!(reason, Denial::Login | Denial::Session), "help": reason.problem().help,
        }),
    }
}
