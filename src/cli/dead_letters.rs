//! `dead-letters`: lists the messages Foghorn gave up on, newest first. The list is read beside a
//! running `serve`; resend and discard are requests to the server.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, ServerArgs};
use super::{Failure, load, out};
use crate::app::backend::JournalReader;
use crate::config::Config;
use crate::model::plural;
use crate::render::{markup, one_line};

/// Maximum number of dead letters listed.
const MOST: usize = 1_000;

/// Arguments of `dead-letters`.
#[derive(Debug, clap::Args)]
pub(super) struct DeadLettersArgs {
    /// The data folder, instead of `server.data`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    act: Option<DeadLettersCommand>,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// Queue dead letters again, on the running server
    Resend(LetterSelection),
    /// Discard dead letters on the running server: they are counted, but no longer listed
    Discard(LetterSelection),
}

/// Selection of dead letters.
#[derive(Debug, clap::Args)]
struct LetterSelection {
    /// Numbers of the dead letters, as `dead-letters` prints them
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    ids: Vec<u64>,
    /// All dead letters
    #[arg(long)]
    all: bool,
    /// With --all: only dead letters of this destination
    #[arg(long, value_name = "NAME", requires = "all")]
    to: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(config: Option<PathBuf>, args: DeadLettersArgs) -> Result<(), Failure> {
    let (which, word, done) = match args.act {
        None => return list(&load(config, Config::load_offline)?, args.data),
        Some(DeadLettersCommand::Resend(which)) => (which, "resend", "queued again"),
        Some(DeadLettersCommand::Discard(which)) => (which, "discard", "discarded"),
    };
    let LetterSelection {
        ids,
        to,
        mut server,
        ..
    } = which;
    // --data is accepted before and after the subcommand.
    server.data = server.data.or(args.data);
    let client = Client::open(config, &server)?.introduced()?;
    if ids.is_empty() {
        let body = to.map_or_else(|| json!({}), |to| json!({"to": to}));
        let said = client.ask(
            &Method::POST,
            &format!("dead-letters/all/{word}"),
            Some(&body),
        )?;
        let count = said
            .get("count")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        out(&format!("{done}: {}\n", plural(count, "message")));
        return Ok(());
    }
    for id in ids {
        client.ask(&Method::POST, &format!("dead-letters/{id}/{word}"), None)?;
        out(&format!("{done}: {id}\n"));
    }
    Ok(())
}

fn list(config: &Config, data: Option<PathBuf>) -> Result<(), Failure> {
    let folder = data.unwrap_or_else(|| config.server.data.clone());
    let reader = JournalReader::open(&folder).map_err(Failure::unexpected)?;
    let letters = reader.dead_letters(MOST).map_err(Failure::unexpected)?;
    let mut text = String::new();
    for letter in &letters {
        let delivery = &letter.delivery;
        let title = one_line(&markup::plain(&delivery.message.title));
        let tries = plural_tries(delivery.attempts);
        let id = delivery.id.0;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {}  {title}",
            delivery.message.about.at, delivery.to
        );
        let _ = writeln!(
            text,
            "    id {id}, given up after {tries}: {}",
            one_line(&letter.why)
        );
    }
    if letters.is_empty() {
        text.push_str("no message was given up\n");
    }
    out(&text);
    Ok(())
}

fn plural_tries(tries: u32) -> String {
    format!("{tries} {}", if tries == 1 { "try" } else { "tries" })
}
