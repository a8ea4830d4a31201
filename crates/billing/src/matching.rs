//! Whose customer it is: which account what was read belongs to, or is made for it.

use std::str::FromStr;

use serde_json::json;
use tollgate_domain::{Account, AccountId, PlanTable, SubscriptionStatus, Timestamp};
use tollgate_store::{CreateAccount, NewAccount, NewAudit};

use crate::Billing;
use crate::api::objects::{self, ACCOUNT_KEY, Customer};
use crate::refresh::Read;
use crate::worker::Failure;

/// The longest address that mail knows, in characters.
const EMAIL_MAX: usize = 254;

/// Whose a customer is.
pub(crate) enum Owner {
    /// This account's.
    Account(Box<Account>),
    /// Nobody's, as nothing that was bought is a plan's.
    NotOurs,
}

impl Billing {
    /// The account of a customer that no account is linked with: the first that is named and there, else the one of its
    /// e-mail that has no customer yet, else a new one, if what was bought is a plan's. What the subscription names now is
    /// believed before what an event named, so that a person can put it right.
    pub(crate) async fn owner(
        &self,
        customer: &str,
        named: Option<AccountId>,
        read: &Read,
        plans: &PlanTable,
    ) -> Result<Owner, Failure> {
        let by_subscription = read.subscriptions.iter().filter_map(|listed| named_by(&listed.metadata));
        let mut names: Vec<AccountId> = by_subscription.chain(named).collect();
        if let Some(owner) = self.first_of(&names).await? {
            return Ok(owner);
        }
        let of_customer: Customer = self.api.get(&format!("/customers/{customer}"), &[]).await?;
        names.extend(named_by(&of_customer.metadata));
        if let Some(owner) = self.first_of(&names).await? {
            return Ok(owner);
        }
        if let Some(gone) = names.first() {
            return Err(Failure::Unmatched(format!(
                "there is no account {gone}, or it was deleted, and the customer {customer} names it: end its \
                 subscription at Stripe, or write another account's id as `{ACCOUNT_KEY}` into the subscription's \
                 metadata, then replay this event"
            )));
        }
        if !read.subscriptions.iter().any(|listed| buys_a_plan(listed, plans)) {
            return Ok(Owner::NotOurs);
        }
        let email = of_customer.email.as_deref().map(str::trim).filter(|email| is_address(email));
        let Some(email) = email else {
            return Err(Failure::Unmatched(format!(
                "the customer {customer} pays for a plan, names no account and has no e-mail address: write the \
                 account's id as `{ACCOUNT_KEY}` into the subscription's metadata, then replay this event"
            )));
        };
        if let Some(account) = self.deps.store.account_by_email(email).await? {
            // Else whoever writes somebody's address into a token would get what that somebody pays for.
            if !self.deps.store.has_proven_email(account.id).await? {
                return Err(Failure::Unmatched(format!(
                    "the customer {customer} pays for a plan, and {} has its e-mail address without ever having proven it: \
                     write the account's id as `{ACCOUNT_KEY}` into the subscription's metadata if it is the payer's, or \
                     have the payer sign in by a mailed link, then replay this event",
                    account.id
                )));
            }
            return Ok(Owner::Account(Box::new(account)));
        }
        self.new_owner(customer, email, of_customer.name.as_deref()).await
    }

    async fn first_of(&self, names: &[AccountId]) -> Result<Option<Owner>, Failure> {
        for name in names {
            let found = self.deps.store.account(*name).await?;
            if let Some(account) = found.filter(|account| account.deleted_at.is_none()) {
                return Ok(Some(Owner::Account(Box::new(account))));
            }
        }
        Ok(None)
    }

    async fn new_owner(&self, customer: &str, email: &str, name: Option<&str>) -> Result<Owner, Failure> {
        let now = self.deps.clock.now();
        let mut random = [0; 10];
        getrandom::fill(&mut random).expect("the system has random bytes");
        let new = NewAccount {
            id: AccountId::new(now, random),
            email: email.into(),
            name: name.map(str::trim).filter(|name| !name.is_empty()).map(|name| name.chars().take(200).collect()),
            assigned_plan: None,
            created_at: now,
        };
        let audit = audit("account.create", now, json!({ "customer": customer }));
        let (CreateAccount::Created(account) | CreateAccount::Exists(account)) =
            self.deps.store.create_account(&new, &audit).await?;
        Ok(Owner::Account(Box::new(account)))
    }
}

/// A line of the trail: it was Stripe's word.
pub(crate) fn audit(action: &'static str, at: Timestamp, detail: serde_json::Value) -> NewAudit {
    NewAudit { actor: "stripe".into(), action, at, detail }
}

/// The account that somebody's words on a thing name.
pub(crate) fn named_by(metadata: &objects::Metadata) -> Option<AccountId> {
    AccountId::from_str(metadata.get(ACCOUNT_KEY)?).ok()
}

/// Whether somebody paid for a plan with it, or did before it ended.
fn buys_a_plan(listed: &objects::Subscription, plans: &PlanTable) -> bool {
    let never_paid = matches!(
        SubscriptionStatus::parse(&listed.status),
        Some(SubscriptionStatus::Incomplete | SubscriptionStatus::IncompleteExpired)
    );
    !never_paid && listed.items.data.iter().any(|item| plans.of_price(item.price_id()).is_some())
}

/// Whether a text can be an address that somebody is reached by.
fn is_address(text: &str) -> bool {
    let has_parts = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    has_parts
        && text.chars().count() <= EMAIL_MAX
        && !text.chars().any(|char| char.is_control() || char.is_whitespace())
}
