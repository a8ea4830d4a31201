//! The order of the decision, one broken condition after the other.

use std::net::IpAddr;

use super::*;
use crate::account::{Ban, IpRules, KeyLimits, Supersession};
use crate::id::{AccountId, KeyId};
use crate::key::{HashedKey, KeyHash, MaskedKey};
use crate::plan::PlanName;
use crate::route::Glob;

const NOW: Timestamp = Timestamp::from_secs(1_772_366_400);

fn name(text: &str) -> PlanName {
    PlanName::new(text).expect("a good name")
}

fn plan(text: &str, rank: i64, api: bool) -> Plan {
    Plan { rank, api, ..Plan::unlimited(name(text)) }
}

fn table() -> PlanTable {
    let mut team = plan("team", 2, true);
    team.features.insert("llm".into());
    PlanTable::new([plan("free", 0, false), plan("pro", 1, true), team], Some(name("free")))
}

fn account(assigned: Option<&str>) -> Account {
    Account {
        id: AccountId::new(NOW, [1; 10]),
        email: "ada@example.com".into(),
        name: None,
        subject: None,
        created_at: NOW,
        assigned_plan: assigned.map(name),
        ban: None,
        deleted_at: None,
        rolling_anchor: NOW,
        assigned_until: None,
        stripe_customer: None,
        stripe_subscription: None,
        subscriptions: Vec::new(),
    }
}

fn key() -> Key {
    Key {
        id: KeyId::new(NOW, [2; 10]),
        account: AccountId::new(NOW, [1; 10]),
        lineage: KeyId::new(NOW, [2; 10]),
        hashed: HashedKey { hash: KeyHash::from_bytes([3; 32]), masked: MaskedKey::default() },
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

fn call(key: &Key, account: &Account, change: impl Fn(&mut AccessRequest<'_>)) -> Result<String, (Refusal, Reason)> {
    let route = RouteName::new("reports").expect("a good name");
    let client: IpAddr = "192.0.2.7".parse().expect("an address");
    let mut request =
        AccessRequest { route: &route, min_rank: None, feature: None, reads_only: true, client, now: NOW };
    change(&mut request);
    let entitlement = entitlement(account, &table(), NOW);
    decide(&request, key, account, &entitlement).map(|grant| grant.plan.name.to_string())
}

#[test]
fn an_active_key_of_a_paying_account_is_granted_its_plan() {
    assert_eq!(call(&key(), &account(Some("pro")), |_| {}), Ok("pro".into()));
}

#[test]
fn each_condition_refuses_with_its_own_code_and_earlier_ones_win() {
    let mut key = key();
    let mut account = account(Some("pro"));
    let demanding = |request: &mut AccessRequest<'_>| {
        request.min_rank = Some(2);
        request.feature = Some("llm");
        request.reads_only = false;
    };
    key.ip_rules.allow = vec!["10.0.0.0/8".parse().expect("a net")];
    assert_eq!(call(&key, &account, |_| {}), Err((Refusal::NotAllowed, Reason::ClientAddress)));
    key.read_only = true;
    let writes = |request: &mut AccessRequest<'_>| request.reads_only = false;
    assert_eq!(call(&key, &account, writes), Err((Refusal::NotAllowed, Reason::ReadOnly)));
    key.scopes = vec![Glob::new("events*").expect("a good glob")];
    assert_eq!(call(&key, &account, writes), Err((Refusal::NotAllowed, Reason::Scope)));
    let featured = |request: &mut AccessRequest<'_>| request.feature = Some("llm");
    assert_eq!(call(&key, &account, featured), Err((Refusal::UpgradeRequired, Reason::FeatureMissing)));
    assert_eq!(call(&key, &account, demanding), Err((Refusal::UpgradeRequired, Reason::PlanTooLow)));
    account.assigned_plan = None;
    assert_eq!(call(&key, &account, demanding), Err((Refusal::UpgradeRequired, Reason::PlanWithoutApi)));
    account.ban = Some(Ban { at: NOW, reason: None });
    assert_eq!(call(&key, &account, demanding), Err((Refusal::AccountDisabled, Reason::AccountBanned)));
    account.deleted_at = Some(NOW);
    assert_eq!(call(&key, &account, demanding), Err((Refusal::InvalidKey, Reason::AccountDeleted)));
    key.superseded = Some(Supersession { by: key.id, grace_until: NOW });
    assert_eq!(call(&key, &account, demanding), Err((Refusal::InvalidKey, Reason::RotatedOut)));
    key.expires_at = Some(NOW);
    assert_eq!(call(&key, &account, demanding), Err((Refusal::InvalidKey, Reason::Expired)));
    key.revoked_at = Some(NOW);
    assert_eq!(call(&key, &account, demanding), Err((Refusal::InvalidKey, Reason::Revoked)));
}

#[test]
fn a_replaced_key_works_until_the_instant_its_grace_ends() {
    let mut key = key();
    key.superseded = Some(Supersession { by: key.id, grace_until: NOW + 1 });
    assert_eq!(key.state(NOW), KeyState::InGrace);
    assert_eq!(key.state(NOW + 1), KeyState::RotatedOut);
}

#[test]
fn a_vanished_plan_counts_as_the_default_and_no_default_is_no_access() {
    assert_eq!(entitlement(&account(Some("gone")), &table(), NOW).plan().expect("the default").name, name("free"));
    let without_default = PlanTable::new([plan("pro", 1, true)], None);
    assert_eq!(entitlement(&account(Some("gone")), &without_default, NOW).access, Access::None(NoAccess::NoPlan));
}

#[test]
fn anonymous_callers_of_a_demanding_route_need_a_key_unless_their_plan_reaches() {
    let route = RouteName::new("tier").expect("a good name");
    let client: IpAddr = "192.0.2.7".parse().expect("an address");
    let request =
        AccessRequest { route: &route, min_rank: None, feature: Some("llm"), reads_only: true, client, now: NOW };
    let mut public = plan("public", 0, true);
    assert_eq!(decide_anonymous(&request, Some(&public)), Anonymous::KeyNeeded);
    assert_eq!(decide_anonymous(&request, None), Anonymous::KeyNeeded);
    public.features.insert("llm".into());
    assert_eq!(decide_anonymous(&request, Some(&public)), Anonymous::Served);
    assert_eq!(decide_anonymous(&AccessRequest { feature: None, ..request }, None), Anonymous::Served);
}

#[test]
fn a_denied_address_is_refused_even_where_it_is_allowed() {
    let net = |text: &str| text.parse().expect("a net");
    let rules = IpRules { allow: vec![net("10.0.0.0/8")], deny: vec![net("10.1.0.0/16")] };
    for (address, expected) in
        [("10.0.0.1", true), ("10.1.0.1", false), ("192.0.2.1", false), ("::ffff:10.0.0.1", true)]
    {
        assert_eq!(rules.admit(address.parse().expect("an address")), expected, "{address}");
    }
}

#[test]
fn a_key_works_until_the_first_of_its_ends() {
    let plain = key();
    assert_eq!(plain.works_until(), Timestamp::from_micros(i64::MAX));
    let superseded = Some(Supersession { by: plain.id, grace_until: NOW + 3 });
    let ended = Key { expires_at: Some(NOW + 5), revoked_at: Some(NOW + 4), superseded, ..plain };
    assert_eq!(ended.works_until(), NOW + 3);
    for (micros, works) in [(2, true), (3, false), (5, false)] {
        assert_eq!(ended.state(NOW + micros).works(), works);
        assert_eq!(NOW + micros < ended.works_until(), works);
    }
}
