//! The forms in which records of keys and accounts stand in Redis. They carry a version: what this program cannot
//! read, of a later version or damaged, counts as not being there. A raw key is in none of them.

use serde::{Deserialize, Serialize};
use tollgate_domain::{
    Account, Ban, Bucket, Glob, HashedKey, IpRules, Key, KeyHash, KeyLimits, MaskedKey, PlanName, Supersession,
    Timestamp,
};
use tollgate_store::SubscriptionForm;

/// The version of both forms. It changes with their meaning.
const VERSION: u32 = 1;

/// An instant, in microseconds since the epoch.
type Micros = i64;

#[derive(Serialize, Deserialize)]
struct KeyForm {
    version: u32,
    id: String,
    account: String,
    lineage: String,
    prefix: String,
    last_four: String,
    name: Option<String>,
    created_at: Micros,
    expires_at: Option<Micros>,
    revoked_at: Option<Micros>,
    superseded: Option<(String, Micros)>,
    scopes: Vec<String>,
    read_only: bool,
    allow: Vec<String>,
    deny: Vec<String>,
    /// Tokens, the microseconds they come in, the burst.
    bucket: Option<(u64, u64, u64)>,
    cap: Option<u64>,
    last_used_at: Option<Micros>,
}

#[derive(Serialize, Deserialize)]
struct AccountForm {
    version: u32,
    id: String,
    email: String,
    name: Option<String>,
    /// A record without it was written by a version that knew no subjects. It does not say that there is none, so it is
    /// not believed. That version in turn reads a record that has it.
    #[serde(deserialize_with = "Option::deserialize")]
    subject: Option<String>,
    created_at: Micros,
    assigned_plan: Option<String>,
    banned_at: Option<Micros>,
    ban_reason: Option<String>,
    deleted_at: Option<Micros>,
    rolling_anchor: Micros,
    assigned_until: Option<Micros>,
    stripe_customer: Option<String>,
    stripe_subscription: Option<String>,
    /// A record without them was written by a version that knew none, and is not believed.
    subscriptions: Vec<SubscriptionForm>,
}

/// Writes a key's record. Its hash is not in it: it is the name under which the record stands.
pub(crate) fn write_key(key: &Key) -> Vec<u8> {
    let form = KeyForm {
        version: VERSION,
        id: key.id.to_string(),
        account: key.account.to_string(),
        lineage: key.lineage.to_string(),
        prefix: key.hashed.masked.prefix.to_string(),
        last_four: key.hashed.masked.last_four.to_string(),
        name: key.name.clone(),
        created_at: key.created_at.as_micros(),
        expires_at: key.expires_at.map(Timestamp::as_micros),
        revoked_at: key.revoked_at.map(Timestamp::as_micros),
        superseded: key.superseded.map(|by| (by.by.to_string(), by.grace_until.as_micros())),
        scopes: key.scopes.iter().map(|scope| scope.as_str().into()).collect(),
        read_only: key.read_only,
        allow: key.ip_rules.allow.iter().map(ToString::to_string).collect(),
        deny: key.ip_rules.deny.iter().map(ToString::to_string).collect(),
        bucket: key.limits.bucket.map(|bucket| (bucket.tokens(), bucket.micros(), bucket.burst())),
        cap: key.limits.cap,
        last_used_at: key.last_used_at.map(Timestamp::as_micros),
    };
    serde_json::to_vec(&form).expect("text and numbers can be written as JSON")
}

/// Reads a key's record; `None` when this program cannot.
pub(crate) fn read_key(hash: &KeyHash, text: &[u8]) -> Option<Key> {
    let form: KeyForm = serde_json::from_slice(text).ok()?;
    if form.version != VERSION {
        return None;
    }
    let nets = |texts: Vec<String>| texts.iter().map(|text| text.parse().ok()).collect::<Option<Vec<_>>>();
    let superseded = match form.superseded {
        None => None,
        Some((by, until)) => Some(Supersession { by: by.parse().ok()?, grace_until: Timestamp::from_micros(until) }),
    };
    let bucket = match form.bucket {
        None => None,
        Some((tokens, micros, burst)) => Some(Bucket::from_parts(tokens, micros, burst)?),
    };
    Some(Key {
        id: form.id.parse().ok()?,
        account: form.account.parse().ok()?,
        lineage: form.lineage.parse().ok()?,
        hashed: HashedKey {
            hash: *hash,
            masked: MaskedKey { prefix: form.prefix.into(), last_four: form.last_four.into() },
        },
        name: form.name,
        created_at: Timestamp::from_micros(form.created_at),
        expires_at: form.expires_at.map(Timestamp::from_micros),
        revoked_at: form.revoked_at.map(Timestamp::from_micros),
        superseded,
        scopes: form.scopes.iter().map(|text| Glob::new(text)).collect::<Option<_>>()?,
        read_only: form.read_only,
        ip_rules: IpRules { allow: nets(form.allow)?, deny: nets(form.deny)? },
        limits: KeyLimits { bucket, cap: form.cap },
        last_used_at: form.last_used_at.map(Timestamp::from_micros),
    })
}

/// Writes an account's record.
pub(crate) fn write_account(account: &Account) -> Vec<u8> {
    let form = AccountForm {
        version: VERSION,
        id: account.id.to_string(),
        email: account.email.clone(),
        name: account.name.clone(),
        subject: account.subject.clone(),
        created_at: account.created_at.as_micros(),
        assigned_plan: account.assigned_plan.as_ref().map(|plan| plan.as_str().into()),
        banned_at: account.ban.as_ref().map(|ban| ban.at.as_micros()),
        ban_reason: account.ban.as_ref().and_then(|ban| ban.reason.clone()),
        deleted_at: account.deleted_at.map(Timestamp::as_micros),
        rolling_anchor: account.rolling_anchor.as_micros(),
        assigned_until: account.assigned_until.map(Timestamp::as_micros),
        stripe_customer: account.stripe_customer.clone(),
        stripe_subscription: account.stripe_subscription.clone(),
        subscriptions: account.subscriptions.iter().map(SubscriptionForm::from).collect(),
    };
    serde_json::to_vec(&form).expect("text and numbers can be written as JSON")
}

/// Reads an account's record; `None` when this program cannot.
pub(crate) fn read_account(text: &[u8]) -> Option<Account> {
    let form: AccountForm = serde_json::from_slice(text).ok()?;
    if form.version != VERSION {
        return None;
    }
    let assigned_plan = match form.assigned_plan {
        None => None,
        Some(name) => Some(PlanName::new(&name)?),
    };
    Some(Account {
        id: form.id.parse().ok()?,
        email: form.email,
        name: form.name,
        subject: form.subject,
        created_at: Timestamp::from_micros(form.created_at),
        assigned_plan,
        ban: form.banned_at.map(|at| Ban { at: Timestamp::from_micros(at), reason: form.ban_reason }),
        deleted_at: form.deleted_at.map(Timestamp::from_micros),
        rolling_anchor: Timestamp::from_micros(form.rolling_anchor),
        assigned_until: form.assigned_until.map(Timestamp::from_micros),
        stripe_customer: form.stripe_customer,
        stripe_subscription: form.stripe_subscription,
        subscriptions: form.subscriptions.into_iter().map(SubscriptionForm::read).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use tollgate_domain::{
        AccountId, KeyHasher, KeyId, KeyPrefix, Period, PlainKey, Subscription, SubscriptionItem, SubscriptionStatus,
        Withheld, WithheldCause,
    };

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_772_366_400 + seconds)
    }

    fn account() -> Account {
        Account {
            id: AccountId::new(at(0), [1; 10]),
            email: "ada@example.com".into(),
            name: Some("Ada \"the first\"".into()),
            subject: Some("auth0|1".into()),
            created_at: at(0),
            assigned_plan: PlanName::new("pro"),
            ban: Some(Ban { at: at(5), reason: None }),
            deleted_at: Some(at(6)),
            rolling_anchor: at(-9),
            assigned_until: Some(at(8)),
            stripe_customer: Some("cus_1".into()),
            stripe_subscription: None,
            subscriptions: vec![subscription(Period { start: at(1), end: at(2) })],
        }
    }

    fn subscription(period: Period) -> Subscription {
        Subscription {
            id: "sub_1".into(),
            status: SubscriptionStatus::PastDue,
            created_at: at(1),
            items: vec![SubscriptionItem { id: "si_1".into(), price: "price_pro".into(), period }],
            plan_price: Some("price_pro".into()),
            failing_since: Some(at(3)),
            cancel_at: Some(at(4)),
            trial_end: Some(at(2)),
            withheld: Some(Withheld { at: at(5), cause: WithheldCause::Dispute }),
        }
    }

    fn key() -> Key {
        let plain = PlainKey::generate(&KeyPrefix::new("tg_live").expect("a good prefix"), [3; 32]);
        Key {
            id: KeyId::new(at(0), [2; 10]),
            account: AccountId::new(at(0), [1; 10]),
            lineage: KeyId::new(at(-5), [3; 10]),
            hashed: plain.hashed(&KeyHasher::new(None)),
            name: None,
            created_at: at(0),
            expires_at: Some(at(50)),
            revoked_at: Some(at(51)),
            superseded: Some(Supersession { by: KeyId::new(at(1), [4; 10]), grace_until: at(60) }),
            scopes: vec![Glob::new("events-*").expect("a good glob")],
            read_only: true,
            ip_rules: IpRules {
                allow: vec!["10.0.0.0/8".parse().expect("a net"), "2001:db8::/32".parse().expect("a net")],
                deny: vec!["10.1.2.3/32".parse().expect("a net")],
            },
            limits: KeyLimits { bucket: Bucket::from_parts(1, 100_000, 60), cap: Some(u64::MAX) },
            last_used_at: Some(at(7)),
        }
    }

    #[test]
    fn records_read_back_whole() {
        let (key, account) = (key(), account());
        assert_eq!(read_key(&key.hashed.hash, &write_key(&key)), Some(key.clone()));
        assert_eq!(read_account(&write_account(&account)), Some(account));
        let bare = Key {
            expires_at: None,
            revoked_at: None,
            superseded: None,
            scopes: Vec::new(),
            ip_rules: IpRules::default(),
            limits: KeyLimits::default(),
            last_used_at: None,
            ..key
        };
        assert_eq!(read_key(&bare.hashed.hash, &write_key(&bare)), Some(bare));
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        let (key, account) = (key(), account());
        let hash = key.hashed.hash;
        let key_text = String::from_utf8(write_key(&key)).expect("JSON is text");
        let account_text = String::from_utf8(write_account(&account)).expect("JSON is text");
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"id\":\"key_", "\"id\":\"acc_"),
            ("10.0.0.0/8", "10.0.0.0/99"),
            ("events-*", ""),
            ("100000,60", "0,60"),
            ("\"read_only\":true,", ""),
        ] {
            assert!(key_text.contains(from), "{from}");
            assert_eq!(read_key(&hash, key_text.replace(from, to).as_bytes()), None, "{from} -> {to}");
        }
        for (from, to) in [("\"version\":1", "\"version\":9"), ("\"pro\"", "\"\"")] {
            assert!(account_text.contains(from), "{from}");
            assert_eq!(read_account(account_text.replace(from, to).as_bytes()), None, "{from} -> {to}");
        }
        assert_eq!(read_account(b"-"), None);
        assert_eq!(read_key(&hash, &[0xff, 0]), None);
    }

    #[test]
    fn an_account_without_a_word_about_its_subject_is_read_again_and_one_without_a_subject_is_not() {
        let without = Account { subject: None, ..account() };
        let text = String::from_utf8(write_account(&without)).expect("JSON is text");
        assert_eq!(read_account(text.as_bytes()), Some(without));
        let old = text.replace("\"subject\":null,", "");
        assert!(old.len() < text.len() && read_account(old.as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn any_texts_and_instants_read_back(
            (email, word) in (".{0,40}", ".{0,20}"),
            (name, subject, reason, customer) in (option::of(".{0,20}"), option::of(".{0,20}"), option::of(".{0,9}"), option::of(".{0,9}")),
            (one, other) in any::<(i64, i64)>(),
            (is_read_only, cap) in any::<(bool, Option<u64>)>(),
        ) {
            let (one, other) = (Timestamp::from_micros(one), Timestamp::from_micros(other));
            let account = Account {
                email,
                name: name.clone(),
                subject,
                created_at: one,
                ban: Some(Ban { at: other, reason }),
                rolling_anchor: other,
                assigned_until: Some(other),
                subscriptions: Vec::new(),
                stripe_customer: customer,
                ..account()
            };
            prop_assert_eq!(read_account(&write_account(&account)), Some(account));
            let key = key();
            let masked = MaskedKey { prefix: word.clone().into(), last_four: word.into() };
            let key = Key {
                hashed: HashedKey { masked, ..key.hashed.clone() },
                name,
                created_at: one,
                expires_at: Some(other),
                read_only: is_read_only,
                limits: KeyLimits { cap, ..key.limits },
                ..key
            };
            prop_assert_eq!(read_key(&key.hashed.hash, &write_key(&key)), Some(key));
        }
    }
}
