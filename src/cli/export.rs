//! `export`: prints the stored traffic as lines for `replay`, beside a running `serve`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::{Failure, duration};
use crate::app::backend::JournalReader;
use crate::clock::Clock;
use crate::config::Config;
use crate::model::Seq;
use crate::replay::{Stored, TrafficEntry, write_post};

pub(super) fn run(
    config: &Config,
    since: Option<&str>,
    data: Option<PathBuf>,
) -> Result<(), Failure> {
    let since = since.map(|text| duration("--since", text)).transpose()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut open = true;
    stored(config, data, since, |heard| {
        let TrafficEntry::Post(post) = heard else {
            return;
        };
        let line = post.received_at.and_then(|at| write_post(at, &post));
        open = open && line.is_none_or(|line| writeln!(out, "{line}").is_ok());
    })?;
    let _ = out.flush();
    Ok(())
}

/// Passes on the stored traffic, oldest first, with the wall time of its receipt, and the silences
/// people created. Silences in force at the beginning come first.
pub(super) fn stored(
    config: &Config,
    data: Option<PathBuf>,
    since: Option<Duration>,
    mut each: impl FnMut(TrafficEntry),
) -> Result<(), Failure> {
    let folder = data.unwrap_or_else(|| config.server.data.clone());
    let from = since.map(|since| Clock::system().wall() - since);
    let failed = |e| Failure::unexpected(format!("{}: {e}", folder.display()));
    let reader = JournalReader::open(&folder).map_err(failed)?;
    let mut stored = Stored::since(from);
    for entry in reader.entries(Seq::default()) {
        stored.take(entry.map_err(failed)?, &mut each);
    }
    Ok(())
}
