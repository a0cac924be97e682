//! `repair`: creates a working data folder from the readable parts of a damaged one.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Failure, load, out};
use crate::app::backend::{Repaired, repair};
use crate::config::Config;
use crate::model::plural;

/// Maximum number of lost messages listed.
const NAMED: usize = 20;

/// Arguments of `repair`.
#[derive(Debug, clap::Args)]
pub(super) struct RepairArgs {
    /// The data folder, instead of `server.data`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write the repaired database to this folder; otherwise it replaces the damaged one, which is
    /// kept under another name
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

pub(super) fn run(config: Option<PathBuf>, args: RepairArgs) -> Result<(), Failure> {
    let folder = match args.data {
        Some(folder) => folder,
        None => load(config, Config::load_offline)?.server.data,
    };
    let failed = |e: crate::store::Error| {
        let text = e.to_string();
        let code = if text.contains("is in use by") || text.contains("newer Foghorn") {
            5
        } else {
            1
        };
        Failure {
            text: format!("foghorn: {text}"),
            code,
        }
    };
    let repaired = repair(&folder, args.to.as_deref()).map_err(failed)?;
    out(&report(&repaired));
    Ok(())
}

fn report(repaired: &Repaired) -> String {
    let Repaired {
        entries,
        lost,
        messages,
        damaged_messages,
        ..
    } = repaired;
    // Every kind of loss has a line of its own, because they need different actions.
    let [queued, delivered, digested, dead, discarded] = messages;
    let mut text = format!("repaired: {}\n", repaired.database.display());
    let _ = writeln!(
        text,
        "kept: {entries} journal entries (posts, silences, rules)"
    );
    let _ = writeln!(
        text,
        "kept: {} (queued {queued}, delivered {delivered}, digested {digested}, dead {dead}, discarded {discarded})",
        plural(messages.iter().sum(), "message")
    );
    // The snapshot decides how much is judged again, so the user must know it.
    match repaired.snapshot {
        Some(seq) => {
            let _ = writeln!(
                text,
                "kept: the state of all alerts as of entry {seq}; later entries are judged again"
            );
            text.push_str("the live page lists the events from there on; `export` and `replay --stored` include all\n");
        }
        None => {
            text.push_str("the state of all alerts was damaged: it is rebuilt from the journal\n")
        }
    }
    let _ = writeln!(
        text,
        "lost: {lost} journal entries, {damaged_messages} stored messages"
    );
    // These messages waited when the database was damaged, so people have never seen them.
    for unsaid in repaired.unsaid.iter().take(NAMED) {
        let _ = writeln!(text, "lost before it was sent: {unsaid}");
    }
    if repaired.unsaid.len() > NAMED {
        let _ = writeln!(
            text,
            "lost before they were sent: {} more",
            repaired.unsaid.len() - NAMED
        );
    }
    if repaired.missing_messages > 0 {
        let missing = plural(repaired.missing_messages, "message");
        let _ = writeln!(
            text,
            "lost: {missing} more without a trace (dead letters sent again leave such gaps too)"
        );
    }
    // Retention and damage cannot be distinguished here, so the text names both.
    if repaired.vanished_messages > 0 {
        let vanished = plural(repaired.vanished_messages, "message");
        let _ = writeln!(
            text,
            "missing: {vanished} that retention removed, or that are lost too"
        );
    }
    if repaired.log_pages > 0 {
        let pages = plural(repaired.log_pages, "page");
        let _ = writeln!(
            text,
            "lost: the content of {pages} of SQLite's log that follow a damaged one"
        );
    }
    if repaired.cursor_guessed {
        text.push_str(
            "the position of the judge could not be read: some messages may be sent again\n",
        );
    }
    if let Some(aside) = &repaired.set_aside {
        let _ = writeln!(
            text,
            "the damaged database is {}: delete it once nothing is missing",
            aside.display()
        );
    }
    text
}
