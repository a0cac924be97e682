//! The fault suite: the real binary, scripted chats, and what goes wrong in life. docs/faults.md
//! says what each must lead to.
//!
//! `cargo test --test faults` is the short form; `cargo test --test faults -- --ignored
//! --test-threads=1 --nocapture` the long one. `FOGHORN_BIN=PATH` takes another binary than the one
//! just built, `FOGHORN_SEED=n` repeats what a seed led to.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the benchmark's; not all of it is needed here")]
#[path = "../../benches/whole/load.rs"]
mod load;

mod clients;
mod folder;
mod kill;
mod limits;
mod outage;
mod reload;
mod repair;
mod sinks;
mod world;
