//! The figures of a fleet, from the scenarios that the tests hold to the same bounds on a debug build.

use std::time::Duration;

use tollgate_e2e::Mode;
use tollgate_e2e::scenario::{
    Bucket, Fault, bucket, commands, cut_stream, latencies, migration, node_killed, quota, revocations, under_load,
};

use crate::figures::Figures;

const REVOCATIONS: usize = 200;

pub(crate) fn show(figures: &mut Figures, keys: usize) {
    quotas(figures);
    buckets(figures);
    revoked(figures);
    faults(figures);
    moved(figures, keys);
    costs(figures);
}

fn quotas(figures: &mut Figures) {
    for (way, mode, in_cluster) in [
        ("exact", Mode::Exact, false),
        ("leased", Mode::Leased, false),
        ("exact, Cluster", Mode::Exact, true),
        ("leased, Cluster", Mode::Leased, true),
    ] {
        let outcome = quota(mode, in_cluster, 64, 10_000);
        let name = format!("3 gateways, 64 clients each, a quota of 10 000, {way}: 200s");
        figures.exactly(&name, outcome.admitted as u128, 10_000);
        figures.exactly("  ledger", outcome.ledger.unwrap_or_default().into(), 10_000);
        let refused = outcome.afterwards.iter().filter(|(_, code)| code == "quota_exceeded").count();
        figures.exactly("  gateways that say quota_exceeded afterwards", refused as u128, 3);
        figures.measured("  took", format!("{} ms", outcome.took.as_millis()));
    }
}

fn buckets(figures: &mut Figures) {
    for (way, mode) in [("exact", Mode::Exact), ("leased", Mode::Leased)] {
        let outcome = bucket(mode, 6, Bucket { rate: 150, burst: 100 }, Duration::from_secs(10), 0);
        let name = format!("3 gateways, 150 a second, burst 100, {way}: most above b + r t");
        figures.show(&name, format!("{:.2}", outcome.excess), "at most 0", outcome.excess <= 0.0);
        let share = format!("{:.2} %", outcome.share * 100.0);
        figures.show("  of what it may give while demand lasts", share, "at least 99 %", outcome.share >= 0.99);
        figures.measured("  calls, admitted", format!("{}, {}", outcome.calls, outcome.admitted));
    }
    let outcome = bucket(Mode::Leased, 6, Bucket { rate: 150, burst: 100 }, Duration::from_secs(9), 4);
    let excess = format!("{:.2}", outcome.excess);
    figures.show("  leased, one gateway stopped four times: most above", excess, "at most 0", outcome.excess <= 0.0);
}

fn revoked(figures: &mut Figures) {
    let mut times = revocations(REVOCATIONS);
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1)].as_millis();
    figures.measured(&format!("{REVOCATIONS} revocations, until the last 200 of 3 gateways: p50"), at(50));
    figures.at_most("  p99", at(99), "ms", 1_000);
    let outcome = cut_stream();
    figures.exactly("  missed by the others while one gateway is cut off", outcome.missed_by_others as u128, 0);
    let caught_up = outcome.caught_up.map_or(u128::MAX, |time| time.as_millis());
    figures.at_most("  caught up after the wire is mended", caught_up, "ms", 2_500);
}

fn faults(figures: &mut Figures) {
    for fault in Fault::ALL {
        let outcome = under_load(fault, Mode::Leased);
        let failed: usize = outcome.failed.values().sum::<usize>() + outcome.wide_refused.values().sum::<usize>();
        figures.exactly(&format!("{fault:?}: failed of {} calls", outcome.calls), failed as u128, 0);
        let (admitted, ledger) = outcome.wide;
        figures.exactly("  ledger, of the calls that went on", ledger.unwrap_or_default().into(), admitted as u128);
        figures.exactly("  of a quota that was used up", outcome.small_under_load as u128, 0);
        let (admitted, most) = outcome.slow;
        let is_good = u32::try_from(admitted).is_ok_and(|admitted| f64::from(admitted) <= most);
        figures.show("  of a bucket, all gateways", admitted, &format!("at most {most:.0}"), is_good);
        for (who, (status, _, expected)) in [("good", &outcome.newcomer), ("unknown", &outcome.stranger)] {
            figures.exactly(&format!("  a {who} key that no gateway had met"), (*status).into(), (*expected).into());
        }
        figures.measured("  slowest call", format!("{} ms", outcome.slowest.as_millis()));
        let settled = outcome.settled.map_or("never".to_owned(), |time| format!("{} ms", time.as_millis()));
        figures.measured("  ledger right after the load's end", settled);
    }
    let last_moments = Duration::from_millis(250);
    let outcome = node_killed(Mode::Leased, last_moments);
    let admitted = u64::try_from(outcome.admitted).expect("fits");
    let lost = u128::from(admitted.saturating_sub(outcome.ledger));
    figures.at_most("kill -9 of a gateway under load: calls lost", lost, "", outcome.in_memory_max as u128);
}

fn moved(figures: &mut Figures, keys: usize) {
    let outcome = migration(keys);
    figures.exactly("from SQLite to PostgreSQL: keys", outcome.keys.1 as u128, outcome.keys.0 as u128);
    figures.exactly("  units used", outcome.used.1.into(), outcome.used.0.into());
    let same = outcome.left.iter().filter(|(before, after)| before - 1 == *after).count();
    figures.exactly("  of the keys called, those that go on where they were", same as u128, outcome.left.len() as u128);
    figures.measured("  took", format!("{} ms", outcome.took.0.as_millis()));
    figures.measured("  took once more, with nothing left to do", format!("{} ms", outcome.took.1.as_millis()));
}

fn costs(figures: &mut Figures) {
    for (way, mode, most) in [("leased", Mode::Leased, 0.02), ("exact", Mode::Exact, 1.001)] {
        let outcome = commands(mode, 8, 20_000);
        let commands = outcome.limiter / outcome.calls;
        let name = format!("one hot account, {way}: Redis commands a request");
        figures.show(&name, format!("{commands:.4}"), &format!("at most {most}"), commands <= most);
        let beside = (outcome.scripts - outcome.limiter) / outcome.seconds;
        figures.measured("  scripts a second beside, whether anybody calls or not", format!("{beside:.1}"));
        figures
            .measured("  requests a second, debug client and all", format!("{:.0}", outcome.calls / outcome.seconds));
    }
    for latency in latencies(20) {
        let micros = format!("{} / {} us", latency.p50.as_micros(), latency.p99.as_micros());
        figures.measured(&format!("one client, {}: p50 / p99", latency.way), micros);
    }
}
