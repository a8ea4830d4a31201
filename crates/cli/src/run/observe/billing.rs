//! What billing counts by itself, as metrics. Words of labels are this file's; what they mean is told in the help texts.

use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_billing::BillingStats;
use tollgate_domain::Timestamp;
use tollgate_gateway::metrics::Metrics;

use super::{catch_up, seconds, signed};

/// Brings the metrics up to what billing counted.
pub(super) fn read(metrics: &Metrics, stats: &BillingStats, now: Timestamp) {
    by_label(metrics, stats);
    for (counter, counted) in [
        (&metrics.billing_customers_read, &stats.refreshed),
        (&metrics.billing_sweep_accounts, &stats.sweep_accounts),
        (&metrics.billing_meter_units, &stats.meter_units_sent),
    ] {
        catch_up(counter, count(counted));
    }
    for (gauge, value) in [
        (&metrics.billing_pending, &stats.pending),
        (&metrics.billing_dead, &stats.dead_waiting),
        (&metrics.billing_working, &stats.is_working),
        (&metrics.billing_differences, &stats.reconcile_differences),
    ] {
        gauge.set(signed(count(value)));
    }
    let oldest = stats.oldest_pending_us.load(Ordering::Relaxed);
    let waited_us = if oldest == 0 { 0 } else { now.micros_since(Timestamp::from_micros(oldest)).max(0) };
    metrics.billing_oldest.set(seconds(waited_us));
}

/// What is told apart by a word.
fn by_label(metrics: &Metrics, stats: &BillingStats) {
    // All of them, so that one that is added cannot be forgotten.
    let BillingStats {
        received,
        duplicates,
        ignored,
        rejected_signature,
        rejected_payload,
        rejected_livemode,
        rejected_store,
        applied,
        failed,
        dead,
        refreshed: _,
        pending: _,
        dead_waiting: _,
        oldest_pending_us: _,
        alert_unknown_price,
        alert_unknown_status,
        alert_other_customer,
        alert_unmatched,
        sweeps,
        sweeps_failed,
        sweep_found,
        sweep_accounts: _,
        sweep_mended,
        api_refused,
        api_unavailable,
        api_unreadable,
        meter_units_sent: _,
        meter_failed,
        meter_given_up,
        is_working: _,
        reconcile_differences: _,
    } = stats;
    for (family, label, counter) in [
        (&metrics.billing_webhooks, "stored", received),
        (&metrics.billing_webhooks, "known", duplicates),
        (&metrics.billing_webhooks, "ignored", ignored),
        (&metrics.billing_webhooks, "bad_signature", rejected_signature),
        (&metrics.billing_webhooks, "bad_payload", rejected_payload),
        (&metrics.billing_webhooks, "wrong_mode", rejected_livemode),
        (&metrics.billing_webhooks, "store_unavailable", rejected_store),
        (&metrics.billing_events, "heeded", applied),
        (&metrics.billing_events, "failed", failed),
        (&metrics.billing_events, "dead", dead),
        (&metrics.billing_alerts, "unknown_price", alert_unknown_price),
        (&metrics.billing_alerts, "unknown_status", alert_unknown_status),
        (&metrics.billing_alerts, "other_customer", alert_other_customer),
        (&metrics.billing_alerts, "unmatched", alert_unmatched),
        (&metrics.billing_sweeps, "done", sweeps),
        (&metrics.billing_sweeps, "failed", sweeps_failed),
        (&metrics.billing_swept, "events", sweep_found),
        (&metrics.billing_swept, "accounts", sweep_mended),
        (&metrics.billing_api_errors, "refused", api_refused),
        (&metrics.billing_api_errors, "unavailable", api_unavailable),
        (&metrics.billing_api_errors, "unreadable", api_unreadable),
        (&metrics.billing_meter_failures, "tried_again", meter_failed),
        (&metrics.billing_meter_failures, "given_up", meter_given_up),
    ] {
        catch_up(&family.with_label_values(&[label]), count(counter));
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use tollgate_domain::SECOND_US;

    use super::*;

    #[test]
    fn what_billing_counted_is_scraped() {
        let metrics = Metrics::default();
        let stats = BillingStats {
            received: AtomicU64::new(3),
            alert_unknown_price: AtomicU64::new(1),
            dead_waiting: AtomicU64::new(2),
            oldest_pending_us: AtomicI64::new(5 * SECOND_US),
            ..BillingStats::default()
        };
        let now = Timestamp::from_secs(12);
        read(&metrics, &stats, now);
        stats.received.fetch_add(1, Ordering::Relaxed);
        read(&metrics, &stats, now);
        assert_eq!(metrics.billing_webhooks.with_label_values(&["stored"]).get(), 4);
        assert_eq!(metrics.billing_alerts.with_label_values(&["unknown_price"]).get(), 1);
        assert_eq!(metrics.billing_dead.get(), 2);
        let waited = || format!("{:.1}", metrics.billing_oldest.get());
        assert_eq!(waited(), "7.0");
        stats.oldest_pending_us.store(0, Ordering::Relaxed);
        read(&metrics, &stats, now);
        assert_eq!(waited(), "0.0", "nothing waits");
    }
}
