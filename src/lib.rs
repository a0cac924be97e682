//! Foghorn turns the webhooks of a network into few chat messages.
//!
//! `decisions = fold(rules, journal)`. A POST arrives at [`web`]. Its [`source`] verifies the
//! signature and returns a [`source::Verified`], the only type that ingest can journal. Once the
//! [`store`] has written it to disk, the sender gets its 200. The [`judge`] reads the journal in
//! order, lets the source convert it to [`model::Event`]s, and passes each to the [`engine`]. The
//! engine is a pure state machine that returns [`engine::Decision`]s. Messages are [`render`]ed;
//! journal position and messages are committed as one [`store::Step`]. The [`dispatcher`] sends the
//! outbox at each [`destination`]'s pace. `test` and `replay` fold a file with the same code, in
//! virtual time.
//!
//! Layers of the crate. A module uses only lower layers (`tests/architecture.rs` checks this):
//! * 0: [`model`], the shared types
//! * 1: [`clock`], [`rules`], [`render`], [`pacing`], [`metrics`], [`links`], [`password`],
//!   [`notify`], [`wire`], [`worker`]: small parts
//! * 2: [`engine`], [`source`], [`destination`], [`store`], [`simulate`]: the core, and one file
//!   per external system
//! * 3: [`config`], [`fold`], [`history`], [`follower`], [`judge`], [`dispatcher`], [`replay`], [`diff`],
//!   [`tune`], [`explain`], [`trial`], [`web`]: settings, and what runs
//! * 4: [`rulebook`]: the rules file as the page shows and changes it
//! * 5, 6: [`app`], [`cli`]: what starts it all

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod destination;
pub mod diff;
pub mod dispatcher;
pub mod engine;
pub mod explain;
pub mod fold;
pub mod follower;
pub mod history;
pub mod judge;
pub mod links;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod pacing;
pub mod password;
pub mod render;
pub mod replay;
pub mod rulebook;
pub mod rules;
pub mod simulate;
pub mod source;
pub mod store;
pub mod trial;
pub mod tune;
pub mod web;
pub mod wire;
pub mod worker;
