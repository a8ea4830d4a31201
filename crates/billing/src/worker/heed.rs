//! Heeding one customer's events: whose they are, what Stripe says now, what follows, and what becomes of the events.

use serde_json::json;
use tollgate_domain::{Account, AccountId};
use tollgate_store::{
    Applied, Change, CustomerFacts, Fence, Fenced, InboxEvent, NewEvent, Outcome, Settled, StoreError,
};

use super::{Failure, Step};
use crate::api::objects::{Charge, CheckoutSession, Dispute, Subscription};
use crate::event::{self, REFRESH_KIND};
use crate::matching::{Owner, audit};
use crate::refresh::{self, Facts, Note, Rules};
use crate::stats::{add, count};
use crate::{ApiError, Billing, BillingError};

/// How many events of one customer are settled at once.
const BATCH_OF_ONE: u32 = 1_000;

/// What became of the reading of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Its facts are in force.
    Applied {
        /// Whose they are.
        account: AccountId,
        /// Whether they were others before.
        is_changed: bool,
        /// What somebody should know.
        notes: Vec<Note>,
    },
    /// Nothing that it bought is a plan's, and no account is linked with it.
    NotOurs,
    /// It is nobody's, or another's, and a person must say whose.
    Refused(String),
    /// The process that works on billing will do it.
    Queued,
}

/// How the work on one subject's events ended.
pub(super) struct Heeded {
    pub(super) subject: String,
    pub(super) settled: usize,
    pub(super) has_failed: bool,
    pub(super) is_stripe_away: bool,
}

impl Billing {
    /// Reads a customer afresh now, and puts what follows in force; has the process do it that works on billing, where
    /// that is another.
    ///
    /// # Errors
    /// Stripe or the store does not answer.
    pub async fn refresh_customer(&self, customer: &str) -> Result<Refreshed, BillingError> {
        if let Some(fence) = self.fence().await? {
            match self.refresh(fence, customer, None).await {
                Err(BillingError::Lost) => self.lost().await,
                refreshed => return refreshed,
            }
        }
        let now = self.deps.clock.now();
        let event = NewEvent {
            id: format!("refresh_{customer}_{}", now.as_micros()),
            kind: REFRESH_KIND.into(),
            subject: customer.into(),
            object: customer.into(),
            account: None,
            created_at: now,
            received_at: now,
            payload: "{}".into(),
        };
        self.deps.store.receive_event(&event).await?;
        Ok(Refreshed::Queued)
    }

    /// Reads a customer afresh without any event having told of it. `named` is whose it is said to be, if nothing better
    /// is known.
    pub(crate) async fn refresh(
        &self,
        fence: Fence,
        customer: &str,
        named: Option<AccountId>,
    ) -> Result<Refreshed, BillingError> {
        match self.heed(fence, customer, &[], named).await {
            Ok(refreshed) => Ok(refreshed),
            Err(Failure::Unmatched(note) | Failure::OtherCustomer(note)) => Ok(Refreshed::Refused(note)),
            Err(Failure::Away(error) | Failure::Passing(error)) => Err(BillingError::Api(error)),
            Err(Failure::Store(error)) => Err(BillingError::Store(error)),
            Err(Failure::Lost) => Err(BillingError::Lost),
        }
    }

    /// Heeds all due events of one subject.
    pub(super) async fn heed_subject(&self, subject: String) -> Result<Step, BillingError> {
        let Some(fence) = self.fence().await? else { return Ok(Step::Elsewhere) };
        let mut events = Vec::new();
        let failure = match self.try_subject(fence, &subject, &mut events).await {
            Ok(()) => {
                add(&self.stats.applied, events.len());
                let settled = events.len();
                return Ok(Step::Heeded(Heeded { subject, settled, has_failed: false, is_stripe_away: false }));
            }
            Err(Failure::Lost) => {
                self.lost().await;
                return Err(BillingError::Lost);
            }
            Err(Failure::Store(error @ StoreError::Unavailable(_))) => return Err(error.into()),
            Err(failure) => failure,
        };
        let now = self.deps.clock.now();
        let settled: Vec<Settled> = events.iter().map(|event| failure.settles(event, now)).collect();
        self.report(&failure, &subject, &settled);
        if let Fenced::Lost = self.deps.store.settle_events(fence, &settled, now).await? {
            self.lost().await;
            return Err(BillingError::Lost);
        }
        let dead = settled.iter().filter(|settled| matches!(settled.outcome, Outcome::Dead { .. })).count();
        let is_stripe_away = matches!(failure, Failure::Away(_));
        Ok(Step::Heeded(Heeded { subject, settled: dead, has_failed: true, is_stripe_away }))
    }

    /// As [`Self::heed_subject`]; `events` are those it was tried for.
    async fn try_subject(&self, fence: Fence, subject: &str, events: &mut Vec<InboxEvent>) -> Result<(), Failure> {
        let store = &self.deps.store;
        *events = store.due_events_of(subject, self.deps.clock.now(), BATCH_OF_ONE).await?;
        let Some(first) = events.first() else { return Ok(()) };
        let customer = if event::is_unresolved(&first.event) {
            self.customer_of(&first.event).await?
        } else {
            Some(subject.to_owned())
        };
        let named = events.iter().find_map(|event| event.event.account);
        let refreshed = match customer {
            Some(customer) => self.heed(fence, &customer, events, named).await?,
            None => Refreshed::NotOurs,
        };
        match refreshed {
            Refreshed::NotOurs => {
                let note = "nothing follows: no account is linked with this customer, and it bought no plan".to_owned();
                let settled: Vec<Settled> = settled(events, Some(&note));
                match store.settle_events(fence, &settled, self.deps.clock.now()).await? {
                    Fenced::Done(()) => Ok(()),
                    Fenced::Lost => Err(Failure::Lost),
                }
            }
            Refreshed::Applied { .. } | Refreshed::Refused(_) | Refreshed::Queued => Ok(()),
        }
    }

    /// The customer whom an event that names none is about, if it is about one.
    async fn customer_of(&self, event: &NewEvent) -> Result<Option<String>, Failure> {
        let (api, object) = (&self.api, &event.object);
        let kind = event.kind.as_str();
        let found = if kind.starts_with("checkout.session.") {
            let path = format!("/checkout/sessions/{object}");
            api.get::<CheckoutSession>(&path, &[]).await.map(|session| session.customer)
        } else if kind.starts_with("customer.subscription.") {
            let path = format!("/subscriptions/{object}");
            api.get::<Subscription>(&path, &[]).await.map(|subscription| subscription.customer)
        } else if kind.starts_with("invoice.") {
            let path = format!("/invoices/{object}");
            api.get::<Charge>(&path, &[]).await.map(|invoice| invoice.customer)
        } else {
            match self.charge_of(event).await {
                Ok(Some(charge)) => {
                    api.get::<Charge>(&format!("/charges/{charge}"), &[]).await.map(|charge| charge.customer)
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            }
        };
        match found {
            Err(error) if error.is_missing() => Ok(None),
            found => Ok(found?),
        }
    }

    /// The charge that an event of a dispute, a refund or a charge is about.
    async fn charge_of(&self, event: &NewEvent) -> Result<Option<String>, ApiError> {
        if let Some(charge) = event::charge_of(&event.payload) {
            return Ok(Some(charge));
        }
        if !event.kind.starts_with("charge.dispute.") {
            return Ok(None);
        }
        let dispute: Dispute = self.api.get(&format!("/disputes/{}", event.object), &[]).await?;
        Ok(dispute.charge)
    }

    /// Reads a customer and puts what follows in force, with the events that brought it.
    async fn heed(
        &self,
        fence: Fence,
        customer: &str,
        events: &[InboxEvent],
        named: Option<AccountId>,
    ) -> Result<Refreshed, Failure> {
        let _turn = self.customers.of(customer).await;
        let store = &self.deps.store;
        let plans = &self.deps.live.policy().plans;
        let rules = Rules::of(&self.deps.stripe);
        let linked = store.account_of_customer(customer).await?;
        let charges = asks_for_charges(linked.as_ref(), events).then_some(rules).filter(|rules| rules.withhold());
        let (read, mut notes) = refresh::read(&self.api, customer, charges).await?;
        count(&self.stats.refreshed);
        let account = match linked {
            Some(account) => {
                let another = named.filter(|named| *named != account.id);
                notes.extend(another.map(|named| Note::NamesAnother { named }));
                account
            }
            None => match self.owner(customer, named, &read, plans).await? {
                Owner::Account(account) => *account,
                Owner::NotOurs => return Ok(Refreshed::NotOurs),
            },
        };
        let Facts { subscriptions, paid_periods, notes: more } =
            refresh::facts(&read, &account.subscriptions, plans, rules);
        notes.extend(more);
        self.alert(&notes);
        let note = (!notes.is_empty()).then(|| notes.iter().map(Note::to_string).collect::<Vec<_>>().join("; "));
        let statuses: Vec<_> =
            subscriptions.iter().map(|facts| json!({ "id": facts.id, "status": facts.status.as_str() })).collect();
        let ids: Vec<&str> = events.iter().map(|event| event.event.id.as_str()).take(20).collect();
        let detail = json!({ "customer": customer, "subscriptions": statuses, "events": ids });
        let facts = CustomerFacts {
            account: account.id,
            customer: customer.into(),
            subscriptions,
            paid_periods,
            settled: settled(events, note.as_ref()),
        };
        let audit = audit("billing.facts", self.deps.clock.now(), detail);
        let applied = match store.apply_facts(fence, &facts, plans, &audit).await? {
            Fenced::Done(applied) => applied,
            Fenced::Lost => return Err(Failure::Lost),
        };
        let changes = changes(applied, &account, customer)?;
        for change in &changes {
            self.deps.changes.publish(change).await;
        }
        Ok(Refreshed::Applied { account: account.id, is_changed: !changes.is_empty(), notes })
    }

    fn alert(&self, notes: &[Note]) {
        for note in notes {
            match note {
                Note::UnknownPrice { .. } => count(&self.stats.alert_unknown_price),
                Note::UnknownStatus { .. } => count(&self.stats.alert_unknown_status),
                Note::NamesAnother { .. } => count(&self.stats.alert_other_customer),
                Note::NoPeriod { .. } | Note::Vanished { .. } | Note::ChargesForbidden => {}
            }
            tracing::warn!(%note, "what Stripe says of a customer needs a look");
        }
    }

    fn report(&self, failure: &Failure, subject: &str, settled: &[Settled]) {
        let stats = &self.stats;
        match failure {
            Failure::OtherCustomer(_) => count(&stats.alert_other_customer),
            Failure::Unmatched(_) => count(&stats.alert_unmatched),
            Failure::Away(_) | Failure::Passing(_) | Failure::Store(_) | Failure::Lost => {}
        }
        let dead = settled.iter().filter(|settled| matches!(settled.outcome, Outcome::Dead { .. })).count();
        add(&stats.dead, dead);
        add(&stats.failed, settled.len() - dead);
        tracing::warn!(%failure, subject, events = settled.len(), dead, "events of Stripe are not heeded yet");
    }
}

/// Whether charges must be read: what is withheld may have changed, or the customer is new here.
fn asks_for_charges(linked: Option<&Account>, events: &[InboxEvent]) -> bool {
    let withheld = |account: &Account| {
        account.subscriptions.is_empty() || account.subscriptions.iter().any(|facts| facts.withheld.is_some())
    };
    linked.is_none_or(withheld) || events.iter().any(|event| event::is_about_charges(&event.event.kind))
}

fn settled(events: &[InboxEvent], note: Option<&String>) -> Vec<Settled> {
    let done =
        |event: &InboxEvent| Settled { id: event.event.id.clone(), outcome: Outcome::Done { note: note.cloned() } };
    events.iter().map(done).collect()
}

/// What the gateways must hear of, once facts were taken.
fn changes(applied: Applied, account: &Account, customer: &str) -> Result<Vec<Change>, Failure> {
    match applied {
        Applied::Applied { changes, .. } => Ok(changes),
        Applied::OtherCustomer { customer: other } => Err(Failure::OtherCustomer(format!(
            "the account {} is linked with the customer {other}, and {customer} pays for it too: end one of the two \
             at Stripe, or make the subscription one of {other}'s, then replay this event",
            account.id
        ))),
        Applied::OtherAccount(other) => Err(Failure::OtherCustomer(format!(
            "the customer {customer} is linked with the account {other}, not with {}: replay this event if that is \
             right",
            account.id
        ))),
        Applied::NoAccount => Err(Failure::Unmatched(format!(
            "the account {} was deleted, and the customer {customer} still pays: end the subscription at Stripe",
            account.id
        ))),
    }
}
