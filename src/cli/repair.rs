//! `repair`: what is whole in a damaged data folder, made into one that serves.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Failure, load, out};
use crate::app::backend::{Repaired, repair};
use crate::config::Config;
use crate::model::plural;

/// So many lost messages are named.
const NAMED: usize = 20;

/// Which folder, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct RepairArgs {
    /// The data folder, instead of `server.data`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write what was saved into this folder; otherwise the damaged database is set aside beside
    /// its repaired copy
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
    match repaired.snapshot {
        Some(seq) => {
            let _ = writeln!(
                text,
                "kept: the state of all alerts as of entry {seq}; what came after it is judged again"
            );
            text.push_str("the live page lists the events from there on; `export` and `replay --stored` have all\n");
        }
        None => text
            .push_str("the state of all alerts was not whole: it is made again from the journal\n"),
    }
    let _ = writeln!(
        text,
        "lost: {lost} journal entries, {damaged_messages} stored messages"
    );
    for unsaid in repaired.unsaid.iter().take(NAMED) {
        let _ = writeln!(text, "lost, and not told: {unsaid}");
    }
    if repaired.unsaid.len() > NAMED {
        let _ = writeln!(
            text,
            "lost, and not told: {} more",
            repaired.unsaid.len() - NAMED
        );
    }
    if repaired.missing_messages > 0 {
        let missing = plural(repaired.missing_messages, "message");
        let _ = writeln!(
            text,
            "lost: {missing} more, of which nothing is there (dead letters sent again leave such gaps too)"
        );
    }
    if repaired.vanished_messages > 0 {
        let vanished = plural(repaired.vanished_messages, "message");
        let _ = writeln!(
            text,
            "not there any more: {vanished} that retention removed, or that are lost too"
        );
    }
    if repaired.log_pages > 0 {
        let pages = plural(repaired.log_pages, "page");
        let _ = writeln!(
            text,
            "lost: what {pages} of SQLite's log held, which come after a damaged one"
        );
    }
    if repaired.cursor_guessed {
        text.push_str("how far it was judged could not be read: some messages may be told again\n");
    }
    if let Some(aside) = &repaired.set_aside {
        let _ = writeln!(
            text,
            "the damaged database is {}: delete it when you miss nothing",
            aside.display()
        );
    }
    text
}
