//! What Prometheus scrapes of a process. One struct with its own registry; the doc comment of a field is
//! its help text. Labels are names from the configuration and words of this program, never a key, an account
//! or a path.

use std::time::Duration;

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use tollgate_domain::StatusClass;

/// OpenTelemetry's buckets for `http.server.request.duration`, in seconds.
const REQUEST_BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Finer ones below for the gate's own share, in seconds.
const GATE_BUCKETS: [f64; 14] = [
    0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5,
];

macro_rules! metrics {
    ($(#[$struct_doc:meta])* $vis:vis struct $name:ident { $(#[doc = $help:literal] $field:ident: $kind:ty = $metric:literal $(, $arg:expr)*;)* }) => {
        $(#[$struct_doc])*
        $vis struct $name {
            $(#[doc = $help] pub $field: $kind,)*
            registry: Registry,
        }

        impl $name {
            /// What each metric is called, what it tells, and what it is told apart by, in order of the source.
            pub fn described() -> Vec<Described> {
                vec![$(Described { name: $metric, help: $help.trim(), labels: labels(&[$($arg),*]) }),*]
            }
        }

        impl Default for $name {
            fn default() -> Self {
                let registry = Registry::new();
                $(
                    let $field = <$kind as Metric>::make($metric, $help.trim(), &[$($arg),*]);
                    registry.register(Box::new($field.clone())).expect("each metric has a name of its own");
                )*
                Self { $($field,)* registry }
            }
        }
    };
}

/// One metric, as the documentation lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// What it is told apart by.
    pub labels: &'static [&'static str],
}

metrics! {
    /// The metrics of a process. What belongs to a part that the process does not run stays at zero.
    pub struct Metrics {
        /// Requests by route, plan, outcome and status class.
        requests: IntCounterVec = "tollgate_requests_total", Arg::Labels(&["route", "plan", "outcome", "status"]);
        /// Requests that went on only because limits are not enforced, by the code that would have refused them.
        would_refuse: IntCounterVec = "tollgate_would_refuse_total", Arg::Labels(&["route", "plan", "code", "reason"]);
        /// Whole duration of a request, from its head to the last byte of its answer, by route.
        request_duration: HistogramVec = "tollgate_request_duration_seconds", Arg::Labels(&["route"]), Arg::Buckets(&REQUEST_BUCKETS);
        /// The gate's own share of a request: from its head to the decision.
        gate_duration: Histogram = "tollgate_gate_duration_seconds", Arg::Buckets(&GATE_BUCKETS);
        /// Requests in flight.
        requests_in_flight: IntGauge = "tollgate_requests_in_flight";
        /// Client connections that are open.
        connections: IntGauge = "tollgate_connections";
        /// Client connections refused because too many were open.
        connections_refused: IntCounter = "tollgate_connections_refused_total";
        /// Requests refused before anything else saw them, by code.
        guard_rejections: IntCounterVec = "tollgate_guard_rejections_total", Arg::Labels(&["code"]);
        /// Requests or connections lost to a panic.
        panics: IntCounter = "tollgate_panics_total";
        /// Upstream connections that could not be made.
        upstream_connect_errors: IntCounter = "tollgate_upstream_connect_errors_total";
        /// Costs reported by the upstream that were above the route's `cost_max` or no number, and were clamped.
        cost_clamped: IntCounter = "tollgate_cost_clamped_total";
        /// Usage reported by the upstream that was not counted: malformed and ignored whole, or of a meter that no plan has.
        usage_reports_rejected: IntCounterVec = "tollgate_usage_reports_rejected_total", Arg::Labels(&["reason"]);
        /// Keys in the process cache.
        keys_cached: IntGauge = "tollgate_keys_cached";
        /// Accounts and clients whose limits have state in memory.
        limiter_subjects: IntGauge = "tollgate_limiter_subjects";
        /// Decisions the limiter did not answer.
        limiter_errors: IntCounter = "tollgate_limiter_errors_total";
        /// 1 while the shared limiter is taken to be away.
        limiter_down: IntGauge = "tollgate_limiter_down";
        /// How often the shared limiter went away.
        limiter_outages: IntCounter = "tollgate_limiter_outages_total";
        /// Commands sent to the shared limiter.
        limiter_commands: IntCounter = "tollgate_limiter_commands_total";
        /// Commands that the shared limiter refused or did not answer in time.
        limiter_failures: IntCounter = "tollgate_limiter_failures_total";
        /// Units that this node holds in leases.
        limiter_units_leased: IntGauge = "tollgate_limiter_units_leased";
        /// Calls let in without the shared limiter; it hears of them from the ledger.
        calls_detached: IntCounter = "tollgate_calls_detached_total";
        /// Reads of the store by the data plane; none for a key that is cached.
        store_reads: IntCounter = "tollgate_store_reads_total";
        /// Reads and writes of the store by the data plane that failed.
        store_errors: IntCounter = "tollgate_store_errors_total";
        /// Cached keys that were used after no store had confirmed them for longer than usual.
        keys_stale: IntCounter = "tollgate_keys_stale_total";
        /// Usage lines handed over: to the ledger, or in a fleet to the spool.
        usage_lines_stored: IntCounter = "tollgate_usage_lines_stored_total";
        /// Usage lines that wait because neither the ledger nor the spool takes them.
        usage_pending: IntGauge = "tollgate_usage_pending_lines";
        /// Rows of the request log dropped because they could not be handed over fast enough.
        request_rows_dropped: IntCounter = "tollgate_request_rows_dropped_total";
        /// Batches of usage in the spool, not yet known to be in the ledger.
        spool_batches: IntGauge = "tollgate_spool_batches";
        /// Size of the spool in bytes.
        spool_bytes: IntGauge = "tollgate_spool_bytes";
        /// Age of the oldest batch in the spool, in seconds.
        spool_oldest: Gauge = "tollgate_spool_oldest_seconds";
        /// 1 while the spool takes no more; counts stay in memory.
        spool_full: IntGauge = "tollgate_spool_full";
        /// Rows of the request log left out because the spool was half full.
        spool_rows_left_out: IntCounter = "tollgate_spool_request_rows_left_out_total";
        /// Batches of usage that this process stored in the ledger for the fleet.
        usage_ingested: IntCounter = "tollgate_usage_ingested_total";
        /// Batches of usage that could not be read and were put aside.
        usage_dead: IntCounter = "tollgate_usage_dead_total";
        /// 1 while changes of keys and accounts arrive at this process.
        changes_live: IntGauge = "tollgate_changes_live";
        /// How old the newest change was when it arrived, in seconds.
        changes_lag: Gauge = "tollgate_changes_lag_seconds";
        /// How often changes may have been missed, so that everything remembered was read again.
        changes_resyncs: IntCounter = "tollgate_changes_resyncs_total";
        /// Changes that are committed and that the fleet has not been told of yet.
        outbox_pending: IntGauge = "tollgate_outbox_pending";
        /// Notices to customers: kept to be delivered, and what became of each attempt.
        notices: IntCounterVec = "tollgate_notices_total", Arg::Labels(&["result"]);
        /// Rows thrown away because their retention was over.
        rows_pruned: IntCounter = "tollgate_rows_pruned_total";
        /// Webhooks of Stripe by what became of them: stored, known already, of no interest, or refused.
        billing_webhooks: IntCounterVec = "tollgate_billing_webhooks_total", Arg::Labels(&["result"]);
        /// Events of Stripe that this process heeded, failed to heed for now, or gave up.
        billing_events: IntCounterVec = "tollgate_billing_events_total", Arg::Labels(&["result"]);
        /// Events of Stripe that wait to be heeded.
        billing_pending: IntGauge = "tollgate_billing_events_pending";
        /// Events of Stripe that were given up: somebody must look at them.
        billing_dead: IntGauge = "tollgate_billing_events_dead";
        /// How long the oldest event of Stripe has waited to be heeded, in seconds.
        billing_oldest: Gauge = "tollgate_billing_oldest_pending_seconds";
        /// 1 in the one process that heeds events, sends metered use and sweeps.
        billing_working: IntGauge = "tollgate_billing_working";
        /// What Stripe says and nothing can follow from: an unknown price or status, a customer that is no or another account's.
        billing_alerts: IntCounterVec = "tollgate_billing_alerts_total", Arg::Labels(&["cause"]);
        /// Customers that were read afresh from Stripe.
        billing_customers_read: IntCounter = "tollgate_billing_customers_read_total";
        /// Sweeps for what webhooks did not tell.
        billing_sweeps: IntCounterVec = "tollgate_billing_sweeps_total", Arg::Labels(&["result"]);
        /// Accounts that sweeps read afresh.
        billing_sweep_accounts: IntCounter = "tollgate_billing_sweep_accounts_total";
        /// What only sweeps found: events that never came, accounts whose facts had changed.
        billing_swept: IntCounterVec = "tollgate_billing_swept_total", Arg::Labels(&["what"]);
        /// Differences between the books that the last comparison left.
        billing_differences: IntGauge = "tollgate_billing_reconcile_differences";
        /// Calls to Stripe that failed: it refused, did not answer, or answered what cannot be read.
        billing_api_errors: IntCounterVec = "tollgate_billing_api_errors_total", Arg::Labels(&["kind"]);
        /// Units of metered use that Stripe took.
        billing_meter_units: IntCounter = "tollgate_billing_meter_units_total";
        /// Reports of metered use that failed, to be tried again or given up.
        billing_meter_failures: IntCounterVec = "tollgate_billing_meter_failures_total", Arg::Labels(&["result"]);
        /// Processes of the fleet that were seen in the last seconds, by role.
        nodes: IntGaugeVec = "tollgate_nodes", Arg::Labels(&["role"]);
        /// Access-log lines dropped because the log could not be written fast enough.
        log_lines_dropped: IntCounter = "tollgate_log_lines_dropped_total";
        /// 1 for the hash of the configuration in force.
        config_info: IntGaugeVec = "tollgate_config_info", Arg::Labels(&["hash"]);
        /// When the configuration in force was loaded, in seconds since the Unix epoch.
        config_loaded: Gauge = "tollgate_config_loaded_timestamp_seconds";
        /// Reloads of the configuration that were refused; the old one stayed in force.
        config_reload_failures: IntCounter = "tollgate_config_reload_failures_total";
        /// 1 while the file as it is now is not in force because it is wrong.
        config_rejected: IntGauge = "tollgate_config_rejected";
        /// 1 for the version that runs.
        build_info: IntGaugeVec = "tollgate_build_info", Arg::Labels(&["version"]);
    }
}

impl Metrics {
    /// The registry that serves them.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts one request at its end.
    pub fn request_ended(&self, route: &str, plan: &str, outcome: &str, status: u16, took: Duration) {
        let class = StatusClass::of(status).as_str();
        self.requests.with_label_values(&[route, plan, outcome, class]).inc();
        self.request_duration.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    /// Shows which configuration is in force.
    pub fn config_in_force(&self, hash: &str, loaded_at_secs: f64) {
        self.config_info.reset();
        self.config_info.with_label_values(&[hash]).set(1);
        self.config_loaded.set(loaded_at_secs);
        self.config_rejected.set(0);
    }
}

/// What a metric is made with besides name and help.
enum Arg {
    Labels(&'static [&'static str]),
    Buckets(&'static [f64]),
}

/// Makes each kind of metric from the same description.
trait Metric: Sized {
    fn make(name: &str, help: &str, args: &[Arg]) -> Self;
}

fn labels(args: &[Arg]) -> &'static [&'static str] {
    args.iter().find_map(|arg| if let Arg::Labels(labels) = arg { Some(*labels) } else { None }).unwrap_or_default()
}

fn histogram(name: &str, help: &str, args: &[Arg]) -> HistogramOpts {
    let buckets =
        args.iter().find_map(|arg| if let Arg::Buckets(buckets) = arg { Some(buckets.to_vec()) } else { None });
    HistogramOpts::new(name, help).buckets(buckets.unwrap_or_default())
}

const DESCRIBED: &str = "names and labels are written by hand and valid";

impl Metric for IntCounter {
    fn make(name: &str, help: &str, _: &[Arg]) -> Self {
        Self::new(name, help).expect(DESCRIBED)
    }
}

impl Metric for IntGauge {
    fn make(name: &str, help: &str, _: &[Arg]) -> Self {
        Self::new(name, help).expect(DESCRIBED)
    }
}

impl Metric for Gauge {
    fn make(name: &str, help: &str, _: &[Arg]) -> Self {
        Self::new(name, help).expect(DESCRIBED)
    }
}

impl Metric for IntCounterVec {
    fn make(name: &str, help: &str, args: &[Arg]) -> Self {
        Self::new(Opts::new(name, help), labels(args)).expect(DESCRIBED)
    }
}

impl Metric for IntGaugeVec {
    fn make(name: &str, help: &str, args: &[Arg]) -> Self {
        Self::new(Opts::new(name, help), labels(args)).expect(DESCRIBED)
    }
}

impl Metric for Histogram {
    fn make(name: &str, help: &str, args: &[Arg]) -> Self {
        Self::with_opts(histogram(name, help, args)).expect(DESCRIBED)
    }
}

impl Metric for HistogramVec {
    fn make(name: &str, help: &str, args: &[Arg]) -> Self {
        Self::new(histogram(name, help, args), labels(args)).expect(DESCRIBED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation's rows, as `| name | labels | meaning |`.
    fn documented() -> Vec<(String, String, String)> {
        let text = include_str!("../../docs/METRICS.md");
        text.lines()
            .filter(|line| line.starts_with("| `tollgate_"))
            .map(|line| {
                let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
                let [name, labels, help] = cells[..] else { panic!("three cells: {line}") };
                (name.trim_matches('`').to_owned(), labels.replace('`', ""), help.to_owned())
            })
            .collect()
    }

    #[test]
    fn the_documentation_lists_every_metric_as_it_is() {
        let described: Vec<_> = Metrics::described()
            .into_iter()
            .map(|metric| (metric.name.to_owned(), metric.labels.join(", "), metric.help.to_owned()))
            .collect();
        assert_eq!(documented(), described);
    }

    #[test]
    fn counted_requests_are_scraped_under_bounded_labels() {
        let metrics = Metrics::default();
        metrics.request_ended("events", "pro", "forwarded", 204, Duration::from_millis(3));
        let families = metrics.registry().gather();
        let requests = families.iter().find(|family| family.name() == "tollgate_requests_total").expect("the family");
        let labels: Vec<_> =
            requests.get_metric()[0].get_label().iter().map(|label| (label.name(), label.value())).collect();
        assert_eq!(labels, [("outcome", "forwarded"), ("plan", "pro"), ("route", "events"), ("status", "2xx")]);
    }
}
