//! A batch of usage as bytes, in the spool and in the stream alike: versioned, with a checksum.
//!
//! One line of text, `tollgate-usage 1 <checksum> <length>`, then JSON. What cannot be read whole is not read at all.

use serde::{Deserialize, Serialize};
use tollgate_domain::{NodeId, Period, RouteName, StatusClass, Timestamp, UsageBatch, UsageKey, UsageLine, UsageTally};

/// What every batch begins with; the number changes with the form.
const MAGIC: &str = "tollgate-usage 1 ";

#[derive(Serialize, Deserialize)]
struct BatchForm {
    node: String,
    sequence: u64,
    start: i64,
    end: i64,
    lines: Vec<LineForm>,
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
    /// Whether the shared limits have not counted it.
    d: bool,
    /// Calls; units debited, charged, refunded; calls unenforced.
    t: (u64, u64, u64, u64, u64),
}

/// Bytes that are no batch, or one of a later version.
#[derive(Debug, thiserror::Error)]
#[error("not a batch of usage that this version can read: {0}")]
pub(crate) struct Unreadable(&'static str);

/// Writes a batch.
pub(crate) fn write(batch: &UsageBatch) -> Vec<u8> {
    let lines = batch.lines.iter().map(|UsageLine { key, tally }| LineForm {
        a: key.account.to_string(),
        k: key.key.to_string(),
        r: key.route.as_str().into(),
        s: key.status.as_str().into(),
        p: (key.period.start.as_micros(), key.period.end.as_micros()),
        d: key.detached,
        t: (tally.calls, tally.units_debited, tally.units_charged, tally.units_refunded, tally.calls_unenforced),
    });
    let form = BatchForm {
        node: batch.node.to_string(),
        sequence: batch.sequence,
        start: batch.start.as_micros(),
        end: batch.end.as_micros(),
        lines: lines.collect(),
    };
    let body = serde_json::to_vec(&form).expect("text and numbers can be written as JSON");
    let mut bytes = format!("{MAGIC}{:08x} {}\n", crc32fast::hash(&body), body.len()).into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

/// Whether bytes are whole, as [`write`] wrote them. What stands in them is not looked at.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Unreadable> {
    body(bytes).map(|_| ())
}

/// Reads what [`write`] wrote.
pub(crate) fn read(bytes: &[u8]) -> Result<UsageBatch, Unreadable> {
    let body = body(bytes)?;
    let form: BatchForm = serde_json::from_slice(body).map_err(|_| Unreadable("its body is of another form"))?;
    read_form(&form).ok_or(Unreadable("it holds an impossible value"))
}

fn body(bytes: &[u8]) -> Result<&[u8], Unreadable> {
    let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(Unreadable("it does not begin like one"))?;
    let end_of_head = rest.iter().position(|byte| *byte == b'\n').ok_or(Unreadable("it has no body"))?;
    let (head, body) = (&rest[..end_of_head], &rest[end_of_head + 1..]);
    let (checksum, length) = std::str::from_utf8(head)
        .ok()
        .and_then(|head| head.split_once(' '))
        .and_then(|(checksum, length)| Some((u32::from_str_radix(checksum, 16).ok()?, length.parse::<usize>().ok()?)))
        .ok_or(Unreadable("its first line is damaged"))?;
    if body.len() != length || crc32fast::hash(body) != checksum {
        return Err(Unreadable("it is damaged or cut off"));
    }
    Ok(body)
}

fn read_form(form: &BatchForm) -> Option<UsageBatch> {
    let node: NodeId = form.node.parse().ok()?;
    let lines = form.lines.iter().map(read_line).collect::<Option<_>>()?;
    Some(UsageBatch {
        node,
        sequence: form.sequence,
        start: Timestamp::from_micros(form.start),
        end: Timestamp::from_micros(form.end),
        lines,
    })
}

fn read_line(form: &LineForm) -> Option<UsageLine> {
    let (calls, units_debited, units_charged, units_refunded, calls_unenforced) = form.t;
    Some(UsageLine {
        key: UsageKey {
            account: form.a.parse().ok()?,
            key: form.k.parse().ok()?,
            route: RouteName::new(&form.r)?,
            status: StatusClass::parse(&form.s)?,
            period: Period { start: Timestamp::from_micros(form.p.0), end: Timestamp::from_micros(form.p.1) },
            detached: form.d,
        },
        tally: UsageTally { calls, units_debited, units_charged, units_refunded, calls_unenforced },
    })
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{AccountId, KeyId};

    use super::*;

    fn batch() -> UsageBatch {
        let at = Timestamp::from_secs(1_772_366_400);
        let line = |detached| UsageLine {
            key: UsageKey {
                account: AccountId::new(at, [1; 10]),
                key: KeyId::new(at, [2; 10]),
                route: RouteName::new("events/{id}".trim_end_matches("/{id}")).expect("a good name"),
                status: StatusClass::ClientError,
                period: Period::calendar_month(at),
                detached,
            },
            tally: UsageTally {
                calls: 1,
                units_debited: 2,
                units_charged: u64::MAX,
                units_refunded: 4,
                calls_unenforced: 5,
            },
        };
        let node = NodeId::new(at, [3; 10]);
        UsageBatch { node, sequence: 77, start: at, end: at + 5, lines: vec![line(false), line(true)] }
    }

    #[test]
    fn batches_read_back_whole() {
        assert_eq!(read(&write(&batch())).expect("it was written here"), batch());
    }

    #[test]
    fn no_cut_and_no_flipped_bit_is_taken_for_a_batch() {
        let bytes = write(&batch());
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "cut to {length}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            // A digit of the checksum in the other case is the same digit.
            assert!(read(&flipped).is_err() || flipped.eq_ignore_ascii_case(&bytes), "bit of byte {at}");
        }
        let later = String::from_utf8(bytes).expect("JSON is text").replacen("usage 1", "usage 2", 1);
        assert!(read(later.as_bytes()).is_err());
    }
}
