//! Foghorn turns a network's webhook firehose into the few chat messages a person wants.

pub mod clock;
pub mod config;
pub mod destination;
pub mod dispatcher;
pub mod engine;
pub mod fold;
pub mod metrics;
pub mod model;
pub mod pacing;
pub mod processor;
pub mod render;
pub mod replay;
pub mod rules;
pub mod source;
pub mod store;
pub mod trial;
pub mod web;
