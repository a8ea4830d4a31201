//! Many threads on one account, on many accounts, and beside sweeps.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tollgate_domain::limit::{LimitSet, Quota};
use tollgate_domain::{DAY_US, SECOND_US, Unit};
use tollgate_limiter::{InProcess, InProcessSettings, Limiter};

use crate::support::{
    CALLS, account, admitted, at, bucket, client, debit, is_admitted, limiter, month, one, quota, quota_used, ready,
    seeded, used, window,
};

const THREADS: usize = 8;

#[test]
fn eight_threads_on_one_account_are_let_in_exactly_as_often_as_its_quota_says() {
    let limiter = limiter(1);
    let limits = LimitSet { windows: window(5_000, Unit::Day).windows, ..bucket(1, Unit::Second, 3_000) };
    let limits = LimitSet { quota: Quota { limit: Some(1_000) }, ..limits };
    let handle = seeded(&limiter, account(1), &limits);
    let total: usize = thread::scope(|scope| {
        let spawn = |_| scope.spawn(|| admitted(&limiter, &handle.clone(), &limits, 1_000, 0));
        let threads: Vec<_> = (0..THREADS).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    });
    assert_eq!(total, 1_000);
    assert_eq!(quota_used(&limiter, account(1), &limits, 0), Some(1_000));
}

#[test]
fn each_of_many_accounts_keeps_its_own_quota_when_all_threads_call_all_of_them() {
    const ACCOUNTS: u32 = 500;
    let limiter = limiter(1);
    let limits = quota(17);
    for number in 0..ACCOUNTS {
        seeded(&limiter, account(number), &limits);
    }
    let counts: Vec<AtomicUsize> = (0..ACCOUNTS).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for (number, count) in (0..ACCOUNTS).zip(&counts) {
                    let handle = limiter.open(account(number));
                    count.fetch_add(admitted(&limiter, &handle, &limits, 5, 0), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 17));
}

#[test]
fn threads_that_open_a_new_client_together_share_one_bucket() {
    let limiter = limiter(10_000);
    let limits = bucket(1, Unit::Day, 7);
    for number in 0..200 {
        let total: usize = thread::scope(|scope| {
            let call = || admitted(&limiter, &limiter.open(client(number)), &limits, 5, 0);
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(call)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
        });
        assert_eq!(total, 7, "client {number}");
    }
}

#[test]
fn refunds_and_charges_beside_calls_add_up_to_the_unit() {
    let limiter = limiter(1);
    let limits = quota(1_000_000);
    let handle = seeded(&limiter, account(1), &limits);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..300 {
                    assert!(is_admitted(&debit(&limiter, &handle, &one(&limits), 0)));
                    if round % 3 == 0 {
                        ready(limiter.settle(&handle, CALLS, month(), -1)).expect("it answers");
                    }
                    if round % 10 == 0 {
                        ready(limiter.charge(account(1), CALLS, month(), 7, 1)).expect("it answers");
                        ready(limiter.charge(account(1), CALLS, month(), -2, 1)).expect("it answers");
                    }
                }
            });
        }
    });
    let expected = THREADS * (300 - 100 + 30 * 5);
    assert_eq!(quota_used(&limiter, account(1), &limits, 0), Some(u64::try_from(expected).expect("small")));
}

#[test]
fn a_charge_beside_a_seed_is_never_missed() {
    const ACCOUNTS: u32 = 5_000;
    let limiter = limiter(1);
    let limits = quota(10);
    let barrier = Barrier::new(2);
    let seeded: Vec<bool> = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..ACCOUNTS {
                barrier.wait();
                ready(limiter.charge(account(number), CALLS, month(), 1, 1)).expect("it answers");
                barrier.wait();
            }
        });
        let seed = |number| {
            let handle = limiter.open(account(number));
            let ticket = limiter.ticket();
            barrier.wait();
            // The ledger was read before the charge.
            let seeded = ready(limiter.seed(&handle, ticket, &one(&limits), &used(0), at(0)));
            barrier.wait();
            seeded.expect("it answers")
        };
        (0..ACCOUNTS).map(seed).collect()
    });
    for (number, seeded) in (0..ACCOUNTS).zip(seeded) {
        assert_eq!(quota_used(&limiter, account(number), &limits, 0), seeded.then_some(1), "account {number}");
    }
}

#[test]
fn a_kept_handle_stays_good_while_others_sweep() {
    let limiter = InProcess::new(InProcessSettings { idle_after: std::time::Duration::ZERO, ..<_>::default() });
    let limits = LimitSet { quota: Quota { limit: Some(1_000) }, ..bucket(1_000_000, Unit::Second, 10) };
    let handle = seeded(&limiter, account(1), &limits);
    let done = AtomicBool::new(false);
    let total: usize = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                limiter.sweep(at(DAY_US));
            }
        });
        // Each call comes a second later, so that the account looks idle to every sweep.
        let spawn = |_| {
            scope.spawn(|| {
                let calls =
                    (0..400).map(|call| debit(&limiter, &limiter.open(account(1)), &one(&limits), call * SECOND_US));
                calls.filter(is_admitted).count()
            })
        };
        let threads: Vec<_> = (0..THREADS).map(spawn).collect();
        let total = threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum();
        done.store(true, Ordering::Relaxed);
        total
    });
    assert_eq!(total, 1_000);
    assert!(!is_admitted(&debit(&limiter, &handle, &one(&limits), 400 * SECOND_US)));
}
