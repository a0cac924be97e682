//! Bodies of API requests.

use std::pin::pin;

use bytes::Buf;
use futures_util::Stream;
use serde::de::DeserializeOwned;
use serde_json::Value;
use warp::http::{HeaderMap, StatusCode, header};

use super::reply::ApiError;
use super::{BODY_DEADLINE, State, ingest};
use crate::store::Store;

/// Maximum size of a request's body, in bytes.
pub(super) const MAX_BODY: usize = 32 * 1024;

/// Reads the whole body, of the given media type and at most [`MAX_BODY`] long.
pub(super) async fn read_body<S: Store>(
    state: &State<S>,
    headers: &HeaderMap,
    media: &str,
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Result<bytes::Bytes, ApiError> {
    read_body_of(state, headers, (media, MAX_BODY), body).await
}

/// Reads the whole body as [`read_body`] does, up to `most` bytes.
pub(super) async fn read_body_of<S: Store>(
    state: &State<S>,
    headers: &HeaderMap,
    (media, most): (&str, usize),
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send,
) -> Result<bytes::Bytes, ApiError> {
    // Several types or an encoding would let two readers disagree about the content.
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let declared = types
        .next()
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let matches = declared
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case(media);
    if !matches || types.next().is_some() || headers.contains_key(header::CONTENT_ENCODING) {
        let error = format!("the body must be {media}, and say so");
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            error,
            format!("Content-Type: {media}"),
        ));
    }
    let body = pin!(body);
    let read = tokio::time::timeout(
        BODY_DEADLINE,
        ingest::read(headers, most, &state.bytes, body),
    );
    let read = read
        .await
        .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "body took too long", ""))?;
    Ok(read?.0)
}

/// Reads a JSON object. serde alone would also accept a list of the fields, and null for a missing
/// field.
pub(super) fn read_json<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    let fields: serde_json::Map<String, Value> = serde_json::from_slice(body)?;
    if fields.values().any(Value::is_null) {
        return Err(serde::de::Error::custom("null is no value here"));
    }
    serde_json::from_value(fields.into())
}
