//! Buying a plan: the address of a page at Stripe where it is paid.
//!
//! Coming back from that page proves nothing: what was bought is learnt from Stripe's events.

use serde::Deserialize;
use tollgate_domain::{Account, PlanTable};
use url::Url;

use super::holdings::Holdings;
use super::offer::{Order, sold};
use super::session::Closed;
use super::{ActionError, Form, field};
use crate::Billing;
use crate::api::ApiError;
use crate::api::objects::lenient;

/// How an account's taxes are worked out on what it buys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tax {
    /// By Stripe Tax.
    Automatic,
    /// Not at all.
    Nowhere,
}

/// How Stripe Tax is set up.
#[derive(Default, Deserialize)]
pub(crate) struct TaxSettings {
    #[serde(default, deserialize_with = "lenient")]
    status: String,
}

impl TaxSettings {
    /// Whether it has all that it needs to work taxes out.
    pub(crate) fn is_active(&self) -> bool {
        self.status == "active"
    }
}

impl Billing {
    /// Where the account pays for a plan: by the price that is named, else by the plan's first. The address lets whoever
    /// has it pay for this account: it is to be given to its owner and kept nowhere.
    ///
    /// # Errors
    /// The plan is not sold, the price is another plan's, the account is banned or has an operator's plan, there is a
    /// subscription already, or Stripe does not do it.
    pub async fn checkout(&self, account: &Account, plan: &str, price: Option<&str>) -> Result<Url, ActionError> {
        let policy = self.deps.live.policy();
        let plan = sold(&policy.plans, plan)?;
        self.may_buy(account)?;
        let (order, tax) = tokio::try_join!(self.order(plan, price, None), self.tax())?;
        let customer = self.customer(account).await?;
        let account = &Account { stripe_customer: Some(customer.clone()), ..account.clone() };
        let (holdings, pages) = tokio::try_join!(self.holdings(account), self.pages(&customer))?;
        self.refuse_second(&holdings, &policy.plans)?;
        let form = self.form(account, &customer, &order, &holdings, tax);
        if self.close_others(&pages, account, &form).await? == Closed::TooLate {
            self.refuse_second(&self.holdings(account).await?, &policy.plans)?;
        }
        self.page_for(&pages, account, form).await
    }

    /// Refuses a second subscription beside one that goes on.
    fn refuse_second(&self, holdings: &Holdings, plans: &PlanTable) -> Result<(), ActionError> {
        if let Some(held) = holdings.in_force(plans, self.now()) {
            return Err(ActionError::AlreadySubscribed { subscription: held.told.id.clone() });
        }
        match holdings.open() {
            None => Ok(()),
            Some(held) => Err(held.payment_due()),
        }
    }

    pub(super) fn form(&self, account: &Account, customer: &str, order: &Order, holdings: &Holdings, tax: Tax) -> Form {
        let id = account.id.to_string();
        let mut form: Form = vec![
            field("mode", "subscription"),
            field("customer", customer),
            field("client_reference_id", &id),
            field("subscription_data[metadata][tollgate_account]", &id),
            // Of the other mode, use before a change of plan would be billed to nobody.
            field("subscription_data[billing_mode][type]", "flexible"),
            field("success_url", self.success_url()),
            field("cancel_url", self.cancel_url()),
            field("allow_promotion_codes", "true"),
        ];
        for (at, price) in order.prices().enumerate() {
            form.push(field(format!("line_items[{at}][price]"), &price.id));
            // What is paid by use has no quantity.
            if !price.is_metered() {
                form.push(field(format!("line_items[{at}][quantity]"), "1"));
            }
        }
        match self.trial_days(account, holdings) {
            0 => {}
            days => form.push(field("subscription_data[trial_period_days]", days.to_string())),
        }
        if tax == Tax::Automatic {
            form.push(field("automatic_tax[enabled]", "true"));
            form.push(field("customer_update[address]", "auto"));
            form.push(field("customer_update[name]", "auto"));
            form.push(field("tax_id_collection[enabled]", "true"));
        }
        form
    }

    /// How many days are free: of a first subscription only.
    pub(super) fn trial_days(&self, account: &Account, holdings: &Holdings) -> u32 {
        let is_first = !holdings.had_any() && account.stripe_subscription.is_none();
        if is_first { self.deps.stripe.trial_days } else { 0 }
    }

    fn success_url(&self) -> String {
        let given = self.deps.stripe.success_url.as_ref().map(Url::to_string);
        given.unwrap_or_else(|| self.page("/account/billing?session={CHECKOUT_SESSION_ID}"))
    }

    fn cancel_url(&self) -> String {
        self.deps.stripe.cancel_url.as_ref().map_or_else(|| self.page("/pricing"), Url::to_string)
    }

    /// Whether Stripe Tax is set up. A key that may not ask, or an account without it, means that it is not used.
    async fn tax(&self) -> Result<Tax, ActionError> {
        match self.api.get::<TaxSettings>("/tax/settings", &[]).await {
            Ok(settings) if settings.is_active() => Ok(Tax::Automatic),
            Ok(_) | Err(ApiError::Refused { .. }) => Ok(Tax::Nowhere),
            Err(error) => Err(error.into()),
        }
    }
}
