//! Answers of the API: JSON, and errors with a reason and advice.

use serde_json::{Value, json};
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::Refused;

/// A refused request: status, reason and advice.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) error: String,
    pub(super) help: String,
}

impl ApiError {
    /// Creates an error. `help` says what to do; it may be empty.
    pub(super) fn new(
        status: StatusCode,
        error: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            status,
            error: error.into(),
            help: help.into(),
        }
    }

    /// Creates an error that the client must correct.
    pub(super) fn bad(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, help)
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        Self::new(refused.status, refused.why, "")
    }
}

/// Creates an answer with a JSON value.
pub(super) fn reply(status: StatusCode, body: &Value) -> Response {
    reply_text(status, &body.to_string())
}

/// Creates an answer with text that is JSON already.
pub(super) fn reply_text(status: StatusCode, body: &str) -> Response {
    let mut response = Response::new(format!("{body}\n").into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Creates the answer to an error, with the headers its status requires.
pub(super) fn refusal(error: &ApiError) -> Response {
    let mut response = reply(
        error.status,
        &json!({"error": error.error, "help": error.help}),
    );
    let headers = response.headers_mut();
    match error.status {
        StatusCode::METHOD_NOT_ALLOWED => {
            if let Ok(allow) = HeaderValue::from_str(&error.help) {
                headers.insert(header::ALLOW, allow);
            }
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::REQUEST_TIMEOUT => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}
