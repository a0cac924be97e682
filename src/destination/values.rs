//! Settings of one destination as rules.yaml has them, and what makes them unusable.

use std::collections::BTreeMap;

use reqwest::Url;

use crate::model::Secret;
use crate::render::Body;
use crate::wire::is_local;

/// The value of one setting, by the shape its key declares.
#[derive(Clone, Debug)]
pub enum SettingValue {
    /// Value of a `Shape::Secret`.
    Secret(Secret),
    /// Value of a `Shape::Headers`.
    Headers(Vec<(String, Secret)>),
    /// Value of a `Shape::Any`: a tree whose texts are templates.
    Body(Body),
}

/// Settings of one destination, by key.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<&'static str, SettingValue>);

/// Reason why settings cannot be used for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// This key must be there.
    Missing(&'static str),
    /// This key's value cannot be used: `what` goes on after the key's name, and never repeats the
    /// value, which may be secret.
    Wrong {
        /// The key.
        key: &'static str,
        /// The problem.
        what: &'static str,
        /// The remedy.
        help: &'static str,
    },
}

impl Values {
    /// Sets a value.
    pub fn set(&mut self, key: &'static str, value: SettingValue) {
        self.0.insert(key, value);
    }

    /// A URL that messages can be sent to.
    ///
    /// # Errors
    /// Where there is none, or it is no URL, or leaves this machine without TLS.
    pub(super) fn url(&self, key: &'static str) -> Result<(Secret, Url), Unusable> {
        let wrong = |what, help| Unusable::Wrong { key, what, help };
        let Some(SettingValue::Secret(secret)) = self.0.get(key) else {
            return Err(Unusable::Missing(key));
        };
        let text = secret.expose().trim();
        if text.contains(char::is_whitespace) {
            return Err(wrong(
                "has a space or a line break in it",
                "the URL ends before it: in a file of variables there are no comments behind a value",
            ));
        }
        if text.starts_with(['"', '\'']) {
            return Err(wrong(
                "begins with a quote",
                "write it without quotes: here they are a part of it",
            ));
        }
        if text.contains('#') {
            return Err(wrong("has a # in it", "the URL ends before it"));
        }
        let Ok(url) = Url::parse(text) else {
            return Err(wrong("is not a URL", "it must begin with https://"));
        };
        match url.scheme() {
            "https" => Ok((secret.clone(), url)),
            "http" if is_local(&url) => Ok((secret.clone(), url)),
            _ => Err(wrong("must be https (http is for this machine only)", "")),
        }
    }

    /// Headers; none where the file says nothing.
    pub(super) fn headers(&self, key: &str) -> Vec<(String, Secret)> {
        match self.0.get(key) {
            Some(SettingValue::Headers(headers)) => headers.clone(),
            _ => Vec::new(),
        }
    }

    /// A tree whose texts are templates.
    pub(super) fn body(&self, key: &str) -> Option<Body> {
        match self.0.get(key) {
            Some(SettingValue::Body(body)) => Some(body.clone()),
            _ => None,
        }
    }
}
