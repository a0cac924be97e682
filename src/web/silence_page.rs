//! `/silence/<link>`: the page behind a message's links. Opening it changes nothing, because chats
//! open links by themselves; only its button acts. The signed link is the permission, so it is
//! verified before anything else.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use bytes::Buf;
use futures_util::Stream;
use serde_json::Value;
use sha2::{Digest, Sha256};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use super::body::read_body;
use super::reply::ApiError;
use super::silences::{SilenceResult, Silencing, check_room, expire, make, morning, said, until};
use super::{Refused, State};
use crate::clock::local;
use crate::engine::SilenceState;
use crate::links::{Bad, Offer, Says};
use crate::model::{Silence, Timestamp, Until};
use crate::store::Journal;

const STYLE: &str = include_str!("silence.css");
/// Author of a silence if the page got no name.
const SOMEONE: &str = "someone, by a link in a message";

/// Returns the routes.
pub(super) fn routes<S: Journal>(state: &State<S>) -> BoxedFilter<(Response,)> {
    let state = state.clone();
    let plain = warp::path::end().map(|| false);
    let undo = warp::path("undo").and(warp::path::end()).map(|| true);
    warp::path("silence")
        .and(warp::path::param::<String>())
        .and(plain.or(undo).unify())
        .and(warp::method())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and_then(
            move |link: String, undo, method, query: String, headers, body| {
                let state = state.clone();
                async move {
                    // Without silencing there is no key, so no link can be valid.
                    let Some(silencing) = state.silencing.clone() else {
                        return Err(Refused::NOT_FOUND.into());
                    };
                    let visit = Visit {
                        state: &state,
                        silencing: &silencing,
                        now: state.wall(),
                        headers: &headers,
                    };
                    let answer = visit.answer(&link, undo, method, &query, body).await;
                    let answer = answer.unwrap_or_else(|problem| refusal(&problem));
                    state.metrics.silence("link", answer.status().as_u16());
                    Ok::<_, warp::Rejection>(answer)
                }
            },
        )
        .boxed()
}

/// One request for a page.
struct Visit<'a, S> {
    state: &'a State<S>,
    silencing: &'a Silencing,
    now: Timestamp,
    headers: &'a HeaderMap,
}

impl<S: Journal> Visit<'_, S> {
    async fn answer(
        &self,
        link: &str,
        undo: bool,
        method: Method,
        query: &str,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    ) -> Result<Response, ApiError> {
        if !self.state.auth.knows_host(self.headers) {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "This server does not go by that name.",
                "",
            ));
        }
        // Checked before the method, so that an invalid link always gets the same answer.
        let says = self.silencing.key.verify(link, self.now).map_err(refused)?;
        let acts = match method {
            Method::GET | Method::HEAD => false,
            Method::POST => true,
            _ => {
                return Err(ApiError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "Look at it, or press its button.",
                    "",
                ));
            }
        };
        // The link alone would let a foreign page act with the user's click.
        if acts && !self.state.auth.is_of_our_page(self.headers) {
            tracing::info!("a silence link was used from a page that is not ours");
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "Another page sent this.",
                "Open the link itself.",
            ));
        }
        // A link for silencing is not valid at the undo path, nor the other way round.
        match (says, undo, acts) {
            (Says::Silence(offer), false, false) => {
                let choice = field(query.as_bytes(), "for").unwrap_or_default();
                Ok(page(
                    StatusCode::OK,
                    "Silence this?",
                    &self.ask(&offer, &choice),
                ))
            }
            (Says::Silence(offer), false, true) => self.silence(&offer, query, body).await,
            (Says::Undo { id, .. }, true, false) => {
                let silence = self.silencing.find(&id);
                let title = if silence.is_some() {
                    "End this silence?"
                } else {
                    "It is over"
                };
                let form = silence.map_or_else(String::new, |state| {
                    format!(
                        "{}<form method=\"post\"><button>End it</button></form>",
                        shown(&state.silence)
                    )
                });
                Ok(page(StatusCode::OK, title, &form))
            }
            (Says::Undo { id, .. }, true, true) => self.undo(&id).await,
            _ => Err(refused(Bad::Forged)),
        }
    }

    /// Returns the form that explains the silence and asks for its duration.
    fn ask(&self, offer: &Offer, choice: &str) -> String {
        let mut text = format!(
            "<p>Foghorn will say nothing new about {} until then. Whoever was told that something is down is still told \
             when it is back.</p>",
            what(offer)
        );
        if let Some(SilenceState { silence, .. }) =
            self.silencing.find(&self.silencing.key.silence_id(offer))
        {
            let (until, author) = (ends(&silence), escape(&silence.author));
            let _ = write!(
                text,
                "<p class=\"note\">{author} silenced it {until}. What you choose here replaces that.</p>"
            );
        }
        text.push_str("<form method=\"post\"><fieldset><legend>For how long?</legend>");
        // The message's link preselects the duration.
        let choice = if ["morning", "resolved"].contains(&choice) {
            choice
        } else {
            "1h"
        };
        // The page shows absolute times, because the chat may be in another time zone.
        let hour = local(self.now + Duration::from_secs(3_600));
        for (value, label, until) in [
            ("1h", "One hour", format!("until {hour}")),
            ("morning", "Until morning", local(morning(self.now))),
            (
                "resolved",
                "Until it is resolved",
                "when nothing of it lasts any more".to_owned(),
            ),
        ] {
            let checked = if value == choice { " checked" } else { "" };
            let _ = write!(
                text,
                "<label class=\"choice\"><input type=\"radio\" name=\"for\" value=\"{value}\"{checked}>\
                 <span>{label}<small>{until}</small></span></label>"
            );
        }
        text.push_str(
            "</fieldset><label>Your name, if you like<input name=\"author\" maxlength=\"80\" autocomplete=\"name\"></label>\
             <label>Why, if you like<input name=\"comment\" maxlength=\"500\"></label><button>Silence it</button></form>",
        );
        let _ = write!(
            text,
            "<details><summary>What exactly is silenced</summary>{}</details>",
            list(&offer.matches)
        );
        text
    }

    async fn silence(
        &self,
        offer: &Offer,
        query: &str,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
    ) -> Result<Response, ApiError> {
        let body = match self.headers.contains_key(header::CONTENT_TYPE) {
            true => {
                read_body(
                    self.state,
                    self.headers,
                    "application/x-www-form-urlencoded",
                    body,
                )
                .await?
            }
            false => bytes::Bytes::new(), // the link contains everything needed
        };
        let (author, comment) = said(
            field(&body, "author").as_deref(),
            field(&body, "comment").as_deref(),
        )?;
        // The message's link contains a duration too, but the choice on the page takes precedence.
        let choice = field(&body, "for").or_else(|| field(query.as_bytes(), "for"));
        // Only these durations are offered; any other value was not sent by the page.
        let until = match choice.as_deref() {
            Some("1h") => until(Some("1h"), None, self.now)?,
            Some(choice @ ("morning" | "resolved")) => until(None, Some(choice), self.now)?,
            _ => {
                return Err(ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "It does not say for how long.",
                    "Go back, choose.",
                ));
            }
        };
        let silence = Silence {
            id: self.silencing.key.silence_id(offer),
            matches: offer.matches.clone(),
            until,
            author: if author.is_empty() {
                SOMEONE.to_owned()
            } else {
                author
            },
            comment,
            created: self.now,
        };
        check_room(self.silencing, &silence.id)?;
        let (made, heeded) = make(self.state, self.silencing, silence).await?;
        // The answer says what happened, because the silence may have ended before it is shown.
        let state = match (heeded, made.matching) {
            (SilenceResult::Over, _) => {
                let text = format!(
                    "<p>Nothing of {} lasts any more: there is nothing to wait for.</p>",
                    what(offer)
                );
                return Ok(page(StatusCode::OK, "It is resolved already", &text));
            }
            (SilenceResult::Later, _) => {
                "It is noted. Foghorn has much to do at the moment and will heed it soon."
                    .to_owned()
            }
            (SilenceResult::InForce, 0) => "Nothing of it is open now.".to_owned(),
            (SilenceResult::InForce, 1) => "One alert that is open now falls silent.".to_owned(),
            (SilenceResult::InForce, n) => format!("{n} alerts that are open now fall silent."),
        };
        let back = self
            .silencing
            .key
            .sign(&Says::undo(&made.silence.id, self.now));
        let text = format!(
            "<p>Foghorn says nothing new about {} {}.</p><p>{state}</p>\
             <form method=\"post\" action=\"{back}/undo\"><button>Undo</button></form>",
            what(offer),
            ends(&made.silence)
        );
        Ok(page(StatusCode::OK, "Silenced", &text))
    }

    async fn undo(&self, id: &str) -> Result<Response, ApiError> {
        match expire(self.state, self.silencing, id, SOMEONE.to_owned()).await {
            Ok(state) => {
                let text = format!(
                    "<p>Foghorn speaks of it again.</p>{}",
                    shown(&state.silence)
                );
                Ok(page(StatusCode::OK, "The silence is over", &text))
            }
            // The button was pressed twice, or the silence ended by itself: the result is as wanted.
            Err(problem) if problem.status == StatusCode::NOT_FOUND => Ok(page(
                StatusCode::OK,
                "The silence is over",
                "<p>It was over already.</p>",
            )),
            Err(problem) => Err(problem),
        }
    }
}

/// Returns a field of a form or a query.
fn field<'f>(form: &'f [u8], name: &str) -> Option<Cow<'f, str>> {
    form_urlencoded::parse(form)
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

fn refused(bad: Bad) -> ApiError {
    let (status, error, help) = match bad {
        Bad::Expired => (
            StatusCode::GONE,
            "This link has expired.",
            "Links in messages are good for 24 hours. Use one of a newer message, or run `foghorn silence add` on the server.",
        ),
        Bad::Forged => (
            StatusCode::FORBIDDEN,
            "This link is not valid.",
            "Part of it is missing or was changed, or the server has a new key. Open it from the message itself, or run \
             `foghorn silence add` on the server.",
        ),
    };
    tracing::info!(why = ?bad, "a silence link was refused");
    ApiError::new(status, error, help)
}

fn refusal(problem: &ApiError) -> Response {
    // The help is plain text in which backticks mark a command; everything else is escaped.
    let help = escape(&problem.help)
        .replacen('`', "<code>", 1)
        .replacen('`', "</code>", 1);
    let mut response = page(
        problem.status,
        "Nothing was changed",
        &format!("<p>{}</p><p>{help}</p>", escape(&problem.error)),
    );
    match problem.status {
        StatusCode::METHOD_NOT_ALLOWED => {
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::REQUEST_TIMEOUT => {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// Returns the silenced condition and device, as half a sentence.
fn what(offer: &Offer) -> String {
    let of = |key: &str| {
        offer
            .matches
            .get(key)
            .and_then(Value::as_str)
            .map(|word| escape(&word.replace('_', " ")))
    };
    let kind = of("condition").or_else(|| of("type")).unwrap_or_default();
    format!(
        "<strong>{kind}</strong> of <strong>{}</strong>",
        escape(&offer.whom)
    )
}

/// Returns a silence with its author and comment, as HTML.
fn shown(silence: &Silence) -> String {
    let mut text = list(&silence.matches);
    let _ = write!(
        text,
        "<p>{}, by {}.",
        ends(silence),
        escape(&silence.author)
    );
    if !silence.comment.is_empty() {
        let _ = write!(text, " “{}”", escape(&silence.comment));
    }
    text + "</p>"
}

/// Returns a matcher as an HTML list of fields and values.
fn list(matches: &Value) -> String {
    let mut text = "<dl>".to_owned();
    for (field, value) in matches.as_object().into_iter().flatten() {
        let values: Vec<String> = match value {
            Value::Array(all) => all.iter().map(word).collect(),
            one => vec![word(one)],
        };
        let _ = write!(
            text,
            "<dt>{}</dt><dd>{}</dd>",
            escape(field),
            values.join("<br>")
        );
    }
    text + "</dl>"
}

fn word(value: &Value) -> String {
    escape(
        &value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
    )
}

fn ends(silence: &Silence) -> String {
    match silence.until {
        Until::At(at) => format!("until {}", local(at)),
        Until::Resolved => "until it is resolved".to_owned(),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Creates a whole page. `body` is HTML.
fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} - Foghorn</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    );
    let mut response = Response::new(html.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // With `no-referrer`, browsers would send `Origin: null` with the form, and our page could
        // not be distinguished from others.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Returns the content security policy: nothing is loaded or executed, and only the page's own
/// style applies.
fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let style = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
    })
}
