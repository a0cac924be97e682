//! One try: a destination's requests and the replies to them.

use std::io::{ErrorKind, Write as _};

use crate::destination::{Action, Content, DestinationSettings, SendOutcome};
use crate::model::Receipt;
use crate::wire::{Reply, Transport};

/// Maximum number of requests of one try.
const MOST_REQUESTS: usize = 8;

/// Result of a try, and its last reply.
#[derive(Debug)]
pub struct Exchange {
    /// The outcome.
    pub outcome: SendOutcome,
    /// Receipt of the incident from now on; `None`: as before.
    pub receipt: Option<Receipt>,
    /// The last reply.
    pub reply: Reply,
}

/// Sends what a destination wants sent for a message, request by request, within its timeout.
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
        // The destination says what the missing reply means.
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

/// The requests and replies of one try; `None` where it asks for too many.
async fn talk<T: Transport>(
    settings: &DestinationSettings,
    content: Content<'_>,
    past: Option<&Receipt>,
    transport: &T,
    heard: &mut Vec<Reply>,
) -> Option<(SendOutcome, Option<Receipt>)> {
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

/// Prints to standard output. A file on a full disk has room later; whoever closed the pipe reads
/// nothing any more.
fn print(text: &str) -> Reply {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => Reply::Printed,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Reply::Printed,
        Err(error) => Reply::failed(format!("cannot print: {error}")),
    }
}
