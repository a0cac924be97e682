//! The demo's story: an evening at home with most of the events that Foghorn is for.

use std::time::Duration;

use super::chance::Chance;
use super::deliver::{SimPost, deliver};
use super::feed::CloudFeed;
use super::incident::SimIncident;
use super::network::{Preset, SimNetwork};
use super::{faults, noise};
use crate::model::Timestamp;

/// One line about the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryLine {
    /// Time of the line.
    pub at: Timestamp,
    /// Its text.
    pub text: String,
}

/// A scripted evening: its traffic, and comments on it.
#[derive(Clone, Debug)]
pub struct DemoStory {
    /// Every POST, in the order of arrival.
    pub posts: Vec<SimPost>,
    /// The comments, in order.
    pub lines: Vec<StoryLine>,
    /// The incidents that must be reported.
    pub incidents: Vec<SimIncident>,
    /// Time by which the last message can be expected.
    pub ends_at: Timestamp,
}

/// Returns the story that begins at `start`. The seed decides only details.
#[must_use]
pub fn story(seed: u64, start: Timestamp) -> DemoStory {
    let chance = Chance::new(seed);
    let network = SimNetwork::build(Preset::Home, &mut chance.part("network"));
    let mut feed = CloudFeed::new(chance.part("ids"));
    let mut told = Vec::new();
    let mut lines = Vec::new();
    let mut dice = chance.part("story");
    let at = |minutes: u64| start + Duration::from_secs(minutes * 60);
    let mut say = |when: Timestamp, text: &str| {
        lines.push(StoryLine {
            at: when,
            text: text.to_owned(),
        })
    };
    // The home network always has these; a pattern needs no panic if that changes.
    if let Some(site) = network.sites.first()
        && let [kitchen, office, attic] = site.aps.as_slice()
        && let [switch] = site.switches.as_slice()
    {
        say(
            at(1),
            "ap-kitchen blinks: gone for a minute or two, which nobody needs to know",
        );
        noise::blink(&mut feed, kitchen, at(1), &mut dice);
        told.push(faults::ap_outage(
            &mut feed,
            site,
            office,
            at(2),
            Duration::from_secs(12 * 60),
        ));
        say(at(19), "somebody plugs things in and out of the switch");
        for nth in 0..4 {
            faults::access_port(&mut feed, switch, "ge-0/0/8", at(19 + nth), nth % 2 == 1);
        }
        told.extend(faults::switch_outage(
            &mut feed,
            site,
            switch,
            at(24),
            Duration::from_secs(9 * 60),
            false,
            &mut dice,
        ));
        told.extend(faults::flapping_ap(&mut feed, attic, at(37), &mut dice));
        told.push(faults::interference(&mut feed, kitchen, at(48), &mut dice));
        say(
            at(62),
            "ap-kitchen gets new firmware and restarts, as planned",
        );
        noise::upgrade(&mut feed, kitchen, at(62), &mut dice);
        feed.audit(at(70), None, &network.org_id, "Accessed Org \"Example\"");
        say(at(70), "an administrator looks around");
    }
    // A flapping incident is detected late, but its comment belongs to the first change.
    for incident in &told {
        let began_at = if incident.fault.flaps() {
            incident.began_at
        } else {
            incident.detected_at
        };
        lines.push(StoryLine {
            at: began_at,
            text: incident.what.clone(),
        });
        if let Some(ended_at) = incident.ended_at {
            lines.push(StoryLine {
                at: ended_at,
                text: incident.over.clone(),
            });
        }
    }
    lines.sort_by_key(|line| line.at);
    let ends_at = at(93);
    let mut posts = deliver(&feed.finish(), (false, true), &mut chance.part("deliver"));
    // Late deliveries would make the demo wait for nothing.
    posts.retain(|post| post.received_at < ends_at);
    DemoStory {
        posts,
        lines,
        incidents: told,
        ends_at,
    }
}
