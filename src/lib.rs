//! Foghorn turns a network's webhook firehose into the few chat messages a person wants.
//!
//! `decisions = fold(rules, journal)`. A POST reaches [`web`]; its [`source`] checks the signature
//! and yields a [`source::Verified`], the only thing ingest can journal; once the [`store`] has it
//! on disk the sender gets its 200. The [`judge`] reads the journal in order, has the source
//! make [`model::Event`]s of it and hands each to the [`engine`], a pure state machine that returns
//! [`engine::Decision`]s. What is to be told is [`render`]ed; journal position and messages are
//! committed as one [`store::Step`]. The [`dispatcher`] sends the outbox at each [`destination`]'s
//! pace. `test` and `replay` fold a file with the same code, in virtual time.
//!
//! The floors; a module uses only floors below its own (`tests/architecture.rs` holds them):
//! * 0: [`model`], the words
//! * 1: [`clock`], [`rules`], [`render`], [`pacing`], [`metrics`], [`links`], [`password`],
//!   [`notify`], [`wire`], [`worker`]: small parts
//! * 2: [`engine`], [`source`], [`destination`], [`store`], [`simulate`]: the core, and one file
//!   per outside thing
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
