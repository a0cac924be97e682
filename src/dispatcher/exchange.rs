//! One attempt: the requests of a destination and the replies to them.

use std::io::{ErrorKind, Write as _};

use crate::destination::{Action, Content, DestinationSettings, SendOutcome};
use crate::model::Receipt;
use crate::wire::{Reply, Transport};

/// Maximum number of requests of an attempt.
const MOST_REQUESTS: usize = 8;

/// Result of an attempt, with the last reply.
#[derive(Debug)]
pub struct Exchange {
    /// The outcome.
    pub outcome: SendOutcome,
    /// New receipt of the incident; `None` keeps the old one.
    pub receipt: Option<Receipt>,
    /// The last reply.
    pub reply: Reply,
}

/// Sends a message by the requests its destination asks for, within its timeout.
pub async fn exchange<T: Transport>(
    settings: &DestinationSettings,
    content: Content<'_>,
    past: Option<&Receipt>,
    transport: &T,
) -> Exchange {
    let mut heard = Vec::new();
    let talk = talk(settings, content, past, transport, &mut heard);
    let ended = match tokio::time::timeout(settings.timeout, talk).await {
        Ok(ended) => ended,
        // The destination decides what the missing reply means.
        Err(_) => {
            heard.push(Reply::failed("timed out"));
            match settings.target.next(&content, past, &heard) {
                Action::Done(outcome, receipt) => Some((outcome, receipt)),
                Action::Send(_) | Action::Print(_) => None,
            }
        }
    };
    let reply = heard.pop().unwrap_or_else(|| Reply::failed("no reply"));
    let (outcome, receipt) = ended.unwrap_or_else(|| {
        let why = "it took too long".to_owned();
        (SendOutcome::Retry { why }, None)
    });
    Exchange {
        outcome,
        receipt,
        reply,
    }
}

/// Exchanges requests and replies; returns `None` after too many requests.
async fn talk<T: Transport>(
    settings: &DestinationSettings,
    content: Content<'_>,
    past: Option<&Receipt>,
    transport: &T,
    heard: &mut Vec<Reply>,
) -> Option<(SendOutcome, Option<Receipt>)> {
    // A destination that always asks for another request must not loop forever.
    while heard.len() < MOST_REQUESTS {
        let reply = match settings.target.next(&content, past, heard) {
            Action::Send(request) => transport.send(&request, settings.timeout).await,
            Action::Print(text) => print(&text),
            Action::Done(outcome, receipt) => return Some((outcome, receipt)),
        };
        heard.push(reply);
    }
    match settings.target.next(&content, past, heard) {
        Action::Done(outcome, receipt) => Some((outcome, receipt)),
        Action::Send(_) | Action::Print(_) => None,
    }
}

/// Prints to standard output. A full disk is a failure that may pass; a closed pipe is none,
/// because nobody reads.
fn print(text: &str) -> Reply {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => Reply::Printed,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Reply::Printed,
        Err(error) => Reply::failed(format!("cannot print: {error}")),
    }
}
