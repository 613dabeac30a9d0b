//! Creates HTTP responses.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{Either, Full, channel::Channel};
use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS},
};
use serde::Serialize;
use serde_json::json;

/// A complete body, or one that is sent in pieces while the client reads it.
pub(super) type Body = Either<Full<Bytes>, Channel<Bytes, Infallible>>;

/// Creates a response with a media type.
pub(super) fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Creates a complete body.
pub(super) fn whole(text: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(text.into()))
}

/// Creates a response with a value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    answer(status, JSON, whole(encoded(value)))
}

/// Creates an error response with its reason.
pub(super) fn refusal(status: StatusCode, reason: &str) -> Response<Body> {
    json(status, &json!({ "error": reason }))
}

/// JSON on one line. None of our values can fail to encode.
pub(super) fn encoded(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The media type of JSON.
pub(super) const JSON: &str = "application/json";
