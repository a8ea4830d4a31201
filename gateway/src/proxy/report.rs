//! What is reported: by the upstream of what a call used, and by us of a call that is kept in the request log.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use pingora::http::{RequestHeader, ResponseHeader};
use tollgate_domain::{MINUTE_US, Reason, RequestRow};
use tollgate_limiter::Limiter;

use super::settle::{Reported, TOLLGATE_COST, Usage};
use super::{Context, Proxy};
use crate::usage_report::{TOLLGATE_USAGE, parse};

/// How long after a warning of an upstream's reports the next one may come.
const WARN_EVERY_US: i64 = MINUTE_US;
/// Bytes of a path that a row of the request log keeps.
const PATH_BYTES_MAX: usize = 256;

/// When there was a warning last, so that a backend that is wrong with every answer does not fill the log.
#[derive(Debug)]
pub(super) struct ReportWarnings(AtomicI64);

impl Default for ReportWarnings {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl ReportWarnings {
    fn is_due(&self, now_us: i64) -> bool {
        let last_us = self.0.load(Ordering::Relaxed);
        now_us >= last_us.saturating_add(WARN_EVERY_US)
            && self.0.compare_exchange(last_us, now_us, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl<L: Limiter> Proxy<L> {
    /// Takes what the upstream reports out of its answer: callers never see it. It is read where there is an account to
    /// be charged.
    pub(super) fn take_reported(&self, ctx: &Context<L>, response: &mut ResponseHeader) -> Reported {
        let cost = response.remove_header(&TOLLGATE_COST);
        if !response.headers.contains_key(TOLLGATE_USAGE) {
            return Reported { cost, usage: Vec::new() };
        }
        let charged = ctx.passage.as_ref().is_some_and(|passage| passage.charge.is_some());
        let usage = if charged { self.read_usage(ctx, response) } else { Vec::new() };
        response.remove_header(&TOLLGATE_USAGE);
        Reported { cost, usage }
    }

    fn read_usage(&self, ctx: &Context<L>, response: &ResponseHeader) -> Vec<Usage> {
        let Ok(report) = parse(response.headers.get_all(TOLLGATE_USAGE).iter()) else {
            self.reject_report(ctx, "malformed");
            return Vec::new();
        };
        let named = report.len();
        let known: Vec<Usage> = report
            .into_iter()
            .filter_map(|(name, units)| {
                let (name, id) = ctx.snapshot.meter(name.as_str())?;
                Some(Usage { name: name.clone(), id, units })
            })
            .collect();
        if known.len() < named {
            self.reject_report(ctx, "unknown_meter");
        }
        known
    }

    fn reject_report(&self, ctx: &Context<L>, reason: &'static str) {
        self.parts.metrics.usage_reports_rejected.with_label_values(&[reason]).inc();
        if self.warnings.is_due(ctx.now.as_micros()) {
            let route = ctx.report.route.as_ref().map_or("", |route| route.as_str());
            let request_id = ctx.request_id.as_str();
            tracing::warn!(route, request_id, reason, "what the upstream reports in Tollgate-Usage is not counted");
        }
    }

    /// Keeps a call of a known account in the request log, where that is asked for.
    pub(super) fn keep_row(&self, ctx: &Context<L>, request: &RequestHeader, status: u16, took: Duration) {
        let rows = self.parts.usage.requests();
        if rows.is_off() {
            return;
        }
        let passage = ctx.passage.as_ref();
        let caller = passage.and_then(|passage| passage.caller.as_ref());
        let Some((account, key)) = caller.map(|caller| (caller.key.account, caller.key.id)).or(ctx.refused) else {
            return;
        };
        let report = &ctx.report;
        let refused = ctx.refused.is_some() || report.would_refuse.is_some();
        let Some(route) = report.route.clone().filter(|_| rows.wants(refused)) else { return };
        let path = request.uri.path();
        rows.keep(RequestRow {
            request: ctx.request_id.as_str().to_owned(),
            at: ctx.now,
            account,
            key,
            route,
            method: request.method.as_str().to_owned(),
            path: path[..path.floor_char_boundary(PATH_BYTES_MAX)].to_owned(),
            status,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            units: ctx.units,
            period: passage.and_then(|passage| passage.charge).map(|charge| charge.period),
            reason: report
                .reason
                .or(report.would_refuse.map(|(_, reason)| reason))
                .map(|reason| Reason::as_str(reason).to_owned()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_at_once_and_then_once_a_minute() {
        let warnings = ReportWarnings::default();
        let due = [0, 1, WARN_EVERY_US - 1, WARN_EVERY_US, WARN_EVERY_US + 1].map(|now_us| warnings.is_due(now_us));
        assert_eq!(due, [true, false, false, true, false]);
    }
}
