//! One line a request, written by a thread of its own: JSON, or the short form people read.
//!
//! A request only hands over facts. When the writer cannot keep up, lines are dropped and counted; no request waits.

use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::Method;
use serde::Serialize;
use tollgate_config::LogFormat;
use tollgate_domain::{KeyHash, PlanName, Reason, RouteName, Timestamp};

use crate::metrics::Metrics;
use crate::request_id::RequestId;

/// Lines that may wait for the writer: more than a second's of a busy machine. Their places are held from the start, a
/// quarter of a kilobyte each.
const LINES_MAX: usize = 16_384;
/// How long a line waits for others at most before the writer hands what it has to the system.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// Bytes written to the system at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// The facts of one request. No raw key is among them, and no query.
#[derive(Clone, Debug)]
pub struct AccessRecord {
    /// When it began.
    pub at: Timestamp,
    /// Its method.
    pub method: Method,
    /// Its canonical path, without the query.
    pub path: Box<str>,
    /// The status it was answered with; 499 when the client hung up before.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
    /// The plan it ran under; `None` when anonymous.
    pub plan: Option<PlanName>,
    /// The hash of its key; `None` when anonymous or unknown.
    pub key: Option<KeyHash>,
    /// The route it took.
    pub route: Option<RouteName>,
    /// How it ended, in one word.
    pub outcome: &'static str,
    /// The finer reason of a refusal.
    pub reason: Option<Reason>,
    /// The code and reason that would have refused it, were limits enforced.
    pub would_refuse: Option<(&'static str, Reason)>,
    /// Who called.
    pub client: IpAddr,
    /// Its id.
    pub request_id: RequestId,
}

/// Where requests hand over their facts.
#[derive(Clone)]
pub struct AccessLog {
    sender: SyncSender<AccessRecord>,
    metrics: Arc<Metrics>,
}

/// The writer's thread; joined at the end so that no line is lost.
pub struct AccessLogWriter {
    thread: JoinHandle<()>,
}

impl AccessLog {
    /// Starts a writer of this form to this output.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn start(
        format: LogFormat,
        output: impl Write + Send + 'static,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, AccessLogWriter)> {
        let (sender, receiver) = sync_channel(LINES_MAX);
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_lines(&receiver, format, output))?;
        Ok((Self { sender, metrics }, AccessLogWriter { thread }))
    }

    /// Hands over the facts of one request.
    pub fn record(&self, record: AccessRecord) {
        match self.sender.try_send(record) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.metrics.log_lines_dropped.inc(),
        }
    }
}

impl AccessLogWriter {
    /// Waits until every line handed over is written. All [`AccessLog`]s must be gone.
    pub fn finish(self) {
        if self.thread.join().is_err() {
            tracing::error!("the access log's writer panicked; lines are missing");
        }
    }
}

fn write_lines(receiver: &Receiver<AccessRecord>, format: LogFormat, mut output: impl Write) {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut flush_at = Instant::now();
    loop {
        if buffer.is_empty() {
            flush_at = Instant::now() + FLUSH_AFTER;
        }
        match receiver.recv_timeout(flush_at.saturating_duration_since(Instant::now())) {
            Ok(record) => {
                match format {
                    LogFormat::Line => line(&record, &mut buffer),
                    LogFormat::Json => json(&record, &mut buffer),
                }
                if buffer.len() < BUFFER_BYTES && Instant::now() < flush_at {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                hand_over(&mut buffer, &mut output);
                return;
            }
        }
        hand_over(&mut buffer, &mut output);
    }
}

/// A closed output, such as a pipe whose reader is gone, loses lines and nothing else.
fn hand_over(buffer: &mut Vec<u8>, output: &mut impl Write) {
    let _lost_with_its_reader = output.write_all(buffer).and_then(|()| output.flush());
    buffer.clear();
}

/// `GET /events/search 200 12ms plan=pro key=1a2b3c4d`
fn line(record: &AccessRecord, out: &mut Vec<u8>) {
    let plan = record.plan.as_ref().map_or(PlanName::PUBLIC, PlanName::as_str);
    let mut text =
        format!("{} {} {} {}ms plan={plan} key=", record.method, record.path, record.status, record.took.as_millis());
    let written = match record.key {
        Some(key) => write!(text, "{}", key.short()),
        None => Ok(()),
    };
    written.expect("writing to memory does not fail");
    if let Some((code, reason)) = record.would_refuse {
        write!(text, " would_refuse={code} reason={}", reason.as_str()).expect("writing to memory does not fail");
    }
    text.push('\n');
    out.extend_from_slice(text.as_bytes());
}

#[derive(Serialize)]
struct JsonLine<'a> {
    timestamp: String,
    message: &'static str,
    method: &'a str,
    path: &'a str,
    status: u16,
    duration_ms: f64,
    plan: &'a str,
    key: Option<String>,
    route: Option<&'a str>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_refuse: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_refuse_reason: Option<&'static str>,
    client: IpAddr,
    request_id: &'a str,
}

fn json(record: &AccessRecord, out: &mut Vec<u8>) {
    let line = JsonLine {
        timestamp: record.at.to_string(),
        message: "request",
        method: record.method.as_str(),
        path: &record.path,
        status: record.status,
        duration_ms: (record.took.as_secs_f64() * 1e6).round() / 1e3,
        plan: record.plan.as_ref().map_or(PlanName::PUBLIC, PlanName::as_str),
        key: record.key.map(|key| key.short().to_string()),
        route: record.route.as_ref().map(RouteName::as_str),
        outcome: record.outcome,
        reason: record.reason.map(Reason::as_str),
        would_refuse: record.would_refuse.map(|(code, _)| code),
        would_refuse_reason: record.would_refuse.map(|(_, reason)| reason.as_str()),
        client: record.client,
        request_id: record.request_id.as_str(),
    };
    serde_json::to_writer(&mut *out, &line).expect("names, numbers and text always make JSON");
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AccessRecord {
        AccessRecord {
            at: Timestamp::from_secs(1_772_366_400),
            method: Method::GET,
            path: "/events/search".into(),
            status: 200,
            took: Duration::from_micros(12_345),
            plan: PlanName::new("pro"),
            key: KeyHash::parse(&format!("1a2b3c4d{}", "0".repeat(56))),
            route: RouteName::new("events"),
            outcome: "forwarded",
            reason: None,
            would_refuse: None,
            client: "192.0.2.1".parse().expect("an address"),
            request_id: RequestId::parse("0123456789abcdef").expect("an id"),
        }
    }

    fn written(format: LogFormat, record: &AccessRecord) -> String {
        let mut out = Vec::new();
        match format {
            LogFormat::Line => line(record, &mut out),
            LogFormat::Json => json(record, &mut out),
        }
        String::from_utf8(out).expect("lines are text")
    }

    #[test]
    fn the_short_form_reads_as_documented() {
        assert_eq!(written(LogFormat::Line, &record()), "GET /events/search 200 12ms plan=pro key=1a2b3c4d\n");
        let anonymous = AccessRecord { plan: None, key: None, ..record() };
        assert_eq!(written(LogFormat::Line, &anonymous), "GET /events/search 200 12ms plan=public key=\n");
        let spared = AccessRecord { would_refuse: Some(("missing_key", Reason::NoKey)), key: None, ..record() };
        assert!(written(LogFormat::Line, &spared).ends_with(" would_refuse=missing_key reason=no_key\n"));
    }

    #[test]
    fn json_lines_are_json_and_hold_no_line_break() {
        let hostile = AccessRecord { path: "/a\"b\n\u{1b}".into(), ..record() };
        let text = written(LogFormat::Json, &hostile);
        assert_eq!(text.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).expect("a JSON object");
        assert_eq!(read["path"], "/a\"b\n\u{1b}");
        assert_eq!(read["key"], "1a2b3c4d");
        assert_eq!(read["duration_ms"], 12.345);
    }
}
