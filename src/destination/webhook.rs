//! Any URL: a body of the operator's own making, or the notification as JSON.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Action, Content, Destination, DestinationKind, Overflow, SendOutcome, Unusable, Values, once,
    pace,
};
use crate::model::{Message, Receipt, Secret, Setting, Shape};
use crate::render::{self, Body};
use crate::wire::{HttpRequest, Reply};

pub(super) const KIND: DestinationKind = DestinationKind {
    word: "webhook",
    label: "Webhook",
    doc: "Any URL.",
    settings: &[
        Setting::new(
            "url",
            Shape::Secret,
            "The URL: env:NAME or file:PATH where it is secret.",
        ),
        Setting::new(
            "headers",
            Shape::Headers,
            "Extra request headers; values may be env:NAME or file:PATH.",
        ),
        Setting::new(
            "body",
            Shape::Any,
            "A JSON tree whose texts are templates. Default: the notification.",
        ),
    ],
    variable: None,
    rate_limit: pace(10, 1, 10),
    overflow: Overflow::Queue,
    make: Webhook::make,
    preview: None,
    remembers: false,
};

/// Any URL that takes JSON.
#[derive(Debug, PartialEq)]
struct Webhook {
    url: Secret,
    headers: Vec<(String, Secret)>,
    /// `None`: the notification as JSON.
    body: Option<Body>,
}

impl Webhook {
    fn make(values: &Values) -> Result<Arc<dyn Destination>, Unusable> {
        Ok(Arc::new(Self {
            url: values.url("url")?.0,
            headers: values.headers("headers"),
            body: values.body("body"),
        }))
    }

    fn request(&self, message: &Message) -> HttpRequest {
        HttpRequest {
            headers: self.headers.clone(),
            ..HttpRequest::post(self.url.clone(), encode(message, self.body.as_ref()))
        }
    }
}

impl Destination for Webhook {
    fn kind(&self) -> &'static DestinationKind {
        &KIND
    }

    fn url(&self) -> Option<&Secret> {
        Some(&self.url)
    }

    fn next(&self, content: &Content<'_>, _: Option<&Receipt>, heard: &[Reply]) -> Action {
        once(heard, || self.request(content.message), classify)
    }
}

/// The body that says this.
fn encode(message: &Message, body: Option<&Body>) -> Value {
    if let Some(body) = body {
        return body.render(message);
    }
    let mut data = render::data(&message.about);
    render::add_texts(&mut data, message);
    data
}

/// Outcome by the reply: any 2xx is success.
fn classify(status: u16, _: &str, reply: &Reply) -> SendOutcome {
    match status {
        200..300 => SendOutcome::Delivered,
        400 | 406 | 415 | 422 => SendOutcome::BadPayload {
            why: format!("the webhook answered {status}"),
        },
        _ => super::by_status("the webhook", status, reply),
    }
}
