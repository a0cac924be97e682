//! A chat on bad days.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foghorn::clock::Clock;
use foghorn::simulate::Chance;
use foghorn::wire::{HttpRequest, Reply, Transport};
use serde_json::Value;

use crate::BAD;

/// One try as the chat saw it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Try {
    pub(crate) to: String,
    pub(crate) at: Duration,
    pub(crate) body: String,
    /// It is in the channel, whatever was answered.
    pub(crate) taken: bool,
    /// When it was over, and the status, if there was one; `None` where nothing came.
    pub(crate) ended: Option<(Duration, Option<u16>)>,
    pub(crate) retry_after: Duration,
}

impl Try {
    pub(crate) fn answered(&self, status: u16) -> bool {
        self.ended.is_some_and(|(_, answer)| answer == Some(status))
    }
}

#[derive(Clone)]
pub(crate) struct Chat {
    pub(crate) chance: Chance,
    pub(crate) clock: Clock,
    /// Nothing is taken for so long.
    pub(crate) outage: Range<Duration>,
    pub(crate) tries: Arc<Mutex<Vec<Try>>>,
}

/// What a chat does with one try.
pub(crate) enum Answer {
    Status(u16),
    Reset { taken: bool },
    Hang { taken: bool },
}

impl Chat {
    /// By the seed, what is said and how often it was tried: not by the order in which messages
    /// come.
    fn chance(&self, to: &str, body: &str) -> Chance {
        let before = self
            .tries
            .lock()
            .unwrap()
            .iter()
            .filter(|one| one.to == to && one.body == body)
            .count();
        self.chance.part(to).part(body).part(&before.to_string())
    }

    fn answer(&self, chance: &mut Chance, at: Duration) -> Answer {
        let taken = chance.percent(50);
        match chance.between(1, 100) {
            _ if at >= BAD => Answer::Status(200),
            _ if self.outage.contains(&at) => Answer::Status(503),
            1..=4 => Answer::Hang { taken },
            5..=12 => Answer::Reset { taken },
            13..=20 => Answer::Status(429),
            21..=32 => Answer::Status(500),
            _ => Answer::Status(200),
        }
    }

    /// It never takes some messages, plain or not.
    fn refuses(&self, to: &str, body: &str) -> bool {
        let id = serde_json::from_str(body)
            .ok()
            .and_then(|body: Value| body["id"].as_str().map(str::to_owned));
        to == "calm" && id.is_some_and(|id| self.chance.part("refused").part(&id).percent(4))
    }
}

impl Transport for Chat {
    async fn send(&self, request: &HttpRequest, _: Duration) -> Reply {
        let body = request.body.as_ref().expect("chats are posted something");
        let to = request
            .url
            .expose()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let (at, body) = (self.clock.elapsed(), body.to_string());
        let mut chance = self.chance(&to, &body);
        let retry_after = Duration::from_secs(chance.between(1, 90));
        let delay = chance.span(Duration::from_millis(5), Duration::from_secs(3));
        let answer = if self.refuses(&to, &body) {
            Answer::Status(400)
        } else {
            self.answer(&mut chance, at)
        };
        let number = {
            let mut tries = self.tries.lock().unwrap();
            tries.push(Try {
                to,
                at,
                body,
                taken: false,
                ended: None,
                retry_after,
            });
            tries.len() - 1
        };
        let change = |change: &dyn Fn(&mut Try)| change(&mut self.tries.lock().unwrap()[number]);
        tokio::time::sleep(delay / 2).await;
        let taken = match answer {
            Answer::Status(status) => status == 200,
            Answer::Reset { taken } | Answer::Hang { taken } => taken,
        };
        change(&|one| one.taken = taken);
        tokio::time::sleep(delay / 2).await;
        let now = self.clock.elapsed();
        let status = match answer {
            Answer::Hang { .. } => std::future::pending().await,
            Answer::Reset { .. } => {
                change(&|one| one.ended = Some((now, None)));
                return Reply::Failed {
                    why: "connection reset".to_owned(),
                };
            }
            Answer::Status(status) => status,
        };
        change(&|one| one.ended = Some((now, Some(status))));
        let wait = (status == 429).then(|| retry_after.as_secs().to_string());
        let body = if status == 200 { "ok" } else { "" }.to_owned();
        Reply::Http {
            status,
            retry_after: wait,
            date: None,
            body,
        }
    }
}
