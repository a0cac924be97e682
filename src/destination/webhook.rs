//! Any URL: a body of the operator's own making, or the notification as JSON.

use serde_json::Value;

use super::{Outcome, Reply};
use crate::model::Message;
use crate::render::{self, Body};

/// The body that says this.
pub(super) fn encode(message: &Message, body: Option<&Body>) -> Value {
    if let Some(body) = body {
        return body.render(message);
    }
    let mut data = render::data(&message.about);
    render::add_texts(&mut data, message);
    data
}

/// What the reply means: any 2xx is success.
pub(super) fn classify(status: u16, reply: &Reply) -> Outcome {
    match status {
        200..300 => Outcome::Delivered,
        400 | 406 | 415 | 422 => Outcome::BadPayload {
            why: format!("the webhook answered {status}"),
        },
        _ => super::by_status("the webhook", status, reply),
    }
}
