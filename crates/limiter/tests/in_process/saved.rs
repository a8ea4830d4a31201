//! Saved and restored: whoever was limited before a stop is limited after it, and no text can do harm.

use proptest::prelude::*;
use proptest::test_runner::Config;
use tollgate_domain::limit::{Debit, LimitSet, Outcome, Quota, Seed, Spending};
use tollgate_domain::{DAY_US, MINUTE_US, SECOND_US, Unit};
use tollgate_limiter::{InProcess, Limiter, SavedSubject, Subject};

use crate::support::{
    account, admitted, at, bucket, client, debit, key, limiter, one, quota, quota_used, ready, seeded, used, window,
};

fn limits() -> LimitSet {
    LimitSet {
        windows: window(40, Unit::Minute).windows,
        quota: Quota { limit: Some(1_000) },
        ..bucket(60, Unit::Minute, 10)
    }
}

fn own_limits() -> LimitSet {
    LimitSet { windows: window(25, Unit::Hour).windows, ..bucket(30, Unit::Minute, 5) }
}

/// The account's own calls and its key's, as both limiters are asked.
fn demand<'a>(limits: &'a LimitSet, own: &'a LimitSet, by_key: bool, cost: u64) -> Debit<'a> {
    Debit { key: by_key.then_some((key(1), own)), cost, ..one(limits) }
}

/// Seeds account and key as a ledger with so much use would.
fn seed(limiter: &InProcess, subject: Subject, quota_used: u64, key_used: u64, after_us: i64) {
    let (limits, own) = (limits(), own_limits());
    let spent = |units| Spending { debits: Vec::new(), quota: used(units).account.quota };
    let seed = Seed { account: spent(quota_used), key: Some((key(1), spent(key_used))), ..used(0) };
    let handle = limiter.open(subject);
    let demand = demand(&limits, &own, true, 1);
    assert_eq!(ready(limiter.seed(&handle, limiter.ticket(), &demand, &seed, at(after_us))), Ok(true));
}

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_restored_limiter_goes_on_as_the_saved_one_would(
        before in proptest::collection::vec((0..3 * SECOND_US, any::<bool>(), 0_u64..4), 1..60),
        after in proptest::collection::vec((0..20 * SECOND_US, any::<bool>(), 0_u64..4), 1..60),
    ) {
        let (limits, own) = (limits(), own_limits());
        let saved_one = limiter(100);
        seed(&saved_one, account(1), 0, 0, 0);
        let handle = saved_one.open(account(1));
        let (mut after_us, mut units, mut key_units) = (0, 0, 0);
        for (gap_us, by_key, cost) in before {
            after_us += gap_us;
            if let Outcome::Admitted(_) = debit(&saved_one, &handle, &demand(&limits, &own, by_key, cost), after_us) {
                units += cost;
                key_units += if by_key { cost } else { 0 };
            }
        }
        let saved = saved_one.save(at(after_us));
        let restored = limiter(100);
        prop_assert_eq!(restored.restore(&saved, at(after_us)), saved.len());
        prop_assert_eq!(&restored.save(at(after_us)), &saved);
        let restored_handle = restored.open(account(1));
        prop_assert_eq!(debit(&restored, &restored_handle, &one(&limits), after_us), Outcome::Unseeded);
        seed(&restored, account(1), units, key_units, after_us);
        for (gap_us, by_key, cost) in after {
            after_us += gap_us;
            let demand = demand(&limits, &own, by_key, cost);
            let expected = debit(&saved_one, &handle, &demand, after_us);
            prop_assert_eq!(debit(&restored, &restored_handle, &demand, after_us), expected);
        }
    }

    #[test]
    fn no_text_panics_or_is_taken_for_more_than_it_is(
        at_byte in 0_usize..400,
        byte in any::<u8>(),
        subject in "(acc_|client:|)[0-9a-zA-Z:.]{0,24}",
        text in "\\PC{0,80}",
    ) {
        let limiter = limiter(100);
        let mut garbled = GOLDEN.as_bytes().to_vec();
        let at_byte = at_byte % garbled.len();
        garbled[at_byte] = byte;
        let saved = [
            SavedSubject { subject: account(1).saved(), state: String::from_utf8_lossy(&garbled).into_owned() },
            SavedSubject { subject, state: GOLDEN.to_owned() },
            SavedSubject { subject: account(2).saved(), state: text },
        ];
        let read = limiter.restore(&saved, at(0));
        prop_assert!(read <= 2);
        seed(&limiter, account(1), 0, 0, 0);
        let (limits, own) = (limits(), own_limits());
        let outcome = debit(&limiter, &limiter.open(account(1)), &demand(&limits, &own, true, 1), 2 * MINUTE_US);
        prop_assert!(outcome != Outcome::Unseeded);
    }
}

/// What version 1 wrote for the account of the test below; it must be read for as long as version 1 is.
const GOLDEN: &str = r#"{"v":1,"seen":1772323202000000,"limits":[{"bucket":{"tokens":1,"micros":1000000,"burst":10,"level":8000000,"at":1772323202000000},"windows":[{"length":"minute","slices":[[1772323200000000,2],[1772323202000000,2]]}]},{"key":"key_032a5bVZ841fZA9JR0u4O1","bucket":{"tokens":1,"micros":2000000,"burst":5,"level":8000000,"at":1772323202000000},"windows":[{"length":"hour","slices":[[1772323202000000,1]]}]}]}"#;

trait Saved {
    fn saved(&self) -> String;
}

impl Saved for Subject {
    /// As saved subjects are named.
    fn saved(&self) -> String {
        match self {
            Self::Account(id) => id.to_string(),
            Self::Client(address) => format!("client:{}", std::net::Ipv6Addr::from(*address)),
        }
    }
}

#[test]
fn the_text_is_that_of_version_one() {
    let limiter = limiter(100);
    let (limits, own) = (limits(), own_limits());
    seed(&limiter, account(1), 0, 0, 0);
    let handle = limiter.open(account(1));
    debit(&limiter, &handle, &demand(&limits, &own, false, 2), 0);
    debit(&limiter, &handle, &demand(&limits, &own, false, 1), 2 * SECOND_US);
    debit(&limiter, &handle, &demand(&limits, &own, true, 1), 2 * SECOND_US);
    let saved = limiter.save(at(2 * SECOND_US));
    assert_eq!(saved, [SavedSubject { subject: account(1).saved(), state: GOLDEN.to_owned() }]);
}

#[test]
fn what_is_as_good_as_new_is_neither_saved_nor_kept_when_restored() {
    let limiter = limiter(100);
    let limits = bucket(60, Unit::Minute, 10);
    assert_eq!(admitted(&limiter, &seeded(&limiter, account(1), &limits), &limits, 3, 0), 3);
    assert_eq!(admitted(&limiter, &limiter.open(client(1)), &limits, 2, 0), 2);
    let saved = limiter.save(at(2 * SECOND_US));
    assert_eq!(saved.iter().map(|saved| saved.subject.clone()).collect::<Vec<_>>(), [account(1).saved()]);
    assert_eq!(limiter.save(at(3 * SECOND_US)), []);
    let restored = InProcess::default();
    assert_eq!(restored.restore(&saved, at(MINUTE_US)), 1);
    assert_eq!(restored.sweep(at(MINUTE_US)), 0);
}

#[test]
fn a_client_is_restored_with_the_quota_that_only_the_limiter_knows() {
    let limits = LimitSet { quota: Quota { limit: Some(5) }, ..bucket(60, Unit::Minute, 10) };
    let limiter = limiter(100);
    assert_eq!(admitted(&limiter, &limiter.open(client(1)), &limits, 4, 0), 4);
    let saved = limiter.save(at(MINUTE_US));
    let restored = InProcess::default();
    assert_eq!(restored.restore(&saved, at(MINUTE_US)), 1);
    // Swept twice before anybody calls, it is still there.
    restored.sweep(at(DAY_US));
    assert_eq!(restored.sweep(at(2 * DAY_US)), 1);
    assert_eq!(quota_used(&restored, client(1), &limits, 2 * DAY_US), Some(4));
    assert_eq!(admitted(&restored, &restored.open(client(1)), &limits, 4, 2 * DAY_US), 1);
}

#[test]
fn restoring_does_not_undo_what_has_been_counted_since_the_start() {
    let limiter = limiter(100);
    let limits = quota(10);
    let handle = seeded(&limiter, account(1), &limits);
    assert_eq!(admitted(&limiter, &handle, &limits, 4, 0), 4);
    let saved = [SavedSubject { subject: account(1).saved(), state: GOLDEN.to_owned() }];
    assert_eq!(limiter.restore(&saved, at(2 * SECOND_US)), 1);
    assert_eq!(quota_used(&limiter, account(1), &limits, 2 * SECOND_US), Some(4));
}

#[test]
fn more_clients_than_there_is_room_for_are_not_restored() {
    let limits = bucket(1, Unit::Day, 10);
    let large = limiter(1_000);
    for number in 0..500 {
        debit(&large, &large.open(client(number)), &one(&limits), 0);
    }
    let saved = large.save(at(0));
    assert_eq!(saved.len(), 500);
    let small = limiter(64);
    assert_eq!(small.restore(&saved, at(0)), 500);
    assert_eq!(small.sweep(at(0)), 64);
}

#[test]
fn garbled_texts_are_skipped_one_by_one() {
    let good = || (account(1).saved(), GOLDEN.to_owned());
    let with = |from: &str, to: &str| {
        assert!(GOLDEN.contains(from), "{from}");
        (account(2).saved(), GOLDEN.replacen(from, to, 1))
    };
    let garbled = [
        (String::new(), GOLDEN.to_owned()),
        ("key_0000000000000000000001".to_owned(), GOLDEN.to_owned()),
        ("client:".to_owned(), GOLDEN.to_owned()),
        ("client:1.2.3.4".to_owned(), GOLDEN.to_owned()),
        (account(2).saved(), String::new()),
        (account(2).saved(), "null".to_owned()),
        (account(2).saved(), GOLDEN[..GOLDEN.len() - 1].to_owned()),
        with(r#""v":1"#, r#""v":2"#),
        with(r#""tokens":1"#, r#""tokens":-1"#),
        with(r#""micros":1000000"#, r#""micros":0"#),
        with(r#""burst":10"#, r#""burst":18446744073709551615"#),
        with(r#""level":8000000"#, r#""level":10000001"#),
        with(r#""at":1772323202000000"#, r#""at":1772323202000001"#),
        with(r#""minute""#, r#""fortnight""#),
        with("[1772323202000000,2]", "[1772323202000001,2]"),
        with("[1772323202000000,2]", "[1772323200000000,2]"),
        with("[1772323202000000,2]", "[1772323202000000,9007199254740993]"),
        with(r#""key":"key_"#, r#""key":"acc_"#),
        with(r#""key":"key_032a5bVZ841fZA9JR0u4O1","#, ""),
    ];
    for (subject, state) in garbled {
        let limiter = limiter(100);
        let saved = [good(), (subject, state)].map(|(subject, state)| SavedSubject { subject, state });
        assert_eq!(limiter.restore(&saved, at(0)), 1, "{saved:?}");
        assert_eq!(limiter.save(at(2 * SECOND_US)), saved[..1], "{saved:?}");
    }
}
