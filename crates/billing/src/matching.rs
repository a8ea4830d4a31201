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
    /// The account of a customer that no account is linked with: the one that is named, else the one of its e-mail that
    /// has no customer yet, else a new one, if what was bought is a plan's.
    pub(crate) async fn owner(
        &self,
        customer: &str,
        named: Option<AccountId>,
        read: &Read,
        plans: &PlanTable,
    ) -> Result<Owner, Failure> {
        if let Some(id) = named.or_else(|| read.subscriptions.iter().find_map(|listed| named_by(&listed.metadata))) {
            return self.named_owner(id).await;
        }
        let of_customer: Customer = match self.api.get(&format!("/customers/{customer}"), &[]).await {
            Ok(of_customer) => of_customer,
            Err(error) if error.is_missing() => return Ok(Owner::NotOurs),
            Err(error) => return Err(Failure::from(error)),
        };
        if let Some(id) = named_by(&of_customer.metadata) {
            return self.named_owner(id).await;
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
            return Ok(Owner::Account(Box::new(account)));
        }
        self.new_owner(customer, email, of_customer.name.as_deref()).await
    }

    async fn named_owner(&self, id: AccountId) -> Result<Owner, Failure> {
        match self.deps.store.account(id).await?.filter(|account| account.deleted_at.is_none()) {
            Some(account) => Ok(Owner::Account(Box::new(account))),
            None => Err(Failure::Unmatched(format!(
                "there is no account {id}, or it was deleted, and its subscription goes on: end it at Stripe, or write \
                 another account's id as `{ACCOUNT_KEY}` into its metadata, then replay this event"
            ))),
        }
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
