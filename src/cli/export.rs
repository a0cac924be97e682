//! `export`: the stored traffic, as lines that `replay` reads. Reads beside a running `serve`.

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::{Failure, duration};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Record, Seq, Timestamp};
use crate::replay::{Post, write_post};
use crate::store;

pub(super) fn run(config: &Config, since: Option<&str>, data: Option<PathBuf>) -> Result<(), Failure> {
    let since = since.map(|text| duration("--since", text)).transpose()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut open = true;
    stored_posts(config, data, since, |post| {
        let line = post.received_at.and_then(|at| write_post(at, &post.source, &post.body));
        open = open && line.is_none_or(|line| writeln!(out, "{line}").is_ok());
    })?;
    let _ = out.flush();
    Ok(())
}

/// The stored POSTs, oldest first, each with the wall time it was received at.
pub(super) fn stored_posts(
    config: &Config,
    data: Option<PathBuf>,
    since: Option<Duration>,
    mut each: impl FnMut(Post),
) -> Result<(), Failure> {
    let folder = data.unwrap_or_else(|| config.server.data.clone());
    let from = since.map(|since| Clock::system().wall() - since);
    let mut offset_ms = 0;
    let reader = store::Reader::open(&folder).map_err(|e| Failure::unexpected(format!("{}: {e}", folder.display())))?;
    for entry in reader.entries(Seq::default()) {
        let entry = entry.map_err(|e| Failure::unexpected(format!("{}: {e}", folder.display())))?;
        match entry.record {
            Record::Clock { offset_ms: now } => offset_ms = now,
            Record::Post { source, body } => {
                let received: Timestamp = entry.at.shifted(offset_ms);
                if from.is_none_or(|from| received >= from) {
                    each(Post { received_at: Some(received), source, body });
                }
            }
            Record::Tick | Record::Rules(_) | Record::Silence(_) | Record::Expire { .. } => {}
        }
    }
    Ok(())
}
