//! Taking another plan, within the subscription that there is.
//!
//! The card is charged before the plan is given: Stripe is asked with `error_if_incomplete`, which changes nothing when the
//! charge fails. Its default would give the plan at once and leave the invoice open, so that a card which declines buys a
//! grace on a larger plan. Pending updates would keep the change back too, and could wait for a bank's confirmation; but
//! they take only some of the parameters, lapse after a day unseen, and end with an invoice that is void.

use serde_json::Value;
use tollgate_domain::{Account, HOUR_US, MINUTE_US, Period, PlanTable, Timestamp};
use url::Url;

use super::holdings::{Held, Line};
use super::offer::{Order, PriceTag, sold};
use super::{ActionError, Form, Standing, field, once};
use crate::Billing;

/// How old a preview may be when it is acted on. Whoever could name any moment would name the end of the period, and pay
/// nothing for the rest of it.
const PREVIEW_MOST_US: i64 = HOUR_US;

/// By how much another process's clock may be ahead when it made the preview.
const CLOCKS_APART_US: i64 = MINUTE_US;

/// A plan, and how it is to be bought.
#[derive(Clone, Copy, Debug)]
pub struct NewPlan<'a> {
    /// Which.
    pub plan: &'a str,
    /// By which of its prices; none leaves it to what is paid now: whoever pays by the year goes on so.
    pub price: Option<&'a str>,
    /// The moment that a preview was made for: what it showed is then what is charged.
    pub proration_date: Option<Timestamp>,
}

/// What became of a wish for another plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanChange {
    /// The subscription is for that plan now.
    Changed(Standing),
    /// There is no subscription to change: this is where one is bought. It is to be given to the owner and kept nowhere.
    Checkout(Url),
}

impl Billing {
    /// Puts the account on another plan: its subscription's price is changed, and the difference charged as
    /// `proration_behavior` says; without a subscription, the address where one is bought. Nothing is changed when the
    /// charge fails. An end that was decided stays.
    ///
    /// # Errors
    /// As [`Self::checkout`]; the charge was declined; the preview is too old.
    pub async fn change(&self, account: &Account, to: NewPlan<'_>) -> Result<PlanChange, ActionError> {
        let policy = self.deps.live.policy();
        let plan = sold(&policy.plans, to.plan)?;
        self.may_buy(account)?;
        let holdings = self.holdings(account).await?;
        let Some(held) = holdings.in_force(&policy.plans, self.now()) else {
            if let Some(open) = holdings.open() {
                return Err(open.payment_due());
            }
            return self.checkout(account, to.plan, to.price).await.map(PlanChange::Checkout);
        };
        let line = held.bought(&policy.plans)?;
        let order = self.order(plan, to.price, Some(&line.price)).await?;
        if line.price.id == order.price.id {
            return Ok(PlanChange::Changed(self.stands(account, held, &policy.plans).await));
        }
        let mut form = items("items", held, line, &order);
        form.push(field("proration_behavior", self.deps.stripe.proration_behavior.as_str()));
        form.push(field("payment_behavior", "error_if_incomplete"));
        if let Some(date) = to.proration_date {
            self.check_date(date, held)?;
            form.push(field("proration_date", date.as_secs().to_string()));
        }
        let told: Value = self.post(&format!("/subscriptions/{}", held.told.id), &form, &once("change")).await?;
        self.acted(account, &told, &policy.plans).await.map(PlanChange::Changed)
    }

    /// Refuses a moment that no fresh preview was made for, or that lies in another period than the one that is paid for.
    fn check_date(&self, date: Timestamp, held: &Held) -> Result<(), ActionError> {
        let now = self.now();
        let is_fresh = now.plus_micros(-PREVIEW_MOST_US) <= date && date <= now.plus_micros(CLOCKS_APART_US);
        let is_in_period = held.period().is_none_or(|period| period.contains(date));
        if is_fresh && is_in_period { Ok(()) } else { Err(ActionError::StalePreview) }
    }
}

impl Held {
    /// The line that is to be changed for another plan.
    pub(super) fn bought(&self, plans: &PlanTable) -> Result<&Line, ActionError> {
        self.main_line(plans).ok_or_else(|| {
            let id = &self.told.id;
            ActionError::misconfigured(format!(
                "which line of `{id}` buys its plan cannot be told; change it in Stripe"
            ))
        })
    }

    /// What is paid for at present.
    pub(super) fn period(&self) -> Option<Period> {
        let (start, end) = self.told.items.data.iter().find_map(|item| self.told.period_of(item))?;
        Some(Period { start: Timestamp::from_secs(start), end: Timestamp::from_secs(end) })
    }
}

/// What is asked of Stripe so that a subscription becomes this order, under `name` as the call has it. Lines that are
/// neither the plan's nor ours stay.
pub(super) fn items(name: &str, held: &Held, bought: &Line, order: &Order) -> Form {
    let mut lines = Lines { name, form: Vec::new(), count: 0 };
    if bought.price.is_metered() == order.price.is_metered() {
        lines.change(&bought.id, &order.price);
    } else {
        // What is paid by use has no quantity, and Stripe takes none away from a line.
        lines.remove(&bought.id);
        lines.add(&order.price);
    }
    let is_ours = |line: &&Line| line.id != bought.id && line.price.is_companion();
    let ours: Vec<&Line> = held.lines.iter().filter(is_ours).collect();
    let mut kept: Vec<&str> = Vec::new();
    for price in &order.metered {
        let same = ours.iter().find(|line| line.price.id == price.id);
        let of_meter = || ours.iter().find(|line| price.meter().is_some() && line.price.meter() == price.meter());
        match same.or_else(of_meter) {
            Some(line) => {
                kept.push(&line.id);
                if line.price.id != price.id {
                    lines.change(&line.id, price);
                }
            }
            None => lines.add(price),
        }
    }
    for line in ours.iter().filter(|line| !kept.contains(&line.id.as_str())) {
        lines.remove(&line.id);
    }
    lines.form
}

/// Lines of a subscription, as a form asks for them.
struct Lines<'a> {
    name: &'a str,
    form: Form,
    count: usize,
}

impl Lines<'_> {
    fn put(&mut self, fields: &[(&str, &str)]) {
        for (key, value) in fields {
            self.form.push(field(format!("{}[{}][{key}]", self.name, self.count), *value));
        }
        self.count += 1;
    }

    fn change(&mut self, id: &str, price: &PriceTag) {
        if price.is_metered() {
            self.put(&[("id", id), ("price", &price.id)]);
        } else {
            self.put(&[("id", id), ("price", &price.id), ("quantity", "1")]);
        }
    }

    fn add(&mut self, price: &PriceTag) {
        if price.is_metered() {
            self.put(&[("price", &price.id)]);
        } else {
            self.put(&[("price", &price.id), ("quantity", "1")]);
        }
    }

    fn remove(&mut self, id: &str) {
        self.put(&[("id", id), ("deleted", "true")]);
    }
}
