//! The truth about a simulated network: what went wrong, and what only looks like it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::network::{Device, Place};
use crate::model::Timestamp;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is its name in words")]
pub enum Fault {
    ApOutage,
    /// An AP that is still down after the switch before it is back.
    LeftBehind,
    SwitchOutage,
    WanOutage,
    Interference,
    FlappingUplink,
    Dhcp,
    BadCable,
    PowerSupply,
    FlappingAp,
    /// One alarm sent again and again with a growing count.
    GrowingAlarm,
}

impl Fault {
    /// For tables and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ApOutage => "AP outage",
            Self::LeftBehind => "AP left behind",
            Self::SwitchOutage => "switch outage",
            Self::WanOutage => "WAN outage",
            Self::Interference => "interference",
            Self::FlappingUplink => "flapping uplink",
            Self::Dhcp => "DHCP failure",
            Self::BadCable => "bad cable",
            Self::PowerSupply => "power supply",
            Self::FlappingAp => "flapping AP",
            Self::GrowingAlarm => "growing alarm",
        }
    }

    /// Whether it changes its mind too often for its single changes to be told.
    #[must_use]
    pub const fn flaps(self) -> bool {
        matches!(self, Self::FlappingAp | Self::FlappingUplink)
    }
}

/// Something that went wrong and must be told, once, and its end too.
#[derive(Clone, Debug)]
pub struct Incident {
    /// What kind.
    pub fault: Fault,
    /// Where.
    pub place: Arc<Place>,
    /// The device it is about; `None`: the site.
    pub root: Option<Arc<Device>>,
    /// The MACs of every device it touches: messages about these belong to it.
    pub devices: BTreeSet<String>,
    /// When its first sign was noted.
    pub began_at: Timestamp,
    /// When Mist knew enough: the root's loss, or of what flaps the fourth change.
    pub detected_at: Timestamp,
    /// When it was over; `None`: it has no end.
    pub ended_at: Option<Timestamp>,
    /// The conditions and types (lower case) any of which tells of it.
    pub tells: &'static [&'static str],
    /// Its beginning in words.
    pub what: String,
    /// Its end in words.
    pub over: String,
}

impl Incident {
    /// When the last sign of it was noted.
    #[must_use]
    pub fn last_sign(&self) -> Timestamp {
        self.ended_at.unwrap_or(self.detected_at)
    }
}

/// Something that must not be told.
#[derive(Clone, Debug)]
pub struct Quiet {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// The MACs of those it touches; empty: anyone at all.
    pub devices: BTreeSet<String>,
    /// What it is, in words.
    pub what: String,
}
