//! `dead-letters`: the messages that were given up, newest first. Reads beside a running `serve`.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{Failure, out};
use crate::config::Config;
use crate::render::{markup, one_line};
use crate::store::Reader;

/// How many are listed.
const MOST: usize = 1_000;

pub(super) fn run(config: &Config, data: Option<PathBuf>) -> Result<(), Failure> {
    let folder = data.unwrap_or_else(|| config.server.data.clone());
    let reader = Reader::open(&folder).map_err(Failure::unexpected)?;
    let letters = reader.dead_letters(MOST).map_err(Failure::unexpected)?;
    let mut text = String::new();
    for letter in &letters {
        let delivery = &letter.delivery;
        let title = one_line(&markup::plain(&delivery.message.title));
        let tries = delivery.attempts;
        let plural = if tries == 1 { "try" } else { "tries" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}  {}  {title}", delivery.message.about.at, delivery.to);
        let _ = writeln!(text, "    given up after {tries} {plural}: {}", one_line(&letter.why));
    }
    if letters.is_empty() {
        text.push_str("no message was given up\n");
    }
    out(&text);
    Ok(())
}
