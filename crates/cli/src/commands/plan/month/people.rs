//! Who called what in two months: cases that are known to the unit, and people whose calls nobody planned.

use tollgate_domain::{AccountId, DAY_US, HOUR_US, KeyId, MINUTE_US, SECOND_US, Timestamp};

use super::{from, instant, to};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A route of one unit.
    Plain,
    /// A route of five.
    Costly,
    /// A route of at most eight; its answer tells how many.
    Settled(u64),
    /// A route that debits seven, of the meter as well; its answer tells how many of the meter it was.
    Metered(u64),
    /// No call: the backend reports the meter.
    Event,
}

impl Way {
    pub(super) fn route(self) -> Option<&'static str> {
        match self {
            Self::Plain => Some("plain"),
            Self::Costly => Some("costly"),
            Self::Settled(_) => Some("settled"),
            Self::Metered(_) => Some("metered"),
            Self::Event => None,
        }
    }

    /// Units that are asked for; none by what is only reported.
    pub(super) fn cost(self) -> u64 {
        match self {
            Self::Plain => 1,
            Self::Costly => 5,
            Self::Settled(_) => 8,
            Self::Metered(_) => 7,
            Self::Event => 0,
        }
    }

    pub(super) fn is_metered(self) -> bool {
        matches!(self, Self::Metered(_) | Self::Event)
    }
}

/// One call, or one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) at: Timestamp,
    pub(super) way: Way,
    /// Units that an event reports.
    pub(super) event_units: u64,
    /// Until it is answered, and counted.
    pub(super) takes_us: i64,
    /// Whether the backend fails.
    pub(super) fails: bool,
}

/// Whoever calls.
pub(super) struct Person {
    pub(super) number: u8,
    pub(super) id: AccountId,
    pub(super) key: KeyId,
    pub(super) email: String,
    pub(super) plan: &'static str,
    pub(super) created_at: Timestamp,
    /// Where a cycle began that was brought along from elsewhere.
    pub(super) cycle_start: Option<Timestamp>,
    /// Whether the new plans refuse, where that is known beforehand.
    pub(super) is_refused: Option<bool>,
    pub(super) calls: Vec<Call>,
}

fn call(at: Timestamp, way: Way) -> Call {
    Call { at, way, event_units: 0, takes_us: 40_000, fails: false }
}

/// So many calls, one every so often.
fn every(first: &str, pause_us: i64, calls: i64, way: Way) -> Vec<Call> {
    (0..calls).map(|index| call(instant(first) + index * pause_us, way)).collect()
}

fn events(first: &str, calls: i64, units: u64) -> Vec<Call> {
    every(first, HOUR_US, calls, Way::Event).into_iter().map(|call| Call { event_units: units, ..call }).collect()
}

/// So many calls at once, then one every so often.
fn burst(first: &str, at_once: i64, pause_us: i64, then: i64) -> Vec<Call> {
    let mut calls = every(first, 0, at_once, Way::Plain);
    calls.extend((1..=then).map(|index| call(instant(first) + index * pause_us, Way::Plain)));
    calls
}

type Case = (&'static str, &'static str, bool, Vec<Call>);

/// People who stand exactly at a limit of the new plans, and people who go one unit beyond it.
fn cases() -> Vec<Case> {
    let day = |day: u8| format!("2026-03-{day:02}T08:00:00Z");
    let [ninth, tenth] = [day(9), day(10)];
    let with = |mut calls: Vec<Call>, more: Vec<Call>| {
        calls.extend(more);
        calls.sort_by_key(|call| call.at);
        calls
    };
    let plain = |calls| every(&ninth, 2 * HOUR_US, calls, Way::Plain);
    let last = "2026-03-30T00:00:00Z";
    let failing = || every(&ninth, HOUR_US + 1, 30, Way::Costly).into_iter().map(|call| Call { fails: true, ..call });
    // Six in February do not count in March, and four on 1 March do.
    let around =
        || with(every("2026-02-20T00:00:00Z", DAY_US, 6, Way::Plain), every("2026-03-01T00:00:00Z", 60, 4, Way::Plain));
    let months = |march| {
        with(
            every("2026-03-10T00:00:00Z", HOUR_US, march, Way::Plain),
            every("2026-04-01T00:00:00Z", 60_000_000, 150, Way::Plain),
        )
    };
    vec![
        ("quota-at", "quota", false, with(around(), plain(146))),
        ("quota-over", "quota", true, with(around(), plain(147))),
        ("quota-two-months-at", "quota", false, months(150)),
        ("quota-two-months-over", "quota", true, months(151)),
        ("quota-costly-at", "quota", false, with(plain(145), every(last, 1, 1, Way::Costly))),
        ("quota-costly-over", "quota", true, with(plain(146), every(last, 1, 1, Way::Costly))),
        ("quota-refunded", "quota", false, with(plain(150), failing().collect())),
        // Before the last call 142 are used, and it asks for eight.
        ("quota-settled-at", "quota", false, with(plain(142), every(last, 1, 1, Way::Settled(2)))),
        ("quota-settled-over", "quota", true, with(plain(143), every(last, 1, 1, Way::Settled(2)))),
        ("hour-at", "windows", false, every(&tenth, MINUTE_US, 20, Way::Plain)),
        ("hour-over", "windows", true, every(&tenth, MINUTE_US, 21, Way::Plain)),
        ("day-at", "windows", false, every(&tenth, 15 * MINUTE_US, 70, Way::Plain)),
        ("day-over", "windows", true, every(&tenth, 15 * MINUTE_US, 71, Way::Plain)),
        ("burst-at", "bucket", false, burst(&tenth, 8, 2 * SECOND_US, 50)),
        ("burst-over", "bucket", true, burst(&tenth, 9, 2 * SECOND_US, 50)),
        ("burst-far-over", "bucket", true, burst(&tenth, 12, 2 * SECOND_US, 0)),
        ("slower-at", "slower", false, burst(&tenth, 10, 3 * SECOND_US, 60)),
        ("slower-over", "slower", true, burst(&tenth, 10, SECOND_US, 10)),
        ("meter-at", "meter", false, every(&ninth, HOUR_US, 142, Way::Metered(7))),
        ("meter-over", "meter", true, every(&ninth, HOUR_US, 143, Way::Metered(7))),
        ("meter-told-at", "meter", false, every(&ninth, HOUR_US, 10, Way::Metered(100))),
        ("meter-told-over", "meter", true, every(&ninth, HOUR_US, 11, Way::Metered(100))),
        // 993 are used before the last, which asks for seven; then 994.
        (
            "meter-told-less-at",
            "meter",
            false,
            with(events(&ninth, 1, 993), every(&tenth, HOUR_US, 1, Way::Metered(1))),
        ),
        (
            "meter-told-less-over",
            "meter",
            true,
            with(events(&ninth, 1, 993), every(&tenth, HOUR_US, 2, Way::Metered(1))),
        ),
        ("events-at", "meter", false, events(&ninth, 10, 100)),
        ("events-past", "meter", false, events(&ninth, 7, 150)),
        ("events-over", "meter", true, events(&ninth, 11, 100)),
        ("gone-at", "gone", false, plain(120)),
        ("gone-over", "gone", true, plain(121)),
        ("steady-full", "steady", false, plain(120)),
        ("idle", "all", false, Vec::new()),
        ("earlier", "all", false, every("2026-02-03T00:00:00Z", 3 * HOUR_US, 200, Way::Plain)),
    ]
}

/// People whose periods are laid anew: by the cycle they brought along, and by the making of their account.
fn laid() -> Vec<(Case, Option<&'static str>)> {
    // With a cycle from 20 January, periods begin on 19 February and 21 March; by the account's making, on 12 March.
    let split = || {
        let mut calls = every("2026-03-14T00:00:00Z", HOUR_US, 100, Way::Plain);
        calls.extend(every("2026-03-24T00:00:00Z", HOUR_US, 100, Way::Plain));
        calls
    };
    // Across 12 March.
    let across = || every("2026-03-06T00:00:00Z", 2 * HOUR_US, 130, Way::Plain);
    let cycle = Some("2026-01-20T00:00:00Z");
    vec![
        (("laid-by-cycle", "laid", false, split()), cycle),
        (("laid-by-making", "laid", true, split()), None),
        (("across-by-cycle", "laid", true, across()), cycle),
        (("across-by-making", "laid", false, across()), None),
    ]
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let end = u64::try_from(end).expect("not below zero");
        i64::try_from(self.0 % end).expect("below a number that fits")
    }
}

/// Sittings of many calls and long pauses; the more, the busier. Nothing around the instant at which plans change.
fn unplanned(numbers: &mut Numbers, sittings: i64, calls_max: i64) -> Vec<Call> {
    let first = instant("2026-02-01T00:00:00Z");
    let mut calls: Vec<Call> = Vec::new();
    for _ in 0..sittings {
        let mut at = first + numbers.below(to() - first);
        let pause_us =
            [2 * SECOND_US, 30 * SECOND_US, 10 * MINUTE_US][usize::try_from(numbers.below(3)).expect("small")];
        for _ in 0..=numbers.below(calls_max) {
            at = at + 1 + numbers.below(pause_us);
            let told = u64::try_from(numbers.below(60)).expect("small");
            let way = match numbers.below(12) {
                0 => Way::Costly,
                1 => Way::Settled(told % 9),
                2 => Way::Metered(told),
                3 if told > 0 => Way::Event,
                _ => Way::Plain,
            };
            let takes_us = 1_000 + numbers.below(150_000);
            calls.push(Call {
                at,
                way,
                event_units: told,
                takes_us,
                fails: numbers.below(20) == 0 && way != Way::Event,
            });
        }
    }
    let around = |call: &Call| (from() + -2 * HOUR_US..from() + HOUR_US).contains(&call.at) || call.at >= to();
    calls.retain(|call| !around(call));
    calls.sort_by_key(|call| call.at);
    calls
}

/// Everybody.
pub(super) fn people() -> Vec<Person> {
    let mut people: Vec<Person> = Vec::new();
    let mut add = |name: String, plan, is_refused, calls, cycle_start: Option<&str>| {
        let number = u8::try_from(people.len() + 1).expect("few people");
        let created_at = instant(if plan == "laid" { "2026-02-10T00:00:00Z" } else { "2026-01-15T00:00:00Z" });
        people.push(Person {
            number,
            id: AccountId::new(created_at, [number; 10]),
            key: KeyId::new(created_at, [number; 10]),
            email: format!("{name}@example.com"),
            plan,
            created_at,
            cycle_start: cycle_start.map(instant),
            is_refused,
            calls,
        });
    };
    for (name, plan, is_refused, calls) in cases() {
        add(name.to_owned(), plan, Some(is_refused), calls, None);
    }
    for ((name, plan, is_refused, calls), cycle_start) in laid() {
        add(name.to_owned(), plan, Some(is_refused), calls, cycle_start);
    }
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    for plan in ["bucket", "slower", "windows", "quota", "meter", "all", "roomier", "steady"] {
        for (sittings, calls_max) in [(4, 8), (10, 20), (14, 40)] {
            let name = format!("{plan}-{sittings}-{calls_max}");
            add(name, plan, None, unplanned(&mut numbers, sittings, calls_max), None);
        }
    }
    people
}
