//! Calendars: time intervals and times of day by the clock on the wall.
//!
//! Time zones are part of the rules. The zone of this machine is looked up where the file is read,
//! never here.

use std::ops::RangeInclusive;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::model::Timestamp;

/// Range of the search in [`TimeInterval::next_change`]: a little more than five years.
const HORIZON_DAYS: i64 = 5 * 366;

/// A minute of the day, 0 to 1440.
pub type Minute = u16;

/// The minute that ends a day.
pub const MIDNIGHT: Minute = 24 * 60;

/// A named time interval: the union of periods, each in its zone, and of spans of time. An empty
/// one contains no time.
#[derive(Clone, Debug, Default)]
pub struct TimeInterval {
    parts: Vec<IntervalPart>,
}

/// A part of a time interval.
#[derive(Clone, Debug)]
pub enum IntervalPart {
    /// A recurring period.
    Period(Period),
    /// From the first time up to, but not including, the second.
    Span(Timestamp, Timestamp),
}

/// A recurring period. All restrictions must hold; an empty one always does.
#[derive(Clone, Debug)]
pub struct Period {
    /// The zone of its clock and calendar.
    pub zone: TimeZone,
    /// Times of day, each from a minute up to another. A change to summer time skips a boundary,
    /// which then counts from the change; a change back shows it twice. An end that is not after
    /// its start is on the next day, and belongs to the day it began on.
    pub times: Vec<(Minute, Minute)>,
    /// Days of the week.
    pub weekdays: Vec<Weekday>,
    /// Days of the month; negative ones count from its end.
    pub days_of_month: Vec<(i8, i8)>,
    /// Months, 1 to 12.
    pub months: Vec<RangeInclusive<i8>>,
    /// Years.
    pub years: Vec<RangeInclusive<i16>>,
}

impl Period {
    /// Returns a period without restrictions in this zone.
    #[must_use]
    pub const fn always(zone: TimeZone) -> Self {
        Self {
            zone,
            times: Vec::new(),
            weekdays: Vec::new(),
            days_of_month: Vec::new(),
            months: Vec::new(),
            years: Vec::new(),
        }
    }

    /// Returns whether it begins on this day.
    fn has_day(&self, date: Date) -> bool {
        let of_month = |(from, until): &(i8, i8)| {
            // `-1` is the last day of a month of any length.
            let last = date.days_in_month();
            let day = |n: i8| if n < 0 { last + 1 + n } else { n };
            (day(*from).max(1)..=day(*until).min(last)).contains(&date.day())
        };
        (self.weekdays.is_empty() || self.weekdays.contains(&date.weekday()))
            && (self.days_of_month.is_empty() || self.days_of_month.iter().any(of_month))
            && (self.months.is_empty()
                || self
                    .months
                    .iter()
                    .any(|months| months.contains(&date.month())))
            && (self.years.is_empty()
                || self.years.iter().any(|years| years.contains(&date.year())))
    }

    fn has_every_day(&self) -> bool {
        self.weekdays.is_empty()
            && self.days_of_month.is_empty()
            && self.months.is_empty()
            && self.years.is_empty()
    }

    fn contains(&self, wall: Timestamp) -> bool {
        let Some(local) = local(&self.zone, wall) else {
            return false;
        };
        let minute = minute_of(local);
        let today = self.has_day(local.date());
        if self.times.is_empty() {
            return today;
        }
        let yesterday = || {
            local
                .date()
                .yesterday()
                .is_ok_and(|date| self.has_day(date))
        };
        // After midnight the part that began yesterday may still last.
        self.times.iter().any(|(from, until)| {
            if from < until {
                today && (*from..*until).contains(&minute)
            } else {
                (today && minute >= *from) || (minute < *until && yesterday())
            }
        })
    }

    /// Returns a time after this one at which `contains` may change. No change is before it.
    fn candidate(&self, wall: Timestamp, horizon: Timestamp) -> Option<Timestamp> {
        if self.times.is_empty() && self.has_every_day() {
            return None;
        }
        let shift = shift_after(&self.zone, wall);
        // A time that began yesterday may end today.
        let mut date = local(&self.zone, wall)?.date().yesterday().ok()?;
        for _ in 0..=HORIZON_DAYS + 2 {
            let next = self.boundaries(date).filter(|at| *at > wall).min();
            if next.is_some() {
                // A change to summer time may move the boundary, so the period is checked there,
                // too.
                return next
                    .into_iter()
                    .chain(shift)
                    .min()
                    .filter(|at| *at <= horizon);
            }
            date = date.tomorrow().ok()?;
        }
        shift.filter(|at| *at <= horizon)
    }

    /// Returns every time of this day at which `contains` may change, including the end of a time
    /// that crosses midnight.
    fn boundaries(&self, date: Date) -> impl Iterator<Item = Timestamp> + '_ {
        let day = self.has_day(date);
        let tomorrow = date.tomorrow().ok();
        // Without times of day the day itself is the period, which changes at midnight.
        let changes = self.times.is_empty()
            && date
                .yesterday()
                .is_ok_and(|yesterday| self.has_day(yesterday) != day);
        let midnight = changes.then_some((Some(date), 0));
        let times = self
            .times
            .iter()
            .filter(move |_| day)
            .flat_map(move |(from, until)| {
                // An end at or before the start is on the next day.
                let end = if from < until {
                    (Some(date), *until)
                } else {
                    (tomorrow, *until)
                };
                [(Some(date), *from), end]
            });
        midnight
            .into_iter()
            .chain(times)
            .flat_map(move |(date, minute)| self.shown(date, minute))
    }

    /// Returns the times at which the clock shows this: none if it is skipped, two if the clock is
    /// put back over it.
    fn shown(&self, date: Option<Date>, minute: Minute) -> impl Iterator<Item = Timestamp> + use<> {
        let at = date.and_then(|date| civil(date, minute));
        let found = at.and_then(|at| {
            let ambiguous = self.zone.to_ambiguous_timestamp(at);
            match ambiguous.offset() {
                AmbiguousOffset::Gap { .. } => None,
                AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                    // If the clock is put back, both times are real.
                    Some([ambiguous.earlier().ok(), ambiguous.later().ok()])
                }
            }
        });
        found
            .into_iter()
            .flatten()
            .flatten()
            .map(|at| Timestamp::from_millis(at.as_millisecond()))
    }
}

impl TimeInterval {
    /// Creates the union of these.
    #[must_use]
    pub const fn new(parts: Vec<IntervalPart>) -> Self {
        Self { parts }
    }

    /// Returns the parts of the union.
    #[must_use]
    pub fn parts(&self) -> &[IntervalPart] {
        &self.parts
    }

    /// Returns whether it contains this wall time.
    #[must_use]
    pub fn contains(&self, wall: Timestamp) -> bool {
        self.parts.iter().any(|part| match part {
            IntervalPart::Period(period) => period.contains(wall),
            IntervalPart::Span(from, until) => (*from..*until).contains(&wall),
        })
    }

    /// Returns the first wall time after this one at which `contains` changes. `None`: never again,
    /// or not within five years.
    #[must_use]
    pub fn next_change(&self, wall: Timestamp) -> Option<Timestamp> {
        let horizon = wall.shifted(HORIZON_DAYS * 86_400_000);
        let now = self.contains(wall);
        let mut at = wall;
        loop {
            let next = |part: &IntervalPart| match part {
                IntervalPart::Period(period) => period.candidate(at, horizon),
                IntervalPart::Span(from, until) => {
                    [*from, *until].into_iter().filter(|edge| *edge > at).min()
                }
            };
            // Each time is later than the one before, so the loop ends.
            at = self.parts.iter().filter_map(next).min()?;
            if self.contains(at) != now {
                return Some(at);
            }
        }
    }
}

/// Times of day in a zone, each once a day. A time that the clock skips counts when it is put
/// forward; a time shown twice counts once.
#[derive(Clone, Debug)]
pub struct Daily {
    times: Vec<Minute>,
    zone: TimeZone,
}

impl Daily {
    /// Creates a schedule of these minutes of the day.
    #[must_use]
    pub fn new(mut times: Vec<Minute>, zone: TimeZone) -> Self {
        times.sort_unstable();
        times.dedup();
        Self { times, zone }
    }

    /// Returns the minutes of the day.
    #[must_use]
    pub fn times(&self) -> &[Minute] {
        &self.times
    }

    /// Returns the zone.
    #[must_use]
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Returns the first wall time after this one at which the clock shows one of them. `None`:
    /// never again.
    #[must_use]
    pub fn next(&self, wall: Timestamp) -> Option<Timestamp> {
        let mut date = local(&self.zone, wall)?.date().yesterday().ok()?;
        // Zones have skipped a whole day, so the search covers some more than two.
        for _ in 0..5 {
            let times = self
                .times
                .iter()
                .filter_map(|minute| self.first_shown(date, *minute));
            let next = times.filter(|at| *at > wall).min();
            if next.is_some() {
                return next;
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn first_shown(&self, date: Date, minute: Minute) -> Option<Timestamp> {
        moment(&self.zone, civil(date, minute)?)
    }
}

/// Returns the first time at which the clock shows this, or the time at which it is put forward
/// over it. `None`: thousands of years away.
#[must_use]
pub fn moment(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let gap = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    let at = Timestamp::from_millis(ambiguous.earlier().ok()?.as_millisecond());
    // For a skipped time, the earlier reading is before the clock is put forward.
    if gap { shift_after(zone, at) } else { Some(at) }
}

/// Returns the local date and time. `None`: thousands of years away.
fn local(zone: &TimeZone, wall: Timestamp) -> Option<DateTime> {
    jiff::Timestamp::from_millisecond(wall.millis())
        .ok()
        .map(|at| zone.to_datetime(at))
}

fn minute_of(local: DateTime) -> Minute {
    // Both are small and not negative.
    u16::try_from(local.hour()).unwrap_or_default() * 60
        + u16::try_from(local.minute()).unwrap_or_default()
}

fn civil(date: Date, minute: Minute) -> Option<DateTime> {
    if minute >= MIDNIGHT {
        return date.tomorrow().ok().map(|date| date.at(0, 0, 0, 0));
    }
    Some(date.at(
        i8::try_from(minute / 60).ok()?,
        i8::try_from(minute % 60).ok()?,
        0,
        0,
    ))
}

/// Returns the next time at which the clock is put forward or back.
fn shift_after(zone: &TimeZone, wall: Timestamp) -> Option<Timestamp> {
    let at = jiff::Timestamp::from_millisecond(wall.millis()).ok()?;
    let shift = zone.following(at).next()?.timestamp();
    Some(Timestamp::from_millis(shift.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 7] = [
        "Europe/Paris",
        "America/New_York",
        "Australia/Lord_Howe",
        "UTC",
        "Asia/Kathmandu",
        "Africa/Cairo", // puts its clock forward at midnight
        "America/Santiago",
    ];

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn one(period: Period) -> TimeInterval {
        TimeInterval::new(vec![IntervalPart::Period(period)])
    }

    #[test]
    fn a_night_belongs_to_the_day_it_began_on() {
        let nights = one(Period {
            times: vec![(22 * 60, 6 * 60)],
            weekdays: vec![Weekday::Friday],
            ..Period::always(zone("Europe/Paris"))
        });
        // 9 January 2026 is a Friday; Paris is one hour ahead.
        for (text, inside) in [
            ("2026-01-09T20:59:59Z", false),
            ("2026-01-09T21:00:00Z", true),
            ("2026-01-10T04:59:59.999Z", true),
            ("2026-01-10T05:00:00Z", false),
            ("2026-01-09T03:00:00Z", false),
        ] {
            assert_eq!(nights.contains(at(text)), inside, "{text}");
        }
        assert_eq!(
            nights.next_change(at("2026-01-05T00:00:00Z")),
            Some(at("2026-01-09T21:00:00Z"))
        );
        assert_eq!(
            nights.next_change(at("2026-01-09T21:00:00Z")),
            Some(at("2026-01-10T05:00:00Z"))
        );
    }

    #[test]
    fn days_of_the_month_count_from_both_ends() {
        let period = |days| Period {
            days_of_month: days,
            ..Period::always(TimeZone::UTC)
        };
        let last_two = one(period(vec![(-2, -1)]));
        assert!(
            last_two.contains(at("2024-02-28T12:00:00Z"))
                && last_two.contains(at("2024-02-29T12:00:00Z"))
        );
        assert!(!last_two.contains(at("2024-02-27T12:00:00Z")));
        assert_eq!(
            last_two.next_change(at("2024-02-28T12:00:00Z")),
            Some(at("2024-03-01T00:00:00Z"))
        );
        let from_tenth = one(period(vec![(30, 31)]));
        assert_eq!(
            from_tenth.next_change(at("2026-01-31T12:00:00Z")),
            Some(at("2026-02-01T00:00:00Z"))
        );
        assert_eq!(
            from_tenth.next_change(at("2026-02-01T00:00:00Z")),
            Some(at("2026-03-30T00:00:00Z"))
        );
    }

    #[test]
    fn what_never_or_always_is_does_not_change() {
        let wall = at("2026-01-05T00:00:00Z");
        let past = one(Period {
            years: vec![2_020..=2_021],
            ..Period::always(zone("Europe/Paris"))
        });
        let every_day = one(Period {
            weekdays: (1..=7)
                .map(|n| Weekday::from_monday_one_offset(n).unwrap())
                .collect(),
            ..Period::always(zone("Europe/Paris"))
        });
        for interval in [
            TimeInterval::default(),
            one(Period::always(TimeZone::UTC)),
            past,
            every_day,
        ] {
            assert_eq!(interval.next_change(wall), None, "{interval:?}");
        }
        let span = TimeInterval::new(vec![IntervalPart::Span(
            at("2026-01-06T00:00:00Z"),
            at("2026-01-07T00:00:00Z"),
        )]);
        assert_eq!(span.next_change(wall), Some(at("2026-01-06T00:00:00Z")));
        assert_eq!(
            span.next_change(at("2026-01-06T00:00:00Z")),
            Some(at("2026-01-07T00:00:00Z"))
        );
        assert_eq!(span.next_change(at("2026-01-07T00:00:00Z")), None);
        for absurd in [i64::MIN, i64::MAX] {
            let _ = span.next_change(Timestamp::from_millis(absurd));
            assert_eq!(
                one(Period {
                    times: vec![(0, 60)],
                    ..Period::always(TimeZone::UTC)
                })
                .next_change(Timestamp::from_millis(absurd)),
                None
            );
        }
    }

    #[test]
    fn a_skipped_time_is_when_the_clock_jumps_and_a_repeated_one_the_first() {
        let paris = Daily::new(vec![150], zone("Europe/Paris")); // 02:30
        assert_eq!(
            paris.next(at("2026-03-29T00:00:00Z")),
            Some(at("2026-03-29T01:00:00Z"))
        );
        assert_eq!(
            paris.next(at("2026-03-29T01:00:00Z")),
            Some(at("2026-03-30T00:30:00Z"))
        );
        assert_eq!(
            paris.next(at("2026-10-24T22:00:00Z")),
            Some(at("2026-10-25T00:30:00Z"))
        );
        assert_eq!(
            paris.next(at("2026-10-25T00:30:00Z")),
            Some(at("2026-10-26T01:30:00Z"))
        );
        let night = one(Period {
            times: vec![(150, 300)],
            ..Period::always(zone("Europe/Paris"))
        });
        assert_eq!(
            night.next_change(at("2026-03-29T00:00:00Z")),
            Some(at("2026-03-29T01:00:00Z")),
            "the gap's end"
        );
        // 02:30, back to 02:00, 02:30 again.
        for (from, change) in [
            ("00:00", "00:30"),
            ("00:30", "01:00"),
            ("01:00", "01:30"),
            ("01:30", "04:00"),
        ] {
            let day = |time: &str| at(&format!("2026-10-25T{time}:00Z"));
            assert_eq!(night.next_change(day(from)), Some(day(change)));
        }
    }

    fn any_period() -> impl Strategy<Value = Period> {
        let minute = || {
            prop_oneof![
                0u16..=1440,
                Just(120u16),
                Just(150),
                Just(0),
                Just(1440),
                Just(60)
            ]
        };
        let times = prop::collection::vec((minute(), minute()), 0..3);
        let weekdays = prop::collection::vec(
            (1i8..=7).prop_map(|n| Weekday::from_monday_one_offset(n).unwrap()),
            0..3,
        );
        let days = prop::collection::vec(
            (
                prop_oneof![1i8..=31, -31i8..=-1],
                prop_oneof![1i8..=31, -31i8..=-1],
            ),
            0..2,
        );
        let months = prop::collection::vec((1i8..=12, 0i8..=4), 0..2);
        (
            prop::sample::select(&ZONES[..]),
            times,
            weekdays,
            days,
            months,
        )
            .prop_map(|(zone_name, times, weekdays, days, months)| Period {
                times: times
                    .into_iter()
                    .map(|(from, until)| (from.min(1439), until.max(1)))
                    .filter(|(from, until)| from != until)
                    .collect(),
                weekdays,
                days_of_month: days,
                months: months
                    .into_iter()
                    .map(|(from, more)| from..=(from + more).min(12))
                    .collect(),
                ..Period::always(zone(zone_name))
            })
    }

    /// Some minute within two days of a night on which clocks are put forward or back somewhere.
    fn near_a_shift() -> impl Strategy<Value = Timestamp> {
        let zones = prop::sample::select(&ZONES[..]);
        (zones, 0i64..60, -2_880i64..2_880).prop_map(|(name, months, minutes)| {
            let from = at("2025-01-01T00:00:00Z").shifted(months * 30 * 86_400_000);
            let shift = shift_after(&zone(name), from).unwrap_or(from);
            Timestamp::from_millis(shift.millis() / 60_000 * 60_000).shifted(minutes * 60_000)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 96 } else { 512 }, ..ProptestConfig::default() })]

        /// The next change is the first minute at which a scan minute by minute sees one.
        #[test]
        fn the_next_change_is_the_first(periods in prop::collection::vec(any_period(), 1..3), wall in near_a_shift()) {
            let interval = TimeInterval::new(periods.into_iter().map(IntervalPart::Period).collect());
            let now = interval.contains(wall);
            let next = interval.next_change(wall);
            prop_assert!(next.is_none_or(|next| next > wall && interval.contains(next) != now), "{next:?}");
            let scanned = (1..4 * 1_440).map(|n| wall.shifted(n * 60_000)).find(|at| interval.contains(*at) != now);
            match scanned {
                Some(seen) => prop_assert_eq!(next, Some(seen)),
                None => prop_assert!(next.is_none_or(|next| next.since(wall).as_secs() >= 4 * 86_400 - 60), "{next:?}"),
            }
        }

        /// Whatever the clocks do, each time of day comes once for each day of the calendar.
        #[test]
        fn daily_is_once_a_day(name in prop::sample::select(&ZONES[..]), minute in 0u16..1440, from in near_a_shift()) {
            let (zone, daily) = (zone(name), Daily::new(vec![minute], zone(name)));
            let mut wall = daily.next(from).unwrap();
            prop_assert!(wall > from);
            let mut date = local(&zone, wall).unwrap().date();
            for _ in 0..10 {
                let next = daily.next(wall).unwrap();
                let local = local(&zone, next).unwrap();
                prop_assert!(next > wall);
                prop_assert_eq!(local.date(), date.tomorrow().unwrap());
                prop_assert!(minute_of(local) >= minute && minute_of(local) <= minute + 60, "{local}");
                (wall, date) = (next, local.date());
            }
        }
    }
}
