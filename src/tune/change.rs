//! A change to one rule: the key in rules.yaml, and its effect on the rule.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::{Field, Name};
use crate::rules::{Pattern, Policy, Rule, Test, Threshold};

/// One key of a rule, and its new value.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyChange {
    /// `for`.
    For(Duration),
    /// `keep_firing_for`.
    KeepFiringFor(Duration),
    /// `cooldown`.
    Cooldown(Duration),
    /// `group_interval`.
    GroupInterval(Duration),
    /// `threshold` for events without an end.
    Threshold(Threshold),
    /// `notify`: a digest.
    Digest(Name),
    /// One more value of `match.not.device`.
    NotDevice(String),
    /// One more value of `match.not.site`.
    NotSite(String),
}

impl KeyChange {
    /// Returns the path of the key within the rule.
    #[must_use]
    pub const fn key(&self) -> &'static [&'static str] {
        match self {
            Self::For(_) => &["for"],
            Self::KeepFiringFor(_) => &["keep_firing_for"],
            Self::Cooldown(_) => &["cooldown"],
            Self::GroupInterval(_) => &["group_interval"],
            Self::Threshold(_) => &["threshold"],
            Self::Digest(_) => &["notify"],
            Self::NotDevice(_) => &["match", "not", "device"],
            Self::NotSite(_) => &["match", "not", "site"],
        }
    }

    /// Returns the value; for a list, the value to be added.
    #[must_use]
    pub fn value(&self) -> Value {
        match self {
            Self::For(time)
            | Self::KeepFiringFor(time)
            | Self::Cooldown(time)
            | Self::GroupInterval(time) => {
                json!(written(*time))
            }
            Self::Threshold(t) => json!({"count": t.count, "window": written(t.window)}),
            Self::Digest(name) => json!([name.as_str()]),
            Self::NotDevice(one) | Self::NotSite(one) => json!(one),
        }
    }

    /// Returns whether the value is added to a list.
    #[must_use]
    pub const fn adds(&self) -> bool {
        matches!(self, Self::NotDevice(_) | Self::NotSite(_))
    }

    /// Applies the change to a rule.
    pub(super) fn apply(&self, rule: &mut Rule) {
        let policy =
            // Policies are shared between versions of a rule, so a change copies its own.
            |rule: &mut Rule, set: &dyn Fn(&mut Policy)| set(Arc::make_mut(&mut rule.policy));
        match self {
            Self::For(time) => policy(rule, &|p| p.r#for = *time),
            Self::KeepFiringFor(time) => policy(rule, &|p| p.keep_firing_for = *time),
            Self::Cooldown(time) => policy(rule, &|p| p.cooldown = *time),
            Self::GroupInterval(time) => policy(rule, &|p| p.group_interval = *time),
            Self::Digest(name) => policy(rule, &|p| p.notify = Some(vec![name.clone()])),
            Self::Threshold(threshold) => rule.threshold = Some(threshold.clone()),
            Self::NotDevice(one) => exclude(rule, Field::Device, one),
            Self::NotSite(one) => exclude(rule, Field::Site, one),
        }
    }

    /// Returns the order among changes that help equally: first those that are easiest to
    /// understand, and then the shorter time.
    pub(super) fn cost(&self) -> (u8, Duration) {
        match self {
            Self::For(time) | Self::Cooldown(time) => (0, *time),
            Self::KeepFiringFor(time) => (1, *time),
            Self::GroupInterval(time) => (2, *time),
            Self::Threshold(threshold) => (3, threshold.window),
            Self::NotDevice(_) => (4, Duration::ZERO),
            Self::NotSite(_) => (5, Duration::ZERO),
            Self::Digest(_) => (6, Duration::ZERO),
        }
    }
}

/// Excludes a value. A pattern that cannot be read changes nothing, so the change is not suggested.
fn exclude(rule: &mut Rule, field: Field, one: &str) {
    let Ok(pattern) = Pattern::parse(one) else {
        return;
    };
    match rule
        .matcher
        .not
        .iter_mut()
        .find(|(known, _)| *known == field)
    {
        Some((_, Test::OneOf(patterns))) => patterns.push(pattern),
        // Another kind of test is not extended: the operator wrote it for a reason.
        Some(_) => {}
        None => rule.matcher.not.push((field, Test::OneOf(vec![pattern]))),
    }
}

/// Formats a duration as in rules.yaml, in its largest unit.
fn written(time: Duration) -> String {
    let s = time.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units
        .iter()
        .find(|(length, _)| s > 0 && s.is_multiple_of(*length));
    unit.map_or_else(
        || format!("{s}s"),
        |(length, unit)| format!("{}{unit}", s / length),
    )
}
