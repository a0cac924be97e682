//! What must hold of any input: each target takes bytes and panics where something does not hold.
//!
//! Driven by cargo-fuzz (`cargo +nightly fuzz run envelope fuzz/corpus/envelope
//! fuzz/seeds/envelope`) and, without a nightly compiler, by `tests/mutations.rs`. What once broke
//! one of them lies beside the seeds as `found-…`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod config;
pub mod envelope;
pub mod framing;
pub mod markup;
pub mod payload;
pub mod template;
pub mod words;

/// Monday, 5 January 2026, midnight UTC: when every input arrives.
pub const NOW: foghorn::model::Timestamp =
    foghorn::model::Timestamp::from_millis(1_767_571_200_000);

/// The shipped rules, and one more that tells of whatever they leave out.
pub fn rules() -> String {
    let rest = "  - name: the rest\n    match: {topic: \"*\"}\n    group_by: [type]\n    group_wait: 0s\n\ninhibit_rules:";
    let rules = foghorn::config::BUILT_IN.replacen("\ninhibit_rules:", &format!("\n{rest}"), 1);
    assert!(
        rules.contains("the rest"),
        "the shipped rules have no `inhibit_rules:` any more"
    );
    rules
}
