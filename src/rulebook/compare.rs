//! Comparison of two sets of rules on the stored traffic, beside everything else that runs.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::diff;
use crate::fold::notifications;
use crate::model::{Notification, Seq, Timestamp};
use crate::replay::{Refold, Stored};
use crate::rules::RuleSet;
use crate::store::Journal;
use crate::web::rules_api::Declined;

/// Maximum number of messages per side. More are noise in any case, and would all be in memory.
const MOST_MESSAGES: usize = 20_000;
/// Maximum number of entries listed; the most severe come first.
const MOST_NAMED: usize = 200;
/// Number of journal entries read at once.
const AT_ONCE: usize = 500;

/// Compares the rules on the traffic received since `from`. `period` is its description for people.
pub(super) async fn compare(
    store: impl Journal,
    rules: [Arc<RuleSet>; 2],
    from: Timestamp,
    period: String,
) -> Result<Value, Declined> {
    let mut sides = rules.map(|rules| (Refold::new(rules), Vec::<Notification>::new()));
    // Both sides fold the traffic in one pass, because reading it takes most of the time.
    let (mut stored, mut after, mut began) = (Stored::since(Some(from)), Seq::default(), None);
    let mut is_too_much = false;
    loop {
        let entries = store.read(after, AT_ONCE).await.map_err(|error| {
            tracing::warn!(%error, "the past cannot be read");
            Declined::Failed(
                "the store cannot be read now".to_owned(),
                "try again; the log says why",
            )
        })?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        for entry in entries {
            stored.take(entry, |heard| {
                for (refold, said) in &mut sides {
                    match refold
                        .hear_within(&heard, MOST_MESSAGES)
                        .filter(|_| !is_too_much)
                    {
                        Some(made) => said.extend(notifications(made)),
                        None => is_too_much = true,
                    }
                    is_too_much |= said.len() > MOST_MESSAGES;
                    began = began.or(refold.at());
                }
            });
        }
        // Checked per batch: a side with too many messages would fill the memory.
        if is_too_much {
            return Declined::failed(
                "one side sends more than 20,000 messages",
                "compare a shorter time",
            );
        }
        // Dropping the future takes effect here.
        tokio::task::yield_now().await;
    }
    let last = sides.iter().filter_map(|(refold, _)| refold.at()).max();
    let [before, after] = sides.map(|(mut refold, mut said)| {
        said.extend(notifications(refold.finish_comparing(None)));
        said
    });
    let mut found = diff::diff(&before, &after);
    let headline = diff::headline(&found, &period).trim_end().to_owned();
    let more = json!({
        "missed": cut(&mut found.missed), "new": cut(&mut found.new),
        "later": found.later.len().saturating_sub(MOST_NAMED), "earlier": found.earlier.len().saturating_sub(MOST_NAMED),
    });
    found.later.truncate(MOST_NAMED);
    found.earlier.truncate(MOST_NAMED);
    let mut value = diff::json(&found, began, last, ("the rules in force", "this text"));
    if let Some(map) = value.as_object_mut() {
        map.insert("headline".to_owned(), headline.into());
        map.insert("more".to_owned(), more);
    }
    Ok(value)
}

/// Keeps the most severe entries; returns the number of removed ones.
fn cut(list: &mut Vec<diff::Report>) -> usize {
    let all = list.len();
    *list = diff::worst_first(list)
        .into_iter()
        .take(MOST_NAMED)
        .cloned()
        .collect();
    all - list.len()
}
