//! A store and a model of it, made of maps: they agree after any moves, crashes among them.

use std::collections::BTreeMap;

use foghorn::model::{Name, Seq, Timestamp};
use foghorn::store::{
    ActionResult, DeadLetterAction, DeliveryId, DeliveryState, Desk, Journal, MessageFates, Next,
    Outbox, Totals,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Bench, World, message, post, step};

#[derive(Clone, Debug)]
enum Move {
    Append(u8),
    Commit { ahead: u8, messages: Vec<bool> },
    Settle { which: u8, how: u8 },
    Summarise { upto: u8 },
    DeadLetterAction { discard: bool, which: u8 },
    Again { which: u8 },
    Crash,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => any::<u8>().prop_map(Move::Append),
        4 => (0..3_u8, prop::collection::vec(any::<bool>(), 0..4)).prop_map(|(ahead, messages)| Move::Commit { ahead, messages }),
        4 => (any::<u8>(), 0..3_u8).prop_map(|(which, how)| Move::Settle { which, how }),
        1 => (0..6_u8).prop_map(|upto| Move::Summarise { upto }),
        2 => (any::<bool>(), any::<u8>()).prop_map(|(discard, which)| Move::DeadLetterAction { discard, which }),
        1 => any::<u8>().prop_map(|which| Move::Again { which }),
        1 => Just(Move::Crash),
    ];
    prop::collection::vec(one, 1..40)
}

/// What the store must hold, told by maps.
#[derive(Default)]
struct Model {
    journal: Vec<String>,
    cursor: u64,
    made: i64,
    queued: BTreeMap<i64, (Name, String)>,
    dead: BTreeMap<i64, (Name, String)>,
    fates: BTreeMap<Name, MessageFates>,
}

impl Model {
    fn queue(&mut self, to: &Name, title: &str) {
        self.made += 1;
        self.queued
            .insert(self.made, (to.clone(), title.to_owned()));
        let fates = self.fates.entry(to.clone()).or_default();
        fates.total += 1;
        fates.queued += 1;
    }
    fn leave(&mut self, id: i64, fate: impl FnOnce(&mut MessageFates) -> &mut u64) {
        if let Some((to, _)) = self.queued.remove(&id) {
            let fates = self.fates.get_mut(&to).unwrap();
            fates.queued -= 1;
            *fate(fates) += 1;
        }
    }
    fn die(&mut self, id: i64) {
        self.dead
            .extend(self.queued.get(&id).map(|message| (id, message.clone())));
        self.leave(id, |f| &mut f.dead);
    }
    fn act(&mut self, discard: bool, id: i64) -> bool {
        let Some((to, title)) = self.dead.remove(&id) else {
            return false;
        };
        let fates = self.fates.get_mut(&to).unwrap();
        fates.dead -= 1;
        if discard {
            fates.discarded += 1;
        } else {
            fates.total -= 1;
            self.queue(&to, &title);
        }
        true
    }
}

async fn agrees<B: Bench>(moves: Vec<Move>) {
    let (mut store, mut model) = (World::<B>::new().await, Model::default());
    for (n, step_taken) in moves.into_iter().enumerate() {
        let at = Timestamp::from_millis(n as i64);
        match step_taken {
            Move::Append(byte) => {
                model.journal.push(byte.to_string());
                let seq = store.append(post(byte.to_string())).await.unwrap();
                assert_eq!(seq.0 as usize, model.journal.len());
            }
            Move::Commit { ahead, messages } => {
                let seq = (model.cursor + u64::from(ahead)).saturating_sub(1);
                let names = messages.iter().map(|ops| if *ops { "ops" } else { "boss" });
                let made: Vec<_> = names.map(|to| message(&format!("{n}"), &[to])).collect();
                if seq > model.cursor {
                    model.cursor = seq;
                    made.iter()
                        .for_each(|m| model.queue(&m.about.to[0], &m.title));
                }
                store.commit(step(seq, made)).await.unwrap();
            }
            Move::Settle { which, how } => {
                let id = i64::from(which) % (model.made + 1);
                let next = match how {
                    0 => Next::Delivered,
                    1 => Next::Dead,
                    _ => Next::Again {
                        due: at,
                        plain: false,
                    },
                };
                match how {
                    0 => model.leave(id, |f| &mut f.delivered),
                    1 => model.die(id),
                    _ => {}
                }
                store.settle(id, at, next).await;
            }
            Move::Summarise { upto } => {
                let ops = Name::new("ops");
                let ids: Vec<i64> = model
                    .queued
                    .iter()
                    .filter(|(_, (to, _))| *to == ops)
                    .map(|(id, _)| *id)
                    .take(upto.into())
                    .collect();
                ids.iter()
                    .for_each(|id| model.leave(*id, |f| &mut f.digested));
                if !ids.is_empty() {
                    model.queue(&ops, "digest");
                }
                let summary = message("digest", &["ops"]);
                store.summarise(&ops, ids, summary, at).await;
            }
            Move::DeadLetterAction { discard, which } => {
                let id = i64::from(which) % (model.made + 1);
                let act = if discard {
                    DeadLetterAction::Discard
                } else {
                    DeadLetterAction::Resend
                };
                let done = matches!(
                    store.act(act, DeliveryId(id)).await.unwrap(),
                    ActionResult::Done(_)
                );
                assert_eq!(done, model.act(discard, id));
            }
            Move::Again { which } => {
                let id = i64::from(which) % (model.made + 1);
                let Some((to, title)) = model.queued.get(&id).or(model.dead.get(&id)).cloned()
                else {
                    continue;
                };
                let queued = model
                    .queued
                    .values()
                    .any(|other| *other == (to.clone(), title.clone()));
                let done = store.again(&title, vec![to.clone()]).await.unwrap();
                assert_eq!(
                    done == ActionResult::OtherState(DeliveryState::Queued),
                    queued,
                    "{done:?}"
                );
                if !queued {
                    model.queue(&to, &title);
                }
            }
            Move::Crash => {
                store.reopen().await;
            }
        }
        let fates = store.totals().await.unwrap();
        for (to, f) in &fates {
            assert_eq!(
                f.total,
                f.delivered + f.digested + f.dead + f.discarded + f.queued,
                "{to}"
            );
        }
        assert_eq!(fates, model.fates.clone().into_iter().collect::<Vec<_>>());
    }
    assert_eq!(store.recover().await.cursor, Seq(model.cursor));
    for to in ["ops", "boss"] {
        let queued: Vec<_> = store.queued(&to.into(), DeliveryId(0), 999).await.unwrap();
        let queued: Vec<_> = queued
            .into_iter()
            .map(|d| (d.id.0, (d.to, d.message.title.clone())))
            .collect();
        let expected = model
            .queued
            .clone()
            .into_iter()
            .filter(|(_, (name, _))| name.as_str() == to);
        assert_eq!(queued, expected.collect::<Vec<_>>());
    }
    let bodies: Vec<_> = store
        .read(Seq(0), 999)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.record)
        .collect();
    assert_eq!(
        bodies,
        model.journal.into_iter().map(post).collect::<Vec<_>>()
    );
}

pub(super) fn agrees_across_crashes<B: Bench>() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(Config {
        cases: 32,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&moves(), |moves| {
            runtime.block_on(agrees::<B>(moves));
            Ok(())
        })
        .unwrap();
}
