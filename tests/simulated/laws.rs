//! What must hold when all is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foghorn::config::rules_from_record;
use foghorn::fold::{Fold, messages};
use foghorn::model::{Message, Reason};
use foghorn::render::Templates;

use crate::chat::Try;
use crate::{Course, TIMEOUT};

impl Course {
    /// What a fold that never crashed says of the same journal; its counts must add up.
    pub(crate) fn said(&self) -> Vec<Message> {
        let mut fold = Fold::new(Arc::clone(&self.config.rules), rules_from_record);
        let templates = Templates::builtin();
        let said = self
            .journal
            .iter()
            .flat_map(|entry| messages(fold.apply(entry).decisions, &templates))
            .collect();
        let fates = fold.fates();
        let suppressed: u64 = fates.suppressed.values().sum();
        let sum = fates.duplicate + fates.unmatched + fates.told + fates.pending + suppressed;
        assert_eq!(
            (fates.total, sum),
            (self.events, self.events),
            "an event has not one fate: {fates:?}"
        );
        assert_eq!(
            (fates.pending, fold.open().0),
            (0, 0),
            "something is still open"
        );
        said
    }

    fn crashed(&self, mut within: impl FnMut(Duration) -> bool) -> bool {
        self.crashes.iter().any(|at| within(*at))
    }

    /// Who was told "down" is told "up", last and once; of what flapped, that it is well again.
    pub(crate) fn every_end_is_told(&self, said: &[Message]) {
        let mut incidents: BTreeMap<&str, Vec<(Reason, bool)>> = BTreeMap::new();
        for about in said
            .iter()
            .map(|message| &message.about)
            .filter(|about| about.rule == "AP unreachable")
        {
            let well = about
                .subjects
                .iter()
                .all(|subject| subject.ends_at.is_some());
            let end = about.reason == Reason::Resolved || (about.reason == Reason::Stable && well);
            incidents
                .entry(&about.incident)
                .or_default()
                .push((about.reason, end));
        }
        for (incident, said) in incidents {
            let ends = said.iter().filter(|(_, end)| *end).count();
            assert!(
                ends == 1 && said.last().is_some_and(|(_, end)| *end),
                "incident {incident}: {said:?}"
            );
        }
    }

    /// The tries of each message by itself, by its id, and of each digest, by its text.
    fn tries_of(&self, said: &[Message], to: &str) -> BTreeMap<String, Vec<&Try>> {
        let mut all: BTreeMap<String, Vec<&Try>> = BTreeMap::new();
        for one in self.tries.iter().filter(|one| one.to == to) {
            let mut ids = said
                .iter()
                .map(|message| &message.about.id)
                .filter(|id| one.body.contains(id.as_str()));
            let key = ids.next().unwrap_or(&one.body).clone();
            assert!(
                ids.next().is_none(),
                "{to}: more than one message by itself in {}",
                one.body
            );
            all.entry(key).or_default().push(one);
        }
        all
    }

    /// Every message arrived, or is in a digest that did, or is dead: as often as counted.
    pub(crate) fn every_message_arrives(&self, said: &[Message], to: &str) {
        let fates = &self.fates[to];
        let all = fates.delivered + fates.digested + fates.dead + fates.discarded + fates.queued;
        assert_eq!((fates.total, fates.queued), (all, 0), "{to}: {fates:?}");
        let tries = self.tries_of(said, to);
        let is = |key: &str, status: u16| {
            tries
                .get(key)
                .is_some_and(|all| all.iter().any(|one| one.answered(status)))
        };
        let ids: Vec<&str> = said
            .iter()
            .map(|message| message.about.id.as_str())
            .collect();
        let digests = tries
            .keys()
            .filter(|key| !ids.contains(&key.as_str()))
            .count() as u64;
        let made = fates.total - said.len() as u64;
        assert!(
            made >= digests && (made > 0) == (fates.digested > 0),
            "{to}: {digests} of {made} digests: {fates:?}"
        );
        let delivered = tries.keys().filter(|key| is(key, 200)).count() as u64;
        assert_eq!(
            delivered, fates.delivered,
            "{to}: what was taken is not what is counted: {fates:?}"
        );
        let dead = tries.keys().filter(|key| is(key, 400)).count() as u64;
        assert_eq!(dead, fates.dead, "{to}: {fates:?}");
        let alone = ids.iter().filter(|id| is(id, 200) || is(id, 400)).count() as u64;
        let missing = ids.len() as u64 - alone;
        assert_eq!(
            missing + (made - (delivered - (alone - dead))),
            fates.digested,
            "{to}: {missing} missing: {fates:?}"
        );
    }

    /// Never at once, never again after it was taken; and of one incident in order, whatever
    /// crashed.
    pub(crate) fn nothing_is_said_twice(&self, said: &[Message], to: &str) {
        let tries = self.tries_of(said, to);
        for (key, all) in &tries {
            for pair in all.windows(2) {
                let (first, then) = (pair[0], pair[1]);
                let over = match first.ended {
                    // What became of it is noted in no time; only a crash in that moment forgets
                    // it.
                    Some((at, Some(200))) => self.crashed(|crash| crash == at),
                    Some((at, _)) => at <= then.at,
                    None => {
                        then.at >= first.at + TIMEOUT
                            || self.crashed(|at| first.at <= at && at <= then.at)
                    }
                };
                assert!(over, "{to}: {key}: {then:?} after {first:?}");
            }
            let taken = all.iter().filter(|one| one.taken).count();
            let unheard = all
                .iter()
                .filter(|one| one.taken && !one.answered(200))
                .count();
            assert!(
                taken <= unheard + 1,
                "{to}: {key} is there {taken} times, {unheard} of them not known to be"
            );
        }
        let mut newest: BTreeMap<&str, Duration> = BTreeMap::new();
        for about in said.iter().map(|message| &message.about) {
            let Some(all) = tries.get(&about.id) else {
                continue;
            };
            let (first, last) = (all[0].at, all[all.len() - 1].at);
            let before = newest.insert(&about.incident, last);
            assert!(
                before.is_none_or(|before| before <= first),
                "{to}: {} out of order",
                about.incident
            );
        }
    }

    /// Never faster than the pace, and never before the time the chat asked for.
    pub(crate) fn the_pace_is_kept(&self, to: &str) {
        let settings = self
            .config
            .destinations
            .iter()
            .find(|settings| settings.name.as_str() == to)
            .unwrap();
        let limit = settings.rate_limit;
        let tries: Vec<&Try> = self.tries.iter().filter(|one| one.to == to).collect();
        for (first, one) in tries.iter().enumerate() {
            for (last, other) in tries.iter().enumerate().skip(first) {
                // Only deliveries count over a crash: the tries that failed before it are
                // forgotten.
                let forgotten = self
                    .crashes
                    .iter()
                    .filter(|at| one.at <= **at && **at <= other.at)
                    .count() as f64;
                let filled =
                    (other.at - one.at).as_secs_f64() / (limit.per / limit.limit).as_secs_f64();
                let most = f64::from(limit.burst) * (1.0 + forgotten) + filled + 0.01;
                assert!(
                    (last - first + 1) as f64 <= most,
                    "{to}: {} tries in {filled} turns",
                    last - first + 1
                );
            }
        }
        for asked in tries.iter().filter(|one| one.answered(429)) {
            let Some((from, _)) = asked.ended else {
                continue;
            };
            let early = |one: &Try| one.at > from && one.at < from + asked.retry_after;
            let forgotten = |one: &Try| self.crashed(|at| from <= at && at <= one.at);
            let early = tries.iter().find(|one| early(one) && !forgotten(one));
            assert!(
                early.is_none(),
                "{to}: {early:?} came though {asked:?} asked to wait"
            );
        }
    }
}
