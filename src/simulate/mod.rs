//! Simulated networks: the webhook traffic of days or weeks, and the truth about it. The module is
//! pure: a seed decides everything.
//!
//! It serves `foghorn demo` and the regression test of the shipped rules on a week of traffic:
//! [`referee`] compares the messages with the truth.

mod chance;
mod deliver;
mod faults;
mod feed;
mod incident;
mod network;
mod noise;
pub mod referee;
mod story;
mod week;

pub use chance::Chance;
pub use deliver::SimPost;
pub use incident::{Fault, SimIncident, SimNoise};
pub use network::{Family, Preset, SimDevice, SimNetwork, SimSite, SiteIdentity};
pub use story::{DemoStory, StoryLine, story};
pub use week::simulate;

use crate::model::Timestamp;

/// The options of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The size of the network.
    pub preset: Preset,
    /// The seed.
    pub seed: u64,
    /// The beginning; a midnight, so that nights are nights.
    pub start: Timestamp,
    /// Number of days.
    pub days: u64,
    /// True if one POST in a hundred is lost, and two are up to a minute late.
    pub lossy: bool,
    /// True if the sites have webhooks besides the organisation's, so that every event arrives
    /// twice.
    pub site_webhooks: bool,
}

/// The traffic and the truth about it.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The network.
    pub network: SimNetwork,
    /// Every POST, in the order of arrival.
    pub posts: Vec<SimPost>,
    /// The incidents that must be reported.
    pub incidents: Vec<SimIncident>,
    /// The noise that must not be reported, although it looks like an incident.
    pub quiet: Vec<SimNoise>,
}

impl Simulation {
    /// Returns the number of events in the POSTs: a script that posts each would send as many
    /// messages.
    #[must_use]
    pub fn events(&self) -> usize {
        self.posts.iter().map(|post| post.events).sum()
    }
}
