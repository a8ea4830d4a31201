//! Making many things at once: prices with names of one's own, customers with their subscriptions.

use serde::{Deserialize, Serialize};

use crate::billing::start::{self, New, NewItem, Payment};
use crate::http::error::ApiError;
use crate::objects::payment_method::{Card, set_card};
use crate::objects::price::{self, Draft, Recurring};
use crate::objects::subscription::MissingPaymentMethod;
use crate::objects::{customer, meter, product};
use crate::state::clock::{DAY, Interval};
use crate::state::table::Row;
use crate::state::{Metadata, State};

/// A price to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewPrice<'a> {
    /// Its id; empty for one of Stripe's form. A price that is already there is left alone.
    pub id: &'a str,
    /// The name of its product.
    pub product: &'a str,
    /// Cents a unit.
    pub unit_amount: i64,
    /// In lower case.
    pub currency: &'a str,
    /// How often it recurs.
    pub interval: Interval,
    /// Every so many intervals.
    pub interval_count: u32,
    /// The event name of the meter it counts, which is made if there is none.
    pub metered: Option<&'a str>,
}

impl Default for NewPrice<'_> {
    fn default() -> Self {
        Self {
            id: "",
            product: "Plan",
            unit_amount: 0,
            currency: "usd",
            interval: Interval::Month,
            interval_count: 1,
            metered: None,
        }
    }
}

/// A customer with a subscription, to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seed<'a> {
    /// The customer's address.
    pub email: &'a str,
    /// An existing customer in place of a new one.
    pub customer: Option<&'a str>,
    /// The prices of its items; none makes a customer alone.
    pub prices: &'a [&'a str],
    /// 0 for none.
    pub trial_days: u32,
    /// What the trial's end does without a card: it pauses.
    pub pause_without_card: bool,
    /// The subscription's metadata.
    pub metadata: &'a [(&'a str, &'a str)],
    /// What charging the customer meets.
    pub card: Card,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeded {
    /// The customer's id.
    pub customer: String,
    /// The subscription's id; empty where no price was named.
    pub subscription: String,
}

impl State {
    pub(crate) fn make_price(&mut self, new: &NewPrice<'_>) -> String {
        if self.prices.contains(new.id) {
            return new.id.to_owned();
        }
        let meter = new.metered.map(|event_name| match meter::of_event_name(self, event_name) {
            Some(meter) => meter.id().to_owned(),
            None => meter::add(self, event_name, event_name),
        });
        let known =
            self.products.iter().find(|product| product.name == new.product).map(|product| product.id().to_owned());
        let product = known.unwrap_or_else(|| {
            let id = self.new_id("prod");
            product::add(self, &id, new.product);
            id
        });
        price::add(
            self,
            Draft {
                id: (!new.id.is_empty()).then(|| new.id.to_owned()),
                product,
                currency: new.currency.to_owned(),
                unit_parts: Draft::cents(new.unit_amount),
                recurring: Some(Recurring { interval: new.interval, count: new.interval_count.max(1), meter }),
            },
        )
    }

    /// Makes a customer and its subscription. A card that declines makes an incomplete one.
    pub(crate) fn seed(&mut self, seed: &Seed<'_>) -> Result<Seeded, ApiError> {
        let customer = if let Some(customer) = seed.customer {
            customer.to_owned()
        } else {
            let email = Some(seed.email).filter(|email| !email.is_empty());
            let made = customer::add(self, email, None, Metadata::new());
            self.emit("customer.created", &made);
            set_card(self, &made, seed.card);
            made
        };
        if seed.prices.is_empty() {
            return Ok(Seeded { customer, subscription: String::new() });
        }
        let new = New {
            customer: customer.clone(),
            items: seed
                .prices
                .iter()
                .map(|price| NewItem { price: (*price).to_owned(), ..NewItem::default() })
                .collect(),
            trial_end: (seed.trial_days > 0).then(|| self.now + i64::from(seed.trial_days) * DAY),
            missing_payment_method: if seed.pause_without_card {
                MissingPaymentMethod::Pause
            } else {
                MissingPaymentMethod::default()
            },
            metadata: seed.metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            payment: if seed.card == Card::None { Payment::Later } else { Payment::Allowed },
            ..New::default()
        };
        let subscription = start::start(self, new)?;
        Ok(Seeded { customer, subscription })
    }
}
