//! The truth about a simulated network: incidents, and noise that only looks like one.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::network::{SimDevice, SiteIdentity};
use crate::model::Timestamp;

/// The kind of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is its name in words")]
pub enum Fault {
    ApOutage,
    /// An AP that stays down after the switch before it has recovered.
    LeftBehind,
    SwitchOutage,
    WanOutage,
    Interference,
    FlappingUplink,
    Dhcp,
    BadCable,
    PowerSupply,
    FlappingAp,
    /// An alarm that is repeated with a growing count.
    GrowingAlarm,
}

impl Fault {
    /// Returns the name for tables and reports.
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

    /// Returns whether it flaps, so that single changes need no message.
    #[must_use]
    pub const fn flaps(self) -> bool {
        matches!(self, Self::FlappingAp | Self::FlappingUplink)
    }
}

/// An incident that must be reported once, and its end, too.
#[derive(Clone, Debug)]
pub struct SimIncident {
    /// Its kind.
    pub fault: Fault,
    /// Its site.
    pub place: Arc<SiteIdentity>,
    /// The device it is about; `None`: the site.
    pub root: Option<Arc<SimDevice>>,
    /// The MACs of all devices concerned. Messages about these belong to it.
    pub devices: BTreeSet<String>,
    /// Time of its first sign.
    pub began_at: Timestamp,
    /// Time at which Mist had enough information: the loss of the root, or the fourth change of
    /// something that flaps.
    pub detected_at: Timestamp,
    /// Time of its end; `None` if it has none.
    pub ended_at: Option<Timestamp>,
    /// The conditions and types (lower case) that report it.
    pub tells: &'static [&'static str],
    /// Its beginning in words.
    pub what: String,
    /// Its end in words.
    pub over: String,
}

impl SimIncident {
    /// Returns the time of its last sign.
    #[must_use]
    pub fn last_sign(&self) -> Timestamp {
        self.ended_at.unwrap_or(self.detected_at)
    }
}

/// Noise that must not be reported.
#[derive(Clone, Debug)]
pub struct SimNoise {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// The MACs of the devices concerned; empty: any.
    pub devices: BTreeSet<String>,
    /// Its description.
    pub what: String,
}
