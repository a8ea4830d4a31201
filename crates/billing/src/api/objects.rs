//! Stripe's objects as far as they are used here, in whatever shape a version gives them: what is not needed may be
//! absent or of another type, what is not known is passed over.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A page of things, or a list within a thing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct List<T> {
    /// The things.
    #[serde(default = "Vec::new")]
    pub data: Vec<T>,
    /// Whether more follow.
    #[serde(default, deserialize_with = "lenient")]
    pub has_more: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { data: Vec::new(), has_more: false }
    }
}

/// Somebody's own words on a thing.
pub type Metadata = BTreeMap<String, String>;

/// The key of metadata that names an account.
pub const ACCOUNT_KEY: &str = "tollgate_account";

/// A thing that is named by its id, or stands there whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expandable<T> {
    /// Its id.
    Id(String),
    /// The thing.
    Whole(Box<T>),
}

impl<T> Expandable<T> {
    /// The thing, where it stands there whole.
    pub fn whole(&self) -> Option<&T> {
        match self {
            Self::Id(_) => None,
            Self::Whole(thing) => Some(thing),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Expandable<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(id) => Ok(Self::Id(id)),
            value => serde_json::from_value(value)
                .map(|thing| Self::Whole(Box::new(thing)))
                .map_err(serde::de::Error::custom),
        }
    }
}

/// Who pays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Customer {
    /// Its id.
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    /// How it is reached.
    #[serde(default, deserialize_with = "lenient")]
    pub email: Option<String>,
    /// What it is called.
    #[serde(default, deserialize_with = "lenient")]
    pub name: Option<String>,
    /// Whether it was deleted; then nothing else is told of it.
    #[serde(default, deserialize_with = "lenient")]
    pub deleted: bool,
    /// Somebody's own words.
    #[serde(default, deserialize_with = "lenient")]
    pub metadata: Metadata,
    /// Whether it is of live mode.
    #[serde(default, deserialize_with = "lenient")]
    pub livemode: Option<bool>,
}

/// A subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// Where it stands, in Stripe's words.
    #[serde(default, deserialize_with = "lenient")]
    pub status: String,
    /// Whose it is.
    #[serde(default, deserialize_with = "id_of")]
    pub customer: Option<String>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient")]
    pub created: i64,
    /// What it is for. A list that cannot be read is an answer that cannot be read: without it the plan would be lost.
    #[serde(default)]
    pub items: List<SubscriptionItem>,
    /// When its period began: before 2025-03-31.
    #[serde(default, deserialize_with = "lenient")]
    pub current_period_start: Option<i64>,
    /// When its period ends: before 2025-03-31.
    #[serde(default, deserialize_with = "lenient")]
    pub current_period_end: Option<i64>,
    /// When it ends, if that is decided.
    #[serde(default, deserialize_with = "lenient")]
    pub cancel_at: Option<i64>,
    /// Whether it ends with its period.
    #[serde(default, deserialize_with = "lenient")]
    pub cancel_at_period_end: bool,
    /// When it ended.
    #[serde(default, deserialize_with = "lenient")]
    pub ended_at: Option<i64>,
    /// When its trial ends or ended.
    #[serde(default, deserialize_with = "lenient")]
    pub trial_end: Option<i64>,
    /// Its newest invoice, whole where that was asked for.
    #[serde(default, deserialize_with = "lenient")]
    pub latest_invoice: Option<Expandable<Invoice>>,
    /// Somebody's own words.
    #[serde(default, deserialize_with = "lenient")]
    pub metadata: Metadata,
    /// What becomes of its invoices while their collection is paused.
    #[serde(default, deserialize_with = "lenient")]
    pub pause_collection: Option<Value>,
    /// Whether it is of live mode.
    #[serde(default, deserialize_with = "lenient")]
    pub livemode: Option<bool>,
}

impl Subscription {
    /// The period of one of its items, in seconds, wherever this version tells it.
    pub fn period_of(&self, item: &SubscriptionItem) -> Option<(i64, i64)> {
        let of_item = item.current_period_start.zip(item.current_period_end);
        let (start, end) = of_item.or_else(|| self.current_period_start.zip(self.current_period_end))?;
        (start < end).then_some((start, end))
    }
}

/// One line of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SubscriptionItem {
    /// Its id.
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    /// What it costs.
    #[serde(default, deserialize_with = "lenient")]
    pub price: Option<Expandable<Price>>,
    /// The same, as it was called before.
    #[serde(default, deserialize_with = "lenient")]
    pub plan: Option<Expandable<Price>>,
    /// When its period began.
    #[serde(default, deserialize_with = "lenient")]
    pub current_period_start: Option<i64>,
    /// When its period ends.
    #[serde(default, deserialize_with = "lenient")]
    pub current_period_end: Option<i64>,
    /// How many.
    #[serde(default, deserialize_with = "lenient")]
    pub quantity: Option<u64>,
}

impl SubscriptionItem {
    /// Its price's id; empty where none is told.
    pub fn price_id(&self) -> &str {
        match self.price.as_ref().or(self.plan.as_ref()) {
            Some(Expandable::Id(id)) => id,
            Some(Expandable::Whole(price)) => &price.id,
            None => "",
        }
    }
}

/// A price.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Price {
    /// Its id.
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    /// Whether it can be bought.
    #[serde(default, deserialize_with = "lenient")]
    pub active: bool,
    /// What it is in.
    #[serde(default, deserialize_with = "lenient")]
    pub currency: String,
    /// In the smallest unit of the currency.
    #[serde(default, deserialize_with = "lenient")]
    pub unit_amount: Option<i64>,
    /// What it is a price of.
    #[serde(default, deserialize_with = "id_of")]
    pub product: Option<String>,
    /// How often it is due.
    #[serde(default, deserialize_with = "lenient")]
    pub recurring: Option<Recurring>,
    /// What it is found by.
    #[serde(default, deserialize_with = "lenient")]
    pub lookup_key: Option<String>,
    /// Somebody's own words.
    #[serde(default, deserialize_with = "lenient")]
    pub metadata: Metadata,
}

/// How often a price is due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Recurring {
    /// `day`, `week`, `month` or `year`.
    #[serde(default, deserialize_with = "lenient")]
    pub interval: String,
    /// How many of them.
    #[serde(default, deserialize_with = "lenient")]
    pub interval_count: u64,
    /// `licensed` or `metered`.
    #[serde(default, deserialize_with = "lenient")]
    pub usage_type: String,
    /// The meter that it bills.
    #[serde(default, deserialize_with = "lenient")]
    pub meter: Option<String>,
}

/// An invoice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Invoice {
    /// Its id.
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    /// `draft`, `open`, `paid`, `uncollectible` or `void`.
    #[serde(default, deserialize_with = "lenient")]
    pub status: Option<String>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient")]
    pub created: i64,
    /// How often it was tried to be charged.
    #[serde(default, deserialize_with = "lenient")]
    pub attempt_count: u64,
    /// What was paid, in the smallest unit of its currency.
    #[serde(default, deserialize_with = "lenient")]
    pub amount_paid: i64,
    /// What is still due.
    #[serde(default, deserialize_with = "lenient")]
    pub amount_due: i64,
    /// Its currency.
    #[serde(default, deserialize_with = "lenient")]
    pub currency: String,
    /// Why it was made.
    #[serde(default, deserialize_with = "lenient")]
    pub billing_reason: Option<String>,
    /// When it came to stand where it stands.
    #[serde(default, deserialize_with = "lenient")]
    pub status_transitions: StatusTransitions,
    /// What it is for: before 2025-03-31.
    #[serde(default, deserialize_with = "id_of")]
    pub subscription: Option<String>,
    /// What it is for.
    #[serde(default, deserialize_with = "lenient")]
    pub parent: Option<InvoiceParent>,
    /// The subscription's metadata: before 2025-03-31.
    #[serde(default, deserialize_with = "lenient")]
    pub subscription_details: Option<SubscriptionDetails>,
    /// Where it can be paid.
    #[serde(default, deserialize_with = "lenient")]
    pub hosted_invoice_url: Option<String>,
}

impl Invoice {
    /// The subscription it is for, if it is for one.
    pub fn subscription(&self) -> Option<&str> {
        let details = self.parent.as_ref().and_then(|parent| parent.subscription_details.as_ref());
        details.and_then(|details| details.subscription.as_deref()).or(self.subscription.as_deref())
    }

    /// Whether it was paid.
    pub fn is_paid(&self) -> bool {
        self.status.as_deref() == Some("paid")
    }
}

/// When an invoice came to stand where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct StatusTransitions {
    /// When it became due.
    #[serde(default, deserialize_with = "lenient")]
    pub finalized_at: Option<i64>,
    /// When it was paid.
    #[serde(default, deserialize_with = "lenient")]
    pub paid_at: Option<i64>,
}

/// What an invoice is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct InvoiceParent {
    /// A subscription.
    #[serde(default, deserialize_with = "lenient")]
    pub subscription_details: Option<SubscriptionDetails>,
}

/// The subscription that an invoice is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SubscriptionDetails {
    /// Its id.
    #[serde(default, deserialize_with = "id_of")]
    pub subscription: Option<String>,
    /// Its metadata when the invoice was made.
    #[serde(default, deserialize_with = "lenient")]
    pub metadata: Metadata,
}

/// Money that moved, or did not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Charge {
    /// Its id.
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    /// Who paid.
    #[serde(default, deserialize_with = "id_of")]
    pub customer: Option<String>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient")]
    pub created: i64,
    /// Whether all of it was given back.
    #[serde(default, deserialize_with = "lenient")]
    pub refunded: bool,
    /// Whether it is, or was, disputed.
    #[serde(default, deserialize_with = "lenient")]
    pub disputed: bool,
    /// What it paid: before 2025-03-31.
    #[serde(default, deserialize_with = "id_of")]
    pub invoice: Option<String>,
    /// The attempt to pay that it was made by.
    #[serde(default, deserialize_with = "id_of")]
    pub payment_intent: Option<String>,
}

/// Which invoice was paid by what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct InvoicePayment {
    /// The invoice.
    #[serde(default, deserialize_with = "id_of")]
    pub invoice: Option<String>,
}

/// A payment that its owner disputes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Dispute {
    /// Its id.
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    /// Where it stands.
    #[serde(default, deserialize_with = "lenient")]
    pub status: String,
    /// When it began.
    #[serde(default, deserialize_with = "lenient")]
    pub created: i64,
    /// Which payment.
    #[serde(default, deserialize_with = "id_of")]
    pub charge: Option<String>,
}

/// Money given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Refund {
    /// Where it stands.
    #[serde(default, deserialize_with = "lenient")]
    pub status: Option<String>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient")]
    pub created: i64,
}

/// A page at Stripe where something is bought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CheckoutSession {
    /// Its id.
    #[serde(default, deserialize_with = "lenient")]
    pub id: String,
    /// Where it is.
    #[serde(default, deserialize_with = "lenient")]
    pub url: Option<String>,
    /// Who buys.
    #[serde(default, deserialize_with = "id_of")]
    pub customer: Option<String>,
    /// What was bought.
    #[serde(default, deserialize_with = "id_of")]
    pub subscription: Option<String>,
    /// The account, as Tollgate names it.
    #[serde(default, deserialize_with = "lenient")]
    pub client_reference_id: Option<String>,
    /// `open`, `complete` or `expired`.
    #[serde(default, deserialize_with = "lenient")]
    pub status: Option<String>,
}

/// Something that happened at Stripe, as it lists and delivers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened, in seconds.
    #[serde(default, deserialize_with = "lenient")]
    pub created: i64,
    /// Whether it is of live mode.
    #[serde(default, deserialize_with = "lenient")]
    pub livemode: Option<bool>,
    /// What it is about.
    pub data: EventData,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventData {
    /// The object as it was then, in the shape of the version that the webhook's endpoint has.
    pub object: Value,
}

/// Reads a field as what is needed of it, and as its default where it is absent, null or of another type: a field that
/// changed its shape must not lose the whole answer.
pub fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Reads the id of what is named by it, or stands there whole.
fn id_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(id_in(&value).map(str::to_owned))
}

/// The id in a value that is one, or is a whole object.
pub fn id_in(value: &Value) -> Option<&str> {
    let id = value.as_str().or_else(|| value.get("id")?.as_str())?;
    is_id(id).then_some(id)
}

/// Whether a text can be an id of Stripe's: it goes into paths.
pub fn is_id(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
