//! Simulated networks: the webhook traffic of days or weeks, and the truth about them. Pure: a seed
//! decides everything.
//!
//! Serves `foghorn demo`, and the regression test of what the shipped rules make of a week:
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
pub use deliver::Post;
pub use incident::{Fault, Incident, Quiet};
pub use network::{Device, Family, Network, Place, Preset, Site};
pub use story::{Line, Story, story};
pub use week::simulate;

use crate::model::Timestamp;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How large.
    pub preset: Preset,
    /// Which of all such weeks.
    pub seed: u64,
    /// When it begins; a midnight, so that nights are nights.
    pub start: Timestamp,
    /// How many days.
    pub days: u64,
    /// Whether one POST of a hundred is lost, and two are overtaken by others by up to a minute.
    pub lossy: bool,
    /// Whether the sites have webhooks too, beside the organisation's: then everything comes
    /// twice.
    pub site_webhooks: bool,
}

/// What came, and what it meant.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The network.
    pub network: Network,
    /// Every POST, in the order of arrival.
    pub posts: Vec<Post>,
    /// What must be told.
    pub incidents: Vec<Incident>,
    /// What must not be told, as far as it could be taken for something.
    pub quiet: Vec<Quiet>,
}

impl Simulation {
    /// How many events the POSTs hold: as many messages as a script sends that posts each.
    #[must_use]
    pub fn events(&self) -> usize {
        self.posts.iter().map(|post| post.events).sum()
    }
}
