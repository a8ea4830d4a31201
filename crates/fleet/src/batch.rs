//! A batch of usage as bytes, in the spool and in the stream alike: versioned, with a checksum.
//!
//! One line of text, `tollgate-usage <version> <checksum> <length>`, then JSON. What cannot be read whole is not read at
//! all. Version 2 adds meters and single requests to version 1. Both are read; a batch that has neither is written as
//! version 1, which control planes of before can read. They set the others aside and do not say that they are stored, so
//! those are sent again until a newer control plane stores them.

use serde::{Deserialize, Serialize};
use tollgate_domain::{
    MeterName, NodeId, Period, RequestRow, RouteName, StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine,
    UsageTally,
};

/// What every batch begins with; the version follows.
const MAGIC: &str = "tollgate-usage ";
/// Calls alone.
const CALLS: u32 = 1;
/// Meters and single requests besides.
const METERS: u32 = 2;

/// Bytes of single requests in one batch, about. What is beyond is left out: the log of requests is for looking at, and
/// must not get in the way of what is charged.
pub(crate) const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Bytes of a request's row beside its texts, at most.
const REQUEST_BYTES: usize = 320;

#[derive(Serialize, Deserialize)]
struct BatchForm {
    node: String,
    sequence: u64,
    start: i64,
    end: i64,
    lines: Vec<LineForm>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    requests: Vec<RequestForm>,
}

/// Short names: there are thousands of lines in a batch.
#[derive(Serialize, Deserialize)]
struct LineForm {
    /// Account.
    a: String,
    /// Key.
    k: String,
    /// Route.
    r: String,
    /// Class of status.
    s: String,
    /// Start and end of the period.
    p: (i64, i64),
    /// Meter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<String>,
    /// Whether the shared limits have not counted it.
    d: bool,
    /// Calls; units debited, charged, refunded; calls unenforced.
    t: (u64, u64, u64, u64, u64),
}

#[derive(Serialize, Deserialize)]
struct RequestForm {
    /// The request's id.
    i: String,
    /// When.
    w: i64,
    /// Account.
    a: String,
    /// Key.
    k: String,
    /// Route.
    r: String,
    /// Method.
    m: String,
    /// Path.
    u: String,
    /// Status, duration in microseconds, units charged.
    t: (u16, u64, u64),
    /// Start and end of the period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<(i64, i64)>,
    /// Reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

/// Bytes that are no batch, or one of a later version.
#[derive(Debug, thiserror::Error)]
#[error("not a batch of usage that this version can read: {0}")]
pub(crate) struct Unreadable(&'static str);

/// A batch as bytes.
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    /// Single requests in it.
    pub(crate) requests: usize,
}

/// Writes a batch, with as many of its single requests as fit into about so many bytes.
pub(crate) fn write(batch: &UsageBatch, request_bytes_max: usize) -> Written {
    let mut request_bytes = 0;
    let fitting = batch.requests.iter().take_while(|row| {
        request_bytes += bytes_of(row);
        request_bytes <= request_bytes_max
    });
    let requests: Vec<RequestForm> = fitting.map(write_request).collect();
    let lines: Vec<LineForm> = batch.lines.iter().map(write_line).collect();
    let version = if requests.is_empty() && lines.iter().all(|line| line.m.is_none()) { CALLS } else { METERS };
    let form = BatchForm {
        node: batch.node.to_string(),
        sequence: batch.sequence,
        start: batch.start.as_micros(),
        end: batch.end.as_micros(),
        lines,
        requests,
    };
    let body = serde_json::to_vec(&form).expect("text and numbers can be written as JSON");
    let mut bytes = format!("{MAGIC}{version} {:08x} {}\n", crc32fast::hash(&body), body.len()).into_bytes();
    bytes.extend_from_slice(&body);
    Written { bytes, requests: form.requests.len() }
}

fn bytes_of(row: &RequestRow) -> usize {
    let texts = [row.request.as_str(), &row.method, &row.path, row.reason.as_deref().unwrap_or_default()];
    REQUEST_BYTES + texts.iter().map(|text| text.len()).sum::<usize>()
}

fn write_line(UsageLine { key, tally }: &UsageLine) -> LineForm {
    LineForm {
        a: key.account.to_string(),
        k: key.key.to_string(),
        r: key.route.as_str().into(),
        s: key.status.as_str().into(),
        p: write_period(key.period),
        m: key.meter.as_ref().map(|meter| meter.as_str().into()),
        d: key.detached,
        t: (tally.calls, tally.units_debited, tally.units_charged, tally.units_refunded, tally.calls_unenforced),
    }
}

fn write_request(row: &RequestRow) -> RequestForm {
    RequestForm {
        i: row.request.clone(),
        w: row.at.as_micros(),
        a: row.account.to_string(),
        k: row.key.to_string(),
        r: row.route.as_str().into(),
        m: row.method.clone(),
        u: row.path.clone(),
        t: (row.status, row.duration_us, row.units),
        p: row.period.map(write_period),
        e: row.reason.clone(),
    }
}

fn write_period(period: Period) -> (i64, i64) {
    (period.start.as_micros(), period.end.as_micros())
}

/// Whether bytes are whole, as [`write`] wrote them. What stands in them is not looked at.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Unreadable> {
    body(bytes).map(|_| ())
}

/// Reads what [`write`] wrote.
pub(crate) fn read(bytes: &[u8]) -> Result<UsageBatch, Unreadable> {
    let body = body(bytes)?;
    let form: BatchForm = serde_json::from_slice(body).map_err(|_| Unreadable("its body is of another form"))?;
    read_form(form).ok_or(Unreadable("it holds an impossible value"))
}

fn body(bytes: &[u8]) -> Result<&[u8], Unreadable> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(Unreadable("it does not begin like one"))?;
    let end_of_head = rest.iter().position(|byte| *byte == b'\n').ok_or(Unreadable("it has no body"))?;
    let (head, body) = (&rest[..end_of_head], &rest[end_of_head + 1..]);
    let (version, checksum, length) = read_head(head).ok_or(Unreadable("its first line is damaged"))?;
    if ![CALLS, METERS].contains(&version) {
        return Err(Unreadable("it is of another version"));
    }
    if body.len() != length || crc32fast::hash(body) != checksum {
        return Err(Unreadable("it is damaged or cut off"));
    }
    Ok(body)
}

fn read_head(head: &[u8]) -> Option<(u32, u32, usize)> {
    let mut words = std::str::from_utf8(head).ok()?.split(' ');
    let (version, checksum, length) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    Some((version.parse().ok()?, u32::from_str_radix(checksum, 16).ok()?, length.parse().ok()?))
}

fn read_form(form: BatchForm) -> Option<UsageBatch> {
    let node: NodeId = form.node.parse().ok()?;
    Some(UsageBatch {
        node,
        sequence: form.sequence,
        start: Timestamp::from_micros(form.start),
        end: Timestamp::from_micros(form.end),
        lines: form.lines.iter().map(read_line).collect::<Option<_>>()?,
        requests: form.requests.into_iter().map(read_request).collect::<Option<_>>()?,
    })
}

fn read_line(form: &LineForm) -> Option<UsageLine> {
    let (calls, units_debited, units_charged, units_refunded, calls_unenforced) = form.t;
    let meter = match &form.m {
        None => None,
        Some(name) => Some(MeterName::new(name)?),
    };
    Some(UsageLine {
        key: UsageKey {
            account: form.a.parse().ok()?,
            key: form.k.parse().ok()?,
            route: RouteName::new(&form.r)?,
            status: StatusClass::parse(&form.s)?,
            period: read_period(form.p),
            meter,
            detached: form.d,
        },
        tally: UsageTally { calls, units_debited, units_charged, units_refunded, calls_unenforced },
    })
}

fn read_request(form: RequestForm) -> Option<RequestRow> {
    let (status, duration_us, units) = form.t;
    Some(RequestRow {
        request: form.i,
        at: Timestamp::from_micros(form.w),
        account: form.a.parse().ok()?,
        key: form.k.parse().ok()?,
        route: RouteName::new(&form.r)?,
        method: form.m,
        path: form.u,
        status,
        duration_us,
        units,
        period: form.p.map(read_period),
        reason: form.e,
    })
}

fn read_period((start, end): (i64, i64)) -> Period {
    Period { start: Timestamp::from_micros(start), end: Timestamp::from_micros(end) }
}

#[cfg(test)]
mod tests;
