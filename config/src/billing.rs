//! `[billing.stripe]`: who pays, as Stripe knows it.
//!
//! Owns what is asked of Stripe and what follows from a failed, disputed or refunded charge. Deliberately does not know
//! which Stripe price buys which plan: that stands with the plans.

mod secrets;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tollgate_domain::MeterName;
use url::Url;

use crate::item::Item;
use crate::reader::{Table, UnknownKeys};
use crate::secret::{self, Secret};

/// The settings of `[billing]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BillingConfig {
    /// `[billing.stripe]`; without it nothing is sold, and no webhook is taken.
    pub stripe: Option<StripeConfig>,
}

/// The settings of `[billing.stripe]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StripeConfig {
    /// What Stripe is asked with: a secret key, or a restricted one. Fit for a header.
    pub secret_key: Secret,
    /// What webhooks are signed with; any of them will do. Empty only where they were not asked for, as
    /// [`crate::load_without_webhook_secrets`] does not.
    pub webhook_secrets: Vec<Secret>,
    /// Whether events and objects are of live mode; those of the other mode are refused.
    pub livemode: bool,
    /// How long access lasts from the first failed charge of an invoice that is still open. What is in force is the
    /// policy's, as a reload takes it: [`tollgate_domain::PlanTable::grace_us`].
    pub grace: Duration,
    /// For how many days a first subscription is free; zero for none.
    pub trial_days: u32,
    /// What becomes of the rest of a period when a plan is changed within it.
    pub proration_behavior: ProrationBehavior,
    /// Where Checkout sends who has paid; may hold `{CHECKOUT_SESSION_ID}`.
    pub success_url: Option<Url>,
    /// Where Checkout sends who has turned back.
    pub cancel_url: Option<Url>,
    /// Where Stripe is asked; its path ends with `/`.
    pub api_base: Url,
    /// What follows from a disputed charge.
    pub on_dispute: OnDispute,
    /// What follows from a charge that was refunded whole.
    pub on_refund: OnRefund,
    /// What is billed by use, and the `event_name` of Stripe's meter for it, none twice.
    pub meters: BTreeMap<BilledMeter, String>,
    /// How often Stripe is asked for what its webhooks did not tell.
    pub sweep: Duration,
}

/// Whether the secrets of webhooks are to be read, and must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WebhookSecrets {
    Needed,
    NotYet,
}

/// How long access lasts after a charge has failed where nobody said so: in a week Stripe has tried the card again.
pub(crate) const GRACE: Duration = Duration::from_hours(7 * 24);

/// Stripe tries a card again for no longer.
const GRACE_MOST: Duration = Duration::from_hours(60 * 24);

/// The longest trial that Stripe takes: two years.
const TRIAL_DAYS_MOST: u64 = 730;

/// Stripe lists what it could not deliver for so long.
const SWEEP_MOST: Duration = Duration::from_hours(30 * 24);

/// The longest `event_name` that Stripe takes, in characters.
const EVENT_NAME_MAX: usize = 100;

impl BillingConfig {
    pub(crate) fn read(table: &Table<'_>, webhook_secrets: WebhookSecrets) -> Self {
        let mut config = Self::default();
        let Self { stripe } = &mut config;
        table.read_optional("stripe", stripe, |item| {
            item.table("billing.stripe").and_then(|table| StripeConfig::read(&table, webhook_secrets))
        });
        table.finish();
        config
    }

    /// How long access lasts after a charge has failed, in microseconds: also without Stripe, so that a file which loses
    /// the section takes access away from nobody before its time.
    pub(crate) fn grace_us(&self) -> i64 {
        let grace = self.stripe.as_ref().map_or(GRACE, |stripe| stripe.grace);
        i64::try_from(grace.as_micros()).expect("sixty days of microseconds fit")
    }
}

impl StripeConfig {
    /// The settings where the file says no more than what it must.
    pub fn new(secret_key: Secret, webhook_secrets: Vec<Secret>) -> Self {
        Self {
            secret_key,
            webhook_secrets,
            livemode: true,
            grace: GRACE,
            trial_days: 0,
            proration_behavior: ProrationBehavior::AlwaysInvoice,
            success_url: None,
            cancel_url: None,
            api_base: Url::parse("https://api.stripe.com/").expect("a URL written out here"),
            on_dispute: OnDispute::Suspend,
            on_refund: OnRefund::Keep,
            meters: BTreeMap::new(),
            sweep: Duration::from_hours(24),
        }
    }

    fn read(table: &Table<'_>, needed: WebhookSecrets) -> Option<Self> {
        let key = secret::read(table, "secret_key", "secret_key_file");
        let secrets = secrets::read_of_webhooks(table, needed);
        // In place of secrets that are missing or wrong, which are reported, so that the rest is checked too.
        let mut config = Self::new(Secret::new(""), Vec::new());
        let Self {
            secret_key,
            webhook_secrets,
            livemode,
            grace,
            trial_days,
            proration_behavior,
            success_url,
            cancel_url,
            api_base,
            on_dispute,
            on_refund,
            meters,
            sweep,
        } = &mut config;
        table.read("livemode", livemode, Item::flag);
        table.read("grace", grace, |item| item.duration_between(Duration::ZERO, GRACE_MOST));
        table.read("trial_days", trial_days, |item| u32::try_from(item.count(0, TRIAL_DAYS_MOST)?).ok());
        let words = ProrationBehavior::ALL.map(|behavior| (behavior.as_str(), behavior));
        table.read("proration_behavior", proration_behavior, |item| item.word(&words));
        table.read_optional("success_url", success_url, read_success_url);
        table.read_optional("cancel_url", cancel_url, Item::web_url);
        table.read("api_base", api_base, read_api_base);
        let words = [OnDispute::Suspend, OnDispute::Keep].map(|choice| (choice.as_str(), choice));
        table.read("on_dispute", on_dispute, |item| item.word(&words));
        let words = [OnRefund::Keep, OnRefund::Suspend].map(|choice| (choice.as_str(), choice));
        table.read("on_refund", on_refund, |item| item.word(&words));
        table.read("meters", meters, read_meters);
        table.read("sweep", sweep, |item| item.duration_between(Duration::from_secs(1), SWEEP_MOST));
        report_missing(table, &table.finish(), needed);
        let (key, item) = key?;
        secrets::check_key(&key, &item, table);
        *secret_key = key;
        *webhook_secrets = secrets?;
        Some(config)
    }
}

fn report_missing(table: &Table<'_>, unknown: &UnknownKeys, needed: WebhookSecrets) {
    let is_missing = |key: &'static str, file_key: &'static str| {
        table.take(key).is_none() && table.take(file_key).is_none() && !unknown.may_hold(key)
    };
    if is_missing("secret_key", "secret_key_file") {
        table.reader.error(table.offset, "[billing.stripe] needs `secret_key` or `secret_key_file`");
    }
    if needed == WebhookSecrets::Needed && is_missing("webhook_secrets", "webhook_secrets_file") {
        let message =
            format!("[billing.stripe] needs `webhook_secrets` or `webhook_secrets_file`: {}", secrets::ORIGIN);
        table.reader.error(table.offset, message);
    }
}

/// Reads where Checkout leads. A URL percent-encodes braces in its path, where Stripe would not find them.
fn read_success_url(item: &Item<'_>) -> Option<Url> {
    let url = item.web_url()?;
    if url.path().contains("%7BCHECKOUT_SESSION_ID%7D") {
        item.error("write {CHECKOUT_SESSION_ID} behind a `?`, such as `?session={CHECKOUT_SESSION_ID}`");
        return None;
    }
    Some(url)
}

fn read_api_base(item: &Item<'_>) -> Option<Url> {
    let mut url = item.guarded_url("the secret key")?;
    if url.query().is_some() {
        item.error("`api_base` must end with its path: no `?` and no `#`");
        return None;
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

/// Reads what is billed by use. Which meters the plans have shows when the file is taken as a whole.
fn read_meters(item: &Item<'_>) -> Option<BTreeMap<BilledMeter, String>> {
    if !item.is_table() {
        return item.expected("a table such as { calls = \"api_calls\" }");
    }
    let mut entries: Vec<_> = item.table("billing.stripe.meters")?.own_keys().collect();
    entries.sort_by_key(|(_, item)| item.key_offset);
    let mut meters = BTreeMap::new();
    let mut lines: BTreeMap<String, (BilledMeter, usize)> = BTreeMap::new();
    let mut all_good = true;
    for (key, item) in entries {
        let Some(meter) = BilledMeter::new(key) else {
            let key = key.escape_debug();
            item.reader.error(item.key_offset, format!("`{key}` is neither `calls` nor the name of a meter"));
            all_good = false;
            continue;
        };
        let Some(event) = item.parse(EVENT_NAME, event_name) else {
            all_good = false;
            continue;
        };
        if let Some((other, line)) = lines.get(&event) {
            item.error(format!("this is the event name of `{other}` on line {line} already; Stripe would add up both"));
            all_good = false;
            continue;
        }
        lines.insert(event.clone(), (meter.clone(), item.reader.line(item.offset())));
        meters.insert(meter, event);
    }
    all_good.then_some(meters)
}

const EVENT_NAME: &str = "the event name of a meter at Stripe, such as \"api_calls\": up to 100 characters, no blanks";

fn event_name(text: &str) -> Option<String> {
    let fits = (1..=EVENT_NAME_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

/// What becomes of the rest of a period when a plan is changed within it, in Stripe's own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProrationBehavior {
    /// The difference is charged at once.
    #[default]
    AlwaysInvoice,
    /// The difference stands on the next invoice.
    CreateProrations,
    /// There is no difference.
    None,
}

impl ProrationBehavior {
    const ALL: [Self; 3] = [Self::AlwaysInvoice, Self::CreateProrations, Self::None];

    /// As the file and Stripe write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlwaysInvoice => "always_invoice",
            Self::CreateProrations => "create_prorations",
            Self::None => "none",
        }
    }
}

/// What follows from a disputed charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDispute {
    /// No access until the dispute is won or a later period is paid.
    #[default]
    Suspend,
    /// Nothing.
    Keep,
}

impl OnDispute {
    /// As the file writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Keep => "keep",
        }
    }
}

/// What follows from a charge that was refunded whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefund {
    /// Nothing.
    #[default]
    Keep,
    /// No access until a later period is paid.
    Suspend,
}

impl OnRefund {
    /// As the file writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Suspend => "suspend",
        }
    }
}

/// What is billed by use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BilledMeter {
    /// Units of quota: calls times their cost.
    Calls,
    /// Units of a meter that a plan has.
    Named(MeterName),
}

impl BilledMeter {
    /// The word for calls. No plan can have a meter of that name.
    pub const CALLS: &'static str = "calls";

    /// `calls`, or the name of a meter.
    pub fn new(text: &str) -> Option<Self> {
        if text == Self::CALLS { Some(Self::Calls) } else { MeterName::new(text).map(Self::Named) }
    }

    /// As the file writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Calls => Self::CALLS,
            Self::Named(name) => name.as_str(),
        }
    }
}

impl fmt::Display for BilledMeter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
