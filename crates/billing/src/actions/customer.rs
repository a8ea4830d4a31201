//! The customer at Stripe that an account is billed as: the one it has, or one made for it, once.

use serde_json::json;
use sha2::{Digest, Sha256};
use tollgate_domain::Account;
use tollgate_store::{Linked, NewAudit};

use super::{ActionError, field};
use crate::Billing;
use crate::api::objects::{ACCOUNT_KEY, Customer};

impl Billing {
    /// The account's customer, made if there is none.
    ///
    /// Two that ask at once ask Stripe with one idempotency key and get one customer. Where that did not help, because the
    /// e-mail was changed between the two, the store lets one win, and the other takes the winner's.
    pub(super) async fn customer(&self, account: &Account) -> Result<String, ActionError> {
        if let Some(customer) = &account.stripe_customer {
            return Ok(customer.clone());
        }
        let customer = match self.unlinked_customer(account).await? {
            Some(found) => found,
            None => self.make_customer(account).await?.id,
        };
        let audit = NewAudit {
            actor: "customer".into(),
            action: "billing.customer",
            at: self.now(),
            detail: json!({ "customer": customer }),
        };
        match self.deps.store.link_customer(account.id, &customer, &audit).await? {
            Linked::Linked(_) => Ok(customer),
            Linked::OtherCustomer { customer } => Ok(customer),
            Linked::NoAccount => Err(ActionError::NoAccount),
            Linked::OtherAccount(other) => Err(ActionError::misconfigured(format!(
                "the customer `{customer}` is of {}, and is linked to {other}",
                account.id
            ))),
        }
    }

    /// A customer that is this account's and not linked to it yet: that of the subscription it was imported with, or one
    /// that was made by an attempt whose answer was lost. Idempotency keys are forgotten after a day; this is not.
    async fn unlinked_customer(&self, account: &Account) -> Result<Option<String>, ActionError> {
        match self.customer_at_stripe(account).await {
            Ok(None) => {}
            Err(error) if error.is_missing() => {}
            found => return Ok(found?),
        }
        let named: Vec<Customer> = self.api.list("/customers", &[("email", account.email.clone())]).await?;
        let id = account.id.to_string();
        let is_ours = |customer: &Customer| !customer.deleted && customer.metadata.get(ACCOUNT_KEY) == Some(&id);
        Ok(named.into_iter().find(is_ours).map(|customer| customer.id))
    }

    async fn make_customer(&self, account: &Account) -> Result<Customer, ActionError> {
        let mut form =
            vec![field("email", &account.email), field("metadata[tollgate_account]", account.id.to_string())];
        form.extend(account.name.as_ref().map(|name| field("name", name)));
        // Stripe refuses a key that comes with other words than the first time, so the words are in it. It remembers
        // failures too, so the hour is in it: what failed then may succeed later.
        let mut hash = Sha256::new();
        for (key, value) in &form {
            hash.update(format!("{key}={value}\n"));
        }
        hash.update(self.now().start_of_hour().as_secs().to_string());
        let key = format!("tollgate-customer-{}", hex::encode(hash.finalize()));
        Ok(self.post("/customers", &form, &key).await?)
    }
}
