//! Imports of existing keys and accounts: all or none, and what was used elsewhere is used here.

use std::sync::Arc;

use tollgate_domain::{Account, Charged, DAY_US, KeyState, Period, Plan, PlanTable, QuotaPeriod, Timestamp};
use tollgate_store::{AuditQuery, Change, ImportReport, ImportedAccount, ImportedKey, QuotaUsed, SeedQuery, Store};

use crate::fixture::{
    account_id, at, audit, batch, calls, hash, hour, key_id, make_account, make_key, march, plan, store_new,
};

crate::backend::on_every_backend! {
    imported_keys_work_and_what_they_used_is_charged,
    keys_of_one_account_add_up_their_use,
    a_key_that_is_known_is_left_alone_and_its_use_too,
    a_file_imported_again_may_bring_plans,
    a_deleted_owner_does_not_come_back,
    use_of_a_cycle_that_is_over_counts_nothing,
    the_earliest_cycle_moves_the_anchor_of_a_new_account_only,
    a_failed_import_leaves_nothing,
    imported_use_follows_the_plans_definition,
    accounts_are_made_and_given_what_the_file_tells,
    an_import_of_nothing_is_told_of,
}

fn imported(number: u8, email: &str) -> ImportedKey {
    ImportedKey {
        id: key_id(number),
        hash: hash(number),
        email: email.into(),
        account_id_if_new: account_id(number),
        plan: Some(plan("pro")),
        name: Some(format!("old {number}")),
        revoked: false,
        cap: None,
        used: 0,
        cycle_start: None,
        expires_at: None,
    }
}

fn table(definition: QuotaPeriod) -> PlanTable {
    let pro = Plan { quota_period: definition, ..Plan::unlimited(plan("pro")) };
    PlanTable::new([pro, Plan::unlimited(plan("team"))], None)
}

async fn import(store: &dyn Store, keys: &[ImportedKey]) -> ImportReport {
    let plans = table(QuotaPeriod::Calendar);
    store.import_keys(keys, &plans, at(0), &audit("keys.import")).await.expect("the store answers")
}

async fn used(store: &dyn Store, account: u8, key: u8) -> QuotaUsed {
    store.quota_used(account_id(account), Some(key_id(key)), march()).await.expect("the store answers")
}

async fn imported_keys_work_and_what_they_used_is_charged(store: Arc<dyn Store>) {
    let first = ImportedKey {
        cap: Some(100),
        used: 40,
        cycle_start: Some(at(-1_000)),
        expires_at: Some(at(9_000)),
        ..imported(1, "a@example.com")
    };
    let second = ImportedKey { revoked: true, used: 2, plan: None, ..imported(2, "b@example.com") };
    let report = import(&*store, &[first, second]).await;
    let usage = |number, units, position| Change::Usage {
        account: account_id(number),
        of: Charged::Calls { key: Some(key_id(number)) },
        period: march(),
        units,
        position,
    };
    let expected = ImportReport {
        accounts_created: 2,
        accounts_updated: 0,
        keys_created: 2,
        keys_known: 0,
        changes: vec![
            Change::Key(hash(1)),
            Change::Key(hash(2)),
            Change::Account(account_id(1)),
            Change::Account(account_id(2)),
            usage(1, 40, 1),
            usage(2, 2, 2),
        ],
    };
    assert_eq!(report, expected);

    let found = store.find_key(&hash(1)).await.expect("the store answers").expect("it is there");
    assert_eq!((found.key.state(at(0)), found.key.limits.cap), (KeyState::Active, Some(100)));
    assert_eq!((found.key.expires_at, found.key.name.as_deref()), (Some(at(9_000)), Some("old 1")));
    assert_eq!((&*found.account.email, &found.account.assigned_plan), ("a@example.com", &Some(plan("pro"))));
    let revoked = store.find_key(&hash(2)).await.expect("the store answers").expect("it is there");
    assert_eq!((revoked.key.state(at(0)), revoked.account.assigned_plan), (KeyState::Revoked, None));
    assert_eq!(used(&*store, 1, 1).await, QuotaUsed { account: 40, key: 40, calls: 0 });

    let query = SeedQuery {
        account: account_id(1),
        key: Some(key_id(1)),
        meter: None,
        since: hour(-999),
        resolution_us: 1,
        period: march(),
    };
    let seed = store.seed(&query).await.expect("the store answers");
    assert_eq!(seed.account.debits, [], "buckets and windows are not debited");
    assert_eq!(seed.account.quota.map(|quota| quota.used), Some(40));
    assert_eq!(seed.key.and_then(|(_, spending)| spending.quota).map(|quota| quota.used), Some(40));
}

async fn keys_of_one_account_add_up_their_use(store: Arc<dyn Store>) {
    let keys = [
        ImportedKey { used: 5, ..imported(1, "A@example.com") },
        ImportedKey { used: 7, ..imported(2, "a@EXAMPLE.com") },
    ];
    let report = import(&*store, &keys).await;
    assert_eq!((report.accounts_created, report.accounts_updated, report.keys_created), (1, 0, 2));
    assert_eq!(used(&*store, 1, 2).await, QuotaUsed { account: 12, key: 7, calls: 0 });
    assert_eq!(store.account(account_id(2)).await.expect("the store answers"), None, "one e-mail is one account");
}

async fn a_key_that_is_known_is_left_alone_and_its_use_too(store: Arc<dyn Store>) {
    let first = ImportedKey { used: 5, ..imported(1, "a@example.com") };
    import(&*store, std::slice::from_ref(&first)).await;
    let before = store.find_key(&hash(1)).await.expect("the store answers");
    let again = ImportedKey { name: Some("other".into()), revoked: true, used: 9, plan: None, ..first.clone() };
    let twice_in_one_file = ImportedKey { id: key_id(3), ..imported(2, "a@example.com") };
    let report = import(&*store, &[again, imported(2, "a@example.com"), twice_in_one_file]).await;
    assert_eq!((report.keys_created, report.keys_known), (1, 2));
    assert_eq!(store.find_key(&hash(1)).await.expect("the store answers"), before);
    assert_eq!(used(&*store, 1, 1).await.account, 5);
}

async fn a_file_imported_again_may_bring_plans(store: Arc<dyn Store>) {
    let first = ImportedKey { plan: None, ..imported(1, "a@example.com") };
    import(&*store, std::slice::from_ref(&first)).await;
    let report = import(&*store, &[ImportedKey { plan: Some(plan("team")), ..first }]).await;
    assert_eq!((report.accounts_updated, report.keys_known), (1, 1));
    assert_eq!(report.changes, [Change::Account(account_id(1))]);
    let account = store.account(account_id(1)).await.expect("the store answers").expect("it is there");
    assert_eq!(account.assigned_plan, Some(plan("team")));
}

async fn a_deleted_owner_does_not_come_back(store: Arc<dyn Store>) {
    let first = imported(1, "a@example.com");
    import(&*store, std::slice::from_ref(&first)).await;
    store.delete_account(account_id(1), at(1), &audit("account.delete")).await.expect("the store answers");
    let report = import(&*store, &[ImportedKey { account_id_if_new: account_id(2), ..first }]).await;
    assert_eq!(report, ImportReport { keys_known: 1, ..ImportReport::default() });
    assert_eq!(store.account_by_email("a@example.com").await.expect("the store answers"), None);
}

async fn use_of_a_cycle_that_is_over_counts_nothing(store: Arc<dyn Store>) {
    let cycles = [(1, 30 * DAY_US, 8), (2, 30 * DAY_US + 1, 0), (3, 0, 8), (4, -DAY_US, 8)];
    let keys = cycles.map(|(number, age_us, _)| ImportedKey {
        used: 8,
        cycle_start: Some(at(0).plus_micros(-age_us)),
        ..imported(number, &format!("{number}@example.com"))
    });
    let report = import(&*store, &keys).await;
    assert_eq!(report.changes.iter().filter(|change| matches!(change, Change::Usage { .. })).count(), 3);
    for (number, age_us, expected) in cycles {
        assert_eq!(used(&*store, number, number).await.account, expected, "{age_us}");
    }
}

async fn the_earliest_cycle_moves_the_anchor_of_a_new_account_only(store: Arc<dyn Store>) {
    let old = make_account(&*store, 9).await;
    let with_cycle = |number, email: &str, secs| ImportedKey { cycle_start: Some(at(secs)), ..imported(number, email) };
    import(
        &*store,
        &[
            with_cycle(1, "new@example.com", -500),
            with_cycle(2, "new@example.com", -900),
            with_cycle(3, "new@example.com", -700),
            imported(4, "new@example.com"),
            with_cycle(5, &old.email, -900),
            imported(6, "plain@example.com"),
        ],
    )
    .await;
    for (account, anchor) in [(account_id(1), at(-900)), (old.id, at(0)), (account_id(6), at(0))] {
        let account = store.account(account).await.expect("the store answers").expect("it is there");
        assert_eq!(account.rolling_anchor, anchor, "{}", account.email);
    }
    import(&*store, &[with_cycle(7, "new@example.com", -2_000)]).await;
    let account = store.account(account_id(1)).await.expect("the store answers").expect("it is there");
    assert_eq!(account.rolling_anchor, at(-900), "a later import finds the account there");
}

async fn a_failed_import_leaves_nothing(store: Arc<dyn Store>) {
    let keys = [
        ImportedKey { used: 5, ..imported(1, "a@example.com") },
        imported(2, "b@example.com"),
        ImportedKey { id: key_id(1), ..imported(3, "c@example.com") },
    ];
    let plans = table(QuotaPeriod::Calendar);
    store.import_keys(&keys, &plans, at(0), &audit("keys.import")).await.expect_err("two keys of one id");
    assert_eq!(store.accounts(None, 10).await.expect("the store answers").items, []);
    assert_eq!(store.keys(None, None, 10).await.expect("the store answers").items, []);
    assert_eq!(used(&*store, 1, 1).await, QuotaUsed::default());
    let trail = store.audit(&AuditQuery { limit: 10, ..AuditQuery::default() }).await.expect("the store answers");
    assert_eq!(trail, [], "a failed change leaves no line");
}

async fn imported_use_follows_the_plans_definition(store: Arc<dyn Store>) {
    let cycle_start: Timestamp = hour(-48);
    let line = ImportedKey { used: 5, cycle_start: Some(cycle_start), ..imported(1, "a@example.com") };
    let plans = table(QuotaPeriod::Rolling30Days);
    let report = store.import_keys(&[line], &plans, at(0), &audit("keys.import")).await.expect("the store answers");
    let rolling = Period { start: cycle_start, end: cycle_start.plus_micros(30 * DAY_US) };
    let usage = Change::Usage {
        account: account_id(1),
        of: Charged::Calls { key: Some(key_id(1)) },
        period: rolling,
        units: 5,
        position: 1,
    };
    assert_eq!(report.changes.last(), Some(&usage));

    // An account that calls already keeps what it used, and the import adds to it.
    let account = make_account(&*store, 2).await;
    make_key(&*store, 2, account.id).await;
    store_new(&*store, &batch(1, at(-10), vec![calls(2, 2, 3)])).await;
    let line = ImportedKey { used: 7, plan: None, ..imported(3, &account.email) };
    store.import_keys(&[line], &plans, at(0), &audit("keys.import")).await.expect("the store answers");
    assert_eq!(used(&*store, 2, 3).await, QuotaUsed { account: 10, key: 7, calls: 3 });
}

async fn accounts_are_made_and_given_what_the_file_tells(store: Arc<dyn Store>) {
    let old = make_account(&*store, 1).await;
    let line = |number: u8, email: &str| ImportedAccount {
        id: account_id(number),
        email: email.into(),
        name: None,
        plan: None,
        stripe_customer: None,
        stripe_subscription: None,
    };
    let lines = [
        ImportedAccount { stripe_customer: Some("cus_1".into()), ..line(2, &old.email.to_uppercase()) },
        ImportedAccount {
            name: Some("New".into()),
            plan: Some(plan("pro")),
            stripe_customer: Some("cus_2".into()),
            stripe_subscription: Some("sub_2".into()),
            ..line(3, "new@example.com")
        },
        ImportedAccount { plan: Some(plan("team")), ..line(4, "new@example.com") },
    ];
    let report = store.import_accounts(&lines, at(7), &audit("accounts.import")).await.expect("the store answers");
    let changes = vec![Change::Account(old.id), Change::Account(account_id(3))];
    assert_eq!(report, ImportReport { accounts_created: 1, accounts_updated: 1, changes, ..ImportReport::default() });
    let kept = Account { stripe_customer: Some("cus_1".into()), ..old.clone() };
    assert_eq!(store.account(old.id).await.expect("the store answers"), Some(kept));
    let made = store.account_by_email("new@example.com").await.expect("the store answers").expect("it was made");
    assert_eq!((made.id, made.name.as_deref(), made.created_at), (account_id(3), Some("New"), at(7)));
    assert_eq!(made.assigned_plan, Some(plan("team")), "a later line of the file adds to an earlier one");
    assert_eq!(made.stripe_subscription.as_deref(), Some("sub_2"));
}

async fn an_import_of_nothing_is_told_of(store: Arc<dyn Store>) {
    assert_eq!(import(&*store, &[]).await, ImportReport::default());
    let trail = store.audit(&AuditQuery { limit: 10, ..AuditQuery::default() }).await.expect("the store answers");
    assert_eq!(trail.iter().map(|entry| &*entry.action).collect::<Vec<_>>(), ["keys.import"]);
}
