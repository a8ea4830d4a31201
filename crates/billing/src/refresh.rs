//! Reading a customer afresh from Stripe, and the facts that follow from what was read. Whose customer it is, and what is
//! done with the facts, is the worker's.

use std::collections::BTreeMap;
use std::fmt;

use tollgate_config::{OnDispute, OnRefund, StripeConfig};
use tollgate_domain::{
    AccountId, Period, PlanTable, Subscription, SubscriptionItem, SubscriptionStatus, Timestamp, Withheld,
    WithheldCause,
};

use crate::api::objects::{self, Charge, Dispute, Invoice, InvoicePayment, Refund};
use crate::api::{Api, ApiError};

/// What follows from disputes and refunds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// From a disputed charge.
    pub on_dispute: OnDispute,
    /// From one that was refunded whole.
    pub on_refund: OnRefund,
}

impl Rules {
    /// The rules that the settings set.
    pub fn of(config: &StripeConfig) -> Self {
        Self { on_dispute: config.on_dispute, on_refund: config.on_refund }
    }

    /// Whether anything follows at all.
    pub fn withhold(self) -> bool {
        self.withhold_for(WithheldCause::Dispute) || self.withhold_for(WithheldCause::Refund)
    }

    fn withhold_for(self, cause: WithheldCause) -> bool {
        match cause {
            WithheldCause::Dispute => self.on_dispute == OnDispute::Suspend,
            WithheldCause::Refund => self.on_refund == OnRefund::Suspend,
        }
    }
}

/// All that was read of a customer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    /// Every subscription, those that ended too; the newest invoice whole.
    pub subscriptions: Vec<objects::Subscription>,
    /// Invoices that are open, where a subscription is past due.
    pub open_invoices: Vec<Invoice>,
    /// Payments that were taken back; `None` where they were not asked for.
    pub reversals: Option<Vec<Reversal>>,
}

/// A payment of a subscription that was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// The subscription.
    pub subscription: String,
    /// The invoice that was paid with it.
    pub invoice: String,
    /// How, and when.
    pub withheld: Withheld,
}

/// What follows from what was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The subscriptions, as they are kept.
    pub subscriptions: Vec<Subscription>,
    /// The beginnings of periods that a paid invoice opened.
    pub paid_periods: Vec<Timestamp>,
    /// What somebody should know.
    pub notes: Vec<Note>,
}

/// What somebody should know of facts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// No plan has any of its prices; what it gave before goes on.
    UnknownPrice {
        /// The subscription.
        subscription: String,
        /// Its first price.
        price: String,
    },
    /// This version does not know its status; the last known one goes on.
    UnknownStatus {
        /// The subscription.
        subscription: String,
        /// Stripe's word.
        status: String,
    },
    /// Stripe told no period of an item; the last known one goes on.
    NoPeriod {
        /// The subscription.
        subscription: String,
    },
    /// Stripe does not list it any more; it counts as ended.
    Vanished {
        /// The subscription.
        subscription: String,
    },
    /// An event names an account, and the customer is linked with another one.
    NamesAnother {
        /// The account that is named.
        named: AccountId,
    },
    /// The key may not read charges, so disputes and refunds are not heeded.
    ChargesForbidden,
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPrice { subscription, price } => write!(
                formatter,
                "no plan has the price {price} of {subscription}: add it to a plan's `stripe_prices`; until then the \
                 subscription gives what it gave before"
            ),
            Self::UnknownStatus { subscription, status } => {
                write!(formatter, "the status `{status}` of {subscription} is unknown: the last known one holds")
            }
            Self::NoPeriod { subscription } => {
                write!(formatter, "Stripe told no period of {subscription}: the last known one holds")
            }
            Self::Vanished { subscription } => {
                write!(formatter, "Stripe does not list {subscription} any more: it counts as ended")
            }
            Self::NamesAnother { named } => write!(
                formatter,
                "an event names the account {named}, but the customer is linked with another one, which has the plan"
            ),
            Self::ChargesForbidden => formatter.write_str(
                "the key may not read charges, disputes or refunds, so `on_dispute` and `on_refund` have no effect",
            ),
        }
    }
}

/// Reads a customer: every subscription, open invoices where one is past due, and what was taken back where that is asked
/// for.
///
/// # Errors
/// Stripe gave no usable answer to one of the questions; what the others gave is not used.
pub(crate) async fn read(api: &Api, customer: &str, rules: Option<Rules>) -> Result<(Read, Vec<Note>), ApiError> {
    let of_customer = |more: &[(&'static str, &str)]| {
        let mut query = vec![("customer", customer.to_owned())];
        query.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        query
    };
    let every = of_customer(&[("status", "all"), ("expand[]", "data.latest_invoice")]);
    let listed: Result<Vec<objects::Subscription>, _> = api.list("/subscriptions", &every).await;
    let mut subscriptions = match listed {
        Ok(listed) if !listed.is_empty() => listed,
        Ok(none) => {
            is_deleted(api, customer).await?;
            none
        }
        Err(error) if error.is_missing() && is_deleted(api, customer).await? => Vec::new(),
        Err(error) => return Err(error),
    };
    for subscription in subscriptions.iter_mut().filter(|subscription| subscription.items.has_more) {
        let query = [("subscription", subscription.id.clone())];
        subscription.items.data = api.list("/subscription_items", &query).await?;
    }
    let has = |status: SubscriptionStatus| subscriptions.iter().any(|listed| listed.status == status.as_str());
    let open_invoices = if has(SubscriptionStatus::PastDue) {
        api.list("/invoices", &of_customer(&[("status", "open")])).await?
    } else {
        Vec::new()
    };
    let mut notes = Vec::new();
    let is_running = |listed: &objects::Subscription| {
        SubscriptionStatus::parse(&listed.status).is_none_or(|status| !status.is_final())
    };
    let reversals = match rules {
        Some(rules) if subscriptions.iter().any(is_running) => match read_reversals(api, customer, rules).await {
            Ok(reversals) => Some(reversals),
            Err(ApiError::Refused { status: 403, .. }) => {
                notes.push(Note::ChargesForbidden);
                None
            }
            Err(error) => return Err(error),
        },
        Some(_) => Some(Vec::new()),
        None => None,
    };
    Ok((Read { subscriptions, open_invoices, reversals }, notes))
}

/// Whether a customer was deleted, and has no subscription for that. One that never was there is an error and no reason to
/// take anything from anybody: the key may be of another account at Stripe.
async fn is_deleted(api: &Api, customer: &str) -> Result<bool, ApiError> {
    api.get::<objects::Customer>(&format!("/customers/{customer}"), &[]).await.map(|customer| customer.deleted)
}

/// Reads which payments of subscriptions were taken back, as far as something follows from it.
async fn read_reversals(api: &Api, customer: &str, rules: Rules) -> Result<Vec<Reversal>, ApiError> {
    let charges: Vec<Charge> = api.list("/charges", &[("customer", customer.to_owned())]).await?;
    let mut reversals = Vec::new();
    for charge in charges {
        let mut causes = Vec::new();
        if charge.disputed && rules.withhold_for(WithheldCause::Dispute) {
            let disputes: Vec<Dispute> = api.list("/disputes", &[("charge", charge.id.clone())]).await?;
            let standing = disputes.iter().filter(|dispute| stands(&dispute.status));
            let at = standing.map(|dispute| dispute.created).max();
            causes.extend(at.map(|at| (WithheldCause::Dispute, at)));
        }
        if charge.refunded && rules.withhold_for(WithheldCause::Refund) {
            let refunds: Vec<Refund> = api.list("/refunds", &[("charge", charge.id.clone())]).await?;
            let at = refunds.iter().filter(|refund| refund.succeeded()).map(|refund| refund.created).max();
            causes.push((WithheldCause::Refund, at.unwrap_or(charge.created)));
        }
        if causes.is_empty() {
            continue;
        }
        // A payment for something else is none of the subscription's.
        let Some(invoice) = invoice_paid_by(api, &charge).await? else { continue };
        let Some(subscription) = invoice.subscription() else { continue };
        reversals.extend(causes.into_iter().map(|(cause, at)| Reversal {
            subscription: subscription.to_owned(),
            invoice: invoice.id.clone(),
            withheld: Withheld { at: Timestamp::from_secs(at), cause },
        }));
    }
    Ok(reversals)
}

/// Whether a dispute in this state takes the money: not while it is only an inquiry, nor once it is won.
fn stands(status: &str) -> bool {
    matches!(status, "needs_response" | "under_review" | "lost")
}

impl Refund {
    fn succeeded(&self) -> bool {
        !matches!(self.status.as_deref(), Some("failed" | "canceled"))
    }
}

/// The invoice that a charge paid, if it paid one.
async fn invoice_paid_by(api: &Api, charge: &Charge) -> Result<Option<Invoice>, ApiError> {
    let mut invoice = charge.invoice.clone();
    if let (None, Some(intent)) = (&invoice, &charge.payment_intent) {
        let query = [("payment[type]", "payment_intent".to_owned()), ("payment[payment_intent]", intent.clone())];
        let payments: Vec<InvoicePayment> = api.list("/invoice_payments", &query).await?;
        invoice = payments.into_iter().find_map(|payment| payment.invoice);
    }
    let Some(invoice) = invoice else { return Ok(None) };
    api.get(&format!("/invoices/{invoice}"), &[]).await.map(Some)
}

/// The facts that follow from what was read of a customer, given what was known of it before. Pure: the same of the same,
/// whatever order the news came in.
pub fn facts(read: &Read, before: &[Subscription], plans: &PlanTable, rules: Rules) -> Facts {
    let mut facts = Facts::default();
    let known: BTreeMap<&str, &Subscription> = before.iter().map(|known| (&*known.id, known)).collect();
    for listed in &read.subscriptions {
        let before = known.get(listed.id.as_str()).copied();
        let reader = Reader { read, listed, before, plans, rules };
        let subscription = reader.subscription(&mut facts.notes);
        facts.paid_periods.extend(reader.paid_period(&subscription));
        facts.subscriptions.push(subscription);
    }
    for vanished in before.iter().filter(|known| !read.subscriptions.iter().any(|listed| *listed.id == *known.id)) {
        if !vanished.status.is_final() {
            facts.notes.push(Note::Vanished { subscription: vanished.id.to_string() });
        }
        let status = if vanished.status.is_final() { vanished.status } else { SubscriptionStatus::Canceled };
        facts.subscriptions.push(Subscription { status, failing_since: None, withheld: None, ..vanished.clone() });
    }
    // In an order of their own, so that the same facts are equal.
    facts.subscriptions.sort_by(|one, other| one.id.cmp(&other.id));
    facts.paid_periods.sort_unstable();
    facts.paid_periods.dedup();
    facts
}

/// One subscription, with what stands around it.
struct Reader<'a> {
    read: &'a Read,
    listed: &'a objects::Subscription,
    before: Option<&'a Subscription>,
    plans: &'a PlanTable,
    rules: Rules,
}

impl Reader<'_> {
    fn subscription(&self, notes: &mut Vec<Note>) -> Subscription {
        let listed = self.listed;
        let status = self.status(notes);
        let items = self.items(notes);
        let cancel_at = listed.cancel_at.or_else(|| {
            let ends = items.iter().map(|item| item.period.end.as_secs());
            listed.cancel_at_period_end.then(|| ends.max()).flatten()
        });
        let facts = Subscription {
            id: listed.id.as_str().into(),
            status,
            created_at: Timestamp::from_secs(listed.created),
            items,
            plan_price: None,
            failing_since: self.failing_since(status),
            cancel_at: cancel_at.map(Timestamp::from_secs),
            trial_end: listed.trial_end.map(Timestamp::from_secs),
            withheld: None,
        };
        let facts = facts.following(self.before, self.plans);
        if !status.is_final() && !facts.has_known_price(self.plans) {
            let price = listed.items.data.first().map_or("", |item| item.price_id());
            notes.push(Note::UnknownPrice { subscription: listed.id.clone(), price: price.into() });
        }
        Subscription { withheld: self.withheld(&facts), ..facts }
    }

    fn status(&self, notes: &mut Vec<Note>) -> SubscriptionStatus {
        SubscriptionStatus::parse(&self.listed.status).unwrap_or_else(|| {
            let status = self.listed.status.chars().take(64).collect();
            notes.push(Note::UnknownStatus { subscription: self.listed.id.clone(), status });
            // One that was never known has given nothing yet.
            self.before.map_or(SubscriptionStatus::Incomplete, |before| before.status)
        })
    }

    fn items(&self, notes: &mut Vec<Note>) -> Vec<SubscriptionItem> {
        let listed = self.listed;
        let known = self.before.map_or(&[][..], |before| &before.items);
        if listed.items.data.is_empty() {
            return known.to_vec();
        }
        let mut lacks_period = false;
        let item = |item: &objects::SubscriptionItem| {
            let told = listed
                .period_of(item)
                .map(|(start, end)| Period { start: Timestamp::from_secs(start), end: Timestamp::from_secs(end) });
            lacks_period |= told.is_none();
            let known = || known.iter().find(|known| *known.id == *item.id).map(|known| known.period);
            let created_at = Timestamp::from_secs(listed.created);
            let nothing = Period { start: created_at, end: created_at.plus_micros(1) };
            SubscriptionItem {
                id: item.id.as_str().into(),
                price: item.price_id().into(),
                period: told.or_else(known).unwrap_or(nothing),
            }
        };
        let items = listed.items.data.iter().map(item).collect();
        if lacks_period {
            notes.push(Note::NoPeriod { subscription: listed.id.clone() });
        }
        items
    }

    /// When the oldest of its invoices that is open after a failed attempt was finalised. It is kept of one that is past
    /// due only: no other is given anything for the sake of grace.
    fn failing_since(&self, status: SubscriptionStatus) -> Option<Timestamp> {
        if status != SubscriptionStatus::PastDue {
            return None;
        }
        let is_failing = |invoice: &&Invoice| {
            invoice.subscription() == Some(self.listed.id.as_str())
                && invoice.status.as_deref() == Some("open")
                && invoice.attempt_count > 0
        };
        let failing = self.read.open_invoices.iter().filter(is_failing);
        failing.filter_map(|invoice| invoice.status_transitions.finalized_at).min().map(Timestamp::from_secs)
    }

    /// What withholds its plan, if anything still does: a period that was paid after it lifts it.
    fn withheld(&self, facts: &Subscription) -> Option<Withheld> {
        let Some(reversals) = &self.read.reversals else {
            return self.before?.withheld.filter(|withheld| self.rules.withhold_for(withheld.cause));
        };
        let period = self.period(facts);
        let mine = reversals.iter().filter(|reversal| reversal.subscription == self.listed.id);
        let mine = mine.map(|Reversal { invoice, withheld, .. }| match period {
            // Within the second in which what it had paid for began.
            Some(Period { start, .. }) if withheld.at == start && self.is_latest(invoice) => {
                Withheld { at: start.plus_micros(1), ..*withheld }
            }
            _ => *withheld,
        });
        let heeded = mine.filter(|withheld| self.rules.withhold_for(withheld.cause));
        // The latest holds longest; of two at once the dispute is named.
        let is_dispute = |withheld: &Withheld| withheld.cause == WithheldCause::Dispute;
        let withheld = heeded.max_by_key(|withheld| (withheld.at, is_dispute(withheld)))?;
        let Some(period) = period else { return Some(withheld) };
        if period.start < withheld.at {
            return Some(withheld);
        }
        // A later period has begun. It lifts it once it is paid.
        let is_paid = facts.status == SubscriptionStatus::Active && self.latest_invoice().is_none_or(Invoice::is_paid);
        (!is_paid).then(|| Withheld { at: period.start.plus_micros(1), ..withheld })
    }

    /// The beginning of its period, where a paid invoice opened it.
    fn paid_period(&self, facts: &Subscription) -> Option<Timestamp> {
        let is_paid = self.latest_invoice().is_some_and(|invoice| invoice.is_paid() && invoice.amount_paid > 0);
        let counts = is_paid && facts.status != SubscriptionStatus::Trialing;
        counts.then(|| self.period(facts)).flatten().map(|period| period.start)
    }

    fn is_latest(&self, invoice: &str) -> bool {
        self.latest_invoice().is_some_and(|latest| latest.id == invoice)
    }

    fn latest_invoice(&self) -> Option<&Invoice> {
        self.listed.latest_invoice.as_ref().and_then(objects::Expandable::whole)
    }

    /// The period of the item that buys the plan, or of the first.
    fn period(&self, facts: &Subscription) -> Option<Period> {
        facts.plan(self.plans).map(|(_, period)| period).or_else(|| facts.items.first().map(|item| item.period))
    }
}

#[cfg(test)]
mod tests;
