use std::sync::Arc;

use tollgate_config::{MinPlan, Route};
use tollgate_domain::{
    AccountId, Ban, Glob, HashedKey, KeyHasher, KeyId, KeyLimits, KeyPrefix, MeterName, PlainKey, Plan, Subscription,
    SubscriptionStatus, Supersession, entitlement,
};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_773_144_000);

fn key() -> Key {
    let plain = PlainKey::generate(&KeyPrefix::new("tg_live").expect("a good prefix"), [7; 32]);
    let hashed: HashedKey = plain.hashed(&KeyHasher::new(None));
    let id = KeyId::new(NOW, [1; 10]);
    Key {
        id,
        account: AccountId::new(NOW, [2; 10]),
        lineage: id,
        hashed,
        name: None,
        created_at: NOW,
        expires_at: None,
        revoked_at: None,
        superseded: None,
        scopes: Vec::new(),
        read_only: false,
        ip_rules: IpRules::default(),
        limits: KeyLimits::default(),
        last_used_at: None,
    }
}

fn account(plan: Option<&str>) -> Account {
    Account {
        id: AccountId::new(NOW, [2; 10]),
        email: "ada@example.com".into(),
        name: None,
        subject: None,
        created_at: NOW,
        assigned_plan: plan.and_then(PlanName::new),
        ban: None,
        deleted_at: None,
        rolling_anchor: NOW,
        assigned_until: None,
        stripe_customer: None,
        stripe_subscription: None,
        subscriptions: Vec::new(),
    }
}

fn plans() -> PlanTable {
    let plan = |name: &str| Plan::unlimited(PlanName::new(name).expect("a good name"));
    PlanTable::new([Plan { rank: 1, ..plan("pro") }, Plan { api: false, ..plan("free") }], None)
}

fn limit(kind: &'static str, has_units: bool, resets_at: &str) -> LimitView {
    LimitView::of_test(kind, kind, has_units, resets_at)
}

fn judge(key: &Key, account: &Account, limits: &[LimitView], is_enforced: bool) -> Judgement {
    let plans = plans();
    let entitlement = entitlement(account, &plans, NOW);
    verdict(&Facts {
        key,
        account,
        entitlement: &entitlement,
        limits,
        plans: &plans,
        invalid_key_status: 401,
        is_enforced,
        now: NOW,
    })
}

#[test]
fn each_cause_gives_the_gateways_code_and_its_own_words() {
    let pro = account(Some("pro"));
    let ended = Supersession { by: KeyId::new(NOW, [9; 10]), grace_until: NOW };
    let unpaid = Subscription {
        id: "sub_1".into(),
        status: SubscriptionStatus::Unpaid,
        created_at: NOW,
        items: Vec::new(),
        plan_price: None,
        failing_since: None,
        cancel_at: None,
        trial_end: None,
        withheld: None,
    };
    let lapsed = Account { subscriptions: vec![unpaid], ..account(None) };
    let banned = Account { ban: Some(Ban { at: NOW, reason: Some("abuse".into()) }), ..pro.clone() };
    for (key, account, status, code, reason, part) in [
        (Key { revoked_at: Some(NOW), ..key() }, pro.clone(), 401, "invalid_key", "revoked", "at 2026-03-10T12:00:00Z"),
        (Key { superseded: Some(ended), ..key() }, pro.clone(), 401, "invalid_key", "rotated_out", "its grace ended"),
        (Key { expires_at: Some(NOW), ..key() }, pro.clone(), 401, "invalid_key", "expired", "expired at 2026"),
        (key(), Account { deleted_at: Some(NOW), ..pro.clone() }, 401, "invalid_key", "account_deleted", "deleted"),
        (key(), banned, 403, "account_disabled", "account_banned", ": abuse"),
        (key(), lapsed, 402, "upgrade_required", "lapsed", "the subscription sub_1 is unpaid: Stripe gave up"),
        (key(), account(None), 402, "upgrade_required", "no_plan", "no `default_plan`"),
        (key(), account(Some("free")), 402, "upgrade_required", "plan_without_api", "`free` does not include"),
    ] {
        let verdict = judge(&key, &account, &[], true);
        assert_eq!((verdict.verdict, verdict.status, verdict.code), ("refused", Some(status), Some(code)));
        assert_eq!(verdict.reasons[0].reason, reason);
        assert!(verdict.reasons[0].detail.contains(part), "{}", verdict.reasons[0].detail);
    }
}

#[test]
fn of_several_spent_limits_the_one_that_resets_last_decides() {
    let (soon, late) = ("2026-03-10T12:00:00.5Z", "2026-04-01T00:00:00Z");
    let pro = account(Some("pro"));
    for (limits, code, reasons) in [
        (
            vec![limit("bucket", false, soon), limit("quota", false, late)],
            Some("quota_exceeded"),
            vec!["quota", "burst"],
        ),
        (
            vec![limit("window", false, late), limit("quota", false, soon)],
            Some("rate_limited"),
            vec!["window", "quota"],
        ),
        (vec![limit("bucket", false, soon), limit("quota", true, late)], Some("rate_limited"), vec!["burst"]),
        (vec![limit("bucket", true, soon), limit("meter", false, late)], None, vec!["admitted"]),
    ] {
        let verdict = judge(&key(), &pro, &limits, true);
        assert_eq!(verdict.code, code);
        assert_eq!(verdict.reasons.iter().map(|reason| reason.reason).collect::<Vec<_>>(), reasons);
    }
}

#[test]
fn where_limits_are_not_enforced_only_keys_and_bans_refuse() {
    let pro = account(Some("pro"));
    let spent = [limit("quota", false, "2026-04-01T00:00:00Z")];
    assert_eq!(judge(&key(), &pro, &spent, false).verdict, "allowed_unenforced");
    assert_eq!(judge(&key(), &account(Some("free")), &[], false).verdict, "allowed_unenforced");
    assert_eq!(judge(&Key { revoked_at: Some(NOW), ..key() }, &pro, &[], false).verdict, "refused");
    assert_eq!(judge(&key(), &pro, &[], false).verdict, "allowed");
}

#[test]
fn what_depends_on_the_call_is_a_condition_and_told_route_by_route() {
    let pro = account(Some("pro"));
    let ip_rules = IpRules { allow: vec!["10.0.0.0/8".parse().expect("a net")], deny: Vec::new() };
    let scopes = vec![Glob::new("events*").expect("a good glob")];
    let key = Key { scopes, read_only: true, ip_rules, ..key() };
    let verdict = judge(&key, &pro, &[limit("tokens", true, "2026-04-01T00:00:00Z")], true);
    assert_eq!(verdict.verdict, "allowed");
    assert_eq!(verdict.conditions.len(), 3, "{:?}", verdict.conditions);
    assert!(verdict.conditions[0].contains("events*") && verdict.conditions[2].contains("10.0.0.0/8"));
}

#[test]
fn routes_tell_by_plan_feature_scope_and_meter_whether_they_are_open() {
    let named = |name: &str| Route { name: RouteName::new(name).expect("a good name"), ..Route::unmatched(0) };
    let team = PlanName::new("team").expect("a good name");
    let table = [
        named("events"),
        Route { access: Access::Public, ..named("public-feed") },
        Route { min_plan: Some(MinPlan { name: team, rank: 2 }), ..named("reports") },
        Route { feature: Some("llm".into()), ..named("chat") },
        Route { meter: MeterName::new("tokens"), ..named("embed") },
    ];
    let pro = account(Some("pro"));
    let entitlement = entitlement(&pro, &plans(), NOW);
    let limits = [LimitView::of_test("tokens", "meter", false, "2026-04-01T00:00:00Z")];
    let facts = Facts {
        key: &key(),
        account: &pro,
        entitlement: &entitlement,
        limits: &limits,
        plans: &plans(),
        invalid_key_status: 403,
        is_enforced: true,
        now: NOW,
    };
    let told: Vec<_> =
        routes(&table, &facts).into_iter().map(|route| (route.route, route.code, route.reason)).collect();
    let expected = [
        ("events", None, None),
        ("reports", Some("upgrade_required"), Some("plan_too_low")),
        ("chat", Some("upgrade_required"), Some("feature_missing")),
        ("embed", Some("quota_exceeded"), Some("meter")),
        ("unmatched", None, None),
    ];
    assert_eq!(told, expected.map(|(name, code, reason)| (name.to_owned(), code, reason)));
    let scoped = Key { scopes: vec![Glob::new("chat").expect("a good glob")], ..key() };
    let told = routes(&table[..1], &Facts { key: &scoped, ..facts });
    assert_eq!(told[0].reason, Some("scope"));
}

#[test]
fn every_word_of_the_access_log_has_a_sentence() {
    let other = sentence_of_word("…");
    for reason in [
        Reason::NoKey,
        Reason::TwoKeys,
        Reason::Malformed,
        Reason::Unknown,
        Reason::Revoked,
        Reason::RotatedOut,
        Reason::Expired,
        Reason::AccountDeleted,
        Reason::AccountBanned,
        Reason::NoPlan,
        Reason::Lapsed,
        Reason::PlanWithoutApi,
        Reason::PlanTooLow,
        Reason::FeatureMissing,
        Reason::Scope,
        Reason::ReadOnly,
        Reason::ClientAddress,
        Reason::Burst,
        Reason::Window,
        Reason::Quota,
        Reason::Meter,
        Reason::NoToken,
        Reason::BadToken,
        Reason::Unavailable,
    ] {
        assert_ne!(sentence_of_word(reason.as_str()), other, "{reason:?}");
    }
}

#[test]
fn a_plan_is_named_where_there_is_one() {
    let plan = Arc::new(Plan::unlimited(PlanName::new("pro").expect("a good name")));
    assert_eq!((plan_name(Some(&plan)), plan_name(None)), ("pro", "none"));
}
