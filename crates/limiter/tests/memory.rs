//! What an account costs in resident memory, with bucket and quota and with a full window.
//!
//! One test and a process of its own: another test beside it would be measured too.

#![cfg(target_os = "linux")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tollgate_domain::limit::{Bucket, Debit, LimitSet, Outcome, Quota, Seed, Spending, Window};
use tollgate_domain::{AccountId, DAY_US, MINUTE_US, Period, Rate, Timestamp, Unit};
use tollgate_limiter::{InProcess, Limiter, Subject};

const ACCOUNTS: u32 = 100_000;
const ACCOUNTS_WITH_WINDOW: u32 = 5_000;

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process about itself");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory is told");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number of kB") * 1_024
}

fn ready<T>(answer: impl Future<Output = T>) -> T {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the in-process limiter waited"),
    }
}

/// Bytes an account takes once each has made so many calls, a minute apart.
fn bytes_per_account(limiter: &InProcess, numbers: std::ops::Range<u32>, limits: &LimitSet, calls: i64) -> usize {
    let before = resident_bytes();
    let count = numbers.len();
    let start = Timestamp::from_secs(1_772_323_200);
    let period = Period { start, end: start + 31 * DAY_US };
    let debit = Debit { limits, key: None, meter: None, period, cost: 1 };
    let seed =
        Seed { since: Timestamp::EPOCH, account: Spending::default(), key: None, meter: None, ledger_position: 0 };
    for number in numbers {
        let [a, b, c, d] = number.to_be_bytes();
        let handle = limiter.open(Subject::Account(AccountId::new(start, [0, 0, 0, 0, 0, 0, a, b, c, d])));
        assert_eq!(ready(limiter.seed(&handle, limiter.ticket(), &debit, &seed, start)), Ok(true));
        for call in 0..calls {
            let outcome = ready(limiter.debit(&handle, &debit, start + call * 6 * MINUTE_US)).expect("it answers");
            assert!(matches!(outcome, Outcome::Admitted(_)));
        }
    }
    (resident_bytes() - before) / count
}

#[test]
fn an_account_is_small_and_a_full_window_is_some_kilobytes() {
    let limiter = InProcess::default();
    let quota = Quota { limit: Some(10_000) };
    let bucket = Bucket::new(Rate { count: 600, per: Unit::Minute }, 60).expect("in bounds");
    let plain = LimitSet { bucket: Some(bucket), quota, ..LimitSet::default() };
    let plain_bytes = bytes_per_account(&limiter, 0..ACCOUNTS, &plain, 1);
    let windows = std::iter::once(Window { limit: 10_000, length: Unit::Day }).collect();
    let windowed = LimitSet { windows, ..plain };
    // A call each 256th of a day and beyond, so that every slice is in use.
    let full_bytes = bytes_per_account(&limiter, ACCOUNTS..ACCOUNTS + ACCOUNTS_WITH_WINDOW, &windowed, 300);
    assert!((150..400).contains(&plain_bytes), "{plain_bytes} bytes with bucket and quota");
    assert!((4_200..5_000).contains(&full_bytes), "{full_bytes} bytes with a full window");
}
