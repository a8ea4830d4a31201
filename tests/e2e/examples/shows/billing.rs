//! The figures of billing: a storm of events at a gate that is killed again and again, how soon events are taken, and a
//! fleet that refuses at the second and serves again once it is paid.

use std::time::Duration;

use tollgate_e2e::scenario::{Storm, acknowledged, lapses, storm};

use crate::figures::Figures;

/// Events a second at the webhook's door, and for how many seconds.
const EVENTS_A_SECOND: usize = 200;
const SECONDS: usize = 30;
/// Graces that end, each before a payment that comes after all.
const LAPSES: usize = 10;

/// Prints them for a storm of so many events, of a twentieth as many subscriptions.
pub(crate) fn show(figures: &mut Figures, events: usize) {
    let outcome = storm(&Storm { subscriptions: events / 20, events, kills: 20, seed: 1 });
    figures.show("events of subscriptions", outcome.events, &format!("at least {events}"), outcome.events >= events);
    figures.measured("  deliveries, failed ones", format!("{}, {}", outcome.deliveries, outcome.failed));
    figures.measured(
        "  delivered in, heeded after that in",
        format!("{:.1?}, {:.1?}", outcome.delivered_in, outcome.heeded_in),
    );
    for wrong in outcome.wrong.iter().take(5) {
        figures.measured("  an account on another plan", wrong);
    }
    figures.exactly("  accounts on another plan than Stripe says", number(outcome.wrong.len()), 0);
    figures.exactly("  events given up", number(outcome.dead), 0);
    figures.exactly("  keys made", number(outcome.keys), 0);
    figures.exactly("  ledger touched", u128::from(!outcome.ledger_is_untouched), 0);

    let mut times = acknowledged(EVENTS_A_SECOND, SECONDS);
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    figures.measured(
        "events a second, for seconds; p50 and the slowest answer",
        format!("{EVENTS_A_SECOND}, {SECONDS}; {:.1?}, {:.1?}", at(50), at(100)),
    );
    figures.at_most(
        "  99 of 100 acknowledged within",
        at(99).as_millis(),
        "ms",
        Duration::from_millis(200).as_millis(),
    );
    paid_late(figures);
}

fn paid_late(figures: &mut Figures) {
    let outcomes = lapses(LAPSES);
    let back = outcomes.iter().flat_map(|outcome| &outcome.back).max().map_or(u128::MAX, Duration::as_millis);
    let overran = outcomes.iter().map(|outcome| outcome.overran.as_millis()).max().unwrap_or(u128::MAX);
    let early: usize = outcomes.iter().map(|outcome| outcome.early).sum();
    figures.at_most(&format!("{LAPSES} graces that end at 3 gateways: let in after the end for"), overran, "ms", 50);
    figures.exactly("  refused before the end", early as u128, 0);
    figures.at_most("  paid: back by the same key at the last gateway within", back, "ms", 1_000);
}

fn number(count: usize) -> u128 {
    count as u128
}
