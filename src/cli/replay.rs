//! `replay`: what these rules would have sent.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use super::{Failure, Format, ReplayArgs, duration};
use crate::config::Config;
use crate::model::{Message, Timestamp};
use crate::render::markup;
use crate::replay::{Post, Replay, json_lines, read_posts};

pub(super) fn run(config: &Config, args: ReplayArgs) -> Result<(), Failure> {
    let until = args.until.as_deref().map(|text| {
        Timestamp::parse_rfc3339(text)
            .ok_or_else(|| Failure::usage(format!("--until: `{text}` is not a time like 2026-01-05T12:00:00Z")))
    });
    let until = until.transpose()?;
    let templates = config.load_templates().map_err(|problems| Failure::config(&problems))?;
    let mut replay = Replay::new(Arc::clone(&config.rules), &templates);
    let mut printer =
        Printer { format: args.format, out: BufWriter::new(std::io::stdout().lock()), messages: 0, posts: 0 };
    if args.stored {
        let since = args.since.as_deref().map(|text| duration("--since", text)).transpose()?;
        super::export::stored_posts(config, args.data, since, |post| printer.feed(&mut replay, &post))?;
    } else {
        for file in &args.files {
            feed_file(file, &mut replay, &mut printer)?;
        }
    }
    let rest = replay.finish(until);
    printer.print(&rest);
    printer.summary(&replay);
    Ok(())
}

fn feed_file(path: &Path, replay: &mut Replay<'_>, printer: &mut Printer<impl Write>) -> Result<(), Failure> {
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|e| Failure::unexpected(format!("cannot open {}: {e}", path.display())))?;
        Box::new(BufReader::new(file))
    };
    for post in read_posts(reader) {
        let post = post.map_err(|e| Failure::unexpected(format!("{}: {e}", path.display())))?;
        printer.feed(replay, &post);
    }
    Ok(())
}

struct Printer<W> {
    format: Format,
    out: W,
    posts: u64,
    messages: u64,
}

impl<W: Write> Printer<W> {
    fn feed(&mut self, replay: &mut Replay<'_>, post: &Post) {
        self.posts += 1;
        let messages = replay.post(post);
        self.print(&messages);
    }

    fn print(&mut self, messages: &[Message]) {
        for message in messages {
            self.messages += message.about.to.len() as u64;
            // A reader that went away (`| head`) is no error.
            let _ = match self.format {
                Format::Json => json_lines(message).iter().try_for_each(|line| writeln!(self.out, "{line}")),
                Format::Text => self.print_text(message),
            };
        }
    }

    fn print_text(&mut self, message: &Message) -> std::io::Result<()> {
        let about = &message.about;
        let to: Vec<&str> = about.to.iter().map(crate::model::Name::as_str).collect();
        writeln!(self.out, "{}  {} -> {} ({}, {})", about.at, about.rule, to.join(", "), about.reason, about.severity)?;
        writeln!(self.out, "    {}", markup::plain(&message.title))?;
        for line in markup::plain(&message.text).lines().filter(|line| !line.trim().is_empty()) {
            writeln!(self.out, "    {line}")?;
        }
        Ok(())
    }

    fn summary(&mut self, replay: &Replay<'_>) {
        let fates = replay.fates();
        if self.format == Format::Text {
            let _ = writeln!(
                self.out,
                "{} posts, {} events -> {} messages. Of the events {} were told, {} unmatched, {} duplicates, {} suppressed, {} are pending.",
                self.posts,
                fates.total,
                self.messages,
                fates.told,
                fates.unmatched,
                fates.duplicate,
                fates.suppressed.values().sum::<u64>(),
                fates.pending,
            );
        }
        let _ = self.out.flush();
    }
}
