//! Signing in: links that open once, sessions, secrets that all agree on, and whose token is whose account.

use std::sync::Arc;

use tollgate_domain::{Account, AccountId, HOUR_US, MINUTE_US, Timestamp};
use tollgate_store::{
    AccountPatch, AdminStore, AuditQuery, Change, CreateAccount, Identified, Link, LinkPurpose, NewAccount, SecretHash,
    Session, SubjectAccount, UpdateAccount,
};

use crate::fixture::{account_id, at, at_once, audit, hour, make_account, make_key, new_account, told};

crate::backend::on_every_backend! {
    a_link_opens_once_however_many_try_at_once,
    a_link_that_is_expired_or_unknown_opens_nothing,
    an_address_is_sent_no_more_links_an_hour_than_it_may_be,
    a_session_is_its_accounts_until_it_ends,
    processes_agree_on_a_secret,
    a_subject_is_known_joined_made_or_refused,
    a_subject_that_comes_twice_at_once_is_one_account,
    an_address_that_a_token_only_claims_goes_to_whoever_proves_it,
    a_token_that_vouches_for_its_address_proves_it,
    who_loses_a_claimed_address_keeps_everything_else,
    an_account_is_changed_as_asked,
    an_address_is_taken_by_one_account_only,
}

fn hash(number: u8) -> SecretHash {
    [number; 32]
}

fn link(email: &str, created_at: Timestamp) -> Link {
    Link {
        purpose: LinkPurpose::SignIn,
        email: email.into(),
        account: None,
        created_at,
        expires_at: created_at.plus_micros(15 * MINUTE_US),
    }
}

async fn a_link_opens_once_however_many_try_at_once(store: Arc<dyn AdminStore>) {
    let links = [
        link("Ada@example.com", at(0)),
        Link { purpose: LinkPurpose::NewEmail, account: Some(account_id(1)), ..link("b@example.com", at(0)) },
    ];
    for (number, link) in (1..).zip(&links) {
        assert!(store.create_link(&hash(number), link, 5).await.expect("the store answers"));
        let taken = at_once(16, |_| {
            let store = Arc::clone(&store);
            async move { store.take_link(&hash(number), at(1)).await }
        })
        .await;
        let opened: Vec<_> = taken.into_iter().flatten().collect();
        assert_eq!(opened, std::slice::from_ref(link), "exactly one has it");
    }
}

async fn a_link_that_is_expired_or_unknown_opens_nothing(store: Arc<dyn AdminStore>) {
    let made = link("ada@example.com", at(0));
    store.create_link(&hash(1), &made, 5).await.expect("the store answers");
    for (which, now) in [(2, at(0)), (1, made.expires_at), (1, made.expires_at + HOUR_US)] {
        assert_eq!(store.take_link(&hash(which), now).await.expect("the store answers"), None, "{which} {now}");
    }
    let last = made.expires_at + -1;
    assert_eq!(store.take_link(&hash(1), last).await.expect("the store answers"), Some(made), "until its last instant");
}

async fn an_address_is_sent_no_more_links_an_hour_than_it_may_be(store: Arc<dyn AdminStore>) {
    let sent = at_once(24, |number| {
        let store = Arc::clone(&store);
        let email = if number % 2 == 0 { "ada@example.com" } else { "ADA@example.com" };
        async move { store.create_link(&hash(number), &link(email, at(0)), 5).await }
    })
    .await;
    assert_eq!(sent.iter().filter(|sent| **sent).count(), 5);
    let first = (1..).zip(&sent).find(|(_, sent)| **sent).expect("some were sent").0;
    store.take_link(&hash(first), at(1)).await.expect("the store answers").expect("it opens");
    store.prune(at(0), at(0), hour(1)).await.expect("the store answers");
    let again = async |email, now| {
        let number = u8::try_from(now % 200).expect("a small number") + 50;
        store.create_link(&hash(number), &link(email, at(now)), 5).await.expect("the store answers")
    };
    assert!(!again("ada@example.com", 3_599).await, "one that was used counts, and nothing throws it away so soon");
    assert!(again("eve@example.com", 3_599).await, "each address by itself");
    assert!(again("ada@example.com", 3_600).await, "an hour later");
}

async fn a_session_is_its_accounts_until_it_ends(store: Arc<dyn AdminStore>) {
    let account = make_account(&*store, 1).await;
    let session = Session { account: account.id, created_at: at(0), expires_at: at(100) };
    for number in [1, 2] {
        store.create_session(&hash(number), &session).await.expect("the store answers");
    }
    let read = async |number, now| store.session(&hash(number), now).await.expect("the store answers");
    assert_eq!(read(1, at(99)).await, Some((session.clone(), account)));
    assert_eq!(read(1, at(100)).await, None, "it has expired");
    assert_eq!(read(3, at(0)).await, None);
    for _ in 0..2 {
        store.end_session(&hash(1)).await.expect("the store answers");
    }
    assert_eq!(read(1, at(0)).await, None, "it was ended");
    assert!(read(2, at(0)).await.is_some(), "the other was not");
}

async fn processes_agree_on_a_secret(store: Arc<dyn AdminStore>) {
    let secrets = at_once(16, |number| {
        let store = Arc::clone(&store);
        async move { store.shared_secret("csrf", &[number; 32]).await }
    })
    .await;
    assert!(secrets.iter().all(|secret| *secret == secrets[0]), "{secrets:?}");
    assert_eq!(store.shared_secret("csrf", &[99; 32]).await.expect("the store answers"), secrets[0]);
    assert_eq!(store.shared_secret("other", &[99; 32]).await.expect("the store answers"), [99; 32]);
}

fn token(subject: &str, email: &str, email_verified: bool, number: u8) -> Identified {
    Identified {
        subject: subject.into(),
        email: email.into(),
        email_verified,
        name: Some("Ada".into()),
        account_id_if_new: account_id(number),
        at: at(7),
    }
}

async fn identify(store: &dyn AdminStore, who: &Identified) -> SubjectAccount {
    store.identify(who, &audit("account.identify")).await.expect("the store answers")
}

async fn a_subject_is_known_joined_made_or_refused(store: Arc<dyn AdminStore>) {
    let store = &*store;
    make_account(store, 1).await;
    told(store).await;
    let unproven = token("s1", "OWNER1@example.com", false, 50);
    assert_eq!(identify(store, &unproven).await, SubjectAccount::EmailTaken);
    assert_eq!(told(store).await, [], "nothing was changed");

    let SubjectAccount::Joined(joined) =
        identify(store, &Identified { email_verified: true, ..unproven.clone() }).await
    else {
        panic!("it joins")
    };
    assert_eq!((joined.id, joined.subject.as_deref()), (account_id(1), Some("s1")));
    assert_eq!(joined.name.as_deref(), Some("Owner 1"), "the account's own name stays");
    assert_eq!(store.account(account_id(1)).await.expect("the store answers"), Some(joined.clone()));
    assert_eq!(told(store).await, [Change::Account(account_id(1))]);

    let elsewhere = token("s1", "elsewhere@example.com", true, 51);
    assert_eq!(
        identify(store, &elsewhere).await,
        SubjectAccount::Known(joined),
        "by its subject, whatever its address"
    );
    let other = token("s2", "owner1@example.com", true, 52);
    assert_eq!(identify(store, &other).await, SubjectAccount::EmailTaken, "an account has one subject");
    assert_eq!(told(store).await, []);

    let new = token("s3", "new@example.com", false, 53);
    let SubjectAccount::Created(created) = identify(store, &new).await else { panic!("it is made") };
    assert_eq!((created.id, created.created_at, &*created.email), (account_id(53), at(7), "new@example.com"));
    assert_eq!(identify(store, &new).await, SubjectAccount::Known(created));
    assert_eq!(told(store).await, [Change::Account(account_id(53))]);

    let query = AuditQuery { limit: 100, ..AuditQuery::default() };
    let trail = store.audit(&query).await.expect("the store answers");
    let written: Vec<_> = trail.iter().filter(|entry| entry.action == "account.identify").collect();
    assert_eq!(written.len(), 2, "joined and made: {written:?}");
}

async fn a_subject_that_comes_twice_at_once_is_one_account(store: Arc<dyn AdminStore>) {
    let outcomes = at_once(16, |number| {
        let store = Arc::clone(&store);
        // One subject with two addresses, and one address with two subjects.
        let who = match number % 3 {
            0 => token("s1", "a@example.com", true, number),
            1 => token("s1", "b@example.com", true, number),
            _ => token("s2", "b@example.com", false, number),
        };
        async move { store.identify(&who, &audit("account.identify")).await }
    })
    .await;
    let made: Vec<_> = outcomes.iter().filter(|outcome| matches!(outcome, SubjectAccount::Created(_))).collect();
    assert!((1..=2).contains(&made.len()), "{made:?}");
    let subjects = outcomes.iter().filter_map(|outcome| match outcome {
        SubjectAccount::Known(account) | SubjectAccount::Joined(account) | SubjectAccount::Created(account) => {
            Some((account.subject.clone(), account.id))
        }
        SubjectAccount::EmailTaken => None,
    });
    let subjects: std::collections::BTreeSet<_> = subjects.collect();
    assert_eq!(subjects.len(), made.len(), "each subject is one account: {subjects:?}");
}

async fn update(store: &dyn AdminStore, number: u8, patch: &AccountPatch) -> UpdateAccount {
    store.update_account(account_id(number), patch, &audit("account.update")).await.expect("the store answers")
}

async fn an_account_is_changed_as_asked(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let (first, second) = (make_account(store, 1).await, make_account(store, 2).await);
    told(store).await;
    assert_eq!(update(store, 1, &AccountPatch::default()).await, UpdateAccount::Updated(first));
    let taken = AccountPatch { email: Some("OWNER2@example.com".into()), name: Some(None) };
    assert_eq!(update(store, 1, &taken).await, UpdateAccount::EmailTaken);
    assert_eq!(told(store).await, [], "nothing was changed");

    let own = AccountPatch { email: Some("Owner1@Example.com".into()), name: Some(None) };
    let UpdateAccount::Updated(updated) = update(store, 1, &own).await else { panic!("its own may be spelt anew") };
    assert_eq!((&*updated.email, updated.name.clone()), ("Owner1@Example.com", None));
    assert_eq!(store.account(updated.id).await.expect("the store answers"), Some(updated));
    assert_eq!(told(store).await, [Change::Account(account_id(1))]);
    assert_eq!(store.account(second.id).await.expect("the store answers"), Some(second), "the other is as it was");

    store.delete_account(account_id(1), at(1), &audit("account.delete")).await.expect("the store answers");
    assert_eq!(update(store, 1, &own).await, UpdateAccount::NoAccount);
    assert_eq!(update(store, 9, &own).await, UpdateAccount::NoAccount);
    let freed = AccountPatch { email: Some("owner1@example.com".into()), name: None };
    assert!(matches!(update(store, 2, &freed).await, UpdateAccount::Updated(_)), "a deleted account's address is free");
}

async fn an_address_is_taken_by_one_account_only(store: Arc<dyn AdminStore>) {
    for number in 1..=8 {
        make_account(&*store, number).await;
    }
    let outcomes = at_once(8, |number| {
        let store = Arc::clone(&store);
        let patch = AccountPatch { email: Some("wanted@example.com".into()), name: None };
        async move { store.update_account(account_id(number), &patch, &audit("account.update")).await }
    })
    .await;
    let updated = outcomes.iter().filter(|outcome| matches!(outcome, UpdateAccount::Updated(_))).count();
    let taken = outcomes.iter().filter(|outcome| **outcome == UpdateAccount::EmailTaken).count();
    assert_eq!((updated, taken), (1, 7));
}

/// The account of a token's subject, made as it comes.
async fn made(store: &dyn AdminStore, who: &Identified) -> Account {
    match identify(store, who).await {
        SubjectAccount::Created(account) => account,
        other => panic!("{other:?}"),
    }
}

/// What the owner of an address finds who proves it by a link.
async fn proven(store: &dyn AdminStore, email: &str, number: Option<u8>) -> Option<CreateAccount> {
    let new = number.map(|number| NewAccount { email: email.into(), ..new_account(number) });
    let found = store.account_of_proven(email, new.as_ref(), &audit("account.create")).await;
    found.expect("the store answers")
}

async fn by_email(store: &dyn AdminStore, email: &str) -> Option<AccountId> {
    store.account_by_email(email).await.expect("the store answers").map(|account| account.id)
}

async fn an_address_that_a_token_only_claims_goes_to_whoever_proves_it(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let is_proven = async |number: u8| store.has_proven_email(account_id(number)).await.expect("the store answers");
    let claimed = made(store, &token("eve", "Ada@example.com", false, 50)).await;
    assert_eq!(by_email(store, "ada@example.com").await, Some(claimed.id), "nobody else has it yet");
    assert!(!is_proven(50).await);
    // Where nobody may make an account, nothing is taken from anybody.
    assert_eq!(proven(store, "ada@example.com", None).await, None);
    assert_eq!(by_email(store, "ada@example.com").await, Some(claimed.id));
    told(store).await;

    let Some(CreateAccount::Created(adas)) = proven(store, "ada@example.com", Some(51)).await else {
        panic!("she gets an account of her own")
    };
    assert_eq!((by_email(store, "ADA@example.com").await, is_proven(51).await), (Some(adas.id), true));
    assert_eq!(told(store).await, [Change::Account(claimed.id), Change::Account(adas.id)]);
    for number in [None, Some(52)] {
        assert_eq!(proven(store, "ada@example.com", number).await, Some(CreateAccount::Exists(adas.clone())));
    }
    let known = identify(store, &token("eve", "ada@example.com", false, 53)).await;
    assert_eq!(known, SubjectAccount::Known(claimed.clone()), "the token's account is still its subject's");
    // Nor does the token get it back once the backend vouches for it.
    let vouched = identify(store, &token("eve", "ada@example.com", true, 53)).await;
    assert_eq!((vouched, is_proven(50).await), (SubjectAccount::Known(claimed), false));
    assert_eq!(by_email(store, "ada@example.com").await, Some(adas.id));
    assert_eq!(identify(store, &token("eve-2", "ada@example.com", false, 54)).await, SubjectAccount::EmailTaken);

    // An account that proves the address by a link of its own takes it from who only claims it, too.
    let other = made(store, &token("mallory", "grace@example.com", false, 55)).await;
    let patch = AccountPatch { email: Some("grace@example.com".into()), ..AccountPatch::default() };
    let updated = store.update_account(adas.id, &patch, &audit("account.update")).await.expect("the store answers");
    assert!(matches!(updated, UpdateAccount::Updated(account) if account.email == "grace@example.com"));
    assert_eq!(by_email(store, "grace@example.com").await, Some(adas.id));
    let own = store.update_account(other.id, &patch, &audit("account.update")).await.expect("the store answers");
    assert_eq!(own, UpdateAccount::EmailTaken);
}

async fn a_token_that_vouches_for_its_address_proves_it(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let is_proven = async |number: u8| store.has_proven_email(account_id(number)).await.expect("the store answers");
    let first = made(store, &token("ada", "ada@example.com", false, 50)).await;
    // Another address that it vouches for is not the account's.
    identify(store, &token("ada", "elsewhere@example.com", true, 51)).await;
    assert!(!is_proven(50).await);
    let known = identify(store, &token("ada", "ADA@example.com", true, 51)).await;
    assert_eq!((known, is_proven(50).await), (SubjectAccount::Known(first.clone()), true));
    assert_eq!(proven(store, "ada@example.com", Some(52)).await, Some(CreateAccount::Exists(first)));
    assert!(made(store, &token("grace", "grace@example.com", true, 53)).await.subject.is_some() && is_proven(53).await);

    // Another subject that is vouched for does not wait for who only claims its address.
    let claimed = made(store, &token("eve", "joan@example.com", false, 54)).await;
    let joans = made(store, &token("joan", "joan@example.com", true, 55)).await;
    assert_eq!(by_email(store, "joan@example.com").await, Some(joans.id));
    assert_ne!(claimed.id, joans.id);
    assert!(is_proven(55).await && !is_proven(54).await);
    make_account(store, 1).await;
    assert!(is_proven(1).await, "an operator said so");
    assert!(!is_proven(99).await, "there is none");
}

async fn who_loses_a_claimed_address_keeps_everything_else(store: Arc<dyn AdminStore>) {
    let store = &*store;
    let claimed = made(store, &token("eve", "ada@example.com", false, 50)).await;
    let key = make_key(store, 1, claimed.id).await;
    let adas = proven(store, "ada@example.com", Some(51)).await;
    let adas = match adas {
        Some(CreateAccount::Created(account)) => account,
        other => panic!("{other:?}"),
    };
    let found = store.find_key(&key.hashed.hash).await.expect("the store answers").expect("it is found");
    assert_eq!((found.account.id, found.key.revoked_at), (claimed.id, None));
    // To be renamed gives the address back no more than to be deleted takes its owner's links.
    let patch = AccountPatch { name: Some(Some("Eve".into())), ..AccountPatch::default() };
    store.update_account(claimed.id, &patch, &audit("account.update")).await.expect("the store answers");
    assert_eq!(by_email(store, "ada@example.com").await, Some(adas.id));
    assert!(store.create_link(&hash(1), &link("ada@example.com", at(0)), 5).await.expect("the store answers"));
    let deleted = store.delete_account(claimed.id, at(1), &audit("account.delete")).await.expect("the store answers");
    assert!(deleted.is_some());
    let taken = store.take_link(&hash(1), at(2)).await.expect("the store answers");
    assert!(taken.is_some(), "what was mailed to her is still good");
}
