//! States are made from the ledger, by whoever comes first, and never from one that a charge has overtaken.

use std::time::{Duration, Instant};

use tollgate_domain::limit::{Charged, Debit, Debited, Outcome, Seed, Spending};
use tollgate_domain::{SECOND_US, Timestamp, Unit};
use tollgate_limiter::{Limiter, LimiterDown, Subject};

use crate::private::Server;
use crate::support::{
    CALLS, account, admitted, bucket, call, debit, exact, is_admitted, key, leased, long, quota, quota_used, seeded,
    standing, used, wall_clock, window,
};

#[tokio::test]
async fn an_account_without_state_asks_for_it_and_one_with_state_goes_on_from_it() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = quota(10);
    let handle = limiter.open(account(1));
    assert_eq!(debit(&limiter, &handle, &call(&limits, 1)).await, Outcome::Unseeded);
    assert_eq!(quota_used(&limiter, account(1), &limits).await, None);
    assert_eq!(limiter.seed(&handle, 0, &call(&limits, 1), &used(8, 5), wall_clock()).await, Ok(true));
    assert_eq!(quota_used(&limiter, account(1), &limits).await, Some(8));
    assert_eq!(admitted(&limiter, &handle, &limits, 5).await, 2);
    assert_eq!(limiter.seed(&handle, 0, &call(&limits, 1), &used(0, 9), wall_clock()).await, Ok(true), "nothing to do");
    assert_eq!(admitted(&limiter, &handle, &limits, 5).await, 0);
}

#[tokio::test]
async fn of_two_nodes_that_seed_at_once_the_second_changes_nothing() {
    let Some(server) = Server::start(&[]) else { return };
    let (first, second) = (exact(&server), exact(&server));
    let limits = quota(10);
    let handles = (first.open(account(1)), second.open(account(1)));
    assert_eq!(first.seed(&handles.0, 0, &call(&limits, 1), &used(4, 5), wall_clock()).await, Ok(true));
    assert_eq!(admitted(&first, &handles.0, &limits, 3).await, 3);
    assert_eq!(second.seed(&handles.1, 0, &call(&limits, 1), &used(4, 5), wall_clock()).await, Ok(true));
    assert_eq!(quota_used(&second, account(1), &limits).await, Some(7));
}

#[tokio::test]
async fn a_ledger_read_before_a_charge_is_not_believed() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = quota(10);
    let handle = limiter.open(account(1));
    limiter.charge_shared(account(1), CALLS, long(), 6, 12).await.expect("it answers");
    assert_eq!(limiter.seed(&handle, 0, &call(&limits, 1), &used(0, 11), wall_clock()).await, Ok(false));
    assert_eq!(debit(&limiter, &handle, &call(&limits, 1)).await, Outcome::Unseeded);
    assert_eq!(limiter.seed(&handle, 0, &call(&limits, 1), &used(6, 12), wall_clock()).await, Ok(true));
    limiter.charge_shared(account(1), CALLS, long(), 6, 12).await.expect("it answers");
    assert_eq!(quota_used(&limiter, account(1), &limits).await, Some(6));
}

#[tokio::test]
async fn each_entry_of_the_ledger_is_charged_once() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = quota(10);
    seeded(&limiter, account(1), &limits).await;
    for (units, position, expected) in [(4, 1, 4), (4, 1, 4), (-1, 2, 3), (9, 1, 3), (-9, 3, 0), (5, 4, 5)] {
        limiter.charge_shared(account(1), CALLS, long(), units, position).await.expect("it answers");
        assert_eq!(quota_used(&limiter, account(1), &limits).await, Some(expected), "{units} at {position}");
    }
}

#[tokio::test]
async fn a_keys_cap_is_seeded_debited_and_refunded_beside_the_accounts_quota() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let (limits, own) = (quota(10), quota(3));
    let handle = seeded(&limiter, account(1), &limits).await;
    let by_key = Debit { key: Some((key(1), &own)), ..call(&limits, 1) };
    assert_eq!(debit(&limiter, &handle, &by_key).await, Outcome::Unseeded);
    let seed = Seed { key: Some((key(1), Spending::default())), ..used(0, 1) };
    assert_eq!(limiter.seed(&handle, 0, &by_key, &seed, wall_clock()).await, Ok(true));
    let mut count = 0;
    for _ in 0..5 {
        count += u32::from(is_admitted(&debit(&limiter, &handle, &by_key).await));
    }
    assert_eq!(count, 3);
    limiter.settle(&handle, Charged::Calls { key: Some(key(1)) }, long(), -2).await.expect("it answers");
    assert_eq!(quota_used(&limiter, account(1), &limits).await, Some(1));
    assert!(is_admitted(&debit(&limiter, &handle, &by_key).await));
    let own_used =
        standing(&limiter, account(1), &by_key).await.and_then(|standing| standing.last().map(|own| own.used));
    assert_eq!(own_used, Some(2));
}

#[tokio::test]
async fn a_seed_by_a_wrong_clock_keeps_the_age_of_what_was_spent() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = window(10, Unit::Hour);
    for (number, wrong_by_us) in [(1, -3_000 * SECOND_US), (2, 0), (3, 3_000 * SECOND_US)] {
        let clock = wall_clock() + wrong_by_us;
        let debits = vec![Debited { at: clock + -3_599 * SECOND_US, units: 4 }, Debited { at: clock, units: 3 }];
        let spending = Spending { debits, ..Spending::default() };
        let seed = Seed { since: Timestamp::EPOCH, account: spending, key: None, meter: None, ledger_position: 0 };
        let handle = limiter.open(account(number));
        assert_eq!(limiter.seed(&handle, 0, &call(&limits, 1), &seed, clock).await, Ok(true));
        assert_eq!(admitted(&limiter, &handle, &limits, 5).await, 3, "{wrong_by_us}");
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(admitted(&limiter, &handle, &limits, 6).await, 4, "{wrong_by_us}");
    }
}

#[tokio::test]
async fn a_client_address_begins_fresh_and_is_forgotten_when_it_is_as_good_as_new() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let limits = bucket(1, Unit::Second, 3);
    let handle = limiter.open(Subject::Client(0x2001_0db8 << 96));
    assert_eq!(admitted(&limiter, &handle, &limits, 5).await, 3);
    let kept_ms: i64 = server.run(&["PTTL", "tg:l:{c20010db8000000000000000000000000}"]);
    assert!((1..=3_000).contains(&kept_ms), "{kept_ms}");
    let kept_ms: Vec<String> = server.run(&["KEYS", "*"]);
    assert_eq!(kept_ms, ["tg:l:{c20010db8000000000000000000000000}"]);
}

#[tokio::test]
async fn every_state_has_an_expiry_of_more_than_a_day() {
    let Some(server) = Server::start(&[]) else { return };
    let limiter = exact(&server);
    let handle = seeded(&limiter, account(1), &window(10, Unit::Hour)).await;
    assert_eq!(admitted(&limiter, &handle, &window(10, Unit::Hour), 1).await, 1);
    limiter.charge_shared(account(2), CALLS, long(), 1, 7).await.expect("it answers");
    let keys: Vec<String> = server.run(&["KEYS", "*"]);
    assert_eq!(keys.len(), 2);
    for key in keys {
        let kept_ms: i64 = server.run(&["PTTL", &key]);
        assert!((60_000..=26 * 3_600_000).contains(&kept_ms), "{key}: {kept_ms}");
    }
}

#[tokio::test]
async fn a_state_that_was_lost_is_not_made_again_at_once_but_one_never_used_is() {
    let Some(server) = Server::start(&[]) else { return };
    for (used_it, other) in [(exact(&server), exact(&server)), (leased(&server, 1), leased(&server, 2))] {
        let limits = quota(10);
        let handle = seeded(&used_it, account(1), &limits).await;
        assert_eq!(admitted(&used_it, &handle, &limits, 2).await, 2);
        server.run::<()>(&["FLUSHALL"]);
        // A lease goes on until it has run out.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let lost = Instant::now();
        assert_eq!(used_it.debit(&handle, &call(&limits, 1), wall_clock()).await, Err(LimiterDown));
        assert_eq!(debit(&other, &other.open(account(1)), &call(&limits, 1)).await, Outcome::Unseeded);
        loop {
            match used_it.debit(&handle, &call(&limits, 1), wall_clock()).await {
                Err(LimiterDown) => tokio::time::sleep(Duration::from_millis(10)).await,
                Ok(outcome) => break assert_eq!(outcome, Outcome::Unseeded),
            }
        }
        assert!((1_400..2_500).contains(&lost.elapsed().as_millis()), "{:?}", lost.elapsed());
        assert_eq!(used_it.seed(&handle, 0, &call(&limits, 1), &used(2, 3), wall_clock()).await, Ok(true));
        assert_eq!(admitted(&used_it, &handle, &limits, 10).await, 8);
        server.run::<()>(&["FLUSHALL"]);
    }
}
