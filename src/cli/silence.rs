//! `silence add, list, expire`: requests to the running server.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::client::{Client, ServerArgs, word};
use super::{Failure, Format, out, out_exact};
use crate::clock::{Clock, local};
use crate::model::{Timestamp, human_duration};

/// Subcommands of `silence`.
#[derive(Debug, Subcommand)]
pub(super) enum SilenceCommand {
    /// Suppress notifications about matching events for a while; recoveries of outages that were
    /// notified before are still sent
    Add(AddArgs),
    /// List the silences in force
    List {
        /// Output format; json is one line per silence
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// End a silence early
    Expire {
        /// Id of the silence, as `silence list` prints it
        id: String,
        /// Name of the person who ends it; default: the user's name
        #[arg(long, value_name = "NAME")]
        author: Option<String>,
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Arguments of `silence add`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("end").required(true).args(["lasts", "until"])))]
pub(super) struct AddArgs {
    /// Fields of a `match`: `condition=ap_offline site=Home`; a repeated field matches any of its
    /// values
    #[arg(value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// A complete `match`, as YAML or JSON
    #[arg(long = "match", value_name = "MATCH")]
    matches: Option<String>,
    /// Silence everything
    #[arg(long, conflicts_with_all = ["fields", "matches"])]
    all: bool,
    /// Duration (`2h`), at most a year
    #[arg(long = "for", value_name = "DURATION")]
    lasts: Option<String>,
    /// End: a time (RFC 3339), `morning` (08:00), or `resolved`
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Reason
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Name of the author; default: the user's name
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(config: Option<PathBuf>, command: SilenceCommand) -> Result<(), Failure> {
    match command {
        SilenceCommand::Add(args) => add(config, args),
        SilenceCommand::List { format, server } => list(config, format, &server),
        SilenceCommand::Expire { id, author, server } => {
            // Names and ids go into a URL, so they must be escaped.
            let author = form_urlencoded::byte_serialize(author.unwrap_or_else(user).as_bytes())
                .collect::<String>();
            let id = form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>();
            let ended = Client::open(config, &server)?.ask(
                &Method::DELETE,
                &format!("silences/{id}?author={author}"),
                None,
            )?;
            out(&format!(
                "ended {}: {}\n",
                word(&ended, "id"),
                matcher(&ended)
            ));
            Ok(())
        }
    }
}

fn add(config: Option<PathBuf>, args: AddArgs) -> Result<(), Failure> {
    let mut asked = Map::new();
    if args.all {
        asked.insert("all".to_owned(), true.into());
    } else {
        asked.insert(
            "match".to_owned(),
            read_match(&args.fields, args.matches.as_deref())?.into(),
        );
    }
    // The token does not identify a person, so the request names the author.
    let author = args.author.unwrap_or_else(user);
    for (key, value) in [
        ("for", args.lasts),
        ("until", args.until),
        ("comment", args.comment),
        ("author", Some(author)),
    ] {
        if let Some(value) = value {
            asked.insert(key.to_owned(), value.into());
        }
    }
    let made =
        Client::open(config, &args.server)?.ask(&Method::POST, "silences", Some(&asked.into()))?;
    // The server ends a silence until resolved at once if it matches nothing that is open.
    if made.get("over").is_some() {
        out(&format!(
            "{} matches no open alert, so the silence has ended already\n",
            matcher(&made)
        ));
        return Ok(());
    }
    let mut text = format!(
        "{}: silenced {} {}\n",
        word(&made, "id"),
        matcher(&made),
        ends(&made)
    );
    // A typing error in a field is likely then, and the silence would do nothing.
    if made.get("matching").and_then(Value::as_u64) == Some(0) {
        text.push_str("note: it matches no open alert\n");
    }
    let _ = writeln!(
        text,
        "to end it: foghorn silence expire {}",
        word(&made, "id")
    );
    out(&text);
    Ok(())
}

/// Combines fields and `--match` into one map.
fn read_match(fields: &[String], whole: Option<&str>) -> Result<Map<String, Value>, Failure> {
    let mut map = match whole {
        None => Map::new(),
        Some(text) => serde_saphyr::from_str::<Map<String, Value>>(text).map_err(|_| {
            Failure::usage(format!(
                "--match: `{text}` is not a map, as in '{{condition: ap_offline, site: Home}}'"
            ))
        })?,
    };
    for said in fields {
        let Some((field, value)) = said
            .split_once('=')
            .filter(|(field, value)| !field.is_empty() && !value.is_empty())
        else {
            return Err(Failure::usage(format!(
                "`{said}` is not FIELD=VALUE, as in condition=ap_offline"
            )));
        };
        // A repeated field becomes a list, which matches any of its values.
        match map.get_mut(field) {
            None => drop(map.insert(field.to_owned(), value.into())),
            Some(Value::Array(values)) => values.push(value.into()),
            Some(one) => *one = json!([one.take(), value]),
        }
    }
    if map.is_empty() {
        return Err(Failure::usage(
            "name what to silence, as in `condition=ap_offline site=Home`, or say --all",
        ));
    }
    Ok(map)
}

fn list(config: Option<PathBuf>, format: Format, server: &ServerArgs) -> Result<(), Failure> {
    let silences = Client::open(config, server)?.ask(&Method::GET, "silences", None)?;
    let silences = silences.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for silence in silences {
        // Writing to a String cannot fail.
        let _ = match format {
            Format::Json => writeln!(text, "{silence}"),
            Format::Text => {
                let comment = word(silence, "comment");
                let comment = if comment.is_empty() {
                    comment
                } else {
                    format!(": {comment}")
                };
                let open = silence
                    .get("matching")
                    .and_then(Value::as_u64)
                    .unwrap_or_default();
                writeln!(
                    text,
                    "{}  {}\n    {}, by {}{comment}\n    open alerts it matches: {open}",
                    word(silence, "id"),
                    matcher(silence),
                    ends(silence),
                    word(silence, "author"),
                )
            }
        };
    }
    if silences.is_empty() && format == Format::Text {
        text.push_str("no silences in force\n");
    }
    match format {
        Format::Json => out_exact(&text),
        Format::Text => out(&text),
    }
    Ok(())
}

/// Returns the name of the user.
fn user() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(crate::config::environment)
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| "the command line".to_owned())
}

/// Formats the matcher of a silence: `condition=ap_offline site=Home`.
fn matcher(silence: &Value) -> String {
    let Some(map) = silence
        .get("match")
        .and_then(Value::as_object)
        .filter(|map| !map.is_empty())
    else {
        // An empty matcher matches every event, which an empty text would not show.
        return "everything".to_owned();
    };
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let one = |(field, value): (&String, &Value)| match value {
        Value::Array(values) => format!(
            "{field}={}",
            values.iter().map(plain).collect::<Vec<_>>().join("|")
        ),
        value => format!("{field}={}", plain(value)),
    };
    map.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Rounds the remaining time: up to the second, because the silence was created a moment ago, and
/// to the minute if it is long.
fn roughly(left: Duration) -> Duration {
    const A_WHILE: u64 = 600;
    let seconds = left
        .as_millis()
        .div_ceil(1_000)
        .try_into()
        .unwrap_or(u64::MAX);
    let minutes = seconds.saturating_add(30) / 60;
    Duration::from_secs(if seconds < A_WHILE {
        seconds
    } else {
        minutes * 60
    })
}

fn ends(silence: &Value) -> String {
    let until = word(silence, "until");
    match Timestamp::parse_rfc3339(&until) {
        Some(at) => {
            format!(
                "until {} (in {})",
                local(at),
                human_duration(roughly(at.since(Clock::system().wall())))
            )
        }
        None => "until it is resolved".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_as_it_was_asked_for() {
        for (left, told) in [
            (4_999, "5 s"),
            (89_900, "1 min 30 s"),
            (599_500, "10 min"),
            (7_199_000, "2 h"),
            (0, "0 s"),
        ] {
            assert_eq!(human_duration(roughly(Duration::from_millis(left))), told);
        }
    }

    #[test]
    fn fields_and_a_whole_match_become_one_map() {
        let read = |fields: &[&str], whole| {
            let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
            read_match(&fields, whole)
                .map(Value::from)
                .map_err(|failure| failure.code)
        };
        assert_eq!(
            read(&["site=Home", "device=a=b"], None),
            Ok(json!({"site": "Home", "device": "a=b"}))
        );
        assert_eq!(
            read(&["site=a", "site=b", "site=c"], None),
            Ok(json!({"site": ["a", "b", "c"]}))
        );
        let whole = Some("{condition: ap_offline, not: {site: [Lab, \"X*\"]}}");
        let map =
            json!({"condition": "ap_offline", "not": {"site": ["Lab", "X*"]}, "device": "ap-1"});
        assert_eq!(read(&["device=ap-1"], whole), Ok(map));
        assert_eq!(
            read(&[], Some(r#"{"type": "AP_X"}"#)),
            Ok(json!({"type": "AP_X"}))
        );
        for (fields, whole) in [
            (&["site"][..], None),
            (&["=x"], None),
            (&[], None),
            (&["a="], None),
            (&[], Some("[]")),
        ] {
            assert_eq!(read(fields, whole), Err(2), "{fields:?} {whole:?}");
        }
    }
}
