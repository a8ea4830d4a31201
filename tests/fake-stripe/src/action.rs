//! What can happen to a subscription, each in one word: for simulations, random lives and buttons.

use std::str::FromStr;

use crate::billing::collect::{self, Attempt};
use crate::billing::{end, pause};
use crate::http::call::Call;
use crate::http::error::ApiError;
use crate::http::params::Params;
use crate::objects::dispute::{self, DisputeStatus};
use crate::objects::invoice::InvoiceStatus;
use crate::objects::payment_method::{Card, set_card};
use crate::objects::subscription::Status;
use crate::objects::{refund, subscription_calls};
use crate::state::{Metadata, Shape, State};

/// Something that happens to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// From now on the customer's card is declined.
    CardFails,
    /// From now on it works again; what is open is not paid by that alone.
    CardRecovers,
    /// The customer pays the oldest open invoice by hand.
    PayOpenInvoice,
    /// It ends at once.
    CancelNow,
    /// It ends with its period.
    CancelAtPeriodEnd,
    /// A planned end is taken back.
    Reactivate,
    /// Its first item, or the first that is not metered, gets this price, and prorations are invoiced at once.
    ChangePrice(String),
    /// It stands still.
    Pause,
    /// It goes on, in a new period that is charged.
    Resume,
    /// Invoices are made and voided.
    PauseCollection,
    /// Invoices are charged again.
    ResumeCollection,
    /// So many cents of its last paid charge go back; without a number, all that is left.
    Refund(Option<i64>),
    /// The bank takes its last paid charge back.
    Dispute,
    /// Evidence is handed in.
    DisputeUpdated,
    /// The bank gives in.
    DisputeWon,
    /// The bank keeps the money.
    DisputeLost,
    /// Its oldest open invoice is declared void.
    VoidInvoice,
    /// Its oldest open invoice is given up.
    MarkUncollectible,
    /// Its trial ends now.
    EndTrial,
    /// The clock goes on to the end of its period.
    Renew,
    /// A new period begins now and is charged; nobody's clock moves.
    RenewNow,
    /// Its metadata changes: an update that means nothing.
    Touch,
}

/// Every action without a parameter, with its word.
const PLAIN: [(&str, Action); 20] = [
    ("card_fails", Action::CardFails),
    ("card_recovers", Action::CardRecovers),
    ("pay_open_invoice", Action::PayOpenInvoice),
    ("cancel_now", Action::CancelNow),
    ("cancel_at_period_end", Action::CancelAtPeriodEnd),
    ("reactivate", Action::Reactivate),
    ("pause", Action::Pause),
    ("resume", Action::Resume),
    ("pause_collection", Action::PauseCollection),
    ("resume_collection", Action::ResumeCollection),
    ("dispute", Action::Dispute),
    ("dispute_updated", Action::DisputeUpdated),
    ("dispute_won", Action::DisputeWon),
    ("dispute_lost", Action::DisputeLost),
    ("void_invoice", Action::VoidInvoice),
    ("mark_uncollectible", Action::MarkUncollectible),
    ("end_trial", Action::EndTrial),
    ("renew", Action::Renew),
    ("renew_now", Action::RenewNow),
    ("touch", Action::Touch),
];

impl Action {
    /// Every action that takes no parameter.
    pub fn plain() -> impl Iterator<Item = Self> {
        PLAIN.into_iter().map(|(_, action)| action).chain([Self::Refund(None)])
    }

    /// Its word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ChangePrice(_) => "change_price",
            Self::Refund(_) => "refund",
            plain => PLAIN.iter().find(|(_, action)| action == plain).map_or("", |(name, _)| name),
        }
    }
}

impl FromStr for Action {
    type Err = UnknownAction;

    /// `card_fails`, `refund`, `refund:500`, `change_price:price_team`.
    fn from_str(text: &str) -> Result<Self, UnknownAction> {
        let unknown = || UnknownAction(text.to_owned());
        match text.split_once(':') {
            Some(("change_price", price)) => Ok(Self::ChangePrice(price.to_owned())),
            Some(("refund", amount)) => amount.parse().map(|amount| Self::Refund(Some(amount))).map_err(|_| unknown()),
            Some(_) => Err(unknown()),
            None if text == "refund" => Ok(Self::Refund(None)),
            None => PLAIN.into_iter().find(|(name, _)| *name == text).map(|(_, action)| action).ok_or_else(unknown),
        }
    }
}

/// A word that names no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no action")]
pub struct UnknownAction(pub String);

impl State {
    /// Plays an action now.
    pub(crate) fn act(&mut self, id: &str, action: &Action) -> Result<(), ApiError> {
        let subscription = self.subscriptions.get(id).ok_or_else(|| ApiError::no_such("subscription", id, "id"))?;
        let customer = subscription.customer.clone();
        match action {
            Action::CardFails => set_card(self, &customer, Card::Declines),
            Action::CardRecovers => set_card(self, &customer, Card::Good),
            Action::PayOpenInvoice => {
                let invoice = self.oldest_open_invoice(id)?;
                collect::charge(self, &invoice, Attempt::ByHand);
            }
            Action::CancelNow => end::end(self, id, "cancellation_requested"),
            Action::CancelAtPeriodEnd => self.update_subscription(id, &[("cancel_at_period_end", "true")])?,
            Action::RenewNow => {
                self.update_subscription(id, &[("billing_cycle_anchor", "now"), ("proration_behavior", "none")])?;
            }
            Action::Reactivate => self.update_subscription(id, &[("cancel_at_period_end", "false")])?,
            Action::ChangePrice(price) => self.change_price(id, price)?,
            Action::Pause => pause::pause_if_running(self, id)?,
            Action::Resume => pause::resume(self, id, true)?,
            Action::PauseCollection => self.update_subscription(id, &[("pause_collection[behavior]", "void")])?,
            Action::ResumeCollection => self.update_subscription(id, &[("pause_collection", "")])?,
            Action::Refund(amount) => {
                let charge = self.last_paid_charge(id)?;
                refund::refund(self, &charge, *amount, Some("requested_by_customer"), Metadata::new())?;
            }
            Action::Dispute => {
                let charge = self.last_paid_charge(id)?;
                dispute::open(self, &charge, "fraudulent")?;
            }
            Action::DisputeUpdated => self.move_dispute(id, &customer, DisputeStatus::UnderReview)?,
            Action::DisputeWon => self.move_dispute(id, &customer, DisputeStatus::Won)?,
            Action::DisputeLost => self.move_dispute(id, &customer, DisputeStatus::Lost)?,
            Action::VoidInvoice => {
                let invoice = self.oldest_open_invoice(id)?;
                collect::close(self, &invoice, InvoiceStatus::Void)?;
            }
            Action::MarkUncollectible => {
                let invoice = self.oldest_open_invoice(id)?;
                collect::close(self, &invoice, InvoiceStatus::Uncollectible)?;
            }
            Action::EndTrial => {
                if self.subscriptions.get(id).is_some_and(|found| found.status != Status::Trialing) {
                    return Err(ApiError::invalid("The subscription is in no trial.", None));
                }
                self.update_subscription(id, &[("trial_end", "now")])?;
            }
            Action::Renew => self.renew(id)?,
            Action::Touch => subscription_calls::touch(self, id),
        }
        Ok(())
    }

    fn update_subscription(&mut self, id: &str, params: &[(&str, &str)]) -> Result<(), ApiError> {
        let call = Call {
            method: "POST".to_owned(),
            path: format!("/v1/subscriptions/{id}"),
            params: Params::from_pairs(params),
            shape: Shape::New,
        };
        subscription_calls::update(self, &call, id).map(drop)
    }

    fn change_price(&mut self, id: &str, price: &str) -> Result<(), ApiError> {
        let items = self.subscriptions.get(id).map(|subscription| subscription.items.clone()).unwrap_or_default();
        let flat = |price: &str| self.prices.get(price).is_some_and(|price| price.meter().is_none());
        let item = items.iter().find(|item| flat(&item.price)).or(items.first());
        let item = item.ok_or_else(|| ApiError::invalid("The subscription has no item.", None))?.id.clone();
        self.update_subscription(
            id,
            &[("items[0][id]", &item), ("items[0][price]", price), ("proration_behavior", "always_invoice")],
        )
    }

    fn renew(&mut self, id: &str) -> Result<(), ApiError> {
        let subscription = self.subscriptions.get(id).filter(|subscription| subscription.status.renews());
        let period_end = subscription.and_then(crate::objects::subscription::Subscription::next_period_end);
        let period_end = period_end.ok_or_else(|| ApiError::invalid("The subscription does not renew.", None))?;
        self.advance(period_end - self.now);
        Ok(())
    }

    fn oldest_open_invoice(&self, id: &str) -> Result<String, ApiError> {
        let customer =
            self.subscriptions.get(id).map(|subscription| subscription.customer.as_str()).unwrap_or_default();
        let mut invoices = self.invoices.of_customer(customer);
        let open = invoices
            .find(|invoice| invoice.subscription.as_deref() == Some(id) && invoice.status == InvoiceStatus::Open);
        open.map(|invoice| invoice.id.clone()).ok_or_else(|| ApiError::invalid("No invoice is open.", None))
    }

    fn last_paid_charge(&self, id: &str) -> Result<String, ApiError> {
        let customer =
            self.subscriptions.get(id).map(|subscription| subscription.customer.as_str()).unwrap_or_default();
        let mut charges = self.charges.of_customer(customer).rev();
        let paid = charges.find(|charge| charge.paid && !charge.disputed && self.is_of(&charge.id, id));
        paid.map(|charge| charge.id.clone()).ok_or_else(|| ApiError::invalid("No charge was paid.", None))
    }

    /// Whether a charge paid an invoice of this subscription.
    fn is_of(&self, charge: &str, subscription: &str) -> bool {
        let invoice = self.charges.get(charge).and_then(|charge| self.invoices.get(charge.invoice.as_deref()?));
        invoice.is_some_and(|invoice| invoice.subscription.as_deref() == Some(subscription))
    }

    fn move_dispute(&mut self, id: &str, customer: &str, status: DisputeStatus) -> Result<(), ApiError> {
        let dispute = dispute::newest_open(self, customer, |charge| self.is_of(charge, id));
        let dispute = dispute.ok_or_else(|| ApiError::invalid("No dispute is open.", None))?;
        dispute::move_to(self, &dispute, status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_found_by_its_word() {
        for action in Action::plain() {
            assert_eq!(action.name().parse(), Ok(action));
        }
        assert_eq!("change_price:price_a".parse(), Ok(Action::ChangePrice("price_a".to_owned())));
        assert_eq!("refund:5".parse(), Ok(Action::Refund(Some(5))));
        assert!("refund:x".parse::<Action>().is_err());
    }
}
