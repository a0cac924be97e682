//! Authorized requests to the API, and their query.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use futures_util::stream::{BoxStream, TryStreamExt};
use warp::http::{HeaderMap, Method, StatusCode};

use crate::store;
use crate::web::auth::User;
use crate::web::reply::ApiError;

/// An authorized request.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) asked: Query,
    pub(super) headers: HeaderMap,
    pub(super) user: User,
    /// Body that was not read yet.
    pub(super) body: BoxStream<'static, Result<Bytes, warp::Error>>,
}

pub(super) fn whole_chunks(
    body: impl futures_util::Stream<Item = Result<impl Buf, warp::Error>> + Send + 'static,
) -> impl futures_util::Stream<Item = Result<Bytes, warp::Error>> + Send + 'static {
    body.map_ok(|mut chunk| chunk.copy_to_bytes(chunk.remaining()))
}

/// Parameters after the `?`.
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn of(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(
            pairs
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// Returns a value that is not empty.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.0
            .get(key)
            .filter(|value| !value.trim().is_empty())
            .cloned()
    }

    /// Refuses unknown parameters, because a misspelt filter would show everything.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let help = format!("known: {}", known.join(", "));
                Err(bad(
                    format!("`{}` is not asked for here", crate::render::one_line(key)),
                    help,
                ))
            }
        }
    }
}

pub(super) fn bad(error: impl Into<String>, help: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, error, help)
}

/// Returns the error for a failed read of the store.
pub(super) fn unreadable(error: &store::Error) -> ApiError {
    tracing::warn!(%error, "the past cannot be read");
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the store cannot be read now",
        "try again; the log says why",
    )
}
