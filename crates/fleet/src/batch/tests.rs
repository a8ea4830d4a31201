//! Batches as bytes: of this version and of the one before, whole and damaged.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tollgate_domain::{AccountId, KeyId};

use super::*;

/// A batch as the version before meters wrote it, byte by byte.
const VERSION_1: &str = concat!(
    "tollgate-usage 1 af207608 461\n",
    r#"{"node":"node_032aNH1BmSOh2joAwvq33D","sequence":77,"start":1772366400000000,"end":1772366400000005,"lines":["#,
    r#"{"a":"acc_032aNH1BmPSTnVQ3DOHUED","k":"key_032aNH1BmQvaQ7c75A3ldi","r":"events","s":"4xx","#,
    r#""p":[1772323200000000,1775001600000000],"d":false,"t":[1,2,18446744073709551615,4,5]},"#,
    r#"{"a":"acc_032aNH1BmPSTnVQ3DOHUED","k":"key_032aNH1BmQvaQ7c75A3ldi","r":"events","s":"4xx","#,
    r#""p":[1772323200000000,1775001600000000],"d":true,"t":[1,2,18446744073709551615,4,5]}]}"#,
);

const AT: Timestamp = Timestamp::from_secs(1_772_366_400);

fn line(meter: Option<&str>, detached: bool) -> UsageLine {
    UsageLine {
        key: UsageKey {
            account: AccountId::new(AT, [1; 10]),
            key: KeyId::new(AT, [2; 10]),
            route: RouteName::new("events").expect("a good name"),
            status: StatusClass::ClientError,
            period: Period::calendar_month(AT),
            meter: meter.map(|name| MeterName::new(name).expect("a good name")),
            detached,
        },
        tally: UsageTally {
            calls: 1,
            units_debited: 2,
            units_charged: u64::MAX,
            units_refunded: 4,
            calls_unenforced: 5,
        },
    }
}

fn request(number: usize) -> RequestRow {
    RequestRow {
        request: format!("req_{number}"),
        at: AT + 3,
        account: AccountId::new(AT, [1; 10]),
        key: KeyId::new(AT, [2; 10]),
        route: RouteName::new("events").expect("a good name"),
        method: "GET".into(),
        path: "/events/7".into(),
        status: 429,
        duration_us: 12,
        units: 1,
        period: None,
        reason: Some("quota".into()),
    }
}

fn batch(lines: Vec<UsageLine>, requests: Vec<RequestRow>) -> UsageBatch {
    UsageBatch { node: NodeId::new(AT, [3; 10]), sequence: 77, start: AT, end: AT + 5, lines, requests }
}

fn whole(batch: &UsageBatch) -> Vec<u8> {
    write(batch, usize::MAX).bytes
}

#[test]
fn a_batch_of_calls_alone_is_as_the_version_before_meters_wrote_and_reads_it() {
    let calls = batch(vec![line(None, false), line(None, true)], Vec::new());
    assert_eq!(String::from_utf8(whole(&calls)).expect("JSON is text"), VERSION_1);
    assert_eq!(read(VERSION_1.as_bytes()).expect("it is whole"), calls);
}

#[test]
fn what_the_version_before_would_misread_is_of_another_version() {
    for new in
        [batch(vec![line(None, false), line(Some("tokens"), false)], Vec::new()), batch(vec![], vec![request(1)])]
    {
        assert!(whole(&new).starts_with(b"tollgate-usage 2 "));
    }
    let later = VERSION_1.replacen("usage 1", "usage 3", 1);
    assert!(read(later.as_bytes()).is_err());
}

#[test]
fn single_requests_that_do_not_fit_are_left_out_and_nothing_else_is() {
    let full = batch(vec![line(None, false)], (0..1_000).map(request).collect());
    let written = write(&full, 100_000);
    assert!((100..1_000).contains(&written.requests), "{}", written.requests);
    assert!(written.bytes.len() < 101_000, "{}", written.bytes.len());
    let read = read(&written.bytes).expect("it was written here");
    assert_eq!(read.lines, full.lines);
    assert_eq!(read.requests, full.requests[..written.requests]);
    assert_eq!(write(&full, 0).bytes, whole(&UsageBatch { requests: Vec::new(), ..full }));
}

#[test]
fn no_cut_and_no_flipped_bit_is_taken_for_a_batch() {
    let calls = batch(vec![line(None, false), line(None, true)], Vec::new());
    let all = batch(vec![line(Some("tokens"), false)], vec![request(1)]);
    for batch in [calls, all] {
        let bytes = whole(&batch);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "cut to {length}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            // A digit of the checksum in the other case is the same digit.
            assert!(read(&flipped).is_err() || flipped.eq_ignore_ascii_case(&bytes), "bit of byte {at}");
        }
    }
}

fn periods() -> impl Strategy<Value = Period> {
    any::<(i64, i64)>().prop_map(read_period)
}

fn lines() -> impl Strategy<Value = UsageLine> {
    let classes =
        proptest::sample::select(vec![StatusClass::Success, StatusClass::ClientError, StatusClass::ServerError]);
    let key = (
        any::<[u8; 10]>(),
        "[a-zA-Z0-9._/-]{1,64}",
        classes,
        periods(),
        option::of("[a-z][a-z0-9_]{0,31}"),
        any::<bool>(),
    );
    (key, any::<[u64; 5]>()).prop_map(|((random, route, status, period, meter, detached), tally)| {
        let [calls, units_debited, units_charged, units_refunded, calls_unenforced] = tally;
        UsageLine {
            key: UsageKey {
                account: AccountId::new(AT, random),
                key: KeyId::new(AT, random),
                route: RouteName::new(&route).expect("a good name"),
                status,
                period,
                meter: meter.map(|name| MeterName::new(&name).expect("a good name")),
                detached,
            },
            tally: UsageTally { calls, units_debited, units_charged, units_refunded, calls_unenforced },
        }
    })
}

fn requests() -> impl Strategy<Value = RequestRow> {
    let texts = (".{0,40}", ".{0,10}", ".{0,256}", option::of(".{0,40}"));
    (texts, any::<(i64, u16, u64, u64)>(), option::of(periods()), any::<[u8; 10]>()).prop_map(
        |((request, method, path, reason), (at, status, duration_us, units), period, random)| RequestRow {
            request,
            at: Timestamp::from_micros(at),
            account: AccountId::new(AT, random),
            key: KeyId::new(AT, random),
            route: RouteName::new("events").expect("a good name"),
            method,
            path,
            status,
            duration_us,
            units,
            period,
            reason,
        },
    )
}

proptest! {
    #[test]
    fn batches_read_back_whole(lines in vec(lines(), 0..5), requests in vec(requests(), 0..5)) {
        let batch = batch(lines, requests);
        prop_assert_eq!(read(&whole(&batch)).expect("it was written here"), batch);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), body in ".{0,200}") {
        prop_assert!(read(&bytes).is_err());
        let framed = format!("{MAGIC}2 {:08x} {}\n{body}", crc32fast::hash(body.as_bytes()), body.len());
        prop_assert!(read(framed.as_bytes()).is_err());
    }
}
